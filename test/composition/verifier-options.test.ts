import { expect, test } from '@jest/globals';
import { providerKeys, verifierOptionsOf } from '../../src/composition/core.js';
import { loadConfig } from '../../src/config/load-config.js';
import { ProviderError } from '../../src/provider/provider-errors.js';
import type { ProviderSettings } from '../../src/provider/client-credentials.js';
import { createRemoteKeySet } from '../../src/verification/index.js';
import { VirtualClock } from '../support/virtual-clock.js';

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
    const config = loadConfig({ env });
    const keys = createRemoteKeySet({ jwksUri: `${issuer}/keys` });
    const settings = { issuer, audience: 'orders' };
    return verifierOptionsOf(config, settings, keys, new VirtualClock()).issuers[0];
  };
  // As in a guard: what is not listed is a stranger.
  expect(given({})).toMatchObject({ audiences: ['orders'], otherAudiences: [] });
  expect(given({})).not.toHaveProperty('typ');
  expect(given({})).not.toHaveProperty('customerClientIds');
  expect(
    given({
      BROKER_OTHER_AUDIENCES: 'account, https://a.test/userinfo',
      BROKER_CUSTOMER_CLIENT_IDS: 'web',
      BROKER_SERVICE_CLIENT_IDS: 'job',
      BROKER_TOKEN_TYP: 'at+jwt',
    }),
  ).toMatchObject({
    otherAudiences: ['account', 'https://a.test/userinfo'],
    customerClientIds: ['web'],
    serviceClientIds: ['job'],
    typ: 'at+jwt',
  });
  expect(given({ BROKER_OTHER_AUDIENCES: '*' })?.otherAudiences).toBeNull();
});
