import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { createRuntime, runtimeOf, type BrokerRuntime } from '../../src/composition/runtime.js';
import { loadConfig } from '../../src/config/load-config.js';
import { createLogger } from '../../src/operations/log.js';
import type { TokenProvider } from '../../src/provider/token-provider.js';
import { SecretStoreError } from '../../src/secrets/secret-store.js';
import { startTestIssuer, type TestIssuer } from '../../src/testing/index.js';
import { systemClock } from '../../src/tokens/time.js';
import { parseServiceToken } from '../../src/tokens/service-token.js';
import { LogLines } from '../operations/log-lines.js';
import { MemorySecretStore } from '../support/memory-store.js';

const MINUTE = 60_000;

let ahead: number;
let issuer: TestIssuer;
let store: MemorySecretStore;
let mints: number;
/** What the provider mints besides the defaults. */
let claims: Record<string, unknown>;
let log: LogLines;
let isSeeded: boolean;
const messages = (): unknown[] => log.lines.map(({ message }) => message);
const clock = { ...systemClock, now: () => Date.now() + ahead };

beforeEach(async () => {
  ahead = 0;
  mints = 0;
  claims = {};
  log = new LogLines();
  isSeeded = false;
  issuer = await startTestIssuer({ clock, profile: 'rfc9068' });
  store = new MemorySecretStore({ clock });
});
afterEach(() => issuer.close());

/** A process of the broker; its store outlives it. */
async function start(env: NodeJS.ProcessEnv = {}): Promise<BrokerRuntime> {
  const config = loadConfig({
    env: { BROKER_ISSUER: issuer.issuer, BROKER_AUDIENCE: issuer.audience, ...env },
  });
  const [{ credentialsSecretId, secretId: tokenSecretId }] = config.tokens;
  const { peersSecretId } = config.secrets;
  if (!isSeeded) {
    store.seed(credentialsSecretId, '{"client_id":"broker","client_secret":"secret"}');
    store.seed(tokenSecretId);
    store.seed(peersSecretId);
  }
  isSeeded = true;
  const provider: TokenProvider = {
    mint: async () => {
      mints += 1;
      return { accessToken: issuer.serviceToken({ expiresInSeconds: 90_000, claims }) };
    },
    metadata: async () => ({
      issuer: issuer.issuer,
      tokenEndpoint: `${issuer.issuer}/token`,
      jwksUri: issuer.jwksUri,
    }),
  };
  return createRuntime(config, {
    store,
    clock,
    provider,
    log: createLogger({ level: 'info', destination: log }),
  });
}

/** What the timer of the rotation module does, every 15 seconds. */
async function tick(runtime: BrokerRuntime): Promise<void> {
  const { schedule, watch } = runtimeOf(runtime);
  await schedule.check();
  await watch.check();
}

async function metric({ metrics }: BrokerRuntime): Promise<string | undefined> {
  const text = await metrics.registry.metrics();
  return /^service_token_broker_token_accepted\{token="default"\} (.+)$/m.exec(text)?.[1];
}

