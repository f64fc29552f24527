import type { Clock } from '../tokens/clock.js';
import type { DateReading } from '../tokens/clock-offset.js';
import { isProviderError, ProviderError } from './provider-errors.js';

/** The first pause is at most this long, in milliseconds; each further one at most twice the one before. */
export const BASE_PAUSE = 500;

/** No pause that we choose ourselves is longer, in milliseconds. */
export const MAX_PAUSE = 5_000;

/** What the pause before a further attempt depends on. */
export interface PauseInput {
  /** How many attempts have failed so far, from 1. */
  readonly failures: number;
  /** How many attempts there are at all. */
  readonly attempts: number;
  /** Milliseconds until the deadline. */
  readonly remaining: number;
  /** What the provider asked for, if it did. */
  readonly retryAfterSeconds: number | undefined;
  /** From 0 up to, but not including, 1. */
  readonly random: number;
}

/**
 * Milliseconds to wait before the next attempt, or `undefined` to give up.
 *
 * The provider's own `Retry-After` is a lower bound that is always kept: when it reaches past the deadline, there is
 * no further attempt. Otherwise the pause grows twofold, with jitter over its upper half, so that replicas that
 * failed together do not come back together.
 */
export function decidePause(input: PauseInput): number | undefined {
  const { failures, attempts, remaining, retryAfterSeconds, random } = input;
  if (failures >= attempts) return undefined;
  const ceiling = Math.min(BASE_PAUSE * 2 ** (failures - 1), MAX_PAUSE);
  const pause =
    retryAfterSeconds === undefined
      ? ceiling / 2 + (random * ceiling) / 2
      : retryAfterSeconds * 1000 + random * BASE_PAUSE;
  return pause < remaining ? pause : undefined;
}

/** How long and how often one call may try. */
export interface Budget {
  readonly clock: Clock;
  /** When it is over, in milliseconds since the Unix epoch. */
  readonly deadline: number;
  /** Attempts for each request. */
  readonly attempts: number;
  /** Milliseconds for one attempt. */
  readonly timeoutMs: number;
  readonly random: () => number;
  readonly signal: AbortSignal | undefined;
  /** Notified of the `Date` of each successful answer. */
  readonly onDate?: ((reading: DateReading) => void) | undefined;
}

/**
 * Runs an attempt until it succeeds, fails for good, or the budget is used up; then the last error is thrown.
 *
 * @param attempt gets the milliseconds it may take.
 */
export async function retrying<T>(
  budget: Budget,
  attempt: (timeoutMs: number) => Promise<T>,
): Promise<T> {
  const { clock, deadline, attempts, signal } = budget;
  for (let failures = 0; ;) {
    signal?.throwIfAborted();
    const remaining = deadline - clock.now();
    if (remaining <= 0) throw outOfTime();
    try {
      return await attempt(Math.min(budget.timeoutMs, remaining));
    } catch (error) {
      failures += 1;
      const pause = pauseAfter(error, failures, attempts, deadline - clock.now(), budget.random());
      if (pause === undefined) throw error;
      await clock.sleep(pause, signal);
    }
  }
}

function pauseAfter(
  error: unknown,
  failures: number,
  attempts: number,
  remaining: number,
  random: number,
): number | undefined {
  if (!(error instanceof ProviderError) || error.kind !== 'retry') return undefined;
  const { retryAfterSeconds } = error;
  return decidePause({ failures, attempts, remaining, retryAfterSeconds, random });
}

function outOfTime(): ProviderError {
  return new ProviderError(
    'PROVIDER_TIMEOUT',
    'The provider took so long that no time is left for another request.',
  );
}

/** True when a fresh look at the provider's metadata may cure the error. */
export function mayBeStaleMetadata(error: unknown): boolean {
  return isProviderError(
    error,
    'PROVIDER_REDIRECTED',
    'PROVIDER_NOT_JSON',
    'PROVIDER_RESPONSE_INVALID',
    'PROVIDER_UNAVAILABLE',
    'PROVIDER_TLS_FAILED',
  );
}
