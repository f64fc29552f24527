import { isStoreError } from '../secrets/secret-store-error.js';
import type { SecretStore } from '../secrets/secret-store.js';
import type { Clock } from '../tokens/clock.js';
import { RefreshingCache, type CacheObserver } from '../tokens/refreshing-cache.js';
import { NO_PEERS, parsePeers, type Peers } from './peers.js';

/** Where the peers are read from. Spans in milliseconds. */
export interface PeerDirectoryOptions {
  readonly store: Pick<SecretStore, 'read'>;
  /** The id of the peers secret. */
  readonly secretId: string;
  readonly clock: Clock;
  /** How long a list is served. Default 300 000. */
  readonly ttlMs?: number;
  readonly random?: () => number;
  readonly observer?: CacheObserver;
}

/** The cache of the peers secret. */
export type PeerDirectory = RefreshingCache<Peers>;

/**
 * The least time between two reads that failed logins may cause. Low enough that a peer just added need not wait for
 * the time to live, high enough that a flood of bad logins costs the store twelve reads a minute.
 */
const REREAD_INTERVAL = 5_000;

/**
 * Makes the cache of the peers secret. A secret without a value is an empty list; one that does not exist is an
 * error, since its name may be wrong. A peer that is removed or disabled is refused after the time to live at the latest.
 */
export function createPeerDirectory(options: PeerDirectoryOptions): PeerDirectory {
  const { store, secretId, clock, ttlMs, random, observer } = options;
  return new RefreshingCache({
    read: () => readPeers(store, secretId),
    expiresAt: () => Number.POSITIVE_INFINITY,
    clock,
    ttlMs,
    random,
    observer,
    forceIntervalMs: REREAD_INTERVAL,
  });
}

/**
 * Reads the list of peers from the store.
 *
 * @throws a `SecretStoreError`, or a `PeersError` `PEERS_INVALID`.
 */
export async function readPeers(
  store: Pick<SecretStore, 'read'>,
  secretId: string,
): Promise<Peers> {
  try {
    return parsePeers((await store.read(secretId)).value);
  } catch (error) {
    if (isStoreError(error, 'VERSION_NOT_FOUND')) return NO_PEERS;
    throw error;
  }
}
