import { describe, expect, test } from '@jest/globals';
import { createRequire } from 'node:module';
import { checkCoverage, gapOfStoreRotation } from '../../src/rotation/coverage.js';
import { fc } from '../support/properties.js';

interface Read {
  readonly expression: string;
  /** Milliseconds. */
  readonly gap: number;
  readonly missing: { readonly period: number; readonly periods: number; readonly isSeen: boolean };
  readonly expiringSeconds: number;
}
interface Given {
  readonly schedule: string;
  readonly window: string;
  readonly tokenLifetime: string;
}

const { Mistake, readSchedule } = createRequire(import.meta.url)('../../deploy/schedule.cjs') as {
  readonly Mistake: new () => Error;
  readonly readSchedule: (given: Given) => Read;
};

const HOUR = 3_600_000;
const DAY = 24 * HOUR;
const NOW = Date.UTC(2026, 0, 1);
const read = (schedule: string, window = '', tokenLifetime = '9999d'): Read =>
  readSchedule({ schedule, window, tokenLifetime });

describe('the schedule', () => {
  test.each([
    ['rate(4 hours)', 'rate(4 hours)', 5],
    ['rate(12 hour)', 'rate(12 hours)', 13],
    ['rate(1 day)', 'rate(1 day)', 48],
    ['rate(1 days)', 'rate(1 day)', 48],
    ['rate(10 days)', 'rate(10 days)', 264],
    ['cron(0 3/12 * * ? *)', 'cron(0 3/12 * * ? *)', 13],
    ['cron(0 8/8 * * ? *)', 'cron(0 8/8 * * ? *)', 17],
    ['cron(0 3,15 * * ? *)', 'cron(0 3,15 * * ? *)', 13],
    ['cron(0 */6 * * ? *)', 'cron(0 */6 * * ? *)', 7],
    ['cron(0 3 * * ? *)', 'cron(0 3 * * ? *)', 45],
    ['cron(0  3 ? * MON-FRI *)', 'cron(0 3 ? * MON-FRI *)', 72 + 21],
    ['cron(0 0 ? * SUN#1 *)', 'cron(0 0 ? * SUN#1 *)', 35 * 24 + 24],
    ['cron(0 16 L * ? *)', 'cron(0 16 L * ? *)', 31 * 24 + 8],
    ['cron(0 16 ? * 6L *)', 'cron(0 16 ? * 6L *)', 35 * 24 + 8],
    ['cron(0 8 1/7 * ? *)', 'cron(0 8 1/7 * ? *)', 7 * 24 + 16],
    ['cron(0 0 1 JAN,JUL ? *)', 'cron(0 0 1 JAN,JUL ? *)', 184 * 24 + 24],
  ])('%s is %s, and leaves up to %d hours between two rotations', (given, expression, hours) => {
    expect(read(given)).toMatchObject({ expression, gap: hours * HOUR });
  });

  test.each([
    ['rate(1 hours)', '1 hour apart'],
    ['rate(1 hour)', '1 hour apart'],
    ['rate(3 hours)', '3 hours apart'],
    ['rate(0 hours)', 'form'],
    ['rate(012 hours)', 'form'],
    ['rate(12hours)', 'form'],
    ['rate(12 minutes)', 'form'],
    ['rate(1.5 days)', 'form'],
    ['rate(1000 days)', '999 days'],
    ['rate(12 hours', 'form'],
    ['', 'neither'],
    ['0 3 * * *', 'neither'],
    ['cron(0 3 * * *)', 'neither'],
    ['cron(0 3 * * ? * *)', 'neither'],
    ['CRON(0 3 * * ? *)', 'neither'],
    ['cron(30 3 * * ? *)', 'minutes must be 0'],
    ['cron(* 3 * * ? *)', 'minutes must be 0'],
    ['cron(0 3 * * ? 2026)', 'year must be *'],
    ['cron(0 3 * * * *)', 'must be ?'],
    ['cron(0 3 ? * ? *)', 'must be ?'],
    ['cron(0 24 * * ? *)', 'from 0 to 23'],
    ['cron(0 3 32 * ? *)', 'from 1 to 31'],
    ['cron(0 3 0 * ? *)', 'from 1 to 31'],
    ['cron(0 3 * 13 ? *)', 'from 1 to 12'],
    ['cron(0 3 ? * 8 *)', 'from 1 to 7'],
    ['cron(0 3 ? * 2#6 *)', 'from 1 to 7'],
    ['cron(0 3 ? * FOO *)', 'from 1 to 7'],
    ['cron(0 20-3 * * ? *)', 'backwards'],
    ['cron(0 3/0 * * ? *)', 'cannot be read'],
    ['cron(0 3- * * ? *)', 'from 0 to 23'],
    ['cron(0 , * * ? *)', 'cannot be read'],
    ['cron(0 * * * ? *)', '1 hour apart'],
    ['cron(0 */3 * * ? *)', '3 hours apart'],
    // 0, 7, 14, 21, and 0 again.
    ['cron(0 0/7 * * ? *)', '3 hours apart'],
    ['cron(0 3 30 2 ? *)', 'never'],
    ['cron(0 3 29 2 ? *)', 'more than a year'],
  ])('%s is refused: %s', (schedule, why) => {
    expect(() => read(schedule, '1h')).toThrow(Mistake);
    expect(() => read(schedule, '1h')).toThrow(why);
  });

  const hours = fc
    .uniqueArray(fc.integer({ min: 0, max: 23 }), { minLength: 1, maxLength: 4 })
    .map((list) => list.join(','));
  const cron = fc
    .record({
      hours: fc.oneof(hours, fc.constantFrom('0/6', '3/12', '1-23/5', '*/8')),
      days: fc.oneof(
        fc.integer({ min: 1, max: 28 }).map((day) => `${day} * ?`),
        fc.integer({ min: 1, max: 7 }).map((day) => `? * ${day}`),
        fc.constantFrom('* * ?', '1/7 * ?', '? * MON-FRI', '? * 2-6', '? * 2#1', '? * 6L', 'L * ?'),
      ),
    })
    .map((parts) => `cron(0 ${parts.hours} ${parts.days} *)`);
  const rate = fc
    .tuple(fc.integer({ min: 1, max: 400 }), fc.constantFrom('hours', 'days'))
    .map(([amount, unit]) => `rate(${amount} ${unit})`);

  test('what is taken leaves the gap that the broker itself finds', () => {
    let taken = 0;
    fc.assert(
      fc.property(fc.oneof(cron, rate), (schedule) => {
        let own: Read;
        try {
          own = read(schedule, '1h');
        } catch (error) {
          expect(error).toBeInstanceOf(Mistake);
          return;
        }
        const gap = gapOfStoreRotation({ schedule: own.expression, window: '1h' }, NOW);
        // The broker looks at a year from now on; this one at eight, so that it may find longer gaps.
        expect(own.gap).toBeGreaterThanOrEqual((gap?.period ?? Infinity) + HOUR);
        if (own.gap < 7 * DAY) expect(own.gap).toBe((gap?.period ?? Infinity) + HOUR);
        taken += 1;
      }),
    );
    expect(taken).toBeGreaterThan(20);
  });
});

