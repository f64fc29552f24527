import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { createSlots } from '../../src/rotation/coverage.js';
import { decideDue, earlyMargin, lasts, runsOut, slotToRotate } from '../../src/rotation/due.js';
import { RotationSchedule } from '../../src/rotation/rotation-schedule.js';
import { BrokerError } from '../../src/tokens/errors.js';
import type { ServiceToken } from '../../src/tokens/service-token.js';
import { fc } from '../support/properties.js';
import { HOUR, keysDown, rejected, rotationFixture, tokenOf } from './rotation-fixture.js';

// Secrets Manager keeps every version for a day, and refuses more at some hundred: what a fault may cost of them.

const SECOND = 1_000;
const MINUTE = 60_000;
const DAY = 24 * HOUR;
const NOW = Date.parse('2026-11-22T12:00:00Z');
const QUOTA = 100;
// Days of failures make thousands of errors whose stacks nobody reads.
const { stackTraceLimit } = Error;
beforeAll(() => {
  Error.stackTraceLimit = 0;
});
afterAll(() => {
  Error.stackTraceLimit = stackTraceLimit;
});

const down = new BrokerError('PROVIDER_UNAVAILABLE', 'retry', 'down');

interface Run {
  readonly cron: string;
  readonly minimum: number;
  readonly replicas?: number;
  readonly fixture?: ReturnType<typeof rotationFixture>;
  readonly mint?: (() => Promise<ServiceToken>) | undefined;
}

/** Replicas of a schedule over one secret; and how many versions have been written. */
function brokers({ cron, minimum, replicas = 1, fixture = rotationFixture(), mint }: Run) {
  const { clock, store, rotator } = fixture;
  const rests: number[] = [];
  const schedules = Array.from({ length: replicas }, () => {
    return new RotationSchedule({
      rotator: rotator({ minimumLife: minimum, ...(mint && { mint }) }),
      slots: createSlots(cron),
      minimumRemaining: minimum,
      clock,
      random: () => 0.5,
      observer: { resting: (_reason, until) => rests.push(until) },
    });
  });
  /** Checks as the service does, in longer steps. */
  const live = async (milliseconds: number, step = 5 * SECOND): Promise<void> => {
    for (const end = clock.now() + milliseconds; clock.now() < end; clock.advance(step)) {
      await Promise.all(schedules.map((schedule) => schedule.check()));
    }
  };
  let written = 0;
  store.after = ({ method }) => {
    if (method === 'putClaim' || method === 'putPending') written += 1;
  };
  return { ...fixture, live, versions: () => written, rests };
}

