/**
 * The command that installs the packages that the broker's process needs, ready to be pasted into a shell. Pure.
 *
 * Each has its range: without one, npm takes the newest of each, which need not go together. Double quotes keep `^` and
 * `@` from the shells of every system.
 *
 * @param peerDependencies as in package.json.
 */
export function installLine(
  packages: readonly string[],
  peerDependencies: Readonly<Record<string, string>>,
): string {
  const wanted = packages.map((name) => {
    const range = peerDependencies[name];
    const text = range === undefined ? name : `${name}@${range}`;
    return /^[\w./@-]+$/.test(text) && !text.startsWith('@') ? text : `"${text}"`;
  });
  return `npm install ${wanted.join(' ')}`;
}
