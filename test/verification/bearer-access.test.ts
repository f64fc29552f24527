import { describe, expect, test } from '@jest/globals';
import {
  challengeOf,
  decideForPrincipal,
  MALFORMED_CREDENTIALS,
  NO_CREDENTIALS,
  NOT_DECLARED,
  readBearer,
  refusalOf,
  rejectedToken,
  unreadBearer,
  type PrincipalRequirement,
} from '../../src/verification/bearer-access.js';
import type { CustomerPrincipal, ServicePrincipal } from '../../src/verification/principal.js';
import {
  KeysUnavailableError,
  TokenRejectedError,
  VerifierConfigError,
  type TokenRejectionCode,
} from '../../src/verification/verification-errors.js';
import { character, fc } from '../support/properties.js';

describe('readBearer', () => {
  test.each([
    ['Bearer abc.def-_~+/==', 'abc.def-_~+/=='],
    ['bearer abc', 'abc'],
    ['BEARER abc', 'abc'],
    ['Bearer    abc', 'abc'],
  ])('%j is a token', (value, token) => {
    expect(readBearer([value])).toEqual({ kind: 'token', token });
  });

  test.each([
    [[]],
    [['Basic YWRtaW46YWRtaW4=']],
    [['Bearerabc']],
    [['Bearer2 abc']],
    [['DPoP abc']],
    [['abc']],
    [[' Bearer abc']],
  ])('%j counts as none', (values) => {
    expect(readBearer(values)).toEqual({ kind: 'none' });
  });

  test.each([
    [['Bearer']],
    [['Bearer ']],
    [['Bearer a b']],
    [['Bearer a,b']],
    [['Bearer a, Bearer b']],
    [['Bearer a=b']],
    [['Bearer\ta']],
    [['Bearer a\t']],
    [['Bearer "a"']],
    [['Bearer é']],
    [['Bearer: a']],
    [['Bearer a', 'Bearer a']],
    [['Basic a', 'Bearer a']],
    [[7]],
    [[{ toString: () => 'Bearer a' }]],
  ])('%j is malformed', (values) => {
    expect(readBearer(values)).toEqual({ kind: 'malformed' });
  });

  test('whatever is taken is a b64token', () => {
    const values = fc.oneof(
      fc.string({ unit: character }),
      fc.string().map((text) => `Bearer ${text}`),
      fc.stringMatching(/^[Bb]earer {0,3}[\w.~+/= ,-]{0,40}$/),
    );
    fc.assert(
      fc.property(values, (value) => {
        const read = readBearer([value]);
        if (read.kind === 'token') expect(read.token).toMatch(/^[\w.~+/-]+=*$/);
        expect(read.kind === 'token').toBe(/^bearer +[A-Za-z0-9._~+/-]+=*$/i.test(value));
      }),
    );
  });

  test('takes time in proportion to the length', () => {
    const started = process.cpuUsage().user;
    readBearer([`Bearer ${'='.repeat(1_000_000)}`]);
    readBearer([`Bearer ${' '.repeat(1_000_000)}`]);
    readBearer([`Bearer ${'a'.repeat(1_000_000)} `]);
    // Quadratic work would take minutes.
    expect(process.cpuUsage().user - started).toBeLessThan(5_000_000);
  });
});

test.each<[unknown, string | undefined]>([
  ['Bearer abc', 'abc'],
  ['Bearer ', ''],
  // Whatever stands there: it only has to be found among the tokens that were accepted.
  ['Bearer  a b', ' a b'],
  ['bearer abc', undefined],
  ['Bearer', undefined],
  ['Bearerabc', undefined],
  [' Bearer abc', undefined],
  ['Basic abc', undefined],
  ['', undefined],
  [undefined, undefined],
  [7, undefined],
  [['Bearer abc'], undefined],
])('behind the scheme of %j stands %j', (value, token) => {
  expect(unreadBearer(value)).toBe(token);
});

describe('what a caller is told about its token', () => {
  const told: Partial<Record<TokenRejectionCode, string>> = {
    TOKEN_MALFORMED: 'The access token is malformed.',
    TOKEN_TYPE_WRONG: 'The token is not an access token.',
    TOKEN_EXPIRED: 'The access token expired.',
    TOKEN_NOT_YET_VALID: 'The access token is not valid yet.',
    TOKEN_AUDIENCE_WRONG: 'The access token is not meant for this resource.',
    TOKEN_SENDER_CONSTRAINED:
      'The access token is bound to a key and is not accepted as a bearer token.',
  };
  test.each<TokenRejectionCode>([
    'TOKEN_MALFORMED',
    'TOKEN_HEADER_REFUSED',
    'TOKEN_TYPE_WRONG',
    'TOKEN_ALGORITHM_REFUSED',
    'TOKEN_CLAIM_INVALID',
    'TOKEN_ISSUER_UNKNOWN',
    'TOKEN_EXPIRED',
    'TOKEN_NOT_YET_VALID',
    'TOKEN_LIFETIME_TOO_LONG',
    'TOKEN_AUDIENCE_WRONG',
    'TOKEN_KEY_UNKNOWN',
    'TOKEN_SIGNATURE_INVALID',
    'TOKEN_KIND_UNDECIDED',
    'TOKEN_CLIENT_NOT_ALLOWED',
    'TOKEN_SENDER_CONSTRAINED',
  ])('%s', (code) => {
    const refusal = {
      status: 401,
      error: 'invalid_token',
      description: told[code] ?? 'The access token was not accepted.',
      reason: code,
    };
    expect(rejectedToken(code)).toEqual(refusal);
    // The words of the error are for the operator.
    expect(refusalOf(new TokenRejectedError(code, 'canary'))).toEqual(refusal);
    expect(challengeOf(refusal as never)).toBe(
      `Bearer error="invalid_token", error_description="${refusal.description}"`,
    );
  });
});

