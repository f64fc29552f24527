import { describe, expect, test } from '@jest/globals';
import { providerKeys, verifierOptionsOf } from '../../src/composition/core.js';
import {
  audienceAdvice,
  type ReceiverOptions,
  receiversNeed,
  withOwnClaims,
} from '../../src/composition/own-token.js';
import { loadConfig } from '../../src/config/load-config.js';
import type { ProviderSettings } from '../../src/provider/client-credentials.js';
import { ProviderError } from '../../src/provider/provider-errors.js';
import { BrokerError } from '../../src/tokens/errors.js';
import type { ServiceToken } from '../../src/tokens/service-token.js';
import { createRemoteKeySet } from '../../src/verification/index.js';
import { TokenRejectedError } from '../../src/verification/verification-errors.js';
import { VirtualClock } from '../support/virtual-clock.js';

const part = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url');

function token(header: object, claims: object): ServiceToken {
  return {
    accessToken: `${part(header)}.${part(claims)}.c2lnbmF0dXJl`,
    tokenType: 'Bearer',
    expiresAt: 1,
    generatedAt: 0,
    issuer: 'i',
    audience: [],
  };
}

const refusal = new TokenRejectedError('TOKEN_AUDIENCE_WRONG', 'Wrong; expected: "a".');

test.each([
  [
    token({ typ: 'at+jwt' }, { iss: 'https://a.test', aud: ['b', 'c'], sub: 'canary' }),
    'The token has "iss" "https://a.test", "aud" "b", "c", "typ" "at+jwt".',
  ],
  [token({}, {}), 'The token has no "iss", no "aud", no "typ".'],
])('a refusal of an own token says what the token has', async (own, words) => {
  const check = withOwnClaims(own, () => Promise.reject(refusal));
  const error = await check.catch((thrown: unknown) => thrown);
  expect(error).toBeInstanceOf(BrokerError);
  // That class promises to quote nothing of the token.
  expect(error).not.toBeInstanceOf(TokenRejectedError);
  expect(error).toMatchObject({ code: refusal.code, kind: 'rejected', cause: refusal });
  const { message } = error as Error;
  expect(message).toContain(`Wrong; expected: "a". ${words} `);
  expect(message).toContain('doctor --mint');
  expect(message).not.toContain('canary');
  expect(message).not.toContain(own.accessToken.split('.')[1]);
});

test('what is no refusal stays as it is', async () => {
  const own = token({}, {});
  const later = new BrokerError('KEYS_UNAVAILABLE', 'retry', 'Later.');
  await expect(withOwnClaims(own, () => Promise.reject(later))).rejects.toBe(later);
  await expect(withOwnClaims(own, () => Promise.resolve(1))).resolves.toBe(1);
});

test('a customer token keeps its code', async () => {
  const customer = new BrokerError('TOKEN_NOT_A_SERVICE', 'rejected', 'A customer.');
  const check = withOwnClaims(token({}, {}), () => Promise.reject(customer));
  await expect(check).rejects.toMatchObject({ code: 'TOKEN_NOT_A_SERVICE', kind: 'rejected' });
});

const RULES = {
  issuer: 'https://a.test',
  audiences: ['https://api.test'],
  otherAudiences: ['userinfo'],
  profile: 'keycloak',
} as const;

describe('a token that is for others too', () => {
  const own = token({}, { aud: ['https://api.test', 'account', 'userinfo'] });
  const check = (): Promise<never> => Promise.reject(refusal);

  test('the refusal names the setting, and the option of receivers', async () => {
    const error: unknown = await withOwnClaims(own, check, () => RULES).catch(
      (thrown: unknown) => thrown,
    );
    const { message } = error as Error;
    expect(message).toContain("also for 'account'");
    expect(message).toContain('BROKER_OTHER_AUDIENCES=userinfo,account');
    expect(message).toContain("otherAudiences: ['userinfo', 'account']");
  });

  test.each<[string, readonly string[], Partial<typeof RULES> | object]>([
    ['for somebody else alone', ['account'], {}],
    ['for us alone', ['https://api.test'], {}],
    ['for others that are listed', ['https://api.test', 'userinfo'], {}],
    ['for others where any is allowed', ['https://api.test', 'x'], { otherAudiences: null }],
    ['for nobody', [], {}],
    ['for others where the audience is not checked', ['a', 'b'], { audiences: null }],
  ])('there is nothing to list for a token %s', (_what, aud, changes) => {
    expect(audienceAdvice(aud, { ...RULES, ...changes })).toBeUndefined();
  });
});

