import { hash } from 'node:crypto';
import { BrokerError, type ErrorKind } from '../tokens/errors.js';
import { isJsonObject, parseJsonObject, trimPasted } from '../tokens/json.js';

/** What a peer may do: get tokens, rotate them, or have tokens introspected. None includes another. */
export type PeerRole = 'token' | 'admin' | 'introspect';

/** Every role. */
export const PEER_ROLES: readonly PeerRole[] = ['token', 'admin', 'introspect'];

/** The token of a peer whose entry names none: the one that the environment variables describe. */
export const DEFAULT_TOKEN = 'default';

/** A service that may ask the broker for the service token. */
export interface Peer {
  readonly id: string;
  /** SHA-256 of the secret's text. The secret has 256 random bits, so a slow hash would add nothing. */
  readonly secretSha256: Buffer;
  /** The secret before, while the peer changes over to the new one. */
  readonly previousSecret?: PreviousSecret;
  /** As written; a role that this version does not know grants nothing. */
  readonly roles: readonly string[];
  /** The names of the tokens that it may have, with the role `token`. Default: `default` alone. */
  readonly tokens: readonly string[];
  readonly enabled: boolean;
  /** Milliseconds since the Unix epoch. */
  readonly createdAt: number;
}

/** A secret that is accepted besides the current one, for a time. */
export interface PreviousSecret {
  /** SHA-256 of the secret's text. */
  readonly sha256: Buffer;
  /** From this instant on it is refused: milliseconds since the Unix epoch. */
  readonly notAfter: number;
}

/** Who may log in: the content of one peers secret, or of several together. */
export interface Peers {
  readonly byId: ReadonlyMap<string, Peer>;
  /**
   * Entries that are not valid peers, by id, with what is wrong. Nobody logs in with them: a typing error refuses one
   * peer, neither affects the others nor keeps an old list in service.
   */
  readonly malformed: ReadonlyMap<string, string>;
}

/** The content of one peers secret, which can be edited. */
export interface PeersSecret extends Peers {
  /** The JSON object as it was read, so that members this version does not know survive an edit. */
  readonly document: Readonly<Record<string, unknown>>;
}

/** What may be shown of a peer. */
export type PeerSummary = Omit<Peer, 'secretSha256' | 'previousSecret'> & {
  /** Until when the secret before is accepted too: milliseconds since the Unix epoch. Absent when there is none. */
  readonly previousSecretUntil?: number;
};

/** What may be shown of an entry that is not a valid peer. */
export interface MalformedPeer {
  /** Left out when no peer can have it, or when it looks like a secret that was pasted into the wrong place. */
  readonly id?: string;
  /** The member that is wrong, never a value. */
  readonly reason: string;
}

const KINDS = {
  /** The peers secret does not hold a list of peers. */
  PEERS_INVALID: 'misconfigured',
  /** The id has characters that are not allowed, or is too long. */
  PEER_ID_INVALID: 'rejected',
  /** No role, or one that does not exist. */
  PEER_ROLE_INVALID: 'rejected',
  /** A name that no token can have. */
  PEER_TOKEN_INVALID: 'rejected',
  /** A peer has the id already. */
  PEER_EXISTS: 'rejected',
  /** No peer has the id. */
  PEER_UNKNOWN: 'rejected',
  /** The peer has two secrets already, and the older one is still promised to work. */
  PEER_OVERLAP_RUNNING: 'rejected',
  /** The overlap of two secrets is negative, longer than 30 days, or no number. */
  PEER_OVERLAP_INVALID: 'rejected',
  /** No peers secret has room for another peer. */
  PEERS_FULL: 'misconfigured',
  /** Others kept changing the peers secret. */
  PEERS_BUSY: 'retry',
} as const satisfies Record<string, ErrorKind>;

/** The stable codes of {@link PeersError}. */
type PeersErrorCode = keyof typeof KINDS;

/** The list of peers could not be read or changed. */
export class PeersError extends BrokerError {
  declare readonly code: PeersErrorCode;

  constructor(code: PeersErrorCode, message: string, cause?: unknown) {
    super(code, KINDS[code], message, { cause });
  }
}

