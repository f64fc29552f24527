import { describe, expect, test } from '@jest/globals';
import { decideForPrincipal } from '../../src/verification/bearer-access.js';
import type { CustomerPrincipal } from '../../src/verification/principal.js';
import {
  readClaimCheck,
  readRequiredClaims,
  unmetRequirement,
  type ClaimRequirement,
} from '../../src/verification/required-claims.js';
import type { JsonObject } from '../../src/tokens/json.js';
import { fc } from '../support/properties.js';

function principal(claims: JsonObject): CustomerPrincipal {
  return {
    kind: 'customer',
    issuer: 'https://issuer.example/',
    subject: 'ann',
    clientId: 'web',
    scopes: [],
    actor: undefined,
    claims,
  };
}

function requirements(required: unknown): readonly ClaimRequirement[] {
  const reading = readRequiredClaims(required);
  if ('fault' in reading) throw new Error(reading.fault);
  return reading.requirements;
}

/** As a token brings them: `__proto__` is refused before, and everything else is an own property. */
function meets(required: unknown, json: string): boolean {
  const claims = JSON.parse(json) as JsonObject;
  return unmetRequirement(requirements(required), principal(claims)) === undefined;
}

describe('what claims must be', () => {
  test.each([
    [{ tenant: 'acme' }, '{"tenant":"acme"}'],
    [{ tenant: 'acme', level: 3, staff: true }, '{"level":3,"staff":true,"tenant":"acme","x":1}'],
    [{ staff: false }, '{"staff":false}'],
    [{ level: 0 }, '{"level":0}'],
    [{ level: 3 }, '{"level":3.0}'],
    [{ plan: { oneOf: ['pro', 'team'] } }, '{"plan":"team"}'],
    [{ plan: { oneOf: ['pro', 2] } }, '{"plan":2}'],
    [{ roles: { includes: 'admin' } }, '{"roles":["ops","admin"]}'],
    [{ roles: { includes: ['admin', 'ops'] } }, '{"roles":["ops","admin","dev"]}'],
    [{ roles: { includesAny: ['admin', 'ops'] } }, '{"roles":["dev","ops"]}'],
    [{ 'https://acme.example/roles': { includes: 'a' } }, '{"https://acme.example/roles":["a"]}'],
    [{ constructor: 'acme' }, '{"constructor":"acme"}'],
    [{ toString: { includes: 'a' } }, '{"toString":["a"]}'],
    [{ tenant: 'ÄŞ' }, '{"tenant":"ÄŞ"}'],
  ])('%j is met by %s', (required, claims) => {
    expect(meets(required, claims)).toBe(true);
  });

  test.each([
    [{ tenant: 'acme' }, '{}'],
    [{ tenant: 'acme' }, '{"tenant":null}'],
    [{ tenant: 'acme' }, '{"tenant":"Acme"}'],
    [{ tenant: 'acme' }, '{"tenant":"acme "}'],
    [{ tenant: 'acme' }, '{"tenant":["acme"]}'],
    [{ tenant: 'acme' }, '{"tenant":{"acme":"acme"}}'],
    [{ tenant: 'acme' }, '{"Tenant":"acme"}'],
    // Look-alikes: Cyrillic, full width, a zero-width joiner, and "é" in one code point or two.
    [{ tenant: 'acme' }, '{"tenant":"\u0430cme"}'],
    [{ tenant: 'acme' }, '{"tenant":"\uff41cme"}'],
    [{ tenant: 'acme' }, '{"tenant":"ac\u200dme"}'],
    [{ tenant: 'caf\u00e9' }, '{"tenant":"cafe\u0301"}'],
    [{ level: 3 }, '{"level":"3"}'],
    [{ level: '3' }, '{"level":3}'],
    [{ level: 1 }, '{"level":true}'],
    [{ level: 3 }, '{"level":1e400}'],
    [{ staff: true }, '{"staff":"true"}'],
    [{ staff: true }, '{"staff":1}'],
    [{ staff: false }, '{}'],
    [{ plan: { oneOf: ['pro', 'team'] } }, '{"plan":"free"}'],
    [{ plan: { oneOf: ['pro', 'team'] } }, '{"plan":["pro"]}'],
    [{ plan: { oneOf: ['pro', 'team'] } }, '{"plan":"pro,team"}'],
    [{ roles: { includes: 'admin' } }, '{"roles":"admin"}'],
    [{ roles: { includes: 'admin' } }, '{"roles":"ops admin"}'],
    [{ roles: { includes: 'admin' } }, '{"roles":["administrator"]}'],
    [{ roles: { includes: 'admin' } }, '{"roles":[["admin"]]}'],
    [{ roles: { includes: 'admin' } }, '{"roles":{"0":"admin","length":1}}'],
    [{ roles: { includes: 'admin' } }, '{"roles":["admin",{"admin":true}]}'],
    [{ roles: { includes: 'admin' } }, '{"roles":["admin",null]}'],
    [{ roles: { includes: 1 } }, '{"roles":["1"]}'],
    [{ roles: { includes: ['admin', 'ops'] } }, '{"roles":["admin"]}'],
    [{ roles: { includesAny: ['admin', 'ops'] } }, '{"roles":[]}'],
    [{ roles: { includesAny: ['admin', 'ops'] } }, '{"roles":["dev"]}'],
    [{ constructor: 'Object' }, '{}'],
    [{ toString: { includes: 'a' } }, '{}'],
    [{ hasOwnProperty: true }, '{}'],
    [{ tenant: 'acme', level: 3 }, '{"tenant":"acme"}'],
  ])('%j is not met by %s', (required, claims) => {
    expect(meets(required, claims)).toBe(false);
  });

  test('an object without a prototype is one like any other', () => {
    const required = Object.assign(Object.create(null) as Record<string, string>, {
      tenant: 'acme',
    });
    expect(meets(required, '{"tenant":"acme"}')).toBe(true);
    expect(meets(required, '{"tenant":"evil"}')).toBe(false);
  });

  test('a claim that is only inherited is none', () => {
    const claims = Object.create({ tenant: 'acme' }) as JsonObject;
    expect(unmetRequirement(requirements({ tenant: 'acme' }), principal(claims))).toEqual({
      words: 'the claim "tenant"',
      error: undefined,
    });
  });

  test('a list of thousands is read once', () => {
    const roles = Array.from({ length: 20_000 }, (_, index) => `role-${index}`);
    const includes = roles.slice(0, 10_000);
    expect(meets({ roles: { includes } }, JSON.stringify({ roles }))).toBe(true);
    expect(meets({ roles: { includesAny: ['none'] } }, JSON.stringify({ roles }))).toBe(false);
  });

  test('what is required does not change with the object it was read from', () => {
    const required = { plan: { oneOf: ['pro'] }, tenant: 'acme' };
    const read = requirements(required);
    required.plan.oneOf.push('free');
    required.tenant = 'evil';
    const of = (claims: JsonObject): unknown => unmetRequirement(read, principal(claims))?.words;
    expect(of({ plan: 'free', tenant: 'acme' })).toBe('the claim "plan"');
    expect(of({ plan: 'pro', tenant: 'evil' })).toBe('the claim "tenant"');
    expect(of({ plan: 'pro', tenant: 'acme' })).toBeUndefined();
  });

  test.each<[unknown, RegExp]>([
    [{}, /requires no claim/],
    [[], /takes an object/],
    [['tenant'], /takes an object/],
    ['tenant', /takes an object/],
    [null, /takes an object/],
    [undefined, /takes an object/],
    [new Map([['tenant', 'acme']]), /takes an object/],
    [{ __proto__: { tenant: 'acme' } }, /takes an object/],
    [{ tenant: undefined }, /"tenant" must be/],
    [{ tenant: null }, /"tenant" must be/],
    [{ tenant: '' }, /"tenant" is empty/],
    [{ level: Number.NaN }, /"level" is empty or not a number/],
    [{ level: Number.POSITIVE_INFINITY }, /"level" is empty or not a number/],
    [{ level: 1n }, /"level" must be/],
    [{ roles: ['admin', 'ops'] }, /"roles" is a list, which can mean two things/],
    [{ roles: {} }, /"roles" must be/],
    [{ roles: { includes: [] } }, /"roles" needs at least one value in "includes"/],
    [{ roles: { includes: undefined } }, /needs at least one value/],
    [{ roles: { includes: [''] } }, /is empty/],
    [{ roles: { includes: ['admin', ''] } }, /is empty or not a number of JSON/],
    [{ plan: { oneOf: [Number.NaN, 'pro'] } }, /is empty or not a number of JSON/],
    [{ roles: { includes: 'a', oneOf: ['a'] } }, /"roles" must be a text, a number/],
    [{ scope: 'read' }, /"scope" is not for it: require scopes by RequireScopes/],
    [{ exp: 1 }, /"exp" is not for it: the guard judges times/],
    [{ roles: { includes: ['a', null] } }, /only texts, numbers and booleans/],
    [{ roles: { includes: [['a']] } }, /only texts, numbers and booleans/],
    [{ roles: { oneOf: 'admin' } }, /at least one value in "oneOf"/],
    // As `['pro',,'team']`: a missing claim would be one of these.
    [{ plan: { oneOf: Object.assign(['pro'], { 2: 'team' }) } }, /may have only texts/],
    [{ roles: { includesAny: 'admin' } }, /at least one value in "includesAny"/],
    [{ roles: { include: 'admin' } }, /"roles" must be/],
    [{ roles: { includes: 'a', oneOf: ['b'] } }, /"roles" must be/],
    [{ tenant: /acme/ }, /"tenant" must be/],
    [{ tenant: () => true }, /"tenant" must be/],
    [{ scope: 'orders:read' }, /"scope" is not for it: require scopes by RequireScopes/],
    [{ scp: { includes: 'orders:read' } }, /"scp" is not for it/],
    [{ exp: 1 }, /"exp" is not for it: the guard judges times/],
  ])('%p is refused', (required, words) => {
    expect(readRequiredClaims(required)).toEqual({ fault: expect.stringMatching(words) });
  });

  test('for any claims, a value is met exactly by a claim that is identical as JSON', () => {
    const value = fc.oneof(fc.string({ minLength: 1 }), fc.integer(), fc.boolean());
    const other = fc.oneof(
      value,
      fc.constant(null),
      fc.array(value),
      fc.dictionary(fc.string(), value),
    );
    const name = fc
      .string()
      .filter((one) => !['__proto__', 'scope', 'scp', 'exp', 'nbf', 'iat'].includes(one));
    fc.assert(
      fc.property(name, value, other, (claim, expected, found) => {
        const claims = { [claim]: found };
        expect(meets({ [claim]: expected }, JSON.stringify(claims))).toBe(
          JSON.stringify(found) === JSON.stringify(expected),
        );
      }),
    );
  });

  test('all, any and one of: for any lists, what the words say', () => {
    const item = fc.constantFrom<string | number>('a', 'b', 'A', '1', 1);
    const list = fc.array(item, { maxLength: 5 });
    const wanted = fc.array(item, { minLength: 1, maxLength: 3 });
    fc.assert(
      fc.property(list, wanted, (roles, values) => {
        const json = JSON.stringify({ roles });
        expect(meets({ roles: { includes: values } }, json)).toBe(
          values.every((one) => roles.includes(one)),
        );
        expect(meets({ roles: { includesAny: values } }, json)).toBe(
          values.some((one) => roles.includes(one)),
        );
        expect(meets({ roles: { oneOf: values } }, json)).toBe(false);
      }),
    );
  });
});

