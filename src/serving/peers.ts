import { hash } from 'node:crypto';
import { BrokerError, type ErrorKind } from '../tokens/errors.js';

/** What a peer may do: have the service token, or rotate it. One does not include the other. */
export type PeerRole = 'token' | 'admin';

/** Every role there is. */
export const PEER_ROLES: readonly PeerRole[] = ['token', 'admin'];

/** A service that may ask the broker for the service token. */
export interface Peer {
  readonly id: string;
  /** SHA-256 of the secret's text. The secret has 256 random bits, so a slow hash would add nothing. */
  readonly secretSha256: Buffer;
  /** As written; a role that this version does not know grants nothing. */
  readonly roles: readonly string[];
  readonly enabled: boolean;
  /** Milliseconds since the Unix epoch. */
  readonly createdAt: number;
}

/** The content of the peers secret. */
export interface Peers {
  readonly byId: ReadonlyMap<string, Peer>;
  /** The JSON object as it was read, so that members this version does not know survive an edit. */
  readonly document: Readonly<Record<string, unknown>>;
}

/** What may be shown of a peer. */
export type PeerSummary = Omit<Peer, 'secretSha256'>;

const KINDS = {
  /** The peers secret does not hold a list of peers. */
  PEERS_INVALID: 'misconfigured',
  /** The id has characters that are not allowed, or is too long. */
  PEER_ID_INVALID: 'rejected',
  /** No role, or one that does not exist. */
  PEER_ROLE_INVALID: 'rejected',
  /** A peer has the id already. */
  PEER_EXISTS: 'rejected',
  /** No peer has the id. */
  PEER_UNKNOWN: 'rejected',
  /** Others changed the peers secret all the time. */
  PEERS_BUSY: 'retry',
} as const satisfies Record<string, ErrorKind>;

/** The stable codes of {@link PeersError}. */
export type PeersErrorCode = keyof typeof KINDS;

/** The list of peers could not be read or changed. */
export class PeersError extends BrokerError {
  declare readonly code: PeersErrorCode;

  constructor(code: PeersErrorCode, message: string, cause?: unknown) {
    super(code, KINDS[code], message, { cause });
  }
}

/** A secret without a value: nobody may ask yet. */
export const NO_PEERS: Peers = { byId: new Map(), document: { peers: {} } };

const PEER_ID = /^[A-Za-z0-9._-]{1,64}$/;
const SHA256_BASE64URL = /^[A-Za-z0-9_-]{43}$/;

/** True for an id that a peer can have: 1 to 64 letters, digits, dots, underscores and hyphens. */
export function isPeerId(id: string): boolean {
  return PEER_ID.test(id);
}

/** The digest that is kept of a peer's secret: 32 bytes. */
export function hashPeerSecret(secret: string): Buffer {
  return hash('sha256', secret, 'buffer');
}

/**
 * Reads the JSON text of the peers secret:
 * `{ "peers": { "<id>": { "secret_sha256", "roles", "enabled", "created_at" } } }`.
 *
 * @throws {PeersError} `PEERS_INVALID`, with the peer and the member at fault, never a value.
 */
export function parsePeers(text: string): Peers {
  const document = parseJsonObject(text);
  const entries = document['peers'];
  if (!isObject(entries)) throw invalid('"peers" must be an object');
  const byId = new Map<string, Peer>();
  for (const [id, entry] of Object.entries(entries)) byId.set(id, parsePeer(id, entry));
  return { byId, document };
}

/** The JSON text of a list of peers, for the peers secret. */
export function serializePeers(peers: Peers): string {
  return JSON.stringify(peers.document);
}

/**
 * Adds a peer with a new secret. The secret is in the result and nowhere else: show it once.
 *
 * @param now milliseconds since the Unix epoch.
 * @param randomBytes a source of cryptographically random bytes, such as `crypto.randomBytes`.
 * @throws {PeersError} `PEER_ID_INVALID`, `PEER_ROLE_INVALID`, `PEER_EXISTS`.
 */
