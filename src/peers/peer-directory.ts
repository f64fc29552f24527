import { isStoreError, MAX_VALUE_BYTES, type SecretStore } from '../secrets/secret-store.js';
import { notify } from '../tokens/errors.js';
import { RefreshingCache, type CacheObserver } from '../tokens/refreshing-cache.js';
import type { Clock } from '../tokens/time.js';
import {
  listMalformed,
  mergePeers,
  NO_PEERS,
  parsePeers,
  type MalformedPeer,
  type Peers,
  type PeersSecret,
} from './peers.js';

/** Where the peers are read from. Spans in milliseconds. */
interface PeerDirectoryOptions {
  readonly store: Pick<SecretStore, 'read'>;
  /** The id of the peers secret. */
  readonly secretId: string;
  /** Further secrets that the list of peers spans. */
  readonly moreSecretIds?: readonly string[];
  readonly clock: Clock;
  /** How long a list is served. Default: 300 000. */
  readonly ttlMs?: number;
  readonly random?: () => number;
  readonly observer?: CacheObserver;
  /** Notified of the malformed entries when they change. */
  readonly onMalformed?: (malformed: readonly MalformedPeer[]) => void;
  /** Notified when the secrets together begin to be nearly full. */
  readonly onNearlyFull?: (room: PeersRoom) => void;
}

/** How much of a peers secret is used, or of several together. */
export interface PeersRoom {
  /** Bytes of UTF-8 that the lists have now. */
  readonly bytes: number;
  /** The most that the secrets can hold: 65,536 bytes each. */
  readonly limit: number;
  /** Entries, malformed ones included. */
  readonly entries: number;
}

/** Where room for peers counts as nearly used up. */
const NEARLY_FULL = 0.9;

/** Whether another peers secret should be named soon. */
export function isNearlyFull({ bytes, limit }: PeersRoom): boolean {
  return bytes >= limit * NEARLY_FULL;
}

/** The room of several secrets together. */
export function totalRoom(rooms: readonly PeersRoom[]): PeersRoom {
  const sum = (of: (room: PeersRoom) => number): number =>
    rooms.reduce((total, room) => total + of(room), 0);
  return {
    bytes: sum(({ bytes }) => bytes),
    limit: sum(({ limit }) => limit),
    entries: sum(({ entries }) => entries),
  };
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
  const { store, clock, ttlMs, random, observer, onMalformed, onNearlyFull } = options;
  const { secretId, moreSecretIds = [] } = options;
  let reported = '[]';
  let wasNearlyFull = false;
  const read = async (): Promise<Peers> => {
    const secrets = await readPeersSecrets(store, [secretId, ...moreSecretIds]);
    const room = totalRoom(secrets);
    if (isNearlyFull(room) && !wasNearlyFull) notify(() => onNearlyFull?.(room));
    wasNearlyFull = isNearlyFull(room);
    const peers = mergePeers(secrets.map((secret) => secret.peers));
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
 * @param moreSecretIds further secrets of the list, as {@link readPeersSecrets} reads them.
 * @throws a `SecretStoreError`, or a `PeersError` `PEERS_INVALID`.
 */
export async function readPeers(
  store: Pick<SecretStore, 'read'>,
  secretId: string,
  moreSecretIds: readonly string[] = [],
): Promise<Peers> {
  const secrets = await readPeersSecrets(store, [secretId, ...moreSecretIds]);
  return mergePeers(secrets.map(({ peers }) => peers));
}

/** One peers secret as it was read. */
export interface ReadPeersSecret extends PeersRoom {
  readonly secretId: string;
  /** False for a further secret that does not exist yet: adding the peer that needs it creates it. */
  readonly exists: boolean;
  readonly peers: PeersSecret;
}

/**
 * Reads the secrets that the list of peers spans, all at once. They count only together: without one of them nobody
 * could say who is not on the list, so one failure fails the read. Only the first has to exist.
 *
 * @throws a `SecretStoreError`, or a `PeersError` `PEERS_INVALID`.
 */
export function readPeersSecrets(
  store: Pick<SecretStore, 'read'>,
  secretIds: readonly string[],
): Promise<readonly ReadPeersSecret[]> {
  return Promise.all(
    secretIds.map(async (secretId, index) => {
      try {
        const { value } = await store.read(secretId);
        return readSecret(secretId, parsePeers(value), Buffer.byteLength(value));
      } catch (error) {
        if (isStoreError(error, 'VERSION_NOT_FOUND')) return readSecret(secretId, NO_PEERS, 0);
        if (index === 0 || !isStoreError(error, 'SECRET_NOT_FOUND')) throw error;
        return { ...readSecret(secretId, NO_PEERS, 0), exists: false };
      }
    }),
  );
}

function readSecret(secretId: string, peers: PeersSecret, bytes: number): ReadPeersSecret {
  const entries = peers.byId.size + peers.malformed.size;
  return { secretId, exists: true, peers, bytes, limit: MAX_VALUE_BYTES, entries };
}
