import { beforeEach, describe, expect, test } from '@jest/globals';
import { randomBytes, randomUUID } from 'node:crypto';
import { join } from 'node:path';
import { inspect } from 'node:util';
import { Database, type Sql } from '../../../src/secrets/embedded/database.js';
import { openEmbeddedStore } from '../../../src/secrets/embedded/open-embedded-store.js';
import type { SecretStore } from '../../../src/secrets/secret-store.js';
import { systemClock } from '../../../src/tokens/time.js';
import { temporaryFolders } from '../../support/temporary-folder.js';

const newFolder = temporaryFolders('tampering');
const SECRET = 'service-token';
const OTHER = 'other';

/** What somebody does who can write to the database and does not have the master key. */
type Attack = (sql: Sql) => void;

let dataDir: string;
let store: SecretStore;
let previous: string;
let current: string;
let pending: string;

beforeEach(async () => {
  dataDir = await newFolder();
  store = await openEmbeddedStore({ dataDir });
  [previous, current, pending] = [randomUUID(), randomUUID(), randomUUID()];
  for (const secretId of [SECRET, OTHER]) {
    await store.create(secretId, 'for the test');
    await store.putPending(secretId, previous, `canary previous of ${secretId}`);
    await store.promote(secretId, previous, undefined);
    await store.putPending(secretId, current, `canary current of ${secretId}`);
    await store.promote(secretId, current, previous);
    await store.putPending(secretId, pending, `canary pending of ${secretId}`);
  }
});

async function tamper(attack: Attack): Promise<void> {
  const database = new Database(join(dataDir, 'secrets.db'), systemClock);
  database.exec('PRAGMA foreign_keys = OFF');
  await database.write(attack);
  database.close();
}

async function expectTampered(call: Promise<unknown>): Promise<void> {
  const error: unknown = await call.catch((reason: unknown) => reason);
  expect(error).toMatchObject({
    code: 'STORE_TAMPERED',
    kind: 'misconfigured',
    message: expect.stringMatching(/"service-token".*who can write to the data folder.*backup/),
  });
  expect(inspect(error, { depth: 20, showHidden: true })).not.toContain('canary');
}

const set =
  (assignment: string, ...values: readonly (string | number | Buffer)[]): Attack =>
  (sql) => {
    sql.run(
      `UPDATE version SET ${assignment} WHERE secret_id = '${SECRET}' AND version_id = ?`,
      ...values,
      current,
    );
  };

/** Copies a column of one version over that of the current one. */
const copy =
  (column: string, from: () => readonly [secretId: string, versionId: string]): Attack =>
  (sql) => {
    const [row] = sql.rows(
      `SELECT ${column} AS copied FROM version WHERE secret_id = ? AND version_id = ?`,
      ...from(),
    );
    set(`${column} = ?`, row?.['copied'] ?? '')(sql);
  };

const both =
  (one: Attack, other: Attack): Attack =>
  (sql) => {
    one(sql);
    other(sql);
  };

describe('a version that was changed is not read and never becomes current', () => {
  const ofPrevious = (): readonly [string, string] => [SECRET, previous];
  const ofOther = (): readonly [string, string] => [OTHER, current];
  test.each<[string, Attack]>([
    ['its value replaced', set('sealed_value = ?', randomBytes(80))],
    ['its value cut', set('sealed_value = substr(sealed_value, 1, 20)')],
    ['its value emptied', set("sealed_value = x''")],
    ['its value longer', set("sealed_value = CAST(sealed_value || x'00' AS BLOB)")],
    ['its key replaced', set('wrapped_key = ?', randomBytes(60))],
    ['its key emptied', set("wrapped_key = x''")],
    ['its time changed', set('created_at = created_at - 1')],
    ['its format changed', set('format = 2')],
    ['the value of another version', copy('sealed_value', ofPrevious)],
    [
      'key and value of another version',
      both(copy('sealed_value', ofPrevious), copy('wrapped_key', ofPrevious)),
    ],
    [
      'key and value of the same version id of another secret',
      both(copy('sealed_value', ofOther), copy('wrapped_key', ofOther)),
    ],
    ['its row deleted', (sql) => sql.run('DELETE FROM version WHERE version_id = ?', current)],
  ])('%s', async (_, attack) => {
    await tamper(attack);
    await expectTampered(store.read(SECRET));
    await expectTampered(store.read(SECRET, { versionId: current }));
    await expectTampered(store.putPending(SECRET, current, 'anything'));
    await expectTampered(store.promote(SECRET, current, current));
    // What was not touched still works, and so does a new version.
    expect((await store.read(SECRET, { label: 'AWSPENDING' })).versionId).toBe(pending);
    await store.promote(SECRET, pending, current);
    expect((await store.read(SECRET)).value).toBe(`canary pending of ${SECRET}`);
  });
});

