/** What the freshness policy needs to know. All instants and spans are in milliseconds. */
export interface FreshnessInput {
  /** The instant to decide for. */
  readonly now: number;
  /** When the cached value was read; `undefined` while nothing is cached. */
  readonly readAt: number | undefined;
  /** When the cached value stops being usable by itself (a token's `exp`); `Infinity` when it never does. */
  readonly expiresAt: number;
  /** How long a read may be served. */
  readonly ttl: number;
  /** Where between {@link REFRESH_FROM} of the time to live and all of it the refresh starts: from 0 up to, but not including, 1. */
  readonly jitter: number;
  /** Remaining life under which a value is not served any more. */
  readonly skew: number;
}

/**
 * What to do with a cached value.
 *
 * - `fresh`: serve it.
 * - `refresh-behind`: serve it, and read again in the background.
 * - `must-wait`: read first. If that fails, the cached value may be served: it is past its time to live, not its life.
 * - `unavailable`: nothing usable is cached; read, and fail if that fails.
 */
export type Freshness = 'fresh' | 'refresh-behind' | 'must-wait' | 'unavailable';

/** The share of the time to live from which a refresh may run behind a served answer. */
export const REFRESH_FROM = 0.8;

/**
 * The freshness policy. Two ceilings, and the lower one wins: the time to live of the read, and the value's own life
 * minus the skew.
 */
export function decideFreshness(input: FreshnessInput): Freshness {
  const { now, readAt, expiresAt, ttl, jitter, skew } = input;
  if (readAt === undefined || expiresAt - now <= skew) return 'unavailable';
  // A clock that was set back would make an old read look young for as long as the jump; read again instead.
  const age = now - readAt;
  if (age < 0 || age >= ttl) return 'must-wait';
  return age >= refreshAge(ttl, jitter) ? 'refresh-behind' : 'fresh';
}

/** The age in milliseconds from which a value is refreshed behind the answer. */
export function refreshAge(ttl: number, jitter: number): number {
  return ttl * (REFRESH_FROM + (1 - REFRESH_FROM) * jitter);
}
