import { describe, expect, test } from '@jest/globals';
import { createTokenVerifier } from '../../src/verification/index.js';
import { systemClock } from '../../src/tokens/time.js';
import { PROFILES, SIGNATURE_ALGORITHMS } from '../../src/verification/index.js';
import { readVerifierOptions } from '../../src/verification/verifier-options.js';
import { AUDIENCE, ISSUER, useTokenBench } from './support/token-bench.js';

const bench = useTokenBench();

/** As `[,]`, which `every` passes over. */
const HOLES: unknown[] = [];
HOLES.length = 1;

describe('configuration', () => {
  const keys = {
    find: () => Promise.reject(new Error('not asked')),
    state: () => undefined,
    atHand: () => undefined,
  };
  const good = { issuer: ISSUER, audiences: AUDIENCE, profile: 'auth0', keys };
  const { audiences: _a, ...noAudiences } = good;
  const { profile: _p, ...noProfile } = good;
  const { keys: _k, ...noKeys } = good;
  test.each([
    [{ cache: { maxEntries: 1 } }],
    [{ cache: { maxEntries: 1_000_000 } }],
    [{ cache: null }],
    [{ clockSkewSeconds: 0 }],
    [{ clockSkewSeconds: 600 }],
    [{ maxTokenLength: 1 }],
    [{ maxTokenLength: 1_048_576 }],
  ])('%j is accepted', (options) => {
    expect(readVerifierOptions({ issuers: [good], ...options } as never)).toMatchObject(options);
  });

  test('what is left out has the default', () => {
    const rules = readVerifierOptions({ issuers: [good] } as never);
    expect(rules).toEqual({
      clockSkewSeconds: 60,
      maxTokenLength: 16_384,
      cache: { maxEntries: 10_000 },
      clock: systemClock,
      issuers: rules.issuers,
    });
    expect([...rules.issuers]).toEqual([
      [
        ISSUER,
        {
          issuer: ISSUER,
          audiences: [AUDIENCE],
          otherAudiences: [],
          algorithms: new Set(SIGNATURE_ALGORITHMS),
          profile: PROFILES.auth0,
          keys,
          typ: undefined,
          maxTokenLifetimeSeconds: 2_592_000,
          serviceClientIds: undefined,
          customerClientIds: undefined,
          senderConstraint: undefined,
          scopeClaims: undefined,
        },
      ],
    ]);
  });

  test.each([
    { audiences: null },
    { otherAudiences: null },
    { otherAudiences: ['a'] },
    { maxTokenLifetimeSeconds: null },
    { maxTokenLifetimeSeconds: 1 },
    { senderConstraint: null },
    { typ: 'at+jwt' },
    { serviceClientIds: [], customerClientIds: [] },
    { serviceClientIds: ['job'], profile: 'zitadel' },
    { scopeClaims: ['scp'] },
  ])('%j is accepted for an issuer', (options) => {
    const { profile: _, ...plain } = options as { profile?: string };
    const rules = readVerifierOptions({ issuers: [{ ...good, ...options }] } as never);
    expect(rules.issuers.get(ISSUER)).toMatchObject(plain);
  });

  test.each<[string, unknown, string]>([
    ['no issuers', { issuers: [] }, '"issuers"'],
    ['issuers missing', {}, '"issuers"'],
    ['audiences missing', { issuers: [noAudiences] }, 'issuers[0].audiences is missing'],
    ['audiences empty', { issuers: [{ ...good, audiences: [] }] }, 'issuers[0].audiences'],
    ['an empty audience', { issuers: [{ ...good, audiences: '' }] }, 'issuers[0].audiences'],
    [
      'profile missing',
      { issuers: [noProfile] },
      'issuers[0].profile is missing: give rfc9068, auth0, okta, entra,',
    ],
    [
      'profile unknown',
      { issuers: [{ ...good, profile: 'auth1' }] },
      'issuers[0].profile: "auth1" is not one of rfc9068, auth0, okta, entra,',
    ],
    ['profile inherited', { issuers: [{ ...good, profile: 'constructor' }] }, 'is not one of'],
    ['keys missing', { issuers: [noKeys] }, 'issuers[0].keys'],
    ['issuer empty', { issuers: [{ ...good, issuer: '' }] }, 'issuers[0].issuer'],
    ['issuer twice', { issuers: [good, good] }, 'configured twice'],
    [
      'HMAC',
      { issuers: [{ ...good, algorithms: ['HS256'] }] },
      'issuers[0].algorithms: "HS256" is not allowed; use RS256, RS384, RS512,',
    ],
    ['none', { issuers: [{ ...good, algorithms: ['none'] }] }, '"none" is not allowed'],
    ['no algorithms', { issuers: [{ ...good, algorithms: [] }] }, 'issuers[0].algorithms'],
    ['typ', { issuers: [{ ...good, typ: 'JWT' }] }, 'issuers[0].typ'],
    ['a life of zero', { issuers: [{ ...good, maxTokenLifetimeSeconds: 0 }] }, 'Lifetime'],
    [
      'a list missing',
      { issuers: [{ ...good, profile: 'zitadel' }] },
      'serviceClientIds is required',
    ],
    [
      'a list of something else',
      { issuers: [{ ...good, serviceClientIds: 'job' }] },
      'serviceClientIds',
    ],
    ['a list with holes', { issuers: [{ ...good, serviceClientIds: HOLES }] }, 'ClientIds'],
    ['audiences that are holes', { issuers: [{ ...good, audiences: HOLES }] }, 'audiences'],
    ['a constraint', { issuers: [{ ...good, senderConstraint: 'dpop' }] }, 'only be null'],
    ['no constraint', { issuers: [{ ...good, senderConstraint: false }] }, 'only be null'],
    ['a bad profile', { issuers: [{ ...good, profile: { name: 'ours' } }] }, 'Profile "ours"'],
    ['negative skew', { issuers: [good], clockSkewSeconds: -1 }, '"clockSkewSeconds"'],
    ['skew of an hour', { issuers: [good], clockSkewSeconds: 3600 }, '"clockSkewSeconds"'],
    [
      'other audiences as text',
      { issuers: [{ ...good, otherAudiences: 'a' }] },
      'issuers[0].otherAudiences must be a list of non-empty strings.',
    ],
    [
      'an empty client',
      { issuers: [{ ...good, customerClientIds: [''] }] },
      'issuers[0].customerClientIds must be a list of non-empty strings.',
    ],
    [
      'no scope claims',
      { issuers: [{ ...good, scopeClaims: [] }] },
      'issuers[0].scopeClaims must be a list of at least one non-empty strings.',
    ],
    ['an issuer that is a list', { issuers: [{ ...good, issuer: [ISSUER] }] }, 'issuers[0].issuer'],
    ['a skew as text', { issuers: [good], clockSkewSeconds: '60' }, '"clockSkewSeconds"'],
    [
      'tokens of any length',
      { issuers: [good], maxTokenLength: 1_048_577 },
      '"maxTokenLength" must be a number from 1 to 1048576.',
    ],
    ['a large cache', { issuers: [good], cache: { maxEntries: 1_000_001 } }, '"cache.maxEntries"'],
    ['an empty cache', { issuers: [good], cache: { maxEntries: 0 } }, '"cache.maxEntries"'],
    ['half an entry', { issuers: [good], cache: { maxEntries: 1.5 } }, '"cache.maxEntries"'],
    ['no bound', { issuers: [good], cache: { maxEntries: Infinity } }, '"cache.maxEntries"'],
    ['a bound missing', { issuers: [good], cache: {} }, '"cache.maxEntries"'],
    ['a cache that is false', { issuers: [good], cache: false }, '"cache.maxEntries"'],
    [
      'a key set that finds nothing',
      { issuers: [{ ...good, keys: { ...keys, find: undefined } }] },
      'issuers[0].keys must be a key set; make one with createRemoteKeySet or createStaticKeySet.',
    ],
    [
      'a key set that cannot tell what is at hand',
      { issuers: [{ ...good, keys: { find: keys.find, state: keys.state } }] },
      'issuers[0].keys',
    ],
    ['skew NaN', { issuers: [good], clockSkewSeconds: Number.NaN }, '"clockSkewSeconds"'],
  ])('%s', (_, options, words) => {
    const make = (): unknown =>
      createTokenVerifier(options as Parameters<typeof createTokenVerifier>[0]);
    expect(make).toThrow(
      expect.objectContaining({
        code: 'VERIFIER_MISCONFIGURED',
        kind: 'misconfigured',
        message: expect.stringContaining(words),
      }),
    );
  });

  test('a custom profile is copied when it is configured', async () => {
    const service: { claim: string; equals: string }[] = [{ claim: 'kind', equals: 'machine' }];
    const verifier = bench().createVerifier({
      profile: {
        name: 'ours',
        clientId: ['client_id'],
        service,
        customer: 'never',
        scopes: { service: [], customer: [] },
      },
    });
    service.length = 0;
    await expect(
      verifier.verify(await bench().signer.sign(bench().customerClaims())),
    ).rejects.toMatchObject({
      code: 'TOKEN_KIND_UNDECIDED',
    });
    const token = await bench().signer.sign(bench().serviceClaims({ kind: 'machine' }));
    expect((await verifier.verify(token)).principal.kind).toBe('service');
  });
});
