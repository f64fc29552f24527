import { SecretStoreError } from '../secret-store.js';
import { blobOf, textOf, type Sql } from './database.js';
import type { WrappedMasterKey } from './master-keys.js';

/** The newest schema that this code knows, in SQLite's `user_version`. */
const SCHEMA_VERSION = 2;

/** Marks the file as a store of ours, in SQLite's `application_id`: "STBk". */
const APPLICATION_ID = 0x53_54_42_6b;

/** The statements of schema 1. SQLite keeps their text, and nothing else may be in the file. */
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

/**
 * What schema 2 adds: the master key itself, wrapped by a key management service, so that a backup has all that it needs. A
 * store whose master key is kept elsewhere has schema 1, which older releases read.
 */
const WRAPPED_KEY_TABLE = `CREATE TABLE wrapped_master_key (
    id      INTEGER PRIMARY KEY CHECK (id = 1),
    key_id  TEXT NOT NULL,
    wrapped BLOB NOT NULL
  ) STRICT`;

/** What identifies a store and its master key. */
export interface StoreIdentity {
  readonly storeId: Buffer;
  readonly keyCheck: Buffer;
  /** The master key as a key management service wrapped it; undefined when it is kept elsewhere. */
  readonly wrappedKey?: WrappedMasterKey;
}

/** Creates the tables in an empty database. */
export function createSchema(sql: Sql, identity: StoreIdentity): void {
  for (const table of TABLES) sql.exec(table);
  sql.exec(`PRAGMA application_id = ${APPLICATION_ID}; PRAGMA user_version = 1`);
  sql.run(
    'INSERT INTO store (id, store_id, key_check) VALUES (1, ?, ?)',
    identity.storeId,
    identity.keyCheck,
  );
  setMasterKey(sql, identity);
}

/** Notes which master key the store is under from now on: part of the transaction that wraps everything with it. */
export function setMasterKey(sql: Sql, { keyCheck, wrappedKey }: StoreIdentity): void {
  sql.run('UPDATE store SET key_check = ?', keyCheck);
  sql.exec('DROP TABLE IF EXISTS wrapped_master_key');
  sql.exec(`PRAGMA user_version = ${wrappedKey === undefined ? 1 : 2}`);
  if (wrappedKey === undefined) return;
  sql.exec(WRAPPED_KEY_TABLE);
  sql.run(
    'INSERT INTO wrapped_master_key (id, key_id, wrapped) VALUES (1, ?, ?)',
    wrappedKey.keyId,
    Buffer.from(wrappedKey.wrapped),
  );
}

/**
 * Makes sure that the file is a sound store of a known schema, and returns its identity. Reads only.
 *
 * @throws {SecretStoreError} `STORE_CORRUPT` for a damaged file or a database of something else,
 *   `STORE_VERSION_UNSUPPORTED` for one that a newer release wrote, `STORE_TAMPERED` when its identity is missing.
 */
export function inspectStore(sql: Sql, file: string): StoreIdentity {
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
  if (canonical(found) !== canonical(version === 1 ? TABLES : [...TABLES, WRAPPED_KEY_TABLE])) {
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
  return identityOf(sql, file);
}

/** The identity of a store that was inspected before; the master key may have changed since. */
export function identityOf(sql: Sql, file: string): StoreIdentity {
  // Lengths first: what somebody has made huge is not read into memory.
  const row = sql.rows(
    'SELECT store_id, key_check FROM store WHERE length(store_id) + length(key_check) < 1000',
  )[0];
  if (!Buffer.isBuffer(row?.['store_id']) || !Buffer.isBuffer(row['key_check'])) {
    throw new SecretStoreError(
      'STORE_TAMPERED',
      `The secret store ${file} has lost its identity row. Restore it from a backup.`,
    );
  }
  const identity = { storeId: row['store_id'], keyCheck: row['key_check'] };
  if (Number(pragma(sql, 'user_version')) < 2) return identity;
  const wrapped = sql.rows(
    'SELECT CAST(key_id AS BLOB) AS key_id, wrapped FROM wrapped_master_key WHERE octet_length(key_id) + length(wrapped) < 10000',
  )[0];
  if (wrapped === undefined) {
    throw new SecretStoreError(
      'STORE_TAMPERED',
      `The secret store ${file} has lost its wrapped master key. Restore it from a backup.`,
    );
  }
  const wrappedKey = { keyId: textOf(wrapped, 'key_id'), wrapped: blobOf(wrapped, 'wrapped') };
  return { ...identity, wrappedKey };
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
