import type { Need } from '../peers/policy.js';
import type { RotationBody } from './answers.js';
import type { TokenCache } from './token-cache.js';

/** The token that is meant where none is named. */
export const UNNAMED = 'default';

/** What rotates the service token: the part of the `Rotator` that `POST /v1/rotate` calls. */
export interface RotateNow {
  /**
   * @param request with `revoke`, the version before is marked as withdrawn.
   * @returns `versionId`: the version that is current now, or will be. `result`: what was done; `requested` when the
   *   rotation goes on elsewhere, `recent` when the current version is so new that nothing was done.
   * @throws {BrokerError}
   */
  rotate(request: { readonly trigger: 'http'; readonly revoke?: boolean }): Promise<{
    readonly versionId: string;
    readonly result: Exclude<RotationBody['outcome'], 'joined'>;
  }>;
}

/** A service token as the endpoints know it: what it is configured for, and its cache. */
export interface KeptToken {
  readonly name: string;
  /** What a peer needs to get it. One object, since the hot lane makes none. */
  readonly need: Need;
  /** The audience and the resources that it is configured for; empty where the credentials secret names them. */
  readonly targets: readonly string[];
  /** The scopes of a version that does not name its own, separated by spaces. */
  readonly scope: string | undefined;
  readonly cache: TokenCache;
  /** What `POST /v1/rotate` calls. Without it the token is not rotated here. */
  readonly rotator: RotateNow | undefined;
}

/** What a token request asks for. */
export interface TokenChoice {
  /** Every `audience` and `resource` (RFC 8707 §2). */
  readonly targets: readonly string[];
  /** Every requested scope. */
  readonly scopes: readonly string[];
}

/**
 * The token that a request gets, among those that its peer may have; `undefined` where none fits, or several do. Pure.
 *
 * Without a target it is `default`. A target chooses the tokens that are for all of it, and among several of them the
 * scopes do. Where only one token is configured, what it is for is compared with the token itself afterwards.
 */
export function chooseToken(
  tokens: readonly KeptToken[],
  isGranted: (token: KeptToken) => boolean,
  { targets, scopes }: TokenChoice,
): KeptToken | undefined {
  const granted = tokens.filter(isGranted);
  if (targets.length === 0) return granted.find(({ name }) => name === UNNAMED);
  if (tokens.length === 1) return granted[0];
  const fitting = granted.filter((token) => includesAll(targetsOf(token), targets));
  const chosen =
    fitting.length > 1 && scopes.length > 0
      ? fitting.filter((token) => includesAll(scopesOf(token), scopes))
      : fitting;
  return chosen.length === 1 ? chosen[0] : undefined;
}

/** What a token is for; where the configuration does not say so, what its cached version is for. */
function targetsOf({ targets, cache }: KeptToken): readonly string[] {
  return targets.length > 0 ? targets : (cache.status().value?.token.audience ?? []);
}

/** The scopes of the cached version; before the first read, those that are configured. */
export function scopesOf({ cache, scope }: Pick<KeptToken, 'cache' | 'scope'>): readonly string[] {
  const known = cache.status().value;
  return words(known === undefined ? scope : known.token.scope);
}

/** Names in a text that separates them by spaces, as `scope` does (RFC 6749 §3.3). */
export function words(text = ''): readonly string[] {
  return text.split(' ').filter((word) => word !== '');
}

function includesAll(all: readonly string[], wanted: readonly string[]): boolean {
  return wanted.every((name) => all.includes(name));
}
