/** Which version has a label, by label. Each label stands on at most one version. */
export type Labels = ReadonlyMap<string, string>;

/** Moves one label to a version. */
export function withLabel(labels: Labels, label: string, versionId: string): Labels {
  return new Map([...labels, [label, versionId]]);
}

/** Takes a label off a version; the same labels when the version does not have it. */
export function withoutLabel(labels: Labels, label: string, versionId: string): Labels {
  if (labels.get(label) !== versionId) return labels;
  return new Map([...labels].filter(([name]) => name !== label));
}

/**
 * The labels after a promotion: AWSCURRENT on the version, AWSPREVIOUS on the one that had it. The version is not
 * pending any more.
 */
export function promoted(labels: Labels, versionId: string): Labels {
  const before = labels.get('AWSCURRENT');
  if (before === versionId) return labels;
  const current = withoutLabel(withLabel(labels, 'AWSCURRENT', versionId), 'AWSPENDING', versionId);
  return before === undefined ? current : withLabel(current, 'AWSPREVIOUS', before);
}

/** The labels of one version, sorted. */
export function labelsOf(labels: Labels, versionId: string): string[] {
  return [...labels]
    .filter(([, holder]) => holder === versionId)
    .map(([label]) => label)
    .sort();
}

/** Labels by version id, for every version that has one. */
export function labelsByVersion(labels: Labels): Map<string, readonly string[]> {
  return new Map([...new Set(labels.values())].map((id) => [id, labelsOf(labels, id)]));
}