describe('the window', () => {
  test.each([
    ['rate(12 hours)', '1h'],
    ['rate(12 hours)', '12h'],
    ['rate(1 day)', '24h'],
    ['cron(0 3/12 * * ? *)', '9h'],
    ['cron(0 3 * * ? *)', '21h'],
    ['cron(0 23 * * ? *)', '1h'],
  ])('%s, %s', (schedule, window) => {
    expect(() => read(schedule, window)).not.toThrow();
  });

  test.each([
    ['rate(12 hours)', '13h', 'give 12h at most'],
    ['rate(4 hours)', '5h', 'give 4h at most'],
    ['cron(0 3/12 * * ? *)', '13h', 'give 12h at most'],
    ['cron(0 3/12 * * ? *)', '10h', 'give 9h at most'],
    ['cron(0 3 * * ? *)', '22h', 'give 21h at most'],
    ['cron(0 23 * * ? *)', '2h', 'give 1h at most'],
    ['rate(1 day)', '25h', 'no length'],
    ['rate(1 day)', '0h', 'no length'],
    ['rate(1 day)', '01h', 'no length'],
    ['rate(1 day)', '1', 'no length'],
    ['rate(1 day)', '60m', 'no length'],
    ['rate(1 day)', '1.5h', 'no length'],
    ['rate(1 day)', '1H', 'no length'],
  ])('%s, %s is refused: %s', (schedule, window, why) => {
    expect(() => read(schedule, window)).toThrow(Mistake);
    expect(() => read(schedule, window)).toThrow(why);
  });
});