describe('a check of one’s own', () => {
  const judge = (check: unknown) => {
    const reading = readClaimCheck(check, 'an adult');
    if ('fault' in reading) throw new Error(reading.fault);
    return unmetRequirement(reading.requirements, principal({ age: 17 }));
  };

  test('gets the claims and the principal', () => {
    expect(
      judge(
        (claims: JsonObject, who: CustomerPrincipal) =>
          claims['age'] === 17 && who.subject === 'ann',
      ),
    ).toBeUndefined();
    expect(judge(() => false)).toEqual({ words: 'an adult', error: undefined });
  });

  test.each([1, 'yes', {}, undefined, null, []])('%p is not true', (answer) => {
    expect(judge(() => answer)).toEqual({
      words: 'an adult',
      error: new TypeError(
        `The check returned ${typeof answer}. Only true or false can be judged.`,
      ),
    });
  });

  test('a promise is refused, whatever becomes of it', async () => {
    const unhandled: unknown[] = [];
    const note = (reason: unknown): void => void unhandled.push(reason);
    process.on('unhandledRejection', note);
    const error = new TypeError('The check returned a promise. Only true or false can be judged.');
    expect(judge(async () => true)?.error).toEqual(error);
    expect(judge(() => Promise.reject(new Error('later')))?.error).toEqual(error);
    await new Promise(setImmediate);
    process.off('unhandledRejection', note);
    expect(unhandled).toEqual([]);
  });

  test('what it throws is reported, and refuses', () => {
    const error = new Error('broken');
    const check = (): boolean => {
      throw error;
    };
    expect(judge(check)).toEqual({ words: 'an adult', error });
    const nothing = (): boolean => {
      // oxlint-disable-next-line typescript/only-throw-error -- what a check may do.
      throw undefined;
    };
    expect(judge(nothing)?.error).toEqual(new TypeError('The check threw nothing.'));
  });

  const wordless = 'a function needs words beside it that say what it requires';
  const noFunction = 'the check must be a function';
  test.each([
    [() => true, '', wordless],
    [() => true, ' ', wordless],
    [() => true, undefined, wordless],
    [{}, 'words', noFunction],
    [undefined, 'words', noFunction],
  ])('%p with the words %j is refused: %s', (check, words, fault) => {
    expect(readClaimCheck(check, words)).toEqual({ fault });
  });
});

