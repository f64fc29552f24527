import { describe, expect, test } from '@jest/globals';
import { createSlots } from '../../src/rotation/coverage.js';
import {
  RotationSchedule,
  type RotationScheduleObserver,
} from '../../src/rotation/rotation-schedule.js';
import { SecretStoreError } from '../../src/secrets/secret-store.js';
import { BrokerError } from '../../src/tokens/errors.js';
import { HOUR, keysDown, rejected, rotationFixture, SECRET } from './rotation-fixture.js';

const at = (instant: string): number => Date.parse(instant);
const DAY = 24 * HOUR;
const NOW = at('2026-11-22T12:00:00Z');
const SLOT = at('2026-11-22T03:00:00Z');
const down = new BrokerError('PROVIDER_UNAVAILABLE', 'retry', 'down');

function standingFixture() {
  const fixture = rotationFixture();
  const missed: (readonly [number, string])[] = [];
  const rests: (readonly [string, number])[] = [];
  const checksFailed: (readonly [unknown, number])[] = [];
  const everything: RotationScheduleObserver = {
    slotMissed: (slotStart, code) => missed.push([slotStart, code]),
    resting: (reason, until) => rests.push([reason, until]),
    checkFailed: (error, nextAt) => checksFailed.push([error, nextAt]),
  };
  const newSchedule = (random = 1): RotationSchedule =>
    new RotationSchedule({
      rotator: fixture.rotator(),
      slots: createSlots('0 3 * * *'),
      minimumRemaining: HOUR,
      clock: fixture.clock,
      random: () => random,
      observer: everything,
    });
  return { ...fixture, missed, rests, checksFailed, newSchedule };
}

describe('how the schedule keeps up', () => {
  test('is not known before the first check, and then read from nothing', async () => {
    const { newSchedule, store, seedCurrent } = standingFixture();
    seedCurrent('fresh', NOW);
    const schedule = newSchedule();
    expect(schedule.standing()).toBeUndefined();
    await schedule.check();
    const before = store.calls.read + store.calls.describe;
    expect(schedule.standing()).toEqual({ mintedAt: NOW, nextAt: SLOT + DAY });
    expect(schedule.nextSlot()).toBe(SLOT + DAY);
    expect(store.calls.read + store.calls.describe).toBe(before);
  });

  test.each([{ rotationEnabled: true }, { readOnlyReplica: true }])(
    'is not said where somebody else rotates: %j',
    async (flags) => {
      const { newSchedule, store, seedCurrent } = standingFixture();
      seedCurrent('fresh', NOW);
      store.configure(SECRET, flags);
      const schedule = newSchedule();
      await schedule.check();
      expect(schedule.standing()).toBeUndefined();
    },
  );

  test.each([
    ['minted as the slot began', SLOT, undefined, { mintedAt: SLOT, nextAt: SLOT + DAY }],
    ['served, minted as it began', SLOT - 1, SLOT, { mintedAt: SLOT, nextAt: SLOT + DAY }],
    ['newer than what is served', NOW, SLOT - DAY, { mintedAt: NOW, nextAt: SLOT + DAY }],
    ['of the slot before', SLOT - 1, undefined, { dueSince: SLOT }],
    ['of the slot before, as is what is served', SLOT - DAY, SLOT - 1, { dueSince: SLOT }],
    [
      'of two slots before',
      SLOT - DAY - 1,
      undefined,
      { dueSince: SLOT, missed: { since: SLOT - DAY, count: 1 } },
    ],
    [
      'as old as that, minted as its slot began',
      SLOT - 3 * DAY,
      undefined,
      { dueSince: SLOT, missed: { since: SLOT - 2 * DAY, count: 2 } },
    ],
  ])('with a token %s', async (_what, mintedAt, servedMintedAt, expected) => {
    const { newSchedule, provider, seedCurrent, clock } = standingFixture();
    seedCurrent('known', mintedAt, 30 * DAY);
    provider.mintFailure = down;
    const schedule = newSchedule();
    await schedule.check();
    const failed = { nextAt: clock.now() + 10_000, error: down };
    const isDue = 'dueSince' in expected;
    expect(schedule.standing(servedMintedAt)).toEqual(
      isDue ? { ...expected, ...failed } : expected,
    );
  });

  test('without a token it is due since this process runs, and slots count from then on', async () => {
    const { newSchedule, provider, clock } = standingFixture();
    provider.mintFailure = down;
    const schedule = newSchedule();
    await schedule.check();
    const nextAt = clock.now() + 10_000;
    expect(schedule.standing()).toEqual({ dueSince: NOW, nextAt, error: down });
    await schedule.check();
    expect(schedule.standing()?.dueSince).toBe(NOW);
    clock.set(SLOT + 2 * DAY + HOUR);
    expect(schedule.standing()).toEqual({
      dueSince: SLOT + 2 * DAY,
      missed: { since: SLOT + DAY, count: 1 },
      nextAt: clock.now(),
      error: down,
    });
  });

  test('a store that cannot be read is an error, and who rotates is not known yet', async () => {
    const { newSchedule, store, clock } = standingFixture();
    const failure = new SecretStoreError('STORE_UNAVAILABLE', 'down');
    store.before = () => {
      throw failure;
    };
    const schedule = newSchedule();
    await schedule.check();
    expect(schedule.standing()).toEqual({
      dueSince: NOW,
      nextAt: clock.now() + 5_000,
      error: failure,
    });
  });

  test('an error is forgotten with the rotation that succeeds, and not before', async () => {
    const { newSchedule, provider, clock, rests, seedCurrent } = standingFixture();
    seedCurrent('old', NOW - DAY, 30 * DAY);
    provider.verifyFailure = rejected;
    // The shortest pause: the rest after a rejected token is longer.
    const schedule = newSchedule(0);
    await schedule.check();
    const { error } = schedule.standing() ?? {};
    expect(error).toMatchObject({ code: 'ROTATION_TOKEN_REJECTED' });
    clock.advance(5_000);
    await schedule.check();
    expect(schedule.standing()?.error).toBe(error);
    const [rest] = rests;
    expect(rest?.[0]).toBe('the service token was minted before the current slot');
    expect(schedule.standing()?.nextAt).toBe(rest?.[1]);
    provider.verifyFailure = undefined;
    clock.set(rest?.[1] ?? 0);
    await schedule.check();
    expect(schedule.standing()?.error).toBeUndefined();
    clock.advance(DAY);
    expect(schedule.standing()).toStrictEqual({
      dueSince: SLOT + DAY,
      nextAt: clock.now(),
    });
  });
});

