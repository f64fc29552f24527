import type { Behalf, UnknownBehalf } from '../../context/call-context.js';
import { BrokerError, type BrokerErrorOptions } from '../../tokens/errors.js';
import { isLoopbackHost, parseUrl } from '../../tokens/http.js';
import type { ServiceTokenSource } from '../../tokens/token-supply.js';
import { ClientConfigError, readAll } from '../client-errors.js';

/** Where tokens come from and where they may go. */
export interface AttachmentOptions {
  /** Where the service token comes from: a client made by `createServiceTokenClient`, or a broker in the same process. */
  readonly tokens: ServiceTokenSource;
  /** Where tokens may be sent: at least one origin. */
  readonly origins: readonly AllowedOrigin[];
  /**
   * Requests to other origins: `refuse` makes them an error, `send-without-token` sends them as they are. Default `refuse`, so
   * that a forgotten entry is found at once and not as somebody else's 401.
   */
  readonly otherOrigins?: OtherOrigins;
  /**
   * Requests outside of every call: at start-up, in jobs, timers and consumers. `refuse` makes them an error unless they
   * have `as: 'service'` or run in `runAsService`; `service` attaches the service token. Default `refuse`. Set `service`
   * only in a process that never acts for customers: code that has lost a customer's call context, such as the callback of
   * a shared connection, is outside of every call too.
   */
  readonly outsideCalls?: OutsideCalls;
  /** Notified when a callee refused the service token, for metrics and logs. If it throws, a process warning says so. */
  readonly onRefused?: (refusal: RefusedServiceToken) => void;
}

/** An origin that tokens may be sent to. */
export interface AllowedOrigin {
  /**
   * Scheme, host and port, such as `https://billing.internal` or `https://billing.internal:8443`. It is compared whole:
   * subdomains and other ports are not included. `https`, or `http` to this very machine.
   */
  readonly origin: string;
  /**
   * Whether customers' tokens may be sent there. Default `false`: it gets the service token alone, and a call on a
   * customer's behalf is an error.
   */
  readonly acceptsCustomers?: boolean;
  /** Allows plain `http` to another machine. Default `false`: whoever can read the traffic can use the token. */
  readonly allowInsecureHttp?: boolean;
}

/** What is done with requests to origins that are not on the list: they are errors, or are sent as they are. */
export type OtherOrigins = 'refuse' | 'send-without-token';

/** What is done with requests outside of every call: they are errors, or carry the service token. */
export type OutsideCalls = 'refuse' | 'service';

/** On whose behalf a request is made: the service's own, or that of the customer in the call context. */
export type ActingAs = 'service' | 'customer';

/** A request whose service token the callee refused with 401, and what was done. Holds no token. */
export interface RefusedServiceToken {
  /** The callee: scheme, host and port. */
  readonly origin: string;
  /**
   * - `retried`: there was a newer token, and the request is sent once more with it. The second response is returned.
   * - `no-newer-token`: the source has no other, or cannot get one while the broker is down. The 401 is returned.
   * - `not-repeatable`: there is a newer token, which later requests get. This one's body is used up, or a redirect led it on, or
   *   it cannot be seen whether one did. The 401 is returned.
   * - `refresh-failed`: the source has no token at all any more; see `error`. The 401 is returned.
   */
  readonly outcome: 'retried' | 'no-newer-token' | 'not-repeatable' | 'refresh-failed';
  /** What the token source threw, after `refresh-failed`. */
  readonly error: unknown;
}

/**
 * Why a request was not sent.
 *
 * | code | meaning |
 * | --- | --- |
 * | `ORIGIN_NOT_LISTED` | it goes to an origin that is not among `origins` |
 * | `CUSTOMER_NOT_ACCEPTED` | it is made on a customer's behalf, and the origin does not accept customers |
 * | `CUSTOMER_REQUIRED` | it has `as: 'customer'`, and no customer is in the call context |
 * | `CALL_CONTEXT_UNKNOWN` | on whose behalf it is made is unknown: outside of an admitted call, and without "as the service" |
 * | `CALL_CONTEXT_ENDED` | the call on whose behalf it is made is over |
 * | `CALLER_UNKNOWN` | its `as` is neither `'service'` nor `'customer'` |
 * | `TOKEN_NOT_SENDABLE` | the token cannot stand in a header (RFC 6750 §2.1) |
 */
export type AttachmentErrorCode =
  | 'ORIGIN_NOT_LISTED'
  | 'CUSTOMER_NOT_ACCEPTED'
  | 'CUSTOMER_REQUIRED'
  | 'CALL_CONTEXT_UNKNOWN'
  | 'CALL_CONTEXT_ENDED'
  | 'CALLER_UNKNOWN'
  | 'TOKEN_NOT_SENDABLE';

