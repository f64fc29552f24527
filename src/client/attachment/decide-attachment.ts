import type { Behalf, UnknownBehalf } from '../../context/call-context.js';
import type { AllowedOrigins } from './allowed-origins.js';
import { AttachmentError, type AttachmentErrorCode } from './attachment-error.js';

/** What is done with requests to origins that are not on the list: they are errors, or go out as they are. */
export type OtherOrigins = 'refuse' | 'send-without-token';

/** What is done with requests outside of every call: they are errors, or carry the service token. */
export type OutsideCalls = 'refuse' | 'service';

/** Where tokens may go. */
export interface AttachmentRules {
  readonly origins: AllowedOrigins;
  readonly otherOrigins: OtherOrigins;
  readonly outsideCalls: OutsideCalls;
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
 * - On a service's behalf, and where somebody said "as the service": the service token, always this service's own.
 * - Where it is unknown on whose behalf: none. A context that was lost on the way must not become the service token.
 */
export function decideAttachment(
  request: OutgoingRequest,
  { origins, otherOrigins, outsideCalls }: AttachmentRules,
  behalf: Behalf,
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
  if (typeof behalf === 'object' && behalf.principal.kind === 'customer') {
    return rule.acceptsCustomers
      ? { kind: 'customer-token', token: behalf.token }
      : refused('CUSTOMER_NOT_ACCEPTED', notAccepted(origin));
  }
  if (behalf === 'ended') return refused('CALL_CONTEXT_ENDED', unknown(origin, behalf));
  if (as === 'customer') {
    return refused(
      'CUSTOMER_REQUIRED',
      `The request to ${origin} says as: 'customer', and no customer is in the call context. Make it where a customer's call is handled, or say as: 'service'.`,
    );
  }
  const isService =
    typeof behalf === 'object' ||
    behalf === 'service' ||
    (behalf === 'outside' && outsideCalls === 'service');
  return isService ? SERVICE_TOKEN : refused('CALL_CONTEXT_UNKNOWN', unknown(origin, behalf));
}

const ADMIT = `On the caller's behalf it can be made in a handler with AllowCustomer() or AllowService().`;

const WHERE: Readonly<Record<UnknownBehalf, string>> = {
  outside: 'outside of every call',
  unjudged: 'in a request that the guard has not admitted yet',
  refused: 'in a request that the guard refused',
  nobody: "on nobody's behalf, as in a public handler",
  ended: 'on behalf of a call that is over',
};

const THIRD_WAY: Readonly<Record<UnknownBehalf, string>> = {
  outside: `A process that never acts for customers can set outsideCalls: 'service'.`,
  unjudged: ADMIT,
  refused: ADMIT,
  nobody: ADMIT,
  ended: 'What goes on for the same principal can run in runWithPrincipal().',
};

function unknown(origin: string | undefined, behalf: UnknownBehalf): string {
  return (
    `The request to ${origin} is made ${WHERE[behalf]}: no token may be attached. If it is the service's own, ` +
    `say as: 'service' for this request, or run the code around it in runAsService() or RunAsService(). ${THIRD_WAY[behalf]}`
  );
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
