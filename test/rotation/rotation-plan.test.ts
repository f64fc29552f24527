import { describe, expect, test } from '@jest/globals';
import { earlyKey, slotKey, versionIdOf } from '../../src/rotation/claim.js';
import { RotationSchedule } from '../../src/rotation/rotation-schedule.js';
import { createSlots } from '../../src/rotation/coverage.js';
import type { Attempt, Due } from '../../src/rotation/due.js';
import {
  decidePlan,
  planRotation,
  type PlanInput,
  type RotationPlan,
} from '../../src/rotation/rotation-plan.js';
import { serializeServiceToken } from '../../src/tokens/service-token.js';
import { HOUR, rotationFixture, SECRET, tokenOf } from './rotation-fixture.js';

const NONE: Due = { kind: 'none' };
const SLOT: Due = { kind: 'slot', key: 'slot', reason: 'a slot has begun' };
const attempt = (state: Attempt['state']): Attempt => ({
  versionId: 'v',
  state,
  givenUp: undefined,
});

describe('what would be done', () => {
  test.each<readonly [string, Partial<PlanInput>, string, string]>([
    ['nothing is due', {}, 'none', 'mint'],
    ['a slot is due', { due: SLOT, attempt: attempt('new') }, 'mint', 'mint'],
    ['a slot is due, and staged', { due: SLOT, attempt: attempt('staged') }, 'adopt', 'mint'],
    [
      'a slot is due, whose last token was rejected a moment ago',
      { due: SLOT, attempt: attempt('new'), rest: Date.parse('2026-11-22T03:10:00Z') },
      'none',
      'mint',
    ],
    ['a slot was done a moment ago', { due: SLOT, attempt: attempt('done') }, 'none', 'mint'],
    ['Secrets Manager rotates', { mode: 'secrets-manager', due: SLOT }, 'none', 'request'],
    [
      'Secrets Manager rotates too late',
      { mode: 'secrets-manager', due: SLOT, isStarving: true },
      'request',
      'request',
    ],
    [
      'somebody asked a moment ago',
      { due: SLOT, isRecent: true, attempt: attempt('new') },
      'mint',
      'none',
    ],
    [
      'Secrets Manager has rotated a moment ago',
      { mode: 'secrets-manager', isRecent: true },
      'none',
      'none',
    ],
    [
      'a replica, whatever is due',
      { mode: 'primary-region', due: SLOT, isStarving: true },
      'none',
      'refuse',
    ],
  ])('%s', (_what, input, schedule, onRequest) => {
    const plan = decidePlan({
      mode: 'broker',
      due: NONE,
      attempt: undefined,
      isStarving: false,
      ...input,
    });
    expect([plan.schedule.action, plan.onRequest.action]).toEqual([schedule, onRequest]);
  });
});

