import type { SecretStoreErrorCode } from '../secret-store-error.js';

/** What a result code of SQLite means for the store, and what a person does about it. */
export interface SqliteFailure {
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
