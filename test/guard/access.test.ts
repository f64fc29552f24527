import { describe, expect, test } from '@jest/globals';
import { checkChallengeOptions, decideAccess, UNKNOWN_CONTEXT } from '../../src/guard/access.js';
import {
  challengeOf,
  MALFORMED_CREDENTIALS,
  NO_CREDENTIALS,
  NOT_DECLARED,
  refusalOf,
  type PrincipalRequirement,
  type Refusal,
} from '../../src/verification/bearer-access.js';
import {
  KeysUnavailableError,
  TokenRejectedError,
  VerifierConfigError,
} from '../../src/verification/verification-errors.js';
import {
  readRequirement,
  type AccessDeclaration,
  type AccessRequirement,
} from '../../src/guard/declarations.js';
import type { ClaimRequirement } from '../../src/verification/required-claims.js';
import { type CustomerPrincipal, type ServicePrincipal } from '../../src/verification/principal.js';
import { fc } from '../support/properties.js';

const EXPIRED = refusalOf(new TokenRejectedError('TOKEN_EXPIRED', 'secret words'));
const DOWN = refusalOf(new KeysUnavailableError('secret words', { retryAfterSeconds: 2.1 }));
const SCOPES: Refusal = {
  status: 403,
  error: 'insufficient_scope',
  description: 'The access token lacks a scope.',
  reason: 'SCOPE_MISSING',
  scopes: ['a', 'b:c'],
};

describe('challengeOf', () => {
  test.each([
    [NO_CREDENTIALS, {}, 'Bearer'],
    [NO_CREDENTIALS, { realm: 'orders' }, 'Bearer realm="orders"'],
    [
      MALFORMED_CREDENTIALS,
      {},
      'Bearer error="invalid_request", error_description="There must be exactly one Authorization header with exactly one bearer token."',
    ],
    [
      EXPIRED,
      { realm: 'orders' },
      'Bearer realm="orders", error="invalid_token", error_description="The access token expired."',
    ],
    [
      SCOPES,
      { resourceMetadata: 'https://orders.example/.well-known/oauth-protected-resource' },
      'Bearer error="insufficient_scope", error_description="The access token lacks a scope.", scope="a b:c", resource_metadata="https://orders.example/.well-known/oauth-protected-resource"',
    ],
    [NOT_DECLARED, { realm: 'orders' }, undefined],
    [UNKNOWN_CONTEXT, {}, undefined],
    [DOWN, { realm: 'orders' }, undefined],
  ])('%j with %j', (refusal, options, header) => {
    expect(refusal).toBeDefined();
    expect(challengeOf(refusal as Refusal, options)).toBe(header);
  });
});

describe('checkChallengeOptions', () => {
  test.each([
    {},
    { realm: 'Orders of example.com' },
    { resourceMetadata: 'https://orders.example/.well-known/oauth-protected-resource' },
    { resourceMetadata: 'http://127.0.0.1:3000/meta?x=1' },
  ])('%j is fine', (options) => {
    expect(() => checkChallengeOptions(options)).not.toThrow();
  });

  test.each([
    { realm: '' },
    { realm: 'a"b' },
    { realm: 'a\\b' },
    { realm: 'a\r\nSet-Cookie: x=y' },
    { realm: 'é' },
    { resourceMetadata: '/relative' },
    { resourceMetadata: 'http://orders.example/' },
    { resourceMetadata: 'ftp://orders.example/' },
    { resourceMetadata: 'https://orders.example/#part' },
    { resourceMetadata: 'https://user:password@orders.example/' },
    { resourceMetadata: 'https://orders.example/"\r\nX: y' },
  ])('%j is refused', (options) => {
    expect(() => checkChallengeOptions(options)).toThrow(
      expect.objectContaining({ code: 'GUARD_MISCONFIGURED' }),
    );
  });
});

describe('refusalOf', () => {
  test('an expired token', () => {
    expect(EXPIRED).toMatchObject({ status: 401, error: 'invalid_token', reason: 'TOKEN_EXPIRED' });
  });

  test('keys that are unavailable, in whole seconds', () => {
    expect(DOWN).toMatchObject({ status: 503, retryAfterSeconds: 3 });
  });

  test('the verifier’s words stay here', () => {
    expect(JSON.stringify([EXPIRED, DOWN])).not.toContain('secret words');
  });

  test.each([new Error('other'), new VerifierConfigError('wrong'), undefined, 'text'])(
    '%p is no refusal',
    (error) => {
      expect(refusalOf(error)).toBeUndefined();
    },
  );
});

