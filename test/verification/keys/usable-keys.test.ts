import { generateKeyPairSync, randomBytes, type JsonWebKey } from 'node:crypto';
import { describe, expect, test } from '@jest/globals';
import { createStaticKeySet } from '../../../src/verification/keys/key-set.js';
import {
  isRocaModulus,
  isSignatureAlgorithm,
  readKeyDocument,
} from '../../../src/verification/keys/usable-keys.js';
import { VerifierConfigError } from '../../../src/verification/verification-errors.js';
import { fc } from '../../support/properties.js';
import { rsaKeyPair } from '../../support/rsa-key.js';
import { createSigner } from '../support/signer.js';

const rsa = (modulusLength: number): JsonWebKey =>
  generateKeyPairSync('rsa', { modulusLength }).publicKey.export({ format: 'jwk' });
const ec = (namedCurve: string, isPrivate = false): object => {
  const pair = generateKeyPairSync('ec', { namedCurve });
  return (isPrivate ? pair.privateKey : pair.publicKey).export({ format: 'jwk' });
};
const okp = (kind: 'ed25519' | 'x25519'): object =>
  (kind === 'ed25519'
    ? generateKeyPairSync('ed25519')
    : generateKeyPairSync('x25519')
  ).publicKey.export({ format: 'jwk' });

const RSA_2048 = rsaKeyPair().publicKey.export({ format: 'jwk' });
const P256 = ec('P-256');
/** Bytes of nothing but ones, as a member of a key. */
const ones = (bytes: number): string => Buffer.alloc(bytes, 0xff).toString('base64url');

const behind = (first: number, bytes: number): string =>
  Buffer.concat([Buffer.from([first]), Buffer.alloc(bytes, 0xff)]).toString('base64url');

describe('which algorithms a key may verify', () => {
  test.each<[string, object, readonly string[]]>([
    ['RSA', RSA_2048, ['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512']],
    ['RSA with its own algorithm', { ...RSA_2048, alg: 'PS256' }, ['PS256']],
    ['RSA with a curve', { ...RSA_2048, alg: 'PS256', crv: 'P-256' }, ['PS256']],
    ['P-256', P256, ['ES256']],
    ['P-384', ec('P-384'), ['ES384']],
    ['P-521', ec('P-521'), ['ES512']],
    ['Ed25519', okp('ed25519'), ['EdDSA', 'Ed25519']],
    ['use sig', { ...P256, use: 'sig' }, ['ES256']],
    ['key_ops verify', { ...P256, key_ops: ['verify'] }, ['ES256']],
    ['empty members', { ...P256, use: '', alg: '', key_ops: [], d: '' }, ['ES256']],
    ['the longest key id', { ...P256, kid: 'k'.repeat(256) }, ['ES256']],
    ['the largest RSA key', { ...RSA_2048, alg: 'RS256', n: ones(1024) }, ['RS256']],
    ['the largest exponent', { ...RSA_2048, alg: 'RS256', e: ones(4) }, ['RS256']],
    ['the smallest exponent', { ...RSA_2048, alg: 'RS256', e: 'Aw' }, ['RS256']],
  ])('%s', (_, jwk, algorithms) => {
    const document = readKeyDocument({ keys: [{ kid: 'k', ...jwk }] });
    expect(document?.ignored).toEqual([]);
    expect(document?.usable[0]?.algorithms).toEqual(algorithms);
  });

  test('only public members are kept', () => {
    const document = readKeyDocument({ keys: [{ ...P256, kid: 'k', ext: false, x5c: ['MII'] }] });
    expect(Object.keys(document?.usable[0]?.jwk ?? {})).toEqual(['kty', 'crv', 'x', 'y']);
  });
});

test.each([
  ['the zeros that RFC 7518 asks for before a coordinate', P256, 'x', 2, 32],
  ['those of the largest curve', ec('P-521'), 'y', 1, 66],
  ['none before a modulus', RSA_2048, 'n', 300, 300],
  ['those of Ed25519, which are no zeros before a number', okp('ed25519'), 'x', 32, 32],
])('a key has %s, however it is written', (_, jwk, name, length, bytes) => {
  const number = Buffer.alloc(length, 1);
  if (length === 32) number[0] = 0;
  const forms = [number, Buffer.concat([Buffer.alloc(length === 32 ? 0 : 1), number])];
  const keys = forms.map((form) =>
    Object.assign({}, jwk, { kid: 'k', [name]: form.toString('base64url') }),
  );
  const document = readKeyDocument({ keys });
  expect(document?.usable).toHaveLength(1);
  const [key] = document?.usable ?? [];
  expect(Buffer.from(String(key?.jwk[name]), 'base64url')).toHaveLength(bytes);
});

