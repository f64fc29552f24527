import { describe, expect, test } from '@jest/globals';
import { createSlots } from '../../src/rotation/coverage.js';
import {
  askWait,
  decideWatch,
  type Asked,
  type CurrentToken,
  type WatchInput,
} from '../../src/rotation/due.js';
import { RotationSchedule } from '../../src/rotation/rotation-schedule.js';
import { SecretStoreError } from '../../src/secrets/secret-store.js';
import { BrokerError } from '../../src/tokens/errors.js';
import { fc } from '../support/properties.js';
import { HOUR, rejected, SECRET } from './rotation-fixture.js';
import { scheduleFixture } from './schedule-fixture.js';

describe('the schedule', () => {
  test('mints the first token, and catches up a slot that was missed', async () => {
    const { newSchedule, served, clock } = scheduleFixture();
    await newSchedule().check();
    expect(await served()).toBe('token-1');
    clock.advance(40 * HOUR);
    await newSchedule().check();
    expect(await served()).toBe('token-2');
  });

  test('asks the store for nothing while nothing is due', async () => {
    const { newSchedule, clock, storeCalls, provider } = scheduleFixture();
    const schedule = newSchedule();
    await schedule.check();
    const before = storeCalls();
    for (let checks = 0; checks < 200; checks += 1) {
      clock.advance(60_000);
      await schedule.check();
    }
    expect(storeCalls()).toBe(before);
    expect(provider.mints).toBe(1);
  });

  test('rotates early when the life runs out, once for all replicas', async () => {
    const { newSchedule, clock, provider, seedCurrent, served } = scheduleFixture();
    seedCurrent('short', clock.now() - HOUR, 3 * HOUR);
    const replicas = [newSchedule(), newSchedule(), newSchedule()];
    const checkAll = () => Promise.all(replicas.map((replica) => replica.check()));
    await checkAll();
    expect(await served()).toBe('short');
    clock.advance(1.5 * HOUR);
    await checkAll();
    expect(await served()).toBe('token-1');
    expect(provider.mints).toBe(1);
  });

  test('says that it waits, and does not after a restart: the settings may have been mended', async () => {
    const { newSchedule, clock, provider, rests, seedCurrent, served } = scheduleFixture();
    seedCurrent('old', clock.now() - 24 * HOUR, 30 * 24 * HOUR);
    provider.verifyFailure = rejected;
    const replicas = [newSchedule(), newSchedule()];
    for (const end = clock.now() + 2 * HOUR; clock.now() < end; clock.advance(15_000)) {
      await Promise.all(replicas.map((replica) => replica.check()));
    }
    expect(rests.length).toBeGreaterThan(0);
    expect(await served()).toBe('old');
    provider.verifyFailure = undefined;
    await newSchedule().check();
    expect(await served()).toBe(`token-${provider.mints}`);
  });

  test.each([
    ['too short', { lifetime: HOUR / 2 }],
    ['rejected before it could be staged', { verifyFailure: rejected }],
  ])('mints seldom while the token is %s', async (_what, state) => {
    const { newSchedule, clock, provider } = scheduleFixture();
    Object.assign(provider, state);
    const schedule = newSchedule();
    for (const end = clock.now() + 24 * HOUR; clock.now() < end; clock.advance(15_000)) {
      await schedule.check();
    }
    expect(provider.mints).toBeGreaterThan(40);
    expect(provider.mints).toBeLessThan(70);
  });

  test('waits as long as the provider asks, but never longer than five minutes', async () => {
    const { newSchedule, clock, provider } = scheduleFixture();
    const options = { retryAfterSeconds: 86_400 };
    provider.mintFailure = new BrokerError('PROVIDER_THROTTLED', 'retry', 'slow down', options);
    const schedule = newSchedule();
    await schedule.check();
    clock.advance(299_000);
    await schedule.check();
    expect(provider.mints).toBe(1);
    clock.advance(2_000);
    await schedule.check();
    expect(provider.mints).toBe(2);
  });

  test.each([
    ['secrets-manager', { rotationEnabled: true }],
    ['primary-region', { readOnlyReplica: true }],
  ] as const)('writes nothing when the rotation is up to %s', async (mode, flags) => {
    const { newSchedule, store, provider, modes, clock, seedCurrent } = scheduleFixture();
    seedCurrent('old', clock.now() - 48 * HOUR);
    store.configure(SECRET, flags);
    const schedule = newSchedule();
    await schedule.check();
    clock.advance(HOUR);
    await schedule.check();
    expect(modes).toEqual([mode]);
    expect(provider.mints + store.calls.putClaim + store.calls.putPending).toBe(0);
  });

  test('learns who rotates before anything is due', async () => {
    const { newSchedule, modes, clock, seedCurrent, store } = scheduleFixture();
    seedCurrent('fresh', clock.now());
    const schedule = newSchedule();
    await schedule.check();
    await schedule.check();
    expect(modes).toEqual(['broker']);
    expect(store.calls.describe).toBe(1);
  });

  test('does nothing twice when two checks overlap', async () => {
    const { newSchedule, provider } = scheduleFixture();
    const schedule = newSchedule();
    await Promise.all([schedule.check(), schedule.check()]);
    expect(provider.mints).toBe(1);
  });

  test('survives a clock that jumps back a day', async () => {
    const { newSchedule, clock, served, provider } = scheduleFixture();
    const schedule = newSchedule();
    await schedule.check();
    clock.advance(-24 * HOUR);
    await schedule.check();
    clock.advance(24 * HOUR);
    await schedule.check();
    expect(provider.mints).toBe(1);
    expect(await served()).toBe('token-1');
  });

  test('is content with the version of its slot, when the clock is set back while it is minted', async () => {
    const { newSchedule, clock, provider, storeCalls, store, missed } = scheduleFixture();
    const replicas = [newSchedule(), newSchedule()];
    clock.set('2026-11-23T03:00:00.200Z');
    // NTP takes a second off, after the slot has begun: the token's date is before the slot.
    store.before = ({ method }) => {
      if (method === 'putClaim') clock.advance(-1_000);
    };
    await replicas[0]?.check();
    store.before = () => undefined;
    clock.set('2026-11-23T03:01:00Z');
    for (const replica of replicas) await replica.check();
    const before = storeCalls();
    for (let seconds = 0; seconds < 600; seconds += 1) {
      clock.advance(1_000);
      await Promise.all(replicas.map((replica) => replica.check()));
    }
    expect(provider.mints).toBe(1);
    expect(storeCalls()).toBe(before);
    clock.set('2026-11-24T03:00:01Z');
    for (const replica of replicas) await replica.check();
    expect(provider.mints).toBe(2);
    expect(missed).toEqual([]);
  });

  test('replaces early the version of its slot, when that was minted while the clock was three days behind', async () => {
    const { newSchedule, clock, provider, store, served } = scheduleFixture();
    clock.set('2026-11-23T03:00:00.200Z');
    store.before = ({ method }) => {
      if (method === 'putClaim') clock.advance(-72 * HOUR);
    };
    await newSchedule().check();
    store.before = () => undefined;
    clock.set('2026-11-23T03:01:00Z');
    const replicas = [newSchedule(), newSchedule()];
    for (let seconds = 0; seconds < 3; seconds += 1) {
      await Promise.all(replicas.map((replica) => replica.check()));
      clock.advance(1_000);
    }
    expect([provider.mints, await served()]).toEqual([2, 'token-2']);
  });

  test('leaves out no slot after a clock that was ahead when one began, and set right while it was minted for', async () => {
    const { newSchedule, clock, provider, store, served } = scheduleFixture();
    provider.lifetime = 5 * 24 * HOUR;
    clock.set('2026-11-26T03:00:00.200Z');
    store.before = ({ method }) => {
      if (method === 'putClaim') clock.set('2026-11-23T03:00:00.200Z');
    };
    const schedule = newSchedule();
    await schedule.check();
    store.before = () => undefined;
    clock.set('2026-11-24T03:00:00.200Z');
    await schedule.check();
    expect([provider.mints, await served()]).toEqual([2, 'token-2']);
  });

  test('waits out no backoff that began before the clock was set back', async () => {
    const { newSchedule, clock, provider, served } = scheduleFixture();
    provider.mintFailure = new BrokerError('PROVIDER_UNAVAILABLE', 'retry', 'down');
    const schedule = newSchedule();
    await schedule.check();
    provider.mintFailure = undefined;
    clock.advance(-6 * HOUR);
    await schedule.check();
    expect(await served()).toBe('token-2');
  });

  test('waits out no backoff that began while the clock was ahead, during one check', async () => {
    const { newSchedule, clock, store, served } = scheduleFixture();
    const right = clock.now();
    store.before = ({ index }) => {
      if (index > 1) return;
      clock.set(right + 6 * HOUR);
      throw new BrokerError('STORE_TIMEOUT', 'retry', 'no answer');
    };
    const schedule = newSchedule();
    await schedule.check();
    clock.set(right + 1_000);
    await schedule.check();
    expect(await served()).toBe('token-1');
  });

  test('goes on watching when the clock was ahead during one check', async () => {
    const { newSchedule, clock, store } = scheduleFixture();
    const right = clock.now();
    store.configure(SECRET, { rotationEnabled: true });
    const schedule = newSchedule();
    store.before = ({ method, nth }) => {
      if (method === 'describe' && nth === 1) clock.set(right + 72 * HOUR);
      if (method === 'requestRotation' && nth === 1) {
        clock.set(right);
        throw new SecretStoreError('STORE_ROTATION_PENDING', 'an earlier one has not ended');
      }
    };
    await schedule.check();
    clock.advance(11 * 60_000);
    await schedule.check();
    expect(store.calls.requestRotation).toBe(2);
  });

  test('notices that AWSCURRENT was moved back, by what is served', async () => {
    const { rotator, clock, store, seedCurrent, served, storeCalls } = scheduleFixture();
    const old = seedCurrent('old', clock.now() - 23 * HOUR);
    let servedVersionId: string | undefined = old;
    const schedule = new RotationSchedule({
      rotator: rotator(),
      slots: createSlots('0 3 * * *'),
      minimumRemaining: HOUR,
      clock,
      servedVersionId: () => servedVersionId,
    });
    await schedule.check();
    expect(await served()).toBe('token-1');
    // A cache that has not read yet is no reason to read.
    const before = storeCalls();
    await schedule.check();
    const { versionId } = await store.read(SECRET);
    servedVersionId = versionId;
    await schedule.check();
    expect(storeCalls()).toBe(before + 1);
    await store.promote(SECRET, old, versionId);
    servedVersionId = old;
    expect(await served()).toBe('old');
    clock.advance(1.5 * HOUR);
    await schedule.check();
    expect(await served()).toBe('token-1');
    servedVersionId = versionId;
    await schedule.check();
    const after = storeCalls();
    await schedule.check();
    expect(storeCalls()).toBe(after);
  });

  test('notices that AWSCURRENT was moved back before the new version was ever served', async () => {
    const { rotator, clock, store, seedCurrent, served, storeCalls } = scheduleFixture();
    const old = seedCurrent('refused', clock.now() - 60_000);
    const schedule = new RotationSchedule({
      rotator: rotator(),
      slots: createSlots('0 3 * * *'),
      minimumRemaining: HOUR,
      clock,
      servedVersionId: () => old,
      refusal: () => ({ versionId: old, code: 'TOKEN_KEY_UNKNOWN', reason: '', isCurable: true }),
    });
    await schedule.check();
    expect(await served()).toBe('token-1');
    await store.promote(SECRET, old, (await store.read(SECRET)).versionId);
    const before = storeCalls();
    clock.advance(290_000);
    await schedule.check();
    expect([await served(), storeCalls() - before]).toEqual(['refused', 1]);
    clock.advance(10_000);
    await schedule.check();
    expect(await served()).toBe('token-1');
  });

  test('replaces a version that cannot be served, which the valid one before hides', async () => {
    const { rotator, clock, store, seedCurrent, served, storeCalls } = scheduleFixture();
    const valid = seedCurrent('valid', clock.now() - 60_000);
    let expiredRead: number | undefined;
    const schedule = new RotationSchedule({
      rotator: rotator(),
      slots: createSlots('0 3 * * *'),
      minimumRemaining: HOUR,
      clock,
      servedVersionId: () => valid,
      expiredReadAt: () => expiredRead,
    });
    await schedule.check();
    const before = storeCalls();
    // Another broker, whose clock was three days back, has rotated.
    seedCurrent('expired', clock.now() - 72 * HOUR);
    await schedule.check();
    expect(storeCalls()).toBe(before);
    expiredRead = clock.now();
    store.before = () => {
      throw new SecretStoreError('STORE_THROTTLED', 'throttled');
    };
    await schedule.check();
    store.before = () => undefined;
    expect(await served()).toBe('expired');
    clock.advance(10_000);
    await schedule.check();
    expect(await served()).toBe('token-1');
    // The same reading again is no news; another is.
    const after = storeCalls();
    await schedule.check();
    expect(storeCalls()).toBe(after);
    expiredRead = clock.now();
    await schedule.check();
    await schedule.check();
    expect(storeCalls()).toBeGreaterThan(after);
    expect(await served()).toBe('token-1');
  });

  test('still backs off after the clock was set back', async () => {
    const { newSchedule, clock, provider } = scheduleFixture();
    provider.mintFailure = new BrokerError('PROVIDER_UNAVAILABLE', 'retry', 'down');
    const schedule = newSchedule();
    await schedule.check();
    clock.advance(-6 * HOUR);
    await schedule.check();
    expect(provider.mints).toBe(2);
    await schedule.check();
    clock.advance(9_000);
    await schedule.check();
    expect(provider.mints).toBe(2);
    clock.advance(1_000);
    await schedule.check();
    expect(provider.mints).toBe(3);
  });

  test('goes on watching over Secrets Manager when the clock is set back', async () => {
    const { newSchedule, clock, store, seedCurrent } = scheduleFixture();
    seedCurrent('short', clock.now() - 24 * HOUR, 24 * HOUR + 60_000);
    store.configure(SECRET, { rotationEnabled: true });
    const schedule = newSchedule();
    await schedule.check();
    expect(store.calls.requestRotation).toBe(1);
    clock.advance(-1_800_000);
    await schedule.check();
    expect(store.calls.requestRotation).toBe(2);
    // Now there is life enough, until an instant that is still before the first request.
    clock.advance(-6 * HOUR);
    await schedule.check();
    expect(store.calls.requestRotation).toBe(2);
    clock.advance(6 * HOUR - 60_000);
    await schedule.check();
    expect(store.calls.requestRotation).toBe(3);
  });
});

