import {
  RefreshingCache,
  type CacheObserver,
  type RefreshingCacheOptions,
} from '../../src/tokens/refreshing-cache.js';
import { VirtualClock } from '../support/virtual-clock.js';

export interface Value {
  readonly name: string;
  readonly expiresAt: number;
}

export const START = Date.parse('2026-11-22T12:00:00.000Z');
export const HOUR = 3_600_000;
export const TTL = 300_000;
export const SKEW = 60_000;

/**
 * A cache, and a source whose reads the test ends by hand, or which end by themselves. `forced` says of each read whether it
 * was a forced one.
 */
export function setUp(options: Partial<RefreshingCacheOptions<Value>> = {}) {
  const clock = new VirtualClock(START);
  const source = {
    forced: [] as boolean[],
    inFlight: 0,
    maxInFlight: 0,
    life: 24 * HOUR,
    failure: undefined as Error | undefined,
    gate: undefined as Promise<void> | undefined,
  };
  const read = async (forced: boolean): Promise<Value> => {
    const { failure } = source;
    const name = `v${source.forced.push(forced)}`;
    const value = { name, expiresAt: clock.now() + source.life };
    source.inFlight += 1;
    source.maxInFlight = Math.max(source.maxInFlight, source.inFlight);
    try {
      await source.gate;
      if (failure) throw failure;
      return value;
    } finally {
      source.inFlight -= 1;
    }
  };
  const cache = new RefreshingCache<Value>({
    read,
    expiresAt: (value) => value.expiresAt,
    clock,
    random: () => 0,
    ...options,
  });
  return { cache, clock, source };
}

export function gate(): { readonly opened: Promise<void>; readonly open: () => void } {
  let open = (): void => undefined;
  const opened = new Promise<void>((resolve) => (open = resolve));
  return { opened, open };
}

export const never = new Promise<void>(() => undefined);
export const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

/** An observer that notes what it is told. */
export function noteReads(): { notes: unknown[][]; observer: Required<CacheObserver> } {
  const notes: unknown[][] = [];
  const observer = {
    readSucceeded: (...args: unknown[]) => void notes.push(['succeeded', ...args]),
    readFailed: (...args: unknown[]) => void notes.push(['failed', ...args]),
  };
  return { notes, observer };
}
