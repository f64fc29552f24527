import { describe, expect, test } from '@jest/globals';
import {
  encodeValue,
  MAX_VALUE_BYTES,
  requireNewSecretId,
  requireVersionId,
} from '../../src/secrets/secret-store.js';
import { character, fc } from '../support/properties.js';

describe('encodeValue', () => {
  test('gives bytes that decode to the same text, for all Unicode text within the limit', () => {
    fc.assert(
      fc.property(fc.string({ unit: character, minLength: 1, maxLength: 2000 }), (text) => {
        expect(encodeValue('id', text).toString('utf8')).toBe(text);
      }),
    );
  });

  test.each([
    [
      'one byte too many',
      'x'.repeat(MAX_VALUE_BYTES + 1),
      'has 65537 bytes, and 65536 are allowed',
    ],
    ['empty', '', 'is empty'],
    ['a high surrogate alone', 'a\ud83d', 'surrogate'],
    ['a low surrogate alone', '\ude00a', 'surrogate'],
  ])('refuses what is %s and says why', (_, value, reason) => {
    expect(() => encodeValue('my-secret', value)).toThrow(
      expect.objectContaining({
        code: 'VALUE_INVALID',
        message: expect.stringMatching(new RegExp(`my-secret.*${reason}`)),
      }),
    );
  });

  test('takes exactly the limit', () => {
    expect(encodeValue('id', 'x'.repeat(MAX_VALUE_BYTES))).toHaveLength(MAX_VALUE_BYTES);
  });
});

describe('requireVersionId', () => {
  test.each([32, 36, 64])('takes %i characters', (length) => {
    expect(() => requireVersionId('id', 'v'.repeat(length))).not.toThrow();
  });

  test.each([
    ['31 characters', 'v'.repeat(31), '32 to 64'],
    ['65 characters', 'v'.repeat(65), '32 to 64'],
    ['a NUL, at which SQLite would cut it', `${'v'.repeat(32)}\0a`, 'control character'],
    ['half of a pair', `${'v'.repeat(32)}\ud800`, 'control character'],
  ])('refuses %s', (_, versionId, reason) => {
    expect(() => requireVersionId('id', versionId)).toThrow(
      expect.objectContaining({
        code: 'STORE_REQUEST_INVALID',
        message: expect.stringContaining(reason),
      }),
    );
  });
});

describe('requireNewSecretId', () => {
  test.each(['a', 'service-token/prod', 'A_b+c=d.e@f-1', 'x'.repeat(512)])('takes %s', (id) => {
    expect(() => requireNewSecretId(id)).not.toThrow();
  });

  test.each(['', 'x'.repeat(513), 'a b', 'a:b', 'ü', 'a\0b', 'a\n'])('refuses %j', (id) => {
    expect(() => requireNewSecretId(id)).toThrow(
      expect.objectContaining({ code: 'STORE_REQUEST_INVALID' }),
    );
  });
});
