import { expect, test } from '@jest/globals';
import { fc } from '../support/properties.js';
import { parseBasicCredentials } from '../../src/peers/peer-credentials.js';
import { clientSecretBasic } from '../../src/tokens/http.js';

test.each([
  ['orders', 'A-b_c.d', 'orders:A-b_c.d'],
  ['or:ders', 'a b', 'or%3Aders:a+b'],
  ['ü', '€%', '%C3%BC:%E2%82%AC%25'],
])('RFC 6749 §2.3.1: %s and %s', (id, secret, pair) => {
  expect(clientSecretBasic(id, secret)).toBe(`Basic ${btoa(pair)}`);
});

test('the broker reads what a peer writes, whatever the characters', () => {
  const text = fc.string({ unit: 'grapheme', minLength: 1, maxLength: 40 });
  fc.assert(
    fc.property(text, text, (id, secret) => {
      const header = clientSecretBasic(id, secret);
      if (header.length > 1_024) return;
      expect(parseBasicCredentials(header)).toEqual({ id, secret });
    }),
  );
});
