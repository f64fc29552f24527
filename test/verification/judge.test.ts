import { describe, expect, test } from '@jest/globals';
import { timeFault } from '../../src/verification/judge.js';
import {
  createStaticKeySet,
  explainToken,
  type IssuerOptions,
} from '../../src/verification/index.js';
import { AUDIENCE, ISSUER, useTokenBench } from './support/token-bench.js';

const bench = useTokenBench();

describe('what is wrong with a token is said, without a value of the token', () => {
  const refusalOf = async (
    claims: object,
    options: Partial<IssuerOptions> = {},
    header: Record<string, string> = {},
  ): Promise<unknown> =>
    bench()
      .createVerifier(options)
      .verify(await bench().signer.sign(bench().serviceClaims(claims), header))
      .then(
        () => 'accepted',
        ({ code, message }: { code: string; message: string }) => `${code}: ${message}`,
      );
  const many = ['a', 'b', 'c', 'd', 'e', 'f', 'g'];

  test.each<[string, string, object, Partial<IssuerOptions>?, Record<string, string>?]>([
    [
      'the issuer',
      `TOKEN_ISSUER_UNKNOWN: The token names an issuer that is not configured; expected: "${ISSUER}". "iss" is compared exactly: a slash or a capital letter makes another issuer.`,
      { iss: 'https://issuer.example' },
    ],
    [
      'the algorithm',
      'TOKEN_ALGORITHM_REFUSED: The token\'s "alg" is not allowed for this issuer; allowed: RS256, PS256.',
      {},
      { algorithms: ['RS256', 'PS256'] },
    ],
    [
      'the type',
      'TOKEN_TYPE_WRONG: The header\'s "typ" must be "at+jwt" for this issuer.',
      {},
      { typ: 'at+jwt' },
      { typ: 'JWT' },
    ],
    ['its end', 'TOKEN_EXPIRED: The token has expired ("exp").', { exp: 1, iat: 0 }],
    [
      'a start in the future',
      'TOKEN_NOT_YET_VALID: The token is not valid yet ("nbf" lies in the future). Check the clocks.',
      { nbf: 250_000_000_000 },
    ],
    [
      'an issue in the future',
      'TOKEN_NOT_YET_VALID: The token is not valid yet ("iat" lies in the future). Check the clocks.',
      { iat: 250_000_000_000 },
    ],
    [
      'its length of life',
      'TOKEN_LIFETIME_TOO_LONG: The token lives longer than allowed for this issuer, 3599 seconds (maxTokenLifetimeSeconds).',
      {},
      { maxTokenLifetimeSeconds: 3_599 },
    ],
    [
      'no audience',
      `TOKEN_AUDIENCE_WRONG: The token names no audience ("aud"); expected: "${AUDIENCE}".`,
      { aud: undefined },
    ],
    [
      'another audience',
      'TOKEN_AUDIENCE_WRONG: The token is meant for another audience ("aud"); expected: "a" or "b" or "c" or "d" or "e".',
      {},
      { audiences: many.slice(0, 5) },
    ],
    [
      'another audience than many',
      'TOKEN_AUDIENCE_WRONG: The token is meant for another audience ("aud"); expected: "a" or "b" or "c" or "d" or "e" or one of 2 more.',
      {},
      { audiences: many },
    ],
    [
      'a further audience',
      'TOKEN_AUDIENCE_WRONG: The token is also meant for audiences we do not know, which could use it against us (allow them with otherAudiences).',
      { aud: [AUDIENCE, 'other'] },
    ],
    [
      'an ID token',
      'TOKEN_TYPE_WRONG: This is not an access token, by its claims (profile "rfc9068").',
      { at_hash: 'x' },
    ],
    [
      'a key that it is bound to',
      'TOKEN_SENDER_CONSTRAINED: The token is bound to a key ("cnf"), which is not verified here: request a token without DPoP or mutual TLS, or set the issuer\'s option senderConstraint: null to accept bound tokens (profile "rfc9068").',
      { cnf: {} },
    ],
    [
      'its scopes',
      'TOKEN_CLAIM_INVALID: The token\'s claims about the client, the actor or the scopes are malformed or contradict each other (profile "rfc9068").',
      { scope: 1 },
    ],
    [
      'its client',
      'TOKEN_CLIENT_NOT_ALLOWED: The token\'s client is not on the issuer\'s list for this kind of token, or only on the one for the other kind (profile "rfc9068").',
      {},
      { serviceClientIds: ['other'] },
    ],
    [
      'marks of both kinds',
      'TOKEN_KIND_UNDECIDED: The token has the marks of a customer token and of a service token (profile "both").',
      { sub: 'ann' },
      {
        profile: {
          name: 'both',
          clientId: ['client_id'],
          service: [{ present: 'client_id' }],
          customer: [{ present: 'sub' }],
          scopes: { service: ['scope'], customer: ['scope'] },
        },
      },
    ],
    [
      'marks of no kind',
      'TOKEN_KIND_UNDECIDED: The token has the marks of neither a customer token nor a service token; the command "verify" shows which are missing (profile "rfc9068").',
      { client_id: undefined },
    ],
  ])('%s', async (_what, message, claims, options = {}, header = {}) => {
    expect(await refusalOf(claims, options, header)).toBe(message);
  });

  test('a start after the end', async () => {
    const { seconds } = bench().clock;
    expect(await refusalOf({ iat: seconds, exp: seconds })).toBe(
      'TOKEN_CLAIM_INVALID: The token\'s claims are refused: "exp" must be later than "iat".',
    );
  });
});