describe('slots that end without a rotation are reported', () => {
  test('once each, with the code of the last failure', async () => {
    const { newSchedule, provider, clock, missed } = standingFixture();
    provider.mintFailure = down;
    const schedule = newSchedule();
    await schedule.check();
    expect(missed).toEqual([]);
    clock.set(SLOT + 2 * DAY);
    await schedule.check();
    const both = [
      [SLOT, 'PROVIDER_UNAVAILABLE'],
      [SLOT + DAY, 'PROVIDER_UNAVAILABLE'],
    ];
    expect(missed).toEqual(both);
    await schedule.check();
    expect(missed).toEqual(both);
  });

  test('also while the schedule backs off', async () => {
    const { newSchedule, provider, clock, missed } = standingFixture();
    provider.mintFailure = down;
    clock.set(SLOT + DAY - 5_000);
    const schedule = newSchedule();
    await schedule.check();
    clock.set(SLOT + DAY);
    const mints = provider.mints;
    await schedule.check();
    expect([missed, provider.mints]).toEqual([[[SLOT, 'PROVIDER_UNAVAILABLE']], mints]);
  });

  test('before the rotation that comes too late, which is no failure of theirs', async () => {
    const { newSchedule, provider, clock, missed, seedCurrent } = standingFixture();
    seedCurrent('fresh', NOW, 30 * DAY);
    const schedule = newSchedule();
    await schedule.check();
    // As after a machine slept.
    clock.set(SLOT + 3 * DAY);
    provider.mintFailure = down;
    await schedule.check();
    expect(missed).toEqual([
      [SLOT + DAY, 'ROTATION_MISSED'],
      [SLOT + 2 * DAY, 'ROTATION_MISSED'],
    ]);
  });

  test('not those in which another replica has rotated, nor where somebody else rotates', async () => {
    const { newSchedule, clock, missed, seedCurrent, store } = standingFixture();
    seedCurrent('fresh', NOW, 30 * DAY);
    const schedule = newSchedule();
    await schedule.check();
    clock.set(SLOT + DAY);
    seedCurrent('by another', clock.now(), 30 * DAY);
    clock.set(SLOT + 2 * DAY);
    await schedule.check();
    expect(missed).toEqual([]);
    store.configure(SECRET, { rotationEnabled: true });
    clock.set(SLOT + 5 * DAY);
    await schedule.check();
    expect(missed).toEqual([]);
  });

  test('a hundred at most', async () => {
    const { newSchedule, clock, missed, provider } = standingFixture();
    provider.mintFailure = down;
    const schedule = newSchedule();
    await schedule.check();
    clock.set(SLOT + 300 * DAY);
    await schedule.check();
    expect(missed.map(([slot]) => slot)).toEqual(
      Array.from({ length: 100 }, (_, index) => SLOT + index * DAY),
    );
    await schedule.check();
    expect(missed).toHaveLength(100);
  });

  test.each([
    ['nobody', undefined],
    ['somebody who wants to know nothing', {}],
  ])('to %s: the schedule goes on', async (_who, observer) => {
    const { clock, provider, served, seedCurrent, store, rotator } = standingFixture();
    seedCurrent('old', NOW - DAY, 300 * DAY);
    provider.verifyFailure = rejected;
    const schedule = new RotationSchedule({
      rotator: rotator(),
      slots: createSlots('0 3 * * *'),
      minimumRemaining: HOUR,
      clock,
      random: () => 0,
      ...(observer && { observer }),
    });
    const isRejected = () =>
      expect(schedule.standing()?.error).toMatchObject({ code: 'ROTATION_TOKEN_REJECTED' });
    await schedule.check();
    isRejected();
    clock.advance(5_000);
    await schedule.check();
    isRejected();
    clock.set(SLOT + 2 * DAY);
    await schedule.check();
    isRejected();
    provider.verifyFailure = keysDown;
    store.configure(SECRET, { rotationEnabled: true });
    clock.set(SLOT + 2 * DAY + HOUR);
    await schedule.check();
    store.configure(SECRET, { rotationEnabled: false });
    provider.verifyFailure = undefined;
    clock.advance(HOUR);
    await schedule.check();
    expect(await served()).toBe(`token-${provider.mints}`);
  });
});
