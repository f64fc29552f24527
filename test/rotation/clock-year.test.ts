import { describe, expect, test } from '@jest/globals';
import { createSlots } from '../../src/rotation/coverage.js';
import { RotationSchedule } from '../../src/rotation/rotation-schedule.js';
import { SecretStoreError } from '../../src/secrets/secret-store.js';
import { createTokenCache } from '../../src/serving/token-cache.js';
import { BrokerError } from '../../src/tokens/errors.js';
import { HOUR, rotationFixture, SECRET } from './rotation-fixture.js';

const MINUTE = 60_000;
const DAY = 24 * HOUR;
const START = Date.parse('2027-12-30T00:00:00Z');

/** Numbers from 0 up to 1, the same for the same seed (Park and Miller). */
function drawn(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state * 48_271) % 2_147_483_647;
    return state / 2_147_483_647;
  };
}

interface Year {
  readonly zone: string;
  readonly cron: string;
  readonly seed: number;
  readonly days?: number;
  readonly stepMinutes?: number;
  /** What the wall clock is set by, before a step: milliseconds. Default: never. */
  readonly jump?: (step: number) => number;
}

/**
 * Two replicas of the schedule, the rotator and the cache over one store and one provider, by a clock that is moved. The
 * provider and the store fail for a while now and then, by a seed: each for up to 50 minutes, some twice a week.
 */
async function live({ zone, cron, seed, days = 368, stepMinutes = 20, jump }: Year) {
  const { clock, store, provider, rotator } = rotationFixture();
  const random = drawn(seed);
  clock.set(START);
  provider.lifetime = 27 * HOUR;
  let storeFailsUntil = 0;
  let providerFailsUntil = 0;
  store.before = () => {
    if (clock.now() < storeFailsUntil) throw new SecretStoreError('STORE_UNAVAILABLE', 'down');
  };
  const slots = createSlots(cron, zone);
  const replicas = [0, 1].map(() => ({
    schedule: new RotationSchedule({
      rotator: rotator(),
      slots,
      minimumRemaining: HOUR,
      clock,
      random,
    }),
    cache: createTokenCache({
      store,
      secretId: SECRET,
      clock,
      random,
      ttlMs: 5 * MINUTE,
      skewMs: MINUTE,
    }),
  }));
  const mintedAt: number[] = [];
  let secondsWithout = 0;
  const steps = (days * DAY) / (stepMinutes * MINUTE);
  for (let step = 0; step < steps; step += 1) {
    const now = clock.now();
    // Not while the first token is minted.
    if (step > 3 && random() < 1 / 250) storeFailsUntil = now + random() * 50 * MINUTE;
    if (step > 3 && random() < 1 / 250) providerFailsUntil = now + random() * 50 * MINUTE;
    provider.mintFailure =
      now < providerFailsUntil
        ? new BrokerError('PROVIDER_UNAVAILABLE', 'retry', 'down')
        : undefined;
    const before = provider.mints;
    await Promise.all(replicas.map(({ schedule }) => schedule.check()));
    if (provider.mints > before && provider.mintFailure === undefined) mintedAt.push(clock.now());
    for (const { cache } of replicas) {
      const served = await cache.get().catch(() => undefined);
      const hasLife = served !== undefined && served.value.token.expiresAt > clock.now() + MINUTE;
      if (!hasLife) secondsWithout += stepMinutes * 60;
    }
    clock.advance(stepMinutes * MINUTE + (jump?.(step) ?? 0));
  }
  const calls = Object.values(store.calls).reduce((sum, count) => sum + count, 0);
  return { mintedAt, secondsWithout, calls, slots, end: clock.now() };
}

/** How many slots begin within the simulation, and the one that it starts in. */
function slotsIn(cron: string, zone: string, end: number): number {
  const slots = createSlots(cron, zone);
  let count = 1;
  for (let at = slots.nextAfter(START); at < end; at = slots.nextAfter(at)) count += 1;
  return count;
}

/** The long form, `CLOCK_ZONES=all`, takes all of them, and smaller steps. */
const ZONES: readonly (readonly [zone: string, cron: string])[] = [
  ['Europe/Berlin', '30 2 * * *'],
  ['Australia/Lord_Howe', '45 1 * * *'],
  ['UTC', '0 3 * * *'],
  ['America/Santiago', '30 23 * * *'],
  ['Africa/Cairo', '0 0 * * *'],
  ['Africa/Casablanca', '30 2 * * *'],
  ['America/New_York', '30 1 * * *'],
  ['Asia/Kolkata', '0 3 * * *'],
  ['Pacific/Chatham', '45 2 * * *'],
];
const isLong = process.env['CLOCK_ZONES'] === 'all';
const chosen = isLong ? ZONES : ZONES.slice(1, 2);

describe('a simulated leap year, with faults', () => {
  test.each(chosen)('%s, "%s": a rotation a day, and never without a token', async (zone, cron) => {
    const year = await live({ zone, cron, seed: 20_261_129, stepMinutes: isLong ? 10 : 60 });
    expect(year.secondsWithout).toBe(0);
    // The first token, and one in each slot: none left out, none twice.
    const slotsOf = year.mintedAt.map((at) => year.slots.startOf(at));
    expect(new Set(slotsOf).size).toBe(slotsOf.length);
    expect(year.mintedAt).toHaveLength(slotsIn(cron, zone, year.end));
    // Two caches that are asked so rarely read each time; what the schedule adds is a few calls a day.
    const readsOfDay = isLong ? 144 : 24;
    expect(year.calls).toBeLessThan(2 * 368 * (readsOfDay + 30));
  });
});

