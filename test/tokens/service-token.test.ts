import { inspect } from 'node:util';
import { describe, expect, test } from '@jest/globals';
import {
  nextWithdrawals,
  parseRotationClaim,
  parseServiceToken,
  remainingLife,
  scopeOf,
  scopeOfClaims,
  serializeRotationClaim,
  serializeServiceToken,
  type ServiceToken,
} from '../../src/tokens/service-token.js';
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

describe('a token secret', () => {
  const AT = Date.UTC(2026, 10, 22, 3);
  const token: ServiceToken = {
    accessToken: 'opaque',
    tokenType: 'Bearer',
    expiresAt: AT + 86_400_000,
    generatedAt: AT,
    issuer: 'https://issuer.example/',
    audience: ['orders'],
    scope: 'read write',
    withdrawn: ['v1', 'v2'],
    withdrawnUntil: AT + 1_000,
  };
  const fields = {
    access_token: 'opaque',
    token_type: 'Bearer',
    expires_at: '2026-11-23T03:00:00.000Z',
    generated_at: '2026-11-22T03:00:00.000Z',
    issuer: 'https://issuer.example/',
    audience: 'orders',
  };
  const read = (change: object = {}): ServiceToken =>
    parseServiceToken(JSON.stringify({ ...fields, ...change }));

  test('is written as documented, and read again', () => {
    expect(JSON.parse(serializeServiceToken(token, { team: 'a', issuer: 'no' }))).toEqual({
      team: 'a',
      ...fields,
      scope: 'read write',
      withdrawn: ['v1', 'v2'],
      withdrawn_until: '2026-11-22T03:00:01.000Z',
    });
    expect(parseServiceToken(serializeServiceToken(token))).toStrictEqual(token);
    const { scope: _s, withdrawn: _w, withdrawnUntil: _u, ...bare } = token;
    const two = { ...bare, audience: ['a', 'b'] };
    expect(parseServiceToken(serializeServiceToken(two))).toStrictEqual(two);
    expect(Object.keys(JSON.parse(serializeServiceToken(bare)) as object)).toEqual(
      Object.keys(fields),
    );
    expect(remainingLife(token, AT)).toBe(86_400_000);
  });

  test.each<[object, string]>([
    [{ token_type: 'DPoP' }, '"token_type" must be "Bearer"'],
    [{ token_type: 1 }, '"token_type" must be "Bearer"'],
    [{ access_token: ' ' }, '"access_token" must be a non-empty string'],
    [{ issuer: 1 }, '"issuer" must be a non-empty string'],
    [
      { expires_at: 'tomorrow' },
      '"expires_at" must be an ISO 8601 instant, such as 2026-11-22T03:00:00Z',
    ],
    [{ audience: '' }, '"audience" must be a non-empty string, or a list of them'],
    [{ audience: ['a', ''] }, '"audience" must be a non-empty string, or a list of them'],
    [{ audience: ['a', 1] }, '"audience" must be a non-empty string, or a list of them'],
  ])('with %j is none', (change, what) => {
    expect(() => read(change)).toThrow(
      expect.objectContaining({
        code: 'TOKEN_SECRET_INVALID',
        kind: 'misconfigured',
        message: `The token secret does not hold a service token: ${what}. Rotate to write a good one.`,
      }),
    );
  });

  test.each<[object, object]>([
    [{ token_type: undefined }, { tokenType: 'Bearer' }],
    [{ token_type: 'bearer' }, { tokenType: 'Bearer' }],
    [{ withdrawn: ['a', 1, 'b'] }, { withdrawn: ['a', 'b'] }],
    [{ scope: ['b', 'a'] }, { scope: 'b a' }],
    [{ scope: '' }, { scope: '' }],
  ])('with %j is read as %j', (change, expected) => {
    expect(read(change)).toMatchObject(expected);
  });

  test.each<object>([
    { withdrawn: 'a' },
    { withdrawn: [1] },
    { withdrawn_until: '2026-11-22T03:00:01Z' },
    { withdrawn: [], withdrawn_until: '2026-11-22T03:00:01Z' },
  ])('with %j names no version that is withdrawn', (change) => {
    expect(read(change)).not.toHaveProperty('withdrawn');
    expect(read(change)).not.toHaveProperty('withdrawnUntil');
  });

  test.each<unknown>([1, 'soon', undefined])('withdrawn until %p is until its end', (until) => {
    const parsed = read({ withdrawn: ['a'], withdrawn_until: until });
    expect(parsed).toMatchObject({ withdrawn: ['a'] });
    expect(parsed).not.toHaveProperty('withdrawnUntil');
  });

  test('without a scope has that of its JWT', () => {
    const jwt = (payload: unknown): string =>
      `h.${Buffer.from(JSON.stringify(payload)).toString('base64url')}.s`;
    expect(read({ access_token: jwt({ scope: 'a é b' }) }).scope).toBe('a b');
    expect(read({ access_token: jwt({ scp: ['a', 'b'] }) }).scope).toBe('a b');
    expect(read({ access_token: jwt({ scope: 'a' }), scope: 'b' }).scope).toBe('b');
    for (const payload of [null, 'scope', 1, {}]) {
      expect(read({ access_token: jwt(payload) })).not.toHaveProperty('scope');
    }
  });

  test.each([
    ['2026-11-22T03:00:00Z', AT],
    ['2026-11-22t03:00:00z', AT],
    ['2026-11-22 03:00', AT],
    ['2026-11-22T03:00:00.5Z', AT + 500],
    ['2026-11-22T03:00:00.123456789Z', AT + 123],
    ['2026-11-22T05:00:00+02:00', AT],
    ['2026-11-22T05:00:00+0200', AT],
    ['2026-11-22T01:30:00-0130', AT],
    ['+002026-11-22T03:00:00Z', AT],
    ...[
      '2026-11-22',
      '2026-11-22T03',
      '2026-11-22T03:00:00Z ago',
      'at 2026-11-22T03:00:00Z',
      '22026-11-22T03:00:00Z',
      '2026-1-22T03:00:00Z',
      '2026-11-2T03:00:00Z',
      '2026-11-22T3:00:00Z',
      '2026-11-22T03:0:00Z',
      '2026-11-22T03:00:0Z',
      '2026-11-22T03:00:00.Z',
      '2026-11-22T03:00:00.1234567890Z',
      '2026-11-22T03:00:00+2',
      '2026-11-22T03:00:00+020',
      '2026-11-22_03:00:00Z',
      '2026-13-22T03:00:00Z',
      '11/22/2026 03:00',
    ].map((text) => [text, undefined] as const),
  ])('ends at %s: %p', (text, instant) => {
    const parse = (): number => read({ expires_at: text }).expiresAt;
    if (instant === undefined) expect(parse).toThrow('ISO 8601');
    else expect(parse()).toBe(instant);
  });

  test('with a claim alone is empty, and the claim is read', () => {
    const claim = serializeRotationClaim('me', AT);
    expect(JSON.parse(claim)).toEqual({
      rotation_claim: 'me',
      claimed_at: '2026-11-22T03:00:00.000Z',
    });
    expect(parseRotationClaim(claim)).toEqual({ owner: 'me', claimedAt: AT });
    expect(parseRotationClaim('{"rotation_claim":"me"}')).toEqual({
      owner: 'me',
      claimedAt: undefined,
    });
    for (const text of [JSON.stringify(fields), '{"rotation_claim":1}', '{}']) {
      expect(parseRotationClaim(text)).toBeUndefined();
    }
    expect(() => parseServiceToken(claim)).toThrow(
      expect.objectContaining({
        code: 'TOKEN_SECRET_EMPTY',
        kind: 'retry',
        message:
          'The token secret holds no service token yet: its first rotation has not finished.',
      }),
    );
    expect(read({ rotation_claim: 'me' }).accessToken).toBe('opaque');
  });
});

