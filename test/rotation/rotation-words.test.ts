import { describe, expect, test } from '@jest/globals';
import { earlyKey, slotKey, watchdogKey } from '../../src/rotation/claim.js';
import { decideDue, decideWatch, type CurrentToken } from '../../src/rotation/due.js';
import { createSlots } from '../../src/rotation/coverage.js';
import { CLAIM_LEASE } from '../../src/rotation/claim.js';
import { decideRepair, repairPending, type RepairInput } from '../../src/rotation/repair.js';
import { decidePlan, planRotation, type PlanInput } from '../../src/rotation/rotation-plan.js';
import { SecretStoreError } from '../../src/secrets/secret-store.js';
import { serializeRotationClaim, serializeServiceToken } from '../../src/tokens/service-token.js';
import { HOUR, rotationFixture, SECRET, tokenOf } from './rotation-fixture.js';

// What people read in plans, logs and refusals, and decide by.

const NOW = Date.parse('2026-11-22T12:00:00Z');
const SLOT = Date.parse('2026-11-22T03:00:00Z');
const tokenFrom = (generatedAt: number, life: number): CurrentToken => ({
  versionId: 'v1',
  generatedAt,
  expiresAt: NOW + life,
});

describe('why a rotation is due', () => {
  const due = (current: CurrentToken | undefined, isRefused = false) =>
    decideDue({
      now: NOW,
      slots: createSlots('0 3 * * *'),
      current,
      minimumRemaining: HOUR,
      isRefused,
    });

  test.each([
    [undefined, 'slot', slotKey(SLOT), 'there is no service token yet'],
    [
      tokenFrom(SLOT - 1, 9 * HOUR),
      'slot',
      slotKey(SLOT),
      'the service token was minted before the current slot',
    ],
    [tokenFrom(SLOT, HOUR - 1), 'early', 'early v1', 'the service token has little life left'],
  ])('%j', (current, kind, key, reason) => {
    expect(due(current)).toEqual({ kind, key, reason });
  });

  test('or is not: with the very life that is needed', () => {
    expect(due(tokenFrom(SLOT, HOUR))).toEqual({ kind: 'none' });
    expect(due(tokenFrom(SLOT, HOUR), true)).toEqual({
      kind: 'refused',
      key: 'early v1',
      reason: 'receivers refuse the service token',
    });
  });

  test.each([
    [undefined, 'there is no service token', 'watchdog none 2026-11-22T12:00:00.000Z'],
    [
      tokenFrom(SLOT, HOUR - 1),
      'the service token has little life left',
      'watchdog v1 2026-11-22T12:00:00.000Z',
    ],
  ])('for the watchdog: %j', (current, reason, key) => {
    const input = { now: NOW, current, minimumRemaining: HOUR, asked: undefined };
    expect(decideWatch(input)).toMatchObject({ kind: 'ask', reason, key });
    expect([earlyKey(undefined), watchdogKey(undefined, NOW)]).toEqual([
      'early none',
      'watchdog none 2026-11-22T12:00:00.000Z',
    ]);
  });
});