/** The list of a secret without a value: nobody may ask yet. */
export const NO_PEERS: PeersSecret = {
  byId: new Map(),
  malformed: new Map(),
  document: { peers: {} },
};

const DEFAULT_TOKENS: readonly string[] = [DEFAULT_TOKEN];

const PEER_ID = /^[A-Za-z0-9._-]{1,64}$/;
/** 32 bytes in base64url: a digest, and every secret that the broker makes. */
const BASE64URL_32_BYTES = /^[A-Za-z0-9_-]{43}$/;

const TOKEN_NAME = /^(?=.{1,40}$)[a-z0-9]+(?:-+[a-z0-9]+)*$/;

/** Whether a token can have the name: 1 to 40 lower-case letters, digits and hyphens, without a hyphen at either end. */
export function isTokenName(name: unknown): name is string {
  return typeof name === 'string' && TOKEN_NAME.test(name);
}

/** Whether a peer can have the id: 1 to 64 letters, digits, dots, underscores and hyphens. */
export function isPeerId(id: string): boolean {
  return PEER_ID.test(id);
}

/** Whether an id that no valid peer has may be shown. One that looks like the broker's secrets may be a secret. */
export function mayBeShown(id: string): boolean {
  return isPeerId(id) && !BASE64URL_32_BYTES.test(id);
}

/** Whether a peer has the role. */
export function hasRole(peer: Pick<Peer, 'roles'>, role: PeerRole): boolean {
  return peer.roles.includes(role);
}

/** The digest that is stored of a peer's secret: 32 bytes. */
export function hashPeerSecret(secret: string): Buffer {
  return hash('sha256', secret, 'buffer');
}

/**
 * Reads the JSON text of the peers secret:
 * `{ "peers": { "<id>": { "secret_sha256", "roles", "tokens", "enabled", "created_at" } } }`. While a secret is rotated,
 * an entry also has `previous_secret_sha256` and `previous_secret_not_after`.
 *
 * @throws {PeersError} `PEERS_INVALID` when it is no such list; the message never repeats a value. An entry that is not
 *   a valid peer is not an error: it is among the `malformed`.
 */
export function parsePeers(text: string): PeersSecret {
  const document = parseJsonObject(text, invalid);
  const entries = document['peers'];
  if (!isJsonObject(entries)) throw invalid('"peers" must be an object');
  const byId = new Map<string, Peer>();
  const malformed = new Map<string, string>();
  for (const [id, entry] of Object.entries(entries)) {
    const peer = parsePeer(id, entry);
    if (typeof peer === 'string') malformed.set(id, peer);
    else byId.set(id, peer);
  }
  return { byId, malformed, document };
}

/** A peer, or what is wrong with the entry: the member, never a value. */
function parsePeer(id: string, entry: unknown): Peer | string {
  if (!isPeerId(id)) return 'the id has characters that are not allowed, or is too long';
  if (!isJsonObject(entry)) return 'it must be an object';
  const { secret_sha256: written, roles, enabled, created_at: createdAt } = entry;
  const { tokens = DEFAULT_TOKENS } = entry;
  const secretSha256 = readDigest(written);
  if (secretSha256 === undefined) return '"secret_sha256" must be a SHA-256 digest in base64url';
  if (!Array.isArray(roles) || !roles.every((role) => typeof role === 'string')) {
    return '"roles" must be a list of strings';
  }
  if (!Array.isArray(tokens) || !tokens.every(isTokenName)) {
    return '"tokens" must be a list of names of tokens';
  }
  if (typeof enabled !== 'boolean') return '"enabled" must be true or false';
  const instant = readInstant(createdAt);
  if (instant === undefined) return '"created_at" must be an ISO 8601 instant';
  const previousSecret = readPreviousSecret(entry);
  if (typeof previousSecret === 'string') return previousSecret;
  const peer = { id, secretSha256, roles, tokens, enabled, createdAt: instant };
  return previousSecret === undefined ? peer : { ...peer, previousSecret };
}

