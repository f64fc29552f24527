import { timingSafeEqual } from 'node:crypto';
import { hashPeerSecret, mayBeShown, type Peer, type Peers } from './peers.js';
import type { PeerCredentials } from './basic-credentials.js';

/**
 * Who presents the credentials. The reason of a failure is for metrics and logs; a caller is never told which it was.
 */
export type Authentication =
  | { readonly ok: true; readonly peer: Peer }
  | {
      readonly ok: false;
      readonly reason: 'unknown_peer' | 'malformed_peer' | 'wrong_secret' | 'disabled_peer';
      /** The peer that was named, when it is on the list. Only such an id may be logged. */
      readonly peer: Pick<Peer, 'id'> | undefined;
    };

/** What an unknown peer's secret is compared with, so that it takes the same time. No text has this digest. */
const NOBODY = Buffer.alloc(32);

/** Decides in constant time whether the credentials are those of an enabled peer: one hash, one comparison. */
export function authenticate(peers: Peers, { id, secret }: PeerCredentials): Authentication {
  const peer = peers.byId.get(id);
  const matches = timingSafeEqual(hashPeerSecret(secret), peer?.secretSha256 ?? NOBODY);
  if (peer === undefined) {
    return peers.malformed.has(id) && mayBeShown(id)
      ? { ok: false, reason: 'malformed_peer', peer: { id } }
      : { ok: false, reason: 'unknown_peer', peer };
  }
  if (!matches) return { ok: false, reason: 'wrong_secret', peer };
  return peer.enabled ? { ok: true, peer } : { ok: false, reason: 'disabled_peer', peer };
}