describe('when a token is rotated early', () => {
  test.each([
    ['a day', 25 * HOUR, HOUR],
    ['three times what must be left', 3 * HOUR, HOUR],
    ['what must be left and half as much', 1.5 * HOUR, (5 * HOUR) / 6],
    ['hardly more than what must be left', HOUR + 3_000, HOUR / 3 + 3_000],
    ['less', HOUR / 2, HOUR / 6],
  ])('40 minutes old at least, or two thirds of its life: of %s', (_what, life, margin) => {
    const token = { generatedAt: NOW, expiresAt: NOW + life };
    expect(earlyMargin(token, HOUR, NOW)).toBe(margin);
    const at = NOW + life - margin;
    expect([at, at + 1].map((now) => runsOut(token, HOUR, now))).toEqual([false, true]);
    // A rotation ends with no token that the provider had to mint with a longer life.
    const isLong = life > HOUR;
    expect([at, at + 1].map((now) => lasts(token, HOUR, now))).toEqual([isLong, false]);
  });

  test('by what must be left, however much of its life that is', () => {
    expect(earlyMargin({ generatedAt: NOW, expiresAt: NOW + 25 * HOUR }, DAY, NOW)).toBe(DAY);
  });

  test.each([
    ['minted as it expires', NOW, NOW],
    ['minted after it has expired', NOW, NOW - HOUR],
    ['minted by a clock that is ahead', NOW + 24 * HOUR, NOW + 24.1 * HOUR],
    ['without a date', Number.NaN, NOW + HOUR],
  ])('by what must be left, where its life is not known: %s', (_what, generatedAt, expiresAt) => {
    expect(earlyMargin({ generatedAt, expiresAt }, HOUR, NOW)).toBe(HOUR);
  });

  test('no token that is minted is due before 40 minutes, or two thirds of its life', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 2 * HOUR }),
        fc.integer({ min: 1, max: 30 * HOUR }),
        fc.double({ min: 0, max: 1, noNaN: true }),
        (minimum, more, share) => {
          const life = minimum + more;
          const token = { versionId: 'v', generatedAt: NOW, expiresAt: NOW + life };
          const now = NOW + Math.floor(share * life);
          const due = decideDue({
            now,
            slots: { startOf: () => NOW, nextAfter: () => NOW + DAY * 10 },
            current: token,
            minimumRemaining: minimum,
          });
          const age = Math.min((2 / 3) * HOUR, (life * 2) / 3);
          if (due.kind === 'early') expect(now - NOW).toBeGreaterThan(Math.floor(age));
          else expect(token.expiresAt - now).toBeGreaterThan(Math.min(minimum, life - age) - 1);
        },
      ),
    );
  });

  test.each([
    ['5 s longer than what must be left', () => HOUR + 5 * SECOND, 38],
    // One in ten lives too short, and is minted in vain.
    ['one to one and a half hours', (serial: number) => HOUR * (1 + ((serial * 7) % 10) / 20), 42],
  ])('a provider whose tokens live %s is not asked all the time', async (_what, life, most) => {
    const fixture = rotationFixture();
    const { clock, provider } = fixture;
    const mint = async (): Promise<ServiceToken> => {
      provider.mints += 1;
      return tokenOf(`token-${provider.mints}`, clock.now(), life(provider.mints));
    };
    const { live, versions } = brokers({ cron: '0 3 * * *', minimum: HOUR, fixture, mint });
    await live(DAY);
    expect(provider.mints).toBeGreaterThan(20);
    expect(provider.mints).toBeLessThanOrEqual(most);
    expect(versions()).toBeLessThan(0.8 * QUOTA);
  });

  test('nor is it while a token that is staged cannot be verified', async () => {
    const fixture = rotationFixture();
    const { clock, provider, seedCurrent } = fixture;
    seedCurrent('old', NOW - DAY, 3 * DAY);
    provider.lifetime = HOUR + 5 * SECOND;
    provider.verifyFailure = keysDown;
    const { live, served } = brokers({ cron: '0 3 * * *', minimum: HOUR, fixture });
    await live(30 * MINUTE);
    provider.verifyFailure = undefined;
    await live(20 * SECOND);
    expect([provider.mints, await served()]).toEqual([1, 'token-1']);
    expect(clock.now() - NOW).toBeLessThan(31 * MINUTE);
  });
});

describe('the slot that is rotated for', () => {
  const at = (instant: string): number => Date.parse(`2026-11-${instant}:00Z`);
  const minted = (instant: string) => ({
    versionId: 'v',
    generatedAt: at(instant),
    expiresAt: at(instant) + DAY,
  });

  test.each([
    ['0 3 * * *', '21T03:00', '22T12:00', '22T03:00'],
    ['0 3 * * *', '18T15:00', '22T12:00', '19T03:00'],
    ['*/30 * * * *', '22T11:31', '22T12:01', '22T12:00'],
    ['*/30 * * * *', '22T02:31', '22T12:01', '22T03:00'],
    ['*/30 * * * *', undefined, '22T12:01', '22T00:00'],
    ['0 3,15 * * *', undefined, '22T16:00', '22T03:00'],
    ['0 3 * * *', undefined, '22T12:00', '22T03:00'],
    ['0 3 * * *', undefined, '22T01:00', '21T03:00'],
    ['0 3 * * 1', undefined, '22T12:00', '16T03:00'],
  ])('"%s", for a token of %s, at %s: that of %s', (cron, mintedAt, now, start) => {
    const slots = createSlots(cron);
    const current = mintedAt === undefined ? undefined : minted(mintedAt);
    expect(slotToRotate(slots, current, slots.startOf(at(now)))).toBe(at(start));
  });

  test('stays the same while the token does, and is never after the current one', () => {
    fc.assert(
      fc.property(
        fc.constantFrom('0 3 * * *', '*/30 * * * *', '*/7 2-5 * * *', '15 4 * * 1'),
        fc.integer({ min: 0, max: 20 * DAY }),
        fc.integer({ min: 0, max: 10 * DAY }),
        (cron, age, later) => {
          const slots = createSlots(cron);
          const current = { versionId: 'v', generatedAt: NOW - age, expiresAt: NOW };
          const slotStart = slots.startOf(NOW);
          const slot = slotToRotate(slots, current, slotStart);
          expect(slotToRotate(slots, current, slots.startOf(NOW + later))).toBe(slot);
          if (current.generatedAt < slotStart) expect(slot).toBeLessThanOrEqual(slotStart);
        },
      ),
    );
  });
});