/** The secret before, if there is one, or what is wrong with its members. */
function readPreviousSecret(
  entry: Readonly<Record<string, unknown>>,
): PreviousSecret | string | undefined {
  const { previous_secret_sha256: digest, previous_secret_not_after: instant } = entry;
  if (digest === undefined && instant === undefined) return undefined;
  const sha256 = readDigest(digest);
  if (sha256 === undefined) {
    return '"previous_secret_sha256" must be a SHA-256 digest in base64url';
  }
  const notAfter = readInstant(instant);
  // Without an end the old secret would work for ever.
  if (notAfter === undefined) return '"previous_secret_not_after" must be an ISO 8601 instant';
  return { sha256, notAfter };
}

function readDigest(written: unknown): Buffer | undefined {
  const digest = typeof written === 'string' ? trimPasted(written) : '';
  const bytes = Buffer.from(digest, 'base64url');
  return BASE64URL_32_BYTES.test(digest) && bytes.toString('base64url') === digest
    ? bytes
    : undefined;
}

function readInstant(written: unknown): number | undefined {
  const instant = typeof written === 'string' ? Date.parse(written) : Number.NaN;
  return Number.isFinite(instant) ? instant : undefined;
}

function invalid(what: string): PeersError {
  return new PeersError(
    'PEERS_INVALID',
    `The peers secret does not hold a list of peers: ${what}. Correct it in the secret store.`,
  );
}

/**
 * The JSON text of a list of peers, for the peers secret.
 *
 * @throws {PeersError} `PEERS_INVALID` when something in it has thousands of levels, which not every Node.js can write.
 */
export function serializePeers(peers: PeersSecret): string {
  try {
    return JSON.stringify(peers.document);
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    throw invalid('it is nested too deeply to be written again');
  }
}

/** Whether the list has an entry with the id, malformed or not. */
export function hasPeer(peers: Peers, id: string): boolean {
  return peers.byId.has(id) || peers.malformed.has(id);
}

/**
 * The list with one more peer, and the peer's new secret, which is stored nowhere: show it once.
 *
 * @param now milliseconds since the Unix epoch.
 * @param randomBytes a source of cryptographically random bytes, such as `crypto.randomBytes`.
 * @param tokens the names of the tokens that it may have. Default: none is written, which means `default`.
 * @throws {PeersError} `PEER_ID_INVALID`, `PEER_ROLE_INVALID`, `PEER_TOKEN_INVALID`, `PEER_EXISTS`.
 */
export function withPeer(
  peers: PeersSecret,
  id: string,
  roles: readonly string[],
  now: number,
  randomBytes: (size: number) => Uint8Array,
  tokens?: readonly string[],
): { readonly peers: PeersSecret; readonly secret: string } {
  if (!isPeerId(id)) {
    throw new PeersError(
      'PEER_ID_INVALID',
      'A peer id has 1 to 64 characters: letters, digits, ".", "_" and "-".',
    );
  }
  checkGrants(roles, tokens);
  if (hasPeer(peers, id)) {
    const fault = peers.malformed.get(id);
    const shown = mayBeShown(id) ? `"${id}"` : 'with this id';
    throw new PeersError(
      'PEER_EXISTS',
      fault === undefined
        ? `There is a peer "${id}" already. For a new secret: peers rotate-secret; for other roles or tokens: peers grant; for another service: another id.`
        : `There is a malformed entry ${shown} already: ${fault}. Correct it in the secret store, or remove it first.`,
    );
  }
  const secret = Buffer.from(randomBytes(32)).toString('base64url');
  const entry = {
    secret_sha256: hashPeerSecret(secret).toString('base64url'),
    roles: [...new Set(roles)],
    ...(tokens !== undefined && { tokens: [...new Set(tokens)] }),
    enabled: true,
    created_at: new Date(now).toISOString(),
  };
  return { peers: withEntries(peers, [...entriesOf(peers), [id, entry]]), secret };
}