describe('what cannot be judged', () => {
  test.each([
    [0, 1],
    [0.2, 1],
    [1, 1],
    [2.1, 3],
    [300, 300],
  ])('keys that are away for %d seconds: 503, again after %d', (seconds, retryAfterSeconds) => {
    const refusal = refusalOf(new KeysUnavailableError('canary', { retryAfterSeconds: seconds }));
    expect(refusal).toEqual({
      status: 503,
      error: 'temporarily_unavailable',
      description: 'The access token cannot be verified at the moment.',
      reason: 'KEYS_UNAVAILABLE',
      retryAfterSeconds,
    });
    expect(challengeOf(refusal as never, { realm: 'orders' })).toBeUndefined();
  });

  test.each([new Error('other'), new VerifierConfigError('wrong'), undefined, 'text'])(
    '%p says nothing about the token',
    (error) => expect(refusalOf(error)).toBeUndefined(),
  );
});

test.each([
  ['NO_CREDENTIALS', NO_CREDENTIALS, 401, undefined, 'A bearer token is required.', 'Bearer'],
  [
    'MALFORMED_CREDENTIALS',
    MALFORMED_CREDENTIALS,
    400,
    'invalid_request',
    'There must be exactly one Authorization header with exactly one bearer token.',
    'Bearer error="invalid_request", error_description="There must be exactly one Authorization header with exactly one bearer token."',
  ],
  ['NOT_DECLARED', NOT_DECLARED, 403, undefined, 'Forbidden.', undefined],
])('%s', (reason, refusal, status, error, description, challenge) => {
  expect(refusal).toEqual({ status, error, description, reason });
  expect(challengeOf(refusal)).toBe(challenge);
});

test('a challenge names the realm, the scopes and the metadata', () => {
  const options = { realm: 'orders', resourceMetadata: 'https://orders.example/meta' };
  const meta = 'resource_metadata="https://orders.example/meta"';
  expect(challengeOf(NO_CREDENTIALS, options)).toBe(`Bearer realm="orders", ${meta}`);
  const missing = {
    status: 403,
    error: 'insufficient_scope',
    description: 'The access token lacks a scope.',
    reason: 'SCOPE_MISSING',
    scopes: ['a', 'b:c'],
  } as const;
  expect(challengeOf(missing, options)).toBe(
    `Bearer realm="orders", error="insufficient_scope", error_description="The access token lacks a scope.", scope="a b:c", ${meta}`,
  );
});

describe('who may call', () => {
  const ann: CustomerPrincipal = {
    kind: 'customer',
    issuer: 'https://issuer.example/',
    subject: 'ann',
    clientId: 'job',
    scopes: ['a', 'b'],
    actor: undefined,
    claims: {},
  };
  const job: ServicePrincipal = { ...ann, kind: 'service', subject: 'job', clientId: 'job' };
  const { issuer } = job;
  const decide = (
    change: Partial<PrincipalRequirement>,
    caller: CustomerPrincipal | ServicePrincipal,
  ): string => {
    const nobody = { kind: 'principal', customers: false, services: 'none', scopes: [] } as const;
    const decision = decideForPrincipal({ ...nobody, ...change }, caller);
    if (decision.allowed) return 'allowed';
    expect(decision.refusal).toMatchObject({ status: 403, error: 'insufficient_scope' });
    return `${decision.refusal.reason}: ${decision.refusal.description}`;
  };
  const services = 'KIND_NOT_ALLOWED: Only services may do this.';
  const customers = 'KIND_NOT_ALLOWED: Only customers may do this.';
  const others = 'CLIENT_NOT_ALLOWED: This service may not do this.';
  const scope = 'SCOPE_MISSING: The access token lacks a scope.';

  test.each<[Partial<PrincipalRequirement>, string, string]>([
    [{}, services, customers],
    [{ customers: true }, 'allowed', customers],
    [{ services: 'all' }, services, 'allowed'],
    [{ services: [] }, services, others],
    [{ services: ['job'] }, services, 'allowed'],
    [{ services: ['other', 'job'] }, services, 'allowed'],
    [{ services: ['Job', 'job '] }, services, others],
    [{ services: [{ clientId: 'job', issuer }] }, services, 'allowed'],
    [{ services: [{ clientId: 'job', issuer: `${issuer}x` }] }, services, others],
    [{ services: [{ clientId: 'other', issuer }] }, services, others],
    [{ customers: true, services: ['other'] }, 'allowed', others],
    [{ customers: true, services: 'all', scopes: ['b', 'a'] }, 'allowed', 'allowed'],
    [{ customers: true, services: 'all', scopes: ['a', 'c'] }, scope, scope],
    [{ customers: true, services: 'all', scopes: ['A'] }, scope, scope],
    [{ customers: true, services: 'all', claims: [] }, 'allowed', 'allowed'],
  ])('%j: a customer %s, a service %s', (requirement, customer, service) => {
    expect(decide(requirement, ann)).toBe(customer);
    expect(decide(requirement, job)).toBe(service);
  });

  test('who lacks a scope is told all that are required', () => {
    const requirement = { customers: true, services: 'none', scopes: ['a', 'c'] } as const;
    expect(decideForPrincipal({ kind: 'principal', ...requirement }, ann)).toEqual({
      allowed: false,
      refusal: {
        status: 403,
        error: 'insufficient_scope',
        description: 'The access token lacks a scope.',
        reason: 'SCOPE_MISSING',
        scopes: ['a', 'c'],
      },
    });
  });
});
