import { describe, expect, test } from '@jest/globals';
import { ProviderError } from '../../src/provider/provider-errors.js';
import { MOST_CLAIMS, slotKey } from '../../src/rotation/claim.js';
import { createSlots } from '../../src/rotation/coverage.js';
import { RotationSchedule } from '../../src/rotation/rotation-schedule.js';
import { CLAIM_LABEL, SecretStoreError, versionWithLabel } from '../../src/secrets/secret-store.js';
import { BrokerError } from '../../src/tokens/errors.js';
import { KeyFetchError, KeysUnavailableError } from '../../src/verification/verification-errors.js';
import { HOUR, rejected, rotationFixture, SECRET, tokenOf } from './rotation-fixture.js';

const SECOND = 1_000;
const SLOT = Date.parse('2026-11-23T03:00:00.000Z');
const slot = { trigger: 'schedule', key: slotKey(SLOT), slotStart: SLOT } as const;

/** How a mint fails while the provider is at fault: with what, and how long that takes. */
interface Fault {
  readonly error: BrokerError;
  /** Milliseconds that an attempt takes with its retries. */
  readonly takes: number;
  /** What a connection that hangs takes longer than the fault, in milliseconds. */
  readonly hangs?: number;
  /** `verify`: a token is minted, and cannot be verified. Default: `mint`. */
  readonly at?: 'mint' | 'verify';
}

const unavailable = (options = {}): BrokerError =>
  new ProviderError('PROVIDER_UNAVAILABLE', 'down', options);
/** What several failures of the connection come to: they are simulated once. */
const broken: Fault = { error: unavailable(), takes: 1_500 };
const keysDown = new KeysUnavailableError('down', {
  cause: new KeyFetchError('KEYS_UNREACHABLE', 'down'),
  retryAfterSeconds: 1,
});

const FAULTS: Readonly<Record<string, Fault>> = {
  'connection refused': broken,
  'no such host': broken,
  'no trusted TLS': { error: new ProviderError('PROVIDER_TLS_FAILED', 'tls'), takes: 50 },
  'no answer': {
    error: new ProviderError('PROVIDER_TIMEOUT', 'slow'),
    takes: 16_500,
    hangs: 5_000,
  },
  'connection reset': broken,
  'status 500': { error: unavailable(), takes: 1_600 },
  'status 503 with Retry-After': { error: unavailable({ retryAfterSeconds: 7 }), takes: 14_500 },
  'status 429 with Retry-After': {
    error: new ProviderError('PROVIDER_THROTTLED', 'slow down', { retryAfterSeconds: 7 }),
    takes: 14_500,
  },
  garbage: { error: new ProviderError('PROVIDER_RESPONSE_INVALID', 'garbage'), takes: 100 },
  'truncated body': broken,
  'a web page': { error: new ProviderError('PROVIDER_NOT_JSON', 'html'), takes: 100 },
  'another error page': { error: new ProviderError('PROVIDER_REDIRECTED', '302'), takes: 100 },
  'a token that receivers refuse': { error: rejected, takes: 100, at: 'verify' },
  'keys down': { error: keysDown, takes: 5_000, at: 'verify' },
};

/** Replicas whose provider is at fault from the start of the slot for so many milliseconds, until the slot is rotated. */
async function simulate(fault: Fault, lasts: number, count: number, random: number) {
  const fixture = rotationFixture();
  const { clock, provider, store, seedCurrent } = fixture;
  seedCurrent('old', SLOT - 10 * HOUR, 100 * HOUR);
  clock.set(SLOT);
  const ends = SLOT + lasts;
  let asks = 0;
  const slotState = { isRotated: false };
  store.after = ({ method }) => {
    if (method === 'promote') slotState.isRotated = true;
  };
  const failing = async (): Promise<void> => {
    if (clock.now() >= ends) return;
    const until = clock.now() + fault.takes;
    await clock.sleep(Math.min(fault.takes, Math.max(0, ends - clock.now()) + (fault.hangs ?? 0)));
    // A later try within the same attempt meets a provider that works again.
    if (until < ends || (fault.hangs ?? 0) > 0 || fault.at === 'verify') throw fault.error;
  };
  const replica = async (): Promise<void> => {
    const schedule = new RotationSchedule({
      rotator: fixture.rotator({
        mint: async () => {
          asks += 1;
          if (fault.at !== 'verify') await failing();
          return provider.mint();
        },
        verify: async (token) => {
          if (fault.at === 'verify') await failing();
          return provider.verify(token);
        },
      }),
      slots: createSlots('0 3 * * *'),
      minimumRemaining: HOUR,
      clock,
      random: () => random,
    });
    while (!slotState.isRotated) {
      await schedule.check();
      await clock.sleep(SECOND);
    }
  };
  await Promise.all(Array.from({ length: count }, replica));
  const recovery = clock.now() - ends;
  const versions = (await store.describe(SECRET)).labels.size;
  return {
    recovery,
    versions,
    asks,
    mints: provider.mints,
    claims: store.calls.putClaim,
    served: await fixture.served(),
  };
}

