import type { webcrypto } from 'node:crypto';
import type { SignatureAlgorithm } from '../algorithms.js';
import type { KeyFetchCode } from '../errors.js';
import type { IgnoredKey } from './usable-keys.js';

/** Which key a token asks for. */
export interface WantedKey {
  readonly alg: SignatureAlgorithm;
  /** The header's `kid`; a token without one is verified only when a single key fits its algorithm. */
  readonly kid: string | undefined;
}

/** A public key, ready to verify with one algorithm. */
export interface VerificationKey {
  readonly keyId: string | undefined;
  readonly alg: SignatureAlgorithm;
  readonly key: webcrypto.CryptoKey;
}

/** Which key fits, or why none does. */
export type KeyMatch = VerificationKey | 'unknown' | 'other-algorithm' | 'ambiguous';

/**
 * The keys of one moment. Never changes: newer keys come as another object. A key that is the same in both is the same
 * object in both.
 */
export interface KeysAtHand {
  /** The key for a token, chosen by id and algorithm together. */
  match(wanted: WantedKey): KeyMatch;
}

/** What health and metrics show of a key set. Instants are milliseconds since the Unix epoch. */
export interface KeySetState {
  /**
   * - `empty`: no keys were had yet.
   * - `fresh`: the keys are within their age.
   * - `stale`: past it, and still used because the provider cannot be reached.
   * - `expired`: too old to be used.
   */
  readonly status: 'empty' | 'fresh' | 'stale' | 'expired';
  /** When the keys in use were fetched. */
  readonly fetchedAt: number | undefined;
  /** When the last fetch ended, well or badly. */
  readonly lastAttemptAt: number | undefined;
  /** Why the last fetch failed; `undefined` when it did not. */
  readonly lastError: { readonly code: KeyFetchCode; readonly at: number } | undefined;
  /** Ids of the keys in use, in the order of the JWKS. A key without an id is not listed. */
  readonly keyIds: readonly string[];
  /** Keys of the JWKS that are not used, and why. */
  readonly ignored: readonly IgnoredKey[];
  /** Fetches started since the start of the process. */
  readonly fetches: number;
  /** How many of them failed. */
  readonly failures: number;
  /** How many of them brought other keys than were in use before. What was verified earlier may be refused since. */
  readonly changes: number;
}

/** The public keys of one issuer. */
export interface KeySet {
  /**
   * The key a token asks for.
   *
   * @param signal ends this wait; a fetch that others share goes on.
   * @throws {TokenRejectedError} `TOKEN_KEY_UNKNOWN`, or `TOKEN_ALGORITHM_REFUSED` for a key with another algorithm.
   * @throws {KeysUnavailableError} when the keys cannot be had.
   */
  find(wanted: WantedKey, signal?: AbortSignal): Promise<VerificationKey>;
  /**
   * The keys that {@link find} would choose from without waiting; `undefined` when it would have to wait, or to fail.
   * Like `find` it starts the fetch that the keys' age asks for.
   */
  atHand(): KeysAtHand | undefined;
  /** What health and metrics show. Never starts a fetch. */
  state(): KeySetState;
}
