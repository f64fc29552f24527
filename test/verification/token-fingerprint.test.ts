import { describe, expect, test } from '@jest/globals';
import { fc } from '../support/properties.js';
import { digestToken, TokenFingerprint } from '../../src/verification/verifier.js';

describe('the digest', () => {
  test('is SHA-256, all of it', () => {
    // FIPS 180-2, appendix B.1.
    expect(Buffer.from(digestToken('abc'), 'latin1').toString('hex')).toBe(
      'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad',
    );
    expect(digestToken('a'.repeat(1000))).toHaveLength(32);
  });
});

describe('a fingerprint', () => {
  test('is of one text and no other, however often either is shown to it', () => {
    fc.assert(
      fc.property(
        fc.string({ maxLength: 40 }),
        fc.array(fc.string({ unit: 'binary', maxLength: 40 })),
        (token, others) => {
          const fingerprint = new TokenFingerprint(token);
          for (const other of ['', ...others, `${token} `, token.slice(1), token.toUpperCase()]) {
            expect(fingerprint.matches(other)).toBe(other === token);
            // Another string each time, as each request brings its own.
            expect(fingerprint.matches(Buffer.from(token).toString())).toBe(true);
          }
        },
      ),
    );
  });
});