test('each step that was passed is told', async () => {
  const stepsOf = async (audiences: string | null): Promise<string[]> => {
    const { clock, signer } = bench();
    const keys = createStaticKeySet({ keys: [signer.jwk] });
    const { steps } = await explainToken(await signer.sign(bench().serviceClaims()), {
      clock,
      issuers: [{ issuer: ISSUER, audiences, profile: 'rfc9068', keys }],
    });
    return steps.map(({ step, words }) => `${step}: ${words}`);
  };
  const steps = [
    'parse: It is a well-formed signed token.',
    'issuer: Its issuer is configured, and allows its type and algorithm.',
    'times: It is within its life, and that life is not too long.',
    'audience: It is meant for us.',
    'key: The issuer publishes its key.',
    'signature: The issuer signed it.',
    'classification: It is a service token.',
  ];
  expect(await stepsOf(AUDIENCE)).toEqual(steps);
  expect(await stepsOf(null)).toEqual(steps.with(3, 'audience: Not checked for this issuer.'));
});

describe('the times of a token, with clocks that differ by a minute', () => {
  const NOW = 1_000_000;
  test.each<[object, number | null, string | undefined]>([
    [{ exp: NOW + 1 }, null, undefined],
    [{ exp: NOW - 59 }, null, undefined],
    [{ exp: NOW - 60 }, null, 'expired'],
    [{ exp: NOW - 59.5 }, null, undefined],
    [{ exp: NOW + 100, nbf: NOW + 60 }, null, undefined],
    [{ exp: NOW + 100, nbf: NOW + 60.5 }, null, 'nbf-ahead'],
    [{ exp: NOW + 100, iat: NOW + 60 }, null, undefined],
    [{ exp: NOW + 100, iat: NOW + 60.5 }, null, 'iat-ahead'],
    [{ exp: NOW, iat: NOW }, null, 'ends-before-start'],
    [{ exp: NOW, iat: NOW - 1 }, null, undefined],
    [{ exp: NOW + 50, iat: NOW - 50 }, 100, undefined],
    [{ exp: NOW + 50.5, iat: NOW - 50 }, 100, 'too-long'],
    [{ exp: NOW + 101, iat: NOW }, 100, 'too-long'],
    // Without an issue its life begins now.
    [{ exp: NOW + 100 }, 100, undefined],
    [{ exp: NOW + 101 }, 100, 'too-long'],
    [{ exp: NOW + 100, nbf: NOW - 500 }, 100, undefined],
    [{ exp: NOW + 1_000_000 }, null, undefined],
  ])('%j, living at most %p seconds: %p', (times, maxTokenLifetimeSeconds, fault) => {
    const claims = {
      iss: ISSUER,
      aud: undefined,
      nbf: undefined,
      iat: undefined,
      exp: 0,
      ...times,
    };
    expect(timeFault(claims, { maxTokenLifetimeSeconds }, NOW * 1_000, 60)).toBe(fault);
  });
});

test('what was verified cannot be changed, however deep', async () => {
  const claims = bench().serviceClaims({
    list: [{ deep: [1, null] }],
    none: null,
    act: { sub: 'a' },
  });
  const verified = await bench()
    .createVerifier()
    .verify(await bench().signer.sign(claims));
  const within = (value: unknown): unknown[] =>
    typeof value === 'object' && value !== null
      ? [value, ...Object.values(value).flatMap(within)]
      : [];
  const all = within(verified);
  expect(all.length).toBeGreaterThan(10);
  expect(all.filter((value) => !Object.isFrozen(value))).toEqual([]);
});
