import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import { Cron } from 'croner';
import {
  checkCoverage,
  createSlots,
  gapOfStoreRotation,
  missedSlots,
  MOST_MISSED,
  spreadSlots,
} from '../../src/rotation/coverage.js';
import { HOUR } from './rotation-fixture.js';

const at = (instant: string): number => Date.parse(instant);
const DAY = 24 * HOUR;
const SLOT = at('2026-11-22T03:00:00Z');

test.each([
  ['0 4 * * *', 'UTC'],
  ['30 2 * * *', 'Europe/Berlin'],
  ['*/20 1-3 * * *', 'America/St_Johns'],
  ['45 1,2 * * *', 'Australia/Lord_Howe'],
  ['0 */3 * * *', 'America/Santiago'],
])('the next slot of "%s" in %s is the same in a slot that is known', (cron, zone) => {
  const slots = createSlots(cron, zone);
  for (const day of ['2026-03-08', '2026-03-29', '2026-04-05', '2026-09-06', '2026-10-25']) {
    for (let now = at(day) - 12 * HOUR; now < at(day) + 36 * HOUR; now += HOUR / 3) {
      slots.startOf(now);
      expect(slots.nextAfter(now)).toBe(createSlots(cron, zone).nextAfter(now));
    }
  }
});

describe('the slot that an instant falls in', () => {
  test.each(['UTC', 'Europe/Berlin'])('as time goes on, and back, in %s', (zone) => {
    const slots = createSlots('0 4 * * *', zone);
    const first = slots.startOf(at('2026-11-22T12:00:00Z'));
    expect(new Date(first).toISOString()).toBe(
      zone === 'UTC' ? '2026-11-22T04:00:00.000Z' : '2026-11-22T03:00:00.000Z',
    );
    expect(slots.startOf(first)).toBe(first);
    expect(slots.startOf(first + DAY - 1)).toBe(first);
    expect(slots.startOf(first + DAY)).toBe(first + DAY);
    expect(slots.startOf(first - 1)).toBe(first - DAY);
    expect(slots.startOf(first + 3 * DAY + 1)).toBe(first + 3 * DAY);
  });

  test('begins with its second, whatever fraction of it has passed', () => {
    const slots = createSlots('0 3 * * *');
    expect(slots.startOf(SLOT + 1)).toBe(SLOT);
    expect(createSlots('0 3 * * *').startOf(SLOT - 1)).toBe(SLOT - DAY);
  });
});

describe('the longest period', () => {
  const YEARS = { 4: 4 * 365 + 1, 8: 8 * 365 + 1 };

  test.each(['UTC', 'Europe/Berlin'])(
    'is measured anew as time goes on, and back, in %s',
    (zone) => {
      // 2100 has no 29 February.
      const slots = createSlots('0 3 29 2 *', zone);
      const before = at('2093-01-01T00:00:00Z');
      const across = at('2097-01-01T00:00:00Z');
      expect(slots.longestPeriod(before)).toBe(YEARS[4] * DAY);
      expect(slots.longestPeriod(before + DAY)).toBe(YEARS[4] * DAY);
      expect(slots.longestPeriod(across)).toBe(YEARS[8] * DAY);
      expect(slots.longestPeriod(across + DAY)).toBe(YEARS[8] * DAY);
      expect(slots.longestPeriod(before)).toBe(YEARS[4] * DAY);
    },
  );

  test.each([
    // Six fields, of which the last leaves all but the first Monday of a month: mostly after five weeks.
    ['0 0 * * * 1#1', 'UTC', 35 * 24 - 23],
    ['0 0 * * * *', 'UTC', 1],
    ['0   3  *  *  *', 'UTC', 24],
    ['  0 3 * * *  ', 'UTC', 24],
    ['0 3 * * 1', 'UTC', 7 * 24],
    // The night in which the clock is set back.
    ['0 0 * * *', 'Europe/Berlin', 25],
  ])('of "%s" in %s', (cron, zone, hours) => {
    expect(createSlots(cron, zone).longestPeriod(at('2026-12-07T12:00:00Z'))).toBe(hours * HOUR);
  });
});

