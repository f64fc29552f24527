import { createHash } from 'node:crypto';
import { Cron } from 'croner';
import type { SecretDescription, StoreRotation } from '../secrets/secret-store.js';
import { rotationMode } from './rotation.js';

/** Spans in milliseconds that decide whether a token outlives the worst gap between two rotations. */
interface CoverageInput {
  /** The life of a token when it is minted. */
  readonly tokenLifetime: number;
  /** The longest time between two slots. */
  readonly period: number;
  /** How long after a slot's start the rotation may begin. Zero for the broker's own schedule. */
  readonly window: number;
  /** How long a peer or a replica may go on with a cached token. */
  readonly cacheTtl: number;
  /** Tolerated difference between two machines' clocks. */
  readonly skew: number;
}

/** The answer of {@link checkCoverage}. */
export interface Coverage {
  /** True when the token outlives the worst gap. */
  readonly covered: boolean;
  /** The life a token must exceed, in milliseconds. */
  readonly required: number;
  /** One sentence for people: what was compared, and what to do when it falls short. */
  readonly explanation: string;
}

/** The coverage check: `token lifetime > period + window + cache time to live + skew`. */
export function checkCoverage(input: CoverageInput): Coverage {
  const required = input.period + input.window + input.cacheTtl + input.skew;
  const covered = input.tokenLifetime > required;
  const compared = `A token lives ${hours(input.tokenLifetime)}; the worst gap between two rotations needs more than ${hours(required)}`;
  return {
    covered,
    required,
    explanation: covered
      ? `${compared}.`
      : `${compared}. Raise the provider's token lifetime or rotate more often; until then the broker rotates early, before the token runs out.`,
  };
}

function hours(milliseconds: number): string {
  return `${(milliseconds / 3_600_000).toFixed(2)} h`;
}

const SECOND = 1_000;
const HOUR = 3_600 * SECOND;
const DAY = 24 * HOUR;
const YEAR = 366 * DAY;
/** A year of days shows every pattern of days; more slots within one are a pattern of hours, which repeats sooner. */
const MOST_SLOTS = 1_500;

/** The schedule of rotation: a cron expression of five or six fields, read in a time zone. */
export interface Slots {
  /** The start of the slot that `now` falls in, in milliseconds since the Unix epoch. */
  startOf(now: number): number;
  /** The start of the slot after the one that `now` falls in. */
  nextAfter(now: number): number;
  /** The longest time between two slots that start within a year of `now`, in milliseconds. */
  longestPeriod(now: number): number;
}

/**
 * Reads a cron expression as slots. Where the zone's clock is set forward, a slot in the hour that is skipped begins right after
 * it; where it is set back, a slot in the hour that comes twice begins the first time. Expressions with a star or a step in the
 * minutes or hours go on evenly through both.
 *
 * @param timeZone the IANA name of the time zone whose clock the expression is read by. Default: `UTC`.
 * @throws {Error} when the expression or the zone is not valid, or the expression never comes true.
 */
export function createSlots(cronExpression: string, timeZone = 'UTC'): Slots {
  const isUtc = timeZone === 'UTC';
  const cron = new Cron(cronExpression, { timezone: timeZone, fixedTimeRule: 'no-wildcard' });

  /** The slot that was last asked for, by every second and every probe: the expression is evaluated once in a slot. */
  let known: { readonly start: number; readonly end: number } | undefined;
  const isIn = (slot: typeof known, now: number): slot is NonNullable<typeof known> =>
    slot !== undefined && now >= slot.start && now < slot.end;

  const nextAfter = (now: number): number => {
    if (isIn(known, now)) return known.end;
    const next = cron.nextRun(new Date(now));
    if (next === null) throw new Error(`"${cronExpression}" never comes true again.`);
    return next.getTime();
  };

  const startOf = (now: number): number => {
    if (!isIn(known, now)) {
      const start = lastBefore(now);
      known = { start, end: nextAfter(start) };
    }
    return known.start;
  };

  const lastBefore = (now: number): number => {
    // Whole seconds: a slot that starts at this very second has begun.
    const before = new Date(Math.floor(now / SECOND) * SECOND + SECOND);
    const [start] = cron.previousRuns(1, before);
    if (start === undefined) throw new Error(`"${cronExpression}" never came true before.`);
    return start.getTime();
  };

  let measured: { readonly start: number; readonly longest: number } | undefined;
  const areDaysEqual = isUtc && hasEqualDays(cronExpression);
  /** A walk of a year, or of a day where all are equal; once in a slot, and once a day at most: many tokens share a schedule. */
  const longestPeriod = (now: number): number => {
    let start = startOf(now);
    const age = start - (measured?.start ?? Number.NaN);
    if (measured !== undefined && (age === 0 || (!isUtc && age > 0 && age < DAY))) {
      return measured.longest;
    }
    const first = start;
    const end = areDaysEqual ? first + DAY : now + YEAR;
    let longest = 0;
    for (let count = 0; count < MOST_SLOTS && start < end; count += 1) {
      const next = nextAfter(start);
      longest = Math.max(longest, next - start);
      start = next;
    }
    measured = { start: first, longest };
    return longest;
  };

  return { startOf, nextAfter, longestPeriod };
}

/** Whether an expression of five or six fields names neither days nor months: in UTC, every day has the same slots. */
function hasEqualDays(cronExpression: string): boolean {
  return /^(?:\S+\s+){2,3}\*\s+\*\s+\*$/.test(cronExpression.trim());
}

