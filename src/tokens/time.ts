/** Where time comes from. Injected into everything that depends on time, so that tests can move it. */
export interface Clock {
  /** Milliseconds since the Unix epoch. */
  now(): number;
  /**
   * Resolves after `milliseconds`, or rejects with the signal's reason when it is aborted first.
   * A pending wait keeps the process alive.
   */
  sleep(milliseconds: number, signal?: AbortSignal): Promise<void>;
}

/** Some 24 days, in milliseconds: Node ends a timer that is set for longer at once. */
const LONGEST_TIMER = 2 ** 31 - 1;

/** The clock of the machine: its time is set by NTP, its waits do not depend on that. */
export const systemClock: Clock = {
  now: () => Date.now(),
  sleep: (milliseconds, signal) =>
    new Promise((resolve, reject) => {
      if (signal?.aborted) {
        reject(signal.reason);
        return;
      }
      const onAbort = (): void => {
        clearTimeout(timer);
        reject(signal?.reason);
      };
      let timer: NodeJS.Timeout;
      const wait = (left: number): void => {
        timer = setTimeout(
          () => {
            if (left > LONGEST_TIMER) {
              wait(left - LONGEST_TIMER);
              return;
            }
            signal?.removeEventListener('abort', onAbort);
            resolve();
          },
          Math.min(left, LONGEST_TIMER),
        );
      };
      wait(milliseconds);
      signal?.addEventListener('abort', onAbort, { once: true });
    }),
};

/**
 * Milliseconds to wait after so many failures in a row: `first` after one, then twice as long each time, up to `longest`.
 * Jitter is the caller's: some waits may be shorter, some must not be. Pure.
 */
export function backoff(failures: number, first: number, longest: number): number {
  return Math.min(first * 2 ** Math.max(failures - 1, 0), longest);
}

/** A signal that is aborted when its time is up, unless `end` is called before. */
interface Deadline {
  readonly signal: AbortSignal;
  end(): void;
}

/** @param onTimeout makes the reason that the signal is aborted with, after so many milliseconds. */
export function startDeadline(
  clock: Clock,
  milliseconds: number,
  onTimeout: () => Error,
): Deadline {
  const timeUp = new AbortController();
  const ended = new AbortController();
  clock.sleep(milliseconds, ended.signal).then(
    () => timeUp.abort(onTimeout()),
    // Rejected only because the deadline was ended.
    () => undefined,
  );
  return { signal: timeUp.signal, end: () => ended.abort() };
}

/**
 * Runs `work` with a deadline that covers all of it. When it has passed, the work's signal is aborted, and the error of
 * `onTimeout` is thrown even when the work ignores its signal.
 *
 * @param signal ends the work early, with its own reason.
 */
export async function withDeadline<T>(
  clock: Clock,
  milliseconds: number,
  work: (signal: AbortSignal) => Promise<T>,
  onTimeout: () => Error,
  signal?: AbortSignal,
): Promise<T> {
  signal?.throwIfAborted();
  const deadline = startDeadline(clock, milliseconds, onTimeout);
  const either = signal ? AbortSignal.any([signal, deadline.signal]) : deadline.signal;
  try {
    return await waitFor(work(either), either);
  } catch (error) {
    // Which error an aborted fetch or body rejects with differs between runtimes; the reason does not.
    either.throwIfAborted();
    throw error;
  } finally {
    deadline.end();
  }
}

/** Waits for a promise that others share; the signal ends this wait only. */
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

/** The `Date` header of a response (RFC 9110 §6.6.1), and when it was requested by our clock. Milliseconds. */
export interface DateReading {
  readonly date: string | null;
  /** The `Age` header of a response from a cache (RFC 9111 §5.1). */
  readonly age: string | null;
  readonly sentAt: number;
  readonly answeredAt: number;
  /** True for the response to a `GET`, which a cache may have sent and which may be older than its `Date`. */
  readonly mayBeCached: boolean;
}

/** The reading of one response. */
export function dateReading(
  headers: Headers,
  sentAt: number,
  answeredAt: number,
  mayBeCached: boolean,
): DateReading {
  const [date, age] = [headers.get('date'), headers.get('age')];
  return { date, age, sentAt, answeredAt, mayBeCached };
}

/** A `fetch` that reports the `Date` of each successful response to a `GET`. @param fetch Default: the platform's. */
export function fetchWithDates(
  clock: Clock,
  onDate: (reading: DateReading) => void,
  fetch?: typeof globalThis.fetch,
): typeof globalThis.fetch {
  return async (input, init) => {
    const sentAt = clock.now();
    const response = await (fetch ?? globalThis.fetch)(input, init);
    if (response.ok) onDate(dateReading(response.headers, sentAt, clock.now(), true));
    return response;
  };
}

/** How far another clock is ahead of ours, in milliseconds; negative when it is behind. */
interface OffsetBounds {
  readonly least: number;
  readonly most: number;
}

/**
 * What a reading says about the two clocks; `undefined` when it says nothing. Pure.
 *
 * The time on the way, the whole seconds of the header and a cache all widen the bounds, so that a slow response never
 * makes a right clock look wrong. Some caches renew `Date` and others do not: with an `Age` both are possible. Where a
 * cache may have responded, an old `Date` says nothing, and a `Date` ahead of our clock still does.
 */
export function offsetBounds(reading: DateReading): OffsetBounds | undefined {
  const { date, age, sentAt, answeredAt, mayBeCached } = reading;
  const shown = date === null ? Number.NaN : Date.parse(date);
  if (!Number.isFinite(shown) || answeredAt < sentAt) return undefined;
  const inCache = /^\d{1,9}$/.test(age ?? '') ? Number(age) * 1_000 : 0;
  const most = shown + inCache + 1_000 - sentAt;
  return { least: shown - answeredAt, most: mayBeCached ? Number.POSITIVE_INFINITY : most };
}

/**
 * The offset after a reading: the known one if the reading allows it, else the nearest that it allows.
 *
 * @param known 0 before the first reading.
 */
export function nextOffset(known: number, { least, most }: OffsetBounds): number {
  return Math.min(Math.max(known, least), most);
}
