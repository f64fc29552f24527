import type { IamPeer } from '../config/values.js';
import { parameterOf, type Form } from '../serving/form.js';
import { errorAnswer, type EndpointAnswer, type EndpointRequest } from '../serving/http.js';
import {
  roleMissingAnswer,
  type LoginResult,
  type PeerAuthentication,
} from '../serving/peer-authentication.js';
import type { PeerRole } from '../serving/peers.js';
import type { ServingObserver } from '../serving/serving-observer.js';
import { principalArn } from './iam-caller.js';

/** What {@link IamLogin} works with. */
export interface IamLoginOptions {
  readonly peers: readonly IamPeer[];
  /** The ARN that AWS IAM says the caller of a request has; `undefined` when it says nothing. */
  readonly callerOf: (request: EndpointRequest) => string | undefined;
  readonly observer: ServingObserver;
}

/**
 * Lets peers in that AWS IAM has authenticated before the function was invoked. Only what AWS says of the caller counts,
 * never a header or a parameter; whoever is not on the list is refused, whatever AWS would let them do.
 */
export class IamLogin implements PeerAuthentication {
  readonly #roles = new Map<string, Set<PeerRole>>();
  readonly #callerOf: IamLoginOptions['callerOf'];
  readonly #observer: ServingObserver;

  constructor({ peers, callerOf, observer }: IamLoginOptions) {
    // A peer that is named twice has the roles of both.
    for (const { arn, roles } of peers) {
      const id = principalArn(arn);
      this.#roles.set(id, new Set([...(this.#roles.get(id) ?? []), ...roles]));
    }
    this.#callerOf = callerOf;
    this.#observer = observer;
  }

  async withHeader(request: EndpointRequest, role: PeerRole): Promise<LoginResult> {
    const caller = this.#callerOf(request);
    if (caller === undefined) {
      this.#observer.loginFailed?.('missing', undefined, request.remoteAddress);
      return refuse('The endpoint does not tell who calls. It must be authorized by AWS IAM.');
    }
    const id = principalArn(caller);
    const roles = this.#roles.get(id);
    if (roles === undefined) {
      this.#observer.loginFailed?.('unknown_peer', undefined, request.remoteAddress);
      return refuse('The IAM role or user that calls is not a peer of this broker.');
    }
    this.#observer.loggedIn?.(id, request.source);
    if (roles.has(role)) return { peer: { id } };
    this.#observer.roleMissing?.(id, role);
    return { refusal: roleMissingAnswer(role) };
  }

  /** AWS IAM has authenticated the caller: a client secret besides is one too many (RFC 6749 §2.3). */
  async withHeaderOrForm(
    request: EndpointRequest,
    form: Form,
    role: PeerRole,
  ): Promise<LoginResult> {
    if (parameterOf(form, 'client_secret') === undefined) return this.withHeader(request, role);
    return {
      refusal: errorAnswer(
        400,
        'invalid_request',
        'AWS IAM authenticates the caller here. Send no client secret.',
      ),
    };
  }

  /** Nothing can be told from an `Authorization` header: AWS has judged it already. */
  now(): undefined {
    return undefined;
  }
}

function refuse(description: string): { readonly refusal: EndpointAnswer } {
  return { refusal: errorAnswer(403, 'unauthorized_client', description) };
}