/** A fixed date, so that every replica spreads alike. */
const ANY_YEAR = Date.UTC(2024, 0, 1);
/** Tokens of one schedule are rotated within this many milliseconds, and within half of its first interval. */
const LONGEST_SPREAD = 3_600_000;

/**
 * The slots of one of many tokens: each starts later by a delay that follows from the token's name, the same in every
 * replica and at every start.
 */
export function spreadSlots(slots: Slots, name: string): Slots {
  const first = slots.nextAfter(ANY_YEAR);
  const spread = Math.min(LONGEST_SPREAD, (slots.nextAfter(first) - first) / 2);
  const share = createHash('sha256').update(name).digest().readUInt32BE() / 2 ** 32;
  const delay = Math.floor((share * spread) / SECOND) * SECOND;
  return {
    startOf: (now) => slots.startOf(now - delay) + delay,
    nextAfter: (now) => slots.nextAfter(now - delay) + delay,
    // The same delay before and after.
    longestPeriod: (now) => slots.longestPeriod(now),
  };
}

/** Slots that ended without a rotation. */
export interface MissedSlots {
  /** Start of the first of them, in milliseconds since the Unix epoch. */
  readonly since: number;
  /** How many; {@link MOST_MISSED} stands for that many or more. */
  readonly count: number;
}

/** No more are counted. */
export const MOST_MISSED = 100;

/**
 * The slots that began after a token was minted, and have ended by now. Pure.
 *
 * @param mintedAt milliseconds since the Unix epoch.
 */
export function missedSlots(slots: Slots, mintedAt: number, now: number): MissedSlots | undefined {
  const since = slots.nextAfter(mintedAt);
  let count = 0;
  for (let end = slots.nextAfter(since); end <= now && count < MOST_MISSED; count += 1) {
    end = slots.nextAfter(end);
  }
  return count === 0 ? undefined : { since, count };
}

/** What decides the worst time between two rotations, in milliseconds. */
export interface WorstGap {
  /** The longest time between two slots. */
  readonly period: number;
  /** How long after a slot's start the rotation may begin. */
  readonly window: number;
}

/**
 * The worst gap for a secret, by whoever rotates it: the broker's own slots, or Secrets Manager's schedule.
 *
 * @param slots the broker's own schedule. In a replica Region the primary's broker is taken to have the same.
 * @returns `undefined` when Secrets Manager rotates by a schedule that cannot be read.
 */
export function worstGap(
  description: SecretDescription,
  slots: Slots,
  now: number,
): WorstGap | undefined {
  if (rotationMode(description) === 'secrets-manager') {
    return gapOfStoreRotation(description.storeRotation ?? {}, now);
  }
  return { period: slots.longestPeriod(now), window: 0 };
}

/**
 * The worst gap of a schedule in Secrets Manager's notation: `rate(12 hours)`, `rate(1 day)` or `cron(0 3 * * ? *)`, with
 * a window such as `2h`. Without a window, Secrets Manager takes one hour for a schedule in hours, and the rest of the
 * UTC day for one in days.
 *
 * @returns `undefined` when the schedule cannot be read.
 */
export function gapOfStoreRotation(
  { schedule = '', window }: StoreRotation,
  now: number,
): WorstGap | undefined {
  const gap = gapOfRate(schedule) ?? gapOfCron(schedule, now);
  if (gap === undefined || window === undefined) return gap;
  const hours = /^(\d{1,3})h$/.exec(window)?.[1];
  return hours === undefined ? undefined : { ...gap, window: Number(hours) * HOUR };
}

function gapOfRate(schedule: string): WorstGap | undefined {
  const [, amount, unit] = /^rate\((\d{1,4}) (hour|day)s?\)$/.exec(schedule) ?? [];
  if (amount === undefined) return undefined;
  return unit === 'hour'
    ? { period: Number(amount) * HOUR, window: HOUR }
    : { period: Number(amount) * DAY, window: DAY };
}

function gapOfCron(schedule: string, now: number): WorstGap | undefined {
  const fields = /^cron\((.+)\)$/.exec(schedule)?.[1]?.trim().split(/\s+/);
  // Secrets Manager takes no other year than every one.
  if (fields?.length !== 6 || fields[5] !== '*') return undefined;
  const [minutes = '', hours = '', days = '', months = '', weekdays = ''] = fields;
  const expression = [
    minutes,
    fromStart(hours, 23),
    fromStart(days, 31),
    fromStart(months, 12),
    fromSunday(weekdays),
  ]
    .join(' ')
    .replaceAll('?', '*');
  let slots: Slots;
  try {
    slots = createSlots(expression);
    const period = slots.longestPeriod(now);
    const opensAt = slots.startOf(now) % DAY;
    return { period, window: period < DAY ? HOUR : DAY - opensAt };
  } catch {
    // The two notations of cron differ at their edges; what is not understood is said to be so, and not guessed.
    return undefined;
  }
}

/** `4/12`, every twelve from the fourth on, as `4-23/12`. */
function fromStart(field: string, last: number): string {
  return field.replaceAll(/(^|,)(\d+)\//g, `$1$2-${last}/`);
}

/** Secrets Manager counts the days of the week from 1 for Sunday, as in `2-6`, `6L` and `2#1`; elsewhere Sunday is 0. */
function fromSunday(field: string): string {
  return field.replaceAll(
    /(^|[,-])([1-7])(?=[,#L-]|$)/g,
    (_, before: string, day: string) => `${before}${Number(day) - 1}`,
  );
}
