import type { Stats } from 'node:fs';

/**
 * What stands at a path where a regular file is expected: reading a FIFO or a device may wait forever, and a link leads
 * elsewhere. Pure.
 *
 * @returns `undefined` for a regular file.
 */
export function otherThanFile(stats: Stats): string | undefined {
  if (stats.isFile()) return undefined;
  if (stats.isDirectory()) return 'a folder';
  if (stats.isSymbolicLink()) return 'a symbolic link';
  if (stats.isFIFO()) return 'a named pipe (FIFO)';
  if (stats.isSocket()) return 'a socket';
  return 'a device';
}
