import { describe, expect, test } from '@jest/globals';
import { createHash, randomBytes, randomUUID } from 'node:crypto';
import { existsSync } from 'node:fs';
import {
  chmod,
  cp,
  lstat,
  mkdir,
  readdir,
  readFile,
  rename,
  rm,
  stat,
  symlink,
  truncate,
  writeFile,
} from 'node:fs/promises';
import { join } from 'node:path';
import { Database } from '../../../src/secrets/embedded/database.js';
import { openEmbeddedStore } from '../../../src/secrets/embedded/open-embedded-store.js';
import { systemClock, type Clock } from '../../../src/tokens/time.js';
import { collectGarbageUntil } from '../../support/collect-garbage.js';
import { LINKS, ODD_FILES } from '../../support/odd-files.js';
import { temporaryFolders } from '../../support/temporary-folder.js';

const newFolder = temporaryFolders('open-store');
const SECRET = 'service-token';

/** A folder with a store in it that holds one current version; all of it is in the main file. */
async function folderWithStore(): Promise<{ dataDir: string; file: string; versionId: string }> {
  const dataDir = join(await newFolder(), 'data');
  const store = await openEmbeddedStore({ dataDir });
  const versionId = randomUUID();
  await store.create(SECRET, 'for the test');
  await store.putPending(SECRET, versionId, 'x'.repeat(30_000));
  await store.promote(SECRET, versionId, undefined);
  await store.close();
  const file = join(dataDir, 'secrets.db');
  await released(dataDir);
  return { dataDir, file, versionId };
}

/** Waits until a store that was closed has let go of its files: then all of it is in the main file. */
function released(dataDir: string): Promise<void> {
  return collectGarbageUntil(() => !existsSync(join(dataDir, 'secrets.db-wal')));
}

/** A digest of every file that holds data. An index (-shm) and an empty log come and go with whoever opens the store. */
async function contents(dataDir: string): Promise<Record<string, string>> {
  const digests: Record<string, string> = {};
  for (const name of (await readdir(dataDir)).sort()) {
    if (name.endsWith('-shm')) continue;
    const bytes = await readFile(join(dataDir, name)).catch(() => Buffer.alloc(0));
    if (bytes.length === 0 && name.endsWith('-wal')) continue;
    digests[name] = createHash('sha256').update(bytes).digest('hex');
  }
  return digests;
}

/** Opening fails with `code`, says `advice`, and leaves every file as it was. */
async function expectRefusal(
  dataDir: string,
  code: string,
  advice: RegExp,
  masterKey?: Uint8Array,
): Promise<void> {
  const before = await contents(dataDir);
  await expect(
    openEmbeddedStore({ dataDir, ...(masterKey && { masterKey }) }),
  ).rejects.toMatchObject({
    name: 'SecretStoreError',
    code,
    message: expect.stringMatching(advice),
  });
  expect(await contents(dataDir)).toEqual(before);
}

describe('a new store', () => {
  test('is a folder of mode 0700 with files of mode 0600, whatever the umask', async () => {
    const dataDir = join(await newFolder(), 'data');
    const umask = process.umask(0o000);
    try {
      const store = await openEmbeddedStore({ dataDir });
      await store.create(SECRET, 'for the test');
      expect(((await stat(dataDir)).mode & 0o777).toString(8)).toBe('700');
      const names = await readdir(dataDir);
      expect(names.toSorted()).toEqual([
        'master.key',
        'secrets.db',
        'secrets.db-shm',
        'secrets.db-wal',
      ]);
      for (const name of names) {
        expect(((await stat(join(dataDir, name))).mode & 0o777).toString(8)).toBe('600');
      }
      await store.close();
    } finally {
      process.umask(umask);
    }
  });

  test('is one and the same for all who open it at once', async () => {
    const dataDir = join(await newFolder(), 'data');
    const stores = await Promise.all(
      Array.from({ length: 10 }, () => openEmbeddedStore({ dataDir })),
    );
    await stores[0]?.create(SECRET, 'for the test');
    for (const store of stores) {
      expect((await store.describe(SECRET)).secretId).toBe(SECRET);
      await store.close();
    }
    expect((await readdir(dataDir)).filter((name) => name.endsWith('.new'))).toEqual([]);
  });

  test('takes a key of its own, and then makes no key file', async () => {
    const dataDir = await newFolder();
    const masterKey = randomBytes(32);
    await (await openEmbeddedStore({ dataDir, masterKey })).close();
    await released(dataDir);
    expect(await readdir(dataDir)).not.toContain('master.key');
    await expectRefusal(dataDir, 'STORE_KEY_WRONG', /master key does not/);
    await (await openEmbeddedStore({ dataDir, masterKey })).close();
  });

  test('uses a write-ahead log, so that reading goes on while another process writes', async () => {
    const { dataDir, file } = await folderWithStore();
    const store = await openEmbeddedStore({ dataDir });
    const database = new Database(file, systemClock);
    expect(database.rows('PRAGMA journal_mode')[0]).toMatchObject({ journal_mode: 'wal' });
    database.close();
    await store.close();
  });

  test('keeps no value readable in any of its files', async () => {
    const dataDir = await newFolder();
    const store = await openEmbeddedStore({ dataDir });
    await store.create(SECRET, 'for the test');
    await store.putPending(SECRET, randomUUID(), 'canary-in-the-clear');
    for (const name of await readdir(dataDir)) {
      expect((await readFile(join(dataDir, name))).includes('canary')).toBe(false);
    }
    await store.close();
  });

  test('tightens the mode of a database that was restored too open', async () => {
    const { dataDir, file } = await folderWithStore();
    await chmod(file, 0o644);
    await (await openEmbeddedStore({ dataDir })).close();
    expect(((await stat(file)).mode & 0o777).toString(8)).toBe('600');
  });
});

