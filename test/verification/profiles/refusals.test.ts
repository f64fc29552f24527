import { describe, expect, test } from '@jest/globals';
import { classify, type ClassifyOptions } from '../../../src/verification/profiles/classify.js';
import type { ClassificationProfile } from '../../../src/verification/profiles/profile.js';

type Claims = Readonly<Record<string, unknown>>;

const PROFILE: ClassificationProfile = {
  name: 'own',
  clientId: ['client_id', { claim: 'sub', between: ['x-', '-x'] }],
  service: [{ present: 'job' }, { anyOf: [{ present: 'a' }, { present: 'b' }] }],
  customer: [{ present: 'login' }],
  scopes: { service: ['scope'], customer: ['scp'] },
};
const SERVICE = { sub: 'job', client_id: 'c', job: 1, a: 1 };
const CUSTOMER = { sub: 'ann', client_id: 'web', login: 1 };

function judge(claims: Claims, options?: ClassifyOptions, profile = PROFILE) {
  const words: string[] = [];
  const classification = classify(claims, profile, options, words);
  return { classification, words };
}

describe('a refusal is explained by its last words', () => {
  test.each<[Claims, ClassifyOptions, string, string]>([
    [
      { ...SERVICE, nonce: 1 },
      {},
      'not-an-access-token',
      'refused: "nonce" belongs to an ID token or another token that is no access token',
    ],
    [
      { ...SERVICE, cnf: {} },
      {},
      'sender-constrained',
      'refused: it is bound to a key, which is not verified here',
    ],
    [
      { ...SERVICE, client_id: 1 },
      {},
      'claims-malformed',
      'refused: "client_id" must be a non-empty string',
    ],
    [{ ...SERVICE, sub: 1 }, {}, 'claims-malformed', 'refused: "sub" must be a non-empty string'],
    [
      { ...SERVICE, sub: 'x-d-x' },
      {},
      'claims-malformed',
      'refused: the claims name two different clients',
    ],
    [
      { ...SERVICE, act: { iss: 'x' } },
      {},
      'claims-malformed',
      'refused: "act" must be an object with a non-empty "sub"',
    ],
    [
      { ...SERVICE, act: 'x' },
      {},
      'claims-malformed',
      'refused: "act" must be an object with a non-empty "sub"',
    ],
    [
      { ...SERVICE, act: { sub: 'x', iss: 1 } },
      {},
      'claims-malformed',
      'refused: "act.iss" must be a string',
    ],
    [
      { ...SERVICE, act: { sub: 'x', act: { sub: 1 } } },
      {},
      'claims-malformed',
      'refused: "act" must be an object with a non-empty "sub"',
    ],
    [{ ...SERVICE, login: 1 }, {}, 'both-kinds', 'refused: it has the marks of both kinds'],
    [{ sub: 'ann' }, {}, 'neither-kind', 'refused: it has the marks of neither kind'],
    [
      SERVICE,
      { serviceClientIds: ['d'] },
      'client-not-allowed',
      'refused: the client is not on the list for service tokens',
    ],
    [
      CUSTOMER,
      { customerClientIds: ['d'] },
      'client-not-allowed',
      'refused: the client is not on the list for customer tokens',
    ],
    [
      SERVICE,
      { customerClientIds: ['c'] },
      'client-not-allowed',
      'refused: the client is only on the list for customer tokens',
    ],
    [
      CUSTOMER,
      { serviceClientIds: ['web'] },
      'client-not-allowed',
      'refused: the client is only on the list for service tokens',
    ],
    [
      { ...SERVICE, scope: ['a', 1] },
      {},
      'claims-malformed',
      'refused: "scope" must be a string or a list of strings',
    ],
    [{ job: 1, a: 1, sub: 'x' }, {}, 'neither-kind', 'refused: it has the marks of neither kind'],
    [
      { login: 1, client_id: 'web' },
      {},
      'neither-kind',
      'refused: it has the marks of neither kind',
    ],
  ])('%j with %j: %s', (claims, options, reason, words) => {
    const explained = judge(claims, options);
    expect(explained.classification).toEqual({ kind: 'rejected', reason });
    expect(explained.words.at(-1)).toBe(words);
  });
});

