import { randomBytes } from 'node:crypto';
import { constants } from 'node:fs';
import { access, chmod, lstat, open } from 'node:fs/promises';
import { systemClock, type Clock } from '../../tokens/time.js';
import { SecretStoreError, type SecretStore } from '../secret-store.js';
import { databaseFile, explained, prepareDataFolder, publish, sizeOf } from './data-folder.js';
import { Database } from './database.js';
import { EmbeddedSecretStore } from './embedded-store.js';
import { Envelope, KEY_BYTES } from './envelope.js';
import { resolveMasterKeys, type KeyRing, type KeyWrapping } from './master-keys.js';
import { StoreKeys, type MasterKeyOptions } from './store-keys.js';
import { createSchema, type StoreIdentity } from './store-schema.js';

/** Options of {@link openEmbeddedStore}. */
export interface EmbeddedStoreOptions {
  /** The folder that holds `secrets.db`, and the key file if there is one. Created with mode 0700. */
  readonly dataDir: string;
  /** 32 bytes. Default: the key file's, which is created on first start; see {@link resolveMasterKeys}. */
  readonly masterKey?: Uint8Array;
  /** Further keys that open the store, while one is exchanged for another. Only with `masterKey`. Default: none. */
  readonly olderMasterKeys?: readonly Uint8Array[];
  /** Keeps the master key wrapped by a key management service, beside what it protects. Default: it is kept elsewhere. */
  readonly wrapping?: KeyWrapping;
  /** Default: the machine's. */
  readonly clock?: Clock;
}

/**
 * Opens the embedded secret store: an encrypted SQLite file that any number of processes of one machine may share.
 * What a call has written when it resolves survives a kill and a loss of power.
 *
 * @throws {SecretStoreError} `STORE_KEY_WRONG` when the master key does not open the store, `STORE_CORRUPT` when the
 *   file is damaged or no store, `STORE_VERSION_UNSUPPORTED`, `STORE_ACCESS_DENIED`, `STORE_READ_ONLY`, `STORE_FULL`,
 *   `STORE_BUSY`, `STORE_UNAVAILABLE`. An error leaves the files as they were.
 */
export async function openEmbeddedStore(options: EmbeddedStoreOptions): Promise<SecretStore> {
  const { dataDir, clock = systemClock, wrapping } = options;
  await prepareDataFolder(dataDir);
  const keys: MasterKeyOptions = { dataDir, masterKeys: ringOf(options), wrapping };
  await createWhereMissing(keys, clock);
  const { store } = await openStoreFile(keys, clock);
  return store;
}

/** The keys that were given, the first one first. @throws {SecretStoreError} `STORE_KEY_WRONG` */
function ringOf({ masterKey, olderMasterKeys = [] }: EmbeddedStoreOptions): KeyRing | undefined {
  if (masterKey === undefined) return undefined;
  const ring: KeyRing = [masterKey, ...olderMasterKeys];
  const wrong = ring.find(({ length }) => length !== KEY_BYTES);
  if (wrong === undefined) return ring;
  throw new SecretStoreError(
    'STORE_KEY_WRONG',
    `The master key must have ${KEY_BYTES} bytes; this one has ${wrong.length}.`,
  );
}

/** Opens a store that exists, with the keys of its master. The caller closes the database, or the store. */
export async function openStoreFile(
  options: MasterKeyOptions,
  clock: Clock,
): Promise<{
  readonly file: string;
  readonly database: Database;
  readonly keys: StoreKeys;
  readonly store: EmbeddedSecretStore;
}> {
  const file = databaseFile(options.dataDir);
  // A file that it may not write SQLite opens for reading, and gives its log the same mode: so this comes before.
  await explained(file, () => access(file, constants.R_OK | constants.W_OK));
  const database = await openDatabase(file, clock);
  try {
    const keys = new StoreKeys({ ...options, database, clock });
    // Before anything in the file is changed.
    await keys.unlock();
    await useWriteAheadLog(database, file);
    // Deletes nothing. It fails now, and not at the first rotation, where SQLite itself finds that it may not write.
    await database.write((sql) => sql.run('DELETE FROM store WHERE id = 0'));
    return { file, database, keys, store: new EmbeddedSecretStore(database, keys, clock) };
  } catch (error) {
    database.close();
    throw error;
  }
}