describe('the reasons of a plan', () => {
  const SLOT_DUE = { kind: 'slot', key: 'slot', reason: 'a slot has begun' } as const;
  const attempt = { versionId: 'v', state: 'new', givenUp: undefined } as const;
  const recent = 'the service token is of a moment ago; with --force another is minted';
  const shared = 'all who ask to have this version replaced share one rotation';
  const replica = 'the secret is a replica, which is rotated in its primary Region';
  const managed = 'Secrets Manager rotates the secret';

  test.each<[Partial<PlanInput>, object, string]>([
    [
      {},
      { action: 'none', reason: 'the service token is of this slot, and has life enough' },
      shared,
    ],
    [{ due: SLOT_DUE }, { action: 'none', reason: 'a slot has begun' }, shared],
    [
      { due: SLOT_DUE, attempt },
      { action: 'mint', versionId: 'v', reason: 'a slot has begun' },
      shared,
    ],
    [
      { due: SLOT_DUE, attempt: { ...attempt, state: 'done' }, isRecent: true },
      { action: 'none', versionId: 'v', reason: 'the version for this rotation is AWSCURRENT' },
      recent,
    ],
    [
      { due: SLOT_DUE, attempt, rest: NOW },
      {
        action: 'none',
        versionId: 'v',
        reason:
          "a slot has begun; the provider's last tokens were rejected, the next is minted after 2026-11-22T12:00:00.000Z",
      },
      shared,
    ],
    [{ mode: 'primary-region', isRecent: true }, { action: 'none', reason: replica }, replica],
    [
      { mode: 'secrets-manager' },
      { action: 'none', reason: 'Secrets Manager rotates by its own schedule' },
      managed,
    ],
    [
      { mode: 'secrets-manager', isStarving: true, isRecent: true },
      { action: 'request', reason: 'the life of the service token runs out' },
      recent,
    ],
    [
      { mode: 'secrets-manager', isStarving: true, isRefused: true },
      { action: 'request', reason: 'receivers refuse the service token' },
      managed,
    ],
  ])('for %j', (input, schedule, onRequest) => {
    const plan = decidePlan({
      mode: 'broker',
      due: { kind: 'none' },
      attempt: undefined,
      isStarving: false,
      ...input,
    });
    expect(plan.schedule).toEqual(schedule);
    expect(plan.onRequest.reason).toBe(onRequest);
  });

  test.each([
    ['nothing is due', NOW, undefined, 'none'],
    ['somebody else rotates', SLOT - HOUR, { readOnlyReplica: true }, 'none'],
    ['the slot is due', SLOT - HOUR, undefined, 'mint'],
    ['there is no token', undefined, undefined, 'mint'],
  ])(
    'name a version only where one would be written: %s',
    async (_what, mintedAt, traits, action) => {
      const { store, clock, rotator, seedCurrent } = rotationFixture();
      if (mintedAt !== undefined) seedCurrent('old', mintedAt);
      if (traits) store.configure(SECRET, traits);
      const { schedule } = await planRotation({
        store,
        tokenSecretId: SECRET,
        rotator: rotator(),
        slots: createSlots('0 3 * * *'),
        minimumRemaining: HOUR,
        clock,
      });
      expect(schedule.action).toBe(action);
      expect('versionId' in schedule).toBe(action === 'mint');
      // The description and the token; a version is looked for where one would be written.
      expect(store.calls.describe + store.calls.read).toBe(action === 'mint' ? 3 : 2);
    },
  );
});

