import { describe, expect, test } from '@jest/globals';
import { RotationSchedule } from '../../src/rotation/rotation-schedule.js';
import { createSlots } from '../../src/rotation/coverage.js';
import { TokenWatch } from '../../src/rotation/token-watch.js';
import { versionWithLabel } from '../../src/secrets/secret-store.js';
import { BrokerError } from '../../src/tokens/errors.js';
import { parseServiceToken, type ServiceToken } from '../../src/tokens/service-token.js';
import { HOUR, rotationFixture, SECRET } from './rotation-fixture.js';

const MINUTE = 60_000;
const withdrawn = new BrokerError('TOKEN_KEY_UNKNOWN', 'rejected', 'The key is gone.');

/** A token secret, and replicas that each judge tokens by rules of their own. */
function refusalFixture() {
  const fixture = rotationFixture();
  const { store, clock, provider } = fixture;
  const rests: number[] = [];
  /** A process with a schedule and a watch, which both judge by `accepts`. */
  const replica = (accepts: (name: string) => boolean) => {
    const verify = async ({ accessToken }: ServiceToken): Promise<void> => {
      if (!accepts(accessToken)) throw withdrawn;
    };
    const watch = new TokenWatch({
      current: async () => {
        const { value, versionId } = await store.read(SECRET);
        return { versionId, token: parseServiceToken(value) };
      },
      knownVersionId: () => undefined,
      verify,
      clock,
    });
    const schedule = new RotationSchedule({
      rotator: fixture.rotator({ verify, observer: { rotationEnded: () => watch.expire() } }),
      slots: createSlots('0 3 * * *'),
      minimumRemaining: HOUR,
      clock,
      random: () => 1,
      refusal: () => watch.refusal(),
      observer: { resting: (_reason, until) => rests.push(until) },
    });
    return async (): Promise<void> => {
      await Promise.all([schedule.check(), watch.check().then(() => schedule.check())]);
    };
  };
  const run = async (replicas: readonly (() => Promise<void>)[], minutes: number) => {
    for (let passed = 0; passed < minutes * 4; passed += 1) {
      await Promise.all(replicas.map((check) => check()));
      clock.advance(15_000);
    }
  };
  return { ...fixture, replica, run, rests, mints: () => provider.mints };
}

describe('a current token that receivers refuse', () => {
  test('is rotated at once, and once for all replicas', async () => {
    const { replica, run, seedCurrent, served, mints, clock } = refusalFixture();
    const gone = new Set<string>();
    const accepts = (name: string): boolean => !gone.has(name);
    seedCurrent('old', clock.now() - MINUTE);
    const replicas = [replica(accepts), replica(accepts), replica(accepts)];
    await run(replicas, 5);
    expect(await served()).toBe('old');
    gone.add('old');
    await run(replicas, 10);
    expect(await served()).toBe('token-1');
    expect(mints()).toBe(1);
    await run(replicas, 8 * 60);
    expect(mints()).toBe(1);
  });

  test('is found by a process that has just started', async () => {
    const { replica, run, seedCurrent, served, clock } = refusalFixture();
    seedCurrent('of other settings', clock.now() - MINUTE);
    await run([replica((name) => name.startsWith('token-'))], 1);
    expect(await served()).toBe('token-1');
  });

  test('is found when somebody promotes it by hand', async () => {
    const { replica, run, seedCurrent, served } = refusalFixture();
    const check = replica((name) => name !== 'by hand');
    await run([check], 1);
    expect(await served()).toBe('token-1');
    seedCurrent('by hand', Date.parse('2026-11-22T12:00:30Z'));
    await run([check], 11);
    expect(await served()).toBe('token-2');
  });

  test('costs few tokens while new ones are refused too, and is replaced within half an hour', async () => {
    const { replica, run, seedCurrent, served, mints, rests, clock } = refusalFixture();
    let isBroken = true;
    const accepts = (name: string): boolean => !isBroken && name !== 'old';
    seedCurrent('old', clock.now() - MINUTE);
    const replicas = [replica(accepts), replica(accepts), replica(accepts)];
    await run(replicas, 6 * 60);
    expect(await served()).toBe('old');
    expect(rests.length).toBeGreaterThan(0);
    expect(mints()).toBeLessThan(30);
    isBroken = false;
    await run(replicas, 36);
    expect(await served()).toMatch(/^token-/);
  });

  test('brokers with different settings do not replace each other’s tokens without end', async () => {
    const { replica, run, seedCurrent, mints, clock } = refusalFixture();
    seedCurrent('old', clock.now() - MINUTE);
    // Each accepts only what it has minted last: a provider could not make both happy.
    const odd = replica((name) => /[13579]$/.test(name));
    const even = replica((name) => /[02468]$/.test(name));
    await run([odd, even], 12 * 60);
    // Without a pause: thousands.
    expect(mints()).toBeLessThan(60);
  });
});

describe('where Secrets Manager rotates', () => {
  test('the watchdog asks it to, and not again until ten minutes later', async () => {
    const { replica, run, seedCurrent, store, rotator, served, clock } = refusalFixture();
    store.configure(SECRET, { rotationEnabled: true });
    const gone = new Set<string>();
    seedCurrent('old', clock.now() - MINUTE);
    const check = replica((name) => !gone.has(name));
    await run([check], 5);
    gone.add('old');
    await run([check], 4);
    expect(store.calls.requestRotation).toBe(0);
    await run([check], 9);
    expect(store.calls.requestRotation).toBe(1);
    const pending = versionWithLabel(await store.describe(SECRET), 'AWSPENDING') ?? '';
    const { steps } = rotator();
    for (const step of ['createSecret', 'setSecret', 'testSecret', 'finishSecret'] as const) {
      await steps[step](pending, { managed: true });
    }
    await run([check], 8 * 60);
    expect(await served()).toBe('token-1');
    expect(store.calls.requestRotation).toBe(1);
  });

  test('a rotation function with other settings is not asked without end', async () => {
    const { replica, run, seedCurrent, store, rotator, clock } = refusalFixture();
    store.configure(SECRET, { rotationEnabled: true });
    seedCurrent('old', clock.now() - MINUTE);
    const check = replica(() => false);
    const { steps } = rotator();
    for (let quarters = 0; quarters < 8 * 4; quarters += 1) {
      await run([check], 15);
      const pending = versionWithLabel(await store.describe(SECRET), 'AWSPENDING');
      if (pending === undefined) continue;
      for (const step of ['createSecret', 'setSecret', 'testSecret', 'finishSecret'] as const) {
        await steps[step](pending, { managed: true });
      }
    }
    expect(store.calls.requestRotation).toBeLessThan(22);
  });

  test('a replica in another Region only takes note', async () => {
    const { replica, run, seedCurrent, store, served, clock, mints } = refusalFixture();
    store.configure(SECRET, { readOnlyReplica: true });
    seedCurrent('old', clock.now() - MINUTE);
    await run([replica(() => false)], 60);
    expect(await served()).toBe('old');
    expect(mints() + store.calls.requestRotation).toBe(0);
  });
});