const simulations = new Map<string, ReturnType<typeof simulate>>();

/** The simulation's outcome. Each is run once, and without stacks: it makes thousands of errors that nobody reads. */
async function outage(fault: Fault, lasts: number, count: number, random: number) {
  const key = [Object.values(FAULTS).indexOf(fault), lasts, count, random].join();
  const limit = Error.stackTraceLimit;
  Error.stackTraceLimit = 0;
  try {
    const outcome = simulations.get(key) ?? simulate(fault, lasts, count, random);
    simulations.set(key, outcome);
    return await outcome;
  } finally {
    Error.stackTraceLimit = limit;
  }
}

describe.each(Object.entries(FAULTS))('after %s', (name, fault) => {
  const isWrongToken = fault.at === 'verify' && fault.error.kind === 'rejected';
  test.each([
    [20, 1],
    [20, 3],
    [70, 1],
    [70, 3],
    ...(isWrongToken ? [] : [[600, 1] as const, [600, 3] as const]),
  ])('of %d s the slot is rotated within 20 s, by %d replicas', async (seconds, count) => {
    for (const random of [0, 0.5, 0.999]) {
      const outcome = await outage(fault, seconds * SECOND, count, random);
      const { recovery, mints, served } = outcome;
      expect([name, recovery <= 20 * SECOND ? 'in time' : recovery]).toEqual([name, 'in time']);
      expect(served).toMatch(/^token-/);
      // One claim after the other asks, and a token that can be kept is minted once.
      if (!isWrongToken && seconds < 100) expect(mints).toBe(1);
      if (isWrongToken) expect(mints).toBeLessThanOrEqual(9);
      expect(outcome.asks).toBeLessThanOrEqual((2 + seconds / 5) * count);
      expect(outcome.claims).toBeLessThanOrEqual(200 * count);
      expect(outcome.versions).toBeLessThan(10);
    }
  });
});

