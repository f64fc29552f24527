/**
 * The pages of the site, for each kind of reader, in reading order. A page that is not listed follows the listed README of
 * its folder, or stands in the last group: see {@link arrange}.
 */
export const NAVIGATION = [
  {
    title: 'Begin',
    pages: [
      'README.md',
      'docs/README.md',
      'docs/first-steps.md',
      'docs/comparison.md',
      'docs/running.md',
      'docs/single-machine.md',
      'docs/rehearsal.md',
      'docs/migrating.md',
      'docs/several-tokens.md',
      'examples/guard/README.md',
      'examples/mesh/README.md',
    ],
  },
  {
    title: 'Developers',
    pages: [
      'docs/guard.md',
      'docs/client.md',
      'docs/other-languages.md',
      'docs/gateways.md',
      'docs/http.md',
      'docs/packages/service-token-kit.md',
    ],
  },
  {
    title: 'Platform engineers',
    pages: [
      'docs/deploying.md',
      'docs/terraform.md',
      'deploy/terraform/README.md',
      'docs/helm.md',
      'docs/containers.md',
      'docs/networks.md',
      'docs/embedded-store.md',
      'docs/configuration.md',
      'docs/command-line.md',
      'docs/operating.md',
      'docs/status-page.md',
      'docs/dashboards.md',
      'docs/traces.md',
      'docs/runbook.md',
      'docs/errors.md',
      'docs/reliability.md',
      'docs/economy.md',
      'docs/performance.md',
      'docs/limits.md',
      'docs/packages/service-token-broker.md',
    ],
  },
  {
    title: 'Security engineers',
    pages: ['SECURITY.md', 'docs/identities/README.md', 'docs/secretless.md', 'docs/audit.md'],
  },
  {
    title: 'Contributors',
    pages: [
      'CONTRIBUTING.md',
      'docs/architecture.md',
      'docs/decisions/README.md',
      'bench/README.md',
      'CHANGELOG.md',
    ],
  },
];

/** Where pages stand that nobody has listed. */
export const UNLISTED = 'More';

/**
 * Gives every page its place. Pure.
 *
 * @param files the Markdown files that there are.
 * @returns the groups, each with its entries: a page's file, and the files of the pages below it.
 */
export function arrange(files, navigation = NAVIGATION) {
  const listed = new Set(navigation.flatMap(({ pages }) => pages));
  const below = (file) => {
    // `docs/README.md` has the whole documentation below it, and that is what the list is for.
    if (!/\/[^/]+\/README\.md$/.test(file)) return [];
    const folder = file.slice(0, -'README.md'.length);
    return files.filter((one) => one.startsWith(folder) && !listed.has(one)).toSorted();
  };
  const groups = navigation.map(({ title, pages }) => ({
    title,
    entries: pages
      .filter((file) => files.includes(file))
      .map((file) => ({ file, below: below(file) })),
  }));
  const placed = new Set(
    groups.flatMap(({ entries }) => entries.flatMap(({ file, below }) => [file, ...below])),
  );
  const rest = files.filter((file) => !placed.has(file)).toSorted();
  if (rest.length > 0) {
    groups.push({ title: UNLISTED, entries: rest.map((file) => ({ file, below: [] })) });
  }
  return groups.filter(({ entries }) => entries.length > 0);
}
