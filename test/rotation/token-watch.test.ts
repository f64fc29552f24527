import { describe, expect, test } from '@jest/globals';
import { createSlots } from '../../src/rotation/coverage.js';
import { RotationSchedule } from '../../src/rotation/rotation-schedule.js';
import { TokenWatch, type Refusal } from '../../src/rotation/token-watch.js';
import { versionWithLabel } from '../../src/secrets/secret-store.js';
import { BrokerError } from '../../src/tokens/errors.js';
import { parseServiceToken, type ServiceToken } from '../../src/tokens/service-token.js';
import { VirtualClock } from '../support/virtual-clock.js';
import { HOUR, keysDown, rejected, rotationFixture, SECRET, tokenOf } from './rotation-fixture.js';

const MINUTE = 60_000;

function watchFixture() {
  const clock = new VirtualClock();
  const told: string[] = [];
  const scene = {
    clock,
    told,
    versionId: 'v1',
    knownVersionId: 'v1' as string | undefined,
    /** What the next verifications end with. */
    failure: undefined as unknown,
    readFailure: undefined as unknown,
    reads: 0,
    verified: 0,
    beforeVerify: undefined as (() => void) | undefined,
    keys: 'first',
    /** Whether a verification finds other keys. */
    fetches: false,
  };
  const watch = new TokenWatch({
    current: async () => {
      scene.reads += 1;
      if (scene.readFailure !== undefined) throw scene.readFailure;
      return { versionId: scene.versionId, token: tokenOf(scene.versionId, clock.now()) };
    },
    knownVersionId: () => scene.knownVersionId,
    verify: async () => {
      scene.verified += 1;
      scene.beforeVerify?.();
      if (scene.fetches) scene.keys += '+';
      if (scene.failure !== undefined) throw scene.failure;
    },
    freshKeys: async () => scene.keys,
    clock,
    observer: {
      refused: ({ versionId, code }) => told.push(`${versionId} ${code}`),
      acceptedAgain: (versionId) => told.push(`${versionId} again`),
      notVerified: (error) => told.push((error as BrokerError).code),
    },
  });
  /** Checks every 15 seconds, as the broker does. */
  const watchFor = async (milliseconds: number): Promise<void> => {
    for (let passed = 0; passed < milliseconds; passed += 15_000) {
      await watch.check();
      clock.advance(15_000);
    }
    await watch.check();
  };
  return { scene, watch, watchFor };
}

const withdrawn = new BrokerError('TOKEN_KEY_UNKNOWN', 'rejected', 'The key is gone.');
const refusalOf = (code: string): Partial<Refusal> => ({ versionId: 'v1', code, isCurable: true });

