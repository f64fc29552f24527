import { trimPasted } from '../tokens/pasted-text.js';
import { isJsonObject } from '../verification/parse/strict-json.js';

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

const PEER_ID = /^[A-Za-z0-9._-]{1,64}$/;
/** 32 bytes in base64url: a digest, and every secret that the broker has made. */
const BASE64URL_32_BYTES = /^[A-Za-z0-9_-]{43}$/;

/** True for an id that a peer can have: 1 to 64 letters, digits, dots, underscores and hyphens. */
export function isPeerId(id: string): boolean {
  return PEER_ID.test(id);
}

/**
 * True for a peer's id that looks like a secret of the broker's making. Where no peer has it, a secret may have slipped
 * into the wrong place: then it is not shown.
 */
export function looksLikeSecret(id: string): boolean {
  return BASE64URL_32_BYTES.test(id);
}

/**
 * Reads one entry of the peers secret: `{ "secret_sha256", "roles", "enabled", "created_at" }`.
 *
 * @returns the peer, or what is wrong: the member at fault, never a value.
 */
export function parsePeer(id: string, entry: unknown): Peer | string {
  if (!isPeerId(id)) return 'the id has characters that are not allowed, or is too long';
  if (!isJsonObject(entry)) return 'it must be an object';
  const { secret_sha256: written, roles, enabled, created_at: createdAt } = entry;
  const digest = typeof written === 'string' ? trimPasted(written) : '';
  const secretSha256 = Buffer.from(digest, 'base64url');
  if (!BASE64URL_32_BYTES.test(digest) || secretSha256.toString('base64url') !== digest) {
    return '"secret_sha256" must be a SHA-256 digest in base64url';
  }
  if (!Array.isArray(roles) || !roles.every((role) => typeof role === 'string')) {
    return '"roles" must be a list of strings';
  }
  if (typeof enabled !== 'boolean') return '"enabled" must be true or false';
  const instant = typeof createdAt === 'string' ? Date.parse(createdAt) : Number.NaN;
  if (!Number.isFinite(instant)) return '"created_at" must be an ISO 8601 instant';
  return { id, secretSha256, roles, enabled, createdAt: instant };
}