test.each<[unknown, string | undefined]>([
  ['a b', 'a b'],
  ['  b   a\tb ', 'b a'],
  ['', ''],
  [['a b', 'c'], 'a b c'],
  [[], ''],
  ['a"b c\\d é !', '!'],
  [null, undefined],
  [1, undefined],
  [['a', 1], undefined],
])('the scopes of %j are %j', (value, scopes) => {
  expect(scopeOf(value)).toBe(scopes);
  expect(scopeOfClaims({ scope: value, scp: undefined })).toBe(scopes);
  expect(scopeOfClaims({ scp: value })).toBe(scopes);
});

describe('the versions that a new one names as withdrawn', () => {
  const NOW = 1_000;
  const before = { versionId: 'v3', expiresAt: 5_000, withdrawn: ['v2', 'v1'] };
  test.each<[Parameters<typeof nextWithdrawals>[0], boolean, object]>([
    [{ versionId: 'v3', expiresAt: 5_000 }, false, {}],
    [{ versionId: 'v3' }, false, {}],
    [{ versionId: 'v3' }, true, { withdrawn: ['v3'] }],
    [{ versionId: 'v3', expiresAt: 5_000 }, true, { withdrawn: ['v3'], withdrawnUntil: 5_000 }],
    [before, false, { withdrawn: ['v2', 'v1'], withdrawnUntil: 5_000 }],
    [before, true, { withdrawn: ['v3', 'v2', 'v1'], withdrawnUntil: 5_000 }],
    [
      { ...before, withdrawnUntil: 2_000 },
      false,
      { withdrawn: ['v2', 'v1'], withdrawnUntil: 2_000 },
    ],
    [
      { ...before, withdrawnUntil: 2_000 },
      true,
      { withdrawn: ['v3', 'v2', 'v1'], withdrawnUntil: 5_000 },
    ],
    [
      { ...before, withdrawnUntil: 9_000 },
      true,
      { withdrawn: ['v3', 'v2', 'v1'], withdrawnUntil: 9_000 },
    ],
    // Their tokens have ended.
    [{ ...before, withdrawnUntil: NOW }, false, {}],
    [{ ...before, withdrawnUntil: NOW }, true, { withdrawn: ['v3'], withdrawnUntil: 5_000 }],
    [{ ...before, expiresAt: NOW }, false, {}],
    [{ versionId: 'v3', withdrawn: ['v2'] }, false, {}],
  ])('after %j, withdrawn: %p', (version, withdraws, expected) => {
    expect(nextWithdrawals(version, withdraws, NOW)).toStrictEqual(expected);
  });

  test('are a hundred at most, the newest', () => {
    const withdrawn = Array.from({ length: 100 }, (_, index) => `v${100 - index}`);
    const next = nextWithdrawals({ versionId: 'v101', expiresAt: 5_000, withdrawn }, true, NOW);
    expect(next.withdrawn).toEqual(['v101', ...withdrawn.slice(0, 99)]);
  });
});
