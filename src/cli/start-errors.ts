// Loads no package and no other file: it explains why none can be loaded.

/** Descriptors that loading the program takes for a moment, roughly. */
const NEEDED = 1_024;

/** What to say of an error that means that the process cannot open more files; `undefined` for any other. */
export function tooManyOpenFiles(error: unknown): string | undefined {
  if (!(error instanceof Error) || !('code' in error)) return undefined;
  if (error.code !== 'EMFILE' && error.code !== 'ENFILE') return undefined;
  const whose = error.code === 'EMFILE' ? 'this process' : 'this machine';
  return `The limit of open files of ${whose} is reached. Allow at least ${NEEDED}, and one more for each connection of a caller: "ulimit -n" in a shell, LimitNOFILE in systemd, --ulimit nofile with Docker.`;
}