const MINUTE = 60_000;
const NOW = Date.parse('2026-11-22T12:07:00Z');

const lives = (milliseconds: number, versionId = 'v1'): CurrentToken => ({
  versionId,
  generatedAt: NOW - 48 * HOUR,
  expiresAt: NOW + milliseconds,
});
const asked = (minutesAgo: number, count = 1, versionId: string | undefined = 'v1'): Asked => ({
  versionId,
  count,
  at: NOW - minutesAgo * MINUTE,
});
const watch = (current: CurrentToken | undefined, before?: Asked): ReturnType<typeof decideWatch> =>
  decideWatch({ now: NOW, current, minimumRemaining: HOUR, asked: before });

describe('the watchdog', () => {
  test.each([
    ['a token with life enough', lives(5 * HOUR), undefined, 'content'],
    ['just enough', lives(HOUR), undefined, 'content'],
    ['enough, though it asked a moment ago', lives(HOUR), asked(1), 'content'],
    ['a token with little life', lives(HOUR - 1), undefined, 'ask'],
    ['an expired token', lives(-HOUR), undefined, 'ask'],
    ['no token', undefined, undefined, 'ask'],
    ['little life, asked a moment ago', lives(MINUTE), asked(0), 'wait'],
    ['little life, asked nearly ten minutes ago', lives(MINUTE), asked(9.9), 'wait'],
    ['little life, asked ten minutes ago', lives(MINUTE), asked(10), 'ask'],
    ['asked twice, fifteen minutes ago', lives(MINUTE), asked(15, 2), 'wait'],
    ['asked twice, twenty minutes ago', lives(MINUTE), asked(20, 2), 'ask'],
    ['asked many times, an hour ago', lives(MINUTE), asked(60, 40), 'ask'],
    ['asked for the version before, a moment ago', lives(MINUTE), asked(1, 5, 'v0'), 'wait'],
    ['asked for it an hour ago', lives(MINUTE), asked(60, 5, 'v0'), 'ask'],
    ['no token any more, asked for the last one', undefined, asked(1, 1, 'v0'), 'wait'],
    ['expired since it asked, a moment ago', lives(-30_000), asked(1, 5), 'ask'],
    ['expired before it asked, a moment ago', lives(-90_000), asked(1, 5), 'wait'],
    [
      'no token, asked a moment ago',
      undefined,
      { count: 1, at: NOW, versionId: undefined },
      'wait',
    ],
    ['asked in the future, by a clock set back', lives(MINUTE), asked(-90), 'ask'],
  ])('%s', (_name, current, before, kind) => {
    expect(watch(current, before).kind).toBe(kind);
  });

  test.each([
    ['with life enough', lives(5 * HOUR), undefined, 'ask', /refuse/],
    ['with life enough, asked a moment ago', lives(5 * HOUR), asked(1), 'wait', undefined],
    ['with little life', lives(0), undefined, 'ask', /little life/],
  ])('a token that receivers refuse, %s', (_name, current, before, kind, reason) => {
    const decided = decideWatch({
      now: NOW,
      current,
      minimumRemaining: HOUR,
      isRefused: true,
      asked: before,
    });
    expect(decided.kind).toBe(kind);
    if (decided.kind === 'ask') expect(decided.reason).toMatch(reason ?? /./);
  });

  test.each([
    ['the same version', lives(MINUTE), asked(60, 3), 4],
    ['another that did not last', lives(MINUTE), asked(60, 3, 'v0'), 4],
    ['another that lasted for nearly the wait', lives(40 * MINUTE - 1), asked(60, 3, 'v0'), 4],
    // It ran out 20 minutes ago.
    ['another that lasted for the wait', lives(40 * MINUTE), asked(60, 3, 'v0'), 1],
    ['the same, which has expired since', lives(-MINUTE), asked(60, 3), 1],
    ['no token', undefined, asked(60, 3), 4],
  ])('counts its requests in a row: %s', (_what, current, before, count) => {
    expect(watch(current, before)).toMatchObject({
      asked: { versionId: current?.versionId, count, at: NOW },
    });
  });

  test.each([
    [lives(30 * MINUTE), 7],
    [lives(5 * MINUTE), 5],
    [lives(-4 * MINUTE), 7],
    [undefined, 7],
  ])('says until when it waits, and asks as the token expires: %j', (current, minutes) => {
    expect(watch(current, asked(3))).toEqual({ kind: 'wait', until: NOW + minutes * MINUTE });
  });

  test('keeps its pauses when each version that comes of it runs out within ten minutes', () => {
    const turn = fc.record({
      step: fc.integer({ min: 1_000, max: 5 * MINUTE }),
      lasts: fc.nat(10 * MINUTE - 1),
    });
    fc.assert(
      fc.property(fc.array(turn, { minLength: 50, maxLength: 400 }), (turns) => {
        let now = NOW;
        let current = lives(HOUR);
        let state: Asked | undefined;
        const asks: number[] = [];
        for (const [index, { step, lasts }] of turns.entries()) {
          const input: WatchInput = { now, current, minimumRemaining: 2 * HOUR, asked: state };
          const decision = decideWatch(input);
          if (decision.kind === 'ask') {
            asks.push(now);
            current = { ...lives(now - NOW + 2 * HOUR + lasts, `v${index + 2}`) };
            state = decision.asked;
          }
          now += step;
        }
        for (const [index, at] of asks.slice(1).entries()) {
          expect(at - (asks[index] ?? 0)).toBeGreaterThanOrEqual(askWait(index + 1));
        }
      }),
    );
  });

  test('replicas ask for the same within ten minutes, and for another afterwards', () => {
    const keyAt = (minutes: number): string => {
      const decision = decideWatch({
        now: NOW + minutes * MINUTE,
        current: lives(0),
        minimumRemaining: HOUR,
        asked: undefined,
      });
      return decision.kind === 'ask' ? decision.key : '';
    };
    expect(keyAt(0)).toBe('watchdog v1 2026-11-22T12:00:00.000Z');
    expect(keyAt(2)).toBe(keyAt(0));
    expect(keyAt(3)).not.toBe(keyAt(0));
  });

  test('waits twice as long each time, up to an hour', () => {
    expect([1, 2, 3, 4, 50].map((count) => askWait(count) / MINUTE)).toEqual([10, 20, 40, 60, 60]);
  });

  test('never asks more than 26 times a day, however often it looks', () => {
    fc.assert(
      fc.property(
        fc.array(fc.integer({ min: 1, max: 45 * MINUTE }), { minLength: 1, maxLength: 400 }),
        (steps) => {
          let now = NOW;
          let state: Asked | undefined;
          const asks: number[] = [];
          for (const step of steps) {
            const input: WatchInput = {
              now,
              current: lives(0),
              minimumRemaining: HOUR,
              asked: state,
            };
            const decision = decideWatch(input);
            if (decision.kind === 'ask') {
              asks.push(now);
              state = decision.asked;
            }
            if (decision.kind === 'wait') expect(decision.until).toBeGreaterThan(now);
            now += step;
          }
          for (const [index, at] of asks.slice(1).entries()) {
            expect(at - (asks[index] ?? 0)).toBeGreaterThanOrEqual(askWait(index + 1));
          }
          const firstDay = asks.filter((at) => at - NOW <= 24 * HOUR);
          expect(firstDay.length).toBeLessThanOrEqual(26);
        },
      ),
    );
  });

  test('is content exactly when the token has life enough', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: -HOUR, max: 3 * HOUR }),
        fc.option(
          fc.integer({ min: 0, max: 90 }).map((minutes) => asked(minutes)),
          {
            nil: undefined,
          },
        ),
        (life, before) => {
          expect(watch(lives(life), before).kind === 'content').toBe(life >= HOUR);
        },
      ),
    );
  });
});
