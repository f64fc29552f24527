import { describe, expect, test } from '@jest/globals';
import {
  describeCondition,
  meets,
  missingClaims,
  type Condition,
  checkProfile,
  type ClassificationProfile,
} from '../../../src/verification/profiles/profile.js';
import { PROFILES } from '../../../src/verification/profiles/providers.js';

type Claims = Readonly<Record<string, unknown>>;

/** Condition, its words, claims that meet it, claims that do not. */
const TABLE: readonly (readonly [Condition, string, readonly Claims[], readonly Claims[]])[] = [
  [
    { present: 'a' },
    '"a" is present',
    [{ a: 'x' }, { a: 0 }, { a: true }, { a: ['x'] }, { a: { b: 1 } }],
    [{}, { a: '' }, { a: null }, { a: false }, { a: [] }, { a: {} }, { a: Number.NaN }],
  ],
  [
    { absent: 'a' },
    '"a" is absent',
    [{}, { b: 1 }, { a: null }],
    [{ a: '' }, { a: 0 }, { a: false }, { a: [] }],
  ],
  [
    { given: 'a' },
    '"a" is given',
    [{ a: '' }, { a: 0 }, { a: false }, { a: [] }, { a: {} }],
    [{}, { b: 1 }, { a: null }],
  ],
  [
    { list: 'a' },
    '"a" is a list',
    [{ a: [] }, { a: ['x'] }],
    [{}, { a: null }, { a: 'x' }, { a: ['x', 1] }, { a: { 0: 'x' } }],
  ],
  [{ headerType: 'at+jwt' }, 'the header\'s "typ" is "at+jwt"', [], [{}, { typ: 'at+jwt' }]],
  [
    { claim: 'a', equals: 'x' },
    '"a" is "x"',
    [{ a: 'x' }],
    [{}, { a: 'X' }, { a: ['x'] }, { a: 'xx' }],
  ],
  [
    { claim: 'a', oneOf: ['x', 'y'] },
    '"a" is "x" or "y"',
    [{ a: 'x' }, { a: 'y' }],
    [{}, { a: 'z' }, { a: ['x', 'y'] }],
  ],
  [
    { claim: 'a', startsWith: 'x' },
    '"a" starts with "x"',
    [{ a: 'xy' }],
    [{}, { a: 'x' }, { a: 'yx' }, { a: ['x'] }],
  ],
  [
    { claim: 'a', endsWith: 'x' },
    '"a" ends with "x"',
    [{ a: 'yx' }],
    [{}, { a: 'x' }, { a: 'xy' }, { a: null }],
  ],
  [
    { claim: 'a', startsWith: '(', endsWith: ')' },
    '"a" starts with "(" and ends with ")"',
    [{ a: '(y)' }],
    [{ a: '()' }, { a: '(' }, { a: '(y' }],
  ],
  [
    { claim: 'a', contains: 'x' },
    '"a" contains "x"',
    [{ a: 'yxy' }],
    [{}, { a: 'y' }, { a: ['x'] }],
  ],
  [
    { claim: 'a', notStartsWith: 'x-' },
    '"a" does not start with "x-"',
    [{ a: 'y' }],
    [{}, { a: '' }, { a: 'x-y' }, { a: 'X-y' }, { a: ['y'] }, { a: null }],
  ],
  [
    { claim: 'a', sameAs: 'b' },
    '"a" is the value of "b"',
    [{ a: 'x', b: 'x' }],
    [
      {},
      { a: 'x' },
      { a: 'undefined' },
      { b: 'x' },
      { a: '', b: '' },
      { a: 1, b: 1 },
      { a: 'x', b: 'X' },
    ],
  ],
  [
    { claim: 'a', sameAs: 'b', prefix: 'p-', ignoreCase: true },
    '"a" is "p-" followed by the value of "b"',
    [{ a: 'p-x', b: 'X' }],
    [
      { a: 'x', b: 'x' },
      { a: 'p-', b: '' },
    ],
  ],
  [
    { claim: 'a', differsFrom: 'b' },
    '"a" differs from "b"',
    [{ a: 'x', b: 'y' }],
    [{}, { a: 'x' }, { b: 'x' }, { a: 'x', b: 'x' }, { a: 'x', b: null }, { a: ['x'], b: 'y' }],
  ],
  [
    { claim: 'a', arrayIncludes: 'x' },
    '"a" is a list with "x" in it',
    [{ a: ['y', 'x'] }],
    [{}, { a: 'x' }, { a: ['y'] }, { a: ['x', 1] }],
  ],
  [
    { claim: 'a', arrayExcludes: 'x' },
    '"a" is a list without "x" in it',
    [{ a: ['y'] }, { a: [] }],
    [{}, { a: 'y' }, { a: ['x'] }, { a: ['y', 1] }],
  ],
  [
    { audienceIncludes: 'x' },
    '"aud" names "x"',
    [{ aud: 'x' }, { aud: ['y', 'x'] }],
    [{}, { aud: 'y' }, { aud: ['y'] }, { aud: ['x', 1] }],
  ],
  [
    { anyOf: [{ present: 'a' }, { present: 'b' }] },
    '("a" is present or "b" is present)',
    [{ a: 'x' }, { b: 'x' }],
    [{}],
  ],
  [
    { allOf: [{ present: 'a' }, { present: 'b' }] },
    '("a" is present and "b" is present)',
    [{ a: 'x', b: 'x' }],
    [{ a: 'x' }, { b: 'x' }],
  ],
];

