import type { KeySetState } from './keys/key-set.js';
import { judgeToken, type VerifiedToken } from './judge.js';
import { readVerifierOptions, type TokenVerifierOptions } from './options.js';
import { VerifiedTokens } from './verified-tokens.js';

/** Tells whether a token is genuine, meant for us, and who it speaks for. */
export interface TokenVerifier {
  /**
   * Verifies one token. Callers with the same token may be given the same object; it is deeply frozen.
   *
   * @param token the bearer token as it came. Anything that is not a string is refused like a malformed token.
   * @throws {TokenRejectedError} when it is refused: answer 401 `invalid_token`.
   * @throws {KeysUnavailableError} when the issuer's keys cannot be had: answer 503 with `Retry-After`.
   */
  verify(token: unknown, options?: { readonly signal?: AbortSignal }): Promise<VerifiedToken>;
  /**
   * What {@link verify} gives for a token that it remembers, at once; `undefined` for every other one, which has to be
   * verified. A verifier that remembers none need not have it.
   */
  peek?(token: unknown): VerifiedToken | undefined;
  /** The state of each issuer's keys, by issuer, for health and metrics. */
  keyStates(): ReadonlyMap<string, KeySetState>;
}

/**
 * Makes a verifier for one or several issuers. A token is judged only by the issuer it names, with that issuer's keys,
 * audiences, algorithms and profile (RFC 9068 §4, RFC 8725).
 *
 * @throws {VerifierConfigError} when an option is missing or wrong. A check is left out only by an explicit `null`.
 *
 * @example
 * ```ts
 * import { createRemoteKeySet, createTokenVerifier } from 'service-token-broker';
 *
 * const verifier = createTokenVerifier({
 *   issuers: [
 *     {
 *       issuer: 'https://tenant.eu.auth0.com/',
 *       audiences: 'https://orders.example.com',
 *       profile: 'auth0',
 *       keys: createRemoteKeySet({ jwksUri: 'https://tenant.eu.auth0.com/.well-known/jwks.json' }),
 *     },
 *   ],
 * });
 * const { principal } = await verifier.verify(token);
 * if (principal.kind === 'service') console.log(principal.clientId);
 * ```
 */
export function createTokenVerifier(options: TokenVerifierOptions): TokenVerifier {
  const rules = readVerifierOptions(options);
  const remembered = rules.cache === null ? undefined : new VerifiedTokens(rules.cache, rules);
  return {
    async verify(token, { signal } = {}) {
      signal?.throwIfAborted();
      const known = remembered?.find(token);
      if (known !== undefined) return known;
      const judgement = await judgeToken(token, rules, signal);
      // What was accepted is a string.
      if (typeof token === 'string') remembered?.add(token, judgement);
      return judgement.verified;
    },
    peek: (token) => remembered?.find(token),
    keyStates: () =>
      new Map([...rules.issuers].map(([issuer, { keys }]) => [issuer, keys.state()])),
  };
}
