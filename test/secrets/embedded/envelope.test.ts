import { describe, expect, test } from '@jest/globals';
import { randomBytes } from 'node:crypto';
import { chmod, chown, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { inspect } from 'node:util';
import {
  Envelope,
  framed,
  sameCode,
  type SealedVersion,
  type VersionIdentity,
} from '../../../src/secrets/embedded/envelope.js';
import {
  parseKey,
  refuseOpenKeyFile,
  resolveMasterKeys,
} from '../../../src/secrets/embedded/master-keys.js';
import { asOrdinaryUser, ordinaryUser } from '../../support/ordinary-user.js';
import { character, fc } from '../../support/properties.js';
import { temporaryFolders } from '../../support/temporary-folder.js';

const masterKey = randomBytes(32);
const storeId = randomBytes(16);
const envelope = new Envelope(masterKey, storeId);
const identity: VersionIdentity = { secretId: 'token', versionId: 'v1', createdAt: 17 };
const value = Buffer.from('the value');

function flipped(bytes: Buffer, bit: number): Buffer {
  const copy = Buffer.from(bytes);
  const at = bit % (copy.length * 8);
  copy.writeUInt8(copy.readUInt8(at >> 3) ^ (1 << (at & 7)), at >> 3);
  return copy;
}

describe('a sealed version', () => {
  test('opens to its value, for any value and identity', () => {
    const anyIdentity = fc.record({
      secretId: fc.string({ unit: character }),
      versionId: fc.string({ unit: character }),
      createdAt: fc.integer(),
    });
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 500 }), anyIdentity, (bytes, one) => {
        const opened = envelope.open(one, envelope.seal(one, bytes));
        expect(opened?.equals(bytes)).toBe(true);
      }),
    );
  });

  test('never looks the same twice, and does not contain the value', () => {
    const [one, two] = [envelope.seal(identity, value), envelope.seal(identity, value)];
    expect(one.wrappedKey.equals(two.wrappedKey)).toBe(false);
    expect(one.sealedValue.equals(two.sealedValue)).toBe(false);
    expect(one.sealedValue.includes(value)).toBe(false);
  });

  test('does not open after any single bit was changed', () => {
    const sealed = envelope.seal(identity, value);
    fc.assert(
      fc.property(fc.nat(10_000), fc.boolean(), (bit, inKey) => {
        const changed: SealedVersion = inKey
          ? { ...sealed, wrappedKey: flipped(sealed.wrappedKey, bit) }
          : { ...sealed, sealedValue: flipped(sealed.sealedValue, bit) };
        expect(envelope.open(identity, changed)).toBeUndefined();
      }),
      { numRuns: 500 },
    );
  });

  test('does not open when it is cut short, at any length', () => {
    const sealed = envelope.seal(identity, value);
    for (let length = 0; length < sealed.sealedValue.length; length += 1) {
      const sealedValue = sealed.sealedValue.subarray(0, length);
      expect(envelope.open(identity, { ...sealed, sealedValue })).toBeUndefined();
    }
    for (let length = 0; length < sealed.wrappedKey.length; length += 1) {
      const wrappedKey = sealed.wrappedKey.subarray(0, length);
      expect(envelope.open(identity, { ...sealed, wrappedKey })).toBeUndefined();
    }
  });

  test.each([
    ['another secret', { ...identity, secretId: 'other' }],
    ['another version', { ...identity, versionId: 'v2' }],
    ['another time', { ...identity, createdAt: 18 }],
    ['the border between the ids moved', { ...identity, secretId: 'tokenv', versionId: '1' }],
  ])('does not open as %s', (_, other) => {
    expect(envelope.open(other, envelope.seal(identity, value))).toBeUndefined();
  });

  test('does not open with parts of two versions, nor as another format', () => {
    const [one, two] = [envelope.seal(identity, value), envelope.seal(identity, value)];
    expect(envelope.open(identity, { ...one, wrappedKey: two.wrappedKey })).toBeUndefined();
    expect(envelope.open(identity, { ...one, format: 2 })).toBeUndefined();
  });

  test('does not open with another master key, nor in another store with the same one', () => {
    const sealed = envelope.seal(identity, value);
    expect(new Envelope(randomBytes(32), storeId).open(identity, sealed)).toBeUndefined();
    expect(new Envelope(masterKey, randomBytes(16)).open(identity, sealed)).toBeUndefined();
    expect(new Envelope(masterKey, storeId).open(identity, sealed)?.equals(value)).toBe(true);
  });
});

describe('codes', () => {
  test('the key check depends on the master key and the store', () => {
    expect(envelope.keyCheck.equals(new Envelope(masterKey, storeId).keyCheck)).toBe(true);
    expect(envelope.keyCheck.equals(new Envelope(randomBytes(32), storeId).keyCheck)).toBe(false);
    expect(envelope.keyCheck.equals(new Envelope(masterKey, randomBytes(16)).keyCheck)).toBe(false);
  });

  test('the label code does not depend on the order, and on everything else', () => {
    const labels = new Map([
      ['AWSCURRENT', 'a'],
      ['AWSPENDING', 'b'],
    ]);
    const code = envelope.labelCode('token', 3, labels);
    expect(envelope.labelCode('token', 3, new Map([...labels].toReversed())).equals(code)).toBe(
      true,
    );
    const others = [
      envelope.labelCode('other', 3, labels),
      envelope.labelCode('token', 4, labels),
      envelope.labelCode('token', 3, new Map([['AWSCURRENT', 'a']])),
      envelope.labelCode('token', 3, new Map([...labels, ['AWSPENDING', 'a']])),
      envelope.labelCode('token', 3, new Map([...labels, ['AWSPREVIOUS', 'c']])),
    ];
    for (const other of others) expect(other.equals(code)).toBe(false);
  });

  test('framing gives different bytes for different lists', () => {
    const lists = fc.array(fc.string({ unit: character, maxLength: 4 }), { maxLength: 4 });
    fc.assert(
      fc.property(lists, lists, (one, two) => {
        const same = JSON.stringify(one) === JSON.stringify(two);
        expect(framed(one).equals(framed(two))).toBe(same);
      }),
    );
    expect(framed(['ab', 'c']).equals(framed(['a', 'bc']))).toBe(false);
  });

  test('sameCode compares content and length', () => {
    expect(sameCode(Buffer.from('ab'), Buffer.from('ab'))).toBe(true);
    expect(sameCode(Buffer.from('ab'), Buffer.from('ac'))).toBe(false);
    expect(sameCode(Buffer.from('ab'), Buffer.from('a'))).toBe(false);
  });
});

const newFolder = temporaryFolders('master-key');
const key = randomBytes(32).toString('base64');

async function resolveMasterKey(
  source: Parameters<typeof resolveMasterKeys>[0],
): Promise<Uint8Array> {
  const [first, ...others] = await resolveMasterKeys(source);
  expect(others).toEqual([]);
  return first;
}

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
