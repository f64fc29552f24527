import type { SecretDescription, StoreRotation } from '../secrets/secret-store.js';
import { rotationMode } from './rotation-mode.js';
import { createSlots, type Slots } from './slots.js';

/** What decides the worst time between two rotations, in milliseconds. */
export interface WorstGap {
  /** The longest time between two slots. */
  readonly period: number;
  /** How long after a slot's start the rotation may begin. */
  readonly window: number;
}

const HOUR = 3_600_000;
const DAY = 24 * HOUR;

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
