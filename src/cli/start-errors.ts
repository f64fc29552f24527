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

// Loads no package and no other file: it explains why none can be loaded.

/** Descriptors that loading the program takes for a moment, roundly. */
const NEEDED = 1_024;

/** What to say of an error that means that the process cannot open more files; `undefined` for any other. */
export function tooManyOpenFiles(error: unknown): string | undefined {
  if (!(error instanceof Error) || !('code' in error)) return undefined;
  if (error.code !== 'EMFILE' && error.code !== 'ENFILE') return undefined;
  const whose = error.code === 'EMFILE' ? 'this process' : 'this machine';
  return `The limit of open files of ${whose} is reached. Allow at least ${NEEDED}, and one more for each connection of a caller: "ulimit -n" in a shell, LimitNOFILE in systemd, --ulimit nofile with Docker.`;
}