describe('the life of the token', () => {
  test.each([
    ['24h', true],
    ['1d', true],
    ['787m', true],
    ['786m', false],
    ['13h', false],
  ])(
    '%s with two rotations a day: %j, as the broker’s own coverage check has it',
    (life, covered) => {
      const schedule = 'cron(0 3/12 * * ? *)';
      const gap = gapOfStoreRotation({ schedule, window: '1h' }, NOW);
      if (gap === undefined) throw new Error('It cannot be read.');
      const [, amount = '', unit = ''] = /^(\d+)(.)$/.exec(life) ?? [];
      const tokenLifetime = Number(amount) * ({ m: HOUR / 60, h: HOUR, d: DAY }[unit] ?? NaN);
      expect(
        checkCoverage({ tokenLifetime, ...gap, cacheTtl: 300_000, skew: 60_000 }).covered,
      ).toBe(covered);
      if (covered) expect(() => read(schedule, '1h', life)).not.toThrow();
      else expect(() => read(schedule, '1h', life)).toThrow('is too short for schedule');
    },
  );

  test.each(['', '24', '24 hours', '0h', '1.5h', '-1h', '1w', '24H'])('%j is refused', (life) => {
    expect(() => read('rate(12 hours)', '1h', life)).toThrow('no length of time');
  });

  test('a daily rotation is refused for tokens of a day, whatever the window', () => {
    expect(() => read('cron(0 3 * * ? *)', '1h', '24h')).toThrow('up to 25 hours pass');
    expect(() => read('rate(1 day)', '', '24h')).toThrow('without a window');
  });
});

describe('the alarms', () => {
  test('of the defaults ring 14 hours after a token, and while it lives for six hours more', () => {
    expect(read('cron(0 3/12 * * ? *)', '1h', '24h')).toMatchObject({
      missing: { period: 300, periods: 14 * 12, isSeen: true },
      expiringSeconds: 6 * 3600,
    });
  });

  test('ring after every rotation that is in time, and before the token ends; CloudWatch can look back so far', () => {
    const schedule = fc.constantFrom(
      'rate(4 hours)',
      'rate(8 hours)',
      'cron(0 3/12 * * ? *)',
      'cron(0 3 * * ? *)',
      'cron(0 3 ? * 2,4,6 *)',
      'rate(5 days)',
      'rate(30 days)',
      'cron(0 3 1 * ? *)',
    );
    const spare = fc.oneof(
      fc.integer({ min: 7, max: 120 }),
      fc.integer({ min: 121, max: 90 * 24 * 60 }),
    );
    fc.assert(
      fc.property(schedule, spare, (text, minutes) => {
        const { gap } = read(text, '1h');
        const life = gap + minutes * 60_000;
        const { missing, expiringSeconds } = read(text, '1h', `${life / 60_000}m`);
        const span = missing.period * missing.periods * 1000;
        if (missing.isSeen) {
          expect(span).toBeGreaterThan(gap);
          expect(span + missing.period * 1000).toBeLessThan(life);
        }
        expect(span).toBeLessThanOrEqual(missing.period < 3600 ? DAY : 7 * DAY);
        expect(expiringSeconds).toBeGreaterThan(0);
        // What is left of a token when the next one comes at last.
        expect(expiringSeconds * 1000).toBeLessThan(life - gap);
      }),
    );
  });

  test('a gap of more than a week is left to the alarm on the remaining life', () => {
    expect(read('rate(30 days)', '1h', '60d').missing.isSeen).toBe(false);
    expect(read('rate(5 days)', '1h', '30d').missing.isSeen).toBe(true);
  });
});