const PUBLIC: AccessDeclaration = { says: 'public' };
const CUSTOMER: AccessDeclaration = { says: 'customer' };
const SERVICE: AccessDeclaration = { says: 'service', clients: undefined };
const JOB: AccessDeclaration = { says: 'service', clients: ['job'] };
const CLAIM: ClaimRequirement = { words: 'any', holds: () => true };
const OTHER_CLAIM: ClaimRequirement = { words: 'other', holds: () => true };
const claims = (...all: ClaimRequirement[]): AccessDeclaration => ({ says: 'claims', claims: all });
const scopes = (...names: string[]): AccessDeclaration => ({ says: 'scopes', scopes: names });

function principal(change: Partial<PrincipalRequirement>): PrincipalRequirement {
  return { kind: 'principal', customers: false, services: 'none', scopes: [], ...change };
}

type Table = readonly (readonly [
  string,
  readonly AccessDeclaration[],
  readonly AccessDeclaration[],
  AccessRequirement,
])[];

describe('readRequirement', () => {
  test.each<Table[number]>([
    ['nothing', [], [], { kind: 'undeclared' }],
    ['public', [PUBLIC], [], { kind: 'public' }],
    ['public class', [], [PUBLIC], { kind: 'public' }],
    ['customer', [CUSTOMER], [], principal({ customers: true })],
    ['service', [SERVICE], [], principal({ services: 'all' })],
    ['named service', [JOB], [], principal({ services: ['job'] })],
    ['both', [CUSTOMER, SERVICE], [], principal({ customers: true, services: 'all' })],
    ['the class’s', [], [CUSTOMER], principal({ customers: true })],
    ['the handler’s instead of the class’s', [SERVICE], [CUSTOMER], principal({ services: 'all' })],
    ['a narrower service', [JOB], [SERVICE, CUSTOMER], principal({ services: ['job'] })],
    ['closing a public class', [CUSTOMER], [PUBLIC], principal({ customers: true })],
    ['opening a closed class', [PUBLIC], [CUSTOMER, scopes('a')], { kind: 'public' }],
    [
      'scopes add up',
      [scopes('b', 'a')],
      [CUSTOMER, scopes('a')],
      principal({ customers: true, scopes: ['a', 'b'] }),
    ],
    [
      'claims add up',
      [CUSTOMER, claims(OTHER_CLAIM)],
      [CUSTOMER, claims(CLAIM)],
      principal({ customers: true, claims: [CLAIM, OTHER_CLAIM] }),
    ],
    [
      'claims of the class stay when the handler says who',
      [SERVICE],
      [CUSTOMER, claims(CLAIM)],
      principal({ services: 'all', claims: [CLAIM] }),
    ],
    [
      'opening a class that requires claims',
      [PUBLIC],
      [CUSTOMER, claims(CLAIM)],
      { kind: 'public' },
    ],
    [
      'scopes of the class stay when the handler says who',
      [SERVICE],
      [CUSTOMER, scopes('a')],
      principal({ services: 'all', scopes: ['a'] }),
    ],
  ])('%s', (_, onHandler, onClass, requirement) => {
    expect(readRequirement(onHandler, onClass)).toEqual({ requirement });
  });

  test.each<[string, readonly AccessDeclaration[], readonly AccessDeclaration[], RegExp]>([
    ['public and customer', [PUBLIC, CUSTOMER], [], /Public\(\) is used together/],
    ['public and service', [], [SERVICE, PUBLIC], /Public\(\) is used together/],
    ['public and scopes', [PUBLIC, scopes('a')], [], /applies to a public handler/],
    ['public class, scopes', [scopes('a')], [PUBLIC], /applies to a public handler/],
    ['service twice', [SERVICE, JOB], [], /AllowService\(\) is used twice/],
    ['scopes alone', [scopes('a')], [], /does not say who/],
    ['scopes alone on the class', [], [scopes('a')], /does not say who/],
    ['public and claims', [PUBLIC, claims(CLAIM)], [], /RequireClaims\(\) applies to a public/],
    ['public class, claims', [claims(CLAIM)], [PUBLIC], /RequireClaims\(\) applies to a public/],
    ['claims alone', [], [claims(CLAIM)], /RequireClaims\(\) does not say who/],
  ])('%s contradict', (_, onHandler, onClass, words) => {
    expect(readRequirement(onHandler, onClass)).toEqual({
      contradiction: expect.stringMatching(words),
    });
  });

  test('only Public() opens a handler', () => {
    const declaration = fc.constantFrom(
      PUBLIC,
      CUSTOMER,
      SERVICE,
      JOB,
      scopes('a'),
      scopes('b'),
      claims(CLAIM),
    );
    const list = fc.array(declaration, { maxLength: 4 });
    fc.assert(
      fc.property(list, list, (onHandler, onClass) => {
        const reading = readRequirement(onHandler, onClass);
        if ('contradiction' in reading) return;
        const allows = decideAccess(reading.requirement, undefined).allowed;
        const saysWho = ({ says }: AccessDeclaration): boolean =>
          says !== 'scopes' && says !== 'claims';
        const who = onHandler.some(saysWho) ? onHandler : onClass;
        expect(allows).toBe(who.some(({ says }) => says === 'public'));
      }),
    );
  });
});

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
const issuer = job.issuer;

