import { types } from 'node:util';
import Libsql from 'libsql';
import type { Clock } from '../../tokens/clock.js';
import { SecretStoreError } from '../secret-store-error.js';
import { explainSqlite, resultCodeOf } from './sqlite-errors.js';

/**
 * A value that is bound or read. Blobs come back as `Buffer`.
 *
 * Text is only ever bound: the driver aborts the process over text that is not UTF-8, which a damaged file may hold. So
 * queries read text as `CAST(… AS BLOB)`, see {@link textOf}.
 */
export type SqlValue = string | number | Buffer | null;

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

  /** Runs `act` again and again while another process holds the lock, without blocking the event loop. */
  async patiently<T>(act: () => T): Promise<T> {
    for (let attempt = 1; ; attempt += 1) {
      try {
        return this.#explained(act);
      } catch (error) {
        const locked = error instanceof SecretStoreError && error.code === 'STORE_BUSY';
        if (!locked || attempt === ATTEMPTS) throw error;
      }
      await keepingAlive(this.#clock.sleep(retryDelay(attempt, Math.random())));
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
      // After some errors, a full disk among them, SQLite has rolled back by itself.
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

/** A clock's wait lets the process end; half of a store call is no moment for that. */
async function keepingAlive(wait: Promise<void>): Promise<void> {
  const handle = setInterval(() => undefined, 60_000);
  try {
    await wait;
  } finally {
    clearInterval(handle);
  }
}
