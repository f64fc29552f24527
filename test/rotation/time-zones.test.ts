import { describe, expect, test } from '@jest/globals';
import { createSlots } from '../../src/rotation/coverage.js';
import { RotationSchedule } from '../../src/rotation/rotation-schedule.js';
import { HOUR, rotationFixture } from './rotation-fixture.js';

const DAY = 24 * HOUR;

/** A zone, and a day on which its clock is set: both hemispheres, half hours, midnight, and rules that were changed. */
const NIGHTS: readonly (readonly [zone: string, day: string, what: string])[] = [
  ['Europe/Berlin', '2026-03-29', 'skips 02:00 to 03:00'],
  ['Europe/Berlin', '2026-10-25', 'has 02:00 to 03:00 twice'],
  ['Europe/Dublin', '2026-10-25', 'has its standard time in summer'],
  ['America/New_York', '2026-03-08', 'skips 02:00 to 03:00'],
  ['America/New_York', '2026-11-01', 'has 01:00 to 02:00 twice'],
  ['America/St_Johns', '2026-11-01', 'is half an hour off'],
  ['Australia/Sydney', '2026-04-05', 'has 02:00 to 03:00 twice'],
  ['Australia/Sydney', '2026-10-04', 'skips 02:00 to 03:00'],
  ['Australia/Lord_Howe', '2026-04-05', 'has 01:30 to 02:00 twice'],
  ['Australia/Lord_Howe', '2026-10-04', 'skips 02:00 to 02:30'],
  ['America/Santiago', '2026-09-06', 'skips midnight'],
  ['America/Santiago', '2026-04-04', 'has 23:00 to 24:00 twice'],
  ['Africa/Cairo', '2026-04-24', 'skips midnight'],
  ['Africa/Casablanca', '2026-03-22', 'is set for Ramadan'],
  ['America/Sao_Paulo', '2018-11-04', 'had summer time until 2019'],
  ['Asia/Pyongyang', '2015-08-14', 'changed its offset by half an hour'],
  ['Pacific/Apia', '2011-12-29', 'has no 30 December'],
  ['Asia/Kolkata', '2026-03-29', 'has no summer time'],
];

/** The long form, `CLOCK_ZONES=all`, takes every quarter of an hour, and more schedules. */
const isLong = process.env['CLOCK_ZONES'] === 'all';
const QUARTERS = Array.from({ length: 96 }, (_, quarter) => quarter).filter(
  (quarter) => isLong || (quarter < 16 && quarter % 3 === 2) || quarter === 0 || quarter === 94,
);
const CRONS = isLong ? ['30 2 * * *', '45 1 * * *', '0 0 * * *', '30 23 * * *'] : ['45 1 * * *'];

const nameDay = (zone: string): ((instant: number) => string) => {
  const format = new Intl.DateTimeFormat('en-CA', { timeZone: zone, dateStyle: 'short' });
  return (instant) => format.format(instant);
};

/** The days of a zone from two before an instant to two after it, by their names. */
function daysAround(zone: string, noon: number): readonly string[] {
  const dayOf = nameDay(zone);
  const hours = Array.from({ length: 97 }, (_, hour) => dayOf(noon + (hour - 48) * HOUR));
  return [...new Set(hours)];
}