describe('a plan', () => {
  const planned = (fixture: ReturnType<typeof rotationFixture>): Promise<RotationPlan> =>
    planRotation({
      store: fixture.store,
      tokenSecretId: SECRET,
      rotator: fixture.rotator(),
      slots: createSlots('0 3 * * *'),
      minimumRemaining: HOUR,
      clock: fixture.clock,
    });
  const writes = ({ store, provider }: ReturnType<typeof rotationFixture>): number => {
    const { create, putPending, putClaim, promote, clearPending, requestRotation } = store.calls;
    return (
      create + putPending + putClaim + promote + clearPending + requestRotation + provider.mints
    );
  };

  test('names the version that the schedule will rotate to, and writes nothing', async () => {
    const fixture = rotationFixture();
    const { clock, seedCurrent, rotator } = fixture;
    seedCurrent('old', clock.now() - 20 * HOUR);
    const plan = await planned(fixture);
    expect(plan).toMatchObject({ mode: 'broker', schedule: { action: 'mint' } });
    expect(writes(fixture)).toBe(0);
    const slotStart = createSlots('0 3 * * *').startOf(clock.now());
    const { versionId } = await rotator().rotate({
      trigger: 'schedule',
      key: slotKey(slotStart),
      slotStart,
    });
    expect(plan.schedule.versionId).toBe(versionId);
    expect((await planned(fixture)).schedule.action).toBe('none');
  });

  test('sees a version that an earlier attempt has staged', async () => {
    const fixture = rotationFixture();
    const { store, clock } = fixture;
    const key = slotKey(createSlots('0 3 * * *').startOf(clock.now()));
    const versionId = versionIdOf(SECRET, key, 0);
    fixture.seedCurrent('old', clock.now() - 20 * HOUR);
    await store.putPending(SECRET, versionId, serializeServiceToken(tokenOf('next', clock.now())));
    expect(await planned(fixture)).toMatchObject({
      pending: versionId,
      schedule: { action: 'adopt', versionId },
    });
  });

  test.each([
    ['life enough', 24 * HOUR, 'none'],
    ['little life', 1 * HOUR, 'mint'],
  ] as const)(
    'sees the version of the slot as such, with an older date and %s',
    async (_what, life, action) => {
      const fixture = rotationFixture();
      const { store, clock } = fixture;
      const slotStart = createSlots('0 3 * * *').startOf(clock.now());
      const versionId = versionIdOf(SECRET, slotKey(slotStart), 0);
      const token = tokenOf('own', slotStart - 1_000, clock.now() - slotStart + life);
      await store.putPending(SECRET, versionId, serializeServiceToken(token));
      await store.promote(SECRET, versionId, (await store.read(SECRET)).versionId);
      const next = action === 'mint' && { versionId: versionIdOf(SECRET, earlyKey(versionId), 0) };
      expect((await planned(fixture)).schedule).toMatchObject({ action, ...next });
    },
  );

  test('after a version of the slot before, with an older date: that of this slot, as the schedule does', async () => {
    const fixture = rotationFixture();
    const { store, clock, provider, rotator } = fixture;
    const slots = createSlots('0 3 * * *');
    const slotStart = slots.startOf(clock.now());
    const before = slotStart - 24 * HOUR;
    const current = versionIdOf(SECRET, slotKey(before), 0);
    const token = tokenOf('own', before - 1_000, 48 * HOUR);
    await store.putPending(SECRET, current, serializeServiceToken(token));
    await store.promote(SECRET, current, (await store.read(SECRET)).versionId);
    const versionId = versionIdOf(SECRET, slotKey(slotStart), 0);
    expect((await planned(fixture)).schedule).toMatchObject({ action: 'mint', versionId });
    const schedules = [0, 1].map(
      () => new RotationSchedule({ rotator: rotator(), slots, minimumRemaining: HOUR, clock }),
    );
    for (let seconds = 0; seconds < 3; seconds += 1) {
      await Promise.all(schedules.map((schedule) => schedule.check()));
      clock.advance(1_000);
    }
    expect([provider.mints, (await store.read(SECRET)).versionId]).toEqual([1, versionId]);
  });

  test('is a request where Secrets Manager rotates and the life runs out', async () => {
    const fixture = rotationFixture();
    fixture.seedCurrent('old', fixture.clock.now() - 25 * HOUR, 25.5 * HOUR);
    fixture.store.configure(SECRET, { rotationEnabled: true });
    expect(await planned(fixture)).toMatchObject({
      mode: 'secrets-manager',
      schedule: { action: 'request' },
      onRequest: { action: 'request' },
    });
    expect(writes(fixture)).toBe(0);
  });
});

test.each([
  [false, 'mint'],
  [true, 'request'],
] as const)(
  'a token that receivers refuse, where rotation is managed: %s',
  async (rotationEnabled, action) => {
    const { store, rotator, clock, seedCurrent } = rotationFixture();
    seedCurrent('refused', clock.now() - 60_000);
    store.configure(SECRET, { rotationEnabled });
    const given = {
      store,
      tokenSecretId: SECRET,
      rotator: rotator(),
      slots: createSlots('0 3 * * *'),
      minimumRemaining: HOUR,
      clock,
    };
    expect((await planRotation(given)).schedule.action).toBe('none');
    const { schedule } = await planRotation({ ...given, isRefused: true });
    expect(schedule).toMatchObject({ action, reason: expect.stringContaining('receivers refuse') });
  },
);
