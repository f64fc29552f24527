import { describe, expect, test } from '@jest/globals';
import { randomUUID } from 'node:crypto';
import { CLAIM_LEASE } from '../../src/rotation/claim.js';
import {
  decideRepair,
  PENDING_GRACE,
  repairPending,
  type RepairInput,
} from '../../src/rotation/repair.js';
import type { SecretDescription } from '../../src/secrets/secret-store.js';
import { serializeRotationClaim, serializeServiceToken } from '../../src/tokens/service-token.js';
import { fc } from '../support/properties.js';
import { HOUR, rotationFixture, SECRET, tokenOf } from './rotation-fixture.js';

const NOW = Date.parse('2026-11-22T12:00:00Z');
const SECOND = 1_000;

function described(
  labels: Readonly<Record<string, readonly string[]>>,
  traits: Partial<SecretDescription> = {},
): SecretDescription {
  return {
    secretId: SECRET,
    labels: new Map(Object.entries(labels)),
    rotationEnabled: false,
    readOnlyReplica: false,
    ...traits,
  };
}

const LEFTOVER = { old: ['AWSCURRENT'], stuck: ['AWSPENDING'] };

function decide(input: Partial<RepairInput>): ReturnType<typeof decideRepair> {
  return decideRepair({
    now: NOW,
    description: described(LEFTOVER),
    stagedAt: NOW - PENDING_GRACE,
    claimedAt: undefined,
    force: false,
    ...input,
  });
}

describe('what a repair decides', () => {
  test.each<readonly [string, Partial<RepairInput>, string]>([
    ['a leftover that is old enough', {}, 'clear'],
    ['one that is a second too young', { stagedAt: NOW - PENDING_GRACE + SECOND }, 'refuse'],
    ['a young one, by force', { stagedAt: NOW, force: true }, 'clear'],
    ['one without a value, of unknown age', { stagedAt: undefined }, 'refuse'],
    ['the same by force', { stagedAt: undefined, force: true }, 'clear'],
    [
      'one without a value, in a secret that nobody has touched for long',
      {
        stagedAt: undefined,
        description: described(LEFTOVER, { changedAt: NOW - PENDING_GRACE }),
      },
      'clear',
    ],
    [
      'one without a value, in a secret that was touched just now',
      { stagedAt: undefined, description: described(LEFTOVER, { changedAt: NOW - SECOND }) },
      'refuse',
    ],
    ['while a claim stands', { claimedAt: NOW - CLAIM_LEASE + 1 }, 'refuse'],
    ['after a claim has lapsed', { claimedAt: NOW - CLAIM_LEASE }, 'clear'],
    ['while a claim stands, by force', { claimedAt: NOW, force: true }, 'clear'],
    ['nothing pending', { description: described({ old: ['AWSCURRENT'] }) }, 'nothing'],
    ['an empty secret', { description: described({}) }, 'nothing'],
    [
      'the current version, with AWSPENDING still on it',
      { description: described({ both: ['AWSCURRENT', 'AWSPENDING'] }), force: true },
      'nothing',
    ],
    [
      'a replica, even by force',
      { description: described(LEFTOVER, { readOnlyReplica: true }), force: true },
      'refuse',
    ],
    [
      'a secret that Secrets Manager rotates',
      { description: described(LEFTOVER, { rotationEnabled: true }) },
      'clear',
    ],
  ])('%s', (_what, input, kind) => {
    expect(decide(input).kind).toBe(kind);
  });

  test('never clears the current version, and without force nothing that may be in use', () => {
    const labels = fc.subarray(['AWSCURRENT', 'AWSPENDING', 'AWSPREVIOUS', 'BROKERCLAIM']);
    fc.assert(
      fc.property(
        fc.dictionary(fc.constantFrom('a', 'b', 'c'), labels),
        fc.option(fc.integer({ min: 0, max: 2 * PENDING_GRACE }), { nil: undefined }),
        fc.option(fc.integer({ min: 0, max: 2 * CLAIM_LEASE }), { nil: undefined }),
        fc.boolean(),
        (versions, stagedAgo, claimedAgo, force) => {
          const decision = decide({
            description: described(versions),
            stagedAt: stagedAgo === undefined ? undefined : NOW - stagedAgo,
            claimedAt: claimedAgo === undefined ? undefined : NOW - claimedAgo,
            force,
          });
          if (decision.kind !== 'clear') return;
          expect(versions[decision.versionId]).toContain('AWSPENDING');
          const [current] =
            Object.entries(versions).find(([, on]) => on.includes('AWSCURRENT')) ?? [];
          expect(decision.versionId).not.toBe(current);
          if (force) return;
          expect(stagedAgo ?? 0).toBeGreaterThanOrEqual(PENDING_GRACE);
          expect(claimedAgo ?? CLAIM_LEASE).toBeGreaterThanOrEqual(CLAIM_LEASE);
        },
      ),
    );
  });
});

