import { describe, expect, test } from '@jest/globals';
import { createHash, randomBytes, randomUUID } from 'node:crypto';
import { existsSync } from 'node:fs';
import {
  cp,
  mkdir,
  readdir,
  readFile,
  rm,
  stat,
  symlink,
  truncate,
  writeFile,
} from 'node:fs/promises';
import { join } from 'node:path';
import { Database } from '../../../src/secrets/embedded/database.js';
import { openEmbeddedStore } from '../../../src/secrets/embedded/open-embedded-store.js';
import { rekeyStore } from '../../../src/secrets/embedded/rekey.js';
import {
  backupStore,
  checkBackup,
  checkOpenStore,
} from '../../../src/secrets/embedded/store-backup.js';
import { changedSecrets, restoreStore } from '../../../src/secrets/embedded/store-restore.js';
import { systemClock } from '../../../src/tokens/time.js';
import { collectGarbageUntil } from '../../support/collect-garbage.js';
import { temporaryFolders } from '../../support/temporary-folder.js';

const newFolder = temporaryFolders('store-backup');
const SECRET = 'service-token';

interface Made {
  readonly dataDir: string;
  readonly file: string;
  readonly versionId: string;
}

async function promote(dataDir: string, value: string, before?: string): Promise<string> {
  const store = await openEmbeddedStore({ dataDir });
  const versionId = randomUUID();
  await store.create(SECRET, 'for the test');
  await store.putPending(SECRET, versionId, value);
  await store.promote(SECRET, versionId, before);
  await store.close();
  return versionId;
}

/** A store with one version, and a backup of it. */
async function storeWithBackup(): Promise<Made> {
  const dataDir = join(await newFolder(), 'data');
  const versionId = await promote(dataDir, 'x'.repeat(9_000));
  const file = join(await newFolder(), 'backup');
  await backupStore({ dataDir, file });
  return { dataDir, file, versionId };
}

function changeBackup(file: string, change: (database: Database) => void): void {
  const database = new Database(file, systemClock);
  try {
    change(database);
  } finally {
    database.close();
  }
}

async function currentOf(dataDir: string, masterKey?: Uint8Array): Promise<string> {
  const store = await openEmbeddedStore({ dataDir, ...(masterKey && { masterKey }) });
  try {
    return (await store.read(SECRET)).versionId;
  } finally {
    await store.close();
  }
}

/** A digest of every file of a folder that is not a passing one. */
async function contents(folder: string): Promise<Record<string, string>> {
  await collectGarbageUntil(() => !existsSync(join(folder, 'secrets.db-wal')));
  const digests: Record<string, string> = {};
  for (const name of (await readdir(folder)).sort()) {
    const bytes = await readFile(join(folder, name));
    digests[name] = createHash('sha256').update(bytes).digest('hex');
  }
  return digests;
}

describe('a backup', () => {
  test('is one file of mode 0600, opens with the key alone, and says what is in it', async () => {
    const { dataDir, file } = await storeWithBackup();
    expect(((await stat(file)).mode & 0o777).toString(8)).toBe('600');
    const checked = await checkBackup(file, { dataDir });
    expect(checked).toMatchObject({ secrets: 1, versions: 1, damaged: [] });
    expect(checked.newestAt).toBeGreaterThan(Date.now() - 60_000);
    expect((await readFile(file)).includes('xxxx')).toBe(false);
    expect(await readdir(join(file, '..'))).toEqual(['backup']);
  });

  test('replaces a file only when told to', async () => {
    const { dataDir, file } = await storeWithBackup();
    await writeFile(file, 'the only copy of something');
    await expect(backupStore({ dataDir, file })).rejects.toMatchObject({ code: 'FILE_EXISTS' });
    expect(await readFile(file, 'utf8')).toBe('the only copy of something');
    await backupStore({ dataDir, file, replaces: true });
    expect((await checkBackup(file, { dataDir })).damaged).toEqual([]);
    expect(await readdir(join(file, '..'))).toEqual(['backup']);
  });

  test.each(['secrets.db', 'secrets.db-wal', 'master.key'])(
    'never takes the place of %s',
    async (name) => {
      const { dataDir, versionId } = await storeWithBackup();
      const link = join(await newFolder(), 'link');
      await symlink(dataDir, link);
      const before = await contents(dataDir);
      for (const folder of [dataDir, link]) {
        await expect(
          backupStore({ dataDir, file: join(folder, name), replaces: true }),
        ).rejects.toMatchObject({ code: 'FILE_EXISTS' });
      }
      expect(await contents(dataDir)).toEqual(before);
      expect(await currentOf(dataDir)).toBe(versionId);
    },
  );

  test('of a store with a damaged version is not written', async () => {
    const { dataDir, file } = await storeWithBackup();
    const database = new Database(join(dataDir, 'secrets.db'), systemClock);
    database.run('UPDATE version SET sealed_value = ?', randomBytes(80));
    database.close();
    const other = `${file}-2`;
    await expect(backupStore({ dataDir, file: other })).rejects.toMatchObject({
      code: 'BACKUP_INVALID',
      message: expect.stringMatching(/the version .* failed authentication/),
    });
    expect(await readdir(join(file, '..'))).toEqual(['backup']);
    expect((await checkOpenStore({ dataDir })).damaged).toHaveLength(1);
  });

  test('into a folder that does not exist names it', async () => {
    const { dataDir, file } = await storeWithBackup();
    const nowhere = join(file, '..', 'nowhere', 'backup');
    await expect(backupStore({ dataDir, file: nowhere })).rejects.toMatchObject({
      code: 'FILE_NOT_WRITTEN',
      message: expect.stringContaining(nowhere),
    });
  });
});

