import { beforeEach, describe, expect, test } from '@jest/globals';
import { createRuntime, runtimeOf, type BrokerRuntime } from '../../src/composition/runtime.js';
import { loadConfig } from '../../src/config/load-config.js';
import { createLogger } from '../../src/operations/log.js';
import type { TokenProvider } from '../../src/provider/token-provider.js';
import { ProviderError } from '../../src/provider/provider-errors.js';
import { SecretStoreError } from '../../src/secrets/secret-store.js';
import { serializeServiceToken } from '../../src/tokens/service-token.js';
import { HOUR, tokenOf } from '../rotation/rotation-fixture.js';
import { MemorySecretStore } from '../support/memory-store.js';
import { VirtualClock } from '../support/virtual-clock.js';

const down = (): Promise<never> =>
  Promise.reject(new ProviderError('PROVIDER_UNAVAILABLE', 'The provider is down.'));
const provider: TokenProvider = { mint: down, metadata: down };

let clock: VirtualClock;
let store: MemorySecretStore;
let runtime: BrokerRuntime;
let tokenSecret: string;
let peersSecret: string;

beforeEach(async () => {
  clock = new VirtualClock();
  store = new MemorySecretStore({ clock });
  const config = loadConfig({ env: { BROKER_ISSUER: 'https://provider.example' } });
  const [{ credentialsSecretId, secretId: tokenSecretId }] = config.tokens;
  const { peersSecretId } = config.secrets;
  tokenSecret = tokenSecretId;
  peersSecret = peersSecretId;
  store.seed(credentialsSecretId, '{"client_id":"broker","client_secret":"secret"}');
  store.seed(tokenSecretId);
  store.seed(peersSecretId);
  const log = createLogger({ level: 'silent' });
  runtime = await createRuntime(config, { store, clock, provider, log });
});

/** Somebody else rotates: another replica, or Secrets Manager. */
function mintElsewhere(lifetime = 25 * HOUR): void {
  store.edit(tokenSecret, serializeServiceToken(tokenOf('elsewhere', clock.now(), lifetime)));
}

const managed = { rotationEnabled: true, storeRotation: { schedule: 'rate(1 day)', window: '2h' } };

describe('what health says of rotation', () => {
  test('a failed rotation is reported until somebody has rotated', async () => {
    await runtimeOf(runtime).schedule.check();
    expect(runtimeOf(runtime).readiness.rotation()).toMatchObject({
      ok: false,
      code: 'PROVIDER_UNAVAILABLE',
    });
    clock.advance(60_000);
    mintElsewhere();
    await runtimeOf(runtime).readiness.tokenState();
    const rotation = runtimeOf(runtime).readiness.rotation();
    expect(rotation?.ok).toBe(true);
    expect(rotation).not.toHaveProperty('reason');
  });

  test('a token that is older than the failure does not hide it', async () => {
    mintElsewhere();
    clock.advance(16 * HOUR);
    await runtimeOf(runtime).readiness.tokenState();
    await runtimeOf(runtime).schedule.check();
    expect(runtimeOf(runtime).readiness.rotation()?.ok).toBe(false);
  });

  test("the broker's own next slot is shown only where the broker rotates", async () => {
    mintElsewhere();
    await runtimeOf(runtime).schedule.check();
    expect(runtimeOf(runtime).readiness.rotation()?.next).toBe('2026-11-23T03:00:00.000Z');
    store.configure(tokenSecret, managed);
    clock.advance(16 * HOUR);
    await runtimeOf(runtime).schedule.check();
    expect(runtimeOf(runtime).readiness.rotation()).toEqual({ ok: true });
  });
});

