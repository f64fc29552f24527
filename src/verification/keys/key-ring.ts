import { importJWK } from 'jose';
import type { SignatureAlgorithm } from '../algorithms.js';
import { TokenRejectedError } from '../errors.js';
import type { KeyMatch, KeysAtHand, VerificationKey, WantedKey } from './key-set.js';
import type { IgnoredKey, IgnoredKeyReason, KeyDocument, UsableKey } from './usable-keys.js';

type KeysByAlgorithm = Map<SignatureAlgorithm, VerificationKey>;

/** The imported keys of one JWKS. Never changes; a new JWKS makes a new ring, so that a removed key is gone. */
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
   * @param before the ring that this one replaces: a key that is in both, with the same id and content, stays the same
   *   object, so that what was verified with it stays verified. When all are the same, it is returned itself.
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

const ROCA =
  'its private key can be computed from it (CVE-2017-15361, "ROCA"). The issuer needs a new key';

/** What a map of maps has under a key, made when it has nothing. */
function entryOf<Key, Inner, Value>(map: Map<Key, Map<Inner, Value>>, key: Key): Map<Inner, Value> {
  const inner = map.get(key) ?? new Map<Inner, Value>();
  map.set(key, inner);
  return inner;
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
    // A point that is not on its curve, a coordinate of a wrong size: the platform says no more than "invalid".
    return { keyId, reason: 'malformed' };
  }
  return { keyId, material: JSON.stringify(jwk), keys, contents };
}
