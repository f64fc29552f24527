import { expect, test } from '@jest/globals';
import { parseUrl } from '../../src/tokens/http.js';

test('a host with a letter of Latin 1 is a URL, however often it was asked', () => {
  // Node.js 20 compiles a hot call of `URL.canParse` to one that reads Latin 1 as UTF-8.
  let refused = 0;
  for (let turn = 0; turn < 50_000; turn += 1) {
    if (parseUrl('https://bücher.example/')?.host !== 'xn--bcher-kva.example') refused += 1;
  }
  expect(refused).toBe(0);
});

test.each(['', 'a.internal', '/v1', 'https://', 'https://a b', 'http://[::1', 'https://a:99999'])(
  '%j is none',
  (text) => {
    expect(parseUrl(text)).toBeUndefined();
  },
);

test('a relative URL needs a base', () => {
  expect(parseUrl('/v1?a=b', 'https://a.internal/x')?.href).toBe('https://a.internal/v1?a=b');
  expect(parseUrl('//other.example', 'https://a.internal')?.origin).toBe('https://other.example');
  expect(parseUrl('/v1', 'nowhere')).toBeUndefined();
});
