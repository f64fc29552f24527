import { expect, test } from '@jest/globals';
import {
  CLAIM_LEASE,
  claimIdOf,
  claimMinting,
  lastTaken,
  MOST_CLAIMS,
} from '../../src/rotation/claim.js';
import { CLAIM_LABEL, SecretStoreError, versionWithLabel } from '../../src/secrets/secret-store.js';
import { serializeRotationClaim } from '../../src/tokens/service-token.js';
import { MemorySecretStore } from '../support/memory-store.js';
import { VirtualClock } from '../support/virtual-clock.js';
import { SECRET } from './rotation-fixture.js';

const NOW = Date.parse('2026-11-22T12:00:00Z');
const VERSION = 'b1d0b3a2-0000-4000-8000-000000000001';

/** A clock that remembers its sleeps. */
class NotedClock extends VirtualClock {
  readonly slept: number[] = [];

  override sleep(milliseconds: number, signal?: AbortSignal): Promise<void> {
    this.slept.push(milliseconds);
    return super.sleep(milliseconds, signal);
  }
}

function claimFixture() {
  const clock = new NotedClock();
  const store = new MemorySecretStore({ clock });
  store.seed(SECRET, 'the value that is current');
  const claim = (owner: string, options: { lease?: number; signal?: AbortSignal } = {}) =>
    claimMinting(VERSION, {
      store,
      tokenSecretId: SECRET,
      clock,
      owner,
      lease: CLAIM_LEASE,
      ...options,
    });
  /** A claim as another process made it. */
  const claimed = (turn: number, owner: string, claimedAt = clock.now()): Promise<void> =>
    store.putClaim(SECRET, claimIdOf(VERSION, turn), serializeRotationClaim(owner, claimedAt));
  /** Something happens while somebody waits, after so many milliseconds. */
  const later = (milliseconds: number, happens: () => unknown): void => {
    store.before = async ({ method }) => {
      if (method === 'putClaim' || clock.now() < NOW + milliseconds) return;
      store.before = () => undefined;
      await happens();
    };
  };
  const holder = async () => versionWithLabel(await store.describe(SECRET), CLAIM_LABEL);
  return { clock, store, claim, claimed, later, holder };
}

test('the first has the claim at once, until it releases it', async () => {
  const { claim, holder, clock } = claimFixture();
  const one = await claim('one');
  expect([await holder(), clock.slept]).toEqual([claimIdOf(VERSION, 0), []]);
  if (one !== 'staged') await one.release();
  expect(await holder()).toBeUndefined();
});

test('another waits for its lease, and looks ever less often', async () => {
  const { claim, claimed, holder, clock } = claimFixture();
  await claimed(0, 'one');
  await claim('other');
  expect(clock.slept.slice(0, 7)).toEqual([100, 200, 400, 800, 1_600, 2_000, 2_000]);
  // The last pause ends with the lease.
  expect(clock.now() - NOW).toBe(CLAIM_LEASE);
  expect(Math.max(...clock.slept)).toBe(2_000);
  expect(await holder()).toBe(claimIdOf(VERSION, 1));
});

test('after a restart it waits for what is left of the lease', async () => {
  const { claim, claimed, clock } = claimFixture();
  await claimed(0, 'one', NOW - 40_000);
  await claim('other');
  expect(clock.now() - NOW).toBe(5_000);
});

test.each([
  ['names nobody', '{}'],
  [
    'does not say since when it stands',
    serializeRotationClaim('one', NOW).replace(/"claimed_at":"[^"]*"/, '"claimed_at":"?"'),
  ],
])('a claim that %s counts for as long as somebody waits', async (_what, value) => {
  const { claim, store, clock } = claimFixture();
  await store.putClaim(SECRET, claimIdOf(VERSION, 0), value);
  await claim('other', { lease: 10_000 });
  expect(clock.now() - NOW).toBe(10_000);
});

test('so does one that a lagging store does not show', async () => {
  const { claim, claimed, store, clock } = claimFixture();
  await claimed(0, 'one', NOW - 40_000);
  store.before = ({ method, versionId }) => {
    if (method === 'read' && versionId === claimIdOf(VERSION, 0)) {
      throw new SecretStoreError('VERSION_NOT_FOUND', 'not yet');
    }
  };
  await claim('other', { lease: 10_000 });
  expect(clock.now() - NOW).toBe(10_000);
});

