import { systemClock, type Clock, waitFor, withDeadline } from '../../tokens/time.js';
import { BrokerError } from '../../tokens/errors.js';
import {
  KeyFetchError,
  VerifierConfigError,
  KeysUnavailableError,
} from '../verification-errors.js';
import {
  readKeysUri,
  whyUnreachable,
  type Fetch,
  countsAsDown,
  failedFetch,
  LONGEST_WITHOUT_KEYS,
  mayRetry,
  type FetchFailure,
  fetchKeys,
  type FetchedKeys,
} from './fetch-keys.js';
import { decideFreshness, type Freshness } from '../../tokens/freshness.js';
import {
  KeyRing,
  requireKey,
  type KeyMatch,
  type KeySet,
  type KeySetState,
  type VerificationKey,
  type WantedKey,
} from './key-set.js';

/** How {@link createRemoteKeySet} fetches and keeps an issuer's keys. */
export interface RemoteKeySetOptions {
  /**
   * The issuer's `jwks_uri`, or a function that finds it (discovery), which is called before every fetch, within the
   * time-out.
   */
  readonly jwksUri: string | (() => Promise<string>);
  /** Default: the clock of the machine. */
  readonly clock?: Clock;
  /** Default: the platform's `fetch`. */
  readonly fetch?: Fetch;
  /**
   * How long keys are used before they are fetched again. The provider's `Cache-Control` may shorten it (never below the
   * cooldown), and never lengthens it: this bounds how long a withdrawn key is trusted. Default 600 seconds.
   */
  readonly maxAgeSeconds?: number;
  /**
   * How long keys past their age are still used while the provider cannot be reached. Longer survives longer outages;
   * shorter limits how long an attacker who blocks the provider keeps a withdrawn key alive. Default 3600 seconds; 0 to use
   * none.
   */
  readonly staleSeconds?: number;
  /**
   * How often unknown key ids may cause a fetch: once in this time. Up to four fetches may follow each other after a quiet
   * time; after failed ones with pauses of 1, 2, 4 … seconds. Default 30 seconds.
   */
  readonly cooldownSeconds?: number;
  /** The longest a fetch may take, discovery and body included. Default 5 seconds. */
  readonly timeoutSeconds?: number;
  /** The largest answer, in bytes. Default 262144 (256 KiB). */
  readonly maxBytes?: number;
  /** Allows plain `http` to other machines. Default false: whoever can change the answer can sign tokens. */
  readonly allowInsecureHttp?: boolean;
  /** A number from 0 up to 1 that spreads the refreshes of many replicas. Default `Math.random`. */
  readonly random?: () => number;
}

/** Keys that are fetched from the issuer. */
export interface RemoteKeySet extends KeySet {
  /**
   * Fetches the keys now, or joins the fetch in flight: for a check at start or by `doctor`.
   *
   * @throws {KeysUnavailableError} when that fails; keys at hand stay in use.
   */
  refresh(signal?: AbortSignal): Promise<void>;
  /**
   * Fetches the keys when their age asks for it: for a process that keeps them fresh without tokens to verify. Call it
   * every minute or so, and compare `state().changes` with its value before.
   *
   * Resolves when that fetch has ended, also when it failed: `state().lastError` has the reason. After a failure it makes
   * the same pauses as `find`.
   *
   * @param signal ends this wait, not the fetch.
   *
   * @example
   * ```ts
   * import { createRemoteKeySet } from 'service-token-kit';
   *
   * const keys = createRemoteKeySet({ jwksUri: 'https://tenant.eu.auth0.com/.well-known/jwks.json' });
   * let seen = keys.state().changes;
   * setInterval(async () => {
   *   await keys.refreshWhenDue();
   *   if (keys.state().changes !== seen) seen = keys.state().changes; // verify again what is kept
   * }, 60_000).unref();
   * ```
   */
  refreshWhenDue(signal?: AbortSignal): Promise<void>;
}

