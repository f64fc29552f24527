import { beforeEach, describe, expect, test } from '@jest/globals';
import { loadConfig } from '../../src/config/load-config.js';
import { ensureDevCredentials, rememberDevProvider } from '../../src/dev/dev-logins.js';
import { MemorySecretStore } from '../support/memory-store.js';
import { VirtualClock } from '../support/virtual-clock.js';

const config = loadConfig({ env: {} });
const [{ credentialsSecretId }] = config.tokens;
const own = { client_id: 'service-token-broker-dev', client_secret: 's'.repeat(43) };

let store: MemorySecretStore;

beforeEach(() => {
  store = new MemorySecretStore({ clock: new VirtualClock() });
});

test('a first start makes the credentials, and the next ones keep them', async () => {
  store.seed(credentialsSecretId);
  const made = await ensureDevCredentials(store, config);
  const provider = { issuer: 'http://127.0.0.1:3001', audience: 'urn:dev' };
  await rememberDevProvider(store, config, provider);
  expect(await ensureDevCredentials(store, config)).toEqual(made);
  expect(JSON.parse((await store.read(credentialsSecretId)).value)).toEqual({
    client_id: made.clientId,
    client_secret: made.clientSecret,
    ...provider,
  });
});

describe('credentials that are there', () => {
  test.each([
    ['without an issuer', {}],
    ['of an earlier start', { issuer: 'http://127.0.0.1:3001' }],
    ['with a loopback name', { issuer: 'http://localhost:3001' }],
    ['of the port that URLs leave out', { issuer: 'http://127.0.0.1:80' }],
    ['with the loopback address of IPv6', { issuer: 'http://[::1]:3001' }],
  ])('%s are used', async (_what, members) => {
    store.seed(credentialsSecretId, JSON.stringify({ ...own, ...members }));
    expect(await ensureDevCredentials(store, config)).toEqual({
      clientId: own.client_id,
      clientSecret: own.client_secret,
    });
  });

  test.each([
    ['another client', { client_id: 'orders' }],
    ['a key', { client_secret: undefined, private_key: { kty: 'OKP', d: 'x' } }],
    ['the same client id at a real provider', { issuer: 'https://tenant.example.test/' }],
    ['the same client id at a realm of this machine', { issuer: 'http://127.0.0.1:8080/realms/a' }],
    ['the same client id at https of this machine', { issuer: 'https://127.0.0.1:8443' }],
    ['a secret that dev mode has not made', { client_secret: 'real-secret' }],
    ['an issuer that only begins like loopback', { issuer: 'http://127.0.0.1.example.test' }],
    ['an issuer that is no URL', { issuer: 'tenant' }],
  ])('with %s are left alone', async (_what, members) => {
    store.seed(credentialsSecretId, JSON.stringify({ ...own, ...members }));
    await expect(ensureDevCredentials(store, config)).rejects.toMatchObject({
      code: 'DEV_MODE_DATA_FOLDER',
      kind: 'misconfigured',
    });
    expect(store.calls.putPending).toBe(0);
  });
});
