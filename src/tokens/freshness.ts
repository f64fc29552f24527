import { backoff, type Clock } from './time.js';

/** What the freshness policy needs to know. All instants and spans are in milliseconds. */
export interface FreshnessInput {
  /** The instant to decide for. */
  readonly now: number;
  /** When the cached value was read; `undefined` while nothing is cached. */
  readonly readAt: number | undefined;
  /** When the cached value expires (a token's `exp`); `Infinity` when it never does. */
  readonly expiresAt: number;
  /** How long a read may be served. */
  readonly ttl: number;
  /** Where between 80 % and 100 % of the time to live the refresh starts: from 0 up to, but not including, 1. */
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

/** The share of the time to live from which a background refresh may run. */
const REFRESH_FROM = 0.8;

/**
 * The freshness policy. Two ceilings, and the lower one wins: the time to live of the read, and the value's own life
 * minus the skew.
 */
export function decideFreshness(input: FreshnessInput): Freshness {
  const { now, readAt, expiresAt, ttl, jitter, skew } = input;
  if (readAt === undefined || expiresAt - now <= skew) return 'unavailable';
  // A clock that was set back would make an old read look young until it catches up; read again instead.
  const age = now - readAt;
  if (age < 0 || age >= ttl) return 'must-wait';
  return age >= refreshAge(ttl, jitter) ? 'refresh-behind' : 'fresh';
}

/** The age in milliseconds from which a value is refreshed in the background. */
export function refreshAge(ttl: number, jitter: number): number {
  return ttl * (REFRESH_FROM + (1 - REFRESH_FROM) * jitter);
}

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

/**
 * What to do for a caller.
 *
 * @param freshness of the cached value.
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
    // A failure older than a time to live says nothing about now: the caller waits for a new attempt, unless others have
    // waited for it long enough.
    if (last === undefined || now - last.at >= ttl) {
      return isReading && readingFor >= LONGEST_WAIT ? 'serve-stale' : 'wait';
    }
    return readNow ? 'serve-stale-and-read' : 'serve-stale';
  }
  return freshness === 'refresh-behind' && readNow ? 'serve-and-read' : 'serve';
}

/** Whether a read is due without a caller, while none is in flight. */
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

/** A failure from the future dates from before the clock was set back, and counts no more. */
function pastFailure(failure: ReadFailure | undefined, now: number): ReadFailure | undefined {
  return failure !== undefined && now >= failure.at ? failure : undefined;
}

/** When to try again after the `count`-th failure in a row: 1 s, 2 s, 4 s, … up to 30 s, and up to a quarter more. */
export function retryInstant(now: number, count: number, random: number): number {
  return now + backoff(count, FAILURE_MEMORY, MAX_BACKOFF) * (1 + random / 4);
}

/**
 * How a cached answer came about.
 *
 * - `HIT`: it was cached, within its time to live.
 * - `MISS`: nothing usable was cached; the caller waited for a read.
 * - `REFRESH`: something was cached, and the caller waited for a newer read.
 * - `STALE`: a newer read was due and failed, or takes longer than the caller waits; the cached value still has enough life
 *   to be served.
 */
export type CacheState = 'HIT' | 'MISS' | 'REFRESH' | 'STALE';

/** A value with what a caller may want to know about its read. */
export interface CacheAnswer<T> {
  readonly value: T;
  /** When the read of the value began, in milliseconds since the Unix epoch. */
  readonly readAt: number;
  readonly state: CacheState;
}

/** What a caller asks of the cache. */
export interface CacheRequest {
  /** Remaining life in milliseconds that the answer must have. Default 0. */
  readonly minTtlMs?: number;
  /** Read again, unless a read began within the last `forceIntervalMs`. Default false. */
  readonly force?: boolean;
  /**
   * With `force`: after an ordinary read within the last `forceIntervalMs`, wait for the rest of that span and read again,
   * instead of serving the result of that read. Default false.
   */
  readonly patient?: boolean;
  /**
   * How long to wait for a newer value, in milliseconds, while the cached one may be served; then that is served as
   * `STALE`, and the read continues. 0 does not wait. Default 1 000.
   */
  readonly waitMs?: number;
  /** What `prepare` returned to this caller. */
  readonly since?: WaitStart;
}

/** When a caller began to wait, and for what. */
export interface WaitStart {
  /** Milliseconds since the Unix epoch. */
  readonly at: number;
  /** The read that the caller has to wait for; `undefined` when none. */
  readonly read: number | undefined;
}

/** Notified of every read, for metrics and logs. It must not throw; if it does, a process warning says so. */
export interface CacheObserver {
  /** @param durationMs how long the read took. */
  readSucceeded?(durationMs: number): void;
  /** @param consecutiveFailures 1 for the first failure after a success. */
  readFailed?(error: unknown, consecutiveFailures: number): void;
}

/** How a `RefreshingCache` reads, and its limits. Spans are in milliseconds. */
export interface RefreshingCacheOptions<T> {
  /**
   * Reads the value. It should end within `readTimeoutMs`.
   *
   * @param forced true when caches on the way must not answer: a caller forces the read, or needs more life than the cached
   *   value has.
   */
  readonly read: (forced: boolean) => Promise<T>;
  /**
   * When a value expires, in milliseconds since the Unix epoch; `Infinity` when it never does.
   *
   * @param readAt when its read began.
   */
  readonly expiresAt: (value: T, readAt: number) => number;
  readonly clock: Clock;
  /** From 0 up to, but not including, 1. Default `Math.random`. */
  readonly random?: () => number;
  /** How long a read is served. Default 300 000. */
  readonly ttlMs?: number;
  /** Remaining life under which a value is not served any more. Default 60 000. */
  readonly skewMs?: number;
  /** The least time between two forced reads. Default 1 000. */
  readonly forceIntervalMs?: number;
  /** A read that takes longer is abandoned at the next call of `get` or `refresh`, and its result ignored. Default 10 000. */
  readonly readTimeoutMs?: number;
  /** The longest pause that a `patient` caller makes. Default: `forceIntervalMs`. */
  readonly patienceMs?: number;
  /** Whether two reads gave the same value. Default: `Object.is`. */
  readonly isSame?: (one: T, other: T) => boolean;
  readonly observer?: CacheObserver;
}

/** A snapshot of a `RefreshingCache`. Instants in milliseconds since the Unix epoch. */
export interface CacheStatus<T> {
  /** What is cached, expired or not; `undefined` while nothing was ever read. */
  readonly value: T | undefined;
  readonly readAt: number | undefined;
  readonly expiresAt: number | undefined;
  /** Failed reads since the last one that succeeded. */
  readonly consecutiveFailures: number;
  readonly lastError: unknown;
  /** When the last of them failed. */
  readonly failedAt: number | undefined;
}
