import { isStoreError, type SecretStore } from '../secrets/secret-store.js';
import { RefreshingCache, type CacheObserver } from '../tokens/refreshing-cache.js';
import { parseServiceToken, TokenSecretError, type ServiceToken } from '../tokens/service-token.js';
import type { Clock } from '../tokens/time.js';

/** The current service token, and the version of the token secret that holds it. */
export interface ServedToken {
  readonly token: ServiceToken;
  readonly versionId: string;
}

/** Where the token is read from. Spans in milliseconds, with the defaults of `RefreshingCache`. */
interface TokenCacheOptions {
  readonly store: Pick<SecretStore, 'read'>;
  /** The id of the token secret. */
  readonly secretId: string;
  readonly clock: Clock;
  readonly ttlMs?: number;
  readonly skewMs?: number;
  readonly random?: () => number;
  /** The scopes of a token that does not name its own. */
  readonly scope?: string;
  readonly observer?: CacheObserver;
}

/** The cache of the service token: what the broker serves from, with the freshness policy. */
export type TokenCache = RefreshingCache<ServedToken>;

/**
 * Makes the cache of the token secret's AWSCURRENT version.
 *
 * Its reads fail with what the store says, and with a `TokenSecretError`: `TOKEN_SECRET_EMPTY` before the first
 * rotation has finished, `TOKEN_SECRET_INVALID` when the secret holds something else, `TOKEN_WITHDRAWN` when it holds a
 * version that a later one has withdrawn, as a store that lags behind may.
 */
export function createTokenCache(options: TokenCacheOptions): TokenCache {
  const { store, secretId, clock, ttlMs, skewMs, random, scope, observer } = options;
  const withdrawn = new Set<string>();
  const isWithdrawn = ({ versionId }: ServedToken): boolean => withdrawn.has(versionId);
  const cache: TokenCache = new RefreshingCache({
    read: async () => {
      const served = await readCurrentToken(store, secretId, scope);
      for (const id of served.token.withdrawn ?? []) withdrawn.add(id);
      // Also by a read that took too long, whose value the cache ignores.
      cache.drop(isWithdrawn);
      if (!isWithdrawn(served)) return served;
      throw new TokenSecretError(
        'TOKEN_WITHDRAWN',
        'retry',
        `The token secret "${secretId}" gives version ${served.versionId}, which was withdrawn: the store lags behind, or ` +
          'AWSCURRENT was moved back. Rotate to write a new one.',
      );
    },
    expiresAt: ({ token }) => token.expiresAt,
    isSame: (one, other) => one.token.accessToken === other.token.accessToken,
    clock,
    ttlMs,
    skewMs,
    random,
    observer,
  });
  return cache;
}

async function readCurrentToken(
  store: Pick<SecretStore, 'read'>,
  secretId: string,
  scope: string | undefined,
): Promise<ServedToken> {
  try {
    const { value, versionId } = await store.read(secretId);
    const token = parseServiceToken(value);
    const known = token.scope ?? scope;
    return { token: known === undefined ? token : { ...token, scope: known }, versionId };
  } catch (error) {
    if (!isStoreError(error, 'VERSION_NOT_FOUND')) throw error;
    throw new TokenSecretError(
      'TOKEN_SECRET_EMPTY',
      'retry',
      `The token secret "${secretId}" holds no service token yet: its first rotation has not finished.`,
      { cause: error },
    );
  }
}
