import { randomBytes } from 'node:crypto';
import { open, rename, unlink, type FileHandle } from 'node:fs/promises';
import { dirname } from 'node:path';
import { decodeText, trimPasted } from '../../tokens/json.js';
import { SecretStoreError } from '../secret-store.js';
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
  syncFolder,
} from './data-folder.js';
import { KEY_BYTES } from './envelope.js';

/** A master key that a key management service made, and the form of it that only the service can open. */
export interface WrappedMasterKey {
  /** The key of the service that wraps it: an ARN at AWS. */
  readonly keyId: string;
  readonly wrapped: Uint8Array;
}

/** Makes and unwraps master keys by a key management service. Bound to a store: a key of one opens in no other. */
export interface KeyWrapping {
  /** The keys of the service that this process is configured with. The first one wraps, all of them unwrap. */
  readonly keyIds: readonly string[];
  /** Makes a new master key. @throws {SecretStoreError} */
  generate(storeId: Uint8Array): Promise<WrappedMasterKey & { readonly key: Uint8Array }>;
  /** @throws {SecretStoreError} `STORE_KEY_WRONG` when none of the service's keys opens it. */
  unwrap(wrapped: WrappedMasterKey, storeId: Uint8Array): Promise<Uint8Array>;
}

/** One master key or several, 32 bytes each; the first one is the one to move to. */
export type KeyRing = readonly [Uint8Array, ...Uint8Array[]];

/** Where the master keys may come from. */
export interface MasterKeySource {
  /** The data folder. Without keys of the environment, they are in its file `master.key`. */
  readonly dataDir: string;
  /** Base64 (RFC 4648 §4) of 32 bytes, several separated by commas: `BROKER_MASTER_KEY`. It wins over the key file. */
  readonly fromEnvironment?: string | undefined;
}

/**
 * The ring of master keys of the embedded store: the environment's, or else the key file's, which is created on first
 * start (mode 0600). Any number of processes may start at once; all get the same key. The first key is the one that
 * `store rekey` moves the store to, and the one of a new store; any of them opens a store.
 *
 * @returns 32 bytes each; at least one key.
 * @throws {SecretStoreError} `STORE_KEY_WRONG` when a key is malformed, or is missing while a database exists that
 *   needs it; `STORE_ACCESS_DENIED` when others may read the key file; and what the file system refuses:
 *   `STORE_READ_ONLY`, `STORE_FULL`, `STORE_UNAVAILABLE`. No message contains a key.
 */
export async function resolveMasterKeys(source: MasterKeySource): Promise<KeyRing> {
  const { fromEnvironment, dataDir } = source;
  if (fromEnvironment !== undefined) {
    return distinctKeys(
      fromEnvironment.split(',').map((text) => parseKey(text, 'BROKER_MASTER_KEY')),
      'BROKER_MASTER_KEY',
    );
  }
  await prepareDataFolder(dataDir);
  // Looked at before the key file: a database that another process creates a moment later has its key file by then.
  const databaseExists = (await sizeOf(databaseFile(dataDir))) !== undefined;
  const path = keyFile(dataDir);
  const existing = await readKeyFile(path);
  if (existing) return existing;
  if (databaseExists) throw keyMissing(dataDir);
  await createKeyFile(path);
  const created = await readKeyFile(path);
  if (created) return created;
  throw new SecretStoreError(
    'STORE_UNAVAILABLE',
    `The key file ${path} was removed a moment after it was created. Start again.`,
  );
}

/** The error of a store that is there, while no key for it is. */
export function keyMissing(dataDir: string): SecretStoreError {
  return new SecretStoreError(
    'STORE_KEY_WRONG',
    `The database ${databaseFile(dataDir)} exists, but its master key does not: restore ${keyFile(dataDir)} from a backup, or set BROKER_MASTER_KEY. Nothing was changed. Without the key nobody can read the store; to start anew, move the database away.`,
  );
}

