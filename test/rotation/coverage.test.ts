import { describe, expect, test } from '@jest/globals';
import { createSlots, gapOfStoreRotation, worstGap } from '../../src/rotation/coverage.js';
import type { SecretDescription } from '../../src/secrets/secret-store.js';
import { HOUR } from './rotation-fixture.js';

const NOW = Date.parse('2026-11-22T12:00:00Z');

describe("the worst gap of Secrets Manager's schedules", () => {
  test.each([
    // Without a window: one hour for a schedule in hours, the rest of the day for one in days.
    ['rate(4 hours)', undefined, 4, 1],
    ['rate(1 hour)', undefined, 1, 1],
    ['rate(1 day)', undefined, 24, 24],
    ['rate(10 days)', undefined, 240, 24],
    ['rate(1 day)', '3h', 24, 3],
    ['cron(0 3 * * ? *)', undefined, 24, 21],
    ['cron(0 3 * * ? *)', '2h', 24, 2],
    ['cron(0 */6 * * ? *)', undefined, 6, 1],
    ['cron(0 4/12 * * ? *)', '1h', 12, 1],
    ['cron(0 8 ? * 2-6 *)', '1h', 72, 1],
    ['cron(0 8 ? * MON-FRI *)', '1h', 72, 1],
    ['cron(0 8 ? * 1 *)', '1h', 168, 1],
    ['cron(0 8 ? * 2,4 *)', '1h', 120, 1],
    ['cron(0 0 ? * 1/2 *)', '1h', undefined, undefined],
    ['cron(0 3 1/2 * ? *)', '1h', 48, 1],
  ])('%s within %s', (schedule, window, period, wide) => {
    const gap = gapOfStoreRotation({ schedule, ...(window !== undefined && { window }) }, NOW);
    expect(gap && [gap.period / HOUR, gap.window / HOUR]).toEqual(
      period === undefined ? undefined : [period, wide],
    );
  });

  test.each([
    ['nothing', undefined, undefined],
    ['an empty expression', '', undefined],
    ['words', 'daily', undefined],
    ['a cron expression without its year', 'cron(0 3 * * ?)', undefined],
    ['one for a single year', 'cron(0 3 * * ? 2027)', undefined],
    ['an hour that does not exist', 'cron(0 25 * * ? *)', undefined],
    ['a window in minutes', 'rate(1 day)', '90m'],
  ])('%s is not guessed at', (_what, schedule, window) => {
    expect(
      gapOfStoreRotation(
        { ...(schedule !== undefined && { schedule }), ...(window !== undefined && { window }) },
        NOW,
      ),
    ).toBeUndefined();
  });

  test('the last Friday of a month, and the second Monday, are those days', () => {
    // December 2026 and January 2027: the longest gaps of five weeks.
    for (const schedule of ['cron(0 3 ? * 6L *)', 'cron(0 3 ? * 2#2 *)']) {
      expect(gapOfStoreRotation({ schedule, window: '1h' }, NOW)?.period).toBe(35 * 24 * HOUR);
    }
  });
});

describe('whose schedule counts', () => {
  const slots = createSlots('0 3 * * *');
  const description = (traits: Partial<SecretDescription>): SecretDescription => ({
    secretId: 'token',
    labels: new Map(),
    rotationEnabled: false,
    readOnlyReplica: false,
    ...traits,
  });
  const storeRotation = { schedule: 'rate(4 hours)' };

  test.each([
    ['the broker rotates', {}, { period: 24 * HOUR, window: 0 }],
    [
      'Secrets Manager rotates',
      { rotationEnabled: true, storeRotation },
      { period: 4 * HOUR, window: HOUR },
    ],
    ['Secrets Manager does not say how', { rotationEnabled: true }, undefined],
    ['a replica', { readOnlyReplica: true, storeRotation }, { period: 24 * HOUR, window: 0 }],
  ])('%s', (_what, traits, gap) => {
    expect(worstGap(description(traits), slots, NOW)).toEqual(gap);
  });
});
