import { randomBytes, randomUUID } from 'node:crypto';
import { isDeepStrictEqual } from 'node:util';
import { isStoreError, MAX_VALUE_BYTES, type SecretStore } from '../secrets/secret-store.js';
import { BrokerError } from '../tokens/errors.js';
import type { Clock } from '../tokens/time.js';
import { readPeersSecrets, type PeersRoom } from './peer-directory.js';
import {
  hashPeerSecret,
  hasPeer,
  listMalformed,
  mergePeers,
  NO_PEERS,
  parsePeers,
  PeersError,
  requirePeer,
  serializePeers,
  summarizePeers,
  withEnabled,
  withGrants,
  withNewSecret,
  withoutPeer,
  withPeer,
  withSecretsOf,
  type MalformedPeer,
  type PeerGrants,
  type PeersSecret,
  type PeerSummary,
} from './peers.js';

/** Where the list of peers is kept and edited. */
interface PeerAdminOptions {
  readonly store: SecretStore;
  /** The id of the peers secret. Adding the first peer creates it. */
  readonly secretId: string;
  /** Further secrets that the list spans. Adding a peer that has no room in those before creates the next one. */
  readonly moreSecretIds?: readonly string[];
  readonly clock: Clock;
}

/** A peer that was added. */
interface AddedPeer {
  readonly id: string;
  /** 256 random bits as base64url. Stored nowhere: show it once. */
  readonly secret: string;
}

/** What the peers secret holds. */
interface PeerList {
  readonly peers: readonly PeerSummary[];
  /** Entries that are not valid peers, with which nobody logs in. */
  readonly malformed: readonly MalformedPeer[];
  /** The secrets that the list spans, and their room; none when the first one does not exist yet. */
  readonly secrets: readonly (PeersRoom & { readonly id: string; readonly exists: boolean })[];
}

const DESCRIPTION = 'Peers of the service token broker: who may ask for the service token.';
const MAX_ATTEMPTS = 8;

/**
 * Adds a peer with a new random secret, to the first peers secret that has room for it.
 *
 * @param tokens the names of the tokens that it may have. Default: `default`.
 * @throws {PeersError} `PEER_ID_INVALID`, `PEER_ROLE_INVALID`, `PEER_TOKEN_INVALID`, `PEER_EXISTS`, `PEERS_FULL`,
 *   `PEERS_INVALID`, `PEERS_BUSY`; or a `SecretStoreError`.
 */
export async function addPeer(
  options: PeerAdminOptions,
  id: string,
  roles: readonly string[],
  tokens?: readonly string[],
): Promise<AddedPeer> {
  const add = (peers: PeersSecret): { peers: PeersSecret; secret: string } =>
    withPeer(peers, id, roles, options.clock.now(), randomBytes, tokens);
  for (const secretId of await holdersOf(options, id)) {
    // Refused with what is wrong, before another secret is looked at.
    add((await readCurrent(options.store, secretId)).peers);
  }
  for (const secretId of secretIdsOf(options)) {
    try {
      const { secret } = await edit(
        { ...options, secretId },
        (peers) => withRoom(add(peers)),
        (peers, added) =>
          peers.byId.get(id)?.secretSha256.equals(hashPeerSecret(added.secret)) === true,
      );
      return { id, secret };
    } catch (error) {
      if (!(error instanceof PeersError) || error.code !== 'PEERS_FULL') throw error;
    }
  }
  throw full();
}

function withRoom<R extends { readonly peers: PeersSecret }>(result: R): R {
  if (Buffer.byteLength(serializePeers(result.peers)) <= MAX_VALUE_BYTES) return result;
  throw full();
}

function full(): PeersError {
  return new PeersError(
    'PEERS_FULL',
    `There is no room for more: a peers secret holds ${MAX_VALUE_BYTES} bytes, some 420 peers. Name another secret in BROKER_PEERS_SECRET_ID, after a comma; it is created when it is needed.`,
  );
}

function secretIdsOf({
  secretId,
  moreSecretIds = [],
}: Pick<PeerAdminOptions, 'secretId' | 'moreSecretIds'>): readonly string[] {
  return [secretId, ...moreSecretIds];
}

