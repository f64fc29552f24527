import { randomBytes } from 'node:crypto';
import { constants } from 'node:fs';
import { access, chmod, lstat, open } from 'node:fs/promises';
import { systemClock, type Clock } from '../../tokens/time.js';
import { SecretStoreError, type SecretStore } from '../secret-store.js';
import { databaseFile, explained, prepareDataFolder, publish, sizeOf } from './data-folder.js';
import { Database, textOf, type Sql } from './database.js';
import { EmbeddedSecretStore } from './embedded-store.js';
import { Envelope, KEY_BYTES, resolveMasterKey, sameCode } from './envelope.js';

/** The schema that this code writes, in SQLite's `user_version`. */
const SCHEMA_VERSION = 1;

/** Marks the file as a store of ours, in SQLite's `application_id`: "STBk". */
const APPLICATION_ID = 0x53_54_42_6b;

/** The statements of the schema. SQLite keeps their text, and nothing else may be in the file. */
const TABLES: readonly string[] = [
  `CREATE TABLE store (
    id        INTEGER PRIMARY KEY CHECK (id = 1),
    store_id  BLOB NOT NULL,
    key_check BLOB NOT NULL
  ) STRICT`,
  `CREATE TABLE secret (
    secret_id   TEXT PRIMARY KEY,
    description TEXT NOT NULL,
    created_at  INTEGER NOT NULL,
    revision    INTEGER NOT NULL,
    label_code  BLOB NOT NULL
  ) STRICT`,
  `CREATE TABLE version (
    secret_id    TEXT NOT NULL REFERENCES secret (secret_id),
    version_id   TEXT NOT NULL,
    created_at   INTEGER NOT NULL,
    format       INTEGER NOT NULL,
    wrapped_key  BLOB NOT NULL,
    sealed_value BLOB NOT NULL,
    PRIMARY KEY (secret_id, version_id)
  ) STRICT`,
  `CREATE TABLE label (
    secret_id  TEXT NOT NULL REFERENCES secret (secret_id),
    label      TEXT NOT NULL,
    version_id TEXT NOT NULL,
    PRIMARY KEY (secret_id, label)
  ) STRICT`,
];

/** What identifies a store and its master key. */
interface StoreIdentity {
  readonly storeId: Buffer;
  readonly keyCheck: Buffer;
}

/** Creates the tables in an empty database. */
export function createSchema(sql: Sql, identity: StoreIdentity): void {
  for (const table of TABLES) sql.exec(table);
  sql.exec(`PRAGMA application_id = ${APPLICATION_ID}; PRAGMA user_version = ${SCHEMA_VERSION}`);
  sql.run(
    'INSERT INTO store (id, store_id, key_check) VALUES (1, ?, ?)',
    identity.storeId,
    identity.keyCheck,
  );
}

/**
 * Makes sure that the file is a sound store of this schema, and returns its identity. Reads only.
 *
 * @throws {SecretStoreError} `STORE_CORRUPT` for a damaged file or a database of something else,
 *   `STORE_VERSION_UNSUPPORTED` for one that a newer release wrote, `STORE_TAMPERED` when its identity is missing.
 */
function inspectStore(sql: Sql, file: string): StoreIdentity {
  const application = pragma(sql, 'application_id');
  const version = Number(pragma(sql, 'user_version'));
  if (application !== APPLICATION_ID || version < 1) {
    throw new SecretStoreError(
      'STORE_CORRUPT',
      `The file ${file} is not a secret store, but another SQLite database or what was left when the store was truncated. Restore it from a backup, or choose another data folder. It was not changed.`,
    );
  }
  if (version > SCHEMA_VERSION) {
    throw new SecretStoreError(
      'STORE_VERSION_UNSUPPORTED',
      `The secret store ${file} has schema ${version}, which a newer release wrote; this one knows schema ${SCHEMA_VERSION}. Run the newer release. Nothing was changed.`,
    );
  }
  const found = sql
    .rows('SELECT CAST(sql AS BLOB) AS statement FROM sqlite_schema WHERE sql IS NOT NULL')
    .map((row) => textOf(row, 'statement'));
  if (canonical(found) !== canonical(TABLES)) {
    // An added trigger or view would run with our statements.
    throw new SecretStoreError(
      'STORE_TAMPERED',
      `The tables of the secret store ${file} are not the ones that this package made. Find out who can write to the data folder, and restore the file from a backup. It was not changed.`,
    );
  }
  const [check] = sql.rows("SELECT quick_check = 'ok' AS sound FROM pragma_quick_check(1)");
  if (check?.['sound'] !== 1) {
    throw new SecretStoreError(
      'STORE_CORRUPT',
      `The secret store ${file} is damaged. Stop every broker that uses it, keep a copy, and restore it from a backup; or move it away and start anew: the next rotation mints a new service token.`,
    );
  }
  const row = sql.rows('SELECT store_id, key_check FROM store')[0];
  if (!Buffer.isBuffer(row?.['store_id']) || !Buffer.isBuffer(row['key_check'])) {
    throw new SecretStoreError(
      'STORE_TAMPERED',
      `The secret store ${file} has lost its identity row. Restore it from a backup.`,
    );
  }
  return { storeId: row['store_id'], keyCheck: row['key_check'] };
}

function pragma(sql: Sql, name: string): unknown {
  const row = sql.rows(`PRAGMA ${name}`)[0];
  return row === undefined ? undefined : Object.values(row)[0];
}

/** Statements in one text, whatever their order and layout. */
function canonical(statements: readonly string[]): string {
  return statements
    .map((statement) => statement.replaceAll(/\s+/g, ' '))
    .sort()
    .join(';');
}

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

/** Checks that this is our store and the right key before anything in the file is changed. */
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
