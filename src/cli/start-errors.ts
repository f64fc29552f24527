// Loads no package and no other file: it explains why none can be loaded.
import { existsSync } from 'node:fs';

/** Descriptors that loading the program takes for a moment, roughly. */
const NEEDED = 1_024;

/** What to say of an error that means that the process cannot open more files; `undefined` for any other. */
export function tooManyOpenFiles(error: unknown): string | undefined {
  if (!(error instanceof Error) || !('code' in error)) return undefined;
  const isUnread = error.code === 'ERR_MODULE_NOT_FOUND' && namesInstalledPackage(error.message);
  if (error.code !== 'EMFILE' && error.code !== 'ENFILE' && !isUnread) return undefined;
  const whose = error.code === 'ENFILE' ? 'this machine' : 'this process';
  return `The limit of open files of ${whose} is reached. Allow at least ${NEEDED}, and one more for each connection of a caller: "ulimit -n" in a shell, LimitNOFILE in systemd, --ulimit nofile with Docker.`;
}

/**
 * Whether a message of Node.js denies a package that is there: where it cannot open the package.json, it takes the package for
 * one without, and looks for an index.js.
 */
function namesInstalledPackage(message: string): boolean {
  const [, folder] = /^Cannot find package '(.+)[/\\]index\.js' imported from /.exec(message) ?? [];
  return folder !== undefined && existsSync(`${folder}/package.json`);
}