describe('decideAccess', () => {
  test.each<[string, AccessRequirement, typeof ann | typeof job | undefined]>([
    ['public, nobody', { kind: 'public' }, undefined],
    ['customer', principal({ customers: true }), ann],
    ['service', principal({ services: 'all' }), job],
    ['named service', principal({ services: ['other', 'job'] }), job],
    ['named with its issuer', principal({ services: [{ clientId: 'job', issuer }] }), job],
    ['both, customer', principal({ customers: true, services: ['x'] }), ann],
    ['both, service', principal({ customers: true, services: 'all' }), job],
    ['scopes', principal({ customers: true, scopes: ['b', 'a'] }), ann],
  ])('allows: %s', (_, requirement, caller) => {
    expect(decideAccess(requirement, caller)).toEqual({ allowed: true });
  });

  test.each<[string, AccessRequirement, typeof ann | typeof job | undefined, object]>([
    [
      'undeclared, nobody',
      { kind: 'undeclared' },
      undefined,
      { status: 403, reason: 'NOT_DECLARED' },
    ],
    ['undeclared, service', { kind: 'undeclared' }, job, { status: 403, error: undefined }],
    ['nobody', principal({ customers: true }), undefined, { status: 401, error: undefined }],
    [
      'customer at a service’s',
      principal({ services: 'all' }),
      ann,
      { status: 403, error: 'insufficient_scope', reason: 'KIND_NOT_ALLOWED' },
    ],
    [
      'customer whose client is named',
      principal({ services: ['job'] }),
      ann,
      { status: 403, reason: 'KIND_NOT_ALLOWED' },
    ],
    [
      'service at a customer’s',
      principal({ customers: true }),
      job,
      { status: 403, error: 'insufficient_scope', reason: 'KIND_NOT_ALLOWED' },
    ],
    [
      'another service',
      principal({ services: ['Job', 'job '] }),
      job,
      { status: 403, reason: 'CLIENT_NOT_ALLOWED' },
    ],
    [
      'the same client of another issuer',
      principal({ services: [{ clientId: 'job', issuer: 'https://other.example/' }] }),
      job,
      { status: 403, reason: 'CLIENT_NOT_ALLOWED' },
    ],
    ['nobody is listed', principal({ services: [] }), job, { reason: 'CLIENT_NOT_ALLOWED' }],
    [
      'a scope missing',
      principal({ services: 'all', scopes: ['a', 'c'] }),
      job,
      { status: 403, error: 'insufficient_scope', scopes: ['a', 'c'], reason: 'SCOPE_MISSING' },
    ],
    [
      'a scope in another case',
      principal({ services: 'all', scopes: ['A'] }),
      job,
      { reason: 'SCOPE_MISSING' },
    ],
  ])('refuses: %s', (_, requirement, caller, refusal) => {
    expect(decideAccess(requirement, caller)).toEqual({
      allowed: false,
      refusal: expect.objectContaining(refusal),
    });
  });
});