test('nobody waits for a claim of its own', async () => {
  const { claim, claimed, clock, holder } = claimFixture();
  await claimed(0, 'one', NOW - 1);
  await claim('one');
  expect([await holder(), clock.slept]).toEqual([claimIdOf(VERSION, 1), []]);
});

test('who waits has nothing to mint once the version is staged', async () => {
  const { claim, claimed, store, later, clock } = claimFixture();
  await claimed(0, 'one');
  later(3_000, () => store.putPending(SECRET, VERSION, 'a token'));
  expect(await claim('other')).toBe('staged');
  expect(clock.now() - NOW).toBeLessThan(6_000);
  expect(store.calls.putClaim).toBe(2);
});

test('who waits claims five seconds after a claim that was released', async () => {
  const { claim, claimed, store, later, holder, clock } = claimFixture();
  await claimed(0, 'one');
  later(1_000, () => store.releaseClaim(SECRET, claimIdOf(VERSION, 0)));
  await claim('other');
  expect([await holder(), clock.now() - NOW]).toEqual([claimIdOf(VERSION, 1), 5_000]);
});

test('a claim that lost its label to one for another version stands for its lease', async () => {
  const { claim, claimed, store, later, clock } = claimFixture();
  await claimed(0, 'one');
  const other = claimIdOf('b1d0b3a2-0000-4000-8000-000000000002', 0);
  later(1_000, () => store.putClaim(SECRET, other, serializeRotationClaim('x', clock.now())));
  await claim('other');
  expect(clock.now() - NOW).toBe(CLAIM_LEASE);
});

test('who waits for a claim waits for the next one, when a third was quicker', async () => {
  const { claim, claimed, later, store, holder, clock } = claimFixture();
  await claimed(0, 'one', NOW + 3_600_000);
  later(1_000, () => claimed(1, 'third', NOW));
  await claim('other');
  // The third's clock says when its claim was made.
  expect([await holder(), clock.now() - NOW]).toEqual([claimIdOf(VERSION, 2), CLAIM_LEASE]);
  expect(store.calls.putClaim).toBeGreaterThan(2);
});

test('a wait ends when the process stops', async () => {
  const { claim, claimed, later } = claimFixture();
  await claimed(0, 'one');
  const stopping = new AbortController();
  later(1_000, () => stopping.abort(new Error('stopped')));
  await expect(claim('other', { signal: stopping.signal })).rejects.toThrow('stopped');
});

test('whoever has the last claim keeps it', async () => {
  const { claim, claimed, store, holder } = claimFixture();
  for (let turn = 0; turn < MOST_CLAIMS - 1; turn += 1) await claimed(turn, 'one', NOW - 60_000);
  const last = await claim('other');
  expect(await holder()).toBe(claimIdOf(VERSION, MOST_CLAIMS - 1));
  if (last !== 'staged') await last.release();
  expect([await holder(), store.calls.releaseClaim]).toEqual([
    claimIdOf(VERSION, MOST_CLAIMS - 1),
    0,
  ]);
});

test('after the last claim all wait for its lease, whatever its age, and mint without one', async () => {
  const { claim, claimed, store, clock } = claimFixture();
  for (let turn = 0; turn < MOST_CLAIMS; turn += 1) await claimed(turn, 'one', NOW - 40_000);
  const before = store.calls.putClaim;
  const unclaimed = await claim('other');
  expect(clock.now() - NOW).toBe(CLAIM_LEASE);
  expect(store.calls.putClaim - before).toBe(1);
  expect(unclaimed).not.toBe('staged');
  if (unclaimed !== 'staged') await unclaimed.release();
  expect(store.calls.releaseClaim).toBe(0);
});

test('the last of many is found from any that is taken', async () => {
  for (const [from, last] of [
    [5, 5],
    [5, 6],
    [5, 300],
    [19, 20],
  ] as const) {
    expect(await lastTaken(async (number) => number <= last, from)).toBe(last);
  }
});