/** Whether there is a store. @throws {SecretStoreError} `STORE_CORRUPT` for what is left of one. */
async function isStoreFile(file: string): Promise<boolean> {
  // The log first: if another process creates the store in between, a log is never seen without its file.
  const logSize = await sizeOf(`${file}-wal`);
  const size = await sizeOf(file);
  // Not read here, but opened by SQLite.
  for (const suffix of ['-shm', '-journal']) await sizeOf(`${file}${suffix}`);
  if (size !== undefined && size > 0) return true;
  // The file gets its name when it is complete: an empty one was truncated, and so was one that left its log behind.
  // SQLite would take both for new, and delete the log.
  if (size === undefined && !logSize) return false;
  throw new SecretStoreError(
    'STORE_CORRUPT',
    `The secret store ${file} is ${size === undefined ? 'missing, while its log (-wal) is there' : 'empty: it was truncated'}. Restore it from a backup; or move its files away and start anew: the next rotation mints a new service token. Nothing was changed.`,
  );
}

/**
 * Creates an empty store where there is none, under the first key of the ring or, with a key management service, under a
 * key that it makes. A missing key file is created with it.
 *
 * @param storeId 16 bytes. Default: random.
 */
export async function createWhereMissing(
  { dataDir, masterKeys, wrapping }: MasterKeyOptions,
  clock: Clock,
  storeId: Buffer = randomBytes(16),
): Promise<void> {
  const file = databaseFile(dataDir);
  if (wrapping !== undefined) {
    if (await isStoreFile(file)) return;
    const { key, keyId, wrapped } = await wrapping.generate(storeId);
    const { keyCheck } = new Envelope(key, storeId);
    return createStoreFile(file, { storeId, keyCheck, wrappedKey: { keyId, wrapped } }, clock);
  }
  // The key first: it is not created beside a database.
  const [key] = masterKeys ?? (await resolveMasterKeys({ dataDir }));
  if (await isStoreFile(file)) return;
  const { keyCheck } = new Envelope(key, storeId);
  await createStoreFile(file, { storeId, keyCheck }, clock);
}

/** Builds a complete, empty store under another name and publishes it, unless another process was faster. */
async function createStoreFile(file: string, identity: StoreIdentity, clock: Clock): Promise<void> {
  const temporary = `${file}.${randomBytes(8).toString('hex')}.new`;
  await explained(temporary, async () => (await open(temporary, 'wx', 0o600)).close());
  const database = new Database(temporary, clock);
  try {
    await database.write((sql) => createSchema(sql, identity));
  } finally {
    database.close();
  }
  await publish(temporary, file);
}

async function openDatabase(file: string, clock: Clock): Promise<Database> {
  await explained(file, async () => {
    // The log and the index that SQLite creates beside the file get the file's own mode. By its path, not by a
    // descriptor: closing one drops SQLite's locks. It is no link, and nobody else can put one there.
    if (((await lstat(file)).mode & 0o077) !== 0) await chmod(file, 0o600);
  });
  const database = new Database(file, clock);
  try {
    await database.patiently(() => {
      // FULL: when a commit returns it is on the disk, not only with the operating system. This reads the file, which
      // another process may hold just now, to turn its write-ahead log on.
      database.exec('PRAGMA synchronous = FULL');
      database.exec('PRAGMA foreign_keys = ON; PRAGMA trusted_schema = OFF');
    });
    return database;
  } catch (error) {
    database.close();
    throw error;
  }
}

/** Write-ahead logging lets other processes read while one writes. The mode stays with the file. */
async function useWriteAheadLog(database: Database, file: string): Promise<void> {
  const [mode] = await database.patiently(() => database.rows('PRAGMA journal_mode = WAL'));
  if (mode?.['journal_mode'] === 'wal') return;
  throw new SecretStoreError(
    'STORE_UNAVAILABLE',
    `The file system with ${file} has no shared memory, which SQLite's write-ahead log needs. Choose a data folder on a local disk.`,
    { kind: 'misconfigured' },
  );
}
