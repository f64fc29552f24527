import type { BrokerError } from '../../tokens/errors.js';
import { KeyFetchError, type KeyFetchCode } from '../errors.js';

/** The last failed fetch, while none has succeeded since. Instants and spans in milliseconds. */
export interface FetchFailure {
  readonly error: BrokerError;
  readonly code: KeyFetchCode;
  readonly at: number;
  /** Before this instant no fetch is tried because of the failure. */
  readonly retryAt: number;
  /** 1 for the first failure after a success. */
  readonly inARow: number;
}

const FIRST_RETRY = 1000;
/** The longest pause while there are no keys to verify with, however long the cooldown. */
export const LONGEST_WITHOUT_KEYS = 15_000;
const MAX_RETRY_AFTER_SECONDS = 300;

/**
 * Remembers a failure: the next attempt is due after 1, 2, 4 … seconds, or later when the provider asks for it, up to
 * five minutes.
 *
 * @param longest the longest pause by itself, in milliseconds.
 */
export function failedFetch(
  thrown: unknown,
  last: FetchFailure | undefined,
  at: number,
  longest: number,
): FetchFailure {
  const error =
    thrown instanceof KeyFetchError
      ? thrown
      : new KeyFetchError('KEYS_UNREACHABLE', "The issuer's keys cannot be reached.", {
          cause: thrown,
        });
  const inARow = (last?.inARow ?? 0) + 1;
  const backoff = Math.min(FIRST_RETRY * 2 ** (inARow - 1), longest);
  const asked = Math.min(error.retryAfterSeconds ?? 0, MAX_RETRY_AFTER_SECONDS) * 1000;
  return { error, code: error.code, at, inARow, retryAt: at + Math.max(backoff, asked) };
}

/** Whether a fetch may be tried. A clock that was set back must not lock the keys out for as long as the jump. */
export function mayRetry(failure: FetchFailure | undefined, now: number): boolean {
  return failure === undefined || now >= failure.retryAt || now < failure.at;
}

/**
 * Whether a fetch failed so recently that the provider counts as down. An older failure says nothing about now: a key
 * may have been withdrawn since, at a provider that has long been up.
 *
 * Counted from when the next attempt was due, so that while requests come none waits for an attempt that runs behind
 * the answers.
 *
 * @param maxAge how long keys count as fresh.
 */
export function countsAsDown(
  failure: FetchFailure | undefined,
  now: number,
  maxAge: number,
): boolean {
  return failure !== undefined && now >= failure.at && now < failure.retryAt + maxAge;
}
