import {
  createCipheriv,
  createDecipheriv,
  createHmac,
  hkdfSync,
  randomBytes,
  timingSafeEqual,
} from 'node:crypto';
import { open, type FileHandle } from 'node:fs/promises';
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
} from './data-folder.js';

/** Bytes of the master key, of each data key, and of the keys derived from the master key. */
export const KEY_BYTES = 32;

/** The format of sealed versions. It is authenticated along, so a row cannot claim another one. */
const FORMAT = 1;

const IV_BYTES = 12;
const TAG_BYTES = 16;

/** What a sealed version is bound to: the same bytes under any other identity do not open. */
export interface VersionIdentity {
  readonly secretId: string;
  readonly versionId: string;
  /** Milliseconds since the Unix epoch. */
  readonly createdAt: number;
}

/** A version as it is stored. */
export interface SealedVersion {
  readonly format: number;
  /** The version's data key, encrypted: nonce, ciphertext, tag. */
  readonly wrappedKey: Buffer;
  /** The value, encrypted with the data key: nonce, ciphertext, tag. */
  readonly sealedValue: Buffer;
}

/**
 * Encrypts and authenticates what one store holds. Nothing is written or read here.
 *
 * Each version has a random AES-256-GCM data key of its own, wrapped with AES-256-GCM by a key that HKDF (RFC 5869)
 * derives from the master key and the store's random id; so no key serves two purposes, and rows of one store do not
 * open in another with the same master key.
 */
export class Envelope {
  /** A fixed value of this master key and this store, which shows whether the master key is the right one. */
  readonly keyCheck: Buffer;
  readonly #wrappingKey: Buffer;
  readonly #labelKey: Buffer;

  constructor(masterKey: Uint8Array, storeId: Uint8Array) {
    this.keyCheck = derive(masterKey, storeId, 'key check');
    this.#wrappingKey = derive(masterKey, storeId, 'data key wrapping');
    this.#labelKey = derive(masterKey, storeId, 'label authentication');
  }

  seal(identity: VersionIdentity, value: Uint8Array): SealedVersion {
    const dataKey = randomBytes(KEY_BYTES);
    try {
      return {
        format: FORMAT,
        wrappedKey: encrypt(this.#wrappingKey, boundTo('data key', FORMAT, identity), dataKey),
        sealedValue: encrypt(dataKey, boundTo('value', FORMAT, identity), value),
      };
    } finally {
      dataKey.fill(0);
    }
  }

  /** The value; undefined when anything about the version was changed. */
  open(identity: VersionIdentity, sealed: SealedVersion): Buffer | undefined {
    if (sealed.format !== FORMAT) return undefined;
    const dataKey = decrypt(
      this.#wrappingKey,
      boundTo('data key', sealed.format, identity),
      sealed.wrappedKey,
    );
    if (dataKey?.length !== KEY_BYTES) return undefined;
    try {
      return decrypt(dataKey, boundTo('value', sealed.format, identity), sealed.sealedValue);
    } finally {
      dataKey.fill(0);
    }
  }

  /**
   * A code that authenticates which version has which label.
   *
   * It shows every label that was moved, added or removed by hand, and versions swapped behind their labels. It does
   * NOT show an older state of the same secret put back with its own code (as restoring a backup does, on purpose), a
   * secret removed as a whole, or the removal of versions without a label: a file cannot know its own past.
   */
  labelCode(secretId: string, revision: number, labels: ReadonlyMap<string, string>): Buffer {
    const sorted = [...labels].sort(([left], [right]) => (left < right ? -1 : 1)).flat();
    return createHmac('sha256', this.#labelKey)
      .update(framed(['labels', secretId, String(revision), ...sorted]))
      .digest();
  }
}

/** Compares two codes in constant time. */
export function sameCode(left: Uint8Array, right: Uint8Array): boolean {
  return left.length === right.length && timingSafeEqual(left, right);
}

/** Joins texts so that no two lists give the same bytes: each is preceded by its length in bytes. */
export function framed(parts: readonly string[]): Buffer {
  return Buffer.concat(
    parts.flatMap((part) => {
      const bytes = Buffer.from(part, 'utf8');
      const length = Buffer.alloc(4);
      length.writeUInt32BE(bytes.length);
      return [length, bytes];
    }),
  );
}

function boundTo(purpose: string, format: number, identity: VersionIdentity): Buffer {
  const { secretId, versionId, createdAt } = identity;
  return framed([purpose, String(format), secretId, versionId, String(createdAt)]);
}

function derive(masterKey: Uint8Array, storeId: Uint8Array, purpose: string): Buffer {
  const info = framed(['service-token-broker', 'embedded store', purpose]);
  return Buffer.from(hkdfSync('sha256', masterKey, storeId, info, KEY_BYTES));
}

function encrypt(key: Uint8Array, associated: Uint8Array, plain: Uint8Array): Buffer {
  const iv = randomBytes(IV_BYTES);
  const cipher = createCipheriv('aes-256-gcm', key, iv, { authTagLength: TAG_BYTES });
  cipher.setAAD(associated);
  return Buffer.concat([iv, cipher.update(plain), cipher.final(), cipher.getAuthTag()]);
}

function decrypt(key: Uint8Array, associated: Uint8Array, sealed: Uint8Array): Buffer | undefined {
  if (sealed.length < IV_BYTES + TAG_BYTES) return undefined;
  const decipher = createDecipheriv('aes-256-gcm', key, sealed.subarray(0, IV_BYTES), {
    authTagLength: TAG_BYTES,
  });
  decipher.setAAD(associated);
  decipher.setAuthTag(sealed.subarray(-TAG_BYTES));
  const plain = decipher.update(sealed.subarray(IV_BYTES, -TAG_BYTES));
  try {
    return Buffer.concat([plain, decipher.final()]);
  } catch {
    // The one reason for `final` to throw is a tag that does not match; that is the answer, not a fault.
    return undefined;
  }
}

/** Where the master key may come from. */
interface MasterKeySource {
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
