import { randomBytes } from 'node:crypto';
import { constants } from 'node:fs';
import { access, chmod, lstat, open } from 'node:fs/promises';
import { systemClock, type Clock } from '../../tokens/clock.js';
import { SecretStoreError } from '../secret-store-error.js';
import type { SecretStore } from '../secret-store.js';
import { databaseFile, explained, prepareDataFolder, publish, sizeOf } from './data-folder.js';
import { Database } from './database.js';
import { EmbeddedSecretStore } from './embedded-store.js';
import { Envelope, KEY_BYTES, sameCode } from './envelope.js';
import { resolveMasterKey } from './master-key.js';
import { createSchema, inspectStore } from './schema.js';

/** Options of {@link openEmbeddedStore}. */
export interface EmbeddedStoreOptions {
  /** The folder that holds `secrets.db`, and the key file if there is one. Created with mode 0700. */
  readonly dataDir: string;
  /** 32 bytes. Default: the key file's, which is created on first start; see {@link resolveMasterKey}. */
  readonly masterKey?: Uint8Array;
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
  const { dataDir, clock = systemClock } = options;
  await prepareDataFolder(dataDir);
  const masterKey = options.masterKey ?? (await resolveMasterKey({ dataDir }));
  if (masterKey.length !== KEY_BYTES) {
    throw new SecretStoreError(
      'STORE_KEY_WRONG',
      `The master key must have ${KEY_BYTES} bytes; this one has ${masterKey.length}.`,
    );
  }
  const file = databaseFile(dataDir);
  if (!(await isStoreFile(file))) await createStoreFile(file, masterKey, clock);
  // A file that it may not write SQLite opens for reading, and gives its log the same mode: so this comes before.
  await explained(file, () => access(file, constants.R_OK | constants.W_OK));
  const database = await openDatabase(file, clock);
  try {
    const envelope = await unlock(database, file, masterKey);
    await useWriteAheadLog(database, file);
    // Deletes nothing. It fails now, and not at the first rotation, where SQLite itself finds that it may not write.
    await database.write((sql) => sql.run('DELETE FROM store WHERE id = 0'));
    return new EmbeddedSecretStore(database, envelope, clock);
  } catch (error) {
    database.close();
    throw error;
  }
}

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

/** Builds a complete, empty store under another name and publishes it, unless another process was faster. */
async function createStoreFile(file: string, masterKey: Uint8Array, clock: Clock): Promise<void> {
  const temporary = `${file}.${randomBytes(8).toString('hex')}.new`;
  await explained(temporary, async () => (await open(temporary, 'wx', 0o600)).close());
  const storeId = randomBytes(16);
  const { keyCheck } = new Envelope(masterKey, storeId);
  const database = new Database(temporary, clock);
  try {
    await database.write((sql) => createSchema(sql, { storeId, keyCheck }));
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

/** Tells whether this is our store and the right key before anything in the file is changed. */
async function unlock(database: Database, file: string, masterKey: Uint8Array): Promise<Envelope> {
  const { storeId, keyCheck } = await database.read((sql) => inspectStore(sql, file));
  const envelope = new Envelope(masterKey, storeId);
  if (sameCode(envelope.keyCheck, keyCheck)) return envelope;
  throw new SecretStoreError(
    'STORE_KEY_WRONG',
    `The master key is not the one that the secret store ${file} was made with: give BROKER_MASTER_KEY, or the file master.key, as it was. Nothing was changed. Without that key nobody can read the store; to start anew, move it away.`,
  );
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
