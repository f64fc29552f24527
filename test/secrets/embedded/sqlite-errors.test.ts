import { describe, expect, test } from '@jest/globals';
import { explainSqlite, resultCodeOf } from '../../../src/secrets/embedded/database.js';

describe('explainSqlite', () => {
  test.each([
    ['SQLITE_PERM', 3, 'STORE_ACCESS_DENIED'],
    ['SQLITE_BUSY', 5, 'STORE_BUSY'],
    ['SQLITE_BUSY_RECOVERY', 261, 'STORE_BUSY'],
    ['SQLITE_BUSY_SNAPSHOT', 517, 'STORE_BUSY'],
    ['SQLITE_LOCKED', 6, 'STORE_BUSY'],
    ['SQLITE_NOMEM', 7, 'STORE_UNAVAILABLE'],
    ['SQLITE_READONLY', 8, 'STORE_READ_ONLY'],
    ['SQLITE_READONLY_CANTINIT', 1288, 'STORE_READ_ONLY'],
    ['SQLITE_READONLY_DIRECTORY', 1544, 'STORE_READ_ONLY'],
    ['SQLITE_READONLY_DBMOVED', 1032, 'STORE_UNAVAILABLE'],
    ['SQLITE_IOERR', 10, 'STORE_UNAVAILABLE'],
    ['SQLITE_IOERR_FSYNC', 1034, 'STORE_UNAVAILABLE'],
    ['SQLITE_IOERR_SHORT_READ', 522, 'STORE_CORRUPT'],
    ['SQLITE_IOERR_SHMSIZE', 4874, 'STORE_FULL'],
    ['SQLITE_IOERR_CORRUPTFS', 8458, 'STORE_CORRUPT'],
    ['SQLITE_CORRUPT', 11, 'STORE_CORRUPT'],
    ['SQLITE_CORRUPT_INDEX', 779, 'STORE_CORRUPT'],
    ['SQLITE_FULL', 13, 'STORE_FULL'],
    ['SQLITE_CANTOPEN', 14, 'STORE_ACCESS_DENIED'],
    ['SQLITE_AUTH', 23, 'STORE_ACCESS_DENIED'],
    ['SQLITE_NOTADB', 26, 'STORE_CORRUPT'],
    ['SQLITE_ERROR', 1, 'STORE_REQUEST_INVALID'],
    ['SQLITE_CONSTRAINT_PRIMARYKEY', 1555, 'STORE_REQUEST_INVALID'],
    ['no result code', undefined, 'STORE_REQUEST_INVALID'],
  ])('%s (%p) is %s', (_, resultCode, code) => {
    const failure = explainSqlite(resultCode);
    expect(failure.code).toBe(code);
    expect(failure.advice).toMatch(/^[A-Z].*\.$/s);
  });
});

describe('resultCodeOf', () => {
  test.each([
    ['an error of a statement', Object.assign(new Error('x'), { rawCode: 2067 }), 2067],
    [
      'a failure to open',
      new Error('ConnectionFailed("Unable to open connection to local database /a: 3/s.db: 14")'),
      14,
    ],
    ['any other error', new Error('ends with: 14'), undefined],
    ['a raw code of another type', Object.assign(new Error('x'), { rawCode: '5' }), undefined],
    ['a thrown text', 'ConnectionFailed', undefined],
    ['nothing', null, undefined],
  ])('of %s', (_, error, resultCode) => {
    expect(resultCodeOf(error)).toBe(resultCode);
  });
});