test.each([
  ['RS256', true],
  ['Ed25519', true],
  ['rs256', false],
  ['HS256', false],
  ['toString', false],
  [['RS256'], false],
  [undefined, false],
])('%j is an algorithm: %p', (name, is) => {
  expect(isSignatureAlgorithm(name)).toBe(is);
});

describe('ignored', () => {
  const smallExponent = (e: Buffer): object => ({ ...RSA_2048, e: e.toString('base64url') });
  test.each<[string, unknown, string]>([
    ['null', null, 'not-an-object'],
    ['a string', 'key', 'not-an-object'],
    ['a symmetric key', { kty: 'oct', k: 'c2VjcmV0' }, 'private-or-symmetric'],
    ['a symmetric key without its secret', { kty: 'oct' }, 'private-or-symmetric'],
    ['a private key', ec('P-256', true), 'private-or-symmetric'],
    ['a key for encryption', { ...P256, use: 'enc' }, 'not-for-signatures'],
    ['a use of another type', { ...P256, use: ['sig'] }, 'not-for-signatures'],
    ['operations without verify', { ...P256, key_ops: ['encrypt'] }, 'not-for-signatures'],
    ['operations of another type', { ...P256, key_ops: 'verify' }, 'not-for-signatures'],
    ['an unknown type', { kty: 'XYZ' }, 'unsupported-type'],
    ['no type', {}, 'unsupported-type'],
    ['an unknown curve', ec('secp256k1'), 'unsupported-type'],
    ['a key agreement key', okp('x25519'), 'unsupported-type'],
    ['an algorithm of another type', { ...P256, alg: 'RS256' }, 'algorithm-mismatch'],
    ['HMAC over a public key', { ...RSA_2048, alg: 'HS256' }, 'algorithm-mismatch'],
    ['an encryption algorithm', { ...RSA_2048, alg: 'RSA-OAEP' }, 'algorithm-mismatch'],
    ['none', { ...RSA_2048, alg: 'none' }, 'algorithm-mismatch'],
    ['RSA of 1024 bits', rsa(1024), 'weak'],
    ['RSA of 2047 bits', rsa(2047), 'weak'],
    ['RSA of 1024 bits behind zeros', padded(rsa(1024)), 'weak'],
    ['a giant RSA key', { ...RSA_2048, n: Buffer.alloc(2000, 0xff).toString('base64url') }, 'weak'],
    ['an exponent of one', smallExponent(Buffer.from([1])), 'weak'],
    ['an exponent of one behind zeros', smallExponent(Buffer.from([0, 0, 1])), 'weak'],
    ['an even exponent', smallExponent(Buffer.from([4])), 'weak'],
    ['an exponent of zero', smallExponent(Buffer.from([0])), 'weak'],
    ['a giant exponent', smallExponent(Buffer.alloc(5, 0xff)), 'weak'],
    ['no modulus', { kty: 'RSA', e: 'AQAB' }, 'malformed'],
    ['a modulus of another type', { ...RSA_2048, n: 5 }, 'malformed'],
    ['padding', { ...P256, x: 'AAAA=' }, 'malformed'],
    ['a key id of another type', { ...P256, kid: ['k'] }, 'malformed'],
    ['a key id with a fraction', { ...P256, kid: 1.5 }, 'malformed'],
    [
      'a coordinate that is too long',
      { ...P256, x: Buffer.alloc(33, 1).toString('base64url') },
      'malformed',
    ],
    ['too much padding', { ...P256, x: 'AAAA==' }, 'malformed'],
    ['something before a coordinate', { ...P256, x: ` ${ones(32)}` }, 'malformed'],
    ['something behind a coordinate', { ...P256, x: `${ones(32)} ` }, 'malformed'],
    ['an RSA key of 8193 bits', { ...RSA_2048, n: behind(1, 1024) }, 'weak'],
    ['a modulus of zero', { ...RSA_2048, n: 'AAAA' }, 'weak'],
    ['a length that base64 never has', { ...P256, x: 'AAAAA' }, 'malformed'],
    ['a list within the list', [[P256]], 'not-an-object'],
    ['a number', 7, 'not-an-object'],
    ['a key id too long', { ...P256, kid: 'k'.repeat(257) }, 'malformed'],
  ])('%s', (_, key, reason) => {
    const good = { ...P256, kid: 'good' };
    const document = readKeyDocument({ keys: [key, good] });
    expect(document?.ignored.map((ignored) => ignored.reason)).toEqual([reason]);
    expect(document?.usable.map(({ keyId }) => keyId)).toEqual(['good']);
  });

  test('different keys with the same id and algorithm, for nobody could say which one is meant', () => {
    const keys = [
      { ...P256, kid: 'twice' },
      { ...ec('P-256'), kid: 'twice' },
      { ...P256, kid: 'once' },
    ];
    const document = readKeyDocument({ keys });
    expect(document?.usable.map(({ keyId }) => keyId)).toEqual(['once']);
    expect(document?.ignored).toEqual([
      { keyId: 'twice', reason: 'duplicate-key-id' },
      { keyId: 'twice', reason: 'duplicate-key-id' },
    ]);
  });

  test('a key without an id does not conflict with one whose id is "undefined"', () => {
    const keys = [P256, { ...ec('P-256'), kid: 'undefined' }];
    expect(readKeyDocument({ keys })?.usable.map(({ keyId }) => keyId)).toEqual([
      undefined,
      'undefined',
    ]);
  });

  test('an encryption key does not take the id from its signing key', () => {
    const keys = [
      { ...P256, kid: 'same', use: 'enc' },
      { ...P256, kid: 'same', use: 'sig' },
    ];
    expect(readKeyDocument({ keys })?.usable.map(({ keyId }) => keyId)).toEqual(['same']);
  });
});