describe('a repair', () => {
  const stage = async ({ store, clock }: ReturnType<typeof rotationFixture>): Promise<string> => {
    const versionId = randomUUID();
    const value = serializeServiceToken(tokenOf('stuck', clock.now()));
    await store.putPending(SECRET, versionId, value);
    return versionId;
  };

  test('takes AWSPENDING off, leaves what is served, and the next rotation works', async () => {
    const fixture = rotationFixture();
    const { store, clock, served, seedCurrent, rotator } = fixture;
    seedCurrent('old');
    const stuck = await stage(fixture);
    clock.advance(PENDING_GRACE);
    expect(await repairPending({ store, tokenSecretId: SECRET, clock })).toMatchObject({
      cleared: stuck,
      reason: expect.stringContaining('900 s'),
    });
    expect(await served()).toBe('old');
    expect((await store.describe(SECRET)).labels.get(stuck)).toBeUndefined();
    await rotator().rotate({ trigger: 'cli' });
    expect(await served()).toBe('token-1');
  });

  test('unblocks a rotation by Secrets Manager that left an empty version behind', async () => {
    const { store, clock, seedCurrent, rotator } = rotationFixture();
    seedCurrent('old');
    store.configure(SECRET, { rotationEnabled: true, changedAt: clock.now() });
    const { versionId } = await rotator().rotate({ trigger: 'cli' });
    clock.advance(PENDING_GRACE);
    await expect(rotator().rotate({ trigger: 'cli' })).rejects.toMatchObject({
      code: 'STORE_ROTATION_PENDING',
    });
    const repaired = await repairPending({ store, tokenSecretId: SECRET, clock });
    expect(repaired.cleared).toBe(versionId);
    expect(await rotator().rotate({ trigger: 'cli' })).toMatchObject({ result: 'requested' });
  });

  test('refuses a version that a rotation may be working on, says why, and changes nothing', async () => {
    const fixture = rotationFixture();
    const { store, clock, seedCurrent } = fixture;
    seedCurrent('old');
    const stuck = await stage(fixture);
    const repair = repairPending({ store, tokenSecretId: SECRET, clock });
    await expect(repair).rejects.toMatchObject({
      code: 'ROTATION_REPAIR_REFUSED',
      kind: 'retry',
      message: expect.stringMatching(new RegExp(`${stuck}.*became pending 0 s ago.*--force`)),
    });
    expect((await store.describe(SECRET)).labels.get(stuck)).toEqual(['AWSPENDING']);
    const forced = await repairPending({ store, tokenSecretId: SECRET, clock, force: true });
    expect(forced.cleared).toBe(stuck);
  });

  test('sees the claim of a replica that mints', async () => {
    const fixture = rotationFixture();
    const { store, clock, seedCurrent } = fixture;
    seedCurrent('old');
    await stage(fixture);
    clock.advance(PENDING_GRACE);
    await store.putClaim(SECRET, randomUUID(), serializeRotationClaim('other', clock.now()));
    await expect(repairPending({ store, tokenSecretId: SECRET, clock })).rejects.toMatchObject({
      message: expect.stringContaining('claimed a mint'),
    });
    await store.putClaim(SECRET, randomUUID(), 'not a claim');
    expect((await repairPending({ store, tokenSecretId: SECRET, clock })).cleared).toBeDefined();
  });

  test('is not held up by a replica whose clock was days ahead when it claimed', async () => {
    const fixture = rotationFixture();
    const { store, clock, seedCurrent } = fixture;
    seedCurrent('old');
    const stuck = await stage(fixture);
    const ahead = clock.now() + 72 * HOUR;
    await store.putClaim(SECRET, randomUUID(), serializeRotationClaim('other', ahead));
    await expect(repairPending({ store, tokenSecretId: SECRET, clock })).rejects.toMatchObject({
      message: expect.stringContaining('claimed a mint 0 s ago'),
    });
    clock.advance(PENDING_GRACE);
    expect((await repairPending({ store, tokenSecretId: SECRET, clock })).cleared).toBe(stuck);
  });

  test('says by how much the clocks differ', async () => {
    const fixture = rotationFixture();
    const { store, clock, seedCurrent } = fixture;
    seedCurrent('old');
    clock.advance(72 * HOUR);
    await stage(fixture);
    await store.putClaim(SECRET, randomUUID(), serializeRotationClaim('other', clock.now()));
    clock.advance(-72 * HOUR);
    const message = /claimed a mint 259200 s ahead of this machine's clock.*--force/;
    await expect(repairPending({ store, tokenSecretId: SECRET, clock })).rejects.toMatchObject({
      message: expect.stringMatching(message),
    });
  });

  test('does nothing where nothing is pending', async () => {
    const { store, clock, seedCurrent } = rotationFixture();
    seedCurrent('old');
    expect(await repairPending({ store, tokenSecretId: SECRET, clock })).toMatchObject({
      cleared: undefined,
    });
    expect(store.calls.clearPending).toBe(0);
  });
});