/**
 * A request was stopped before it was sent, because no token may be attached to it. The message names the origin and what
 * to change; never a path, a query or a token.
 */
export class AttachmentError extends BrokerError {
  declare readonly code: AttachmentErrorCode;

  constructor(code: AttachmentErrorCode, message: string, options: BrokerErrorOptions = {}) {
    super(code, 'misconfigured', message, options);
  }
}

/** Where tokens may go. */
interface AttachmentRules {
  readonly origins: AllowedOrigins;
  readonly otherOrigins: OtherOrigins;
  readonly outsideCalls: OutsideCalls;
}

/** The allow-list, by origin as `URL.origin` writes it. */
export type AllowedOrigins = ReadonlyMap<string, { readonly acceptsCustomers: boolean }>;

/** A request, as far as its token depends on it. */
interface OutgoingRequest {
  /** Scheme, host and port; `undefined` without one: a relative URL, a Unix socket. */
  readonly origin: string | undefined;
  /** `as` as the caller gave it; `undefined` without one. */
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
 * - An `Authorization` that the caller set is left alone.
 * - A token goes to a listed origin, and nowhere else.
 * - On a customer's behalf: that customer's own token, and only to an origin that accepts customers. Never the service
 *   token in its place, which may do more than the customer, unless the request has `as: 'service'`.
 * - On a service's behalf, and in code that acts as the service: the service token, always this service's own.
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
    // A request with `as` relies on a token.
    if (otherOrigins === 'send-without-token' && as === undefined) return NOTHING;
    return refused('ORIGIN_NOT_LISTED', notListed(origin, as !== undefined));
  }
  if (as === 'service') return SERVICE_TOKEN;
  if (typeof behalf === 'object' && behalf.principal.kind === 'customer') {
    return rule.acceptsCustomers
      ? { kind: 'customer-token', token: behalf.token }
      : refused(
          'CUSTOMER_NOT_ACCEPTED',
          `The request to ${origin} is made on a customer's behalf, and customers' tokens are not sent there. ` +
            `Set acceptsCustomers: true on the origin, or set as: 'service' to call as the service itself.`,
        );
  }
  if (behalf === 'ended') return refused('CALL_CONTEXT_ENDED', unknownBehalf(origin, behalf));
  if (as === 'customer') {
    return refused(
      'CUSTOMER_REQUIRED',
      `The request to ${origin} has as: 'customer', and no customer is in the call context. Make it where a customer's call is handled, or set as: 'service'.`,
    );
  }
  const isService =
    typeof behalf === 'object' ||
    behalf === 'service' ||
    (behalf === 'outside' && outsideCalls === 'service');
  if (isService) return SERVICE_TOKEN;
  return refused('CALL_CONTEXT_UNKNOWN', unknownBehalf(origin, behalf));
}

function refused(code: AttachmentErrorCode, message: string): RefusedAttachment {
  return { kind: 'refused', error: new AttachmentError(code, message) };
}

function notListed(origin: string | undefined, wantsToken: boolean): string {
  const where = origin ?? 'what is not an absolute http or https URL';
  const remedy = wantsToken
    ? 'Add its origin there, or leave "as" out.'
    : `Add its origin there, or set otherOrigins: 'send-without-token' if the same client also calls places that get no token.`;
  return `The request goes to ${where}, which is not among "origins": no token may be sent there. ${remedy}`;
}

const ADMIT = `On the caller's behalf it can be made in a handler with AllowCustomer() or AllowService().`;

const WHERE: Readonly<Record<UnknownBehalf, readonly [where: string, remedy: string]>> = {
  outside: [
    'outside of every call',
    `A process that never acts for customers can set outsideCalls: 'service'.`,
  ],
  unjudged: ['in a request that the guard has not admitted yet', ADMIT],
  refused: ['in a request that the guard refused', ADMIT],
  nobody: ["on nobody's behalf, as in a public handler", ADMIT],
  ended: [
    'on behalf of a call that is over',
    'What goes on for the same principal can run in runWithPrincipal().',
  ],
};

function unknownBehalf(origin: string | undefined, behalf: UnknownBehalf): string {
  const [where, remedy] = WHERE[behalf];
  return (
    `The request to ${origin} is made ${where}: no token may be attached. If it is the service's own, ` +
    `set as: 'service' for this request, or run the code around it in runAsService() or RunAsService(). ${remedy}`
  );
}

/** The options, checked. */
export interface AttachmentSettings extends AttachmentRules {
  readonly tokens: ServiceTokenSource;
  readonly onRefused: ((refusal: RefusedServiceToken) => void) | undefined;
}