describe('more keys than can be used', () => {
  const many = Array.from({ length: 1002 }, (_, index) => ({ ...P256, kid: `k${index}` }));

  test('the first 1000 are used', () => {
    const document = readKeyDocument({ keys: many });
    expect(document?.usable.length).toBe(1000);
    expect(document?.usable.at(-1)?.keyId).toBe('k999');
    expect(document?.ignored).toEqual([
      { keyId: 'k1000', reason: 'too-many-keys' },
      { keyId: 'k1001', reason: 'too-many-keys' },
    ]);
  });

  test('repetitions and junk take no place, and what is ignored is listed up to a bound', () => {
    const junk = Array.from({ length: 5000 }, () => null);
    const repeated = Array.from({ length: 5000 }, () => P256);
    const document = readKeyDocument({ keys: [...junk, ...repeated, ...many] });
    expect(document?.usable.length).toBe(1000);
    expect(document?.ignored.length).toBe(100);
  });

  test('a thousand different keys under one id are sorted in bounded time', () => {
    const points = Array.from({ length: 1000 }, (_, index) => {
      const x = Buffer.alloc(32);
      x.writeUInt32BE(index + 1, 28);
      return { ...P256, x: x.toString('base64url'), kid: 'same' };
    });
    const before = process.cpuUsage();
    const document = readKeyDocument({ keys: [...points, { ...P256, kid: 'same' }] });
    const { user, system } = process.cpuUsage(before);
    // Microseconds; comparing each with each would take a minute.
    expect(user + system).toBeLessThan(5_000_000);
    expect(document?.usable).toEqual([]);
  });
});

test.each<[string, unknown]>([
  ['null', null],
  ['a list', []],
  ['no keys', {}],
  ['keys of another type', { keys: {} }],
])('not a JWKS: %s', (_, value) => {
  expect(readKeyDocument(value)).toBeUndefined();
});