/**
 * An issuer's keys over HTTP (RFC 7517 §5), kept as fresh as needed and fetched as rarely as possible.
 *
 * - One fetch is in flight at a time; all callers share it.
 * - From 80 % of their age keys are fetched again in the background.
 * - An unknown key causes a fetch: one per cooldown, and up to four without a pause after a quiet time, so that keys
 *   that the provider has just changed are found at once. A flood of invented ids reaches the provider once per
 *   cooldown. While the cooldown prevents a fetch, the key may be new: {@link KeysUnavailableError}, with the seconds until
 *   the next one. A token is rejected only after a fetch did not bring its key.
 * - A signature that does not fit causes a fetch when the keys are older than the cooldown: a provider may have replaced
 *   a key under the same id, or have no ids.
 * - While the provider is down, keys at hand stay in use until `staleSeconds` after their age; an unknown id then causes
 *   {@link KeysUnavailableError} rather than a rejection, as the key may be new. The provider counts as down for one
 *   `maxAgeSeconds` after a failed fetch; after that the next call waits for a fetch again.
 * - With no keys at hand, failed fetches are repeated after 1, 2, 4 … seconds, up to the cooldown and 15 seconds, or later
 *   when the provider asks for it (`Retry-After` in seconds or as a date, at most five minutes).
 * - A fetched JWKS replaces all keys, even by none: what is no longer in it is no longer trusted.
 *
 * @throws {VerifierConfigError} for numbers out of range; {@link KeyFetchError} `KEYS_URI_REFUSED` for an address that
 *   is not `https`.
 *
 * @example
 * ```ts
 * import { createRemoteKeySet } from 'service-token-kit';
 *
 * const keys = createRemoteKeySet({ jwksUri: 'https://tenant.eu.auth0.com/.well-known/jwks.json' });
 * ```
 */
export function createRemoteKeySet(options: RemoteKeySetOptions): RemoteKeySet {
  return new FetchedKeySet(readRemoteOptions(options));
}

interface Held {
  readonly ring: KeyRing;
  readonly fetchedAt: number;
  /** How long the keys count as fresh, in milliseconds. */
  readonly maxAge: number;
  readonly jitter: number;
  /** When they stop being used even if the provider cannot be reached. */
  usableUntil: number;
}

class FetchedKeySet implements RemoteKeySet {
  readonly #settings: RemoteKeySetSettings;
  readonly #looks: LookBudget;
  #held: Held | undefined;
  #failure: FetchFailure | undefined;
  #inFlight: Promise<void> | undefined;
  #lastAttemptAt: number | undefined;
  #fetches = 0;
  #failures = 0;
  #changes = 0;

  constructor(settings: RemoteKeySetSettings) {
    this.#settings = settings;
    this.#looks = new LookBudget(settings.cooldown);
  }

