import { describe, expect, test } from '@jest/globals';
import { randomBytes } from 'node:crypto';
import { chmod, readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { inspect } from 'node:util';
import { adviseOnKeys, nextKey } from '../../../src/secrets/embedded/key-status.js';
import {
  parseKeyRing,
  readKeyFile,
  removeKeyFile,
  replaceKeyFile,
  resolveMasterKeys,
  type KeyRing,
} from '../../../src/secrets/embedded/master-keys.js';
import { planKeyFile } from '../../../src/secrets/embedded/rekey.js';
import { fc } from '../../support/properties.js';
import { temporaryFolders } from '../../support/temporary-folder.js';

const newFolder = temporaryFolders('master-keys');
const [one, two, three] = [randomBytes(32), randomBytes(32), randomBytes(32)];
const text = (key: Uint8Array): string => Buffer.from(key).toString('base64');
const shown = (keys: readonly Uint8Array[] | undefined): readonly string[] | undefined =>
  keys?.map(text);

describe('a key file that holds a ring', () => {
  test.each([
    ['one key', `${text(one)}\n`, [one]],
    ['a line each', `${text(one)}\n${text(two)}\n`, [one, two]],
    ['no end of the last line', `${text(one)}\n${text(two)}`, [one, two]],
    ['Windows line ends', `\ufeff${text(one)}\r\n${text(two)}\r\n`, [one, two]],
    [
      'comments and empty lines',
      `# the new one\n\n ${text(one)}\n  # the old one\n\t${text(two)} \n\n`,
      [one, two],
    ],
    ['the order of the file', `${text(two)}\n${text(three)}\n${text(one)}`, [two, three, one]],
  ])('%s', (_, content, keys) => {
    expect(shown(parseKeyRing(content, '/k'))).toEqual(shown(keys));
  });

  test.each([
    ['nothing', '', /^The key file \/k must be 32 bytes/],
    ['a comment alone', '# here was a key\n', /^The key file \/k must be 32 bytes/],
    ['a word', 'canary', /^The key file \/k must be 32 bytes/],
    [
      'a broken second key',
      `# two keys\n${text(one)}\n\ncanary${text(two)}`,
      /^The key in line 4 of the file \/k must be 32 bytes.*50 characters/,
    ],
    [
      'two keys in one line',
      `${text(one)},${text(two)}\n${text(three)}`,
      /^The key in line 1 of the file \/k must be/,
    ],
    [
      'a comment after a key',
      `${text(one)} # new\n${text(two)}`,
      /^The key in line 1 of the file \/k must be/,
    ],
    [
      'a key twice',
      `${text(one)}\n#\n${text(two)}\n${text(one)}`,
      /^The key file \/k has the same key twice: line 4 repeats line 1/,
    ],
  ])('%s is refused by its line, and not shown', (_, content, message) => {
    let error: unknown;
    try {
      parseKeyRing(content, '/k');
    } catch (thrown) {
      error = thrown;
    }
    expect(error).toMatchObject({
      code: 'STORE_KEY_WRONG',
      message: expect.stringMatching(message),
    });
    for (const secret of [text(one), text(two), text(three), 'canary']) {
      expect(inspect(error, { depth: 9 })).not.toContain(secret);
    }
  });

  test('is written as it is read, whatever keys there are', async () => {
    const dataDir = await newFolder();
    const path = join(dataDir, 'master.key');
    const rings = fc.uniqueArray(fc.uint8Array({ minLength: 32, maxLength: 32 }), {
      minLength: 1,
      maxLength: 5,
      selector: (key) => text(key),
    });
    await fc.assert(
      fc.asyncProperty(rings, async (ring) => {
        await replaceKeyFile(path, ring);
        expect(shown(await readKeyFile(path))).toEqual(shown(ring));
      }),
      { numRuns: 30 },
    );
    expect((await stat(path)).mode & 0o777).toBe(0o600);
    expect(await readdir(dataDir)).toEqual(['master.key']);
  });

  test('what a killed process left half written is written over, and removed with the file', async () => {
    const dataDir = await newFolder();
    const path = join(dataDir, 'master.key');
    await replaceKeyFile(path, [one]);
    await writeFile(`${path}.new`, 'half a ke');
    expect(shown(await readKeyFile(path))).toEqual(shown([one]));
    await replaceKeyFile(path, [two, one]);
    expect(await readFile(path, 'utf8')).toBe(`${text(two)}\n${text(one)}\n`);
    await writeFile(`${path}.new`, 'half a ke');
    await removeKeyFile(path);
    await removeKeyFile(path);
    expect(await readdir(dataDir)).toEqual([]);
  });

  test('is refused when others may read it', async () => {
    const path = join(await newFolder(), 'master.key');
    await replaceKeyFile(path, [one, two]);
    await chmod(path, 0o640);
    await expect(readKeyFile(path)).rejects.toMatchObject({ code: 'STORE_ACCESS_DENIED' });
  });
});

test('the environment names several keys with commas, each of them sound and only once', async () => {
  const dataDir = await newFolder();
  const ring = (fromEnvironment: string): Promise<KeyRing> =>
    resolveMasterKeys({ dataDir, fromEnvironment });
  expect(shown(await ring(`${text(one)}, ${text(two)}\n`))).toEqual(shown([one, two]));
  await expect(ring(`${text(one)},`)).rejects.toMatchObject({ code: 'STORE_KEY_WRONG' });
  await expect(ring(`${text(one)},${text(one)}`)).rejects.toThrow('key 2 repeats key 1');
});

describe('what an exchange does with a ring', () => {
  const random = { newKey: three, isChosen: false };
  const chosen = { newKey: three, isChosen: true };
  test.each<[string, KeyRing | undefined, Uint8Array | undefined, typeof random, KeyRing, boolean]>(
    [
      ['one key: a new one in front of it', [one], one, random, [three, one], true],
      ['none, under KMS: a new one', undefined, undefined, random, [three], true],
      ['begun: goes on with the first', [two, one], one, random, [two, one], false],
      ['done but for the old key', [one, two], one, random, [one, two], false],
      ['under KMS, with a key: that one', [one], undefined, random, [one], false],
      ['an own key: in front of all', [one, two], one, chosen, [three, one, two], true],
      ['an own key that is first: goes on', [three, one], one, chosen, [three, one], false],
      ['an own key that is last: moved up', [one, three], one, chosen, [three, one], true],
    ],
  )('%s', (_, ring, current, key, after, isWritten) => {
    const plan = planKeyFile(ring, current, key);
    expect(text(plan.target)).toBe(text(after[0]));
    expect(shown(plan.ring)).toEqual(isWritten ? shown(after) : undefined);
  });

  test('never loses a key that the store may be under, and never moves to an older one', () => {
    const keys = fc.uniqueArray(fc.constantFrom(0, 1, 2, 3), { minLength: 1, maxLength: 4 });
    fc.assert(
      fc.property(keys, fc.nat(3), fc.boolean(), (numbers, at, isChosen) => {
        const [first = one, ...others] = numbers.map((number) => Buffer.alloc(32, number));
        const ring: KeyRing = [first, ...others];
        const current = ring[at % ring.length];
        const plan = planKeyFile(ring, current, { newKey: Buffer.alloc(32, 9), isChosen });
        const after = shown(plan.ring ?? ring) ?? [];
        expect(after[0]).toBe(text(plan.target));
        for (const key of ring) expect(after).toContain(text(key));
        expect(new Set(after).size).toBe(after.length);
        expect([text(first), text(Buffer.alloc(32, 9))]).toContain(text(plan.target));
      }),
    );
  });
});

describe('what is left to do about the keys', () => {
  const status = { keyId: '11111111', keptBy: 'key file', dataKeys: 7, oldKeyIds: [] } as const;
  test.each([
    ['nothing', status, undefined, undefined],
    [
      'the exchange was not made',
      { ...status, nextKey: '22222222' },
      /names the key 22222222, and all 7 data keys are still under the old key 11111111/,
      /store rekey/,
    ],
    ['KMS is configured only', { ...status, nextKey: 'kms' }, /a key that KMS keeps/, /rekey/],
    [
      'an old key in the file',
      { ...status, oldKeyIds: ['33333333'] },
      /The key 33333333 opens nothing in this store/,
      /key file: service-token-broker store rekey/,
    ],
    [
      'old keys in the environment',
      { ...status, keptBy: 'environment', oldKeyIds: ['33333333', '44444444'] },
      /The keys 33333333, 44444444 open nothing/,
      /BROKER_MASTER_KEY/,
    ],
  ] as const)('%s', (_, keys, found, action) => {
    const advice = adviseOnKeys(keys);
    if (found === undefined) return expect(advice).toBeUndefined();
    expect(advice?.found).toMatch(found);
    expect(advice?.action).toMatch(action);
  });

  const [a, b] = [randomBytes(32), randomBytes(32)];
  test.each([
    [[a], a, false, false, undefined],
    [[a, b], a, false, false, undefined],
    [[a, b], b, false, false, a.toString('hex').slice(0, 8)],
    [[], a, true, true, undefined],
    [[a], a, true, false, 'kms'],
    [[], a, false, true, undefined],
  ] as const)('the next key: %#', (ring, current, hasKms, isUnderKms, next) => {
    expect(nextKey(ring, current, hasKms, isUnderKms)).toBe(next);
  });
});
