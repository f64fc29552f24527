import { describe, expect, test } from '@jest/globals';
import { link, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import {
  errnoOf,
  explainFileFailure,
  prepareDataFolder,
  publish,
} from '../../../src/secrets/embedded/data-folder.js';
import { SecretStoreError } from '../../../src/secrets/secret-store-error.js';
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
