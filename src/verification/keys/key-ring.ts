import { importJWK } from 'jose';
import type { SignatureAlgorithm } from '../algorithms.js';
import { TokenRejectedError } from '../errors.js';
import type { VerificationKey, WantedKey } from './key-set.js';
import type { IgnoredKey, KeyDocument, UsableKey } from './usable-keys.js';

/** Which key fits, or why none does. */
export type KeyMatch = VerificationKey | 'unknown' | 'other-algorithm' | 'ambiguous';

type KeysByAlgorithm = ReadonlyMap<SignatureAlgorithm, VerificationKey>;

/** The imported keys of one JWKS. Never changes; a new JWKS makes a new ring, so that a removed key is gone. */
export class KeyRing {
  readonly #byId: ReadonlyMap<string, KeysByAlgorithm>;
  readonly #all: readonly KeysByAlgorithm[];
  /** Ids of the usable keys. */
  readonly keyIds: readonly string[];
  /** Keys that are not used, and why. */
  readonly ignored: readonly IgnoredKey[];

  private constructor(imported: readonly ImportedKey[], ignored: readonly IgnoredKey[]) {
    const byId = new Map<string, KeysByAlgorithm>();
    for (const { keyId, keys } of imported) if (keyId !== undefined) byId.set(keyId, keys);
    this.#byId = byId;
    this.#all = imported.map(({ keys }) => keys);
    this.keyIds = [...byId.keys()];
    this.ignored = ignored;
  }

  /** Imports every usable key for every algorithm it may be used with, so that verification never waits for an import. */
  static async import(document: KeyDocument): Promise<KeyRing> {
    const results = await Promise.all(document.usable.map(importKey));
    const imported = results.filter((result) => 'keys' in result);
    const failed = results.filter((result) => 'reason' in result);
    return new KeyRing(imported, [...document.ignored, ...failed]);
  }

  /** The key for a token, chosen by id and algorithm together. */
  match({ alg, kid }: WantedKey): KeyMatch {
    if (kid !== undefined) {
      const keys = this.#byId.get(kid);
      return keys === undefined ? 'unknown' : (keys.get(alg) ?? 'other-algorithm');
    }
    const fitting = this.#all.filter((keys) => keys.has(alg));
    if (fitting.length > 1) return 'ambiguous';
    return fitting[0]?.get(alg) ?? 'unknown';
  }
}

/**
 * The matching key.
 *
 * @throws {TokenRejectedError} when none matches.
 */
export function requireKey(match: KeyMatch): VerificationKey {
  switch (match) {
    case 'unknown':
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
  readonly keys: KeysByAlgorithm;
}

async function importKey(usable: UsableKey): Promise<ImportedKey | IgnoredKey> {
  const keys = new Map<SignatureAlgorithm, VerificationKey>();
  try {
    for (const alg of usable.algorithms) {
      const key = await importJWK(usable.jwk, alg);
      if (key instanceof Uint8Array) return { keyId: usable.keyId, reason: 'private-or-symmetric' };
      keys.set(alg, { keyId: usable.keyId, alg, key });
    }
  } catch {
    // A point that is not on its curve, a coordinate of a wrong size: the platform says no more than "invalid".
    return { keyId: usable.keyId, reason: 'malformed' };
  }
  return { keyId: usable.keyId, keys };
}
