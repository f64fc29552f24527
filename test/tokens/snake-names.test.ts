import { describe, expect, test } from '@jest/globals';
import { decodeText, parseStrictJson, withSnakeNames } from '../../src/tokens/json.js';

describe('names as programs read them', () => {
  const url = new URL('https://a.example/someName');
  const when = new Date(0);
  const hidden = { accessToken: 'canary', toJSON: () => ({}) };

  test.each<[string, unknown, unknown]>([
    ['a member', { remainingSeconds: 60 }, { remaining_seconds: 60 }],
    ['several words', { aBCd: 1, x509Sha256: 2 }, { a_b_cd: 1, x509_sha256: 2 }],
    ['one word', { token: 1, a: 2 }, { token: 1, a: 2 }],
    [
      'at any depth',
      { outerName: [{ innerName: { lastName: null } }] },
      { outer_name: [{ inner_name: { last_name: null } }] },
    ],
    ['a list', [{ oneName: 1 }, 'twoNames'], [{ one_name: 1 }, 'twoNames']],
    [
      'what is no name of the code',
      { 'a-B': 1, AB: 2, 'https://Host': 3, aB_: 4, 'é A': 5, 'b c D': 6, '': 7 },
      { 'a-B': 1, AB: 2, 'https://Host': 3, aB_: 4, 'é A': 5, 'b c D': 6, '': 7 },
    ],
    ['a text', 'someName', 'someName'],
    ['nothing', undefined, undefined],
    ['null', null, null],
    ['a number', 7, 7],
  ])('%s', (_what, value, expected) => {
    expect(withSnakeNames(value)).toEqual(expected);
  });

  test('what has a JSON form of its own is left as it is', () => {
    const value = { aUrl: url, aDate: when, aToken: hidden };
    const named = withSnakeNames(value) as Record<string, unknown>;
    expect(Object.keys(named)).toEqual(['a_url', 'a_date', 'a_token']);
    expect(named['a_url']).toBe(url);
    expect(named['a_date']).toBe(when);
    expect(named['a_token']).toBe(hidden);
  });
});

test.each([
  [0xff, 0x41],
  [0xfe, 0x41],
  [0x41, 0xff],
  [0x41, 0xfe],
])('half of a byte-order mark is none: %d, %d', (first, second) => {
  expect(decodeText(Uint8Array.of(first, second))).toBeUndefined();
});

describe('the depth of nesting', () => {
  test.each(['[[],[],[],[],[],[]]', '[{},{},{},{},{},{}]', '{"a":[{}],"b":[{}],"c":[{}]}'])(
    'is not what stands beside each other: %s',
    (text) => {
      expect(parseStrictJson(text, 3)).toEqual({ ok: true, value: JSON.parse(text) as unknown });
    },
  );

  test.each(['[1,2,3,[4,5,6,[7,8,[9]]]]', '{"a":1, "b":{"c":2, "d":{"e":3, "f":{}}}}'])(
    'is counted whatever stands between: %s',
    (text) => {
      const fault = 'it is nested too deeply';
      expect(parseStrictJson(text, 3)).toEqual({ ok: false, fault });
      expect(parseStrictJson(text, 4).ok).toBe(true);
    },
  );
});