describe('a claim', () => {
  const down = unavailable();

  test('is released when its mint has failed: another replica claims the next turn', async () => {
    const { rotator, provider, store, clock, seedCurrent } = rotationFixture();
    seedCurrent('old', clock.now() - 24 * HOUR);
    const one = rotator({ mint: () => Promise.reject(down) });
    await expect(one.rotate(slot)).rejects.toBe(down);
    expect(versionWithLabel(await store.describe(SECRET), CLAIM_LABEL)).toBeUndefined();
    const before = clock.now();
    expect(await rotator().rotate(slot)).toMatchObject({ result: 'rotated' });
    expect(clock.now() - before).toBeLessThan(7 * SECOND);
    expect(provider.mints).toBe(1);
  });

  test('is known again by the process that made it, even if it could not be released', async () => {
    const { rotator, provider, store, clock, seedCurrent } = rotationFixture();
    seedCurrent('old', clock.now() - 24 * HOUR);
    const kept: unknown[] = [];
    let isDown = true;
    const one = rotator({
      mint: () => (isDown ? Promise.reject(down) : provider.mint()),
      observer: { claimKept: (error) => kept.push(error) },
    });
    store.before = ({ method }) => {
      if (method === 'releaseClaim') throw new SecretStoreError('STORE_UNAVAILABLE', 'down');
    };
    await expect(one.rotate(slot)).rejects.toBe(down);
    expect(kept).toEqual([expect.objectContaining({ code: 'STORE_UNAVAILABLE' })]);
    isDown = false;
    const before = clock.now();
    expect(await one.rotate(slot)).toMatchObject({ result: 'rotated' });
    expect(clock.now() - before).toBeLessThan(2 * SECOND);
  });

  test('whose answer was lost is known again too', async () => {
    const { rotator, store, clock, seedCurrent } = rotationFixture();
    seedCurrent('old', clock.now() - 24 * HOUR);
    const one = rotator();
    store.after = ({ method }) => {
      if (method !== 'putClaim') return;
      store.after = () => undefined;
      throw new SecretStoreError('STORE_TIMEOUT', 'lost');
    };
    await expect(one.rotate(slot)).rejects.toMatchObject({ code: 'STORE_TIMEOUT' });
    const before = clock.now();
    await one.rotate(slot);
    expect(clock.now() - before).toBeLessThan(2 * SECOND);
  });

  test('of another, made meanwhile, is not released with ours', async () => {
    const { rotator, provider, clock, seedCurrent } = rotationFixture();
    seedCurrent('old', clock.now() - 24 * HOUR);
    // Ours stands still past its lease, another takes over, and ours fails while the other mints.
    const one = rotator({ mint: () => clock.sleep(60 * SECOND).then(() => Promise.reject(down)) });
    const other = rotator({
      claimLease: 45 * SECOND,
      mint: () => clock.sleep(40 * SECOND).then(provider.mint),
    });
    const third = rotator();
    const failed = expect(one.rotate(slot)).rejects.toBe(down);
    await clock.sleep(SECOND);
    const took = other.rotate(slot);
    await failed;
    const [adopted, minted] = [await third.rotate(slot), await took];
    expect(minted.versionId).toBe(adopted.versionId);
    expect(provider.mints).toBe(1);
  });

  test('for another version takes the label, and the first mint is waited for all the same', async () => {
    const { rotator, provider, store, clock, seedCurrent } = rotationFixture();
    seedCurrent('old', clock.now() - 24 * HOUR);
    const one = rotator({ mint: () => clock.sleep(20 * SECOND).then(provider.mint) });
    const minting = one.rotate(slot);
    await clock.sleep(SECOND);
    await store.putClaim(SECRET, 'b1d0b3a2-0000-4000-8000-000000000001', '{"rotation_claim":"x"}');
    const waiting = rotator().rotate(slot);
    expect((await waiting).versionId).toBe((await minting).versionId);
    expect(provider.mints).toBe(1);
  });

  test('each, in an outage that lasts, is one version, and there are at most twenty', async () => {
    const { rotator, provider, store, clock, seedCurrent, served } = rotationFixture();
    seedCurrent('old', clock.now() - 24 * HOUR);
    provider.mintFailure = down;
    const [one, other] = [rotator(), rotator()];
    for (let attempt = 0; attempt < 200; attempt += 1) {
      await expect(one.rotate(slot)).rejects.toBe(down);
      await clock.sleep(8 * SECOND);
    }
    let claims = 0;
    store.before = ({ method }) => {
      if (method === 'putClaim') claims += 1;
    };
    // The owner of the last claim goes on under it; another gives it time, and mints without one.
    const before = clock.now();
    await expect(one.rotate(slot)).rejects.toBe(down);
    expect(clock.now() - before).toBeLessThan(SECOND);
    await expect(other.rotate(slot)).rejects.toBe(down);
    expect(clock.now() - before).toBeGreaterThan(44 * SECOND);
    expect(claims).toBeLessThanOrEqual(4);
    expect(provider.mints).toBe(202);
    provider.mintFailure = undefined;
    const read = store.calls.read;
    expect(await one.rotate(slot)).toMatchObject({ result: 'rotated' });
    expect(store.calls.read - read).toBeLessThan(40);
    expect(await served()).toBe('token-203');
    expect(MOST_CLAIMS).toBe(20);
  });
});

