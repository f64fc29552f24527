import {
  CacheError,
  type CacheAnswer,
  type CacheObserver,
  type CacheRequest,
  type CacheState,
  type CacheStatus,
  type RefreshingCacheOptions,
} from './cache-contract.js';
import { planAnswer, retryInstant, type CachePlan, type ReadFailure } from './cache-plan.js';
import { decideFreshness } from './freshness.js';
import { tell } from './tell.js';

export { CacheError } from './cache-contract.js';
export type * from './cache-contract.js';

interface Entry<T> {
  readonly sequence: number;
  readonly readAt: number;
  readonly expiresAt: number;
  readonly jitter: number;
  /** The answer in each state, made once: a warm answer costs no allocation, and can be compared by identity. */
  readonly answers: Readonly<Record<CacheState, CacheAnswer<T>>>;
}

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
  #entry: Entry<T> | undefined;
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
    const plan = this.#plan(this.#options.clock.now());
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
    this.#giveUpHungRead(now);
    const short = this.#entry !== undefined && this.#entry.expiresAt - now < minTtlMs;
    const forced = request.force === true || short ? this.#forcedSequence(now) : undefined;
    const cached = forced === undefined ? this.#byPolicy(now) : undefined;
    const least = Math.max(forced ?? 0, this.#invalidated + 1);
    const answer = cached ?? (await this.#readAndServe(least, forced !== undefined));
    this.#requireLife(answer.value, minTtlMs);
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
      value: this.#entry?.answers.HIT.value,
      readAt: this.#entry?.readAt,
      expiresAt: this.#entry?.expiresAt,
      consecutiveFailures: this.#failure?.count ?? 0,
      lastError: this.#failure?.error,
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
    const since = now - this.#options.forceIntervalMs;
    if (this.#lastStart <= since) return this.#sequence + 1;
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
    const expiresAt = this.#options.expiresAt(value);
    const readAt = flight.startedAt;
    const now = this.#options.clock.now();
    // Written so that an expiry that is not a number counts as passed.
    if (!(expiresAt - now > this.#options.skewMs)) throw expired();
    const answer = (state: CacheState): CacheAnswer<T> => ({ value, readAt, state });
    this.#entry = {
      sequence: flight.sequence,
      readAt,
      expiresAt,
      jitter: this.#options.random(),
      answers: {
        HIT: answer('HIT'),
        MISS: answer('MISS'),
        REFRESH: answer('REFRESH'),
        STALE: answer('STALE'),
      },
    };
    this.#failure = undefined;
    this.#end(flight, { ok: true });
    tell(() => this.#observer.readSucceeded?.(now - readAt));
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

  #isReading(now: number): boolean {
    const flight = this.#flight;
    return flight !== undefined && now - flight.startedAt < this.#options.readTimeoutMs;
  }

  #giveUpHungRead(now: number): void {
    if (this.#flight === undefined || this.#isReading(now)) return;
    const seconds = Math.round((now - this.#flight.startedAt) / 1_000);
    this.#fail(
      this.#flight,
      new CacheError('READ_TIMEOUT', `A read did not end within ${seconds} s, and was given up.`),
    );
  }

  #isAlive(entry: Entry<T> | undefined): boolean {
    const { clock, skewMs } = this.#options;
    return entry !== undefined && entry.expiresAt - clock.now() > skewMs;
  }

  #requireLife(value: T, minTtlMs: number): void {
    const life = this.#options.expiresAt(value) - this.#options.clock.now();
    if (minTtlMs <= 0 || life >= minTtlMs) return;
    throw new CacheError(
      'TOKEN_LIFE_TOO_SHORT',
      `The token has ${Math.floor(life / 1_000)} s left, and ${Math.ceil(minTtlMs / 1_000)} s were asked for. ` +
        'Ask for less, or again after the next rotation.',
      this.#failure?.error,
    );
  }
}

function expired(): CacheError {
  return new CacheError(
    'TOKEN_EXPIRED',
    'The token that was read has expired, or is about to. Rotate to write a new one.',
  );
}
