import { afterEach, expect, test } from '@jest/globals';
import { createRuntime, createServiceTokenSource } from '../../src/composition/runtime.js';
import { coreOf } from '../../src/composition/core.js';
import { loadConfig } from '../../src/config/load-config.js';
import { createLogger } from '../../src/operations/log.js';
import { serializeServiceToken } from '../../src/tokens/service-token.js';
import { LogLines } from '../operations/log-lines.js';
import { createBroker, START, TOKEN_SECRET, tokenAt, tokenCacheOf } from '../serving/broker.js';
import { MemorySecretStore } from '../support/memory-store.js';
import { type ProviderServer, startProviderServer } from '../support/provider-server.js';

const HOUR = 3_600_000;
let provider: ProviderServer | undefined;
afterEach(() => provider?.close());

test.each([
  ['right', 0, undefined, 0],
  ['an hour behind', HOUR, 'behind', 3_600],
  ['half a minute and a bit behind', 33_000, 'behind', 33],
  // By the token endpoint alone: a cached list of keys may be old.
  ['an hour ahead', -HOUR, 'ahead', -3_600],
])("minting shows that the machine's clock is %s", async (_what, theirs, state, seconds) => {
  const now = (): number => Date.now() + theirs;
  provider = await startProviderServer({ now });
  const log = new LogLines();
  const config = loadConfig({
    env: { BROKER_ISSUER: provider.issuer, BROKER_AUDIENCE: 'https://services.example.test' },
  });
  const store = new MemorySecretStore();
  store.seed(
    config.tokens[0].credentialsSecretId,
    JSON.stringify({ client_id: 'broker', client_secret: 'right-secret' }),
  );
  store.seed(config.tokens[0].secretId);
  const runtime = await createRuntime(config, {
    store,
    log: createLogger({ level: 'info', destination: log }),
  });
  expect(runtime.readiness.clock?.()).toBeUndefined();
  await coreOf(runtime.core).source.mint();
  await coreOf(runtime.core).freshKeys();

  const ready = runtime.readiness.clock?.();
  expect(ready?.ok).toBe(state === undefined);
  const lines = log.lines.filter(({ message }) => message === "this machine's clock is off");
  expect(lines).toHaveLength(state === undefined ? 0 : 1);
  if (state !== undefined) expect(lines[0]).toMatchObject({ source: 'provider', state });

  const metrics = await runtime.metrics.registry.metrics();
  const offset = /clock_offset_seconds\{source="provider"\} (\S+)/.exec(metrics)?.[1];
  expect(Math.abs(Number(offset) - seconds)).toBeLessThan(10);
  expect(metrics).toContain('clock_offset_seconds{source="store"} Nan');
  expect(metrics).toMatch(
    new RegExp(`clock_readings_total\\{source="provider",state="${state ?? 'ok'}"\\} [1-9]`),
  );
});

function setUp() {
  const { clock, store, serving } = createBroker();
  const source = createServiceTokenSource(tokenCacheOf(serving));
  const replace = (accessToken: string): void => {
    store.edit(TOKEN_SECRET, serializeServiceToken(tokenAt(START, { accessToken })));
  };
  return { clock, store, source, replace };
}

test('patience waits until a second has passed since an ordinary read', async () => {
  const { clock, source, replace } = setUp();
  const first = await source.getToken();
  replace('header.payload.signature-two');
  clock.advance(300);
  const impatient = await source.getToken({ force: true });
  expect(impatient.accessToken).toBe(first.accessToken);
  const patient = await Promise.all([
    source.getToken({ force: true, patient: true }),
    source.getToken({ force: true, patient: true }),
  ]);
  expect(patient.map(({ accessToken }) => accessToken)).toEqual([
    'header.payload.signature-two',
    'header.payload.signature-two',
  ]);
  expect(clock.now() - START).toBe(1_000);
});

test('patience costs no wait after a forced read', async () => {
  const { clock, store, source } = setUp();
  await source.getToken();
  clock.advance(1_000);
  await source.getToken({ force: true });
  clock.advance(100);
  await source.getToken({ force: true, patient: true });
  expect([clock.now() - START, store.calls.read]).toEqual([1_100, 2]);
});

test('a demand is in seconds, and one that is not a demand is refused', async () => {
  const { store, source } = setUp();
  const { accessToken } = await source.getToken({ minTtlSeconds: 3_600 });
  expect(accessToken).toBe((await source.getToken()).accessToken);
  await expect(source.getToken({ minTtlSeconds: 30 * 86_400 })).rejects.toMatchObject({
    code: 'TOKEN_LIFE_TOO_SHORT',
  });
  const reads = store.calls.read;
  await expect(source.getToken({ minTtlMs: 3_600_000 } as object)).rejects.toMatchObject({
    code: 'CLIENT_MISCONFIGURED',
    kind: 'misconfigured',
    message: '"minTtlMs" is now "minTtlSeconds", in seconds.',
  });
  expect(store.calls.read).toBe(reads);
});
