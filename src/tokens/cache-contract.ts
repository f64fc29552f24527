import type { Clock } from './clock.js';

/**
 * How a cached answer came about.
 *
 * - `HIT`: it was cached, within its time to live.
 * - `MISS`: nothing usable was cached; the caller waited for a read.
 * - `REFRESH`: something was cached, and the caller waited for a newer read.
 * - `STALE`: a newer read was due and failed, or takes longer than the caller waits; the cached value still has life
 *   enough to be served.
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
   * With `force`: when an ordinary read has ended within the last `forceIntervalMs`, wait for the rest of that span and
   * read again then, instead of serving what that read gave. Default false.
   */
  readonly patient?: boolean;
  /**
   * How long to wait for a newer value, in milliseconds, while the cached one may be served; then it is, as `STALE`, and
   * the read goes on. 0 waits not at all. Default 1 000.
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

/** Is told about every read, for metrics and logs. It must not throw; if it does, a process warning says so. */
export interface CacheObserver {
  /** @param durationMs how long the read took. */
  readSucceeded?(durationMs: number): void;
  /** @param consecutiveFailures 1 for the first failure after a success. */
  readFailed?(error: unknown, consecutiveFailures: number): void;
}

/** How a `RefreshingCache` reads, and the ceilings it keeps. Spans are in milliseconds. */
export interface RefreshingCacheOptions<T> {
  /**
   * Reads the value. It should settle by itself; see `readTimeoutMs`.
   *
   * @param forced true when a caller needs what no cache on the way can give: one who forces a read, or wants more life
   *   than the cached value has.
   */
  readonly read: (forced: boolean) => Promise<T>;
  /**
   * When a value stops being usable, in milliseconds since the Unix epoch; `Infinity` when it never does.
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
  /** A read that is older is given up at the next call of `get` or `refresh`, and its late result ignored. Default 10 000. */
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
