import type { Peer, PeerRole } from './peers.js';

/** What a peer asks for: to act in a role, or a token by its name. */
export type Need = { readonly role: Exclude<PeerRole, 'token'> } | { readonly token: string };

/** What was granted to a peer, by which {@link decideAccess} decides. */
export type Grants = Pick<Peer, 'roles' | 'tokens'>;

/**
 * What is decided: `granted`; `role_missing`, the peer lacks the role that the need requires; `token_not_granted`, it may
 * have tokens, but not this one, whether or not there is a token of that name.
 */
export type Access = 'granted' | 'role_missing' | 'token_not_granted';

/** The role that a need requires: for every token it is `token`. */
export function requiredRole(need: Need): PeerRole {
  return 'role' in need ? need.role : 'token';
}

/**
 * Whether a peer that proved who it is may have what it asks for. Denied by default: no role includes another, and only
 * a grant that names a token gives it. Pure.
 *
 * @example
 * ```ts
 * decideAccess({ roles: ['token'], tokens: ['default'] }, { token: 'ledger' }); // 'token_not_granted'
 * ```
 */
export function decideAccess(peer: Grants, need: Need): Access {
  if (!peer.roles.includes(requiredRole(need))) return 'role_missing';
  if ('role' in need || peer.tokens.includes(need.token)) return 'granted';
  return 'token_not_granted';
}