describe('every question and its answer are told', () => {
  test('of a service token', () => {
    expect(judge(SERVICE, { scopeClaims: ['scp', 'roles'] }).words).toEqual([
      'service: "job" is present: yes',
      'service: ("a" is present or "b" is present): yes',
      'service: the claims name a client: yes',
      'service: it has no mark of a person: yes',
      'customer: "login" is present: no',
      'scopes: read from "scp" and "roles"',
      'decided: a service token, by profile "own"',
    ]);
  });

  test('of a customer token', () => {
    expect(judge(CUSTOMER).words).toEqual([
      'service: "job" is present: no',
      'customer: "login" is present: yes',
      'customer: the claims name a subject: yes',
      'customer: "sub" is not a client: yes',
      'customer: it has no mark of a machine: yes',
      'decided: a customer token, by profile "own"',
    ]);
  });

  test('of claims that are missing', () => {
    const [a, b] = ['a', 'b'].map((claim) => ({ claim, equals: 'x' }));
    const firstOf = (service: unknown, claims: Claims = {}) =>
      judge(claims, {}, { ...PROFILE, service } as ClassificationProfile).words[0];
    expect(firstOf([a])).toBe('service: "a" is "x": "a" is absent');
    expect(firstOf([a], { a: 'y' })).toBe('service: "a" is "x": no');
    expect(firstOf([{ anyOf: [a, b] }])).toBe(
      'service: ("a" is "x" or "b" is "x"): no ("a" and "b" are absent)',
    );
    expect(firstOf([{ allOf: [a, b] }], { a: 'x' })).toBe(
      'service: ("a" is "x" and "b" is "x"): no ("b" is absent)',
    );
    expect(firstOf([{ allOf: [a, b] }], { a: 'x', b: 'y' })).toBe(
      'service: ("a" is "x" and "b" is "x"): no',
    );
    expect(judge({ job: 1, a: 1, sub: 'x' }).words[2]).toBe(
      'service: the claims name a client: no',
    );
  });

  test('of a subject that is a client', () => {
    const wordsOf = (claims: Claims, options: ClassifyOptions = {}) =>
      judge(claims, options).words.find((line) => line.includes('is not a client'));
    expect(wordsOf({ ...CUSTOMER, sub: 'web' })).toBe(
      'customer: "sub" is not a client: no, "sub" is the value of "client_id"',
    );
    const byApp = judge(
      { sub: 'web', app: 'web', login: 1 },
      {},
      { ...PROFILE, clientId: ['app'] },
    );
    expect(byApp.classification.kind).toBe('rejected');
    expect(byApp.words).toContain('customer: "sub" is not a client: no, "sub" is the client');
    expect(wordsOf(CUSTOMER, { serviceClientIds: ['ann'] })).toBe(
      'customer: "sub" is not a client: no, "sub" is on the list for service tokens',
    );
  });

  test('of an issuer without customers, and of one whose lists decide', () => {
    expect(judge(SERVICE, {}, { ...PROFILE, customer: 'never' }).words).toContain(
      'customer: the issuer has customers: no',
    );
    const byList = { ...PROFILE, decidedBy: 'client-ids' } as const;
    const listed = judge(SERVICE, { serviceClientIds: ['c'] }, byList);
    expect(listed.classification.kind).toBe('service');
    expect(listed.words).toContain('service: the client is on the list for service tokens: yes');
    const unlisted = judge(SERVICE, { serviceClientIds: ['d'] }, byList);
    expect(unlisted.classification).toEqual({ kind: 'rejected', reason: 'neither-kind' });
    expect(unlisted.words).toContain('service: the client is on the list for service tokens: no');
    for (const options of [{}, { serviceClientIds: ['web'] }, { customerClientIds: ['d'] }]) {
      expect(judge(CUSTOMER, options, byList).classification.kind).toBe('rejected');
    }
    const customer = judge(CUSTOMER, { customerClientIds: ['web'] }, byList);
    expect(customer.words).toContain(
      'customer: the client is on the list for customer tokens: yes',
    );
  });
});

test.each([
  ['x-c-x', 'c'],
  ['x--x-x', '-x'],
  // Nothing, or less, is in between.
  ['x--x', undefined],
  ['x-x', undefined],
  ['x-c', undefined],
  ['c-x', undefined],
])('of the subject %s the client is %p', (sub, clientId) => {
  const profile = { ...PROFILE, clientId: [{ claim: 'sub', between: ['x-', '-x'] }] } as const;
  expect(judge({ sub, login: 1 }, {}, profile).classification).toMatchObject({
    kind: 'customer',
    clientId,
  });
});

describe('a nonce is no sign of an ID token where the profile knows its access tokens by what they have', () => {
  const kindBy = (accessToken: ClassificationProfile['accessToken'], headerType?: string) =>
    judge(
      { ...SERVICE, nonce: 1 },
      { headerType },
      { ...PROFILE, ...(accessToken && { accessToken }) },
    ).classification.kind;

  test.each<[string, ClassificationProfile['accessToken'], string]>([
    ['none', undefined, 'rejected'],
    ['a claim that is there', [{ present: 'job' }], 'service'],
    ['one of two', [{ anyOf: [{ present: 'x' }, { present: 'a' }] }], 'service'],
    ['a claim that is missing', [{ present: 'job' }, { present: 'x' }], 'rejected'],
    // Absence proves nothing: other providers' ID tokens lack it, too.
    ['a claim that is absent', [{ absent: 'azp' }], 'rejected'],
    ['both', [{ present: 'job' }, { absent: 'azp' }], 'rejected'],
    ['absent, in parts', [{ allOf: [{ present: 'job' }, { absent: 'azp' }] }], 'rejected'],
    ['absent, or not', [{ anyOf: [{ present: 'job' }, { absent: 'azp' }] }], 'rejected'],
  ])('%s', (_, accessToken, kind) => {
    expect(kindBy(accessToken)).toBe(kind);
  });

  test('by the type of the header', () => {
    expect(kindBy([{ headerType: 'at+jwt' }], 'at+jwt')).toBe('service');
    expect(kindBy([{ headerType: 'at+jwt' }], 'jwt')).toBe('rejected');
  });
});