/** @throws {ClientConfigError} naming every option that is missing or wrong. */
export function readAttachmentOptions(options: AttachmentOptions): AttachmentSettings {
  // Callers without TypeScript may forget them altogether.
  const {
    tokens,
    origins,
    otherOrigins = 'refuse',
    outsideCalls = 'refuse',
    onRefused,
  } = options ?? ({} as never);
  return readAll({
    tokens: () => {
      if (typeof (tokens as Partial<ServiceTokenSource> | undefined)?.getToken === 'function') {
        return tokens;
      }
      throw new ClientConfigError(
        '"tokens" must be a source of the service token, such as createServiceTokenClient makes.',
      );
    },
    otherOrigins: () => {
      if (otherOrigins === 'refuse' || otherOrigins === 'send-without-token') return otherOrigins;
      throw new ClientConfigError('"otherOrigins" must be "refuse" or "send-without-token".');
    },
    outsideCalls: () => {
      if (outsideCalls === 'refuse' || outsideCalls === 'service') return outsideCalls;
      throw new ClientConfigError('"outsideCalls" must be "refuse" or "service".');
    },
    onRefused: () => {
      if (onRefused === undefined || typeof onRefused === 'function') return onRefused;
      throw new ClientConfigError('"onRefused" must be a function.');
    },
    origins: () => readAllowedOrigins(origins),
  });
}

/** @throws {ClientConfigError} for an empty list, and naming every entry that is not an origin, is insecure, or is there twice. */
export function readAllowedOrigins(list: readonly AllowedOrigin[]): AllowedOrigins {
  if (!Array.isArray(list) || list.length === 0) {
    throw new ClientConfigError(
      '"origins" must list the origins that tokens may be sent to, such as [{ origin: "https://billing.internal" }].',
    );
  }
  const allowed = new Map<string, { readonly acceptsCustomers: boolean }>();
  readAll(
    list.map((entry: AllowedOrigin | undefined, index) => () => {
      const name = `origins[${index}]`;
      const { origin, acceptsCustomers } = readAll({
        origin: () => readOrigin(name, entry),
        acceptsCustomers: () => readFlag(name, entry, 'acceptsCustomers'),
      });
      if (allowed.has(origin)) throw new ClientConfigError(`"${name}" repeats ${origin}.`);
      allowed.set(origin, { acceptsCustomers });
    }),
  );
  return allowed;
}

function readOrigin(name: string, entry: AllowedOrigin | undefined): string {
  const text: unknown = entry?.origin;
  if (typeof text !== 'string' || originOf(text) === undefined) {
    throw new ClientConfigError(
      `"${name}.origin" must be an https origin, such as "https://billing.internal".`,
    );
  }
  const url = new URL(text);
  if (url.username !== '' || url.password !== '') {
    throw new ClientConfigError(`"${name}.origin" must not hold a user name or a password.`);
  }
  if (url.pathname !== '/' || text.includes('?') || text.includes('#')) {
    throw new ClientConfigError(
      `"${name}.origin" must end after the port: ${url.origin}. A path does not narrow down who gets the token.`,
    );
  }
  if (url.hostname.includes('*')) {
    throw new ClientConfigError(`"${name}.origin" must name one host: there are no wildcards.`);
  }
  const allowsHttp = readFlag(name, entry, 'allowInsecureHttp');
  if (url.protocol !== 'https:' && !isLoopbackHost(url.hostname) && !allowsHttp) {
    throw new ClientConfigError(
      `"${name}.origin" is ${url.origin}: use https, or set allowInsecureHttp: true for a network in which nobody can listen.`,
    );
  }
  return url.origin;
}

function readFlag(
  name: string,
  entry: AllowedOrigin | undefined,
  key: 'acceptsCustomers' | 'allowInsecureHttp',
): boolean {
  const value: unknown = entry?.[key];
  if (value === undefined || typeof value === 'boolean') return value ?? false;
  throw new ClientConfigError(`"${name}.${key}" must be true or false.`);
}

/** The origin of an absolute `http` or `https` URL; `undefined` for everything else. */
export function originOf(url: string): string | undefined {
  const parsed = parseUrl(url);
  return parsed?.protocol === 'https:' || parsed?.protocol === 'http:' ? parsed.origin : undefined;
}

/**
 * The listed origin of a URL that begins with just that and a slash: what follows is a path, whatever it consists of.
 * `undefined` for every other URL, also for those that lead to a listed origin in another notation.
 */
export function plainOrigin(url: string, origins: AllowedOrigins): string | undefined {
  for (const origin of origins.keys()) {
    if (url.startsWith(origin) && url[origin.length] === '/') return origin;
  }
  return undefined;
}
