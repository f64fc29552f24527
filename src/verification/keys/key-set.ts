import type { webcrypto } from 'node:crypto';
import {
  type SignatureAlgorithm,
  type IgnoredKey,
  type IgnoredKeyReason,
  type KeyDocument,
  type UsableKey,
  readKeyDocument,
} from './usable-keys.js';
import {
  type KeyFetchCode,
  TokenRejectedError,
  VerifierConfigError,
} from '../verification-errors.js';
import { importJWK } from 'jose';

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

/** The keys of one moment. Immutable: newer keys come as another object, in which an unchanged key is the same object. */
export interface KeysAtHand {
  /** The key for a token, chosen by id and algorithm together. */
  match(wanted: WantedKey): KeyMatch;
}

/** What health and metrics show of a key set. Instants are milliseconds since the Unix epoch. */
export interface KeySetState {
  /**
   * - `empty`: no keys were fetched yet.
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
  /** How many of them brought other keys than before: tokens that were verified earlier may be refused since. */
  readonly changes: number;
}

/** The public keys of one issuer. */
export interface KeySet {
  /**
   * The key a token asks for.
   *
   * @param signal ends this wait; a fetch that others share goes on.
   * @throws {TokenRejectedError} `TOKEN_KEY_UNKNOWN`, or `TOKEN_ALGORITHM_REFUSED` for a key with another algorithm.
   * @throws {KeysUnavailableError} when the keys are not available.
   */
  find(wanted: WantedKey, signal?: AbortSignal): Promise<VerificationKey>;
  /**
   * After a signature did not fit: the key that has replaced this one, where a provider gives its keys no id, or the same
   * id again. `undefined` when it is still this one. Optional for key sets that never change.
   */
  findReplacement?(
    wanted: WantedKey,
    key: VerificationKey,
    signal?: AbortSignal,
  ): Promise<VerificationKey | undefined>;
  /**
   * The keys that {@link find} would choose from without waiting; `undefined` when it would have to wait or fail. Like
   * `find` it starts the fetch that is due by the keys' age.
   */
  atHand(): KeysAtHand | undefined;
  /** What health and metrics show. Never starts a fetch. */
  state(): KeySetState;
}

/**
 * Keys that never change: for tests, and for networks that cannot reach the provider.
 *
 * @param jwks a JWKS (RFC 7517 §5) with public keys. It is read once; later changes to the object have no effect.
 * @throws {VerifierConfigError} when it is not a JWKS, or none of its keys may be used; the message says why.
 *
 * @example
 * ```ts
 * import { createStaticKeySet } from 'service-token-kit';
 *
 * const keys = createStaticKeySet(JSON.parse(await readFile('issuer-keys.json', 'utf8')));
 * ```
 */
export function createStaticKeySet(jwks: { readonly keys: readonly object[] }): KeySet {
  const document = readKeyDocument(jwks);
  if (document === undefined) {
    throw new VerifierConfigError(
      'The static key set is not a JWKS: give an object with a list "keys".',
    );
  }
  if (document.usable.length === 0) {
    const reasons = new Set(document.ignored.map(({ reason }) => reason));
    throw new VerifierConfigError(
      `The static key set has no usable key (${[...reasons].join(', ') || 'it is empty'}).`,
    );
  }
  let ring: KeyRing | undefined;
  const importing = KeyRing.import(document).then((imported) => (ring = imported));
  return {
    find: async (wanted) => {
      const keys = ring ?? (await importing);
      return requireKey(keys.match(wanted), keys.whyIgnored(wanted));
    },
    atHand: () => ring,
    state: () => ({
      status: 'fresh',
      fetchedAt: undefined,
      lastAttemptAt: undefined,
      lastError: undefined,
      keyIds:
        ring?.keyIds ??
        [...new Set(document.usable.map(({ keyId }) => keyId))].filter((id) => id !== undefined),
      ignored: ring?.ignored ?? document.ignored,
      fetches: 0,
      failures: 0,
      changes: 0,
    }),
  };
}

type KeysByAlgorithm = Map<SignatureAlgorithm, VerificationKey>;

/** The imported keys of one JWKS. Immutable: a new JWKS makes a new ring, so that a removed key is not trusted. */
export class KeyRing implements KeysAtHand {
  readonly #byId = new Map<string, KeysByAlgorithm>();
  /** The keys that a token without an id may mean: one for each material, whatever ids it is listed under. */
  readonly #byAlgorithm = new Map<SignatureAlgorithm, Map<string, VerificationKey>>();
  readonly #source: string;
  readonly #byContent: ReadonlyMap<string, VerificationKey>;
  /** Ids of the usable keys. */
  readonly keyIds: readonly string[];
  /** Keys that are not used, and why. */
  readonly ignored: readonly IgnoredKey[];

