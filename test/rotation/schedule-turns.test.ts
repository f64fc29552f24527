import { describe, expect, test } from '@jest/globals';
import { slotKey } from '../../src/rotation/claim.js';
import { createSlots } from '../../src/rotation/coverage.js';
import { LONGEST_REST } from '../../src/rotation/due.js';
import { RotationSchedule } from '../../src/rotation/rotation-schedule.js';
import type { RotationMode } from '../../src/rotation/rotation.js';
import type { Refusal } from '../../src/rotation/token-watch.js';
import { SecretStoreError } from '../../src/secrets/secret-store.js';
import { HOUR, keysDown, rejected, rotationFixture, SECRET } from './rotation-fixture.js';

const DAY = 24 * HOUR;
const MINUTE = 60_000;
const NOW = Date.parse('2026-11-22T12:00:00Z');
const SLOT = Date.parse('2026-11-22T03:00:00Z');

type Options = Partial<ConstructorParameters<typeof RotationSchedule>[0]>;

function turnsFixture() {
  const fixture = rotationFixture();
  const rotator = fixture.rotator();
  const modes: RotationMode[] = [];
  const rests: number[] = [];
  const failures: (readonly [unknown, number])[] = [];
  const newSchedule = (options: Options = {}): RotationSchedule =>
    new RotationSchedule({
      rotator,
      slots: createSlots('0 3 * * *'),
      minimumRemaining: HOUR,
      clock: fixture.clock,
      random: () => 1,
      observer: {
        modeChanged: (mode) => modes.push(mode),
        resting: (_reason, until) => rests.push(until),
        checkFailed: (error, nextAt) => failures.push([error, nextAt]),
      },
      ...options,
    });
  const storeCalls = (): number =>
    Object.values(fixture.store.calls).reduce((sum, count) => sum + count, 0);
  return { ...fixture, rotator, modes, rests, failures, newSchedule, storeCalls };
}

describe('a rotation that takes its turn', () => {
  /** A gate whose turns are counted; `meanwhile` happens while one waits. */
  function gate(hasWaited: boolean, meanwhile: () => void = () => undefined) {
    const turns = { begun: 0, ended: 0 };
    const enter = async () => {
      turns.begun += 1;
      meanwhile();
      return { hasWaited, end: () => void (turns.ended += 1) };
    };
    return { turns, enter };
  }

  test('takes none while nothing is due', async () => {
    const { newSchedule, seedCurrent } = turnsFixture();
    seedCurrent('fresh', NOW);
    const { turns, enter } = gate(false);
    await newSchedule({ enter }).check();
    expect(turns).toEqual({ begun: 0, ended: 0 });
  });

  test.each([
    ['succeeds', undefined],
    ['fails', keysDown],
  ])('gives it back when it %s', async (_how, verifyFailure) => {
    const { newSchedule, provider } = turnsFixture();
    provider.verifyFailure = verifyFailure;
    const { turns, enter } = gate(false);
    await newSchedule({ enter }).check();
    expect([turns, provider.mints]).toEqual([{ begun: 1, ended: 1 }, 1]);
  });

  test('that it waited for: leaves it to another replica that has rotated meanwhile', async () => {
    const { newSchedule, provider, seedCurrent } = turnsFixture();
    const { turns, enter } = gate(true, () => seedCurrent('by another', NOW));
    await newSchedule({ enter }).check();
    expect([turns, provider.mints]).toEqual([{ begun: 1, ended: 1 }, 0]);
  });

  test('that it waited for: sees that somebody else rotates now', async () => {
    const { newSchedule, provider, store, modes } = turnsFixture();
    const { enter } = gate(true, () => store.configure(SECRET, { readOnlyReplica: true }));
    await newSchedule({ enter }).check();
    expect([modes, provider.mints]).toEqual([['broker', 'primary-region'], 0]);
  });

  test('that it waited for: still rotates', async () => {
    const { newSchedule, served } = turnsFixture();
    await newSchedule({ enter: gate(true).enter }).check();
    expect(await served()).toBe('token-1');
  });

  test('reads no more where it has not waited', async () => {
    const calls = [true, false].map(async (hasWaited) => {
      const { newSchedule, storeCalls } = turnsFixture();
      await newSchedule({ enter: gate(hasWaited).enter }).check();
      return storeCalls();
    });
    const [waited = 0, atOnce] = await Promise.all(calls);
    expect(atOnce).toBe(waited - 2);
  });

  test('does not begin any more once the schedule was stopped', async () => {
    const { newSchedule, provider } = turnsFixture();
    const { turns, enter } = gate(true, () => schedule.stop());
    const schedule = newSchedule({ enter });
    await schedule.check();
    expect([turns, provider.mints]).toEqual([{ begun: 1, ended: 1 }, 0]);
  });
});