describe('a static key set', () => {
  test('finds by id and algorithm together', async () => {
    const [first, second] = [await createSigner('a'), await createSigner('b', 'RS256', 'one')];
    const keys = createStaticKeySet({ keys: [first.jwk, second.jwk] });
    const state = {
      status: 'fresh',
      fetchedAt: undefined,
      lastAttemptAt: undefined,
      lastError: undefined,
      keyIds: ['a', 'b'],
      ignored: [],
      fetches: 0,
      failures: 0,
      changes: 0,
    };
    // Before the keys are imported, and after.
    expect(keys.state()).toEqual(state);
    expect((await keys.find({ kid: 'b', alg: 'RS256' })).keyId).toBe('b');
    expect(keys.state()).toEqual(state);
    const wrong = { code: 'TOKEN_ALGORITHM_REFUSED' };
    await expect(keys.find({ kid: 'b', alg: 'PS256' })).rejects.toMatchObject(wrong);
    await expect(keys.find({ kid: 'a', alg: 'RS256' })).rejects.toMatchObject(wrong);
    const unknown = { code: 'TOKEN_KEY_UNKNOWN' };
    await expect(keys.find({ kid: 'c', alg: 'ES256' })).rejects.toMatchObject(unknown);
    await expect(keys.find({ kid: '__proto__', alg: 'ES256' })).rejects.toMatchObject(unknown);
  });

  test('before the keys are imported, each id is told once, and what is ignored', () => {
    const named = [P256, RSA_2048].map((key) => Object.assign({ kid: 'a' }, key));
    const keys = [...named, P256, { kty: 'oct', kid: 's', k: 'YQ' }];
    const { keyIds, ignored } = createStaticKeySet({ keys }).state();
    expect(keyIds).toEqual(['a']);
    expect(ignored).toEqual([{ keyId: 's', reason: 'private-or-symmetric' }]);
  });

  test('without an id, only a single key that fits is taken', async () => {
    const signers = [
      await createSigner('a'),
      await createSigner('b'),
      await createSigner('c', 'ES384'),
    ];
    const keys = createStaticKeySet({ keys: signers.map(({ jwk }) => jwk) });
    expect((await keys.find({ kid: undefined, alg: 'ES384' })).keyId).toBe('c');
    await expect(keys.find({ kid: undefined, alg: 'ES256' })).rejects.toMatchObject({
      code: 'TOKEN_KEY_UNKNOWN',
      message: expect.stringContaining('several'),
    });
  });

  test('a point that is not on its curve is ignored at import', async () => {
    const bad = { ...P256, kid: 'bad', y: Buffer.alloc(32, 7).toString('base64url') };
    const keys = createStaticKeySet({ keys: [bad, { ...P256, kid: 'good' }] });
    await keys.find({ kid: 'good', alg: 'ES256' });
    expect(keys.state().ignored).toEqual([{ keyId: 'bad', reason: 'malformed' }]);
    expect(keys.state().keyIds).toEqual(['good']);
  });

  test.each<[string, object, string]>([
    ['not a JWKS', {}, 'The static key set is not a JWKS: give an object with a list "keys".'],
    ['empty', { keys: [] }, 'The static key set has no usable key (it is empty).'],
    [
      'nothing usable',
      { keys: [{ kty: 'oct', k: 'YQ' }, null, { kty: 'oct' }] },
      'The static key set has no usable key (private-or-symmetric, not-an-object).',
    ],
  ])('%s is refused when it is made', (_, jwks, words) => {
    const make = (): unknown => createStaticKeySet(jwks as { keys: object[] });
    expect(make).toThrow(VerifierConfigError);
    expect(make).toThrow(words);
  });
});

function padded(jwk: object): object {
  const { n = '' } = jwk as { n?: string };
  const zeros = Buffer.alloc(200);
  return { ...jwk, n: Buffer.concat([zeros, Buffer.from(n, 'base64url')]).toString('base64url') };
}

/** The product of the first primes: 39 for the shortest keys of the library, 126 from 1984 bits on, 225 from 3968 on. */
function primorial(count: number): bigint {
  const primes: number[] = [];
  for (let number = 2; primes.length < count; number += 1) {
    if (primes.every((prime) => number % prime !== 0)) primes.push(number);
  }
  return primes.reduce((product, prime) => product * BigInt(prime), 1n);
}