describe('an expression costs time to evaluate', () => {
  let evaluations: readonly (() => number)[];
  beforeEach(() => {
    const next = jest.spyOn(Cron.prototype, 'nextRun');
    const previous = jest.spyOn(Cron.prototype, 'previousRuns');
    evaluations = [() => next.mock.calls.length, () => previous.mock.calls.length];
  });
  afterEach(() => {
    jest.restoreAllMocks();
  });
  const costOf = (run: () => unknown): number => {
    const count = () => evaluations.reduce((sum, of) => sum + of(), 0);
    const before = count();
    run();
    return count() - before;
  };

  test('the slot is looked up once, whoever asks how often', () => {
    const slots = createSlots('0 3 * * *');
    const ask = () =>
      [0, 1, DAY - 1].forEach((later) => {
        slots.startOf(SLOT + later);
        slots.nextAfter(SLOT + later);
      });
    expect(costOf(ask)).toBe(2);
    expect(costOf(ask)).toBe(0);
  });

  test.each([
    ['0 3 * * *', 0],
    ['0 3,15 * * *', 1],
    ['30 0 3 * * *', 0],
    ['  0   3  *   *   *  ', 0],
    ['30  0  */6   *  *  *', 3],
    // Days that differ: a walk of a year.
    ['0 3 * * 1', 52],
    ['0 3 1 * *', 12],
    ['0 3 * 1-2 *', 59],
  ])(
    'the longest period of "%s" is a walk of %d slots after the present one, once in a slot',
    (cron, walk) => {
      const slots = createSlots(cron);
      const now = slots.startOf(SLOT + HOUR);
      const ask = () => slots.longestPeriod(now);
      expect(costOf(ask)).toBe(walk);
      expect(costOf(ask)).toBe(0);
      const next = slots.startOf(slots.nextAfter(now));
      expect(costOf(() => slots.longestPeriod(next))).toBe(walk);
    },
  );

  test('in a zone it is a walk of a year, once a day', () => {
    const slots = createSlots('0 3,15 * * 1', 'Europe/Berlin');
    const monday = slots.startOf(at('2026-11-23T03:00:00Z'));
    const ask = (later: number) => {
      const now = slots.startOf(monday + later);
      return costOf(() => slots.longestPeriod(now));
    };
    expect(ask(0)).toBeGreaterThan(100);
    expect(ask(0)).toBe(0);
    expect(ask(12 * HOUR)).toBe(0);
    expect(ask(7 * DAY)).toBeGreaterThan(100);
    // A clock that was set back.
    expect(ask(0)).toBeGreaterThan(100);
  });

  test('a day later it is measured anew in a zone', () => {
    const slots = createSlots('0 3 1,2 1 *', 'Europe/Berlin');
    const first = slots.startOf(at('2027-01-01T12:00:00Z'));
    const second = slots.startOf(first + DAY);
    slots.longestPeriod(first);
    expect(second).toBe(first + DAY);
    slots.startOf(second);
    expect(costOf(() => slots.longestPeriod(second))).toBeGreaterThan(0);
  });
});

describe('expressions that do not come true', () => {
  const cron = '0 3 30 2 *';

  test('are refused in words that name them', () => {
    expect(() => createSlots(cron).nextAfter(SLOT)).toThrow(`"${cron}" never comes true again.`);
    expect(() => createSlots(cron).startOf(SLOT)).toThrow(`"${cron}" never came true before.`);
  });

  test('nor are they guessed at for Secrets Manager', () => {
    expect(gapOfStoreRotation({ schedule: 'cron(0 3 30 2 ? *)' }, SLOT)).toBeUndefined();
  });
});

