import { afterEach } from '@jest/globals';
import { readFileSync, statfsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/**
 * Where tests keep their folders: in memory if the machine allows it, because the embedded store waits for the disk at
 * each change.
 */
export const TEMPORARY = folderInMemory() ?? tmpdir();

/** Gives a function that makes empty folders; all of them are removed after each test. */
export function temporaryFolders(prefix: string): () => Promise<string> {
  const made: string[] = [];
  afterEach(async () => {
    for (const folder of made.splice(0)) await rm(folder, { recursive: true, force: true });
  });
  return async () => {
    const folder = await mkdtemp(join(TEMPORARY, `${prefix}-`));
    made.push(folder);
    return folder;
  };
}

/** Linux's /dev/shm, with room for all tests, and programs in it may run; a container's often has neither. */
function folderInMemory(): string | undefined {
  const folder = '/dev/shm';
  try {
    const mount = readFileSync('/proc/mounts', 'utf8')
      .split('\n')
      .map((line) => line.split(' '));
    const options = mount.findLast(([, place]) => place === folder)?.[3]?.split(',') ?? ['ro'];
    const { bavail, bsize } = statfsSync(folder);
    const fits = bavail * bsize > 512 * 1024 * 1024;
    return fits && !options.includes('ro') && !options.includes('noexec') ? folder : undefined;
  } catch {
    // Not Linux, or no such mount.
    return undefined;
  }
}
