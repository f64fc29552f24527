import { describe, expect, test } from '@jest/globals';
import { keepsWithdrawals, parseServiceToken, scopeOf } from '../../src/tokens/service-token.js';

describe('a version that was made earlier', () => {
  const NOW = 1_000;
  const before = { versionId: 'v3', expiresAt: 5_000, withdrawn: ['v2', 'v1'] };

  test.each<[string, string[] | undefined, boolean, boolean]>([
    ['names all', ['v3', 'v2', 'v1'], true, true],
    ['names all and more, in any order', ['v0', 'v1', 'v2', 'v3'], true, true],
    ['does not name the one that it replaces', ['v2', 'v1'], true, false],
    ['names the earlier ones', ['v1', 'v2'], false, true],
    ['names one of the earlier ones', ['v1'], false, false],
    ['names other ones', ['v7'], false, false],
    ['names none', [], false, false],
    ['has no names', undefined, false, false],
  ])('%s', (_what, withdrawn, withdraws, expected) => {
    const next = withdrawn === undefined ? {} : { withdrawn };
    expect(keepsWithdrawals(next, before, withdraws, NOW)).toBe(expected);
  });

  test('need name none where none is withdrawn', () => {
    expect(keepsWithdrawals({}, { versionId: 'v3', expiresAt: 5_000 }, false, NOW)).toBe(true);
    expect(keepsWithdrawals({}, { ...before, expiresAt: NOW }, false, NOW)).toBe(true);
  });
});

describe('a token secret', () => {
  const fields = {
    access_token: 'opaque',
    expires_at: '+002026-11-23T03:00:00+0000',
    generated_at: '+002026-11-22t05:00:00z',
    issuer: 'https://issuer.example/',
    audience: 'orders',
  };
  const read = (change: object): ReturnType<typeof parseServiceToken> =>
    parseServiceToken(JSON.stringify({ ...fields, ...change }));

  test('whose end of the withdrawals is no text has none', () => {
    const until = ['2026-11-22T03:00:01Z'];
    const parsed = read({ withdrawn: ['v1'], withdrawn_until: until });
    expect(parsed).toMatchObject({ withdrawn: ['v1'] });
    expect(parsed).not.toHaveProperty('withdrawnUntil');
  });

  test.each(['opaque', 'a.b', 'a.bnVsbA.c', 'a.W10.c', 'a.Inh4Ig.c', '..'])(
    'with the token %s has no known scope',
    (token) => {
      expect(read({ access_token: token })).not.toHaveProperty('scope');
    },
  );
});

test.each([
  ['a\n\nb', 'a b'],
  ['\ta  b\u00a0c\r\n', 'a b c'],
  ['a a b a', 'a b'],
])('the scopes of %j are %j', (text, scopes) => {
  expect(scopeOf(text)).toBe(scopes);
});
