import { describe, expect, test } from '@jest/globals';
import { BrokerError } from '../../src/tokens/errors.js';
import { HOUR, rejected } from './rotation-fixture.js';
import { scheduleFixture } from './schedule-fixture.js';

describe('the schedule', () => {
  test('rotates at each slot: thirty days, thirty tokens', async () => {
    const { newSchedule, clock, provider, failures } = scheduleFixture();
    const replicas = [newSchedule(), newSchedule(), newSchedule()];
    for (let hours = 0; hours < 30 * 24; hours += 1) {
      await Promise.all(replicas.map((replica) => replica.check()));
      clock.advance(HOUR);
    }
    expect(provider.mints).toBe(31);
    expect(failures).toEqual([]);
  });

  test('mints seldom while the tokens are rejected, however many replicas, and rotates soon after that is mended', async () => {
    const { newSchedule, clock, provider, seedCurrent, served } = scheduleFixture();
    // Monday's slot; the next is a week away.
    seedCurrent('old', clock.now() - 24 * HOUR, 30 * 24 * HOUR);
    provider.verifyFailure = rejected;
    const replicas = [newSchedule(), newSchedule(), newSchedule()];
    const checkAll = async (): Promise<void> => {
      await Promise.all(replicas.map((replica) => replica.check()));
      clock.advance(30_000);
    };
    const days = async (count: number): Promise<number> => {
      const before = provider.mints;
      for (const end = clock.now() + count * 24 * HOUR; clock.now() < end;) await checkAll();
      return provider.mints - before;
    };
    const slotsOf = 'a slot each day, 15 attempts that follow sooner and then one each half hour';
    const mints = await days(3);
    expect([slotsOf, mints <= 3 * (15 + 48) + 15]).toEqual([slotsOf, true]);
    expect(mints).toBeGreaterThan(3 * 40);
    expect(await served()).toBe('old');
    provider.verifyFailure = undefined;
    const mended = clock.now();
    while ((await served()) === 'old') await checkAll();
    expect(clock.now() - mended).toBeLessThanOrEqual(0.5 * HOUR + 60_000);
  });

  test('catches up the slot soon after the end of an outage that lasted for an hour', async () => {
    const { newSchedule, clock, provider, served } = scheduleFixture();
    provider.mintFailure = new BrokerError('PROVIDER_UNAVAILABLE', 'retry', 'down');
    const replicas = [newSchedule(), newSchedule(), newSchedule()];
    const checkAllFor = async (milliseconds: number): Promise<void> => {
      const end = clock.now() + milliseconds;
      while (clock.now() < end) {
        await Promise.all(replicas.map((replica) => replica.check()));
        await clock.sleep(15_000);
      }
    };
    await checkAllFor(HOUR);
    provider.mintFailure = undefined;
    const before = provider.mints;
    await checkAllFor(30_000);
    expect(await served()).toBe(`token-${before + 1}`);
    expect(provider.mints).toBe(before + 1);
  });

  test('tries a failed rotation again soon, however long it fails, and says so', async () => {
    const { newSchedule, clock, provider, failures, served } = scheduleFixture();
    provider.mintFailure = new BrokerError('PROVIDER_UNAVAILABLE', 'retry', 'down');
    const schedule = newSchedule();
    for (let seconds = 0; seconds < 3_600; seconds += 15) {
      await schedule.check();
      clock.advance(15_000);
    }
    expect(failures).toHaveLength(provider.mints);
    expect(provider.mints).toBe(3_600 / 15);
    provider.mintFailure = undefined;
    clock.advance(10_000);
    await schedule.check();
    expect(await served()).toMatch(/^token-/);
  });
});