describe('the watch', () => {
  test('verifies at start, and then every ten minutes', async () => {
    const { scene, watch, watchFor } = watchFixture();
    expect(watch.accepts('v1')).toBeUndefined();
    await watch.check();
    expect(scene.verified).toBe(1);
    expect(watch.accepts('v1')).toBe(true);
    expect(watch.accepts('v2')).toBeUndefined();
    await watchFor(9 * MINUTE);
    expect(scene.verified).toBe(1);
    await watchFor(24 * 60 * MINUTE);
    expect(scene.verified).toBe(1 + 24 * 6);
    expect(scene.told).toEqual([]);
  });

  test('tells a refusal once, and that it is over', async () => {
    const { scene, watch, watchFor } = watchFixture();
    await watch.check();
    scene.failure = withdrawn;
    await watchFor(60 * MINUTE);
    expect(scene.told).toEqual(['v1 TOKEN_KEY_UNKNOWN']);
    expect(watch.refusal()).toMatchObject({
      ...refusalOf('TOKEN_KEY_UNKNOWN'),
      reason: 'The key is gone.',
    });
    expect(watch.accepts('v1')).toBe(false);
    scene.failure = rejected;
    await watchFor(10 * MINUTE);
    scene.failure = undefined;
    await watchFor(10 * MINUTE);
    expect(scene.told.slice(1)).toEqual(['v1 TOKEN_AUDIENCE_WRONG', 'v1 again']);
    expect(watch.refusal()).toBeUndefined();
  });

  test.each([
    ['keys that cannot be read', keysDown],
    [
      'a credentials secret that is broken',
      new BrokerError('CREDENTIALS_SECRET_INVALID', 'misconfigured', 'No.'),
    ],
    ['a bug', new TypeError('x is not a function')],
  ])('%s refuse nothing, and lift no refusal', async (_what, failure) => {
    const { scene, watch, watchFor } = watchFixture();
    scene.failure = failure;
    await watchFor(30 * MINUTE);
    expect(watch.accepts('v1')).toBeUndefined();
    expect(scene.told).toHaveLength(1);
    scene.failure = withdrawn;
    await watchFor(10 * MINUTE);
    scene.failure = failure;
    await watchFor(30 * MINUTE);
    expect(watch.refusal()).toMatchObject(refusalOf('TOKEN_KEY_UNKNOWN'));
    expect(scene.told).toHaveLength(3);
  });

  test('while nothing can be verified it is tried again after 1, 2, 4, 8 and 10 minutes', async () => {
    const { scene, watchFor } = watchFixture();
    scene.failure = keysDown;
    await watchFor(60 * MINUTE);
    // At 0, 1, 3, 7, 15, 25, 35, 45 and 55 minutes.
    expect(scene.verified).toBe(9);
  });

  test('verifies another version as soon as it is current, whoever promoted it', async () => {
    const { scene, watch } = watchFixture();
    await watch.check();
    scene.clock.advance(15_000);
    scene.versionId = 'by-hand';
    scene.knownVersionId = 'by-hand';
    scene.failure = rejected;
    await watch.check();
    expect(watch.refusal()).toMatchObject({ versionId: 'by-hand', code: rejected.code });
    expect(scene.verified).toBe(2);
    await watch.check();
    expect(scene.verified).toBe(2);
  });

  test('verifies at once when the keys have changed, and once', async () => {
    const { scene, watch } = watchFixture();
    await watch.check();
    scene.keys = 'others';
    scene.failure = withdrawn;
    await watch.check();
    await watch.check();
    expect(scene.verified).toBe(2);
    expect(watch.accepts('v1')).toBe(false);
  });

  test('keys that a verification itself has fetched ask for no other one', async () => {
    const { scene, watch } = watchFixture();
    scene.fetches = true;
    await watch.check();
    scene.fetches = false;
    await watch.check();
    expect(scene.verified).toBe(1);
  });

  test('verifies at once when it is told that something changed', async () => {
    const { scene, watch } = watchFixture();
    await watch.check();
    watch.expire();
    await watch.check();
    await watch.check();
    expect(scene.verified).toBe(2);
  });

  test('without a token there is nothing to verify, and nothing to tell', async () => {
    const { scene, watch, watchFor } = watchFixture();
    scene.readFailure = new BrokerError('TOKEN_SECRET_EMPTY', 'retry', 'None yet.');
    scene.knownVersionId = undefined;
    await watchFor(5 * MINUTE);
    expect({ ...scene, clock: 0 }).toMatchObject({ verified: 0, told: [] });
    scene.readFailure = undefined;
    scene.knownVersionId = 'v1';
    await watch.check();
    expect(watch.accepts('v1')).toBe(true);
  });

  test('a version that cannot be served any more is not asked for all the time', async () => {
    const { scene, watch, watchFor } = watchFixture();
    await watch.check();
    scene.knownVersionId = 'v2';
    scene.readFailure = new BrokerError('TOKEN_EXPIRED', 'retry', 'Too little life.');
    const before = scene.reads;
    await watchFor(60 * MINUTE);
    expect(scene.reads - before).toBeLessThan(12);
  });

  test('a clock that is behind is no reason to mint', async () => {
    const { scene, watch } = watchFixture();
    scene.failure = new BrokerError('TOKEN_NOT_YET_VALID', 'rejected', 'Check the clocks.');
    await watch.check();
    expect(watch.refusal()).toMatchObject({ code: 'TOKEN_NOT_YET_VALID', isCurable: false });
  });

  test('a clock that was ahead during one verification stops nothing', async () => {
    const { scene, watch } = watchFixture();
    const right = scene.clock.now();
    scene.beforeVerify = () => scene.clock.set(right + 6 * 60 * MINUTE);
    await watch.check();
    scene.beforeVerify = undefined;
    scene.clock.set(right + 1_000);
    await watch.check();
    expect(scene.verified).toBe(2);
    await watch.check();
    expect(scene.verified).toBe(2);
  });

  test('a clock that is set back stops nothing', async () => {
    const { scene, watch } = watchFixture();
    await watch.check();
    scene.clock.set('2026-11-01T00:00:00.000Z');
    await watch.check();
    expect(scene.verified).toBe(2);
  });

  test('after it was stopped nothing is verified, and nothing is told', async () => {
    const { scene, watch } = watchFixture();
    scene.failure = withdrawn;
    const checking = watch.check();
    watch.stop();
    await checking;
    expect(scene.told).toEqual([]);
    watch.expire();
    await watch.check();
    expect(scene.verified).toBe(1);
  });
});

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
