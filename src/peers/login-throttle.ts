import type { Clock } from '../tokens/time.js';
import { isPeerId } from './peers.js';

/** The ceilings of {@link LoginThrottle}. */
export interface LoginThrottleOptions {
  readonly clock: Clock;
  /** The span in which failures are counted, in milliseconds. Default 60 000. */
  readonly windowMs?: number;
  /** Failures per window of one address with one id. Default 10. */
  readonly perPeer?: number;
  /** Failures per window of one address, whatever the id. Default 50. */
  readonly perAddress?: number;
  /** How many counters of each sort are kept; the one untouched for longest goes first. Default 10 000. */
  readonly capacity?: number;
}

interface Counter {
  startedAt: number;
  failures: number;
}

/**
 * Counts failed logins by address and claimed id, and by address alone.
 *
 * It judges failures only: whoever presents the right secret is let in, whatever others did from the same address.
 * Behind a load balancer all peers share one, and a neighbour that is left with an old secret must not lock out the
 * rest. Nothing is lost by that, as a secret of 256 random bits is not found by trying. What the limit protects is the
 * secret store and the log, which failures cost something.
 *
 * Known and unknown ids are counted alike, so that the limit does not tell which ids exist.
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
    // Apart from the pairs, so that a flood of invented ids does not push the addresses out.
    this.#addresses = new Counters(options.perAddress ?? 50, capacity);
  }

  /**
   * Counts a failure.
   *
   * @param id the claimed id; `undefined` when none could be read.
   * @param soonMs when the answer may be another one: milliseconds until a newer list of peers is read. An id that has
   *   not failed too often itself is not asked to wait longer because of its neighbours.
   * @returns the whole seconds to wait when there were too many, otherwise `undefined`.
   */
  fail(remoteAddress: string, id: string | undefined, soonMs = Infinity): number | undefined {
    const now = this.#clock.now();
    // Ids that no peer can have share one counter: their length is the attacker's choice.
    const pair = `${remoteAddress} ${id !== undefined && isPeerId(id) ? id : ''}`;
    const own = this.#pairs.add(pair, now, this.#windowMs);
    const shared = this.#addresses.add(remoteAddress, now, this.#windowMs);
    const wait = Math.max(own, Math.min(shared, soonMs));
    return own > 0 || shared > 0 ? Math.max(1, Math.ceil(wait / 1_000)) : undefined;
  }

  /** How many counters are kept at this moment. */
  get size(): number {
    return this.#pairs.size + this.#addresses.size;
  }
}

/** Counters in the order of their last use: a Map keeps the order in which keys were set. */
class Counters {
  readonly #counters = new Map<string, Counter>();

  constructor(
    private readonly limit: number,
    private readonly capacity: number,
  ) {}

  get size(): number {
    return this.#counters.size;
  }

  /** Counts one more; milliseconds until the window ends when that is too many, otherwise 0. */
  add(key: string, now: number, windowMs: number): number {
    const known = this.#counters.get(key);
    const age = known === undefined ? windowMs : now - known.startedAt;
    // A negative age means that the clock was set back: begin again rather than wait for it to catch up.
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
