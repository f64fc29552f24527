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

/** How long the failure of a cold cache is remembered, and the first step of the backoff; milliseconds. */
const FAILURE_MEMORY = 1_000;
const MAX_BACKOFF = 30_000;

/** When to try again after the `count`-th failure in a row: 1 s, 2 s, 4 s, … up to 30 s, and up to a quarter more. */
export function retryInstant(now: number, count: number, random: number): number {
  return now + Math.min(MAX_BACKOFF, FAILURE_MEMORY * 2 ** (count - 1)) * (1 + random / 4);
}

/**
 * What to do for a caller.
 *
 * @param freshness what the freshness policy says of the cached value.
 * @param failure the last failed read, if the last read failed.
 * @param reading true while a read is in flight.
 * @param ttl the time to live in milliseconds.
 */
export function planAnswer(
  freshness: Freshness,
  failure: ReadFailure | undefined,
  reading: boolean,
  now: number,
  ttl: number,
): CachePlan {
  // A failure from the future is left over from before the clock was set back: it holds nothing up.
  const last = failure !== undefined && now >= failure.at ? failure : undefined;
  if (freshness === 'unavailable') {
    return last !== undefined && now - last.at < FAILURE_MEMORY ? 'fail' : 'wait';
  }
  const readNow = !reading && (last === undefined || now >= last.retryAt);
  if (freshness === 'must-wait') {
    // A failure older than a time to live says nothing about now: the caller waits for a new attempt.
    if (last === undefined || now - last.at >= ttl) return 'wait';
    return readNow ? 'serve-stale-and-read' : 'serve-stale';
  }
  return freshness === 'refresh-behind' && readNow ? 'serve-and-read' : 'serve';
}
