import { randomBytes, randomUUID } from 'node:crypto';
import { isStoreError, type SecretStore } from '../secrets/secret-store.js';
import type { Clock } from '../tokens/time.js';
import { BrokerError } from '../tokens/errors.js';
import { readPeers } from './peer-directory.js';
import {
  addPeer as withPeer,
  hashPeerSecret,
  hasPeer,
  listMalformed,
  listPeers as summarize,
  NO_PEERS,
  parsePeers,
  PeersError,
  removePeer as withoutPeer,
  serializePeers,
  type MalformedPeer,
  type Peers,
  type PeerSummary,
} from './peers.js';

/** Where the list of peers is kept and edited. */
interface PeerAdminOptions {
  readonly store: SecretStore;
  /** The id of the peers secret. The first peer that is added creates it. */
  readonly secretId: string;
  readonly clock: Clock;
}

/** A peer as it was added. */
interface AddedPeer {
  readonly id: string;
  /** 256 random bits as base64url. Kept nowhere: show it once. */
  readonly secret: string;
}

const DESCRIPTION = 'Peers of the service token broker: who may ask for the service token.';
const MAX_ATTEMPTS = 8;

/**
 * Adds a peer with a new random secret.
 *
 * @throws {PeersError} `PEER_ID_INVALID`, `PEER_ROLE_INVALID`, `PEER_EXISTS`, `PEERS_INVALID`, `PEERS_BUSY`; or what
 *   the store says.
 */
export async function addPeer(
  options: PeerAdminOptions,
  id: string,
  roles: readonly string[],
): Promise<AddedPeer> {
  const result = await edit(
    options,
    (peers) => withPeer(peers, id, roles, options.clock.now(), randomBytes),
    (peers, { secret }) => peers.byId.get(id)?.secretSha256.equals(hashPeerSecret(secret)) === true,
  );
  return { id, secret: result.secret };
}

/**
 * Removes a peer, or a malformed entry. Running brokers refuse it after their cache's time to live, as long as they can
 * read the list.
 *
 * @throws {PeersError} `PEER_UNKNOWN`, `PEERS_INVALID`, `PEERS_BUSY`; or what the store says.
 */
export async function removePeer(options: PeerAdminOptions, id: string): Promise<void> {
  await edit(
    options,
    (peers) => ({ peers: withoutPeer(peers, id) }),
    (peers) => !hasPeer(peers, id),
  );
}

/** What the peers secret holds. */
interface PeerList {
  readonly peers: readonly PeerSummary[];
  /** Entries that are no peers, with which nobody logs in. */
  readonly malformed: readonly MalformedPeer[];
}

/** The entries by id; none when the secret does not exist yet. Digests are left out. */
export async function listPeers(
  options: Pick<PeerAdminOptions, 'store' | 'secretId'>,
): Promise<PeerList> {
  try {
    const peers = await readPeers(options.store, options.secretId);
    return { peers: summarize(peers), malformed: listMalformed(peers) };
  } catch (error) {
    if (isStoreError(error, 'SECRET_NOT_FOUND')) return { peers: [], malformed: [] };
    throw error;
  }
}

/**
 * Read, change, write; from the start again when somebody else wrote in between, or an answer was lost. Every round
 * looks first whether the round before took effect after all: the first version of an empty secret may become current
 * by itself, and a write whose answer is lost has still been made.
 */
async function edit<R extends { readonly peers: Peers }>(
  options: PeerAdminOptions,
  change: (peers: Peers) => R,
  includes: (peers: Peers, result: R) => boolean,
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
      // Only now: a change that is refused makes no secret.
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

interface Current {
  readonly exists: boolean;
  readonly peers: Peers;
  readonly versionId: string | undefined;
}

async function readCurrent(store: SecretStore, secretId: string): Promise<Current> {
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
    // Left behind, AWSPENDING would be the sign of an unfinished rotation.
    await store.clearPending(secretId, versionId);
  }
}