  async find(wanted: WantedKey, signal?: AbortSignal): Promise<VerificationKey> {
    signal?.throwIfAborted();
    const before = this.#held;
    const ring = await this.#currentRing(signal);
    const match = ring.match(wanted);
    if (!mayBeNew(match)) return requireKey(match);
    // Keys that were waited for a moment ago need no second look.
    let hasLooked = this.#held !== before;
    if (!hasLooked && (this.#inFlight !== undefined || this.#takeLook())) {
      await waitFor(this.#refresh(), signal);
      hasLooked = true;
    }
    const second = this.#held?.ring.match(wanted) ?? 'unknown';
    if (second === 'unknown' && (!hasLooked || this.#failure !== undefined)) {
      throw this.#unavailable(this.#nextLookAt(this.#settings.clock.now()));
    }
    return requireKey(second, this.#held?.ring.whyIgnored(wanted));
  }

  async findReplacement(
    wanted: WantedKey,
    key: VerificationKey,
    signal?: AbortSignal,
  ): Promise<VerificationKey | undefined> {
    const { clock, cooldown } = this.#settings;
    const age = clock.now() - (this.#held?.fetchedAt ?? clock.now());
    // Never early: most bad signatures are forged, and must not use up the looks that find new keys.
    const isYoung = age >= 0 && age < cooldown;
    if (!isYoung && (this.#inFlight !== undefined || this.#takeLook())) {
      await waitFor(this.#refresh(), signal);
    }
    const match = this.#held?.ring.match(wanted);
    return typeof match === 'object' && match !== key ? match : undefined;
  }

  async refresh(signal?: AbortSignal): Promise<void> {
    await waitFor(this.#refresh(), signal);
    if (this.#failure !== undefined) throw this.#unavailable(this.#failure.retryAt);
  }

  async refreshWhenDue(signal?: AbortSignal): Promise<void> {
    if (this.#freshness() === 'fresh') return;
    if (this.#inFlight !== undefined || this.#mayRetry()) await waitFor(this.#refresh(), signal);
  }

  state(): KeySetState {
    const failure = this.#failure;
    return {
      status: this.#status(),
      fetchedAt: this.#held?.fetchedAt,
      lastAttemptAt: this.#lastAttemptAt,
      lastError: failure === undefined ? undefined : { code: failure.code, at: failure.at },
      keyIds: this.#held?.ring.keyIds ?? [],
      ignored: this.#held?.ring.ignored ?? [],
      fetches: this.#fetches,
      failures: this.#failures,
      changes: this.#changes,
    };
  }

  atHand(): KeyRing | undefined {
    const freshness = this.#freshness();
    if (freshness === 'unavailable') return undefined;
    if (freshness !== 'fresh') {
      // Once a fetch has failed, callers with usable keys are not made to wait for the next one.
      if (freshness === 'must-wait' && !this.#countsAsDown()) return undefined;
      if (this.#mayRetry()) void this.#refresh();
    }
    return this.#held?.ring;
  }

  /** The keys to judge with, after whatever fetch their age asks for. */
  async #currentRing(signal: AbortSignal | undefined): Promise<KeyRing> {
    const ring = this.atHand();
    if (ring !== undefined) return ring;
    if (this.#inFlight !== undefined || this.#mayRetry()) await waitFor(this.#refresh(), signal);
    if (this.#held === undefined || this.#freshness() === 'unavailable') {
      throw this.#unavailable(this.#failure?.retryAt ?? 0);
    }
    return this.#held.ring;
  }

  #freshness(): Freshness {
    const { clock, stale } = this.#settings;
    const now = clock.now();
    const held = this.#held;
    // After a clock was set back, the stale time counts from now, not from when the clock catches up.
    if (held !== undefined && now < held.fetchedAt) {
      held.usableUntil = Math.min(held.usableUntil, now + stale);
    }
    return decideFreshness({
      now,
      readAt: held?.fetchedAt,
      expiresAt: held?.usableUntil ?? 0,
      ttl: held?.maxAge ?? 0,
      jitter: held?.jitter ?? 0,
      skew: 0,
    });
  }

  #status(): KeySetState['status'] {
    if (this.#held === undefined) return 'empty';
    const freshness = this.#freshness();
    if (freshness === 'unavailable') return 'expired';
    return freshness === 'must-wait' ? 'stale' : 'fresh';
  }

  #mayRetry(): boolean {
    return mayRetry(this.#failure, this.#settings.clock.now());
  }

  #countsAsDown(): boolean {
    return countsAsDown(this.#failure, this.#settings.clock.now(), this.#held?.maxAge ?? 0);
  }

  /** Whether an unknown key may cause a fetch now. After one that failed, the next is due by its backoff. */
  #takeLook(): boolean {
    const now = this.#settings.clock.now();
    return this.#nextLookAt(now) <= now && this.#looks.take(now);
  }

  #nextLookAt(now: number): number {
    const allowed = this.#looks.nextAt(now);
    const failure = this.#failure;
    if (failure === undefined || now < failure.at) return allowed;
    return Math.max(allowed, failure.retryAt);
  }

  /** Starts a fetch or joins the one in flight. Never rejects: the fields keep the outcome. */
  #refresh(): Promise<void> {
    this.#inFlight ??= this.#attempt().finally(() => {
      this.#inFlight = undefined;
    });
    return this.#inFlight;
  }

  async #attempt(): Promise<void> {
    const { clock, cooldown, random, stale, timeout } = this.#settings;
    this.#fetches += 1;
    try {
      const fetched = await withDeadline(clock, timeout, (signal) => this.#fetch(signal), timedOut);
      const ring = await KeyRing.import(fetched.document, this.#held?.ring);
      if (ring !== this.#held?.ring) this.#changes += 1;
      const fetchedAt = clock.now();
      const maxAge = this.#grantedAge(fetched.maxAgeSeconds);
      const usableUntil = fetchedAt + maxAge + stale;
      this.#held = { ring, fetchedAt, maxAge, usableUntil, jitter: random() };
      this.#failure = undefined;
    } catch (error) {
      this.#failures += 1;
      const now = clock.now();
      const hasKeys = this.#held !== undefined && now < this.#held.usableUntil;
      const longest = hasKeys ? cooldown : Math.min(cooldown, LONGEST_WITHOUT_KEYS);
      this.#failure = failedFetch(error, this.#failure, now, longest);
    }
    this.#lastAttemptAt = clock.now();
  }

  async #fetch(signal: AbortSignal): Promise<FetchedKeys> {
    const { findUri, fetch, maxBytes, clock } = this.#settings;
    return fetchKeys({ uri: await findUri(), fetch, maxBytes, clock, signal });
  }

  #grantedAge(hintSeconds: number | undefined): number {
    const { maxAge, cooldown } = this.#settings;
    if (hintSeconds === undefined) return maxAge;
    return Math.min(maxAge, Math.max(hintSeconds * 1000, cooldown));
  }

  /** @param nextAt when the next attempt is possible. */
  #unavailable(nextAt: number): KeysUnavailableError {
    const { clock } = this.#settings;
    const error = this.#failure?.error;
    const seconds = Math.max(1, Math.ceil((nextAt - clock.now()) / 1000));
    const message =
      error === undefined
        ? `The issuer published no key for the token when its keys were last fetched. They are fetched again in ${seconds} s at the earliest: too many unknown keys were asked for.`
        : `The issuer's keys are not available at the moment. ${error.message}`;
    return new KeysUnavailableError(message, { cause: error, retryAfterSeconds: seconds });
  }
}

/** Whether newer keys might have what these do not: an id may also be given to a key of another type. */
function mayBeNew(match: KeyMatch): boolean {
  return match === 'unknown' || match === 'other-algorithm';
}

function timedOut(): KeyFetchError {
  return new KeyFetchError('KEYS_TIMEOUT', "The issuer's keys did not arrive in time.");
}

/** How many looks may follow each other without a pause, after a quiet time. */
const BURST = 4;

/**
 * How often unknown keys may cause a look at the JWKS: a token bucket, filled by one look per cooldown. Changed keys are
 * found without delay; invented key ids cause one look per cooldown, and {@link BURST} at first. Milliseconds.
 */
class LookBudget {
  readonly #cooldown: number;
  #looks = BURST;
  #filledAt: number | undefined;

  constructor(cooldown: number) {
    this.#cooldown = cooldown;
  }

  /** Takes a look out of the budget. @returns false when there is none. */
  take(now: number): boolean {
    this.#fill(now);
    if (this.#looks === 0) return false;
    this.#looks -= 1;
    return true;
  }

  /** When the next look is allowed; `now` when it is at once. */
  nextAt(now: number): number {
    this.#fill(now);
    return this.#looks > 0 ? now : (this.#filledAt ?? now) + this.#cooldown;
  }

  #fill(now: number): void {
    const elapsed = now - (this.#filledAt ?? now);
    const earned = Math.floor(elapsed / this.#cooldown);
    this.#looks = Math.min(BURST, this.#looks + Math.max(0, earned));
    // While it is full no time counts; and a clock that was set back must not stop the filling until it catches up.
    if (this.#filledAt === undefined || elapsed < 0 || this.#looks === BURST) this.#filledAt = now;
    else this.#filledAt += earned * this.#cooldown;
  }
}

/** The options with their defaults; spans in milliseconds. */
interface RemoteKeySetSettings {
  /** Rejects with a `KeyFetchError`, and with nothing else. */
  readonly findUri: () => Promise<URL>;
  readonly clock: Clock;
  readonly fetch: Fetch;
  readonly maxAge: number;
  readonly stale: number;
  readonly cooldown: number;
  readonly timeout: number;
  readonly maxBytes: number;
  readonly random: () => number;
}

/**
 * Fills in the defaults.
 *
 * @throws {VerifierConfigError} for numbers out of range.
 * @throws {KeyFetchError} `KEYS_URI_REFUSED` for a fixed address that may not be used.
 */
function readRemoteOptions(options: RemoteKeySetOptions): RemoteKeySetSettings {
  const { jwksUri, allowInsecureHttp = false } = options;
  return {
    findUri: uriFinder(jwksUri, allowInsecureHttp),
    clock: options.clock ?? systemClock,
    fetch: options.fetch ?? globalThis.fetch,
    maxAge: milliseconds('maxAgeSeconds', options.maxAgeSeconds ?? 600, 1),
    stale: milliseconds('staleSeconds', options.staleSeconds ?? 3600, 0),
    cooldown: milliseconds('cooldownSeconds', options.cooldownSeconds ?? 30, 1),
    timeout: milliseconds('timeoutSeconds', options.timeoutSeconds ?? 5, 0.001),
    maxBytes: atLeast('maxBytes', options.maxBytes ?? 262_144, 1),
    random: options.random ?? Math.random,
  };
}

function uriFinder(
  jwksUri: RemoteKeySetOptions['jwksUri'],
  allowInsecureHttp: boolean,
): () => Promise<URL> {
  if (typeof jwksUri === 'function') {
    return async () => readKeysUri(await found(jwksUri), allowInsecureHttp);
  }
  const uri = readKeysUri(jwksUri, allowInsecureHttp);
  return async () => uri;
}

async function found(jwksUri: () => Promise<string>): Promise<string> {
  try {
    return await jwksUri();
  } catch (error) {
    // An error of other code may quote anything: only the system's code is kept of it.
    const why = error instanceof BrokerError ? error.message : `${whyUnreachable(error)}.`;
    throw new KeyFetchError(
      'KEYS_URI_UNKNOWN',
      `The address of the issuer's keys is unknown: ${why}`,
      { cause: error },
    );
  }
}

function milliseconds(name: string, seconds: number, least: number): number {
  return atLeast(name, seconds, least) * 1000;
}

function atLeast(name: string, value: number, least: number): number {
  if (!Number.isFinite(value) || value < least) {
    throw new VerifierConfigError(`"${name}" must be a number, at least ${least}.`);
  }
  return value;
}
