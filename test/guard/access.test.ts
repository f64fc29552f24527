import { describe, expect, test } from '@jest/globals';
import { checkChallengeOptions, decideAccess, UNKNOWN_CONTEXT } from '../../src/guard/access.js';
import { challengeOf, type PrincipalRequirement } from '../../src/verification/bearer-access.js';
import {
  readRequirement,
  type AccessDeclaration,
  type AccessRequirement,
} from '../../src/guard/declarations.js';
import type { ClaimRequirement } from '../../src/verification/required-claims.js';
import { type CustomerPrincipal, type ServicePrincipal } from '../../src/verification/principal.js';
import { fc } from '../support/properties.js';

test('a call of an unknown kind gets no challenge', () => {
  expect(challengeOf(UNKNOWN_CONTEXT)).toBeUndefined();
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

// Who of those with a token may call is decided by decideForPrincipal.
describe('decideAccess', () => {
  test.each<[string, AccessRequirement, typeof ann | typeof job | undefined]>([
    ['public, nobody', { kind: 'public' }, undefined],
    ['public, somebody', { kind: 'public' }, ann],
    ['customer', principal({ customers: true }), ann],
    ['service', principal({ services: ['job'] }), job],
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
      'service at a customer’s',
      principal({ customers: true }),
      job,
      { reason: 'KIND_NOT_ALLOWED' },
    ],
    [
      'customer whose client is named',
      principal({ services: ['job'] }),
      ann,
      { reason: 'KIND_NOT_ALLOWED' },
    ],
  ])('refuses: %s', (_, requirement, caller, refusal) => {
    expect(decideAccess(requirement, caller)).toEqual({
      allowed: false,
      refusal: expect.objectContaining(refusal),
    });
  });
});