export function addPeer(
  peers: Peers,
  id: string,
  roles: readonly string[],
  now: number,
  randomBytes: (size: number) => Uint8Array,
): { readonly peers: Peers; readonly secret: string } {
  requirePeerId(id);
  requireRoles(roles);
  if (peers.byId.has(id)) {
    throw new PeersError(
      'PEER_EXISTS',
      `There is a peer "${id}" already. Remove it first, or add one with another id and move over.`,
    );
  }
  const secret = Buffer.from(randomBytes(32)).toString('base64url');
  const entry = {
    secret_sha256: hashPeerSecret(secret).toString('base64url'),
    roles: [...new Set(roles)],
    enabled: true,
    created_at: new Date(now).toISOString(),
  };
  return { peers: withEntries(peers, [...entriesOf(peers), [id, entry]]), secret };
}

/**
 * Takes a peer off the list.
 *
 * @throws {PeersError} `PEER_UNKNOWN`.
 */
export function removePeer(peers: Peers, id: string): Peers {
  if (!peers.byId.has(id)) {
    // What is not an id is not repeated: it may be a secret that slipped into the wrong place.
    throw new PeersError(
      'PEER_UNKNOWN',
      isPeerId(id) ? `There is no peer "${id}".` : 'There is no such peer.',
    );
  }
  return withEntries(
    peers,
    entriesOf(peers).filter(([other]) => other !== id),
  );
}

/** The peers by id, without their digests. */
export function listPeers(peers: Peers): readonly PeerSummary[] {
  return [...peers.byId.values()]
    .map(({ id, roles, enabled, createdAt }) => ({ id, roles, enabled, createdAt }))
    .sort((one, other) => (one.id < other.id ? -1 : 1));
}

/** Whether a peer may do what the role stands for. */
export function hasRole(peer: Peer, role: PeerRole): boolean {
  return peer.roles.includes(role);
}

function requirePeerId(id: string): void {
  if (isPeerId(id)) return;
  throw new PeersError(
    'PEER_ID_INVALID',
    'A peer id has 1 to 64 characters: letters, digits, ".", "_" and "-".',
  );
}

function requireRoles(roles: readonly string[]): void {
  const known: readonly string[] = PEER_ROLES;
  if (roles.length > 0 && roles.every((role) => known.includes(role))) return;
  throw new PeersError(
    'PEER_ROLE_INVALID',
    `A peer has one or more roles of: ${known.join(', ')}.`,
  );
}

function entriesOf(peers: Peers): [string, unknown][] {
  const entries = peers.document['peers'];
  return isObject(entries) ? Object.entries(entries) : [];
}

function withEntries(peers: Peers, entries: [string, unknown][]): Peers {
  // Object.fromEntries makes own members of names such as "__proto__", where an assignment would not.
  return parsePeers(JSON.stringify({ ...peers.document, peers: Object.fromEntries(entries) }));
}

function parsePeer(id: string, entry: unknown): Peer {
  if (!isPeerId(id)) throw invalid('an id has characters that are not allowed, or is too long');
  if (!isObject(entry)) throw invalid(`peer "${id}" must be an object`);
  const { secret_sha256: digest, roles, enabled, created_at: createdAt } = entry;
  const secretSha256 = typeof digest === 'string' ? Buffer.from(digest, 'base64url') : undefined;
  if (
    secretSha256 === undefined ||
    !SHA256_BASE64URL.test(String(digest)) ||
    secretSha256.toString('base64url') !== digest
  ) {
    throw invalid(`peer "${id}": "secret_sha256" must be a SHA-256 digest in base64url`);
  }
  if (!Array.isArray(roles) || !roles.every((role) => typeof role === 'string')) {
    throw invalid(`peer "${id}": "roles" must be a list of strings`);
  }
  if (typeof enabled !== 'boolean') throw invalid(`peer "${id}": "enabled" must be true or false`);
  const instant = typeof createdAt === 'string' ? Date.parse(createdAt) : Number.NaN;
  if (!Number.isFinite(instant)) {
    throw invalid(`peer "${id}": "created_at" must be an ISO 8601 instant`);
  }
  return { id, secretSha256, roles, enabled, createdAt: instant };
}

function parseJsonObject(text: string): Record<string, unknown> {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    // The parser's own message quotes the text: it is not kept as the cause.
    throw invalid('it is not JSON');
  }
  if (!isObject(value)) throw invalid('it is not a JSON object');
  return value;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function invalid(what: string): PeersError {
  return new PeersError(
    'PEERS_INVALID',
    `The peers secret does not hold a list of peers: ${what}. Correct it in the secret store.`,
  );
}