describe.each([
  ['*/30 * * * *', 1],
  ['*/5 * * * *', 3],
  ['0 3 * * *', 3],
])('a day of faults, with slots by "%s" and %d replicas', (cron, replicas) => {
  const withToken = () => {
    const fixture = rotationFixture();
    fixture.seedCurrent('old', NOW - DAY, 3 * DAY);
    return fixture;
  };

  test('an outage of the provider costs few versions, and ends within 20 s of it', async () => {
    const fixture = withToken();
    const { live, versions, provider, served } = brokers({
      cron,
      minimum: 15 * MINUTE,
      replicas,
      fixture,
    });
    provider.mintFailure = down;
    await live(DAY, MINUTE);
    expect(versions()).toBeLessThanOrEqual(20);
    provider.mintFailure = undefined;
    await live(20 * SECOND);
    expect(await served()).toMatch(/^token-/);
  });

  test('so does one before there is a token: two of its days at most fall into one', async () => {
    const { live, versions, provider, served } = brokers({ cron, minimum: 15 * MINUTE, replicas });
    provider.mintFailure = down;
    await live(DAY, MINUTE);
    expect(versions()).toBeLessThanOrEqual(40);
    provider.mintFailure = undefined;
    await live(20 * SECOND);
    expect(await served()).toMatch(/^token-/);
  });

  test('after tokens that receivers refuse, the pauses go on over the slots, for all replicas', async () => {
    const fixture = withToken();
    const { live, provider, rests, served } = brokers({
      cron,
      minimum: 15 * MINUTE,
      replicas,
      fixture,
    });
    provider.verifyFailure = rejected;
    await live(DAY, 30 * SECOND);
    const { mints } = provider;
    // Fifteen that follow sooner, and one each half an hour; each process tries once when it has started.
    expect(mints).toBeLessThanOrEqual(15 + 48 + replicas);
    expect(mints).toBeGreaterThan(40);
    expect(rests.length).toBeGreaterThan(0);
    provider.verifyFailure = undefined;
    await live(31 * MINUTE, 30 * SECOND);
    expect(await served()).toMatch(/^token-/);
  });
});

test('a replica takes over from one that died in an outage, in a later slot', async () => {
  const fixture = rotationFixture();
  const { clock, provider, rotator, seedCurrent, served } = fixture;
  seedCurrent('old', NOW - 10 * HOUR, 3 * DAY);
  const first = brokers({ cron: '*/30 * * * *', minimum: HOUR, fixture });
  provider.mintFailure = down;
  await first.live(40 * MINUTE);
  provider.mintFailure = undefined;
  // It mints under the last claim, and dies.
  const slots = createSlots('*/30 * * * *');
  void new RotationSchedule({
    rotator: rotator({ mint: () => new Promise(() => undefined) }),
    slots,
    minimumRemaining: HOUR,
    clock,
  }).check();
  const other = brokers({ cron: '*/30 * * * *', minimum: HOUR, fixture });
  await other.live(MINUTE);
  expect(await served()).toMatch(/^token-/);
});

describe('a provider that gives the same token again while it lives', () => {
  test.each([
    ['with it', 0],
    ['40 s after it', -40 * SECOND],
    ['five minutes before it', 5 * MINUTE],
  ])('and a new one as it expires (%s): that is served seconds later', async (_when, before) => {
    const fixture = rotationFixture();
    const { clock, provider, rotator } = fixture;
    let expiresAt = 0;
    const mint = async (): Promise<ServiceToken> => {
      if (clock.now() >= expiresAt - before) {
        provider.mints += 1;
        expiresAt = clock.now() + DAY;
      }
      const token = tokenOf(`token-${provider.mints}`, clock.now(), expiresAt - clock.now());
      // What has expired cannot be kept.
      if (token.expiresAt > clock.now()) return token;
      throw new BrokerError('MINTED_TOKEN_INVALID', 'misconfigured', 'it has expired already');
    };
    const { live } = brokers({ cron: '0 3 * * *', minimum: HOUR, fixture, mint });
    await live(DAY - 2 * HOUR, 30 * SECOND);
    const late: number[] = [];
    for (let day = 0; day < 3; day += 1) {
      const seen = provider.mints;
      const available = expiresAt - before;
      while (provider.mints === seen) await live(SECOND, SECOND);
      late.push(clock.now() - available);
      expect((await rotator().current())?.expiresAt).toBe(expiresAt);
      await live(DAY - 2 * HOUR, 30 * SECOND);
    }
    const most = before > 0 ? before / 2 + 10 * SECOND : 20 * SECOND;
    expect(Math.max(...late)).toBeLessThanOrEqual(most);
  });
});
