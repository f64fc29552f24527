import { checkPrimeSync, generateKeyPairSync, randomBytes } from 'node:crypto';
import { describe, expect, test } from '@jest/globals';
import { isRocaModulus, readKeyDocument } from '../../src/verification/keys/usable-keys.js';
import { createStaticKeySet } from '../../src/verification/keys/key-set.js';
import { fc } from '../support/properties.js';

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

/** A prime of the form `k·M + (65537^a mod M)` with its two upper bits set. */
function rocaPrime(bits: number, factors: number): bigint {
  const m = primorial(factors);
  const least = 3n << BigInt(bits - 2);
  for (;;) {
    const residue = power(65_537n, random(64), m);
    const span = (1n << BigInt(bits - 2)) / m;
    const prime = (least / m + 1n + (random(16) % (span - 2n))) * m + residue;
    if (checkPrimeSync(prime)) return prime;
  }
}

const bytesOf = (number: bigint): Buffer => {
  const hex = number.toString(16);
  return Buffer.from(hex.length % 2 === 0 ? hex : `0${hex}`, 'hex');
};
const rocaModulus = (bits: number, factors: number): bigint =>
  rocaPrime(bits / 2, factors) * rocaPrime(bits / 2, factors);
const rsa = (kid: string, n: bigint): object => ({
  kty: 'RSA',
  kid,
  e: 'AQAB',
  n: bytesOf(n).toString('base64url'),
});
const ordinary = (modulusLength = 2048): { readonly n?: string } =>
  generateKeyPairSync('rsa', { modulusLength }).publicKey.export({ format: 'jwk' });
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
  for (let count = 0; count < 5; count += 1) {
    expect(isRocaModulus(Buffer.from(ordinary().n ?? '', 'base64url'))).toBe(false);
  }
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 256, maxLength: 512 }), (modulus) => {
      expect(isRocaModulus(modulus)).toBe(false);
    }),
    { numRuns: 2_000 },
  );
});

describe('a JWKS with such a key', () => {
  const keys = [rsa('bad', WEAK), { ...ordinary(), kid: 'good' }];

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
