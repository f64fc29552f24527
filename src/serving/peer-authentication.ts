import type { Form } from './form.js';
import { errorAnswer, type EndpointAnswer, type EndpointRequest } from './http.js';
import type { Peer, PeerRole } from './peers.js';

/** The peer, or the answer to give instead. */
export type LoginResult =
  { readonly peer: Pick<Peer, 'id'> } | { readonly refusal: EndpointAnswer };

/** How endpoints learn which peer asks, and whether it has the role that they are for. */
export interface PeerAuthentication {
  /** By the head of the request alone. */
  withHeader(request: EndpointRequest, role: PeerRole): Promise<LoginResult>;

  /** By the head of a token request or by its form (RFC 6749 §2.3.1), never by both. */
  withHeaderOrForm(request: EndpointRequest, form: Form, role: PeerRole): Promise<LoginResult>;

  /** Whether a login has to wait for a read now. Without it: never. */
  waits?(): boolean;

  /** The peer of an `Authorization` header, if it can be told at once and everything is right; tells nobody. */
  now(authorization: string, role: PeerRole): Pick<Peer, 'id'> | undefined;
}

/** The answer to a peer that is known, and has no role for what it asks. */
export function roleMissingAnswer(role: PeerRole): EndpointAnswer {
  return errorAnswer(403, 'unauthorized_client', `This peer does not have the role "${role}".`);
}