/** The secrets in which an entry has the id. With one secret it is not read: the edit reads it. */
async function holdersOf(options: PeerAdminOptions, id: string): Promise<readonly string[]> {
  const ids = secretIdsOf(options);
  if (ids.length === 1) return ids;
  const read = await Promise.all(
    ids.map(async (secretId) => {
      const { peers } = await readCurrent(options.store, secretId);
      return { secretId, peers };
    }),
  );
  return read.flatMap(({ secretId, peers }) => (hasPeer(peers, id) ? [secretId] : []));
}

/**
 * Removes a peer, or a malformed entry, from every peers secret that has it. Running brokers refuse it after their cache's
 * time to live, as long as they can read the list.
 *
 * @throws {PeersError} `PEER_UNKNOWN`, `PEERS_INVALID`, `PEERS_BUSY`; or a `SecretStoreError`.
 */
export async function removePeer(options: PeerAdminOptions, id: string): Promise<void> {
  const [first = options.secretId, ...others] = await holdersOf(options, id);
  for (const secretId of [first, ...others]) {
    await edit(
      { ...options, secretId },
      (peers) => ({ peers: withoutPeer(peers, id) }),
      (peers) => !hasPeer(peers, id),
    );
  }
}

/** Where a peer's one entry is. @throws {PeersError} `PEER_UNKNOWN` when it has several. */
async function holderOf(options: PeerAdminOptions, id: string): Promise<PeerAdminOptions> {
  const [secretId = options.secretId, ...others] = await holdersOf(options, id);
  if (others.length > 0) {
    // Which of its entries is meant is open: the error says so.
    const lists = await readPeersSecrets(options.store, secretIdsOf(options));
    requirePeer(mergePeers(lists.map(({ peers }) => peers)), id);
  }
  return { ...options, secretId };
}

/**
 * Replaces what a peer was granted; its secret stays the same. Running brokers follow within their cache's time to live.
 *
 * @throws {PeersError} `PEER_UNKNOWN`, `PEER_ROLE_INVALID`, `PEER_TOKEN_INVALID`, `PEERS_FULL`, `PEERS_INVALID`,
 *   `PEERS_BUSY`; or a `SecretStoreError`.
 */
export async function grantPeer(
  options: PeerAdminOptions,
  id: string,
  grants: PeerGrants,
): Promise<PeerSummary> {
  const { peers } = await edit(
    await holderOf(options, id),
    (list) => withRoom({ peers: withGrants(list, id, grants) }),
    (list, wanted) => isDeepStrictEqual(list.byId.get(id), wanted.peers.byId.get(id)),
  );
  const summary = summarizePeers(peers).find((peer) => peer.id === id);
  if (summary === undefined) throw new TypeError(`The list has lost the peer ${id}.`);
  return summary;
}

/**
 * Disables a peer, or enables it again: its secret and its grants stay as they are. Running brokers follow within their
 * cache's time to live, as long as they can read the list.
 *
 * @throws {PeersError} `PEER_UNKNOWN`, `PEERS_INVALID`, `PEERS_BUSY`; or a `SecretStoreError`.
 * @example
 * ```ts
 * await setPeerEnabled({ store, secretId: 'service-token-broker/peers', clock }, 'billing', false);
 * ```
 */
export async function setPeerEnabled(
  options: PeerAdminOptions,
  id: string,
  enabled: boolean,
): Promise<void> {
  await edit(
    await holderOf(options, id),
    (peers) => withRoom({ peers: withEnabled(peers, id, enabled) }),
    (peers) => peers.byId.get(id)?.enabled === enabled,
  );
}

/** A peer with a new secret. */
interface RotatedPeer {
  readonly id: string;
  /** 256 random bits as base64url. Stored nowhere: show it once. */
  readonly secret: string;
  /** Until when the secret before is accepted too: milliseconds since the Unix epoch. */
  readonly previousUntil: number;
  /** Makes the secret before the only one again, for when the new one could not be handed out. */
  readonly undo: () => Promise<void>;
}

/**
 * Gives a peer a new random secret. The one before is accepted until the overlap ends, so that the peer changes over
 * without downtime. Running brokers learn the new one as they learn a new peer.
 *
 * @param overlapMs milliseconds, at most 30 days. With 0 every older secret ends at once.
 * @throws {PeersError} `PEER_UNKNOWN`, `PEER_OVERLAP_RUNNING`, `PEER_OVERLAP_INVALID`, `PEERS_INVALID`, `PEERS_BUSY`; or a
 *   `SecretStoreError`.
 */