describe('restoring', () => {
  test('puts the backup in the place of what is there, for running stores too, and keeps that', async () => {
    const { dataDir, file, versionId } = await storeWithBackup();
    const later = await promote(dataDir, 'later', versionId);
    const running = await openEmbeddedStore({ dataDir });
    expect((await running.read(SECRET)).versionId).toBe(later);
    const report = await restoreStore({ dataDir, file });
    expect(report).toMatchObject({ secrets: 1, versions: 1, changedSecrets: [SECRET] });
    expect((await running.read(SECRET)).versionId).toBe(versionId);
    await running.close();
    // What was replaced is a backup as well.
    await restoreStore({ dataDir, file: report.replacedIn ?? '' });
    expect(await currentOf(dataDir)).toBe(later);
    expect((await readdir(dataDir)).filter((name) => name.endsWith('.restored'))).toEqual([]);
  });

  test('keeps the key of the store: a backup from before an exchange needs its own', async () => {
    const { dataDir, file, versionId } = await storeWithBackup();
    const old = Buffer.from(await readFile(join(dataDir, 'master.key'), 'utf8'), 'base64');
    const { keyId, previousKeyId } = await rekeyStore({ dataDir });
    const before = await contents(dataDir);
    await expect(restoreStore({ dataDir, file })).rejects.toMatchObject({
      code: 'STORE_KEY_WRONG',
      message: expect.stringMatching(
        new RegExp(`under the master key ${previousKeyId}.*--key-file`),
      ),
    });
    expect(await contents(dataDir)).toEqual(before);
    const report = await restoreStore({ dataDir, file, backupKeys: [old] });
    expect(report).toMatchObject({ keyId, backupKeyId: previousKeyId });
    expect(await currentOf(dataDir)).toBe(versionId);
    await expect(currentOf(dataDir, old)).rejects.toMatchObject({ code: 'STORE_KEY_WRONG' });
  });

  test('into an empty folder makes the store, with a key of its own where it has none', async () => {
    const { dataDir, file, versionId } = await storeWithBackup();
    const key = Buffer.from(await readFile(join(dataDir, 'master.key'), 'utf8'), 'base64');
    const empty = join(await newFolder(), 'data');
    const report = await restoreStore({ dataDir: empty, file, backupKeys: [key] });
    expect(report.replacedIn).toBeUndefined();
    expect(report.keyId).not.toBe(report.backupKeyId);
    expect(await currentOf(empty)).toBe(versionId);
    // The same store as before: later backups of the old folder fit.
    await backupStore({ dataDir, file, replaces: true });
    await restoreStore({ dataDir: empty, file, backupKeys: [key] });
  });

  test('the backup of another store needs to be told, unless the store holds nothing', async () => {
    const { dataDir, versionId } = await storeWithBackup();
    const other = await storeWithBackup();
    const backupKeys = [
      Buffer.from(await readFile(join(other.dataDir, 'master.key'), 'utf8'), 'base64'),
    ];
    const before = await contents(dataDir);
    await expect(restoreStore({ dataDir, file: other.file, backupKeys })).rejects.toMatchObject({
      code: 'BACKUP_OF_OTHER_STORE',
    });
    expect(await contents(dataDir)).toEqual(before);
    expect(await currentOf(dataDir)).toBe(versionId);
    await restoreStore({ dataDir, file: other.file, backupKeys, fromOtherStore: true });
    expect(await currentOf(dataDir)).toBe(other.versionId);
    const fresh = join(await newFolder(), 'data');
    await (await openEmbeddedStore({ dataDir: fresh })).close();
    await restoreStore({ dataDir: fresh, file: other.file, backupKeys });
    expect(await currentOf(fresh)).toBe(other.versionId);
  });

  test('over a damaged store is refused, with the command that helps', async () => {
    const { dataDir, file, versionId } = await storeWithBackup();
    await collectGarbageUntil(() => !existsSync(join(dataDir, 'secrets.db-wal')));
    await truncate(join(dataDir, 'secrets.db'), 5_000);
    const error = (await restoreStore({ dataDir, file }).catch(
      (reason: unknown) => reason,
    )) as Error;
    expect(error).toMatchObject({ code: 'STORE_DAMAGED' });
    const [, aside = '', files = ''] =
      /mkdir -m 700 (\S+) && mv (\S+)\* \S+\), and run this again/.exec(error.message) ?? [];
    expect(files).toBe(join(dataDir, 'secrets.db'));
    // As it says.
    await mkdir(aside, { mode: 0o700 });
    for (const name of await readdir(dataDir)) {
      if (!name.startsWith('secrets.db')) continue;
      await cp(join(dataDir, name), join(aside, name));
      await rm(join(dataDir, name));
    }
    await restoreStore({ dataDir, file });
    expect(await currentOf(dataDir)).toBe(versionId);
  });
});