describe('a key that is withdrawn at the provider', () => {
  test('is reported by readiness, metrics and log, and ends with a new token', async () => {
    const broker = await start();
    await tick(broker);
    await tick(broker);
    expect(await runtimeOf(broker).readiness.tokenState()).not.toHaveProperty('code');
    expect(await metric(broker)).toBe('1');

    await issuer.rotateKeys();
    // The keys' own refresh is enough: some time between 80 % and the whole of their age of ten minutes. A fetch that a busy
    // machine makes fail is repeated at the next check.
    for (let passed = 0; passed < 11; passed += 0.25) {
      ahead += 0.25 * MINUTE;
      await runtimeOf(broker).watch.check();
    }
    expect(await runtimeOf(broker).readiness.tokenState()).toMatchObject({
      ok: true,
      refused: true,
      code: 'TOKEN_KEY_UNKNOWN',
      reason: expect.stringContaining('Receivers refuse the service token'),
    });
    expect(await metric(broker)).toBe('0');
    await runtimeOf(broker).watch.check();
    expect(messages().filter((line) => String(line).startsWith('receivers refuse'))).toHaveLength(
      1,
    );

    await runtimeOf(broker).schedule.check();
    expect(mints).toBe(2);
    await tick(broker);
    expect(await runtimeOf(broker).readiness.tokenState()).not.toHaveProperty('refused');
    expect(await metric(broker)).toBe('1');
    expect(messages()).toContain('receivers accept the service token again');
    await tick(broker);
    expect(mints).toBe(2);
  });

  test('is found after a restart', async () => {
    await tick(await start());
    await issuer.rotateKeys();
    const broker = await start();
    await tick(broker);
    expect((await runtimeOf(broker).readiness.tokenState()).code).toBe('TOKEN_KEY_UNKNOWN');
    await tick(broker);
    expect(mints).toBe(2);
    expect((await runtimeOf(broker).readiness.tokenState()).code).toBeUndefined();
  });

  test('is reported by a process that does not rotate', async () => {
    await tick(await start());
    await issuer.rotateKeys();
    const broker = await start({ BROKER_ROTATION: 'disabled' });
    await runtimeOf(broker).watch.check();
    expect((await runtimeOf(broker).readiness.tokenState()).refused).toBe(true);
  });
});

test('keys that cannot be read are not a refusal', async () => {
  // Twelve hours from now: no slot comes while the hours pass.
  const hour = (new Date(clock.now()).getUTCHours() + 12) % 24;
  const broker = await start({ BROKER_ROTATION_CRON: `0 ${hour} * * *` });
  await tick(broker);
  await tick(broker);
  issuer.down();
  for (let hours = 0; hours < 5; hours += 1) {
    ahead += 60 * MINUTE;
    await tick(broker);
  }
  expect(await runtimeOf(broker).readiness.tokenState()).not.toHaveProperty('code');
  expect(await metric(broker)).toBe('1');
  expect(mints).toBe(1);
  issuer.up();
});

describe('settings that changed', () => {
  test.each<[string, NodeJS.ProcessEnv, string]>([
    ['another audience', { BROKER_AUDIENCE: 'urn:other' }, 'TOKEN_AUDIENCE_WRONG'],
    ['another issuer', { BROKER_ISSUER: 'https://other.example.test' }, 'TOKEN_ISSUER_UNKNOWN'],
    ['other clients', { BROKER_SERVICE_CLIENT_IDS: 'other' }, 'TOKEN_CLIENT_NOT_ALLOWED'],
  ])('%s: the previous token is refused', async (_what, env, code) => {
    await tick(await start());
    const broker = await start(env);
    await runtimeOf(broker).watch.check();
    expect(await runtimeOf(broker).readiness.tokenState()).toMatchObject({
      ok: true,
      refused: true,
      code,
    });
  });

  test('a new token is minted with the current settings', async () => {
    await tick(await start());
    claims = { aud: 'urn:other' };
    const broker = await start({ BROKER_AUDIENCE: 'urn:other' });
    await tick(broker);
    await tick(broker);
    const [{ secretId: tokenSecretId }] = broker.core.config.tokens;
    expect(parseServiceToken((await store.read(tokenSecretId)).value).audience).toEqual([
      'urn:other',
    ]);
    expect(mints).toBe(2);
  });
});

test('a broker that may not read the client credentials watches by its settings', async () => {
  await tick(await start());
  await issuer.rotateKeys();
  const read = store.read.bind(store);
  store.read = (secretId, which) =>
    secretId.endsWith('/credentials')
      ? Promise.reject(new SecretStoreError('STORE_ACCESS_DENIED', 'Not for this role.'))
      : read(secretId, which);
  const broker = await start();
  await runtimeOf(broker).watch.check();
  expect((await runtimeOf(broker).readiness.tokenState()).code).toBe('TOKEN_KEY_UNKNOWN');
});