describe('a wall clock that is set', () => {
  const month = { zone: 'Europe/Berlin', cron: '0 3 * * *', seed: 7, days: 3, stepMinutes: 10 };
  const once = (at: number, by: number) => (step: number) => (step === at ? by : 0);

  test.each([
    ['forward by a leap second', once(100, 1_000)],
    ['back by a leap second', once(100, -1_000)],
    ['forward by 5 minutes', once(100, 5 * MINUTE)],
    ['back by 5 minutes', once(100, -5 * MINUTE)],
    ['forward by an hour', once(100, HOUR)],
    ['back by an hour', once(100, -HOUR)],
    [
      'back and forth by minutes, all the time',
      (step: number) => (step % 2 === 0 ? 4 : -4) * MINUTE,
    ],
  ])('%s: no slot is rotated twice, and nobody is without a token', async (_, jump) => {
    const { mintedAt, secondsWithout, slots } = await live({ ...month, jump });
    expect(secondsWithout).toBe(0);
    const slotsOf = mintedAt.map((at) => slots.startOf(at));
    expect(new Set(slotsOf).size).toBe(slotsOf.length);
  });

  test('forward by a day, as after a suspended night: the slot that was missed is rotated at once', async () => {
    const { mintedAt, secondsWithout, slots } = await live({ ...month, jump: once(100, DAY) });
    // A cache that is asked at the same moment as the schedule may have read before it.
    expect(secondsWithout).toBeLessThanOrEqual(2 * 600);
    const jumped = START + 101 * 10 * MINUTE + DAY;
    expect(mintedAt.filter((at) => slots.startOf(at) === slots.startOf(jumped))).toHaveLength(1);
  });

  test('to 1970 and back an hour later: one further token at most, and the old one is served', async () => {
    const back = START + 101 * 10 * MINUTE;
    const jump = (step: number): number => (step === 100 ? -back : step === 106 ? back : 0);
    const { mintedAt, secondsWithout } = await live({ ...month, jump });
    expect(secondsWithout).toBe(0);
    const [first = 0] = mintedAt;
    expect(first).toBeGreaterThanOrEqual(START);
    expect(mintedAt.filter((at) => at < START).length).toBeLessThanOrEqual(1);
    expect(mintedAt.length).toBeLessThanOrEqual(6);
  });
});

describe('a process that stands still in the middle of a rotation', () => {
  test.each([
    ['before the token is staged', 'putPending'],
    ['before it is promoted', 'promote'],
    ['before the claim', 'putClaim'],
  ] as const)('%s, for six hours: one token, which every replica serves', async (_, method) => {
    const { clock, store, provider, rotator, served } = rotationFixture();
    provider.lifetime = 27 * HOUR;
    const schedule = (): RotationSchedule =>
      new RotationSchedule({
        rotator: rotator(),
        slots: createSlots('0 3 * * *', 'Europe/Berlin'),
        minimumRemaining: HOUR,
        clock,
      });
    const [paused, other] = [schedule(), schedule()];
    await Promise.all([paused.check(), other.check()]);
    clock.set('2026-11-23T02:00:00Z');
    let isPaused = false;
    store.before = async (call) => {
      if (call.method !== method || isPaused) return;
      isPaused = true;
      // The other one goes on meanwhile, and rotates what is due once the claim is old.
      for (let minutes = 0; minutes < 6 * 60; minutes += 10) {
        clock.advance(10 * MINUTE);
        await other.check();
      }
    };
    await paused.check();
    expect(isPaused).toBe(true);
    store.before = () => undefined;
    clock.advance(MINUTE);
    await Promise.all([paused.check(), other.check()]);
    const token = await served();
    expect(provider.verified).toContain(token);
    expect(provider.mints).toBeLessThanOrEqual(3);
    clock.advance(10 * MINUTE);
    await Promise.all([paused.check(), other.check()]);
    expect(await served()).toBe(token);
  });
});

describe('clocks that differ', () => {
  test.each([-600, -300, -60, 0, 60, 300, 600])(
    'replicas whose clocks are %d s apart: a token a day, and no slot twice',
    async (seconds) => {
      const { clock, store, provider, rotator } = rotationFixture();
      clock.set('2026-11-20T00:00:00Z');
      provider.lifetime = 27 * HOUR;
      const skewed = {
        now: () => clock.now() + seconds * 1_000,
        sleep: clock.sleep.bind(clock),
      };
      const slots = createSlots('0 3 * * *');
      const replicas = [clock, skewed].map(
        (own) =>
          new RotationSchedule({
            rotator: rotator({ clock: own }),
            slots: createSlots('0 3 * * *'),
            minimumRemaining: HOUR,
            clock: own,
          }),
      );
      const mintedAt: number[] = [];
      for (let step = 0; step < 4 * 24 * 12; step += 1) {
        const before = provider.mints;
        for (const replica of replicas) await replica.check();
        mintedAt.push(...Array.from({ length: provider.mints - before }, () => clock.now()));
        clock.advance(5 * MINUTE);
      }
      // A replica that is ahead begins a slot that much early: the slot is the nearest one.
      const slotsOf = mintedAt.map((at) => slots.startOf(at + 15 * MINUTE));
      expect(slotsOf).toHaveLength(5);
      expect(new Set(slotsOf).size).toBe(5);
      const calls = Object.values(store.calls).reduce((sum, count) => sum + count, 0);
      expect(calls).toBeLessThan(5 * 2 * 30);
    },
  );
});
