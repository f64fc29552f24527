import type { Clock } from '../../src/tokens/time.js';

/**
 * A clock for calls over real sockets. Short pauses pass at once and move the time; pauses that a test names
 * (time-outs) last until the test lets them pass.
 */
export class SteppingClock implements Clock {
  /** Every pause that passed by itself, in milliseconds. */
  readonly pauses: number[] = [];
  readonly #held = new Map<symbol, { readonly milliseconds: number; readonly wake: () => void }>();
  readonly #hold: (milliseconds: number) => boolean;
  #now: number;

  constructor(hold: (milliseconds: number) => boolean, start = Date.parse('2026-11-22T12:00:00Z')) {
    this.#hold = hold;
    this.#now = start;
  }

  now(): number {
    return this.#now;
  }

  advance(milliseconds: number): void {
    this.#now += milliseconds;
  }

  /** Lets the time of every held pause pass. */
  release(): void {
    const held = [...this.#held.values()];
    this.#held.clear();
    this.#now += Math.max(0, ...held.map(({ milliseconds }) => milliseconds));
    for (const { wake } of held) wake();
  }

  /** How many pauses are held at the moment. */
  get held(): number {
    return this.#held.size;
  }

  sleep(milliseconds: number, signal?: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      if (signal?.aborted) {
        reject(signal.reason);
        return;
      }
      if (!this.#hold(milliseconds)) {
        this.pauses.push(milliseconds);
        this.#now += milliseconds;
        resolve();
        return;
      }
      const id = Symbol('pause');
      this.#held.set(id, { milliseconds, wake: resolve });
      signal?.addEventListener(
        'abort',
        () => {
          this.#held.delete(id);
          reject(signal.reason);
        },
        { once: true },
      );
    });
  }
}