function power(base: bigint, exponent: bigint, modulus: bigint): bigint {
  let result = 1n;
  for (let bit = exponent, square = base % modulus; bit > 0n; bit >>= 1n) {
    if (bit & 1n) result = (result * square) % modulus;
    square = (square * square) % modulus;
  }
  return result;
}

const random = (bytes: number): bigint => BigInt(`0x${randomBytes(bytes).toString('hex')}`);

/**
 * A number of the form of these primes, `k·M + (65537^a mod M)`, with its two upper bits set. That they be primes plays no part
 * in how their product is known, and to look for them takes seconds.
 */
function rocaFactor(bits: number, factors: number): bigint {
  const m = primorial(factors);
  const residue = power(65_537n, random(64), m);
  const span = (1n << BigInt(bits - 2)) / m;
  return ((3n << BigInt(bits - 2)) / m + 1n + (random(16) % (span - 2n))) * m + residue;
}

const bytesOf = (number: bigint): Buffer => {
  const hex = number.toString(16);
  return Buffer.from(hex.length % 2 === 0 ? hex : `0${hex}`, 'hex');
};
const rocaModulus = (bits: number, factors: number): bigint =>
  rocaFactor(bits / 2, factors) * rocaFactor(bits / 2, factors);
const rsaWith = (kid: string, n: bigint): object => ({
  kty: 'RSA',
  kid,
  e: 'AQAB',
  n: bytesOf(n).toString('base64url'),
});
const WEAK = rocaModulus(2048, 126);

describe('a modulus of CVE-2017-15361', () => {
  test.each([
    [2048, 126],
    [2048, 39],
    [3072, 126],
    [4096, 225],
  ])('of %d bits, over the first %d primes, is found', (bits, factors) => {
    expect(isRocaModulus(bytesOf(rocaModulus(bits, factors)))).toBe(true);
  });

  test('is found behind leading zeros', () => {
    expect(isRocaModulus(Buffer.concat([Buffer.alloc(3), bytesOf(WEAK)]))).toBe(true);
  });

  test('is not one that leaves powers of 65537 which are not those of one exponent', () => {
    // Another power for a single prime of M: each residue alone still fits.
    const m = primorial(126);
    const rest = m / 163n;
    const step = rest * power(rest, 161n, 163n);
    const shift = ((WEAK * 65_537n - WEAK) % 163n) * step;
    const other = WEAK + (((shift % m) + m) % m);
    expect(other % 163n).toBe((WEAK * 65_537n) % 163n);
    expect(other % 101n).toBe(WEAK % 101n);
    expect(isRocaModulus(bytesOf(other))).toBe(false);
  });
});

test('ordinary keys, and odd numbers of any kind, have not that form', () => {
  const kept = rsaKeyPair('other').publicKey.export({ format: 'jwk' });
  // Short ones are made eight times as fast as those of 2048 bits.
  const made = [rsa(1024), rsa(1024), rsa(1024)];
  for (const { n } of [RSA_2048, kept, ...made]) {
    expect(isRocaModulus(Buffer.from(n ?? '', 'base64url'))).toBe(false);
  }
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 256, maxLength: 512 }), (modulus) => {
      expect(isRocaModulus(modulus)).toBe(false);
    }),
    { numRuns: 2_000 },
  );
});

describe('a JWKS with such a key', () => {
  const keys = [rsaWith('bad', WEAK), { ...RSA_2048, kid: 'good' }];

  test('loses that key alone', () => {
    const document = readKeyDocument({ keys });
    expect(document?.ignored).toEqual([{ keyId: 'bad', reason: 'roca' }]);
    expect(document?.usable.map(({ keyId }) => keyId)).toEqual(['good']);
  });

  test('a token of that key is refused with the name of the fault', async () => {
    const set = createStaticKeySet({ keys });
    await expect(set.find({ alg: 'RS256', kid: 'bad' })).rejects.toMatchObject({
      code: 'TOKEN_KEY_UNKNOWN',
      message: expect.stringContaining('CVE-2017-15361'),
    });
    await expect(set.find({ alg: 'RS256', kid: 'good' })).resolves.toMatchObject({ keyId: 'good' });
    await expect(set.find({ alg: 'RS256', kid: 'other' })).rejects.toMatchObject({
      message: expect.not.stringContaining('CVE'),
    });
  });
});
