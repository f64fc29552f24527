import type { CallContext } from '../../context/call-context.js';
import type { AllowedOrigins } from './allowed-origins.js';
import { AttachmentError, type AttachmentErrorCode } from './attachment-error.js';

/** What is done with requests to origins that are not on the list: they are errors, or go out as they are. */
export type OtherOrigins = 'refuse' | 'send-without-token';

/** Where tokens may go. */
export interface AttachmentRules {
  readonly origins: AllowedOrigins;
  readonly otherOrigins: OtherOrigins;
}

/** A request, as far as it matters for which token it gets. */
export interface OutgoingRequest {
  /** Scheme, host and port; `undefined` when it goes to no such place: a relative URL, a Unix socket. */
  readonly origin: string | undefined;
  /** On whose behalf the caller says it is made, as it was given; `undefined` when nothing was said. */
  readonly as: unknown;
  /** The caller has set an `Authorization` of its own. */
  readonly hasAuthorization: boolean;
}

/** What a request gets. */
export type Attachment =
  | { readonly kind: 'nothing' }
  | { readonly kind: 'service-token' }
  | { readonly kind: 'customer-token'; readonly token: string }
  | RefusedAttachment;

/** It is not sent. */
export interface RefusedAttachment {
  readonly kind: 'refused';
  readonly error: AttachmentError;
}

const NOTHING: Attachment = { kind: 'nothing' };
const SERVICE_TOKEN: Attachment = { kind: 'service-token' };

/**
 * Which token a request gets.
 *
 * - What the caller set itself is left alone.
 * - A token goes to a listed origin, and nowhere else.
 * - On a customer's behalf: that customer's own token, and only to an origin that accepts customers. Never the service
 *   token in its place, which may do more than the customer, unless the request says `as: 'service'`.
 * - Otherwise, for a service and for nobody: the service token, always this service's own.
 */
export function decideAttachment(
  request: OutgoingRequest,
  { origins, otherOrigins }: AttachmentRules,
  callContext: CallContext | undefined,
): Attachment {
  const { origin, as } = request;
  if (request.hasAuthorization) return NOTHING;
  if (as !== undefined && as !== 'service' && as !== 'customer') {
    return refused('CALLER_UNKNOWN', '"as" must be "service" or "customer", or be left out.');
  }
  const rule = origin === undefined ? undefined : origins.get(origin);
  if (rule === undefined) {
    // Who says on whose behalf it is counts on a token.
    if (otherOrigins === 'send-without-token' && as === undefined) return NOTHING;
    return refused('ORIGIN_NOT_LISTED', notListed(origin, as !== undefined));
  }
  if (as === 'service') return SERVICE_TOKEN;
  if (callContext?.principal.kind === 'customer') {
    return rule.acceptsCustomers
      ? { kind: 'customer-token', token: callContext.token }
      : refused('CUSTOMER_NOT_ACCEPTED', notAccepted(origin));
  }
  return as === 'customer'
    ? refused(
        'CUSTOMER_REQUIRED',
        `The request to ${origin} says as: 'customer', and no customer is in the call context. Make it where a customer's call is handled, or say as: 'service'.`,
      )
    : SERVICE_TOKEN;
}

function notListed(origin: string | undefined, wantsToken: boolean): string {
  const where = origin ?? 'what is no absolute http or https URL';
  const remedy = wantsToken
    ? 'Add its origin there, or leave "as" out.'
    : `Add its origin there, or say otherOrigins: 'send-without-token' if the same client also calls places that get no token.`;
  return `The request goes to ${where}, which is not among "origins": no token may be sent there. ${remedy}`;
}

function notAccepted(origin: string | undefined): string {
  return (
    `The request to ${origin} is made on a customer's behalf, and customers' tokens are not sent there. ` +
    `Mark the origin with acceptsCustomers: true, or say as: 'service' to call as the service itself.`
  );
}

function refused(code: AttachmentErrorCode, message: string): RefusedAttachment {
  return { kind: 'refused', error: new AttachmentError(code, message) };
}