describe('labels that were changed are not believed by any method', () => {
  const label = (text: string, ...ids: readonly (() => string)[]): Attack => {
    return (sql) => sql.run(text, ...ids.map((id) => id()));
  };
  const mine = `secret_id = '${SECRET}'`;
  test.each<[string, Attack]>([
    [
      'AWSCURRENT moved back',
      label(
        `UPDATE label SET version_id = ? WHERE ${mine} AND label = 'AWSCURRENT'`,
        () => previous,
      ),
    ],
    ['AWSPENDING removed', label(`DELETE FROM label WHERE ${mine} AND label = 'AWSPENDING'`)],
    ['all removed', label(`DELETE FROM label WHERE ${mine}`)],
    ['one added', label(`INSERT INTO label VALUES ('${SECRET}', 'AWSOTHER', ?)`, () => current)],
    [
      'two exchanged',
      label(
        `UPDATE label SET version_id = CASE label WHEN 'AWSCURRENT' THEN ? ELSE ? END
         WHERE ${mine} AND label IN ('AWSCURRENT', 'AWSPENDING')`,
        () => pending,
        () => current,
      ),
    ],
    [
      'one that is not text',
      label(
        `UPDATE label SET label = CAST(x'ff41' AS TEXT) WHERE ${mine} AND label = 'AWSPENDING'`,
      ),
    ],
    [
      'a version id that is not text',
      label(`UPDATE label SET version_id = CAST(x'c328' AS TEXT) WHERE ${mine}`),
    ],
    ['the revision changed', label(`UPDATE secret SET revision = revision + 1 WHERE ${mine}`)],
    ['the code removed', label(`UPDATE secret SET label_code = x'' WHERE ${mine}`)],
    [
      'the code of another secret',
      label(
        `UPDATE secret SET label_code = (SELECT label_code FROM secret WHERE secret_id = '${OTHER}') WHERE ${mine}`,
      ),
    ],
  ])('%s', async (_, attack) => {
    await tamper(attack);
    const calls = [
      store.read(SECRET),
      store.read(SECRET, { label: 'AWSPENDING' }),
      store.read(SECRET, { versionId: previous }),
      store.describe(SECRET),
      store.putPending(SECRET, randomUUID(), 'value'),
      store.putClaim(SECRET, randomUUID(), 'value'),
      store.promote(SECRET, pending, current),
      store.clearPending(SECRET, pending),
      store.releaseClaim(SECRET, pending),
    ];
    for (const call of calls) await expectTampered(call);
    expect((await store.read(OTHER)).value).toBe(`canary current of ${OTHER}`);
  });
});

test.each([
  [
    'a trigger',
    'CREATE TRIGGER evil AFTER INSERT ON version BEGIN DELETE FROM version WHERE version_id <> new.version_id; END',
  ],
  ['a table', 'CREATE TABLE more (a)'],
  ['a column', 'ALTER TABLE label ADD COLUMN more TEXT'],
  ['a missing table', 'DROP TABLE label'],
])('%s of somebody else is told when the store is opened', async (_, statement) => {
  await tamper((sql) => sql.exec(statement));
  await expect(openEmbeddedStore({ dataDir })).rejects.toMatchObject({
    code: 'STORE_TAMPERED',
    message: expect.stringContaining(dataDir),
  });
});

test('a lost identity row is told when the store is opened', async () => {
  await tamper((sql) => sql.run('DELETE FROM store'));
  await expect(openEmbeddedStore({ dataDir })).rejects.toMatchObject({ code: 'STORE_TAMPERED' });
});

test('a changed key check, or store id, is told as a wrong key', async () => {
  await tamper((sql) => sql.run('UPDATE store SET store_id = ?', randomBytes(16)));
  await expect(openEmbeddedStore({ dataDir })).rejects.toMatchObject({ code: 'STORE_KEY_WRONG' });
});

test('a backup put back as a whole opens with what it held', async () => {
  const copyOf: Record<string, unknown[]> = {};
  await tamper((sql) => {
    for (const table of ['secret', 'version', 'label']) {
      copyOf[table] = sql.rows(`SELECT * FROM ${table}`).map((row) => Object.values(row));
    }
  });
  await store.promote(SECRET, pending, current);
  await tamper((sql) => {
    for (const table of ['label', 'version', 'secret']) sql.run(`DELETE FROM ${table}`);
    for (const [table, rows] of Object.entries(copyOf)) {
      for (const row of rows as (string | number | Buffer)[][]) {
        sql.run(`INSERT INTO ${table} VALUES (${row.map(() => '?').join(', ')})`, ...row);
      }
    }
  });
  expect((await store.read(SECRET)).versionId).toBe(current);
});
