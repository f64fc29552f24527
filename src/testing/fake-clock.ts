import type { Clock } from '../tokens/time.js';

interface Sleeper {
  readonly wakeAt: number;
  readonly wake: () => void;
}

/**
 * A clock that stands still until a test moves it.
 *
 * @example
 * ```ts
 * import { FakeClock, startTestIssuer } from 'service-token-kit/testing';
 *
 * const clock = new FakeClock('2026-03-01T12:00:00Z');
 * const issuer = await startTestIssuer({ clock });
 * const token = issuer.serviceToken({ expiresInSeconds: 60 });
 * clock.advance(3_600_000); // the token has expired, without waiting
 * ```
 */
export class FakeClock implements Clock {
  #now: number;
  #sleepers: readonly Sleeper[] = [];

  /** @param start milliseconds since the Unix epoch, or ISO 8601. Default: 2026-01-01T00:00:00Z. */
  constructor(start: number | string = '2026-01-01T00:00:00.000Z') {
    this.#now = instant(start);
  }

  /** Milliseconds since the Unix epoch. */
  now(): number {
    return this.#now;
  }

  /** Whole seconds since the Unix epoch, as tokens count. */
  get seconds(): number {
    return Math.floor(this.#now / 1000);
  }

  /** Number of pending {@link FakeClock.sleep} calls. */
  get sleepers(): number {
    return this.#sleepers.length;
  }

  /** Moves time by so many milliseconds, also backwards, and ends the sleeps that are due. */
  advance(milliseconds: number): void {
    this.set(this.#now + milliseconds);
  }

  /** Moves time to an instant, also backwards: milliseconds since the Unix epoch, or ISO 8601. */
  set(time: number | string): void {
    this.#now = instant(time);
    const due = this.#sleepers
      .filter(({ wakeAt }) => wakeAt <= this.#now)
      .toSorted((one, other) => one.wakeAt - other.wakeAt);
    this.#sleepers = this.#sleepers.filter(({ wakeAt }) => wakeAt > this.#now);
    for (const { wake } of due) wake();
  }

  sleep(milliseconds: number, signal?: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      if (signal?.aborted === true) {
        reject(signal.reason as Error);
        return;
      }
      const onAbort = (): void => {
        this.#sleepers = this.#sleepers.filter((other) => other !== sleeper);
        reject(signal?.reason as Error);
      };
      const sleeper: Sleeper = {
        wakeAt: this.#now + milliseconds,
        wake: () => {
          signal?.removeEventListener('abort', onAbort);
          resolve();
        },
      };
      signal?.addEventListener('abort', onAbort, { once: true });
      if (milliseconds <= 0) sleeper.wake();
      else this.#sleepers = [...this.#sleepers, sleeper];
    });
  }
}

function instant(time: number | string): number {
  const milliseconds = typeof time === 'number' ? time : Date.parse(time);
  if (Number.isFinite(milliseconds)) return milliseconds;
  throw new RangeError(
    'Set a FakeClock to milliseconds since the Unix epoch, or to an ISO 8601 text.',
  );
}
