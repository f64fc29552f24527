import Libsql from 'libsql';
import { types } from 'node:util';
import type { Clock } from '../../tokens/time.js';
import { SecretStoreError, type SecretStoreErrorCode } from '../secret-store.js';

/** What a result code of SQLite means for the store, and what a person does about it. */
interface SqliteFailure {
  readonly code: SecretStoreErrorCode;
  /** One or more whole sentences. */
  readonly advice: string;
}

const RESTORE =
  'Stop every broker that uses this folder, keep a copy of it, and restore secrets.db from a backup; or move it away and start anew: the next rotation mints a new service token.';

const FULL: SqliteFailure = {
  code: 'STORE_FULL',
  advice:
    'The disk is full. Free some space; nothing was changed, and what was stored can still be read.',
};

const CORRUPT: SqliteFailure = {
  code: 'STORE_CORRUPT',
  advice: `The file is damaged, truncated, or no database. ${RESTORE}`,
};

/** Extended result codes whose meaning differs from their primary code's. */
const EXTENDED: ReadonlyMap<number, SqliteFailure> = new Map([
  // SQLITE_IOERR_SHORT_READ: the file ends before the page does.
  [522, CORRUPT],
  // SQLITE_IOERR_SHMSIZE: the -shm file could not grow, which happens on a full disk only.
  [4874, FULL],
  // SQLITE_IOERR_CORRUPTFS
  [8458, CORRUPT],
  // SQLITE_READONLY_DBMOVED
  [
    1032,
    {
      code: 'STORE_UNAVAILABLE',
      advice: 'The file was moved or replaced while it was open. Restart the broker.',
    },
  ],
]);

/** By primary result code: https://www.sqlite.org/rescode.html */
const PRIMARY: ReadonlyMap<number, SqliteFailure> = new Map<number, SqliteFailure>([
  [3, denied('may not be used by this process')],
  [5, busy()],
  [6, busy()],
  [
    7,
    { code: 'STORE_UNAVAILABLE', advice: 'The machine has no memory left. Give the broker more.' },
  ],
  [
    8,
    {
      code: 'STORE_READ_ONLY',
      advice:
        'The file, its folder or the disk is read-only. Make all three writable for the broker; nothing was changed.',
    },
  ],
  [
    10,
    {
      code: 'STORE_UNAVAILABLE',
      advice:
        'The disk failed to read or write. Look at the kernel log and at the disk; a new attempt may succeed.',
    },
  ],
  [11, CORRUPT],
  [13, FULL],
  [14, denied('cannot be opened')],
  [23, denied('may not be used by this process')],
  [26, CORRUPT],
]);

/** What a result code of SQLite, primary or extended, means. A code that the store never expects is a bug. */
export function explainSqlite(resultCode: number | undefined): SqliteFailure {
  const failure =
    resultCode === undefined
      ? undefined
      : (EXTENDED.get(resultCode) ?? PRIMARY.get(resultCode & 0xff));
  return (
    failure ?? {
      code: 'STORE_REQUEST_INVALID',
      advice: `SQLite refused a statement with result code ${resultCode ?? 'unknown'}, which is a fault of this package. Please report it.`,
    }
  );
}