describe('a daily schedule by the clock of a zone', () => {
  test.each(NIGHTS)('%s on %s %s: one slot a day, at every quarter of an hour', (zone, day) => {
    const noon = Date.parse(`${day}T12:00:00Z`);
    const dayOf = nameDay(zone);
    const days = daysAround(zone, noon).slice(1, -1);
    for (const quarter of QUARTERS) {
      const cron = `${(quarter % 4) * 15} ${Math.floor(quarter / 4)} * * *`;
      const slots = createSlots(cron, zone);
      const starts: number[] = [];
      for (let at = slots.startOf(noon - 3 * DAY); at < noon + 3 * DAY; at = slots.nextAfter(at)) {
        starts.push(at);
      }
      const found = starts.map(dayOf).filter((name) => days.includes(name));
      expect([cron, found]).toEqual([cron, days]);
      // Backwards it is the same: at its start, a second before and a second after.
      starts.slice(1).forEach((start, index) => {
        const around = [start - 1, start, start + 1_000].map((now) => slots.startOf(now));
        expect([cron, around]).toEqual([cron, [starts[index], start, start]]);
      });
    }
  });

  test.each([
    ['Europe/Berlin', '2026-03-28T12:00Z', '30 2 * * *', '2026-03-29T01:00:00.000Z'],
    ['Europe/Berlin', '2026-10-24T12:00Z', '30 2 * * *', '2026-10-25T00:30:00.000Z'],
    ['Australia/Lord_Howe', '2026-10-03T00:00Z', '15 2 * * *', '2026-10-03T15:30:00.000Z'],
    ['Australia/Lord_Howe', '2026-04-04T00:00Z', '45 1 * * *', '2026-04-04T14:45:00.000Z'],
    ['UTC', '2026-03-28T12:00Z', '30 2 * * *', '2026-03-29T02:30:00.000Z'],
  ])('%s from %s, "%s": next at %s', (zone, from, cron, next) => {
    expect(new Date(createSlots(cron, zone).nextAfter(Date.parse(from))).toISOString()).toBe(next);
  });

  test('hours that are listed count once, and every hour goes on evenly', () => {
    const night = Date.parse('2026-10-24T22:00:00Z');
    const count = (cron: string): number => {
      const slots = createSlots(cron, 'Europe/Berlin');
      let slotsOfNight = 0;
      for (let at = slots.nextAfter(night - 1); at < night + 25 * HOUR; at = slots.nextAfter(at)) {
        slotsOfNight += 1;
      }
      return slotsOfNight;
    };
    expect(count('30 2,14 * * *')).toBe(2);
    expect(count('0 * * * *')).toBe(25);
    expect(count('*/30 * * * *')).toBe(50);
  });

  test('the worst gap is the day that is longer', () => {
    const now = Date.parse('2026-05-01T00:00:00Z');
    expect(createSlots('0 3 * * *', 'Europe/Berlin').longestPeriod(now)).toBe(25 * HOUR);
    expect(createSlots('0 3 * * *', 'Australia/Lord_Howe').longestPeriod(now)).toBe(24.5 * HOUR);
    expect(createSlots('0 3 * * *', 'Asia/Kolkata').longestPeriod(now)).toBe(24 * HOUR);
    expect(createSlots('0 3 * * *').longestPeriod(now)).toBe(24 * HOUR);
  });
});

describe('days that are not in every year', () => {
  test.each([
    ['0 3 29 2 *', '2026-03-01', ['2028-02-29', '2032-02-29']],
    ['0 3 29 2 *', '2096-03-01', ['2104-02-29', '2108-02-29']],
    ['59 23 31 12 *', '2026-06-01', ['2026-12-31', '2027-12-31']],
    ['0 0 1 1 *', '2026-06-01', ['2027-01-01', '2028-01-01']],
    ['0 3 L 2 *', '2027-01-01', ['2027-02-28', '2028-02-29']],
  ])('"%s" after %s', (cron, from, days) => {
    for (const zone of ['UTC', 'Europe/Berlin']) {
      const slots = createSlots(cron, zone);
      const dayOf = nameDay(zone);
      const first = slots.nextAfter(Date.parse(from));
      const second = slots.nextAfter(first);
      expect([first, second].map(dayOf)).toEqual(days);
      expect(slots.startOf(second - 1)).toBe(first);
    }
  });
});

describe('rotations on such a night', () => {
  test.each(NIGHTS)(
    '%s on %s %s: one a day, whatever the hour, with three replicas',
    async (zone, day) => {
      const noon = Date.parse(`${day}T12:00:00Z`);
      const dayOf = nameDay(zone);
      for (const cron of CRONS) {
        const { clock, provider, rotator } = rotationFixture();
        clock.set(noon - 2 * DAY);
        // The longest day has 25 hours, and an hour before its end a token is rotated early.
        provider.lifetime = 27 * HOUR;
        const slots = createSlots(cron, zone);
        const replicas = [0, 1, 2].map(
          () => new RotationSchedule({ rotator: rotator(), slots, minimumRemaining: HOUR, clock }),
        );
        const mints: string[] = [];
        for (
          let before = 0;
          clock.now() < noon + 2 * DAY;
          clock.advance(isLong ? 900_000 : 1_800_000)
        ) {
          await Promise.all(replicas.map((replica) => replica.check()));
          if (provider.mints > before) mints.push(dayOf(clock.now()));
          expect(provider.mints - before).toBeLessThanOrEqual(1);
          before = provider.mints;
        }
        // The first token is minted when the replicas start, whatever the hour.
        const [, ...rotations] = mints;
        const whole = daysAround(zone, noon).slice(1, -1);
        expect([cron, rotations.filter((name) => whole.includes(name))]).toEqual([cron, whole]);
      }
    },
  );
});
