import type {
  CacheAnswer,
  CacheObserver,
  CacheRequest,
  CacheStatus,
  RefreshingCacheOptions,
} from './cache-contract.js';
import { expired, lifeTooShort, readTimedOut } from './cache-errors.js';
import { cacheEntry, type CacheEntry } from './cache-entry.js';
import { planAnswer, retryInstant, type CachePlan, type ReadFailure } from './cache-plan.js';
import { decideFreshness } from './freshness.js';
import { tell } from './tell.js';

export { CacheError } from './cache-errors.js';
export type * from './cache-contract.js';

interface Flight {
  readonly sequence: number;
  readonly startedAt: number;
  /** Resolves, and never rejects, when the read has ended. */
  readonly done: Promise<void>;
  readonly finish: () => void;
  outcome?: { readonly ok: true } | { readonly ok: false; readonly error: unknown };
}

/**
 * A cache of one value that keeps the freshness policy of `freshness.ts`, whoever asks and however often.
 *
 * - One read is in flight, however many callers. There are no timers: reads begin when somebody asks.
 * - From 80 % of the time to live (jittered per read, so that replicas spread) it reads behind the answers; past the
 *   time to live callers wait for one shared read. Values that outlive both cost at most 15 reads an hour at the
 *   default time to live, forced reads aside.
 * - When the read fails, the cached value is served as `STALE` while its own life minus the skew allows, and the read
 *   is retried behind the answers, after 1 s, 2 s, 4 s, and so on up to about 30 s. A value that arrives too old to be
 *   served is a failed read too.
 * - With nothing to serve, the failure is thrown, and remembered for a second.
 * - `minTtlMs` is a promise: if the value does not keep it, the cache reads again (at most once a second), and then
 *   rejects with `TOKEN_LIFE_TOO_SHORT` rather than hand out a token that ends in the middle of the caller's work.
 */
export class RefreshingCache<T> {
  readonly #options: Required<Omit<RefreshingCacheOptions<T>, 'observer'>>;
  readonly #observer: CacheObserver;
  #entry: CacheEntry<T> | undefined;
  #flight: Flight | undefined;
  #failure: ReadFailure | undefined;
  #sequence = 0;
  #lastStart = Number.NEGATIVE_INFINITY;
  /** What was read by this sequence or an earlier one is not fresh, whatever its age. */
  #invalidated = 0;

