import type { CacheAnswer, CacheState } from './cache-contract.js';

/** What a cache holds: a value, and what is known of its read. Instants in milliseconds since the Unix epoch. */
export interface CacheEntry<T> {
  readonly value: T;
  /** Which of the cache's reads it came from. */
  readonly sequence: number;
  readonly readAt: number;
  readonly expiresAt: number;
  /** Spreads the refreshes of replicas; see the freshness policy. */
  readonly jitter: number;
  /** The state of the answer to who waited for its read: `REFRESH` when it replaced a value that could be served. */
  readonly newness: 'MISS' | 'REFRESH';
  /** The answer in each state, made once: a warm answer costs no allocation, and can be compared by identity. */
  readonly answers: Readonly<Record<CacheState, CacheAnswer<T>>>;
}

/** Makes the entry of a value, with its answers. */
export function cacheEntry<T>(parts: Omit<CacheEntry<T>, 'answers'>): CacheEntry<T> {
  const { value, readAt } = parts;
  const answer = (state: CacheState): CacheAnswer<T> => ({ value, readAt, state });
  return {
    ...parts,
    answers: {
      HIT: answer('HIT'),
      MISS: answer('MISS'),
      REFRESH: answer('REFRESH'),
      STALE: answer('STALE'),
    },
  };
}