describe('what health says of coverage', () => {
  test.each([
    ['the broker rotates daily', {}, 25 * HOUR, true],
    ['Secrets Manager rotates daily, within two hours', managed, 25 * HOUR, false],
    ['the same, with a longer life', managed, 27 * HOUR, true],
    ['Secrets Manager does not say when', { rotationEnabled: true }, 25 * HOUR, undefined],
  ])('%s', async (_what, traits, lifetime, ok) => {
    mintElsewhere(lifetime);
    store.configure(tokenSecret, traits);
    await runtimeOf(runtime).schedule.check();
    await runtimeOf(runtime).readiness.tokenState();
    expect(runtimeOf(runtime).readiness.coverage()?.ok).toBe(ok);
  });
});

describe('what health says of the token while the store is bad', () => {
  const down = new SecretStoreError('STORE_UNAVAILABLE', 'Down.');
  const hanging = (): Promise<never> => new Promise<never>(() => undefined);

  test.each([
    ['fails', (): Promise<never> => Promise.reject(down), 'STORE_UNAVAILABLE'],
    ['hangs', hanging, 'READINESS_TIMEOUT'],
  ])('it can be served, although the store %s', async (_what, fault, code) => {
    mintElsewhere();
    await runtimeOf(runtime).readiness.tokenState();
    clock.advance(305_000);
    store.before = fault;
    const asked = clock.now();
    const state = await runtimeOf(runtime).readiness.tokenState();
    expect(state).toMatchObject({ ok: true, stale: true, code });
    // Probes usually wait a second.
    expect(clock.now() - asked).toBeLessThanOrEqual(500);
  });

  test('it cannot be served when it has expired', async () => {
    mintElsewhere();
    await runtimeOf(runtime).readiness.tokenState();
    clock.advance(26 * HOUR);
    store.before = () => Promise.reject(down);
    expect(await runtimeOf(runtime).readiness.tokenState()).toMatchObject({
      ok: false,
      code: 'STORE_UNAVAILABLE',
    });
  });
});

describe('what health says of peers', () => {
  const login = () => runtime.serving.peerDirectory.get().catch(() => undefined);

  test('nothing before anybody has tried to log in, and no read of its own', () => {
    expect(runtime.readiness.peers()).toBeUndefined();
    expect(store.calls.read).toBe(0);
  });

  test('a list that cannot be read is served for a day, and then not at all', async () => {
    await login();
    expect(runtime.readiness.peers()).toEqual({ ok: true });
    store.edit(peersSecret, 'not JSON');
    clock.advance(HOUR);
    await login();
    expect(runtime.readiness.peers()).toMatchObject({
      ok: false,
      stale: true,
      servedUntil: '2026-11-23T12:00:00.000Z',
      code: 'PEERS_INVALID',
      reason: expect.stringContaining('changes have no effect'),
    });
    clock.advance(23 * HOUR);
    await login();
    const expired = runtime.readiness.peers();
    expect(expired).toMatchObject({ ok: false, code: 'PEERS_INVALID' });
    expect(expired?.reason).toContain('Nobody can log in');
    expect(expired).not.toHaveProperty('stale');
    store.edit(peersSecret, '{"peers":{}}');
    clock.advance(1_000);
    await login();
    expect(runtime.readiness.peers()).toEqual({ ok: true });
  });

  test.each([
    ['the time to live', 300_000, true],
    ['more than that', 300_001, false],
    ['a day', 24 * HOUR, false],
    ['the time to live, with a clock set back', -300_000, true],
    ['more than that, with a clock set back', -300_001, false],
  ])('a failure that nobody has asked about since: reported after %s', async (_, span, isTold) => {
    await login();
    store.edit(peersSecret, 'not JSON');
    clock.advance(HOUR);
    await login();
    const told = runtime.readiness.peers();
    expect(told).toMatchObject({ ok: false, servedUntil: '2026-11-23T12:00:00.000Z' });
    clock.advance(span);
    // The list is served for a day, which is a span: by a clock that was set back it ends as much earlier.
    const end = new Date(Date.parse('2026-11-23T12:00:00.000Z') + Math.min(span, 0)).toISOString();
    expect(runtime.readiness.peers()).toEqual(isTold ? { ...told, servedUntil: end } : undefined);
  });

  test('nor is it reported when there never was a list', async () => {
    store.edit(peersSecret, 'not JSON');
    await login();
    expect(runtime.readiness.peers()?.reason).toContain('Nobody can log in');
    clock.advance(HOUR);
    expect(runtime.readiness.peers()).toBeUndefined();
  });
});

