import type { Clock } from '../../src/tokens/time.js';

interface Sleeper {
  readonly wakeAt: number;
  readonly wake: () => void;
}

/**
 * A clock whose time passes only while everybody sleeps: as soon as the event loop has nothing else to do, it jumps
 * to the next instant somebody waits for. Tests take no real time, and sleepers wake in the order of their instants.
 */
export class VirtualClock implements Clock {
  #now: number;
  #sleepers: Sleeper[] = [];
  #pumping = false;

  constructor(start: number | string = '2026-11-22T12:00:00.000Z') {
    this.#now = typeof start === 'number' ? start : Date.parse(start);
  }

  now(): number {
    return this.#now;
  }

  /** Lets time pass without anybody sleeping: whoever waits for an instant that is passed wakes. */
  advance(milliseconds: number): void {
    this.#now += milliseconds;
    this.#pump();
  }

  /** Sets the clock, also backwards. */
  set(instant: number | string): void {
    this.#now = typeof instant === 'number' ? instant : Date.parse(instant);
    this.#pump();
  }

  sleep(milliseconds: number, signal?: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      if (signal?.aborted) {
        reject(signal.reason);
        return;
      }
      const onAbort = (): void => {
        this.#sleepers = this.#sleepers.filter((other) => other !== sleeper);
        reject(signal?.reason);
      };
      const sleeper: Sleeper = {
        wakeAt: this.#now + milliseconds,
        wake: () => {
          signal?.removeEventListener('abort', onAbort);
          resolve();
        },
      };
      this.#sleepers.push(sleeper);
      signal?.addEventListener('abort', onAbort, { once: true });
      this.#pump();
    });
  }

  #pump(): void {
    if (this.#pumping) return;
    this.#pumping = true;
    // Two turns of the event loop, so that whatever is ready runs before time moves.
    setImmediate(() =>
      setImmediate(() => {
        this.#pumping = false;
        this.#sleepers.sort((one, other) => one.wakeAt - other.wakeAt);
        const next = this.#sleepers.shift();
        if (next === undefined) return;
        this.#now = Math.max(this.#now, next.wakeAt);
        next.wake();
        if (this.#sleepers.length > 0) this.#pump();
      }),
    );
  }
}