  private constructor(
    source: string,
    imported: readonly ImportedKey[],
    ignored: readonly IgnoredKey[],
  ) {
    for (const { keyId, material, keys } of imported) {
      for (const [alg, key] of keys) {
        if (keyId !== undefined) entryOf(this.#byId, keyId).set(alg, key);
        const sameAlgorithm = entryOf(this.#byAlgorithm, alg);
        if (!sameAlgorithm.has(material)) sameAlgorithm.set(material, key);
      }
    }
    this.#source = source;
    this.#byContent = new Map(imported.flatMap(({ contents }) => contents));
    this.keyIds = [...this.#byId.keys()];
    this.ignored = ignored;
  }

  /**
   * Imports every usable key for every algorithm it may be used with, so that verification never waits for an import.
   *
   * @param before the ring that this one replaces: a key in both, with the same id and content, stays the same object, so
   *   that tokens verified with it stay verified. Returned itself when nothing has changed.
   */
  static async import(document: KeyDocument, before?: KeyRing): Promise<KeyRing> {
    const source = JSON.stringify(document);
    if (before !== undefined && before.#source === source) return before;
    const known = before === undefined ? new Map<string, VerificationKey>() : before.#byContent;
    const results = await Promise.all(document.usable.map((key) => importKey(key, known)));
    const imported = results.filter((result) => 'keys' in result);
    const failed = results.filter((result) => 'reason' in result);
    return new KeyRing(source, imported, [...document.ignored, ...failed]);
  }

  /** Why the key with the token's id is not used, if the issuer publishes one that is not. */
  whyIgnored({ kid }: WantedKey): IgnoredKeyReason | undefined {
    return kid === undefined ? undefined : this.ignored.find(({ keyId }) => keyId === kid)?.reason;
  }

  match({ alg, kid }: WantedKey): KeyMatch {
    if (kid !== undefined) {
      const keys = this.#byId.get(kid);
      return keys === undefined ? 'unknown' : (keys.get(alg) ?? 'other-algorithm');
    }
    const fitting = [...(this.#byAlgorithm.get(alg)?.values() ?? [])];
    if (fitting.length > 1) return 'ambiguous';
    return fitting[0] ?? 'unknown';
  }
}

/** The inner map under a key; made when there is none. */
function entryOf<Key, Inner, Value>(map: Map<Key, Map<Inner, Value>>, key: Key): Map<Inner, Value> {
  const inner = map.get(key) ?? new Map<Inner, Value>();
  map.set(key, inner);
  return inner;
}

interface ImportedKey {
  readonly keyId: string | undefined;
  /** What the key is, apart from its id and uses: equal for equal RFC 7638 thumbprints. */
  readonly material: string;
  readonly keys: KeysByAlgorithm;
  /** The same keys by what makes them what they are. */
  readonly contents: readonly (readonly [content: string, key: VerificationKey])[];
}

async function importKey(
  { keyId, algorithms, jwk }: UsableKey,
  known: ReadonlyMap<string, VerificationKey>,
): Promise<ImportedKey | IgnoredKey> {
  const keys: KeysByAlgorithm = new Map();
  const contents: [string, VerificationKey][] = [];
  try {
    for (const alg of algorithms) {
      const content = JSON.stringify([keyId, alg, jwk]);
      let ready = known.get(content);
      if (ready === undefined) {
        const key = await importJWK(jwk, alg);
        if (key instanceof Uint8Array) return { keyId, reason: 'private-or-symmetric' };
        ready = { keyId, alg, key };
      }
      keys.set(alg, ready);
      contents.push([content, ready]);
    }
  } catch {
    // Such as a point that is not on its curve: the platform says no more than "invalid".
    return { keyId, reason: 'malformed' };
  }
  return { keyId, material: JSON.stringify(jwk), keys, contents };
}

/**
 * The matching key.
 *
 * @param ignored why the key with the token's id is not used, if there is one.
 * @throws {TokenRejectedError} when none matches.
 */
export function requireKey(match: KeyMatch, ignored?: IgnoredKeyReason): VerificationKey {
  switch (match) {
    case 'unknown':
      if (ignored !== undefined) {
        throw new TokenRejectedError(
          'TOKEN_KEY_UNKNOWN',
          `The issuer publishes the token's key, and it is not used: ${ignored === 'roca' ? ROCA : ignored}.`,
        );
      }
      throw new TokenRejectedError(
        'TOKEN_KEY_UNKNOWN',
        'The issuer publishes no key that fits the token\'s "kid" and "alg".',
      );
    case 'ambiguous':
      throw new TokenRejectedError(
        'TOKEN_KEY_UNKNOWN',
        'The token names no key ("kid"), and the issuer publishes several that would fit.',
      );
    case 'other-algorithm':
      throw new TokenRejectedError(
        'TOKEN_ALGORITHM_REFUSED',
        'The issuer publishes the token\'s key for another algorithm than the token\'s "alg".',
      );
    default:
      return match;
  }
}

const ROCA =
  'its private key can be computed from it (CVE-2017-15361, "ROCA"). The issuer needs a new key';
