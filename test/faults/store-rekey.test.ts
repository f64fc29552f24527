import { describe, expect, test } from '@jest/globals';
import { spawn, spawnSync, type SpawnSyncReturns } from 'node:child_process';
import { randomBytes, randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { cp, mkdir, readdir, readFile, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Database } from '../../src/secrets/embedded/database.js';
import { openEmbeddedStore } from '../../src/secrets/embedded/open-embedded-store.js';
import { rekeyStore } from '../../src/secrets/embedded/rekey.js';
import {
  backupStore,
  checkBackup,
  checkOpenStore,
} from '../../src/secrets/embedded/store-backup.js';
import { restoreStore } from '../../src/secrets/embedded/store-restore.js';
import { systemClock } from '../../src/tokens/time.js';
import { collectGarbageUntil } from '../support/collect-garbage.js';
import { temporaryFolders } from '../support/temporary-folder.js';
import { program } from './embedded-child.js';
import { killPoints } from './kill-points.js';

const newFolder = temporaryFolders('store-rekey');
const SECRET = 'service-token';
const OTHER = 'peers';

/** Values by version id, for each secret. */
type Contents = ReadonlyMap<string, string>;

/** A folder with a store whose contents are all in its main file. */
async function folderWithStore(): Promise<{ dataDir: string; contents: Contents; key: string }> {
  const dataDir = join(await newFolder(), 'data');
  const store = await openEmbeddedStore({ dataDir });
  const contents = new Map<string, string>();
  for (const secretId of [SECRET, OTHER]) {
    await store.create(secretId, 'for the test');
    let current: string | undefined;
    for (const text of ['first', 'second']) {
      const versionId = randomUUID();
      contents.set(`${secretId} ${versionId}`, `${text} of ${secretId}`);
      await store.putPending(secretId, versionId, `${text} of ${secretId}`);
      await store.promote(secretId, versionId, current);
      current = versionId;
    }
  }
  await store.close();
  await collectGarbageUntil(() => !existsSync(join(dataDir, 'secrets.db-wal')));
  const key = (await readFile(join(dataDir, 'master.key'), 'utf8')).trim();
  return { dataDir, contents, key };
}

interface Outcome {
  readonly ok: boolean;
  readonly code?: string;
  readonly report?: Readonly<Record<string, unknown>>;
  readonly writes: number;
}

/** Runs an operation in a process of its own, which is killed before its n-th write. */
function run(
  operation: 'rekey' | 'backup' | 'restore',
  options: object,
  victim = 0,
): SpawnSyncReturns<Buffer> {
  const args = [program('store-fault.mjs'), operation, JSON.stringify(options), String(victim)];
  return spawnSync(process.execPath, args);
}

function outcomeOf(result: SpawnSyncReturns<Buffer>): Outcome {
  expect(result.stderr.toString()).toBe('');
  expect(result.signal).toBeNull();
  return JSON.parse(result.stdout.toString()) as Outcome;
}

async function expectContents(
  options: Parameters<typeof openEmbeddedStore>[0],
  contents: Contents,
): Promise<void> {
  const store = await openEmbeddedStore(options);
  for (const [name, value] of contents) {
    const [secretId = '', versionId = ''] = name.split(' ');
    expect((await store.read(secretId, { versionId })).value).toBe(value);
  }
  await store.close();
}

const keysOf = async (dataDir: string): Promise<readonly string[]> =>
  (await readFile(join(dataDir, 'master.key'), 'utf8')).trim().split('\n');

/** The wrapped data keys, as they are in the file. */
async function wrappedKeys(dataDir: string): Promise<readonly Buffer[]> {
  const database = new Database(join(dataDir, 'secrets.db'), systemClock);
  const rows = await database.read((sql) => sql.rows('SELECT wrapped_key FROM version'));
  database.close();
  return rows.map((row) => row['wrapped_key'] as Buffer);
}

describe('an exchange that is killed before any of its writes', () => {
  test('leaves a store that the ring opens; started again, it ends, and the old key opens nothing', async () => {
    const whole = await folderWithStore();
    const old = await wrappedKeys(whole.dataDir);
    const parent = await newFolder();
    const rehearsal = join(parent, '0');
    await cp(whole.dataDir, rehearsal, { recursive: true });
    const { writes } = outcomeOf(run('rekey', { dataDir: rehearsal }));
    expect(writes).toBeGreaterThan(20);
    let kept = 0;
    for (const victim of killPoints(writes)) {
      const dataDir = join(parent, String(victim));
      await cp(whole.dataDir, dataDir, { recursive: true });
      expect(run('rekey', { dataDir }, victim).signal).toBe('SIGKILL');
      // Whoever has the ring opens it.
      await expectContents({ dataDir }, whole.contents);
      const ring = await keysOf(dataDir);
      if (ring.includes(whole.key)) kept += 1;

      const report = await rekeyStore({ dataDir });
      await expectContents({ dataDir }, whole.contents);
      const after = await keysOf(dataDir);
      expect(after).toHaveLength(1);
      expect(after).not.toContain(whole.key);
      // A key that was in the ring when it was killed is the one that it goes on with; at the very end, another exchange.
      if (ring.length === 2) expect(after[0]).toBe(ring[0]);
      expect(report).toMatchObject({ damaged: [], oldKeyIds: [], isScrubbed: true });
      const masterKey = Buffer.from(whole.key, 'base64');
      await expect(openEmbeddedStore({ dataDir, masterKey })).rejects.toMatchObject({
        code: 'STORE_KEY_WRONG',
        message: expect.stringMatching(/not the one .*"store rekey" has exchanged it/),
      });
      await collectGarbageUntil(() => !existsSync(join(dataDir, 'secrets.db-wal')));
      expect((await readdir(dataDir)).sort()).toEqual(['master.key', 'secrets.db']);
      const bytes = await readFile(join(dataDir, 'secrets.db'));
      for (const wrapped of old) expect(bytes.includes(wrapped)).toBe(false);
    }
    expect(kept).toBeGreaterThan(0);
    expect(kept).toBeLessThan(killPoints(writes).length);
  });

  test('with a ring of the environment: the same, and the ring stays as it is', async () => {
    const whole = await folderWithStore();
    const fresh = randomBytes(32).toString('base64');
    const parent = await newFolder();
    const options = { masterKeys: [fresh, whole.key] };
    const rehearsal = join(parent, '0');
    await cp(whole.dataDir, rehearsal, { recursive: true });
    const { writes } = outcomeOf(run('rekey', { ...options, dataDir: rehearsal }));
    const ring = {
      masterKey: Buffer.from(fresh, 'base64'),
      olderMasterKeys: [Buffer.from(whole.key, 'base64')],
    };
    for (const victim of killPoints(writes)) {
      const dataDir = join(parent, String(victim));
      await cp(whole.dataDir, dataDir, { recursive: true });
      expect(run('rekey', { ...options, dataDir }, victim).signal).toBe('SIGKILL');
      await expectContents({ ...ring, dataDir }, whole.contents);
      const masterKeys = [ring.masterKey, ...ring.olderMasterKeys] as const;
      const report = await rekeyStore({ dataDir, masterKeys });
      expect(report).toMatchObject({ keptBy: 'environment', oldKeyIds: [expect.any(String)] });
      await expectContents({ dataDir, masterKey: ring.masterKey }, whole.contents);
      const [masterKey] = ring.olderMasterKeys;
      await expect(openEmbeddedStore({ dataDir, ...(masterKey && { masterKey }) })).rejects.toThrow(
        'not the one',
      );
      expect(await keysOf(dataDir)).toEqual([whole.key]);
    }
  });

  test('power loss: the log cut off at any place gives the old store or the new one', async () => {
    const { dataDir: whole, contents, key } = await folderWithStore();
    const masterKeys = [randomBytes(32), Buffer.from(key, 'base64')] as const;
    // Held open for reading at the old state: so the exchange stays in the log.
    const reader = new Database(join(whole, 'secrets.db'), systemClock);
    reader.exec('BEGIN');
    reader.rows('SELECT count(*) FROM version');
    const clock = { ...systemClock, now: () => systemClock.now(), sleep: async () => {} };
    const report = await rekeyStore({ dataDir: whole, masterKeys, clock });
    expect(report).toMatchObject({ result: 'exchanged', isScrubbed: false });
    const parent = await newFolder();
    const { length } = await readFile(join(whole, 'secrets.db-wal'));
    const found = new Set<string>();
    const frame = 4096 + 24;
    const cuts = Array.from({ length: Math.ceil(length / frame) + 1 }, (_, index) => [
      32 + index * frame,
      32 + index * frame + 1000,
    ]).flat();
    for (const cut of [0, 16, ...cuts.filter((at) => at <= length)]) {
      const dataDir = join(parent, String(cut));
      await mkdir(dataDir, { mode: 0o700 });
      for (const name of ['secrets.db', 'secrets.db-wal']) {
        await cp(join(whole, name), join(dataDir, name));
      }
      await truncate(join(dataDir, 'secrets.db-wal'), cut);
      await expectContents(
        { dataDir, masterKey: masterKeys[0], olderMasterKeys: [masterKeys[1]] },
        contents,
      );
      const checked = await checkOpenStore({ dataDir, masterKeys });
      expect(checked.damaged).toEqual([]);
      found.add(checked.keyId);
    }
    expect(found).toEqual(new Set([report.keyId, report.previousKeyId]));
    reader.exec('COMMIT');
    reader.close();
  });
});

test('while others read and write, no read fails and no write is lost, and backups are whole', async () => {
  const { dataDir, contents } = await folderWithStore();
  const traffic = Array.from({ length: 3 }, () =>
    spawn(process.execPath, [program('store-traffic.mjs'), dataDir, SECRET], {
      stdio: ['pipe', 'pipe', 'inherit'],
    }),
  );
  const said = traffic.map((child) => {
    const chunks: Buffer[] = [];
    child.stdout.on('data', (chunk: Buffer) => chunks.push(chunk));
    return chunks;
  });
  await Promise.all(traffic.map((child) => once(child.stdout, 'data')));
  const keyIds = new Set<string>();
  for (let round = 0; round < 5; round += 1) {
    const report = await rekeyStore({ dataDir });
    expect(report).toMatchObject({ result: 'exchanged', damaged: [], oldKeyIds: [] });
    keyIds.add(report.keyId);
    const backup = await backupStore({ dataDir, file: join(dataDir, `backup-${round}`) });
    expect(backup).toMatchObject({ keyId: report.keyId, damaged: [], secrets: 2 });
  }
  expect(keyIds.size).toBe(5);
  const closed = traffic.map((child) => once(child, 'close'));
  for (const child of traffic) child.stdin.end();
  await Promise.all(closed);
  const all = new Map(contents);
  for (const chunks of said) {
    const did = JSON.parse(Buffer.concat(chunks).toString()) as {
      readonly reads: number;
      readonly written: readonly string[];
      readonly failures: readonly string[];
    };
    expect(did.failures).toEqual([]);
    expect(did.reads).toBeGreaterThan(0);
    expect(did.reads).toBe(did.written.length);
    for (const id of did.written) all.set(`${SECRET} ${id}`, `value of ${id}`);
  }
  await expectContents({ dataDir }, all);
  expect((await checkOpenStore({ dataDir })).damaged).toEqual([]);
});

test('two exchanges at once end one after the other, and no key is lost', async () => {
  const { dataDir, contents } = await folderWithStore();
  const options = JSON.stringify({ dataDir });
  const children = Array.from({ length: 4 }, () =>
    spawn(process.execPath, [program('store-fault.mjs'), 'rekey', options, '0'], {
      stdio: ['ignore', 'ignore', 'inherit'],
    }),
  );
  await Promise.all(children.map((child) => once(child, 'close')));
  await expectContents({ dataDir }, contents);
  expect(await keysOf(dataDir)).toHaveLength(1);
});

describe('killed before any of its writes', () => {
  test('a backup is there as a whole or not at all', async () => {
    const { dataDir } = await folderWithStore();
    const parent = await newFolder();
    const { writes } = outcomeOf(run('backup', { dataDir, file: join(parent, 'first') }));
    for (const victim of killPoints(writes)) {
      const file = join(parent, `backup-${victim}`);
      expect(run('backup', { dataDir, file }, victim).signal).toBe('SIGKILL');
      if (existsSync(file)) {
        expect(await checkBackup(file, { dataDir })).toMatchObject({ versions: 4, damaged: [] });
      } else {
        expect(await backupStore({ dataDir, file })).toMatchObject({ versions: 4, damaged: [] });
      }
    }
  });

  test('a restore leaves the whole of one state, and ends when it is started again', async () => {
    const whole = await folderWithStore();
    const parent = await newFolder();
    const file = join(parent, 'backup');
    await backupStore({ dataDir: whole.dataDir, file });
    const later = randomUUID();
    const store = await openEmbeddedStore({ dataDir: whole.dataDir });
    await store.putPending(SECRET, later, 'later');
    await store.close();
    await collectGarbageUntil(() => !existsSync(join(whole.dataDir, 'secrets.db-wal')));
    // Under another key than the backup: what is restored is wrapped anew.
    await rekeyStore({ dataDir: whole.dataDir });
    await collectGarbageUntil(() => !existsSync(join(whole.dataDir, 'secrets.db-wal')));
    const options = { file, backupKeys: [whole.key] };
    const backupKeys = [Buffer.from(whole.key, 'base64')];
    const rehearsal = join(parent, '0');
    await cp(whole.dataDir, rehearsal, { recursive: true });
    const { writes } = outcomeOf(run('restore', { ...options, dataDir: rehearsal }));
    const states = new Set<number>();
    for (const victim of killPoints(writes)) {
      const dataDir = join(parent, String(victim));
      await cp(whole.dataDir, dataDir, { recursive: true });
      expect(run('restore', { ...options, dataDir }, victim).signal).toBe('SIGKILL');
      const { versions, damaged } = await checkOpenStore({ dataDir });
      expect(damaged).toEqual([]);
      states.add(versions);
      await restoreStore({ file, backupKeys, dataDir });
      await expectContents({ dataDir }, whole.contents);
      expect(await checkOpenStore({ dataDir })).toMatchObject({ versions: 4, damaged: [] });
    }
    expect(states).toEqual(new Set([5, 4]));
  });

  test('a restore into an empty folder, too', async () => {
    const whole = await folderWithStore();
    const parent = await newFolder();
    const file = join(parent, 'backup');
    await backupStore({ dataDir: whole.dataDir, file });
    const options = { file, backupKeys: [whole.key] };
    const backupKeys = [Buffer.from(whole.key, 'base64')];
    const rehearsal = join(parent, '0');
    const { writes } = outcomeOf(run('restore', { ...options, dataDir: rehearsal }));
    for (const victim of killPoints(writes)) {
      const dataDir = join(parent, String(victim));
      expect(run('restore', { ...options, dataDir }, victim).signal).toBe('SIGKILL');
      await restoreStore({ file, backupKeys, dataDir });
      await expectContents({ dataDir }, whole.contents);
    }
  });
});

/** As root, or with a user namespace of its own, a process may mount a small disk that nobody else sees. */
const UNSHARE =
  process.geteuid?.() === 0
    ? ['unshare', '--mount']
    : ['unshare', '--user', '--map-root-user', '--mount'];
const canMount =
  spawnSync(UNSHARE[0] ?? '', [...UNSHARE.slice(1), 'mount', '-t', 'tmpfs', 'none', '/mnt'])
    .status === 0;

(canMount ? test : test.skip)(
  'a full disk: nothing is changed, and it goes on once there is room',
  async () => {
    const { dataDir: whole, key } = await folderWithStore();
    const dataDir = join(await newFolder(), 'small');
    await mkdir(dataDir, { mode: 0o700 });
    const script = join(await newFolder(), 'script.sh');
    const rekey = `"${process.execPath}" "${program('store-fault.mjs')}" rekey '${JSON.stringify({ dataDir })}' 0`;
    await writeFile(
      script,
      [
        'set -e',
        `mount -t tmpfs -o mode=700,size=400k none ${dataDir}`,
        `cp -p ${whole}/master.key ${whole}/secrets.db ${dataDir}/`,
        `dd if=/dev/zero of=${dataDir}/filler bs=1k 2>/dev/null || true`,
        `${rekey}; echo`,
        `cat ${dataDir}/master.key`,
        `rm ${dataDir}/filler`,
        `${rekey}; echo`,
        `cat ${dataDir}/master.key`,
      ].join('\n'),
    );
    const { stdout, stderr } = spawnSync(UNSHARE[0] ?? '', [...UNSHARE.slice(1), 'sh', script]);
    expect(stderr.toString()).toBe('');
    const lines = stdout.toString().trim().split('\n');
    expect(JSON.parse(lines[0] ?? '')).toMatchObject({ ok: false, code: 'STORE_FULL' });
    expect(lines).toContain(key);
    const last = lines.findLast((line) => line.startsWith('{')) ?? '';
    expect(JSON.parse(last)).toMatchObject({ ok: true, report: { result: 'exchanged' } });
    expect(lines.at(-1)).not.toBe(key);
  },
);
