import { timingSafeEqual } from 'node:crypto';
import { hashPeerSecret, mayBeShown, type Peer, type Peers } from './peers.js';

/** What a peer presents: its id and its secret. */
export interface PeerCredentials {
  readonly id: string;
  readonly secret: string;
}

/** An id has at most 64 characters, a secret has 43; the rest leaves room for form encoding. */
const MAX_HEADER_LENGTH = 1_024;

const BASIC = /^basic +([A-Za-z0-9+/]+={0,2})$/i;
const UTF8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/**
 * Parses the value of an `Authorization: Basic` header (RFC 7617), with id and secret form-encoded (RFC 6749 §2.3.1).
 * Form encoding does not change this broker's ids and secrets, so clients that leave it out (curl, most HTTP libraries)
 * are understood as well.
 *
 * Strict, so that a pair can be written in one way only: canonical base64 with padding, valid UTF-8, well-formed
 * escapes, a colon, an id, a secret, no control characters.
 *
 * @returns `undefined` for everything else.
 */
export function parseBasicCredentials(header: string): PeerCredentials | undefined {
  if (header.length > MAX_HEADER_LENGTH) return undefined;
  const encoded = BASIC.exec(header)?.[1];
  if (encoded === undefined) return undefined;
  const bytes = Buffer.from(encoded, 'base64');
  if (bytes.toString('base64') !== encoded) return undefined;
  const text = decodeUtf8(bytes);
  if (text === undefined || hasControlCharacter(text)) return undefined;
  const colon = text.indexOf(':');
  if (colon < 1) return undefined;
  const id = formDecode(text.slice(0, colon));
  const secret = formDecode(text.slice(colon + 1));
  return id && secret ? { id, secret } : undefined;
}

function decodeUtf8(bytes: Buffer): string | undefined {
  try {
    return UTF8.decode(bytes);
  } catch {
    return undefined;
  }
}

function formDecode(text: string): string | undefined {
  try {
    return decodeURIComponent(text.replaceAll('+', ' '));
  } catch {
    return undefined;
  }
}

function hasControlCharacter(text: string): boolean {
  for (let index = 0; index < text.length; index += 1) {
    const code = text.charCodeAt(index);
    if (code < 0x20 || code === 0x7f) return true;
  }
  return false;
}

/** Who presents the credentials. The reason of a failure is for metrics and logs, never for the caller. */
export type Authentication =
  /** `digest` is that of the secret that was presented: the peer's own, or its previous one. */
  | { readonly ok: true; readonly peer: Peer; readonly digest: Buffer }
  | {
      readonly ok: false;
      readonly reason: 'unknown_peer' | 'malformed_peer' | 'wrong_secret' | 'disabled_peer';
      /** The peer that was named, if it is on the list. Other ids are not logged. */
      readonly peer: Pick<Peer, 'id'> | undefined;
    };

/** What is compared where there is no secret, so that it takes as long. No text has this digest. */
const NOBODY = Buffer.alloc(32);

/**
 * Decides whether the credentials are those of an enabled peer, by one hash and two comparisons: as long for an unknown
 * peer as for a known one, with one secret or two.
 *
 * @param now milliseconds since the Unix epoch: a previous secret is refused from its end on.
 */
export function authenticate(
  peers: Pick<Peers, 'byId' | 'malformed'>,
  { id, secret }: PeerCredentials,
  now: number,
): Authentication {
  const peer = peers.byId.get(id);
  const digest = hashPeerSecret(secret);
  const matches = hasSecret(peer, digest, now);
  if (peer === undefined) {
    return peers.malformed.has(id) && mayBeShown(id)
      ? { ok: false, reason: 'malformed_peer', peer: { id } }
      : { ok: false, reason: 'unknown_peer', peer };
  }
  if (!matches) return { ok: false, reason: 'wrong_secret', peer };
  return peer.enabled ? { ok: true, peer, digest } : { ok: false, reason: 'disabled_peer', peer };
}

/** Whether a peer can log in with the secret that has this digest: two comparisons, whatever they come to. */
export function hasSecret(peer: Peer | undefined, digest: Buffer, now: number): boolean {
  const previous = peer?.previousSecret;
  const isCurrent = timingSafeEqual(digest, peer?.secretSha256 ?? NOBODY);
  const isPrevious = timingSafeEqual(digest, previous?.sha256 ?? NOBODY);
  return isCurrent || (isPrevious && now < (previous?.notAfter ?? 0));
}