export async function rotatePeerSecret(
  options: PeerAdminOptions,
  id: string,
  overlapMs: number,
): Promise<RotatedPeer> {
  const now = options.clock.now();
  let before = NO_PEERS;
  const holder = await holderOf(options, id);
  const has = (peers: PeersSecret, secret: string): boolean =>
    peers.byId.get(id)?.secretSha256.equals(hashPeerSecret(secret)) === true;
  const { secret } = await edit(
    holder,
    (peers) => {
      before = peers;
      return withRoom(withNewSecret(peers, id, overlapMs, now, randomBytes));
    },
    (peers, rotated) => has(peers, rotated.secret),
  );
  return {
    id,
    secret,
    previousUntil: now + overlapMs,
    undo: async () => {
      await edit(
        holder,
        // Only while the secret is the one that was made here: somebody may have rotated again.
        (peers) => ({ peers: has(peers, secret) ? withSecretsOf(peers, before, id) : peers }),
        (peers) => !has(peers, secret),
      );
    },
  };
}

/** The entries by id, without digests; none when the secret does not exist yet. */
export async function listPeers(
  options: Pick<PeerAdminOptions, 'store' | 'secretId' | 'moreSecretIds'>,
): Promise<PeerList> {
  try {
    const secrets = await readPeersSecrets(options.store, secretIdsOf(options));
    const peers = mergePeers(secrets.map((secret) => secret.peers));
    return {
      peers: summarizePeers(peers),
      malformed: listMalformed(peers),
      secrets: secrets.map(({ secretId: id, exists, bytes, limit, entries }) => ({
        id,
        exists,
        bytes,
        limit,
        entries,
      })),
    };
  } catch (error) {
    if (isStoreError(error, 'SECRET_NOT_FOUND')) return { peers: [], malformed: [], secrets: [] };
    throw error;
  }
}

/**
 * Reads, changes and writes the list; starts again when somebody else wrote in between, or an answer was lost. Each
 * round first checks whether the one before took effect after all: the first version of an empty secret may become
 * current on its own, and a write whose answer is lost may have been made.
 */
async function edit<R extends { readonly peers: PeersSecret }>(
  options: PeerAdminOptions,
  change: (peers: PeersSecret) => R,
  includes: (peers: PeersSecret, result: R) => boolean,
): Promise<R> {
  const { store, secretId, clock } = options;
  let result: R | undefined;
  let failure: unknown;
  for (let attempt = 0; attempt <= MAX_ATTEMPTS; attempt += 1) {
    const current = await readCurrent(store, secretId);
    if (result !== undefined && includes(current.peers, result)) return result;
    if (attempt === MAX_ATTEMPTS) break;
    result = change(current.peers);
    try {
      // Only now: a change that is refused creates no secret.
      if (!current.exists) await store.create(secretId, DESCRIPTION);
      await write(store, secretId, current.versionId, serializePeers(result.peers));
      return result;
    } catch (error) {
      if (!(error instanceof BrokerError) || error.kind !== 'retry') throw error;
      failure = error;
    }
    // Random, so that two writers who collided once do not go on colliding.
    await clock.sleep(20 * (attempt + 1) * (1 + Math.random()));
  }
  if (!isStoreError(failure, 'PROMOTE_CONFLICT')) throw failure;
  throw new PeersError(
    'PEERS_BUSY',
    `The peers secret was changed by others ${MAX_ATTEMPTS} times in a row. Nothing was changed; try again.`,
    failure,
  );
}

async function readCurrent(
  store: SecretStore,
  secretId: string,
): Promise<{ exists: boolean; peers: PeersSecret; versionId: string | undefined }> {
  try {
    const { value, versionId } = await store.read(secretId);
    return { exists: true, peers: parsePeers(value), versionId };
  } catch (error) {
    const exists = isStoreError(error, 'VERSION_NOT_FOUND');
    if (!exists && !isStoreError(error, 'SECRET_NOT_FOUND')) throw error;
    return { exists, peers: NO_PEERS, versionId: undefined };
  }
}

async function write(
  store: SecretStore,
  secretId: string,
  expected: string | undefined,
  value: string,
): Promise<void> {
  const versionId = randomUUID();
  await store.putPending(secretId, versionId, value);
  try {
    await store.promote(secretId, versionId, expected);
  } finally {
    // AWSPENDING would look like an unfinished rotation.
    await store.clearPending(secretId, versionId);
  }
}