describe('what receivers need', () => {
  test.each<[readonly string[], Partial<ReceiverOptions>, string]>([
    [
      ['https://api.test', 'account'],
      {},
      "{ issuer: 'https://a.test', audiences: 'https://api.test', otherAudiences: ['account'], profile: 'keycloak', keys }",
    ],
    [
      ['https://api.test'],
      {
        typ: 'at+jwt',
        serviceClientIds: ["o'neill"],
        customerClientIds: ['web'],
        scopeClaims: ['scope', 'permissions'],
      },
      String.raw`{ issuer: 'https://a.test', audiences: 'https://api.test', profile: 'keycloak', typ: 'at+jwt', serviceClientIds: ['o\'neill'], customerClientIds: ['web'], scopeClaims: ['scope', 'permissions'], keys }`,
    ],
    [
      [],
      { audiences: null },
      "{ issuer: 'https://a.test', audiences: null, profile: 'keycloak', keys }",
    ],
    [
      ['a'],
      { audiences: null },
      "{ issuer: 'https://a.test', audiences: 'a', profile: 'keycloak', keys }",
    ],
  ])('of a token for %j', (aud, changes, options) => {
    expect(receiversNeed({ ...RULES, ...changes }, aud)).toBe(`Receivers need: ${options}`);
  });

  test('where no audience is checked, the choice is theirs', () => {
    expect(receiversNeed({ ...RULES, audiences: null }, ['a', 'b'])).toMatch(
      /audiences: 'a', otherAudiences: \['b'\].*another of its audiences/,
    );
  });
});

const issuer = 'https://provider.example.test';
const tokenEndpoint = `${issuer}/token`;
const jwksUri = `${issuer}/keys`;
const WAY_OUT = ' Or set both BROKER_TOKEN_ENDPOINT and BROKER_JWKS_URI.';

test.each<[string, Partial<ProviderSettings>, string, string]>([
  ['no setting', {}, 'No answer.', `No answer.${WAY_OUT}`],
  ['the keys alone', { jwksUri }, 'No answer.', `No answer.${WAY_OUT}`],
  ['the token endpoint alone', { tokenEndpoint }, 'No answer.', `No answer.${WAY_OUT}`],
  ['both, so that nothing was asked', { tokenEndpoint, jwksUri }, 'Refused.', 'Refused.'],
])('how to do without discovery, with %s', async (_what, given, message, told) => {
  const fail = (): Promise<never> =>
    Promise.reject(new ProviderError('PROVIDER_UNAVAILABLE', message));
  expect(await messageWhen(fail, given)).toMatch(new RegExp(`is unknown: ${told}$`));
});

test.each([
  'PROVIDER_DISCOVERY_FAILED',
  'PROVIDER_TLS_FAILED',
  'PROVIDER_ISSUER_MISMATCH',
] as const)('what %s says of itself is enough', async (code) => {
  const fail = (): Promise<never> =>
    Promise.reject(new ProviderError(code, 'Set BROKER_JWKS_URI.'));
  expect(await messageWhen(fail, {})).toMatch(/is unknown: Set BROKER_JWKS_URI\.$/);
});

async function messageWhen(
  fail: () => Promise<never>,
  given: Partial<ProviderSettings>,
): Promise<string> {
  const provider = { mint: fail, metadata: fail };
  const keys = providerKeys(provider, { issuer, ...given }, new VirtualClock());
  const error = (await keys.refresh().catch((thrown: unknown) => thrown)) as Error;
  return error.message;
}

test('receivers, rotation and commands judge by the same settings', () => {
  const given = (env: NodeJS.ProcessEnv) => {
    const [token] = loadConfig({ env }).tokens;
    const keys = createRemoteKeySet({ jwksUri: `${issuer}/keys` });
    const settings = { issuer, audience: 'orders' };
    return verifierOptionsOf(token, settings, keys, new VirtualClock()).issuers[0];
  };
  // As in a guard: what is not listed is a stranger.
  expect(given({})).toMatchObject({ audiences: ['orders'], otherAudiences: [] });
  expect(given({})).not.toHaveProperty('typ');
  expect(given({})).not.toHaveProperty('customerClientIds');
  expect(given({})).not.toHaveProperty('scopeClaims');
  expect(
    given({
      BROKER_OTHER_AUDIENCES: 'account, https://a.test/userinfo',
      BROKER_CUSTOMER_CLIENT_IDS: 'web',
      BROKER_SERVICE_CLIENT_IDS: 'job',
      BROKER_TOKEN_TYP: 'at+jwt',
      BROKER_SCOPE_CLAIMS: 'scope, permissions',
    }),
  ).toMatchObject({
    otherAudiences: ['account', 'https://a.test/userinfo'],
    customerClientIds: ['web'],
    serviceClientIds: ['job'],
    scopeClaims: ['scope', 'permissions'],
    typ: 'at+jwt',
  });
  expect(given({ BROKER_OTHER_AUDIENCES: '*' })?.otherAudiences).toBeNull();
});