describe('what stands in the place of a file', () => {
  const NAMES = [
    'master.key',
    'secrets.db',
    'secrets.db-wal',
    'secrets.db-shm',
    'secrets.db-journal',
  ];
  const odd = Object.entries({ ...ODD_FILES, ...LINKS });

  test.each(NAMES)('%s is refused at once, and left as it is', async (name) => {
    const { dataDir: whole } = await folderWithStore();
    for (const [kind, make] of odd) {
      const besideStore = join(await newFolder(), 'copy');
      await cp(whole, besideStore, { recursive: true });
      for (const dataDir of [besideStore, await newFolder()]) {
        const path = join(dataDir, name);
        await rm(path, { force: true });
        await make(path);
        const before = [await lstat(path), await stat(path).catch(() => undefined)];
        await expect(openEmbeddedStore({ dataDir })).rejects.toMatchObject({
          code: 'STORE_UNAVAILABLE',
          kind: 'misconfigured',
          message: expect.stringContaining(
            `${path} is ${kind in LINKS ? 'a symbolic link' : kind}, where`,
          ),
        });
        const after = [await lstat(path), await stat(path).catch(() => undefined)];
        const modes = (found: typeof after): unknown =>
          found.map((stats) => [stats?.ino, stats?.mode]);
        expect(modes(after)).toEqual(modes(before));
      }
    }
  });

  test('a database that is a link: the mode of its target is not changed', async () => {
    const { dataDir, file } = await folderWithStore();
    const elsewhere = join(await newFolder(), 'elsewhere.db');
    await rename(file, elsewhere);
    await chmod(elsewhere, 0o644);
    await symlink(elsewhere, file);
    await expect(openEmbeddedStore({ dataDir })).rejects.toMatchObject({
      code: 'STORE_UNAVAILABLE',
      message: expect.stringContaining('symbolic link'),
    });
    expect((await stat(elsewhere)).mode & 0o777).toBe(0o644);
  });

  test('a folder that others may write is refused, with a key of the environment too', async () => {
    const dataDir = join(await newFolder(), 'data');
    await mkdir(dataDir);
    await chmod(dataDir, 0o775);
    for (const masterKey of [undefined, randomBytes(32)]) {
      await expectRefusal(dataDir, 'STORE_ACCESS_DENIED', /chmod go-w/, masterKey);
    }
    expect(await readdir(dataDir)).toEqual([]);
  });
});

describe('the master key', () => {
  test('that is another one is told apart from damage', async () => {
    const { dataDir, versionId } = await folderWithStore();
    await expectRefusal(dataDir, 'STORE_KEY_WRONG', /not the one/, randomBytes(32));
    const store = await openEmbeddedStore({ dataDir });
    expect((await store.read(SECRET)).versionId).toBe(versionId);
    await store.close();
  });

  test('that is too short is refused before anything is made', async () => {
    const dataDir = await newFolder();
    await expectRefusal(dataDir, 'STORE_KEY_WRONG', /must have 32 bytes/, randomBytes(16));
    expect(await readdir(dataDir)).toEqual([]);
  });

  test('that was lost is never replaced', async () => {
    const { dataDir } = await folderWithStore();
    await rm(join(dataDir, 'master.key'));
    await expectRefusal(dataDir, 'STORE_KEY_WRONG', /restore .*master\.key/);
    expect(await readdir(dataDir)).not.toContain('master.key');
  });
});

