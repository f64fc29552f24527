import type { Clock } from './clock.js';

/**
 * Runs `work` with a deadline that covers all of it.
 *
 * @param milliseconds after which `onTimeout` makes the error: the work is aborted with it, and it is thrown even when
 *   the work does not heed its signal.
 */
export async function withDeadline<T>(
  clock: Clock,
  milliseconds: number,
  work: (signal: AbortSignal) => Promise<T>,
  onTimeout: () => Error,
): Promise<T> {
  const ending = new AbortController();
  const timer = new AbortController();
  const deadline = clock.sleep(milliseconds, timer.signal).then((): never => {
    const error = onTimeout();
    ending.abort(error);
    throw error;
  });
  try {
    return await Promise.race([work(ending.signal), deadline]);
  } finally {
    timer.abort();
  }
}

/** Waits for a promise that others share; the signal ends this wait and leaves the promise alone. */
export async function waitFor<T>(promise: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return promise;
  signal.throwIfAborted();
  let stop: (() => void) | undefined;
  const aborted = new Promise<never>((_, reject) => {
    stop = () => reject(signal.reason as Error);
    signal.addEventListener('abort', stop, { once: true });
  });
  try {
    return await Promise.race([promise, aborted]);
  } finally {
    if (stop !== undefined) signal.removeEventListener('abort', stop);
  }
}
