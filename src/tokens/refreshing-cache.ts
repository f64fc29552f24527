import { BrokerError, errorCode, notify } from './errors.js';
import {
  decideFreshness,
  isReadDue,
  LONGEST_WAIT,
  planAnswer,
  retryInstant,
  type CacheAnswer,
  type CacheObserver,
  type CachePlan,
  type CacheRequest,
  type CacheState,
  type CacheStatus,
  type Freshness,
  type ReadFailure,
  type RefreshingCacheOptions,
  type WaitStart,
} from './freshness.js';
export type * from './freshness.js';

/**
 * The cache has nothing to serve. All codes are of kind `retry`.
 *
 * `TOKEN_EXPIRED`: what was read has less life left than the skew. `TOKEN_LIFE_TOO_SHORT`: it has less than the
 * caller asked for. `READ_TIMEOUT`: the read did not end in time.
 */
export class CacheError extends BrokerError {
  constructor(
    code: 'TOKEN_EXPIRED' | 'TOKEN_LIFE_TOO_SHORT' | 'READ_TIMEOUT',
    message: string,
    cause?: unknown,
  ) {
    super(code, 'retry', message, { cause });
  }
}

interface Flight {
  sequence: number;
  readonly startedAt: number;
  readonly forced: boolean;
  /** Resolves, and never rejects, when the read has ended. */
  readonly done: Promise<void>;
  readonly finish: () => void;
  outcome?: { readonly ok: true } | { readonly ok: false; readonly error: unknown };
  /** True when another read has replaced it: waiting callers wait for that one. */
  isReplaced: boolean;
}

/** A cached value and its read. Instants in milliseconds since the Unix epoch. */
interface CacheEntry<T> {
  readonly value: T;
  /** Which of the cache's reads it came from. */
  readonly sequence: number;
  readonly readAt: number;
  /** From when a life is counted that is a span: `readAt`, or earlier where the clock was set back. */
  readonly countedFrom: number;
  readonly expiresAt: number;
  /** Spreads the refreshes of replicas. */
  readonly jitter: number;
  /** The state of the answer to callers who waited for its read: `REFRESH` when it replaced a usable value. */
  readonly newness: 'MISS' | 'REFRESH';
  /** The answer in each state, made once: a warm answer allocates nothing, and can be compared by identity. */
  readonly answers: Readonly<Record<CacheState, CacheAnswer<T>>>;
}

/**
 * A cache of one value that follows the freshness policy of `freshness.ts`.
 *
 * - One read is in flight, however many callers. Reads start on demand or by {@link RefreshingCache.refresh}: the cache has
 *   no timers but those of waiting callers.
 * - From 80 % of the time to live (jittered per read, so that replicas spread) it reads in the background; past the time to
 *   live callers wait for one shared read, a second at most while the cached value may be served. At the default time to
 *   live that is at most 15 reads an hour, forced reads aside.
 * - When the read fails or takes longer, the cached value is served as `STALE` while its life minus the skew allows, and
 *   the read is retried in the background after 1 s, 2 s, 4 s, and so on up to about 30 s. A value that arrives too old to
 *   be served is a failed read too.
 * - With nothing to serve, callers wait for the read; its failure is thrown, and remembered for a second. Without callers
 *   {@link RefreshingCache.refresh} tries again after 15 s at the latest.
 * - A value with less life than `minTtlMs` is read again (at most once a second); if that does not help, the call rejects
 *   with `TOKEN_LIFE_TOO_SHORT` rather than return a token that expires during the caller's work.
 */
export class RefreshingCache<T> {
  readonly #options: Required<Omit<RefreshingCacheOptions<T>, 'observer'>>;
  readonly #observer: CacheObserver;
  #entry: CacheEntry<T> | undefined;
  #flight: Flight | undefined;
  #failure: ReadFailure | undefined;
  #sequence = 0;
  #lastStart = Number.NEGATIVE_INFINITY;
  /** Start of the last read that a caller asked for: only such a read delays a forced one. */
  #lastAsked = Number.NEGATIVE_INFINITY;
  #lastEnd: { readonly at: number; readonly forced: boolean } | undefined;
  /** When the clock was last looked at. */
  #seenAt = Number.NEGATIVE_INFINITY;
  /** Values of this read and earlier ones are not fresh, whatever their age. */
  #invalidated = 0;
  /** The pause that all patient callers share. */
  #pause: Promise<void> | undefined;

