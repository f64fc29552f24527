import { Cron } from 'croner';

const SECOND = 1_000;
const YEAR = 366 * 24 * 3_600 * SECOND;
/** A year of days shows every pattern of days; more slots within one are a pattern of hours, which repeats sooner. */
const MOST_SLOTS = 1_500;

/** The schedule of rotation: a cron expression of five or six fields, read in UTC. */
export interface Slots {
  /** The start of the slot that `now` falls in, in milliseconds since the Unix epoch. */
  startOf(now: number): number;
  /** The start of the slot after the one that `now` falls in. */
  nextAfter(now: number): number;
  /** The longest time between two slots that start within a year of `now`, in milliseconds. */
  longestPeriod(now: number): number;
}

/**
 * Reads a cron expression as slots.
 *
 * @throws {Error} when the expression is not valid, or never comes true.
 */
export function createSlots(cronExpression: string): Slots {
  const cron = new Cron(cronExpression, { timezone: 'UTC' });

  const nextAfter = (now: number): number => {
    const next = cron.nextRun(new Date(now));
    if (next === null) throw new Error(`"${cronExpression}" never comes true again.`);
    return next.getTime();
  };

  let known: { readonly start: number; readonly end: number } | undefined;
  /** Asked every second, and by every probe: the expression is evaluated once in a slot. */
  const startOf = (now: number): number => {
    if (known === undefined || now < known.start || now >= known.end) {
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

  const longestPeriod = (now: number): number => {
    let start = startOf(now);
    let longest = 0;
    for (let count = 0; count < MOST_SLOTS && start < now + YEAR; count += 1) {
      const next = nextAfter(start);
      longest = Math.max(longest, next - start);
      start = next;
    }
    return longest;
  };

  return { startOf, nextAfter, longestPeriod };
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