describe('a damaged file', () => {
  test.each([
    ['text', 'This is not a database. '.repeat(400)],
    ['a few bytes', 'short'],
  ])('that holds %s is no store', async (_, content) => {
    const { dataDir, file } = await folderWithStore();
    await writeFile(file, content);
    await expectRefusal(dataDir, 'STORE_CORRUPT', /damaged, truncated, or no database.*backup/);
  });

  test('that was truncated is refused at every length; where only the last page suffers, by the read', async () => {
    const { dataDir: whole, file } = await folderWithStore();
    const { size } = await stat(file);
    const lengths = [0, 1, 50, 100, 4095, 4096, 5000, 8192, size - 4096];
    for (const length of lengths) {
      const dataDir = join(await newFolder(), String(length));
      await cp(whole, dataDir, { recursive: true });
      await truncate(join(dataDir, 'secrets.db'), length);
      await expectRefusal(dataDir, 'STORE_CORRUPT', /backup/);
    }
    const dataDir = join(await newFolder(), 'last byte');
    await cp(whole, dataDir, { recursive: true });
    await truncate(join(dataDir, 'secrets.db'), size - 1);
    const openAndRead = async (): Promise<unknown> =>
      (await openEmbeddedStore({ dataDir })).read(SECRET);
    await expect(openAndRead()).rejects.toMatchObject({ code: 'STORE_CORRUPT' });
    const store = await openEmbeddedStore({ dataDir: whole });
    expect((await store.read(SECRET)).value).toHaveLength(30_000);
    await store.close();
  });

  test('that is gone while its log is there is not made anew', async () => {
    const { dataDir, file } = await folderWithStore();
    await rm(file);
    await writeFile(`${file}-wal`, randomBytes(100));
    await expectRefusal(dataDir, 'STORE_CORRUPT', /missing, while its log/);
  });

  test('that is a database of something else is left alone', async () => {
    const { dataDir, file } = await folderWithStore();
    await rm(file);
    const other = new Database(file, systemClock);
    other.exec('CREATE TABLE somebody_elses (a)');
    other.close();
    await expectRefusal(
      dataDir,
      'STORE_CORRUPT',
      /not a secret store, but another SQLite database/,
    );
  });

  test('that a newer release wrote is left alone', async () => {
    const { dataDir, file } = await folderWithStore();
    const newer = new Database(file, systemClock);
    newer.exec('PRAGMA user_version = 3; PRAGMA wal_checkpoint(TRUNCATE)');
    newer.close();
    await expectRefusal(dataDir, 'STORE_VERSION_UNSUPPORTED', /schema 3.*knows schema 2/);
  });
});

describe('a file that another process has locked', () => {
  /** A clock on which no wait takes time; `onWait` sees the number of each. */
  const clockWith = (onWait: (count: number) => void): Clock => {
    let count = 0;
    return {
      now: () => 0,
      sleep: () => {
        count += 1;
        onWait(count);
        return Promise.resolve();
      },
    };
  };

  /** Locks a store as the change to another journal mode does: not even reading is possible. */
  async function lockedStore(): Promise<{ dataDir: string; holder: Database }> {
    const { dataDir, file } = await folderWithStore();
    const holder = new Database(file, systemClock);
    holder.rows('PRAGMA journal_mode = DELETE');
    holder.exec('BEGIN EXCLUSIVE');
    return { dataDir, holder };
  }

  test('is opened as soon as the lock is gone', async () => {
    const { dataDir, holder } = await lockedStore();
    const clock = clockWith((count) => {
      if (count === 5) holder.exec('COMMIT');
    });
    const store = await openEmbeddedStore({ dataDir, clock });
    expect((await store.read(SECRET)).value).toHaveLength(30_000);
    await store.close();
    holder.close();
  });

  test('is given up in the end', async () => {
    const { dataDir, holder } = await lockedStore();
    let waits = 0;
    const clock = clockWith((count) => {
      waits = count;
    });
    await expect(openEmbeddedStore({ dataDir, clock })).rejects.toMatchObject({
      code: 'STORE_BUSY',
      kind: 'retry',
    });
    expect(waits).toBe(99);
    holder.exec('ROLLBACK');
    holder.close();
  });
});
