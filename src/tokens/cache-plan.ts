import type { Freshness } from './freshness.js';

/** The last failed read, while no read has succeeded since. Instants in milliseconds. */
export interface ReadFailure {
  readonly error: unknown;
  readonly at: number;
  /** 1 for the first failure after a success. */
  readonly count: number;
  /** When the next attempt may begin. */
  readonly retryAt: number;
}

/** What a cache does for one caller: serve or not, and begin a read or not. */
export type CachePlan =
  'serve' | 'serve-and-read' | 'serve-stale' | 'serve-stale-and-read' | 'wait' | 'fail';

/** How long a caller waits for a newer value while the cached one may be served; milliseconds. */
export const LONGEST_WAIT = 1_000;

/** How long the failure of a cold cache is remembered, and the first step of the backoff; milliseconds. */
const FAILURE_MEMORY = 1_000;
const MAX_BACKOFF = 30_000;
/** The longest pause between two attempts while there is nothing to serve. */
const MAX_BACKOFF_WHEN_EMPTY = 15_000;

/** When to try again after the `count`-th failure in a row: 1 s, 2 s, 4 s, … up to 30 s, and up to a quarter more. */
export function retryInstant(now: number, count: number, random: number): number {
  return now + Math.min(MAX_BACKOFF, FAILURE_MEMORY * 2 ** (count - 1)) * (1 + random / 4);
}

/**
 * What to do for a caller.
 *
 * @param freshness what the freshness policy says of the cached value.
 * @param failure the last failed read, if the last read failed.
 * @param readingFor how long the read in flight has taken so far; `undefined` while none is.
 * @param ttl the time to live in milliseconds.
 */
export function planAnswer(
  freshness: Freshness,
  failure: ReadFailure | undefined,
  readingFor: number | undefined,
  now: number,
  ttl: number,
): CachePlan {
  const last = pastFailure(failure, now);
  const isReading = readingFor !== undefined;
  if (freshness === 'unavailable') {
    return !isReading && last !== undefined && now - last.at < FAILURE_MEMORY ? 'fail' : 'wait';
  }
  const readNow = !isReading && (last === undefined || now >= last.retryAt);
  if (freshness === 'must-wait') {
    // A failure older than a time to live says nothing about now: the caller waits for a new attempt, unless that has
    // kept others waiting long enough.
    if (last === undefined || now - last.at >= ttl) {
      return isReading && readingFor >= LONGEST_WAIT ? 'serve-stale' : 'wait';
    }
    return readNow ? 'serve-stale-and-read' : 'serve-stale';
  }
  return freshness === 'refresh-behind' && readNow ? 'serve-and-read' : 'serve';
}

/** Whether a read is due although nobody asks, while none is in flight. */
export function isReadDue(
  freshness: Freshness,
  failure: ReadFailure | undefined,
  now: number,
): boolean {
  if (freshness === 'fresh') return false;
  const last = pastFailure(failure, now);
  if (last === undefined) return true;
  const retryAt =
    freshness === 'unavailable'
      ? Math.min(last.retryAt, last.at + MAX_BACKOFF_WHEN_EMPTY)
      : last.retryAt;
  return now >= retryAt;
}

/** A failure from the future is left over from before the clock was set back: it holds nothing up. */
function pastFailure(failure: ReadFailure | undefined, now: number): ReadFailure | undefined {
  return failure !== undefined && now >= failure.at ? failure : undefined;
}