  constructor(options: RefreshingCacheOptions<T>) {
    const { forceIntervalMs = 1_000 } = options;
    this.#observer = options.observer ?? {};
    this.#options = {
      ...options,
      random: options.random ?? Math.random,
      ttlMs: options.ttlMs ?? 300_000,
      skewMs: options.skewMs ?? 60_000,
      forceIntervalMs,
      readTimeoutMs: options.readTimeoutMs ?? 10_000,
      patienceMs: options.patienceMs ?? forceIntervalMs,
      isSame: options.isSame ?? Object.is,
    };
  }

  /** The answer, if it may be served without waiting and without starting a read. Never blocks, never throws. */
  peek(): CacheAnswer<T> | undefined {
    const now = this.#followClock();
    const plan = this.#plan(now);
    if (plan === 'serve') return this.#entry?.answers.HIT;
    return plan === 'serve-stale' ? this.#entry?.answers.STALE : undefined;
  }

  /**
   * The value, by the policy above.
   *
   * @throws the error of the read when nothing may be served, or {@link CacheError}.
   */
  get(request: CacheRequest = {}): Promise<CacheAnswer<T>> {
    const isPatient = request.force === true && request.patient === true;
    return isPatient ? this.#getPatiently(request) : this.#get(request);
  }

  /**
   * Says that a newer value exists. The next caller waits for a read that begins after this call, whatever failed
   * before; if that read fails, the old value is served as `STALE`, as far as its life allows.
   */
  invalidate(): void {
    this.#invalidated = this.#sequence;
    this.#failure = undefined;
  }

  /** Drops a value that must not be served any more, also not as `STALE`. @param isBad whether the cached one is such. */
  discard(isBad: (value: T) => boolean): void {
    this.invalidate();
    this.drop(isBad);
  }

  /** The same where no newer value is known to exist: what is read by then is fresh. */
  drop(isBad: (value: T) => boolean): void {
    if (this.#entry !== undefined && isBad(this.#entry.value)) this.#entry = undefined;
  }

  /**
   * Takes a newer value that came another way. A read in flight ends with it for all who wait, and its own result is ignored.
   * A value that has expired, or is about to, changes nothing. Never blocks, never throws.
   */
  put(value: T): void {
    const waitedFor = this.#flight;
    const flight = this.#newFlight(false);
    if (!this.#accept(flight, value)) {
      this.#flight = waitedFor;
    } else if (waitedFor !== undefined) {
      waitedFor.sequence = flight.sequence;
      waitedFor.outcome = flight.outcome;
      waitedFor.finish();
    }
  }

  /**
   * Begins the read that is due, if any, without a caller: called every second or so, it keeps the cache warm, and notices
   * when reading works again. Never blocks, never throws.
   *
   * @param intervalMs the least time since the last read, in milliseconds, while a value may be served and nothing has
   *   failed. Default 0.
   */
  refresh(intervalMs = 0): void {
    const now = this.#look();
    const freshness = this.#freshness(now);
    if (this.#flight !== undefined || !isReadDue(freshness, this.#failure, now)) return;
    const age = now - this.#lastStart;
    const isEarly = age >= 0 && age < intervalMs && !this.#isOutdated();
    if (isEarly && freshness !== 'unavailable' && this.#failure === undefined) return;
    this.#begin(false, false);
  }

  /**
   * Begins a read when the last one began so long ago, however fresh the value is: for those who have to learn soon that
   * there is another. After failed reads the pauses of the policy count. Never blocks, never throws.
   *
   * @param intervalMs milliseconds.
   */
  follow(intervalMs: number): void {
    const now = this.#look();
    const age = now - this.#lastStart;
    if (this.#flight !== undefined || (age >= 0 && age < intervalMs)) return;
    const { at = 0, retryAt = 0 } = this.#failure ?? {};
    if (now >= at && now < retryAt) return;
    this.#begin(false, false);
  }

  /**
   * Begins the read that a caller would have to wait for now, if any: for a caller with other work to do first, who then
   * calls `get` with the result as `since`. Never blocks, never throws.
   */
  prepare(): WaitStart {
    const now = this.#look();
    const flight = this.#plan(now) === 'wait' ? (this.#flight ?? this.#begin()) : undefined;
    return { at: now, read: flight?.sequence };
  }

  /**
   * Says that the cause of failed reads has probably passed: the next attempt begins at once, also in place of one that
   * takes over a second. Does nothing when the last read has succeeded.
   */
  retry(): void {
    const now = this.#options.clock.now();
    const flight = this.#flight;
    if (this.#failure === undefined) return;
    if (flight !== undefined && Math.abs(now - flight.startedAt) >= LONGEST_WAIT) {
      flight.isReplaced = true;
      this.#fail(flight, readTimedOut(Math.abs(now - flight.startedAt)));
    }
    this.#failure = { ...this.#failure, retryAt: now };
    this.refresh();
  }

  /** What is cached and how its reads went, for health checks. Starts nothing. */
  status(): CacheStatus<T> {
    this.#followClock();
    const { value, readAt, expiresAt } = this.#entry ?? {};
    const { count: consecutiveFailures = 0, error: lastError, at: failedAt } = this.#failure ?? {};
    return { value, readAt, expiresAt, consecutiveFailures, lastError, failedAt };
  }

  async #get(request: CacheRequest): Promise<CacheAnswer<T>> {
    const { minTtlMs = 0, force = false } = request;
    const now = this.#look();
    // With nothing to serve, a forced read is the one in flight or due.
    const short = this.#isAlive(this.#entry) && !this.#lives(this.#entry, minTtlMs);
    const wantsNewer = short || (force && this.#isAlive(this.#entry));
    const sequence = wantsNewer ? this.#forcedSequence(now) : undefined;
    const cached = sequence === undefined ? this.#byPolicy(now, request.since) : undefined;
    const least = Math.max(sequence ?? 0, this.#invalidated + 1);
    const answer = cached ?? (await this.#readAndServe(least, force || short, request));
    this.#requireLife(answer, minTtlMs);
    return answer;
  }

  /**
   * A value that is refused right after it was read may have been replaced since, and would not be read again within that
   * second. After a forced read within it there is no wait: a receiver that refuses every value costs none.
   */
  async #getPatiently(request: CacheRequest): Promise<CacheAnswer<T>> {
    const old = this.#entry;
    await this.#waitOutInterval();
    const answer = await this.#get(request);
    // It may have joined an ordinary read in flight.
    const isOld = old !== undefined && this.#options.isSame(old.value, answer.value);
    if (!isOld || this.#leftOfInterval() <= 0) return answer;
    await this.#waitOutInterval();
    return this.#get(request);
  }

  async #waitOutInterval(): Promise<void> {
    if (this.#leftOfInterval() > this.#options.patienceMs || !this.#isAlive(this.#entry)) return;
    this.#pause ??= this.#sleepOut().finally(() => (this.#pause = undefined));
    await this.#pause;
  }

  async #sleepOut(): Promise<void> {
    // Timers may end a little early.
    for (let left = this.#leftOfInterval(); left > 0; left = this.#leftOfInterval()) {
      await this.#options.clock.sleep(left);
    }
  }

  /** Milliseconds until a read may be forced; 0 when it may be now, or when waiting would not help. */
  #leftOfInterval(): number {
    if (this.#lastEnd === undefined || this.#lastEnd.forced) return 0;
    const age = this.#options.clock.now() - this.#lastEnd.at;
    // Negative after the clock was set back.
    return age < 0 ? 0 : this.#options.forceIntervalMs - age;
  }

  #freshness(now: number): Freshness {
    const { ttlMs: ttl, skewMs: skew } = this.#options;
    const { readAt, expiresAt = 0, jitter = 0 } = this.#entry ?? {};
    const freshness = decideFreshness({ now, readAt, expiresAt, ttl, jitter, skew });
    return this.#isOutdated() && freshness !== 'unavailable' ? 'must-wait' : freshness;
  }

  #isOutdated(): boolean {
    return this.#entry !== undefined && this.#entry.sequence <= this.#invalidated;
  }

  #plan(now: number): CachePlan {
    const { ttlMs: ttl } = this.#options;
    return planAnswer(this.#freshness(now), this.#failure, this.#readingFor(now), now, ttl);
  }

  #byPolicy(now: number, since: WaitStart | undefined): CacheAnswer<T> | undefined {
    const plan = this.#plan(now);
    if (plan === 'fail') throw this.#failure?.error;
    if (plan === 'wait') return undefined;
    if (plan === 'serve-and-read' || plan === 'serve-stale-and-read') this.#begin();
    const entry = this.#entry;
    if (plan === 'serve-stale' || plan === 'serve-stale-and-read') return entry?.answers.STALE;
    const { read = Number.POSITIVE_INFINITY } = since ?? {};
    return entry?.answers[entry.sequence >= read ? entry.newness : 'HIT'];
  }

  /** The first read that satisfies a caller who forces one, or nothing when a read has just been made. */
  #forcedSequence(now: number): number | undefined {
    const age = now - this.#lastAsked;
    // Negative after the clock was set back, which must not prevent reads until it catches up.
    if (age < 0 || age >= this.#options.forceIntervalMs) return this.#sequence + 1;
    return this.#flight?.sequence;
  }

  async #readAndServe(
    least: number,
    forced: boolean,
    request: CacheRequest,
  ): Promise<CacheAnswer<T>> {
    const { minTtlMs = 0, force = false } = request;
    const had = this.#isAlive(this.#entry);
    const now = this.#options.clock.now();
    // Not later than now, where the clock was set back.
    const since = Math.min(request.since?.at ?? now, now);
    let flight: Flight;
    // At most two turns: the read in flight may have begun before the one that is asked for.
    do {
      flight = this.#flight ?? this.#begin(forced);
      // No caller waits for a read longer than the first one.
      const from = flight.sequence >= least ? Math.min(since, flight.startedAt) : since;
      if (!(await this.#hasEnded(flight, from, request))) break;
      // A caller who only needs more life takes it from any read.
      if (!force && minTtlMs > 0 && this.#lives(this.#entry, minTtlMs)) break;
    } while (flight.sequence < least || flight.isReplaced);
    const entry = this.#entry;
    if (entry !== undefined && this.#isAlive(entry)) {
      const isNew = flight.outcome?.ok === true;
      return entry.answers[isNew ? (had ? 'REFRESH' : 'MISS') : 'STALE'];
    }
    throw flight.outcome?.ok === false ? flight.outcome.error : expired();
  }

  /**
   * Waits for a read to end. False: it continues, the caller has waited long enough, and a value may be served.
   *
   * @param since when the wait began.
   */
  async #hasEnded(
    flight: Flight,
    since: number,
    { minTtlMs = 0, waitMs = LONGEST_WAIT }: CacheRequest,
  ): Promise<boolean> {
    const { clock } = this.#options;
    while (flight.outcome === undefined) {
      if (!this.#isAlive(this.#entry) || !this.#lives(this.#entry, minTtlMs)) {
        await flight.done;
        break;
      }
      const left = Math.min(waitMs, since + waitMs - clock.now());
      if (left <= 0) return false;
      const ended = new AbortController();
      // Rejects when the read has ended.
      const late = clock.sleep(left, ended.signal).catch(() => undefined);
      await Promise.race([flight.done, late]);
      ended.abort();
    }
    return true;
  }

  /** @param isAsked false for a read that no caller waits for. */
  #begin(forced = false, isAsked = true): Flight {
    const flight = this.#newFlight(forced);
    this.#lastStart = flight.startedAt;
    if (isAsked) this.#lastAsked = flight.startedAt;
    void this.#run(flight);
    return flight;
  }

  #newFlight(forced: boolean): Flight {
    let finish = (): void => undefined;
    const done = new Promise<void>((resolve) => (finish = resolve));
    const startedAt = this.#options.clock.now();
    const sequence = (this.#sequence += 1);
    this.#flight = { sequence, startedAt, forced, done, finish, isReplaced: false };
    return this.#flight;
  }

  async #run(flight: Flight): Promise<void> {
    try {
      const value = await this.#options.read(flight.forced);
      if (flight.outcome === undefined && !this.#accept(flight, value)) throw expired();
    } catch (error) {
      if (flight.outcome === undefined) this.#fail(flight, error);
    }
  }

  /** Ends a read with its value; false when that has expired, or is about to. */
  #accept(flight: Flight, value: T): boolean {
    const { sequence, startedAt: readAt } = flight;
    const now = this.#followClock();
    const countedFrom = Math.min(readAt, now);
    const expiresAt = this.#options.expiresAt(value, countedFrom);
    // Written so that an expiry that is not a number counts as passed.
    if (!(expiresAt - now > this.#options.skewMs)) return false;
    const jitter = this.#options.random();
    const newness = this.#isAlive(this.#entry) ? 'REFRESH' : 'MISS';
    const life = { countedFrom, expiresAt, jitter };
    this.#entry = cacheEntry({ value, sequence, readAt, newness, ...life });
    this.#failure = undefined;
    this.#end(flight, { ok: true });
    notify(() => this.#observer.readSucceeded?.(Math.max(0, now - readAt)));
    return true;
  }

  #fail(flight: Flight, error: unknown): void {
    const at = this.#options.clock.now();
    const count = (this.#failure?.count ?? 0) + 1;
    this.#failure = { error, at, count, retryAt: retryInstant(at, count, this.#options.random()) };
    this.#end(flight, { ok: false, error });
    notify(() => this.#observer.readFailed?.(error, count));
  }

  #end(flight: Flight, outcome: NonNullable<Flight['outcome']>): void {
    flight.outcome = outcome;
    this.#flight = undefined;
    this.#lastEnd = { at: this.#options.clock.now(), forced: flight.forced };
    flight.finish();
  }

  /** The time. A read that hangs is given up. */
  #look(): number {
    const now = this.#followClock();
    if (this.#flight !== undefined && this.#readingFor(now) === undefined) {
      this.#fail(this.#flight, readTimedOut(this.#options.readTimeoutMs));
    }
    return now;
  }

  /** The time. Where the clock was set back, a life that is counted from the read ends earlier by as much. */
  #followClock(): number {
    const now = this.#options.clock.now();
    const back = this.#seenAt - now;
    this.#seenAt = now;
    const entry = this.#entry;
    if (entry === undefined || !(back > 0)) return now;
    const countedFrom = entry.countedFrom - back;
    const expiresAt = this.#options.expiresAt(entry.value, countedFrom);
    this.#entry = { ...entry, countedFrom, expiresAt: Math.min(entry.expiresAt, expiresAt) };
    return now;
  }

  /** How long the read in flight has taken; `undefined` when there is none, or it hangs. */
  #readingFor(now: number): number | undefined {
    const flight = this.#flight;
    if (flight === undefined) return undefined;
    // Absolute: after a clock was set back, a read must not count as in flight until it catches up.
    const taken = Math.abs(now - flight.startedAt);
    if (taken >= this.#options.readTimeoutMs) return undefined;
    // Callers do not wait for a read that began before the value was invalidated.
    return flight.sequence <= this.#invalidated ? 0 : taken;
  }

  #isAlive(entry: CacheEntry<T> | undefined): entry is CacheEntry<T> {
    const { clock, skewMs } = this.#options;
    return entry !== undefined && entry.expiresAt - clock.now() > skewMs;
  }

  /** Whether a value has so much life left, in milliseconds. */
  #lives(entry: CacheEntry<T> | undefined, minTtlMs: number): boolean {
    return entry !== undefined && entry.expiresAt - this.#options.clock.now() >= minTtlMs;
  }

  #requireLife({ value, readAt }: CacheAnswer<T>, minTtlMs: number): void {
    if (minTtlMs <= 0) return;
    const now = this.#options.clock.now();
    const expiresAt = this.#options.expiresAt(value, Math.min(readAt, now));
    const life = Math.min(expiresAt, this.#entry?.expiresAt ?? expiresAt) - now;
    if (life < minTtlMs) throw lifeTooShort(life, minTtlMs, this.#failure?.error);
  }
}

/** Makes the entry of a value, with its answers. */
function cacheEntry<T>(parts: Omit<CacheEntry<T>, 'answers'>): CacheEntry<T> {
  const { value, readAt } = parts;
  const as = (state: CacheState): CacheAnswer<T> => ({ value, readAt, state });
  const answers = { HIT: as('HIT'), MISS: as('MISS'), REFRESH: as('REFRESH'), STALE: as('STALE') };
  return { ...parts, answers };
}

function expired(): CacheError {
  const message = 'The token that was read has expired, or is about to. Rotate to write a new one.';
  return new CacheError('TOKEN_EXPIRED', message);
}

/** When the last read found a value whose expiry had passed, in milliseconds since the Unix epoch; else `undefined`. */
export function expiredReadAt({ lastError, failedAt }: CacheStatus<unknown>): number | undefined {
  return errorCode(lastError) === 'TOKEN_EXPIRED' ? failedAt : undefined;
}

/** @param life and `asked` in milliseconds. */
function lifeTooShort(life: number, asked: number, cause: unknown): CacheError {
  const message =
    `The token has ${Math.floor(life / 1_000)} s left, and ${Math.ceil(asked / 1_000)} s were asked for. ` +
    'Ask for less, or again after the next rotation.';
  return new CacheError('TOKEN_LIFE_TOO_SHORT', message, cause);
}

function readTimedOut(limit: number): CacheError {
  const seconds = Math.round(limit / 1_000);
  const message = `A read did not end within ${seconds} s, and was given up.`;
  return new CacheError('READ_TIMEOUT', message);
}
