import { setImmediate as turn } from 'node:timers/promises';

/**
 * Simulated time: a binary heap of events. Code that waits by a `Clock` runs as it is; between two events everything that
 * is ready runs.
 */
export class VirtualTime {
  #now;
  #heap = [];
  #sequence = 0;

  /** @param start milliseconds since the Unix epoch. */
  constructor(start) {
    this.#now = start;
  }

  now() {
    return this.#now;
  }

  /** Runs `event` at an instant. Events of one instant run in the order in which they were planned. */
  at(instant, event) {
    const entry = { at: Math.max(instant, this.#now), sequence: (this.#sequence += 1), event };
    push(this.#heap, entry);
    return entry;
  }

  /** A clock for the code of one process: once `isAlive` is false, nobody wakes any more. */
  clock(isAlive = () => true) {
    return {
      now: () => this.#now,
      sleep: (milliseconds, signal) =>
        new Promise((resolve, reject) => {
          if (signal?.aborted) {
            reject(signal.reason);
            return;
          }
          const entry = this.at(this.#now + milliseconds, () => {
            signal?.removeEventListener('abort', onAbort);
            if (isAlive()) resolve();
          });
          const onAbort = () => {
            entry.event = undefined;
            reject(signal.reason);
          };
          signal?.addEventListener('abort', onAbort, { once: true });
        }),
    };
  }

  /** Runs all events up to an instant. @returns how many. */
  async run(until) {
    let count = 0;
    for (
      let first = this.#heap[0];
      first !== undefined && first.at <= until;
      first = this.#heap[0]
    ) {
      pop(this.#heap);
      if (first.event === undefined) continue;
      this.#now = first.at;
      first.event();
      count += 1;
      await turn();
    }
    this.#now = Math.max(this.#now, until);
    return count;
  }
}

const TICK = 1_000;

/** The first of the ticks, a second apart, that is not before an instant. */
export function nextTick(startedAt, instant) {
  return startedAt + Math.ceil((instant - startedAt) / TICK) * TICK;
}

function isBefore(one, other) {
  return one.at < other.at || (one.at === other.at && one.sequence < other.sequence);
}

/** Puts an entry with `at` and `sequence` into a binary heap. */
export function push(heap, entry) {
  let index = heap.push(entry) - 1;
  while (index > 0) {
    const parent = (index - 1) >> 1;
    if (!isBefore(entry, heap[parent])) break;
    heap[index] = heap[parent];
    index = parent;
  }
  heap[index] = entry;
}

/** Takes the first entry out of a binary heap. */
export function pop(heap) {
  const first = heap[0];
  const last = heap.pop();
  if (heap.length === 0) return first;
  let index = 0;
  for (;;) {
    let child = 2 * index + 1;
    if (child >= heap.length) break;
    if (child + 1 < heap.length && isBefore(heap[child + 1], heap[child])) child += 1;
    if (!isBefore(heap[child], last)) break;
    heap[index] = heap[child];
    index = child;
  }
  heap[index] = last;
  return first;
}
