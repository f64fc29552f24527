import { SecretStoreError } from '../secret-store-error.js';
import { textOf, type Sql } from './database.js';

/** The schema that this code writes, in SQLite's `user_version`. */
export const SCHEMA_VERSION = 1;

/** Marks the file as a store of ours, in SQLite's `application_id`: "STBk". */
export const APPLICATION_ID = 0x53_54_42_6b;

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

/** What identifies a store, and tells its master key. */
export interface StoreIdentity {
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
 * Makes sure that the file is a sound store of this schema, and tells who it is. Reads only.
 *
 * @throws {SecretStoreError} `STORE_CORRUPT` for a damaged file or a database of something else,
 *   `STORE_VERSION_UNSUPPORTED` for one that a newer release wrote, `STORE_TAMPERED` when its identity is gone.
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
  if (canonical(found) !== canonical(TABLES)) {
    // A trigger or a view that somebody added would run with our statements.
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
