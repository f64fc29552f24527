import { describe, expect, test } from '@jest/globals';
import { createSlots } from '../../src/rotation/coverage.js';
import { RotationSchedule } from '../../src/rotation/rotation-schedule.js';
import type { RotationOutcome } from '../../src/rotation/rotation.js';
import { SecretStoreError, versionWithLabel } from '../../src/secrets/secret-store.js';
import { BrokerError } from '../../src/tokens/errors.js';
import { HOUR, rotationFixture, SECRET } from './rotation-fixture.js';

/** A token secret that Secrets Manager rotates, and what plays its rotation function. */
function managedFixture() {
  const fixture = rotationFixture();
  const { store, clock } = fixture;
  store.configure(SECRET, { rotationEnabled: true });
  const outcomes: RotationOutcome[] = [];
  const failures: unknown[] = [];
  const rotator = (): ReturnType<typeof fixture.rotator> =>
    fixture.rotator({ observer: { rotationEnded: (outcome) => outcomes.push(outcome) } });
  const newSchedule = (): RotationSchedule =>
    new RotationSchedule({
      rotator: rotator(),
      slots: createSlots('0 3 * * *'),
      minimumRemaining: HOUR,
      clock,
      random: () => 1,
      observer: { checkFailed: (error) => failures.push(error) },
    });
  /** What Secrets Manager does after RotateSecret: all four steps on the version it has registered. */
  const runFunction = async (): Promise<void> => {
    const pending = versionWithLabel(await store.describe(SECRET), 'AWSPENDING') ?? '';
    const { steps } = rotator();
    await steps.createSecret(pending, { managed: true });
    await steps.setSecret(pending, { managed: true });
    await steps.testSecret(pending, { managed: true });
    await steps.finishSecret(pending, { managed: true });
  };
  /** Checks every 15 seconds, as the service does. */
  const checkFor = async (schedule: RotationSchedule, minutes: number): Promise<void> => {
    for (let passed = 0; passed < minutes * 4; passed += 1) {
      await schedule.check();
      clock.advance(15_000);
    }
  };
  return { ...fixture, rotator, newSchedule, runFunction, checkFor, outcomes, failures };
}

describe('a rotation that somebody asks for, where Secrets Manager rotates', () => {
  test.each(['cli', 'http', 'watchdog'] as const)('is a request (%s)', async (trigger) => {
    const { rotator, store, provider, outcomes, seedCurrent, served, runFunction } =
      managedFixture();
    seedCurrent('old');
    const asked = await rotator().rotate({ trigger });
    expect(asked.result).toBe('requested');
    expect(store.calls.putPending + store.calls.putClaim + provider.mints).toBe(0);
    expect(outcomes).toMatchObject([{ trigger, result: 'requested' }]);
    expect(await served()).toBe('old');
    await runFunction();
    expect(await served()).toBe('token-1');
    expect((await store.read(SECRET)).versionId).toBe(asked.versionId);
  });

  test('is no success: only the token secret shows one', async () => {
    const { rotator, seedCurrent } = managedFixture();
    seedCurrent('old');
    const one = rotator();
    await one.rotate({ trigger: 'cli' });
    expect(one.outcomes.latest()?.result).toBe('requested');
    expect(one.outcomes.latestSuccess()).toBeUndefined();
  });

  test('is refused while another one has not ended', async () => {
    const { rotator, seedCurrent, outcomes } = managedFixture();
    seedCurrent('old');
    await rotator().rotate({ trigger: 'cli' });
    await expect(rotator().rotate({ trigger: 'cli' })).rejects.toMatchObject({
      code: 'STORE_ROTATION_PENDING',
      kind: 'retry',
    });
    expect(outcomes.at(-1)).toMatchObject({ result: 'failed', code: 'STORE_ROTATION_PENDING' });
  });

  test('replicas that ask for the same get the same version', async () => {
    const { rotator, seedCurrent } = managedFixture();
    seedCurrent('old');
    const asked = await Promise.all(
      [rotator(), rotator(), rotator()].map((one) =>
        one.rotate({ trigger: 'watchdog', key: 'the same' }),
      ),
    );
    expect(new Set(asked.map(({ versionId }) => versionId)).size).toBe(1);
  });
});

