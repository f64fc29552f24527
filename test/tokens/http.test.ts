import { execFileSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { expect, test, describe } from '@jest/globals';
import { transformFileSync } from '@swc/core';
import { parseBasicCredentials } from '../../src/peers/peer-credentials.js';
import { clientSecretBasic, parseUrl, retryAfterOf } from '../../src/tokens/http.js';
import { fc } from '../support/properties.js';

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

const NOW = Date.parse('2026-11-22T12:00:00.250Z');

describe('retryAfterOf', () => {
  test.each([
    [null, undefined],
    ['', undefined],
    ['0', 0],
    ['120', 120],
    [' 120 ', 120],
    ['99999999999', undefined],
    ['-1', undefined],
    ['1.5', undefined],
    ['1e3', undefined],
    ['soon', undefined],
    ['2026', 2026],
    ['Sun, 22 Nov 2026 12:00:10 GMT', 10],
    ['Sunday, 22-Nov-26 12:00:10 GMT', 10],
    ['Sun Nov 22 12:00:10 2026 GMT', 10],
    ['Sun, 22 Nov 2026 11:00:00 GMT', 0],
    ['Sun, 99 Nov 2026 11:00:00 GMT', undefined],
  ])('%j is %j seconds', (header, expected) => {
    const headers = new Headers(header === null ? {} : { 'retry-after': header });
    expect(retryAfterOf(headers, NOW)).toBe(expected);
  });

  test.each(['UTC', 'America/New_York', 'Asia/Kolkata'])(
    'each form of an HTTP date is in UTC where the clocks show %s',
    (zone) => {
      const forms = [
        'Sun, 22 Nov 2026 12:00:10 GMT',
        'Sunday, 22-Nov-26 12:00:10 GMT',
        'Sun Nov 22 12:00:10 2026',
      ];
      expect(parseAllIn(zone, forms)).toEqual(forms.map(() => 10));
    },
  );
});

/** What a process in another time zone makes of the headers; in this one the zone is fixed from the start. */
function parseAllIn(zone: string, headers: readonly string[]): unknown {
  const file = fileURLToPath(new URL('../../src/tokens/http.ts', import.meta.url));
  const { code } = transformFileSync(file, {
    configFile: false,
    swcrc: false,
    jsc: { parser: { syntax: 'typescript' }, target: 'es2022' },
  });
  const program = `${code}
    const seconds = ${JSON.stringify(headers)}.map((header) => retryAfterOf(new Headers({ 'retry-after': header }), ${NOW}));
    process.stdout.write(JSON.stringify(seconds));`;
  const output = execFileSync(process.execPath, ['--input-type=module', '--eval', program], {
    encoding: 'utf8',
    env: { ...process.env, TZ: zone },
  });
  return JSON.parse(output);
}
