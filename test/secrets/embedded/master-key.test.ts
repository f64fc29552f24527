import { describe, expect, test } from '@jest/globals';
import { randomBytes } from 'node:crypto';
import { chmod, chown, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { inspect } from 'node:util';
import {
  parseKey,
  refuseOpenKeyFile,
  resolveMasterKey,
} from '../../../src/secrets/embedded/envelope.js';
import { asOrdinaryUser, ordinaryUser } from '../../support/ordinary-user.js';
import { temporaryFolders } from '../../support/temporary-folder.js';

const newFolder = temporaryFolders('master-key');
const key = randomBytes(32).toString('base64');

describe('the key of the environment', () => {
  test('is used, and no key file is made', async () => {
    const dataDir = await newFolder();
    const resolved = await resolveMasterKey({ fromEnvironment: key, dataDir });
    expect(Buffer.from(resolved).toString('base64')).toBe(key);
    expect(await readdir(dataDir)).toEqual([]);
  });

  test('wins over a key file', async () => {
    const dataDir = await newFolder();
    await resolveMasterKey({ dataDir });
    const resolved = await resolveMasterKey({ fromEnvironment: key, dataDir });
    expect(Buffer.from(resolved).toString('base64')).toBe(key);
  });

  test.each([
    ['empty', ''],
    ['31 bytes', Buffer.alloc(31, 7).toString('base64')],
    ['33 bytes', Buffer.alloc(33, 7).toString('base64')],
    ['without padding', key.slice(0, -1)],
    ['with white space in it', `${key.slice(0, 9)}\n${key.slice(9)}`],
    ['in hexadecimal', Buffer.alloc(32, 7).toString('hex')],
    ['in base64url', Buffer.alloc(32, 0xff).toString('base64url')],
    [
      'with stray bits in the last character',
      `${Buffer.alloc(32).toString('base64').slice(0, -2)}B=`,
    ],
  ])('is refused when it is %s, without being shown', async (_, fromEnvironment) => {
    const dataDir = await newFolder();
    const error: unknown = await resolveMasterKey({ fromEnvironment, dataDir }).catch(
      (reason: unknown) => reason,
    );
    expect(error).toMatchObject({
      code: 'STORE_KEY_WRONG',
      message: expect.stringMatching(/^BROKER_MASTER_KEY must be 32 bytes.*openssl rand/),
    });
    if (fromEnvironment !== '') expect(inspect(error)).not.toContain(fromEnvironment.trim());
  });
});

test.each([`${key}\n`, `${key}\r\n`, ` ${key}\t`, `\ufeff${key}`])(
  'what is around the key is dropped: %j',
  async (fromEnvironment) => {
    const dataDir = await newFolder();
    const resolved = await resolveMasterKey({ fromEnvironment, dataDir });
    expect(Buffer.from(resolved).toString('base64')).toBe(key);
    for (const encoding of ['utf8', 'utf16le'] as const) {
      const text = encoding === 'utf8' ? fromEnvironment : `\ufeff${key}\r\n`;
      await writeFile(join(dataDir, 'master.key'), Buffer.from(text, encoding), { mode: 0o600 });
      expect(Buffer.from(await resolveMasterKey({ dataDir })).toString('base64')).toBe(key);
    }
  },
);

describe('the key file', () => {
  test('is made on first start with mode 0600, and used ever after', async () => {
    const dataDir = join(await newFolder(), 'made', 'with its parents');
    const first = await resolveMasterKey({ dataDir });
    const { mode } = await stat(join(dataDir, 'master.key'));
    expect((mode & 0o777).toString(8)).toBe('600');
    expect(((await stat(dataDir)).mode & 0o777).toString(8)).toBe('700');
    expect(first).toHaveLength(32);
    expect(await resolveMasterKey({ dataDir })).toEqual(first);
    expect(await readdir(dataDir)).toEqual(['master.key']);
  });

  test('is one and the same for all who start at once', async () => {
    const dataDir = await newFolder();
    const keys = await Promise.all(Array.from({ length: 20 }, () => resolveMasterKey({ dataDir })));
    expect(new Set(keys.map((one) => Buffer.from(one).toString('hex'))).size).toBe(1);
    expect(await readdir(dataDir)).toEqual(['master.key']);
  });

  test('is made again neither beside a database, nor beside an empty one', async () => {
    const dataDir = await newFolder();
    for (const content of ['SQLite', '']) {
      await writeFile(join(dataDir, 'secrets.db'), content);
      await expect(resolveMasterKey({ dataDir })).rejects.toMatchObject({
        code: 'STORE_KEY_WRONG',
        message: expect.stringMatching(
          /restore .*master\.key from a backup, or set BROKER_MASTER_KEY/,
        ),
      });
      expect(await readdir(dataDir)).toEqual(['secrets.db']);
      await rm(join(dataDir, 'secrets.db'));
    }
  });

  test.each([0o640, 0o604, 0o644, 0o660, 0o777])('is refused with mode %o', async (mode) => {
    const dataDir = await newFolder();
    await resolveMasterKey({ dataDir });
    const path = join(dataDir, 'master.key');
    await chmod(path, mode);
    const before = await readFile(path, 'utf8');
    await expect(resolveMasterKey({ dataDir })).rejects.toMatchObject({
      code: 'STORE_ACCESS_DENIED',
      kind: 'misconfigured',
      message: expect.stringContaining(`chmod 600 ${path}`),
    });
    expect(await readFile(path, 'utf8')).toBe(before);
    await chmod(path, 0o400);
    expect(await resolveMasterKey({ dataDir })).toHaveLength(32);
  });

  test('is refused when it holds no key, without being shown', async () => {
    const dataDir = await newFolder();
    await writeFile(join(dataDir, 'master.key'), 'canary not a key\n', { mode: 0o600 });
    const error: unknown = await resolveMasterKey({ dataDir }).catch((reason: unknown) => reason);
    expect(error).toMatchObject({
      code: 'STORE_KEY_WRONG',
      message: expect.stringContaining(join(dataDir, 'master.key')),
    });
    expect(inspect(error)).not.toContain('canary');
  });

  test('that belongs to another user cannot be read', async () => {
    const dataDir = await newFolder();
    await resolveMasterKey({ dataDir });
    if (process.geteuid?.() !== 0) {
      await chmod(join(dataDir, 'master.key'), 0);
      await expect(resolveMasterKey({ dataDir })).rejects.toMatchObject({
        code: 'STORE_READ_ONLY',
      });
      return;
    }
    await chown(dataDir, ordinaryUser(), 0);
    await expect(asOrdinaryUser(() => resolveMasterKey({ dataDir }))).rejects.toMatchObject({
      code: 'STORE_ACCESS_DENIED',
      message: expect.stringMatching(/belongs to user 0, while the broker runs as user 65534/),
    });
  });
});

describe('refuseOpenKeyFile', () => {
  const allowed = [
    { mode: 0o100600, uid: 5, user: 5 },
    { mode: 0o100400, uid: 5, user: 5 },
    { mode: 0o100600, uid: 0, user: 5 },
    { mode: 0o100666, uid: 0, user: undefined },
  ];
  test.each(allowed)('allows %j', (file) => {
    expect(() => refuseOpenKeyFile('/k', file)).not.toThrow();
  });

  test.each([
    [{ mode: 0o100601, uid: 5, user: 5 }, 'mode 0601'],
    [{ mode: 0o100620, uid: 5, user: 5 }, 'mode 0620'],
    [{ mode: 0o100600, uid: 6, user: 5 }, 'belongs to user 6'],
  ])('refuses %j', (file, reason) => {
    expect(() => refuseOpenKeyFile('/k', file)).toThrow(reason);
  });
});

test('parseKey gives the bytes', () => {
  expect(Buffer.from(parseKey(key, 'K')).toString('base64')).toBe(key);
});
