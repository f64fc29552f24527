import { randomBytes } from 'node:crypto';
import { open, type FileHandle } from 'node:fs/promises';
import { decodeText, trimPasted } from '../../tokens/pasted-text.js';
import { SecretStoreError } from '../secret-store-error.js';
import {
  databaseFile,
  errnoOf,
  explained,
  keyFile,
  openOwn,
  prepareDataFolder,
  publish,
  shownMode,
  sizeOf,
} from './data-folder.js';
import { KEY_BYTES } from './envelope.js';

/** Where the master key may come from. */
export interface MasterKeySource {
  /** Base64 (RFC 4648 §4) of 32 bytes: `BROKER_MASTER_KEY`. It wins over the key file. */
  readonly fromEnvironment?: string | undefined;
  /** The data folder. Without an environment's key, the key is in its file `master.key`. */
  readonly dataDir: string;
}

/**
 * The master key of the embedded store: the environment's, or else the key file's, which is created on first start
 * (mode 0600). Any number of processes may start at once; all get the same key.
 *
 * @returns 32 bytes.
 * @throws {SecretStoreError} `STORE_KEY_WRONG` when the key is malformed, or is missing while a database exists that
 *   needs it; `STORE_ACCESS_DENIED` when others may read the key file; and what the file system refuses:
 *   `STORE_READ_ONLY`, `STORE_FULL`, `STORE_UNAVAILABLE`. No message contains the key.
 */
export async function resolveMasterKey(source: MasterKeySource): Promise<Uint8Array> {
  const { fromEnvironment, dataDir } = source;
  if (fromEnvironment !== undefined) {
    return parseKey(fromEnvironment, 'BROKER_MASTER_KEY');
  }
  await prepareDataFolder(dataDir);
  // Looked at before the key file: a database that another process creates a moment later has its key file by then.
  const databaseExists = (await sizeOf(databaseFile(dataDir))) !== undefined;
  const path = keyFile(dataDir);
  const existing = await readKeyFile(path);
  if (existing) return existing;
  if (databaseExists) {
    throw new SecretStoreError(
      'STORE_KEY_WRONG',
      `The database ${databaseFile(dataDir)} exists, but its master key does not: restore ${path} from a backup, or set BROKER_MASTER_KEY. Nothing was changed. Without the key nobody can read the store; to start anew, move the database away.`,
    );
  }
  await createKeyFile(path);
  const created = await readKeyFile(path);
  if (created) return created;
  throw new SecretStoreError(
    'STORE_UNAVAILABLE',
    `The key file ${path} was removed a moment after it was created. Start again.`,
  );
}

/**
 * Decodes a master key. White space around it, such as the line end that `openssl` prints, is dropped. The rest is
 * strict: padding, no characters of base64url, so that a mangled key is told at once and not when the store does not open.
 */
export function parseKey(pasted: string, name: string): Uint8Array {
  const text = trimPasted(pasted);
  const bytes = Buffer.from(text, 'base64');
  if (bytes.length === KEY_BYTES && bytes.toString('base64') === text) return bytes;
  throw new SecretStoreError(
    'STORE_KEY_WRONG',
    `${name} must be ${KEY_BYTES} bytes in base64, which is 44 characters with the last one "="; it has ${text.length} characters. Make one with: openssl rand -base64 32`,
  );
}

function readKeyFile(path: string): Promise<Uint8Array | undefined> {
  return explained(path, async () => {
    let handle: FileHandle;
    try {
      handle = await openOwn(path);
    } catch (error) {
      if (errnoOf(error) === 'ENOENT') return undefined;
      throw error;
    }
    try {
      const { mode, uid } = await handle.stat();
      refuseOpenKeyFile(path, { mode, uid, user: process.geteuid?.() });
      const text = decodeText(await handle.readFile()) ?? '';
      return parseKey(text, `The key file ${path}`);
    } finally {
      await handle.close();
    }
  });
}

/**
 * Refuses a key file that others may read or have written. Pure.
 *
 * @param file its mode and owner, and the user that asks: undefined on Windows, which has no such modes.
 */
export function refuseOpenKeyFile(
  path: string,
  file: { readonly mode: number; readonly uid: number; readonly user: number | undefined },
): void {
  const { mode, uid, user } = file;
  if (user === undefined) return;
  if (uid !== user && uid !== 0) {
    throw new SecretStoreError(
      'STORE_ACCESS_DENIED',
      `The key file ${path} belongs to user ${uid}, while the broker runs as user ${user}. Make sure that nobody replaced it, and run "chown ${user} ${path}".`,
    );
  }
  if ((mode & 0o077) !== 0) {
    throw new SecretStoreError(
      'STORE_ACCESS_DENIED',
      `The key file ${path} has mode ${shownMode(mode)}: other users can use the master key. Run "chmod 600 ${path}", and if others may have read it, start anew with another key.`,
    );
  }
}

async function createKeyFile(path: string): Promise<void> {
  const temporary = `${path}.${randomBytes(8).toString('hex')}.new`;
  await explained(path, async () => {
    const handle = await open(temporary, 'wx', 0o600);
    try {
      await handle.writeFile(`${randomBytes(KEY_BYTES).toString('base64')}\n`);
    } finally {
      await handle.close();
    }
  });
  await publish(temporary, path);
}
