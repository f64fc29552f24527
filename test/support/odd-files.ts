import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { link, mkdir, symlink, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { promisify } from 'node:util';

/** What may stand in the place of a file: each is made by a call, for a path where nothing is yet. */
export const ODD_FILES: Readonly<Record<string, (path: string) => Promise<void>>> = {
  'a folder': (path) => mkdir(path),
  'a named pipe (FIFO)': async (path) => void (await promisify(execFile)('mkfifo', [path])),
  'a socket': makeSocket,
};

/** Links: to a file, to nothing, to itself, and to a device that never ends. */
export const LINKS: Readonly<Record<string, (path: string) => Promise<void>>> = {
  'to a file': async (path) => {
    await writeFile(`${path}.target`, 'mine', { mode: 0o644 });
    await symlink(`${path}.target`, path);
  },
  'to nothing': (path) => symlink(`${path}.missing`, path),
  'to itself': (path) => symlink(path, path),
  'to a device': (path) => symlink('/dev/zero', path),
};

/** A server removes its own name when it closes, and leaves another name of its socket. */
async function makeSocket(path: string): Promise<void> {
  const server = createServer().listen(`${path}.own`);
  await once(server, 'listening');
  await link(`${path}.own`, path);
  server.close();
  await once(server, 'close');
}
