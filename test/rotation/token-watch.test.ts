import { describe, expect, test } from '@jest/globals';
import { TokenWatch, type Refusal } from '../../src/rotation/token-watch.js';
import { BrokerError } from '../../src/tokens/errors.js';
import { VirtualClock } from '../support/virtual-clock.js';
import { keysDown, rejected, tokenOf } from './rotation-fixture.js';

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