describe('slots that ended without a rotation', () => {
  const slots = createSlots('0 3 * * *');

  test.each([
    ['none, in the slot of the token', SLOT, SLOT + DAY - 1, undefined],
    ['none, as the next one has begun', SLOT, SLOT + DAY, undefined],
    ['none, as the next one still goes on', SLOT, SLOT + 2 * DAY - 1, undefined],
    ['one, as it ends', SLOT, SLOT + 2 * DAY, { since: SLOT + DAY, count: 1 }],
    ['one, of a token that came just before', SLOT - 1, SLOT + DAY, { since: SLOT, count: 1 }],
    ['two', SLOT + 1, SLOT + 3 * DAY, { since: SLOT + DAY, count: 2 }],
    ['99', SLOT, SLOT + 100 * DAY, { since: SLOT + DAY, count: 99 }],
    ['a hundred', SLOT, SLOT + 101 * DAY, { since: SLOT + DAY, count: 100 }],
    ['more', SLOT, SLOT + 102 * DAY, { since: SLOT + DAY, count: MOST_MISSED }],
    ['a year of them', SLOT, SLOT + 366 * DAY, { since: SLOT + DAY, count: MOST_MISSED }],
  ])('%s', (_what, mintedAt, now, missed) => {
    expect(missedSlots(slots, mintedAt, now)).toEqual(missed);
  });
});

describe('what a token has to outlive', () => {
  const input = { period: DAY, window: HOUR, cacheTtl: 300_000, skew: 60_000 };
  const required = 25 * HOUR + 360_000;

  test.each([
    [required, false, ' Raise the provider'],
    [required + 1, true, ''],
  ])('%d ms: %s', (tokenLifetime, covered, advice) => {
    const coverage = checkCoverage({ ...input, tokenLifetime });
    expect(coverage).toMatchObject({ covered, required });
    expect(coverage.explanation).toContain(
      `A token lives 25.10 h; the worst gap between two rotations needs more than 25.10 h.${advice}`,
    );
    expect(coverage.explanation.endsWith(covered ? ' h.' : 'runs out.')).toBe(true);
  });
});

describe("Secrets Manager's notation", () => {
  test.each<[string, string | undefined, number | undefined]>([
    ['rate(10 hours)', '12h', 12],
    ['rate(10 hours)', '168h', 168],
    ['rate(10 hours)', '1000h', undefined],
    ['rate(10 hours)', ' 1h', undefined],
    ['rate(10 hours)', '1h ', undefined],
    ['rate(10 hours)', '', undefined],
    ['rate(1 hours)', '1h', 1],
    [' rate(10 hours)', '1h', undefined],
    ['rate(10 hours) ', '1h', undefined],
    ['rate(ten hours)', '1h', undefined],
    ['cron(  0  3 * *   ? * )', '1h', 1],
    ['cron( )', '1h', undefined],
    [' cron(0 3 * * ? *)', '1h', undefined],
    ['cron(0 3 * * ? *) ', '1h', undefined],
  ])('"%s" within "%s"', (schedule, window, hours) => {
    const gap = gapOfStoreRotation({ schedule, ...(window !== undefined && { window }) }, SLOT);
    expect(gap?.window).toBe(hours === undefined ? undefined : hours * HOUR);
  });

  test.each([
    ['cron(0 10/5 * * ? *)', 14],
    ['cron(0 2,10/5 * * ? *)', 8],
    ['cron(0 3 10/5 * ? *)', 13 * 24],
    ['cron(0 3 1 10/1 ? *)', 304 * 24],
    ['cron(0 3 ? * 7 *)', 7 * 24],
    ['cron(0 3 ? * 1,3-5,7 *)', 48],
  ])('%s', (schedule, hours) => {
    expect((gapOfStoreRotation({ schedule, window: '1h' }, SLOT)?.period ?? 0) / HOUR).toBe(hours);
  });
});

test('the delay of a token within its schedule is the same for ever: replicas of other versions share it', () => {
  const slots = createSlots('0 3 * * *');
  const delays = ['default', 'billing', 'a'].map(
    (name) => spreadSlots(slots, name).startOf(SLOT + 12 * HOUR) - SLOT,
  );
  expect(delays).toEqual([782_000, 176_000, 2_848_000]);
  const often = spreadSlots(createSlots('*/10 * * * *'), 'a');
  expect(often.startOf(SLOT + 599_999) - SLOT).toBe(237_000);
  expect(often.nextAfter(SLOT + HOUR) - often.startOf(SLOT + HOUR)).toBe(600_000);
  expect(often.longestPeriod(SLOT)).toBe(600_000);
});