describe.each(TABLE)('%j', (condition, words, met, unmet) => {
  test('words', () => expect(describeCondition(condition)).toBe(words));
  test('met', () => {
    for (const claims of met) expect([claims, meets(claims, condition)]).toEqual([claims, true]);
  });
  test('not met', () => {
    for (const claims of unmet) expect([claims, meets(claims, condition)]).toEqual([claims, false]);
  });
});

test('the type of the header', () => {
  const condition = { anyOf: [{ allOf: [{ headerType: 'at+jwt' }] }] };
  expect(meets({}, condition, 'at+jwt')).toBe(true);
  expect(meets({}, condition, 'jwt')).toBe(false);
});

test('one audience is the same alone and in a list', () => {
  for (const aud of ['x', ['x']]) {
    expect(meets({ a: 'x', aud }, { claim: 'a', sameAs: 'aud' })).toBe(true);
    expect(meets({ a: 'y', aud }, { claim: 'a', differsFrom: 'aud' })).toBe(true);
  }
  for (const aud of [['x', 'y'], [], [['x']], [1], null]) {
    expect(meets({ a: 'x', aud }, { claim: 'a', sameAs: 'aud' })).toBe(false);
    expect(meets({ a: 'z', aud }, { claim: 'a', differsFrom: 'aud' })).toBe(false);
  }
});

test('claims that a condition compares and that are not there', () => {
  const compared: Condition = {
    anyOf: [
      { claim: 'a', sameAs: 'b' },
      { allOf: [{ claim: 'c', differsFrom: 'b' }, { audienceIncludes: 'x' }, { list: 'd' }] },
      { present: 'e' },
      { absent: 'f' },
      { given: 'g' },
      { headerType: 'h' },
    ],
  };
  expect(missingClaims({}, compared)).toEqual(['a', 'b', 'c', 'aud', 'd']);
  expect(missingClaims({ a: '', b: 1, c: null, aud: [], d: 'x' }, compared)).toEqual(['c']);
});

test('names that objects inherit are no claims', () => {
  expect(meets({}, { present: 'constructor' })).toBe(false);
  expect(meets({}, { absent: 'toString' })).toBe(true);
});

describe('profiles that are refused when they are configured', () => {
  const good: ClassificationProfile = PROFILES.auth0;
  test.each<[string, unknown, string]>([
    ['no conditions for services', { ...good, service: [] }, '"service" must have at least one'],
    ['no conditions for customers', { ...good, customer: [] }, '"customer" must have at least one'],
    ['an empty anyOf', { ...good, service: [{ anyOf: [] }] }, 'anyOf'],
    ['an empty allOf', { ...good, service: [{ anyOf: [{ allOf: [] }] }] }, 'allOf'],
    [
      'an unknown form',
      { ...good, service: [{ claim: 'a', matches: 'x' }] },
      'Profile "auth0": "service" has a condition that is not one of: present, given, absent,',
    ],
    ['two forms', { ...good, service: [{ claim: 'a', equals: 'x', contains: 'x' }] }, 'not one of'],
    ['no claim', { ...good, customer: [{ equals: 'x' }] }, 'without a "claim"'],
    ['an empty claim', { ...good, customer: [{ claim: '', equals: 'x' }] }, 'without a "claim"'],
    ['no client id', { ...good, clientId: [] }, '"clientId"'],
    ['client id missing', { ...good, clientId: undefined }, '"clientId"'],
    ['scopes missing', { ...good, scopes: undefined }, '"scopes"'],
    ['scopes of one kind', { ...good, scopes: { service: [] } }, '"scopes"'],
    ['conditions missing', { ...good, service: undefined }, '"service" must have'],
    ['a condition that is no object', { ...good, service: ['sub'] }, 'not one of'],
    ['conditions of access tokens', { ...good, accessToken: [] }, '"accessToken" must have'],
    ['a condition that is null', { ...good, service: [null] }, 'not one of'],
  ])('%s', (_, profile, words) => {
    expect(() => checkProfile(profile as ClassificationProfile)).toThrow(words);
  });

  test('every built-in profile is sound', () => {
    for (const profile of Object.values(PROFILES))
      expect(() => checkProfile(profile)).not.toThrow();
  });
});