function checkGrants(roles: readonly string[] | undefined, tokens?: readonly string[]): void {
  const known: readonly string[] = PEER_ROLES;
  if (roles?.length === 0 || roles?.every((role) => known.includes(role)) === false) {
    throw new PeersError(
      'PEER_ROLE_INVALID',
      `A peer has one or more roles of: ${known.join(', ')}.`,
    );
  }
  if (tokens?.every(isTokenName) === false) {
    throw new PeersError(
      'PEER_TOKEN_INVALID',
      'The name of a token has 1 to 40 lower-case letters, digits and hyphens.',
    );
  }
}

/** What a peer is granted instead of what it has; a member that is left out stays as it is. */
export interface PeerGrants {
  readonly roles?: readonly string[];
  /** The names of the tokens that it may have. */
  readonly tokens?: readonly string[];
}

/**
 * The list with other grants of a peer, whose secret stays the same.
 *
 * @throws {PeersError} `PEER_UNKNOWN`, `PEER_ROLE_INVALID`, `PEER_TOKEN_INVALID`.
 */
export function withGrants(
  peers: PeersSecret,
  id: string,
  { roles, tokens }: PeerGrants,
): PeersSecret {
  checkGrants(roles, tokens);
  requirePeer(peers, id);
  const granted = {
    ...(roles !== undefined && { roles: [...new Set(roles)] }),
    ...(tokens !== undefined && { tokens: [...new Set(tokens)] }),
  };
  return withEntries(
    peers,
    entriesOf(peers).map(([other, entry]): [string, unknown] => [
      other,
      other === id && isJsonObject(entry) ? { ...entry, ...granted } : entry,
    ]),
  );
}

/**
 * The list with a peer enabled, or disabled: then every login is refused, and its secret and its grants stay as they are.
 *
 * @throws {PeersError} `PEER_UNKNOWN`.
 */
export function withEnabled(peers: PeersSecret, id: string, enabled: boolean): PeersSecret {
  requirePeer(peers, id);
  const entries = entriesOf(peers).map(([other, entry]): [string, unknown] => [
    other,
    other === id && isJsonObject(entry) ? { ...entry, enabled } : entry,
  ]);
  return withEntries(peers, entries);
}

/**
 * The list without a peer, or without a malformed entry.
 *
 * @throws {PeersError} `PEER_UNKNOWN`.
 */
export function withoutPeer(peers: PeersSecret, id: string): PeersSecret {
  if (!hasPeer(peers, id)) {
    throw new PeersError(
      'PEER_UNKNOWN',
      mayBeShown(id) ? `There is no peer "${id}".` : 'There is no such peer.',
    );
  }
  return withEntries(
    peers,
    entriesOf(peers).filter(([other]) => other !== id),
  );
}

/** The longest overlap of two secrets, in milliseconds: 30 days. */
const LONGEST_OVERLAP = 2_592_000_000;

/**
 * The list with a new secret for a peer, which is stored nowhere: show it once. The secret before is accepted until the
 * overlap ends; with an overlap of 0 every older one ends at once.
 *
 * @param overlapMs milliseconds, at most 30 days.
 * @param now milliseconds since the Unix epoch.
 * @throws {PeersError} `PEER_UNKNOWN`; `PEER_OVERLAP_INVALID`; `PEER_OVERLAP_RUNNING` while an earlier overlap runs, since
 *   the oldest secret would end before its time.
 */
export function withNewSecret(
  peers: PeersSecret,
  id: string,
  overlapMs: number,
  now: number,
  randomBytes: (size: number) => Uint8Array,
): { readonly peers: PeersSecret; readonly secret: string } {
  if (!(overlapMs >= 0 && overlapMs <= LONGEST_OVERLAP)) {
    throw new PeersError('PEER_OVERLAP_INVALID', 'Two secrets overlap for 30 days at most.');
  }
  const peer = requirePeer(peers, id);
  const until = peer.previousSecret?.notAfter ?? 0;
  if (until > now && overlapMs > 0) {
    throw new PeersError(
      'PEER_OVERLAP_RUNNING',
      `The secret before the current one of "${id}" works until ${new Date(until).toISOString()}. Wait for that, or end every older secret at once with an overlap of 0.`,
    );
  }
  const secret = Buffer.from(randomBytes(32)).toString('base64url');
  const change = (entry: Readonly<Record<string, unknown>>): Record<string, unknown> => {
    const { previous_secret_sha256: _digest, previous_secret_not_after: _end, ...kept } = entry;
    const secret_sha256 = hashPeerSecret(secret).toString('base64url');
    return overlapMs === 0
      ? { ...kept, secret_sha256 }
      : {
          ...kept,
          secret_sha256,
          previous_secret_sha256: peer.secretSha256.toString('base64url'),
          previous_secret_not_after: new Date(now + overlapMs).toISOString(),
        };
  };
  const entries = entriesOf(peers).map(([other, entry]): [string, unknown] => [
    other,
    other === id && isJsonObject(entry) ? change(entry) : entry,
  ]);
  return { peers: withEntries(peers, entries), secret };
}

