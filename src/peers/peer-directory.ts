import { isStoreError, type SecretStore } from '../secrets/secret-store.js';
import { notify } from '../tokens/errors.js';
import { RefreshingCache, type CacheObserver } from '../tokens/refreshing-cache.js';
import type { Clock } from '../tokens/time.js';
import { listMalformed, NO_PEERS, parsePeers, type MalformedPeer, type Peers } from './peers.js';

/** Where the peers are read from. Spans in milliseconds. */
interface PeerDirectoryOptions {
  readonly store: Pick<SecretStore, 'read'>;
  /** The id of the peers secret. */
  readonly secretId: string;
  readonly clock: Clock;
  /** How long a list is served. Default: 300 000. */
  readonly ttlMs?: number;
  readonly random?: () => number;
  readonly observer?: CacheObserver;
  /** Notified of the malformed entries when they change. */
  readonly onMalformed?: (malformed: readonly MalformedPeer[]) => void;
}

/** The cache of the peers secret. */
export type PeerDirectory = RefreshingCache<Peers>;

/**
 * How long a list is served after its last successful read, in milliseconds: a day, the usual life of a service token.
 * During an outage of the store, serving must not stop before the tokens themselves expire; but without an end, a peer
 * that was removed or disabled would be let in forever.
 */
export const PEERS_LIFE = 86_400_000;

/**
 * The least time between two reads that failed logins may cause, in milliseconds. A peer just added need not wait for
 * the time to live, and a flood of bad logins costs the store twelve reads a minute.
 */
export const REREAD_INTERVAL = 5_000;

/**
 * Makes the cache of the peers secret. A peer that is removed or disabled is refused after the time to live, or after
 * {@link PEERS_LIFE} while the list cannot be read; then nobody can log in. Reads fail as those of {@link readPeers}.
 */
export function createPeerDirectory(options: PeerDirectoryOptions): PeerDirectory {
  const { store, secretId, clock, ttlMs, random, observer, onMalformed } = options;
  let reported = '[]';
  const read = async (): Promise<Peers> => {
    const peers = await readPeers(store, secretId);
    const malformed = listMalformed(peers);
    const current = JSON.stringify(malformed);
    if (current !== reported && malformed.length > 0) notify(() => onMalformed?.(malformed));
    reported = current;
    return peers;
  };
  return new RefreshingCache({
    read,
    expiresAt: (_, readAt) => readAt + PEERS_LIFE,
    clock,
    ttlMs,
    skewMs: 0,
    random,
    observer,
    forceIntervalMs: REREAD_INTERVAL,
  });
}

/**
 * Reads the list of peers. A secret without a value is an empty list; one that does not exist is an error, since its
 * name may be wrong.
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