  constructor(options: RefreshingCacheOptions<T>) {
    this.#observer = options.observer ?? {};
    this.#options = {
      read: options.read,
      expiresAt: options.expiresAt,
      clock: options.clock,
      random: options.random ?? Math.random,
      ttlMs: options.ttlMs ?? 300_000,
      skewMs: options.skewMs ?? 60_000,
      forceIntervalMs: options.forceIntervalMs ?? 1_000,
      readTimeoutMs: options.readTimeoutMs ?? 10_000,
    };
  }

  /** The answer, if it may be served without waiting and without starting a read. Never blocks, never throws. */
  peek(): CacheAnswer<T> | undefined {
    const now = this.#options.clock.now();
    this.#heedClock(now);
    const plan = this.#plan(now);
    if (plan === 'serve') return this.#entry?.answers.HIT;
    return plan === 'serve-stale' ? this.#entry?.answers.STALE : undefined;
  }

  /**
   * The value by the policy above.
   *
   * @throws what the read failed with when nothing may be served, or {@link CacheError}.
   */
  async get(request: CacheRequest = {}): Promise<CacheAnswer<T>> {
    const minTtlMs = request.minTtlMs ?? 0;
    const now = this.#options.clock.now();
    this.#heedClock(now);
    this.#giveUpHungRead(now);
    const short = this.#entry !== undefined && this.#entry.expiresAt - now < minTtlMs;
    const forced = request.force === true || short ? this.#forcedSequence(now) : undefined;
    const cached = forced === undefined ? this.#byPolicy(now) : undefined;
    const least = Math.max(forced ?? 0, this.#invalidated + 1);
    const answer = cached ?? (await this.#readAndServe(least, forced !== undefined));
    this.#requireLife(answer, minTtlMs);
    return answer;
  }

  /**
   * Says that a newer value exists. The next caller waits for a read that begins after this call, whatever failed
   * before; if that read fails, the old value is served as `STALE`, as far as its life allows.
   */
  invalidate(): void {
    this.#invalidated = this.#sequence;
    this.#failure = undefined;
  }

  /** What is cached and how reading goes, for health checks. Starts nothing. */
  status(): CacheStatus<T> {
    return {
      value: this.#entry?.value,
      readAt: this.#entry?.readAt,
      expiresAt: this.#entry?.expiresAt,
      consecutiveFailures: this.#failure?.count ?? 0,
      lastError: this.#failure?.error,
      failedAt: this.#failure?.at,
    };
  }

  #plan(now: number): CachePlan {
    const { ttlMs: ttl, skewMs: skew } = this.#options;
    const entry = this.#entry;
    const freshness = decideFreshness({
      now,
      readAt: entry?.readAt,
      expiresAt: entry?.expiresAt ?? 0,
      jitter: entry?.jitter ?? 0,
      ttl,
      skew,
    });
    const outdated = entry !== undefined && entry.sequence <= this.#invalidated;
    return planAnswer(
      outdated && freshness !== 'unavailable' ? 'must-wait' : freshness,
      this.#failure,
      this.#isReading(now),
      now,
      ttl,
    );
  }

  #byPolicy(now: number): CacheAnswer<T> | undefined {
    const plan = this.#plan(now);
    if (plan === 'fail') throw this.#failure?.error;
    if (plan === 'wait') return undefined;
    if (plan === 'serve-and-read' || plan === 'serve-stale-and-read') this.#begin();
    const stale = plan === 'serve-stale' || plan === 'serve-stale-and-read';
    return this.#entry?.answers[stale ? 'STALE' : 'HIT'];
  }

  /** The first read that satisfies a caller who forces one, or nothing when a read has just been made. */
  #forcedSequence(now: number): number | undefined {
    const age = now - this.#lastStart;
    // Negative: left over from before the clock was set back, and no reason to refuse reads for as long as the jump.
    if (age < 0 || age >= this.#options.forceIntervalMs) return this.#sequence + 1;
    return this.#flight?.sequence;
  }

  async #readAndServe(sequence: number, forced: boolean): Promise<CacheAnswer<T>> {
    const had = this.#isAlive(this.#entry);
    let flight: Flight;
    // At most two turns: the read in flight may have begun before the one that is asked for.
    do {
      flight = this.#flight ?? this.#begin(forced);
      await flight.done;
    } while (flight.sequence < sequence);
    const entry = this.#entry;
    const failed = flight.outcome?.ok === false;
    if (entry !== undefined && this.#isAlive(entry)) {
      return entry.answers[failed ? 'STALE' : had ? 'REFRESH' : 'MISS'];
    }
    throw flight.outcome?.ok === false ? flight.outcome.error : expired();
  }

  #begin(forced = false): Flight {
    let finish = (): void => undefined;
    const done = new Promise<void>((resolve) => (finish = resolve));
    this.#lastStart = this.#options.clock.now();
    this.#sequence += 1;
    const flight: Flight = { sequence: this.#sequence, startedAt: this.#lastStart, done, finish };
    this.#flight = flight;
    void this.#run(flight, forced);
    return flight;
  }

  async #run(flight: Flight, forced: boolean): Promise<void> {
    try {
      const value = await this.#options.read(forced);
      if (flight.outcome === undefined) this.#succeed(flight, value);
    } catch (error) {
      if (flight.outcome === undefined) this.#fail(flight, error);
    }
  }

  #succeed(flight: Flight, value: T): void {
    const { sequence, startedAt: readAt } = flight;
    const expiresAt = this.#options.expiresAt(value, readAt);
    const now = this.#options.clock.now();
    // Written so that an expiry that is not a number counts as passed.
    if (!(expiresAt - now > this.#options.skewMs)) throw expired();
    const jitter = this.#options.random();
    this.#entry = cacheEntry({ value, sequence, readAt, expiresAt, jitter });
    this.#failure = undefined;
    this.#end(flight, { ok: true });
    tell(() => this.#observer.readSucceeded?.(Math.max(0, now - readAt)));
  }

  #fail(flight: Flight, error: unknown): void {
    const at = this.#options.clock.now();
    const count = (this.#failure?.count ?? 0) + 1;
    this.#failure = { error, at, count, retryAt: retryInstant(at, count, this.#options.random()) };
    this.#end(flight, { ok: false, error });
    tell(() => this.#observer.readFailed?.(error, count));
  }

  #end(flight: Flight, outcome: NonNullable<Flight['outcome']>): void {
    flight.outcome = outcome;
    this.#flight = undefined;
    flight.finish();
  }

  /** After a clock was set back, a life that is counted from the read runs from now on, not from the end of the jump. */
  #heedClock(now: number): void {
    const entry = this.#entry;
    if (entry === undefined || entry.readAt <= now) return;
    const expiresAt = this.#options.expiresAt(entry.value, now);
    if (expiresAt < entry.expiresAt) this.#entry = { ...entry, expiresAt };
  }

  #isReading(now: number): boolean {
    const flight = this.#flight;
    // Either way: a read that began in what is now the future must not count as under way for as long as the jump.
    return flight !== undefined && Math.abs(now - flight.startedAt) < this.#options.readTimeoutMs;
  }

  #giveUpHungRead(now: number): void {
    if (this.#flight === undefined || this.#isReading(now)) return;
    this.#fail(this.#flight, readTimedOut(this.#options.readTimeoutMs));
  }

  #isAlive(entry: CacheEntry<T> | undefined): boolean {
    const { clock, skewMs } = this.#options;
    return entry !== undefined && entry.expiresAt - clock.now() > skewMs;
  }

  #requireLife({ value, readAt }: CacheAnswer<T>, minTtlMs: number): void {
    if (minTtlMs <= 0) return;
    const now = this.#options.clock.now();
    const life = this.#options.expiresAt(value, Math.min(readAt, now)) - now;
    if (life < minTtlMs) throw lifeTooShort(life, minTtlMs, this.#failure?.error);
  }
}