describe('the schedule as a watchdog', () => {
  test('leaves Secrets Manager alone while the token has life enough', async () => {
    const { newSchedule, checkFor, seedCurrent, store, clock } = managedFixture();
    seedCurrent('old', clock.now() - 20 * HOUR, 25 * HOUR);
    await checkFor(newSchedule(), 120);
    expect(store.calls.requestRotation).toBe(0);
  });

  test('asks once when the life runs out, and is content with what comes of it', async () => {
    const { newSchedule, checkFor, seedCurrent, store, clock, runFunction, served, failures } =
      managedFixture();
    seedCurrent('old', clock.now() - 23.5 * HOUR, 25 * HOUR);
    const schedule = newSchedule();
    await checkFor(schedule, 29);
    expect(store.calls.requestRotation).toBe(0);
    await checkFor(schedule, 8);
    expect(store.calls.requestRotation).toBe(1);
    await runFunction();
    await checkFor(schedule, 180);
    expect(store.calls.requestRotation).toBe(1);
    expect(await served()).toBe('token-1');
    expect(failures).toEqual([]);
  });

  test('asks when nothing is served at all', async () => {
    const { newSchedule, store, runFunction, served } = managedFixture();
    await newSchedule().check();
    expect(store.calls.requestRotation).toBe(1);
    await runFunction();
    expect(await served()).toBe('token-1');
  });

  test('replicas ask for one rotation together', async () => {
    const { newSchedule, seedCurrent, clock, store, failures } = managedFixture();
    seedCurrent('old', clock.now() - 25 * HOUR, 25.5 * HOUR);
    const replicas = [newSchedule(), newSchedule(), newSchedule()];
    await Promise.all(replicas.map((replica) => replica.check()));
    const { labels } = await store.describe(SECRET);
    expect([...labels.values()].filter((on) => on.includes('AWSPENDING'))).toHaveLength(1);
    expect(failures).toEqual([]);
  });

  test('does not hammer a rotation that never ends, and reports it each time', async () => {
    const { newSchedule, checkFor, seedCurrent, clock, store, failures } = managedFixture();
    seedCurrent('old', clock.now() - 25 * HOUR, 25.5 * HOUR);
    await checkFor(newSchedule(), 6 * 60);
    // After 0 and 10 minutes; after 30, 40, 60 and 100, as the token has expired; and then every hour.
    expect(store.calls.requestRotation).toBe(10);
    expect(failures).toHaveLength(9);
    for (const failure of failures) {
      expect(failure).toMatchObject({ code: 'STORE_ROTATION_PENDING' });
    }
  });

  test('tries again with the usual backoff when Secrets Manager is not reached', async () => {
    const { newSchedule, checkFor, seedCurrent, clock, store, failures, runFunction, served } =
      managedFixture();
    seedCurrent('old', clock.now() - 25 * HOUR, 25.5 * HOUR);
    store.before = ({ method }) => {
      if (method === 'requestRotation') throw new SecretStoreError('STORE_THROTTLED', 'slow down');
    };
    const schedule = newSchedule();
    await checkFor(schedule, 30);
    expect(failures.length).toBe(120);
    store.before = () => undefined;
    await checkFor(schedule, 6);
    await runFunction();
    expect(await served()).toBe('token-1');
  });

  test('rotates by itself as soon as somebody has switched the rotation off', async () => {
    const { newSchedule, checkFor, seedCurrent, clock, store, served } = managedFixture();
    seedCurrent('old', clock.now() - 20 * HOUR, 25 * HOUR);
    const schedule = newSchedule();
    await checkFor(schedule, 10);
    store.configure(SECRET, { rotationEnabled: false });
    await checkFor(schedule, 6);
    expect(await served()).toBe('token-1');
  });

  test('says so when Secrets Manager may not be asked', async () => {
    const { newSchedule, seedCurrent, clock, store, failures } = managedFixture();
    seedCurrent('old', clock.now() - 25 * HOUR, 25.5 * HOUR);
    const denied = new BrokerError('STORE_ACCESS_DENIED', 'misconfigured', 'may not');
    store.before = ({ method }) => {
      if (method === 'requestRotation') throw denied;
    };
    await newSchedule().check();
    expect(failures).toEqual([denied]);
  });
});