describe('a token that was minted and could not be kept', () => {
  test.each([
    ['the keys are down before the first token', true, 'verify'],
    ['the store takes no pending version', false, 'putPending'],
  ])('is not minted again: %s', async (_name, isEmpty, at) => {
    const { rotator, provider, store, clock, seedCurrent, served } = rotationFixture({
      firstVersionBecomesCurrent: false,
    });
    if (!isEmpty) seedCurrent('old', clock.now() - 24 * HOUR);
    const one = rotator();
    if (at === 'verify') provider.verifyFailure = keysDown;
    store.before = ({ method }) => {
      if (method === at) throw new SecretStoreError('STORE_UNAVAILABLE', 'down');
    };
    for (let attempt = 0; attempt < 5; attempt += 1) {
      await expect(one.rotate(slot)).rejects.toMatchObject({ kind: 'retry' });
      await clock.sleep(10 * SECOND);
    }
    provider.verifyFailure = undefined;
    store.before = () => undefined;
    await one.rotate(slot);
    expect(await served()).toBe('token-1');
    expect(provider.mints).toBe(1);
  });

  test.each([
    ['it is rejected', (one: { verifyFailure: unknown }) => (one.verifyFailure = rejected), 0],
    ['it is old', () => undefined, 6 * 60 * SECOND],
  ])('is dropped when %s', async (_name, meanwhile, pause) => {
    const { rotator, provider, clock, served } = rotationFixture({
      firstVersionBecomesCurrent: false,
    });
    const one = rotator();
    provider.verifyFailure = keysDown;
    await expect(one.rotate(slot)).rejects.toBe(keysDown);
    await clock.sleep(pause);
    provider.verifyFailure = undefined;
    meanwhile(provider);
    await one.rotate(slot).catch(() => undefined);
    provider.verifyFailure = undefined;
    await one.rotate(slot);
    expect(await served()).toBe('token-2');
  });
});

describe('a rotator that is stopped', () => {
  test('waits no longer for another replica, and does not mint', async () => {
    const { rotator, provider, clock, seedCurrent } = rotationFixture();
    seedCurrent('old', clock.now() - 24 * HOUR);
    void rotator({ mint: () => new Promise(() => undefined) }).rotate(slot);
    await clock.sleep(SECOND);
    const waiting = rotator();
    const ended = expect(waiting.rotate(slot)).rejects.toMatchObject({ code: 'ROTATION_STOPPED' });
    await clock.sleep(5 * SECOND);
    const before = clock.now();
    await waiting.stop();
    await ended;
    expect(clock.now() - before).toBe(0);
    expect(provider.mints).toBe(0);
    await expect(waiting.rotate(slot)).rejects.toMatchObject({ code: 'ROTATION_STOPPED' });
    await expect(waiting.rotate({ trigger: 'http' })).rejects.toMatchObject({
      code: 'ROTATION_STOPPED',
    });
  });

  test('finishes a mint that runs, when that takes no longer than four seconds', async () => {
    const { rotator, provider, clock, seedCurrent, served } = rotationFixture();
    seedCurrent('old', clock.now() - 24 * HOUR);
    const one = rotator({ mint: () => clock.sleep(3 * SECOND).then(provider.mint) });
    const rotation = one.rotate(slot);
    await clock.sleep(SECOND);
    await one.stop();
    expect(await rotation).toMatchObject({ result: 'rotated' });
    expect(await served()).toBe('token-1');
  });

  test('abandons a mint that hangs, and releases its claim', async () => {
    const { rotator, clock, store, seedCurrent } = rotationFixture();
    seedCurrent('old', clock.now() - 24 * HOUR);
    const one = rotator({
      mint: async (signal) => {
        await clock.sleep(HOUR, signal);
        return tokenOf('late', clock.now());
      },
    });
    const ended = expect(one.rotate(slot)).rejects.toMatchObject({ code: 'ROTATION_STOPPED' });
    await clock.sleep(SECOND);
    const before = clock.now();
    await one.stop();
    await ended;
    expect(clock.now() - before).toBeLessThanOrEqual(4 * SECOND);
    expect(versionWithLabel(await store.describe(SECRET), CLAIM_LABEL)).toBeUndefined();
  });

  test('is done within six seconds when the store hangs', async () => {
    const { rotator, clock, store, seedCurrent } = rotationFixture();
    seedCurrent('old', clock.now() - 24 * HOUR);
    store.before = () => clock.sleep(HOUR);
    const one = rotator();
    one.rotate(slot).catch(() => undefined);
    await clock.sleep(SECOND);
    const before = clock.now();
    await one.stop();
    expect(clock.now() - before).toBe(6 * SECOND);
  });

  test('takes no time when nothing runs', async () => {
    const { rotator, clock } = rotationFixture();
    const before = clock.now();
    await rotator().stop();
    expect(clock.now()).toBe(before);
  });
});