describe('what a rotation is for', () => {
  test('a slot, a token that runs out, and one that receivers refuse', async () => {
    const { newSchedule, rotator, clock, seedCurrent } = turnsFixture();
    let refusal: Refusal | undefined;
    const schedule = newSchedule({ refusal: () => refusal });
    await schedule.check();
    const short = seedCurrent('short', NOW - 8 * HOUR, 9 * HOUR + MINUTE);
    clock.advance(2 * MINUTE);
    await newSchedule().check();
    const { versionId } = (await rotator.current()) ?? { versionId: '' };
    refusal = { versionId, code: 'TOKEN_KEY_UNKNOWN', reason: '', isCurable: true };
    await schedule.check();
    expect(
      rotator.outcomes.list().map(({ trigger, key, result }) => [trigger, key, result]),
    ).toEqual([
      ['early', `early ${versionId}`, 'rotated'],
      ['early', `early ${short}`, 'rotated'],
      ['schedule', slotKey(SLOT), 'rotated'],
    ]);
  });
});

describe('a token that receivers refuse', () => {
  function refusedFixture() {
    const fixture = turnsFixture();
    fixture.seedCurrent('refused', NOW - MINUTE, 2 * DAY);
    fixture.provider.lifetime = 2 * DAY;
    let isRefused = true;
    let isCurable = true;
    const schedule = fixture.newSchedule({
      refusal: () => {
        if (!isRefused) return undefined;
        return { versionId: current, code: 'TOKEN_KEY_UNKNOWN', reason: '', isCurable };
      },
    });
    let current = '';
    /** Whether a check after so many milliseconds brings another token, which receivers refuse again. */
    const replacesAfter = async (milliseconds: number): Promise<boolean> => {
      fixture.clock.advance(milliseconds);
      const { mints } = fixture.provider;
      current = (await fixture.store.read(SECRET)).versionId;
      await schedule.check();
      return fixture.provider.mints > mints;
    };
    const set = (refused: boolean, curable = true): void => {
      isRefused = refused;
      isCurable = curable;
    };
    return { ...fixture, replacesAfter, set };
  }

  test('is replaced at once, and after pauses that double up to half an hour', async () => {
    const { replacesAfter } = refusedFixture();
    expect(await replacesAfter(0)).toBe(true);
    for (const pause of [5, 10, 20, 30, 30]) {
      expect([pause, await replacesAfter(pause * MINUTE - 1)]).toEqual([pause, false]);
      expect([pause, await replacesAfter(1)]).toEqual([pause, true]);
    }
  });

  test.each([
    ['an hour', 2 * LONGEST_REST - MINUTE, 10],
    ['more than an hour', 2 * LONGEST_REST, 5],
    ['the clock being set back', -HOUR, 5],
  ])('after %s without one', async (_what, later, pause) => {
    const { replacesAfter } = refusedFixture();
    expect(await replacesAfter(0)).toBe(true);
    expect(await replacesAfter(later)).toBe(true);
    expect(await replacesAfter(pause * MINUTE - 1)).toBe(false);
    expect(await replacesAfter(1)).toBe(true);
  });

  test('is not replaced where that does not help, nor once it is accepted', async () => {
    const { replacesAfter, set, storeCalls } = refusedFixture();
    set(true, false);
    expect(await replacesAfter(0)).toBe(false);
    set(false);
    const before = storeCalls();
    await replacesAfter(HOUR);
    // Only what this test reads.
    expect(storeCalls()).toBe(before + 1);
    set(true);
    expect(await replacesAfter(1)).toBe(true);
  });
});

