/** Versions above this number are trimmed, as in Secrets Manager. */
export const KEPT_VERSIONS = 100;

/** A version younger than this, in milliseconds, is never trimmed: one day. */
export const KEPT_AGE = 24 * 60 * 60 * 1000;

/** What the decision needs to know about a version. */
export interface TrimCandidate {
  readonly versionId: string;
  /** Milliseconds since the Unix epoch. */
  readonly createdAt: number;
  /** True when any label stands on it. */
  readonly labelled: boolean;
}

/** The versions to delete: the oldest without a label and older than a day, until {@link KEPT_VERSIONS} are left. */
export function versionsToTrim(versions: readonly TrimCandidate[], now: number): string[] {
  const excess = versions.length - KEPT_VERSIONS;
  if (excess <= 0) return [];
  return versions
    .filter((version) => !version.labelled && now - version.createdAt > KEPT_AGE)
    .sort((left, right) => left.createdAt - right.createdAt)
    .slice(0, excess)
    .map((version) => version.versionId);
}