describe('decideForPrincipal', () => {
  const requirement = { kind: 'principal', customers: true, services: 'none', scopes: [] } as const;

  test('names neither the claim nor its value to the caller, and to the log only the claim', () => {
    const claims = requirements({ tenant: 'secret-tenant' });
    const decision = decideForPrincipal({ ...requirement, claims }, principal({ tenant: 'evil' }));
    expect(decision).toEqual({
      allowed: false,
      refusal: {
        status: 403,
        error: 'insufficient_scope',
        description: 'The access token lacks a required claim.',
        reason: 'CLAIM_NOT_MET',
        requirement: 'the claim "tenant"',
      },
    });
    expect(JSON.stringify(decision)).not.toMatch(/secret-tenant|evil/);
  });

  test('a check that fails looks the same to the caller', () => {
    const error = new Error('broken');
    const holds = (): boolean => {
      throw error;
    };
    const claims = [{ words: 'an adult', holds }];
    expect(decideForPrincipal({ ...requirement, claims }, principal({}))).toEqual({
      allowed: false,
      refusal: expect.objectContaining({
        status: 403,
        error: 'insufficient_scope',
        description: 'The access token lacks a required claim.',
        reason: 'CLAIM_CHECK_FAILED',
      }),
      error,
    });
  });

  test('no check runs for who may not call anyway', () => {
    let asked = 0;
    const claims = [{ words: 'counted', holds: () => (asked += 1) > 0 }];
    const scopes = ['missing'];
    expect(decideForPrincipal({ ...requirement, scopes, claims }, principal({})).allowed).toBe(
      false,
    );
    expect(asked).toBe(0);
    expect(decideForPrincipal({ ...requirement, claims }, principal({})).allowed).toBe(true);
    expect(asked).toBe(1);
  });
});
