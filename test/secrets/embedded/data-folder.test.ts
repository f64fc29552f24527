import { describe, expect, test } from '@jest/globals';
import {
  chmod,
  chown,
  lchown,
  link,
  mkdir,
  readdir,
  readFile,
  stat,
  symlink,
  writeFile,
} from 'node:fs/promises';
import { join } from 'node:path';
import {
  errnoOf,
  explainFileFailure,
  prepareDataFolder,
  publish,
  readOwn,
  refuseSharedFolder,
  refuseWayIn,
  sizeOf,
} from '../../../src/secrets/embedded/data-folder.js';
import { SecretStoreError } from '../../../src/secrets/secret-store.js';
import { LINKS, ODD_FILES } from '../../support/odd-files.js';
import { asOrdinaryUser, ordinaryUser } from '../../support/ordinary-user.js';
import { temporaryFolders } from '../../support/temporary-folder.js';

const newFolder = temporaryFolders('data-folder');

describe('explainFileFailure', () => {
  test.each([
    ['EACCES', 7, 7, 'STORE_READ_ONLY', 'misconfigured', 'chmod u+rwX /data'],
    ['EPERM', 7, 7, 'STORE_READ_ONLY', 'misconfigured', 'chmod'],
    ['EACCES', 0, 7, 'STORE_ACCESS_DENIED', 'misconfigured', 'belongs to user 0'],
    ['EACCES', undefined, undefined, 'STORE_ACCESS_DENIED', 'misconfigured', 'user unknown'],
    ['EROFS', 7, 7, 'STORE_READ_ONLY', 'misconfigured', 'mount it writable'],
    ['ENOSPC', 7, 7, 'STORE_FULL', 'retry', 'Free some space'],
    ['EDQUOT', 7, 7, 'STORE_FULL', 'retry', 'quota'],
    ['ENOTDIR', 7, 7, 'STORE_UNAVAILABLE', 'misconfigured', 'Choose another data folder'],
    ['EEXIST', 7, 7, 'STORE_UNAVAILABLE', 'misconfigured', 'stands in its place'],
    ['EIO', 7, 7, 'STORE_UNAVAILABLE', 'retry', 'EIO'],
    ['EMFILE', 7, 7, 'STORE_UNAVAILABLE', 'retry', 'EMFILE'],
  ])('%s on a path of user %p, as user %p: %s', (errno, owner, user, code, kind, advice) => {
    const cause = new Error('from node');
    const error = explainFileFailure({ errno, path: '/data', owner, user }, cause);
    expect(error).toMatchObject({ code, kind, cause });
    expect(error.message).toContain('/data');
    expect(error.message).toContain(advice);
  });
});

test('a folder that cannot be made is named, with the command that makes it, and not the owner of what is above', () => {
  const found = { errno: 'EACCES', path: '/var/lib', owner: 0, user: 7 };
  const error = explainFileFailure({ ...found, missing: '/var/lib/broker' });
  expect(error.code).toBe('STORE_ACCESS_DENIED');
  expect(error.message).toContain('"install -d -m 0700 -o 7 /var/lib/broker"');
  expect(error.message).not.toContain('change the owner');
});

describe('errnoOf', () => {
  test('knows an error by its shape, and leaves ours alone', () => {
    expect(errnoOf({ code: 'ENOENT' })).toBe('ENOENT');
    expect(errnoOf(new SecretStoreError('STORE_FULL', 'full'))).toBeUndefined();
    for (const other of [undefined, null, 'ENOENT', new Error('x'), { code: 5 }]) {
      expect(errnoOf(other)).toBeUndefined();
    }
  });
});