describe('what a schedule reads again', () => {
  test('who rotates, until that is known', async () => {
    const { newSchedule, store, modes, clock, seedCurrent } = turnsFixture();
    seedCurrent('fresh', NOW);
    store.before = ({ method }) => {
      if (method === 'describe') throw new SecretStoreError('STORE_THROTTLED', 'throttled');
    };
    const schedule = newSchedule();
    await schedule.check();
    store.before = () => undefined;
    expect(modes).toEqual([]);
    clock.advance(5_000);
    await schedule.check();
    expect(modes).toEqual(['broker']);
  });

  test('a replica each five minutes, without asking anybody to rotate', async () => {
    const { newSchedule, store, modes, clock, failures, seedCurrent } = turnsFixture();
    seedCurrent('old', NOW - DAY);
    store.configure(SECRET, { readOnlyReplica: true });
    const schedule = newSchedule();
    const described: number[] = [];
    for (let seconds = 0; seconds <= 600; seconds += 1) {
      const { describe: before } = store.calls;
      await schedule.check();
      if (store.calls.describe > before) described.push(seconds);
      clock.advance(1_000);
    }
    expect([described, modes, failures]).toEqual([[0, 300, 600], ['primary-region'], []]);
  });

  test('Secrets Manager a minute after it was asked, each five minutes, and as soon as it may be asked again', async () => {
    const { newSchedule, store, clock, failures } = turnsFixture();
    store.configure(SECRET, { rotationEnabled: true });
    const schedule = newSchedule();
    const described: number[] = [];
    for (let seconds = 0; seconds <= 1_800; seconds += 1) {
      const { describe: before } = store.calls;
      await schedule.check();
      if (store.calls.describe > before) described.push(seconds);
      clock.advance(1_000);
    }
    expect(described).toEqual([0, 60, 360, 600, 900, 1_200, 1_500, 1_800]);
    expect(store.calls.requestRotation).toBe(3);
    // It says when it asks next, however often it looks until then.
    expect(failures).toEqual([
      [expect.objectContaining({ code: 'STORE_ROTATION_PENDING' }), NOW + 1_800_000],
      [expect.objectContaining({ code: 'STORE_ROTATION_PENDING' }), NOW + 4_200_000],
    ]);
  });

  test('what is served, as soon as that is another version', async () => {
    const { newSchedule, store, clock, seedCurrent, served } = turnsFixture();
    const old = seedCurrent('old', NOW - DAY, 3 * DAY);
    let servedVersionId: string = old;
    const schedule = newSchedule({ servedVersionId: () => servedVersionId });
    await schedule.check();
    const { versionId } = await store.read(SECRET);
    servedVersionId = versionId;
    await schedule.check();
    await store.promote(SECRET, old, versionId);
    servedVersionId = old;
    clock.advance(1_000);
    expect(await served()).toBe('old');
    await schedule.check();
    // The slot has its version already, which is promoted once more.
    expect(await served()).toBe('token-1');
  });

  test('nothing when an expired version is not known any more', async () => {
    const { newSchedule, storeCalls, clock } = turnsFixture();
    let expiredRead: number | undefined = clock.now();
    const schedule = newSchedule({ expiredReadAt: () => expiredRead });
    await schedule.check();
    expiredRead = undefined;
    const before = storeCalls();
    await schedule.check();
    expect(storeCalls()).toBe(before);
  });

  test('the pause of a provider whose tokens are rejected, each five minutes', async () => {
    const { newSchedule, clock, provider, rests, seedCurrent } = turnsFixture();
    seedCurrent('old', NOW - DAY, 30 * DAY);
    provider.verifyFailure = rejected;
    const [one, other] = [newSchedule(), newSchedule()];
    await other.check();
    for (let times = 0; times < 17; times += 1) {
      clock.advance(30 * MINUTE);
      await one.check();
    }
    // Within the same slot.
    expect(clock.now()).toBeLessThan(SLOT + DAY);
    rests.length = 0;
    const mints = provider.mints;
    const began = clock.now();
    for (const minutes of [0, 4.9, 5, 9.9, 10]) {
      clock.set(began + minutes * MINUTE);
      await other.check();
    }
    expect(rests).toHaveLength(3);
    expect(new Set(rests).size).toBe(1);
    expect(rests[0]).toBeGreaterThan(began + 29 * MINUTE);
    expect(provider.mints).toBe(mints);
  });
});