/**
 * Decodes a master key. White space around it, such as the line end that `openssl` prints, is dropped. The rest is
 * strict: padding, no characters of base64url, so that a mangled key is found at once and not when the store does not open.
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

/**
 * Decodes a key file: one key a line, the first of them the one that a store is moved to. Empty lines, and lines that begin
 * with "#", are skipped.
 *
 * @throws {SecretStoreError} `STORE_KEY_WRONG`; the message names the line, never what is in it.
 */
export function parseKeyRing(text: string, path: string): KeyRing {
  const lines = text.split(/\r\n|\r|\n/).flatMap((line, index) => {
    const trimmed = trimPasted(line);
    return trimmed === '' ? [] : [{ trimmed, place: `line ${index + 1}` }];
  });
  const keys = lines.filter(({ trimmed }) => !trimmed.startsWith('#'));
  return distinctKeys(
    keys.map(({ trimmed, place }) =>
      parseKey(
        trimmed,
        lines.length === 1 ? `The key file ${path}` : `The key in ${place} of the file ${path}`,
      ),
    ),
    `The key file ${path}`,
    keys.map(({ place }) => place),
  );
}

/** Two equal keys are a slip: the one that was to be exchanged stands in the place of the new one. */
function distinctKeys(
  keys: readonly Uint8Array[],
  name: string,
  places = keys.map((_, index) => `key ${index + 1}`),
): KeyRing {
  keys.forEach((key, index) => {
    const first = keys.findIndex((other) => Buffer.compare(key, other) === 0);
    if (first === index) return;
    throw new SecretStoreError(
      'STORE_KEY_WRONG',
      `${name} has the same key twice: ${places[index]} repeats ${places[first]}. Remove one of them, or put the new key in its place.`,
    );
  });
  const [first, ...others] = keys;
  return [first ?? parseKey('', name), ...others];
}

/** The keys of a key file; undefined when there is no such file. */
export function readKeyFile(path: string): Promise<KeyRing | undefined> {
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
      return parseKeyRing(decodeText(await handle.readFile()) ?? '', path);
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
      `The key file ${path} has mode ${shownMode(mode)}: other users can use the master key. Run "chmod 600 ${path}", and if others may have read it, exchange the key: service-token-broker store rekey.`,
    );
  }
}

async function createKeyFile(path: string): Promise<void> {
  const temporary = `${path}.${randomBytes(8).toString('hex')}.new`;
  await writeKeys(temporary, [randomBytes(KEY_BYTES)]);
  await publish(temporary, path);
}

/**
 * Puts another ring in the place of a key file, or makes one. At each moment the file is the whole old one or the whole
 * new one, whatever happens. For the one process that holds the store's write lock.
 */
export async function replaceKeyFile(path: string, keys: readonly Uint8Array[]): Promise<void> {
  // One name for all: what a killed process left there is written over, and does not pile up.
  const temporary = `${path}.new`;
  await explained(path, async () => {
    await removeFile(temporary);
    await writeKeys(temporary, keys);
    await rename(temporary, path);
    await syncFolder(dirname(path));
  });
}

/** Removes a key file, if there is one. */
export async function removeKeyFile(path: string): Promise<void> {
  await explained(path, async () => {
    await removeFile(`${path}.new`);
    await removeFile(path);
    await syncFolder(dirname(path));
  });
}

async function removeFile(path: string): Promise<void> {
  try {
    await unlink(path);
  } catch (error) {
    if (errnoOf(error) !== 'ENOENT') throw error;
  }
}

async function writeKeys(path: string, keys: readonly Uint8Array[]): Promise<void> {
  await explained(path, async () => {
    const handle = await open(path, 'wx', 0o600);
    try {
      // No comments: a release that knows no rings reads a file with one key.
      await handle.writeFile(
        keys.map((key) => `${Buffer.from(key).toString('base64')}\n`).join(''),
      );
      await handle.sync();
    } finally {
      await handle.close();
    }
  });
}
