import { decideFreshness, type Freshness } from '../../tokens/freshness.js';
import { waitFor, withDeadline } from '../../tokens/waiting.js';
import { KeyFetchError, KeysUnavailableError } from '../errors.js';
import { countsAsDown, failedFetch, mayRetry, type FetchFailure } from './fetch-failure.js';
import { fetchKeys, type FetchedKeys } from './fetch-keys.js';
import { KeyRing, requireKey } from './key-ring.js';
import type { KeySet, KeySetState, VerificationKey, WantedKey } from './key-set.js';
import {
  readRemoteOptions,
  type RemoteKeySetOptions,
  type RemoteKeySetSettings,
} from './remote-options.js';

/** Keys that are fetched from the issuer. */
export interface RemoteKeySet extends KeySet {
  /**
   * Fetches the keys now (or joins the fetch that is under way), for a check at start or by `doctor`.
   *
   * @throws {KeysUnavailableError} when that fails; keys that are at hand stay in use.
   */
  refresh(signal?: AbortSignal): Promise<void>;
  /**
   * Fetches the keys when their age asks for it, and else does nothing: for a process that keeps them fresh on its own,
   * without tokens to verify. Call it every minute or so, and compare `state().changes` with what it was before.
   *
   * Resolves when that fetch has ended, also when it failed: `state().lastError` has the reason. After a failure it
   * respects the same pauses as everybody else.
   *
   * @param signal ends this wait, not the fetch.
   *
   * @example
   * ```ts
   * import { createRemoteKeySet } from 'service-token-broker';
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
 * - One fetch is in flight at a time; everybody who needs it shares it.
 * - From 80 % of their age keys are fetched again behind the answer.
 * - An unknown key id causes a fetch, at most one per cooldown, and the cooldown holds when the fetch fails too. A
 *   flood of invented ids therefore reaches the provider once per cooldown.
 * - While the provider is down, keys that are at hand go on working until `staleSeconds` after their age; an unknown id
 *   then is answered with {@link KeysUnavailableError} rather than a refusal, since the key may just be new. A failed
 *   fetch says so for as long as keys count as fresh; after that the next answer waits for a fetch again.
 * - With no keys at hand, failed fetches are repeated after 1, 2, 4 … seconds, up to the cooldown, or later when the
 *   provider asks for it (`Retry-After`, at most five minutes).
 * - A fetched JWKS replaces the keys as a whole, also by none: what is gone from it is no longer trusted.
 *
 * @throws {VerifierConfigError} for numbers out of range; {@link KeyFetchError} `KEYS_URI_REFUSED` for an address that
 *   is not `https`.
 *
 * @example
 * ```ts
 * import { createRemoteKeySet } from 'service-token-broker';
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
  #held: Held | undefined;
  #failure: FetchFailure | undefined;
  #inFlight: Promise<void> | undefined;
  #lastAttemptAt: number | undefined;
  #fetches = 0;
  #failures = 0;
  #changes = 0;

  constructor(settings: RemoteKeySetSettings) {
    this.#settings = settings;
  }

  async find(wanted: WantedKey, signal?: AbortSignal): Promise<VerificationKey> {
    signal?.throwIfAborted();
    const ring = await this.#currentRing(signal);
    const match = ring.match(wanted);
    if (match !== 'unknown') return requireKey(match);
    if (this.#inFlight !== undefined || this.#hasCooledDown()) {
      await waitFor(this.#refresh(), signal);
    }
    const second = this.#held?.ring.match(wanted) ?? 'unknown';
    if (second === 'unknown' && this.#failure !== undefined) throw this.#unavailable();
    return requireKey(second);
  }

  async refresh(signal?: AbortSignal): Promise<void> {
    await waitFor(this.#refresh(), signal);
    if (this.#failure !== undefined) throw this.#unavailable();
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
      if (this.#inFlight !== undefined || this.#mayRetry()) void this.#refresh();
    }
    return this.#held?.ring;
  }

  /** The keys to judge with, after whatever fetch their age asks for. */
  async #currentRing(signal: AbortSignal | undefined): Promise<KeyRing> {
    const ring = this.atHand();
    if (ring !== undefined) return ring;
    if (this.#inFlight !== undefined || this.#mayRetry()) await waitFor(this.#refresh(), signal);
    if (this.#held === undefined || this.#freshness() === 'unavailable') throw this.#unavailable();
    return this.#held.ring;
  }

  #freshness(): Freshness {
    const { clock, stale } = this.#settings;
    const now = clock.now();
    const held = this.#held;
    // After a clock was set back the stale time runs from now on, and not from the end of the jump.
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

  #hasCooledDown(): boolean {
    if (this.#lastAttemptAt === undefined) return true;
    const elapsed = this.#settings.clock.now() - this.#lastAttemptAt;
    return (elapsed < 0 || elapsed >= this.#settings.cooldown) && this.#mayRetry();
  }

  /** Starts a fetch or joins the one under way. Never rejects: the outcome is kept in the fields. */
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
      this.#failure = failedFetch(error, this.#failure, clock.now(), cooldown);
    }
    this.#lastAttemptAt = clock.now();
  }

  async #fetch(signal: AbortSignal): Promise<FetchedKeys> {
    const { findUri, fetch, maxBytes } = this.#settings;
    return fetchKeys({ uri: await findUri(), fetch, maxBytes, signal });
  }

  #grantedAge(hintSeconds: number | undefined): number {
    const { maxAge, cooldown } = this.#settings;
    if (hintSeconds === undefined) return maxAge;
    return Math.min(maxAge, Math.max(hintSeconds * 1000, cooldown));
  }

  #unavailable(): KeysUnavailableError {
    const failure = this.#failure;
    const wait = (failure?.retryAt ?? 0) - this.#settings.clock.now();
    return new KeysUnavailableError(
      `The issuer's keys cannot be had at the moment. ${failure?.error.message ?? ''}`.trim(),
      { cause: failure?.error, retryAfterSeconds: Math.max(1, Math.ceil(wait / 1000)) },
    );
  }
}

function timedOut(): KeyFetchError {
  return new KeyFetchError('KEYS_TIMEOUT', "The issuer's keys did not arrive in time.");
}
