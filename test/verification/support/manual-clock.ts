import type { Clock } from '../../../src/tokens/time.js';

/** A clock that stands still until a test moves it; real servers can answer meanwhile. */
export class ManualClock implements Clock {
  #now: number;
  #sleepers: { readonly wakeAt: number; readonly wake: () => void }[] = [];

  constructor(start = Date.parse('2026-03-01T12:00:00.000Z')) {
    this.#now = start;
  }

  now(): number {
    return this.#now;
  }

  /** Whole seconds since the Unix epoch, as tokens count. */
  get seconds(): number {
    return Math.floor(this.#now / 1000);
  }

  /** Moves time, also backwards, and wakes whoever waited for an instant that is reached. */
  advance(milliseconds: number): void {
    this.#now += milliseconds;
    const due = this.#sleepers.filter(({ wakeAt }) => wakeAt <= this.#now);
    this.#sleepers = this.#sleepers.filter(({ wakeAt }) => wakeAt > this.#now);
    for (const { wake } of due) wake();
  }

  sleep(milliseconds: number, signal?: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const sleeper = { wakeAt: this.#now + milliseconds, wake: resolve };
      this.#sleepers.push(sleeper);
      signal?.addEventListener(
        'abort',
        () => {
          this.#sleepers = this.#sleepers.filter((other) => other !== sleeper);
          reject(signal.reason as Error);
        },
        { once: true },
      );
    });
  }
}
