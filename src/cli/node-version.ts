// Loads no other file, and uses nothing that Node.js 12 lacks: it explains why the program cannot be loaded.

/** The lowest version of each line that works, as [major, minor]; newer lines than the last one work. As `engines` has them. */
const LINES = [
  [20, 19],
  [22, 12],
  [24, 0],
];

/**
 * What to say of a version of Node.js that the program does not run on; `undefined` where it does. Pure.
 *
 * @param version as `process.versions.node`.
 */
export function unsupportedNode(version: string): string | undefined {
  const [major = 0, minor = 0] = version.split('.').map(Number);
  const works = LINES.some(([line = 0, lowest = 0], index) =>
    major > line ? index === LINES.length - 1 : major === line && minor >= lowest,
  );
  return works
    ? undefined
    : `service-token-broker needs Node.js 20.19, 22.12, 24 or newer: this is ${version}.`;
}
