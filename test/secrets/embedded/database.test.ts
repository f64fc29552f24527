import { describe, expect, test } from '@jest/globals';
import { join } from 'node:path';
import { Database, explainSqlite, resultCodeOf } from '../../../src/secrets/embedded/database.js';
import { systemClock, type Clock } from '../../../src/tokens/time.js';
import { temporaryFolders } from '../../support/temporary-folder.js';

const newFolder = temporaryFolders('database');

/** Counts the waits, and lets nobody wait for real. */
function countingClock(
  onWait: (count: number) => void = () => undefined,
): Clock & { waits: number } {
  const clock = {
    waits: 0,
    now: () => 0,
    sleep: (): Promise<void> => {
      clock.waits += 1;
      onWait(clock.waits);
      return Promise.resolve();
    },
  };
  return clock;
}

async function newDatabase(clock: Clock = systemClock): Promise<{ file: string; db: Database }> {
  const file = join(await newFolder(), 'test.db');
  const db = new Database(file, clock);
  db.rows('PRAGMA journal_mode = WAL');
  db.exec('CREATE TABLE item (name TEXT PRIMARY KEY, content BLOB) STRICT');
  return { file, db };
}

const insert = 'INSERT INTO item (name, content) VALUES (?, ?)';
const names = (db: Database): Promise<unknown[]> =>
  db.read((sql) => sql.rows('SELECT name FROM item ORDER BY name').map((row) => row['name']));

describe('a transaction', () => {
  test('is undone as a whole when anything in it throws', async () => {
    const { db } = await newDatabase();
    await db.write((sql) => sql.run(insert, 'kept', null));
    const failure = db.write((sql) => {
      sql.run(insert, 'undone', null);
      sql.run('DELETE FROM item WHERE name = ?', 'kept');
      sql.run(insert, 'undone', null);
    });
    await expect(failure).rejects.toMatchObject({ code: 'STORE_REQUEST_INVALID', kind: 'bug' });
    expect(await names(db)).toEqual(['kept']);
    db.close();
  });

  test('sees what another connection has committed, after any number of reads before', async () => {
    const { file, db } = await newDatabase();
    const other = new Database(file, systemClock);
    for (const name of ['a', 'b', 'c', 'd']) {
      await db.read((sql) => sql.rows('SELECT name FROM item WHERE name = ?', 'a'));
      await other.write((sql) => sql.run(insert, name, Buffer.from(name)));
      expect((await names(db)).at(-1)).toBe(name);
    }
    expect(db.rows('PRAGMA wal_checkpoint(TRUNCATE)')[0]).toMatchObject({ busy: 0 });
    db.close();
    other.close();
  });

  test('gives blobs back as buffers, and more rows than the driver fetches at once', async () => {
    const { db } = await newDatabase();
    await db.write((sql) => {
      for (let index = 0; index < 250; index += 1) {
        sql.run(insert, `n${String(index).padStart(3, '0')}`, Buffer.from([index % 256, 1]));
      }
    });
    const rows = db.rows('SELECT content FROM item ORDER BY name');
    expect(rows).toHaveLength(250);
    expect(rows.every((row) => Buffer.isBuffer(row['content']))).toBe(true);
    expect(rows[249]?.['content']).toEqual(Buffer.from([249, 1]));
    db.close();
  });

  test('takes a single value of any type', async () => {
    const { db } = await newDatabase();
    await db.write((sql) => sql.run(insert, 'a', Buffer.alloc(0)));
    for (const value of [Buffer.from([7]), Buffer.alloc(0), null]) {
      await db.write((sql) => sql.run('UPDATE item SET content = ?', value));
      expect(db.rows('SELECT content FROM item')[0]?.['content']).toEqual(value);
      expect(db.rows('SELECT name FROM item WHERE content IS ?', value)).toHaveLength(1);
    }
    db.close();
  });

  test('is refused after close', async () => {
    const { db } = await newDatabase();
    db.close();
    db.close();
    await expect(db.read((sql) => sql.rows('SELECT 1'))).rejects.toMatchObject({
      code: 'STORE_REQUEST_INVALID',
      message: expect.stringContaining('closed'),
    });
  });
});

describe('a locked file', () => {
  test('is tried again until the lock is gone', async () => {
    const { file, db: holder } = await newDatabase();
    const clock = countingClock((count) => {
      if (count === 3) holder.exec('COMMIT');
    });
    const waiting = new Database(file, clock);
    holder.exec('BEGIN IMMEDIATE');
    await waiting.write((sql) => sql.run(insert, 'patient', null));
    expect(clock.waits).toBe(3);
    expect(await names(holder)).toEqual(['patient']);
    holder.close();
    waiting.close();
  });

  test('can be read meanwhile', async () => {
    const { file, db: holder } = await newDatabase();
    const clock = countingClock();
    const reader = new Database(file, clock);
    holder.exec('BEGIN IMMEDIATE');
    expect(await names(reader)).toEqual([]);
    expect(clock.waits).toBe(0);
    holder.exec('COMMIT');
    holder.close();
    reader.close();
  });

  test('is given up after about five seconds of waiting, and can be used afterwards', async () => {
    const { file, db: holder } = await newDatabase();
    const clock = countingClock();
    const waiting = new Database(file, clock);
    holder.exec('BEGIN IMMEDIATE');
    await expect(waiting.write((sql) => sql.run(insert, 'late', null))).rejects.toMatchObject({
      code: 'STORE_BUSY',
      kind: 'retry',
      message: expect.stringContaining(file),
    });
    expect(clock.waits).toBe(99);
    holder.exec('COMMIT');
    await waiting.write((sql) => sql.run(insert, 'late', null));
    expect(await names(holder)).toEqual(['late']);
    holder.close();
    waiting.close();
  });
});

describe('a file that cannot grow', () => {
  test('is full: nothing is changed, reading goes on, and so does writing once there is room', async () => {
    const { db } = await newDatabase();
    await db.write((sql) => sql.run(insert, 'kept', null));
    db.exec('PRAGMA max_page_count = 4');
    const write = (): Promise<void> =>
      db.write((sql) => sql.run(insert, 'large', Buffer.alloc(60_000)));
    await expect(write()).rejects.toMatchObject({ code: 'STORE_FULL', kind: 'retry' });
    expect(await names(db)).toEqual(['kept']);
    db.exec('PRAGMA max_page_count = 1000');
    await write();
    expect(await names(db)).toEqual(['kept', 'large']);
    db.close();
  });
});

test('a connection that may not write says so', async () => {
  const { db } = await newDatabase();
  db.exec('PRAGMA query_only = 1');
  await expect(db.write((sql) => sql.run(insert, 'x', null))).rejects.toMatchObject({
    code: 'STORE_READ_ONLY',
  });
  db.close();
});

test('a file in a folder that does not exist cannot be opened', async () => {
  const file = join(await newFolder(), 'missing', 'test.db');
  expect(() => new Database(file, systemClock)).toThrow(
    expect.objectContaining({ code: 'STORE_ACCESS_DENIED' }),
  );
});

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
