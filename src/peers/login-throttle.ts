import type { Clock } from '../tokens/time.js';
import { isPeerId } from './peers.js';

/** The limits of a {@link LoginThrottle}. */
export interface LoginThrottleOptions {
  readonly clock: Clock;
  /** The time in which failures are counted, in milliseconds. Default: 60 000. */
  readonly windowMs?: number;
  /** Failures per window of one address with one id. Default: 10. */
  readonly perPeer?: number;
  /** Failures per window of one address with any id. Default: 50. */
  readonly perAddress?: number;
  /** How many counters of each kind are kept; the least recently used is dropped first. Default: 10 000. */
  readonly capacity?: number;
}

interface Counter {
  startedAt: number;
  failures: number;
}

/**
 * Counts failed logins by address and claimed id, and by address alone.
 *
 * It only limits failures: the right secret is always accepted. Behind a load balancer all peers share one address, and
 * a peer with an outdated secret must not lock out the others. The limit protects the secret store and the log; a
 * secret of 256 random bits cannot be guessed.
 *
 * Known and unknown ids are counted alike, so that the limit does not reveal which ids exist.
 */
export class LoginThrottle {
  readonly #clock: Clock;
  readonly #windowMs: number;
  readonly #pairs: Counters;
  readonly #addresses: Counters;

  constructor(options: LoginThrottleOptions) {
    const capacity = options.capacity ?? 10_000;
    this.#clock = options.clock;
    this.#windowMs = options.windowMs ?? 60_000;
    this.#pairs = new Counters(options.perPeer ?? 10, capacity);
    // Separate from the pairs, so that a flood of invented ids does not push the addresses out.
    this.#addresses = new Counters(options.perAddress ?? 50, capacity);
  }

  /**
   * Counts a failure.
   *
   * @param id the claimed id; `undefined` when none could be read.
   * @param soonMs milliseconds until a newer list of peers is read, which may decide differently. An id that has not
   *   failed too often itself waits no longer than that because of others at its address.
   * @returns the whole seconds to wait when there were too many failures, otherwise `undefined`.
   */
  fail(remoteAddress: string, id: string | undefined, soonMs = Infinity): number | undefined {
    const now = this.#clock.now();
    // Ids that no peer can have share one counter: an attacker chooses their length.
    const pair = `${remoteAddress} ${id !== undefined && isPeerId(id) ? id : ''}`;
    const own = this.#pairs.add(pair, now, this.#windowMs);
    const shared = this.#addresses.add(remoteAddress, now, this.#windowMs);
    const wait = Math.max(own, Math.min(shared, soonMs));
    return own > 0 || shared > 0 ? Math.max(1, Math.ceil(wait / 1_000)) : undefined;
  }

  /** How many counters are kept. */
  get size(): number {
    return this.#pairs.size + this.#addresses.size;
  }
}

/** Counters in the order of their last use, as a Map keeps the order in which keys were set. */
class Counters {
  readonly #counters = new Map<string, Counter>();

  constructor(
    private readonly limit: number,
    private readonly capacity: number,
  ) {}

  get size(): number {
    return this.#counters.size;
  }

  /** Counts one more. @returns milliseconds until the window ends when that is too many, otherwise 0. */
  add(key: string, now: number, windowMs: number): number {
    const known = this.#counters.get(key);
    const age = known === undefined ? windowMs : now - known.startedAt;
    // A negative age means that the clock was set back: start a new window rather than wait for it to catch up.
    const running = known !== undefined && age >= 0 && age < windowMs;
    const counter = running ? known : { startedAt: now, failures: 0 };
    counter.failures += 1;
    this.#counters.delete(key);
    this.#counters.set(key, counter);
    if (this.#counters.size > this.capacity) {
      const oldest = this.#counters.keys().next();
      if (!oldest.done) this.#counters.delete(oldest.value);
    }
    return counter.failures > this.limit ? counter.startedAt + windowMs - now : 0;
  }
}