describe('a file that is no whole backup changes nothing', () => {
  test('truncated anywhere', async () => {
    const { dataDir, file } = await storeWithBackup();
    await promote(dataDir, 'later', await currentOf(dataDir));
    const before = await contents(dataDir);
    const { size } = await stat(file);
    for (const length of [0, 1, 99, 4_096, 8_191, size - 4_096, size - 1]) {
      const cut = `${file}-${length}`;
      await cp(file, cut);
      await truncate(cut, length);
      await expect(restoreStore({ dataDir, file: cut })).rejects.toMatchObject({
        code: 'BACKUP_INVALID',
        message: expect.stringContaining(cut),
      });
    }
    expect(await contents(dataDir)).toEqual(before);
  });

  test('names nothing that a terminal would obey, and not everything', async () => {
    const { dataDir, file } = await storeWithBackup();
    const evil = '\u{1b}]0;title\u{7}\u{1b}[2J\nRestored: all is well\u{202e}';
    changeBackup(file, (database) => {
      database.run('PRAGMA foreign_keys = OFF');
      for (let index = 0; index < 500; index += 1) {
        database.run(
          "INSERT INTO secret VALUES (?, 'd', 1, 1, x'00')",
          index === 0 ? evil : `${evil}${index}`,
        );
      }
      database.run(
        'INSERT INTO version SELECT ?, ?, created_at, format, wrapped_key, sealed_value FROM version',
        evil,
        evil,
      );
    });
    const refused: unknown = await restoreStore({ dataDir, file }).catch((error: unknown) => error);
    expect(refused).toMatchObject({
      code: 'BACKUP_INVALID',
      message: expect.stringMatching(/ and 481 more failed authentication\. /),
    });
    // One printable line, of a length that a person reads.
    expect(String(refused)).toMatch(/^[\u{20}-\u{7e}]{1,3000}$/u);
  });

  test.each([
    ['value', 'UPDATE version SET sealed_value = zeroblob(3000000)'],
    ['data key', 'UPDATE version SET wrapped_key = zeroblob(3000000)'],
    ['code', 'UPDATE secret SET label_code = zeroblob(3000000)'],
    ['description', "UPDATE secret SET description = printf('%.*c', 3000000, 'x')"],
    ['id of a version', "UPDATE label SET version_id = printf('%.*c', 3000000, 'x')"],
  ])('with a %s larger than any is refused before it is read', async (_what, change) => {
    const { dataDir, file } = await storeWithBackup();
    changeBackup(file, (database) => database.run(change));
    await expect(restoreStore({ dataDir, file })).rejects.toMatchObject({
      code: 'BACKUP_INVALID',
      message: expect.stringContaining('larger than any secret'),
    });
  });

  test.each(['store_id', 'key_check'])('with a huge %s is refused', async (column) => {
    const { dataDir, file } = await storeWithBackup();
    changeBackup(file, (database) =>
      database.run(`UPDATE store SET ${column} = zeroblob(3000000)`),
    );
    await expect(restoreStore({ dataDir, file })).rejects.toMatchObject({ code: 'BACKUP_INVALID' });
  });

  test('with any bit changed: refused, or the bit did not matter and all is restored as it was', async () => {
    const { dataDir, file, versionId } = await storeWithBackup();
    const before = await contents(dataDir);
    const bytes = await readFile(file);
    const seen = new Map<string, number>();
    for (let round = 0; round < 120; round += 1) {
      const at = Math.floor((bytes.length * (round + 0.5)) / 120);
      const changed = Buffer.from(bytes);
      changed.writeUInt8(changed.readUInt8(at) ^ (1 << (round % 8)), at);
      const flipped = `${file}-flipped`;
      await writeFile(flipped, changed);
      const found = await checkBackup(flipped, { dataDir }).then(
        ({ versions }) => `sound: ${versions}`,
        (error: { code?: string }) => error.code ?? 'UNEXPECTED',
      );
      seen.set(found, (seen.get(found) ?? 0) + 1);
      if (found === 'sound: 1') continue;
      await expect(restoreStore({ dataDir, file: flipped })).rejects.toMatchObject({ code: found });
    }
    expect(await contents(dataDir)).toEqual(before);
    expect(await currentOf(dataDir)).toBe(versionId);
    expect(seen.get('BACKUP_INVALID')).toBeGreaterThan(10);
    // Unused space, the row's description; ids are not secret: other ones are another key, or another version's.
    expect([...seen.keys()].sort()).toEqual(expect.arrayContaining(['BACKUP_INVALID', 'sound: 1']));
    const others = [...seen.keys()].filter(
      (found) => !['BACKUP_INVALID', 'STORE_KEY_WRONG', 'sound: 1'].includes(found),
    );
    expect(others).toEqual([]);
  });

  test.each<[string, (path: string, made: Made) => Promise<unknown>, string]>([
    ['a text', (path) => writeFile(path, 'no backup '.repeat(999)), 'BACKUP_INVALID'],
    ['random bytes', (path) => writeFile(path, randomBytes(20_000)), 'BACKUP_INVALID'],
    ['a folder', (path) => mkdir(path), 'BACKUP_INVALID'],
    ['nothing', async () => {}, 'BACKUP_NOT_READ'],
    ['a link to nothing', (path) => symlink(`${path}-nowhere`, path), 'BACKUP_NOT_READ'],
    [
      'the database of something else',
      async (path) => {
        const database = new Database(path, systemClock);
        database.exec('CREATE TABLE somebody_elses (a)');
        database.close();
      },
      'BACKUP_INVALID',
    ],
    [
      'a store in use',
      async (path, { dataDir }) => {
        await cp(join(dataDir, 'secrets.db'), path);
        await writeFile(`${path}-wal`, 'frames');
      },
      'BACKUP_INVALID',
    ],
    [
      'a backup with a trigger',
      async (path, { file }) => {
        await cp(file, path);
        const database = new Database(path, systemClock);
        database.exec('CREATE TRIGGER evil AFTER INSERT ON version BEGIN DELETE FROM label; END');
        database.close();
      },
      'BACKUP_INVALID',
    ],
    [
      'a backup whose label was moved',
      async (path, { file }) => {
        await cp(file, path);
        const database = new Database(path, systemClock);
        database.exec("UPDATE label SET label = 'AWSPREVIOUS'");
        database.close();
      },
      'BACKUP_INVALID',
    ],
    [
      'a backup of a newer release',
      async (path, { file }) => {
        await cp(file, path);
        const database = new Database(path, systemClock);
        database.exec('PRAGMA user_version = 3');
        database.close();
      },
      'BACKUP_INVALID',
    ],
    [
      'the backup of a stranger',
      async (path) => cp((await storeWithBackup()).file, path),
      'STORE_KEY_WRONG',
    ],
  ])('%s', async (_, make, code) => {
    const made = await storeWithBackup();
    const { dataDir, versionId } = made;
    const path = join(await newFolder(), 'foreign');
    await make(path, made);
    const before = await contents(dataDir);
    await expect(restoreStore({ dataDir, file: path })).rejects.toMatchObject({
      code,
      message: expect.stringContaining(path),
    });
    expect(await contents(dataDir)).toEqual(before);
    expect(await currentOf(dataDir)).toBe(versionId);
  });
});

test('changedSecrets names what has another current version, or only one', () => {
  const map = (entries: Record<string, string>): ReadonlyMap<string, string> =>
    new Map(Object.entries(entries));
  expect(changedSecrets(map({}), map({}))).toEqual([]);
  expect(
    changedSecrets(
      map({ same: '1', other: '1', lost: '1' }),
      map({ same: '1', other: '2', new: '1' }),
    ),
  ).toEqual(['lost', 'new', 'other']);
});
