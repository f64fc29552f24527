import type { CacheState } from '../tokens/refreshing-cache.js';
import type { MalformedPeer, PeerRole } from './peers.js';

/** Why a login failed. For metrics and logs alone: the caller is never told. */
export type LoginFailure =
  'missing' | 'malformed' | 'unknown_peer' | 'malformed_peer' | 'wrong_secret' | 'disabled_peer';

/**
 * Is told what the endpoints do, for metrics, logs and audit. A `peerId` is always the id of a peer that is on the
 * list, so it may be a log field or a metric label. No method may throw, and none is given a token or a secret.
 */
export interface ServingObserver {
  /** A peer proved who it is. @param source the request, as the server received it. */
  loggedIn?(peerId: string, source: object | undefined): void;
  /** A peer got the service token, or 304 because it has it already. */
  tokenServed?(peerId: string, state: CacheState, status: 200 | 304): void;
  /** A peer that may have the token could not get it. */
  tokenUnavailable?(peerId: string, error: unknown): void;
  /** @param peerId the peer that was named, when it is on the list. */
  loginFailed?(reason: LoginFailure, peerId: string | undefined, remoteAddress: string): void;
  /** A failed login was answered with 429. It was not told to `loginFailed`. */
  loginThrottled?(peerId: string | undefined, remoteAddress: string): void;
  /** A peer asked for what it has no role for. */
  roleMissing?(peerId: string, role: PeerRole): void;
  /** Nobody could log in, because the peers could not be read. */
  peersUnavailable?(error: unknown): void;
  /** The list that was read has entries that are no peers, and they are others than before. */
  peersMalformed?(malformed: readonly MalformedPeer[]): void;
  /** A peer rotated the token. */
  rotated?(peerId: string, versionId: string, outcome: string): void;
  /** A rotation that a peer asked for failed. */
  rotationFailed?(peerId: string, error: unknown): void;
  /** An error that nobody foresaw; the caller got 500. */
  failed?(error: unknown): void;
}