describe('the reasons of a repair', () => {
  const described = (labels: Readonly<Record<string, readonly string[]>>, traits: object = {}) => ({
    secretId: SECRET,
    labels: new Map(Object.entries(labels)),
    rotationEnabled: false,
    readOnlyReplica: false,
    ...traits,
  });
  const stuck = { old: ['AWSCURRENT'], stuck: ['AWSPENDING'] };

  test.each<[Partial<RepairInput>, string, string]>([
    [
      { description: described({ old: ['AWSCURRENT', 'AWSPENDING'] }) },
      'nothing',
      'no version is pending besides the current one',
    ],
    [
      { description: described(stuck, { readOnlyReplica: true }), force: true },
      'refuse',
      'the secret is a replica: repair it in its primary Region',
    ],
    [{ force: true, stagedAt: NOW }, 'clear', 'cleared by force, whatever its age'],
    [
      { stagedAt: undefined },
      'refuse',
      'it has no value, and the store does not tell how old it is',
    ],
    [
      { claimedAt: NOW - CLAIM_LEASE + 1 },
      'refuse',
      'a replica claimed a mint 44 s ago, and may be about it for 45 s',
    ],
    [
      { claimedAt: NOW + CLAIM_LEASE },
      'refuse',
      'a replica claimed a mint 0 s ago, and may be about it for 45 s',
    ],
    [
      { claimedAt: NOW + CLAIM_LEASE + 1_000 },
      'refuse',
      "a replica claimed a mint 46 s ahead of this machine's clock, and may be about it for 45 s",
    ],
    [
      { claimedAt: NOW - CLAIM_LEASE, stagedAt: NOW - 899_999 },
      'refuse',
      'it became pending 899 s ago, and a rotation may take up to 900 s',
    ],
    [{ stagedAt: NOW - 900_000 }, 'clear', 'pending for 900 s, longer than any rotation takes'],
  ])('for %j', (input, kind, reason) => {
    const decision = decideRepair({
      now: NOW,
      description: described(stuck),
      stagedAt: NOW - HOUR,
      claimedAt: undefined,
      force: false,
      ...input,
    });
    expect(decision).toMatchObject({ kind, reason });
  });

  /** A version that is pending for an hour, and a claim made a moment ago. */
  async function claimed(claim = serializeRotationClaim('owner', NOW)) {
    const fixture = rotationFixture();
    const { store, clock } = fixture;
    clock.advance(-HOUR);
    fixture.seedCurrent('old');
    const pending = 'b1d0b3a2-0000-4000-8000-000000000001';
    await store.putPending(SECRET, pending, serializeServiceToken(tokenOf('stuck', clock.now())));
    clock.advance(HOUR);
    await store.putClaim(SECRET, 'b1d0b3a2-0000-4000-8000-000000000002', claim);
    const repair = () => repairPending({ store, tokenSecretId: SECRET, clock });
    return { ...fixture, pending, repair };
  }

  test('a claim that stands is left alone, with words that say what to do', async () => {
    const { repair, pending, store } = await claimed();
    await expect(repair()).rejects.toMatchObject({
      code: 'ROTATION_REPAIR_REFUSED',
      kind: 'retry',
      message: `The pending version ${pending} of secret "${SECRET}" was left as it is: a replica claimed a mint 0 s ago, and may be about it for 45 s. If you know that no rotation runs, add --force.`,
    });
    expect(store.calls.clearPending).toBe(0);
  });

  test.each([
    ['that a rotation since then has settled', 'newer'],
    ['that is none', undefined],
  ])('a claim %s does not count', async (_what, newer) => {
    const { repair, pending, clock, seedCurrent } = await claimed(
      newer === undefined ? 'nonsense' : undefined,
    );
    clock.advance(1);
    if (newer !== undefined) seedCurrent(newer);
    expect(await repair()).toMatchObject({ cleared: pending });
  });

  test('a claim of the same instant as the current version counts', async () => {
    const { repair, seedCurrent } = await claimed();
    seedCurrent('newer');
    await expect(repair()).rejects.toMatchObject({ code: 'ROTATION_REPAIR_REFUSED' });
  });

  test.each([
    ['was deleted since', 'VERSION_NOT_FOUND', true],
    ['cannot be read', 'STORE_THROTTLED', false],
  ] as const)('a claim that %s', async (_what, code, isCleared) => {
    const { repair, store, pending } = await claimed();
    store.before = ({ method, versionId }) => {
      if (method === 'read' && versionId?.endsWith('2')) throw new SecretStoreError(code, 'odd');
    };
    if (isCleared) expect(await repair()).toMatchObject({ cleared: pending });
    else await expect(repair()).rejects.toMatchObject({ code });
  });

  test('a claim counts also where no version is current', async () => {
    const fixture = rotationFixture({ firstVersionBecomesCurrent: false });
    const { store, clock } = fixture;
    clock.advance(-HOUR);
    await store.putPending(SECRET, 'b1d0b3a2-0000-4000-8000-000000000001', 'x');
    clock.advance(HOUR);
    const id = 'b1d0b3a2-0000-4000-8000-000000000002';
    await store.putClaim(SECRET, id, serializeRotationClaim('owner', NOW));
    await expect(repairPending({ store, tokenSecretId: SECRET, clock })).rejects.toMatchObject({
      code: 'ROTATION_REPAIR_REFUSED',
    });
  });

  test('where nothing is pending nothing is read but what the store says of the secret', async () => {
    const { store, clock, seedCurrent } = rotationFixture();
    seedCurrent('fine');
    expect(await repairPending({ store, tokenSecretId: SECRET, clock })).toEqual({
      cleared: undefined,
      reason: 'no version is pending besides the current one',
    });
    expect([store.calls.describe, store.calls.read]).toEqual([1, 0]);
  });
});