/** The result code that an error of `libsql` carries; undefined for any other error. */
export function resultCodeOf(error: unknown): number | undefined {
  if (typeof error !== 'object' || error === null) return undefined;
  if ('rawCode' in error && typeof error.rawCode === 'number') return error.rawCode;
  if (!('message' in error) || typeof error.message !== 'string') return undefined;
  // A failure to open has the code only at the end of its message: ConnectionFailed("... PATH: 14").
  const opened = /^ConnectionFailed\(.*: (\d+)"\)$/s.exec(error.message);
  return opened?.[1] === undefined ? undefined : Number(opened[1]);
}

function denied(what: string): SqliteFailure {
  return {
    code: 'STORE_ACCESS_DENIED',
    advice: `The file ${what}. Check that the data folder exists and belongs to the user that the broker runs as.`,
  };
}

function busy(): SqliteFailure {
  return {
    code: 'STORE_BUSY',
    advice:
      'Another process keeps it locked. Try again; if it stays so, look for a backup tool, an open sqlite3 shell or a stopped process that holds it.',
  };
}

/**
 * A value that is bound or read. Blobs come back as `Buffer`.
 *
 * Text is only ever bound: the driver aborts the process over text that is not UTF-8, which a damaged file may hold. So
 * queries read text as `CAST(… AS BLOB)`, see {@link textOf}.
 */
type SqlValue = string | number | Buffer | null;

/** A row by column name. */
export type SqlRow = Readonly<Record<string, SqlValue>>;

/** What can be done within a transaction. Everything is synchronous, so that nothing else runs in between. */
export interface Sql {
  rows(text: string, ...values: readonly SqlValue[]): SqlRow[];
  run(text: string, ...values: readonly SqlValue[]): void;
  exec(text: string): void;
}

/** How long SQLite itself waits for a lock, in milliseconds. The event loop stands still meanwhile, so: not long. */
const BLOCKING_WAIT = 10;

/** How often a locked store is tried; with {@link retryDelay} this is about five seconds. */
const ATTEMPTS = 100;

/** Milliseconds to wait before attempt `attempt + 1`: grows to 70 ms, with half of it at random. */
export function retryDelay(attempt: number, random: number): number {
  const ceiling = Math.min(70, 5 + attempt * 5);
  return ceiling / 2 + (ceiling / 2) * random;
}

/**
 * One SQLite file. It knows transactions, lock waits and errors, and nothing about secrets.
 *
 * Every method rejects, or throws, with a `SecretStoreError` and nothing else.
 */
export class Database implements Sql {
  readonly #file: string;
  readonly #clock: Clock;
  readonly #connection: Libsql.Database;
  readonly #statements = new Map<string, Libsql.Statement>();
  #closed = false;

  /** Opens the file, which is created when it does not exist. */
  constructor(file: string, clock: Clock) {
    this.#file = file;
    this.#clock = clock;
    this.#connection = this.#explained(() => new Libsql(file, { timeout: BLOCKING_WAIT }));
  }

  /** Runs `act` on one consistent snapshot. */
  read<T>(act: (sql: Sql) => T): Promise<T> {
    return this.patiently(() => this.#transaction('BEGIN', act));
  }

  /** Runs `act` as the only writer of all processes. Either all of it is on the disk afterwards, or nothing. */
  write<T>(act: (sql: Sql) => T): Promise<T> {
    return this.patiently(() => this.#transaction('BEGIN IMMEDIATE', act));
  }

  /**
   * As {@link Database.write}, for work that waits for something else, such as the disk. Nothing else may use this
   * connection meanwhile; other processes go on reading, and wait to write.
   */
  async hold<T>(act: (sql: Sql) => Promise<T>): Promise<T> {
    await this.patiently(() => this.exec('BEGIN IMMEDIATE'));
    try {
      const result = await act(this);
      this.exec('COMMIT');
      return result;
    } catch (error) {
      if (this.#connection.inTransaction) this.exec('ROLLBACK');
      throw error;
    }
  }

  /** Runs `act` again and again while another process holds the lock, without blocking the event loop. */
  async patiently<T>(act: () => T): Promise<T> {
    for (let attempt = 1; ; attempt += 1) {
      try {
        return this.#explained(act);
      } catch (error) {
        const locked = error instanceof SecretStoreError && error.code === 'STORE_BUSY';
        if (!locked || attempt === ATTEMPTS) throw error;
      }
      await this.#clock.sleep(retryDelay(attempt, Math.random()));
    }
  }

  rows(text: string, ...values: readonly SqlValue[]): SqlRow[] {
    // Never `get()`: it leaves the statement open after the first row, and with it the read transaction, so that
    // later reads of this connection see an old snapshot and the log cannot be checkpointed.
    return this.#explained(() =>
      this.#statement(text)
        .all([...values])
        .map((row) => plainRow(row as Record<string, unknown>)),
    );
  }

  run(text: string, ...values: readonly SqlValue[]): void {
    // Always as a list: the driver takes a single Buffer, or null, for an object of named values, and aborts.
    this.#explained(() => this.#statement(text).run([...values]));
  }

  exec(text: string): void {
    this.#explained(() => this.#connection.exec(text));
  }

  /** Closes the file. Its descriptors are released when the statements have been collected as garbage. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#statements.clear();
    this.#explained(() => this.#connection.close());
  }

  #transaction<T>(begin: string, act: (sql: Sql) => T): T {
    if (this.#closed) {
      throw new SecretStoreError(
        'STORE_REQUEST_INVALID',
        'The secret store was used after it was closed. Close it last.',
      );
    }
    this.exec(begin);
    try {
      const result = act(this);
      this.exec('COMMIT');
      return result;
    } catch (error) {
      // After some errors, a full disk among them, SQLite has already rolled back.
      if (this.#connection.inTransaction) this.exec('ROLLBACK');
      throw error;
    }
  }

  #statement(text: string): Libsql.Statement {
    const known = this.#statements.get(text);
    if (known) return known;
    const statement = this.#connection.prepare(text);
    this.#statements.set(text, statement);
    return statement;
  }

  #explained<T>(act: () => T): T {
    try {
      return act();
    } catch (error) {
      if (error instanceof SecretStoreError) throw error;
      const { code, advice } = explainSqlite(resultCodeOf(error));
      throw new SecretStoreError(code, `The secret store ${this.#file}: ${advice}`, {
        cause: error,
      });
    }
  }
}

/** The text of a column that was read as a blob. */
export function textOf(row: SqlRow, column: string): string {
  return blobOf(row, column).toString('utf8');
}

/** A column's blob; an empty one when the column holds something else. */
export function blobOf(row: SqlRow, column: string): Buffer {
  const value = row[column];
  return Buffer.isBuffer(value) ? value : Buffer.alloc(0);
}

function plainRow(row: Record<string, unknown>): SqlRow {
  const plain: Record<string, SqlValue> = {};
  for (const [name, value] of Object.entries(row)) {
    plain[name] = types.isArrayBuffer(value) ? Buffer.from(value) : (value as SqlValue);
  }
  return plain;
}
