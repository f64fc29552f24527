import { describe, expect, test } from '@jest/globals';
import { spawnSync } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { existsSync } from 'node:fs';
import { chmod, chown, mkdir, readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { openEmbeddedStore } from '../../src/secrets/embedded/open-embedded-store.js';
import { collectGarbageUntil } from '../support/collect-garbage.js';
import { temporaryFolders } from '../support/temporary-folder.js';
import { program, StoreProcess, type Answer } from './embedded-child.js';

const newFolder = temporaryFolders('embedded-disk');
const SECRET = 'service-token';
const isRoot = process.geteuid?.() === 0;

/** Root may do everything; so tests of permissions started by root run their store as this user. */
const NOBODY = 65_534;
const user = isRoot ? { uid: NOBODY } : {};

/** True when a process of that user can read this checkout. */
const userCanRun =
  !isRoot ||
  spawnSync(process.execPath, ['--check', program('embedded-child.mjs')], {
    uid: NOBODY,
    gid: NOBODY,
  }).status === 0;

/** A process with mounts of its own, which nobody else sees and which end with it; where the kernel allows it. */
const UNSHARE = isRoot
  ? ['unshare', '--mount']
  : ['unshare', '--user', '--map-root-user', '--mount'];
const canMount =
  spawnSync(UNSHARE[0] ?? '', [...UNSHARE.slice(1), 'mount', '-t', 'tmpfs', 'none', '/mnt'])
    .status === 0;

/** Runs node after `commands` of the shell have prepared the mounts. */
const after = (commands: string): readonly string[] => [
  ...UNSHARE,
  'sh',
  '-c',
  `${commands} && exec "$@"`,
  'sh',
  process.execPath,
];

async function openAs(
  dataDir: string,
  options: ConstructorParameters<typeof StoreProcess>[1],
): Promise<Answer> {
  const child = new StoreProcess(dataDir, options);
  const answer = await child.call('open');
  await child.end();
  return answer;
}

const refusal = (code: string, message: string): unknown => ({
  ok: false,
  code,
  kind: 'misconfigured',
  message: expect.stringContaining(message),
});

/** A folder that the user owns, below one that the user can enter. */
async function folderOfUser(): Promise<string> {
  const parent = await newFolder();
  await chmod(parent, 0o755);
  const dataDir = join(parent, 'data');
  await mkdir(dataDir, { mode: 0o700 });
  if (isRoot) await chown(dataDir, NOBODY, NOBODY);
  return dataDir;
}

(userCanRun ? describe : describe.skip)('permissions', () => {
  test('an empty read-only folder', async () => {
    const dataDir = await folderOfUser();
    await chmod(dataDir, 0o500);
    const expected = refusal('STORE_READ_ONLY', `chmod u+rwX ${dataDir}`);
    expect(await openAs(dataDir, user)).toEqual(expected);
    await chmod(dataDir, 0o700);
    expect(await openAs(dataDir, user)).toEqual({ ok: true });
  });

  test('a read-only folder, and a read-only file, with a store that works again afterwards', async () => {
    const dataDir = await folderOfUser();
    expect(await openAs(dataDir, user)).toEqual({ ok: true });
    const file = join(dataDir, 'secrets.db');
    for (const [path, closed, open] of [
      [dataDir, 0o500, 0o700],
      [file, 0o400, 0o600],
    ] as const) {
      await chmod(path, closed);
      const expected = refusal('STORE_READ_ONLY', `chmod u+rwX ${path}`);
      expect(await openAs(dataDir, user)).toEqual(expected);
      await chmod(path, open);
      expect(await openAs(dataDir, user)).toEqual({ ok: true });
    }
  });

  (isRoot ? test : test.skip)('a folder, and a key file, of another user', async () => {
    const dataDir = await folderOfUser();
    // Root itself is refused there: the folder's owner may exchange what root would use.
    await expect(openEmbeddedStore({ dataDir })).rejects.toMatchObject({
      code: 'STORE_ACCESS_DENIED',
      message: expect.stringContaining('belongs to user 65534, while the broker runs as user 0'),
    });
    expect(await openAs(dataDir, user)).toEqual({ ok: true });
    for (const name of await readdir(dataDir)) await chown(join(dataDir, name), 0, 0);
    const owner = 'belongs to user 0, while the broker runs as user 65534';
    const key = refusal('STORE_ACCESS_DENIED', `${join(dataDir, 'master.key')}, which ${owner}`);
    expect(await openAs(dataDir, user)).toEqual(key);
    await chown(dataDir, 0, 0);
    const folder = refusal('STORE_ACCESS_DENIED', `${dataDir}, which ${owner}`);
    expect(await openAs(dataDir, user)).toEqual(folder);
    await (await openEmbeddedStore({ dataDir })).close();
  });
});

(canMount ? describe : describe.skip)('a disk', () => {
  test('that is mounted read-only is told, and what it holds is unchanged', async () => {
    const dataDir = await newFolder();
    const store = await openEmbeddedStore({ dataDir });
    await store.create(SECRET, 'for the test');
    await store.putPending(SECRET, randomUUID(), 'kept');
    await store.close();
    await collectGarbageUntil(() => !existsSync(join(dataDir, 'secrets.db-wal')));
    const before = await readFile(join(dataDir, 'secrets.db'));
    const readOnly = `mount --bind ${dataDir} ${dataDir} && mount -o remount,bind,ro ${dataDir}`;
    expect(await openAs(dataDir, { command: after(readOnly) })).toEqual(
      refusal('STORE_READ_ONLY', 'mounted read-only'),
    );
    expect((await readFile(join(dataDir, 'secrets.db'))).equals(before)).toBe(true);
    expect(await openAs(dataDir, {})).toEqual({ ok: true });
  });

  test('that has no room for a store says so', async () => {
    const dataDir = await newFolder();
    const full = `mount -t tmpfs -o mode=700,size=8k none ${dataDir}`;
    expect(await openAs(dataDir, { command: after(full) })).toMatchObject({
      ok: false,
      code: 'STORE_FULL',
      kind: 'retry',
      message: expect.stringContaining('Free some space'),
    });
  });

  test('that fills up refuses the write, and what was promoted before can be read', async () => {
    const dataDir = await newFolder();
    const child = new StoreProcess(dataDir, {
      command: after(`mount -t tmpfs -o mode=700,size=400k none ${dataDir}`),
    });
    const won = { ok: true };
    expect(await child.call('open')).toEqual(won);
    await child.call('create', SECRET, 'for the test');
    let current: string | undefined;
    let refused: Answer = { ok: true };
    for (let round = 0; refused.ok && round < 40; round += 1) {
      const versionId = randomUUID();
      refused = await child.call('putPending', SECRET, versionId, 'x'.repeat(60_000));
      if (!refused.ok) break;
      refused = await child.call('promote', SECRET, versionId, current);
      if (refused.ok) current = versionId;
    }
    expect(refused).toMatchObject({ ok: false, code: 'STORE_FULL', kind: 'retry' });
    expect(current).toBeDefined();
    expect(await child.call('read', SECRET)).toMatchObject({
      ok: true,
      value: { versionId: current, value: 'x'.repeat(60_000) },
    });
    await child.end();
  });
});
