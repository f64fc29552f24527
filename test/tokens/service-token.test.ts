import { inspect } from 'node:util';
import { describe, expect, test } from '@jest/globals';
import { parseServiceToken, serializeServiceToken } from '../../src/tokens/service-token.js';
import { createSuppliedToken } from '../../src/tokens/token-supply.js';

const EXPIRES = Date.parse('2026-11-23T03:00:00Z');
const WRITTEN = {
  access_token: 'a.b.c',
  token_type: 'Bearer',
  expires_at: '2026-11-23T03:00:00.000Z',
  generated_at: '2026-11-22T03:00:00.000Z',
  issuer: 'https://issuer.example.test/',
  audience: 'urn:a',
};
const TOKEN = {
  accessToken: 'a.b.c',
  tokenType: 'Bearer',
  expiresAt: EXPIRES,
  generatedAt: EXPIRES - 86_400_000,
  issuer: 'https://issuer.example.test/',
  audience: ['urn:a'],
} as const;

describe('a token secret that was edited by hand', () => {
  test.each([
    ['as it is written', JSON.stringify(WRITTEN)],
    ['with a byte-order mark', `\ufeff${JSON.stringify(WRITTEN)}`],
    ['with line ends', `\r\n${JSON.stringify(WRITTEN, null, 2).replaceAll('\n', '\r\n')}\r\n`],
    [
      'with what pasting leaves around its members',
      JSON.stringify({
        ...WRITTEN,
        access_token: ' a.b.c\n',
        expires_at: '\ufeff2026-11-23T03:00:00.000Z ',
        issuer: 'https://issuer.example.test/\n',
      }),
    ],
  ])('%s', (_what, text) => {
    expect(parseServiceToken(text)).toEqual(TOKEN);
  });

  test.each([
    '2026-11-23T03:00:00Z',
    '2026-11-23T03:00Z',
    '2026-11-23t03:00:00z',
    '2026-11-23T04:00:00+01:00',
    '2026-11-22T22:00:00-0500',
    '2026-11-23 03:00:00+00:00',
    '2026-11-23T03:00:00.000000Z',
    // What Python's datetime.utcnow().isoformat() gives. Read as local time it would be wrong by the zone's hours.
    '2026-11-23T03:00:00.000000',
    '2026-11-23 03:00:00',
  ])('the instant %s', (instant) => {
    const zone = process.env['TZ'];
    try {
      for (const TZ of ['UTC', 'America/New_York', 'Asia/Tokyo']) {
        process.env['TZ'] = TZ;
        const text = JSON.stringify({ ...WRITTEN, expires_at: instant });
        expect(parseServiceToken(text).expiresAt).toBe(EXPIRES);
      }
    } finally {
      if (zone === undefined) delete process.env['TZ'];
      else process.env['TZ'] = zone;
    }
  });

  test.each<[unknown]>([
    [1_795_402_800],
    ['1795402800'],
    ['Mon, 23 Nov 2026 03:00:00 GMT'],
    ['11/12/2026 03:00'],
    ['2026-11-23'],
    ['2026-13-23T03:00:00Z'],
    ['tomorrow'],
    [''],
    [' '],
    [null],
  ])('the instant %j is refused', (instant) => {
    const text = JSON.stringify({ ...WRITTEN, expires_at: instant });
    expect(() => parseServiceToken(text)).toThrow(/"expires_at"/);
  });
});

describe('an expiry that is no whole number of seconds', () => {
  test('is never written later than it is', () => {
    const text = serializeServiceToken({ ...TOKEN, expiresAt: EXPIRES + 500.75 });
    expect(parseServiceToken(text).expiresAt).toBe(EXPIRES + 500);
  });

  test('that no date can hold is the last that one can', () => {
    for (const expiresAt of [Number.MAX_SAFE_INTEGER * 1000, 1e300]) {
      const text = serializeServiceToken({ ...TOKEN, expiresAt });
      expect(parseServiceToken(text).expiresAt).toBe(8_640_000_000_000_000);
    }
  });
});

test('a supplied token is there to be sent, and shows itself nowhere', () => {
  const token = createSuppliedToken('canary.canary.canary', 1_700_000_000_000);
  expect(token.accessToken).toBe('canary.canary.canary');
  expect(token.expiresAt).toBe(1_700_000_000_000);
  for (const shown of [
    JSON.stringify(token),
    JSON.stringify({ ...token }),
    JSON.stringify(structuredClone(token)),
    inspect(token),
    inspect({ token }, { showHidden: true, getters: true, depth: 9 }),
    inspect(Promise.resolve(token)),
  ]) {
    expect(shown).not.toContain('canary');
  }
  expect(Object.isFrozen(token)).toBe(true);
});