describe('prepareDataFolder', () => {
  const onLinux = process.platform === 'linux' ? test : test.skip;
  onLinux('ends where nobody can make folders', async () => {
    await expect(prepareDataFolder('/proc/broker/data')).rejects.toMatchObject({
      code: 'STORE_UNAVAILABLE',
      kind: 'misconfigured',
      message: expect.stringContaining('The data folder /proc/broker/data cannot be made in /proc'),
    });
  });

  test('makes the folder and those above, also when many do so at once', async () => {
    const folder = join(await newFolder(), 'a/b/c');
    await Promise.all(Array.from({ length: 8 }, () => prepareDataFolder(folder)));
    expect((await stat(folder)).mode & 0o777).toBe(0o700);
  });

  test('refuses a file in the place of the folder, or of a folder above it', async () => {
    const file = join(await newFolder(), 'file');
    await writeFile(file, 'mine');
    for (const path of [file, join(file, 'below')]) {
      await expect(prepareDataFolder(path)).rejects.toMatchObject({
        code: 'STORE_UNAVAILABLE',
        kind: 'misconfigured',
      });
    }
    expect(await readFile(file, 'utf8')).toBe('mine');
  });

  test.each([0o770, 0o720, 0o707, 0o702, 0o777, 0o1777, 0o2770])(
    'refuses a folder of mode %o, and leaves it as it is',
    async (mode) => {
      const folder = join(await newFolder(), 'data');
      await mkdir(folder);
      await chmod(folder, mode);
      await expect(prepareDataFolder(folder)).rejects.toMatchObject({
        code: 'STORE_ACCESS_DENIED',
        kind: 'misconfigured',
        message: expect.stringContaining(`run "chmod go-w ${folder}"`),
      });
      expect((await stat(folder)).mode & 0o7777).toBe(mode);
      expect(await readdir(folder)).toEqual([]);
    },
  );

  test.each([0o700, 0o750, 0o755, 0o711, 0o2750])('takes a folder of mode %o', async (mode) => {
    const folder = await newFolder();
    await chmod(folder, mode);
    await prepareDataFolder(folder);
    expect((await stat(folder)).mode & 0o7777).toBe(mode);
  });

  test('refuses a folder above in which everybody may exchange it, unless that is sticky', async () => {
    const above = join(await newFolder(), 'shared');
    const folder = join(above, 'a', 'data');
    await mkdir(folder, { recursive: true });
    await chmod(above, 0o777);
    await expect(prepareDataFolder(folder)).rejects.toMatchObject({
      code: 'STORE_ACCESS_DENIED',
      message: expect.stringContaining(`The folder ${above} has mode 0777`),
    });
    await chmod(above, 0o1777);
    await prepareDataFolder(folder);
  });

  test('may be named by a link; what counts is where it leads', async () => {
    const above = await newFolder();
    const [folder, way] = [join(above, 'data'), join(above, 'link')];
    await mkdir(folder, { mode: 0o700 });
    await symlink(folder, way);
    await prepareDataFolder(way);
    await prepareDataFolder(join(way, 'below'));
    await chmod(folder, 0o777);
    for (const path of [way, join(way, 'below')]) {
      await expect(prepareDataFolder(path)).rejects.toMatchObject({
        code: 'STORE_ACCESS_DENIED',
        message: expect.stringContaining(folder),
      });
    }
  });

  test('refuses what belongs to somebody else: the folder, or a link on the way', async () => {
    if (process.geteuid?.() !== 0) return;
    const above = await newFolder();
    const [theirs, ours, way] = ['theirs', 'ours', 'link'].map((name) => join(above, name)) as [
      string,
      string,
      string,
    ];
    await mkdir(theirs, { mode: 0o755 });
    await mkdir(ours, { mode: 0o700 });
    await symlink(ours, way);
    await prepareDataFolder(way);
    await chown(theirs, ordinaryUser(), 0);
    await lchown(way, ordinaryUser(), 0);
    for (const path of [theirs, way, join(way, 'below')]) {
      await expect(prepareDataFolder(path)).rejects.toMatchObject({
        code: 'STORE_ACCESS_DENIED',
        message: expect.stringMatching(/belongs to user 65534, while the broker runs as user 0/),
      });
    }
    // Root may replace everything anyway.
    await chmod(above, 0o755);
    await expect(asOrdinaryUser(() => prepareDataFolder(theirs))).resolves.toBeUndefined();
  });
});

describe('who may write', () => {
  const US = 7;
  test.each([
    [US, 0o700, undefined],
    [0, 0o755, undefined],
    [0, 0o775, 'chmod go-w'],
    [US, 0o722, 'mode 0722'],
    [8, 0o700, 'belongs to user 8'],
  ])('a folder of user %p, with mode %o', (uid, mode, words) => {
    const refuse = (): void => refuseSharedFolder('/data', { mode: 0o40000 | mode, uid, user: US });
    if (words === undefined) expect(refuse).not.toThrow();
    else expect(refuse).toThrow(words);
  });

  test.each([
    ['a folder', US, 0o755, undefined],
    ['a folder', 8, 0o775, undefined],
    ['a folder', 0, 0o1777, undefined],
    ['a folder', 0, 0o777, 'every user can exchange'],
    ['a folder', 0, 0o702, 'chmod o-w'],
    ['a link', US, 0o777, undefined],
    ['a link', 0, 0o777, undefined],
    ['a link', 8, 0o777, 'belongs to user 8'],
  ])('%s above of user %p, with mode %o', (kind, uid, mode, words) => {
    const refuse = (): void => refuseWayIn('/above', { mode, uid, user: US }, kind === 'a link');
    if (words === undefined) expect(refuse).not.toThrow();
    else expect(refuse).toThrow(words);
  });
});

describe('a file of the data folder', () => {
  test.each(Object.entries(ODD_FILES))('is not %s', async (kind, make) => {
    const path = join(await newFolder(), 'file');
    await make(path);
    for (const act of [readOwn, sizeOf]) {
      await expect(act(path)).rejects.toMatchObject({
        code: 'STORE_UNAVAILABLE',
        kind: 'misconfigured',
        message: expect.stringContaining(`${path} is ${kind}, where`),
      });
    }
  });

  test.each(Object.entries(LINKS))('is no link %s', async (_where, make) => {
    const path = join(await newFolder(), 'file');
    await make(path);
    for (const act of [readOwn, sizeOf]) {
      await expect(act(path)).rejects.toMatchObject({
        code: 'STORE_UNAVAILABLE',
        kind: 'misconfigured',
        message: expect.stringContaining(`${path} is a symbolic link, where`),
      });
    }
  });

  test('is read as it is', async () => {
    const path = join(await newFolder(), 'file');
    await expect(readOwn(path)).rejects.toMatchObject({ code: 'ENOENT' });
    expect(await sizeOf(path)).toBeUndefined();
    await writeFile(path, 'ours');
    expect((await readOwn(path)).toString()).toBe('ours');
    expect(await sizeOf(path)).toBe(4);
  });
});

describe('publish', () => {
  test('gives the file its name once, and the temporary name is gone either way', async () => {
    const folder = await newFolder();
    const [one, two, path] = [join(folder, 'one'), join(folder, 'two'), join(folder, 'final')];
    await writeFile(one, '1');
    await writeFile(two, '2');
    expect(await publish(one, path)).toBe(true);
    expect(await publish(two, path)).toBe(false);
    expect(await readFile(path, 'utf8')).toBe('1');
    expect(await readdir(folder)).toEqual(['final']);
  });

  test('works on the file that a killed process left under both names', async () => {
    const folder = await newFolder();
    const [temporary, path] = [join(folder, 'temporary'), join(folder, 'final')];
    await writeFile(temporary, 'same');
    await link(temporary, path);
    expect(await publish(temporary, path)).toBe(false);
    expect(await readFile(path, 'utf8')).toBe('same');
  });
});