/** The list with a peer's secrets as another list has them. What it may do stays: it may have been disabled since. */
export function withSecretsOf(peers: PeersSecret, other: PeersSecret, id: string): PeersSecret {
  const wanted = entriesOf(other).find(([name]) => name === id)?.[1];
  return withEntries(
    peers,
    entriesOf(peers).map(([name, entry]): [string, unknown] => {
      if (name !== id || !isJsonObject(wanted) || !isJsonObject(entry)) return [name, entry];
      const { enabled, roles, tokens } = entry;
      return [name, { ...wanted, enabled, roles, tokens }];
    }),
  );
}

/** The peer with the id. @throws {PeersError} `PEER_UNKNOWN`, also for a malformed entry. */
export function requirePeer(peers: Peers, id: string): Peer {
  const peer = peers.byId.get(id);
  if (peer !== undefined) return peer;
  const fault = peers.malformed.get(id);
  const shown = mayBeShown(id) ? ` "${id}"` : '';
  throw new PeersError(
    'PEER_UNKNOWN',
    fault === undefined
      ? `There is no peer${shown || ' with this id'}.`
      : `The entry${shown} is malformed: ${fault}. Correct it in the secret store, or remove it and add the peer again.`,
  );
}

function entriesOf(peers: PeersSecret): [string, unknown][] {
  const entries = peers.document['peers'];
  return isJsonObject(entries) ? Object.entries(entries) : [];
}

function withEntries(peers: PeersSecret, entries: [string, unknown][]): PeersSecret {
  // Object.fromEntries makes own members of names such as "__proto__", where an assignment would not.
  return parsePeers(JSON.stringify({ ...peers.document, peers: Object.fromEntries(entries) }));
}

function summarize({ secretSha256: _digest, previousSecret, ...shown }: Peer): PeerSummary {
  if (previousSecret === undefined) return shown;
  return { ...shown, previousSecretUntil: previousSecret.notAfter };
}

/**
 * Several peers secrets as one list. An id that stands in more than one of them is a malformed entry: which of the two
 * secrets would be its own is open, so neither opens.
 */
export function mergePeers(lists: readonly Peers[]): Peers {
  const byId = new Map<string, Peer>();
  const malformed = new Map<string, string>();
  const seen = new Set<string>();
  for (const list of lists) {
    for (const id of [...list.byId.keys(), ...list.malformed.keys()]) {
      const peer = list.byId.get(id);
      if (seen.has(id)) {
        byId.delete(id);
        malformed.set(id, 'it is in more than one peers secret');
      } else if (peer !== undefined) byId.set(id, peer);
      else malformed.set(id, list.malformed.get(id) ?? '');
      seen.add(id);
    }
  }
  return { byId, malformed };
}

/** The peers by id, without their digests. A secret before that has ended is shown as well. */
export function summarizePeers(peers: Peers): readonly PeerSummary[] {
  return [...peers.byId.values()].map(summarize).sort((one, other) => (one.id < other.id ? -1 : 1));
}

/** The malformed entries by id. */
export function listMalformed(peers: Peers): readonly MalformedPeer[] {
  return [...peers.malformed]
    .sort(([one], [other]) => (one < other ? -1 : 1))
    .map(([id, reason]) => {
      if (mayBeShown(id)) return { id, reason };
      return { reason: isPeerId(id) ? `an entry whose id looks like a secret: ${reason}` : reason };
    });
}
