import { VerifierConfigError } from '../errors.js';
import { KeyRing, requireKey } from './key-ring.js';
import type { KeySet } from './key-set.js';
import { readKeyDocument } from './usable-keys.js';

/**
 * Keys that never change: for tests, and for networks without a way to the provider.
 *
 * @param jwks a JWKS (RFC 7517 §5) with public keys. It is read once; later changes to the object have no effect.
 * @throws {VerifierConfigError} when it is not a JWKS, or none of its keys may be used; the message says why.
 *
 * @example
 * ```ts
 * import { createStaticKeySet } from 'service-token-broker';
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