describe('slots that pass without a rotation', () => {
  const DAY = 24 * HOUR;
  const missed = async (): Promise<string[]> => {
    const text = await runtime.metrics.registry.metrics();
    return text.split('\n').filter((line) => line.includes('result="missed"'));
  };

  test.each<[string, () => void, string]>([
    ['the provider', () => undefined, 'PROVIDER_UNAVAILABLE'],
    [
      'the store',
      () => {
        store.before = () => {
          throw new SecretStoreError('STORE_UNAVAILABLE', 'The store is down.');
        };
      },
      'STORE_UNAVAILABLE',
    ],
  ])('are reported by health and metrics while %s is down', async (_what, breakIt, code) => {
    mintElsewhere(10 * DAY);
    await runtimeOf(runtime).schedule.check();
    expect(runtimeOf(runtime).readiness.rotation()).toEqual({
      ok: true,
      next: '2026-11-23T03:00:00.000Z',
    });
    breakIt();
    clock.set('2026-11-23T03:00:00Z');
    await runtimeOf(runtime).schedule.check();
    clock.set('2026-11-23T03:01:01Z');
    expect(runtimeOf(runtime).readiness.rotation()).toMatchObject({
      ok: false,
      code,
      dueSince: '2026-11-23T03:00:00.000Z',
      reason: expect.stringMatching(/slot 2026-11-23T03:00:00.000Z is late.*runbook/),
    });
    expect(await missed()).toEqual([]);
    for (const day of [24, 25]) {
      clock.set(`2026-11-${day}T03:00:00Z`);
      await runtimeOf(runtime).schedule.check();
    }
    clock.advance(1_000);
    await runtimeOf(runtime).schedule.check();
    expect(runtimeOf(runtime).readiness.rotation()).toMatchObject({
      ok: false,
      code,
      missedSlots: 2,
      dueSince: '2026-11-23T03:00:00.000Z',
      reason: expect.stringMatching(
        /^2 slots have passed .* down\. .*runbook\.md#rotations_total$/,
      ),
    });
    expect(await missed()).toEqual([
      expect.stringMatching(new RegExp(`trigger="schedule",result="missed",code="${code}"} 2$`)),
    ]);
    store.before = () => undefined;
    mintElsewhere();
    clock.advance(20_000);
    await runtimeOf(runtime).schedule.check();
    expect(runtimeOf(runtime).readiness.rotation()).toMatchObject({
      ok: true,
      next: '2026-11-26T03:00:00.000Z',
    });
  });

  test('are not missed when another replica has rotated in each', async () => {
    mintElsewhere(10 * DAY);
    await runtimeOf(runtime).schedule.check();
    for (const day of [23, 24, 25]) {
      clock.set(`2026-11-${day}T03:00:00Z`);
      mintElsewhere(10 * DAY);
      await runtimeOf(runtime).schedule.check();
    }
    expect(runtimeOf(runtime).readiness.rotation()?.ok).toBe(true);
    expect(await missed()).toEqual([]);
  });

  test('do not count where Secrets Manager rotates', async () => {
    mintElsewhere(10 * DAY);
    store.configure(tokenSecret, managed);
    await runtimeOf(runtime).schedule.check();
    clock.set('2026-11-25T04:00:00Z');
    await runtimeOf(runtime).schedule.check();
    expect(runtimeOf(runtime).readiness.rotation()?.ok).toBe(true);
    expect(await missed()).toEqual([]);
  });
});
