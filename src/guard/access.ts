import { HttpException, IntrinsicException } from '@nestjs/common';
import { isLoopbackHost, parseUrl } from '../tokens/http.js';
import type { Principal, ServicePrincipal } from '../verification/principal.js';
import {
  KeysUnavailableError,
  TokenRejectedError,
  type TokenRejectionCode,
} from '../verification/verification-errors.js';
import {
  GuardConfigError,
  type AccessRequirement,
  type AllowedClient,
  type PrincipalRequirement,
} from './declarations.js';

/** Why a call is refused, over any transport. All texts are fixed: nothing in them comes from the call. */
export interface Refusal {
  readonly status: 400 | 401 | 403 | 503;
  /** The error code of RFC 6750 §3.1; `undefined` where it asks for none, and for a handler that nobody may call. */
  readonly error:
    | 'invalid_request'
    | 'invalid_token'
    | 'insufficient_scope'
    | 'temporarily_unavailable'
    | undefined;
  /** For the caller. */
  readonly description: string;
  /** A stable code for logs and metrics: more exact than `error`, and not sent to the caller. */
  readonly reason: string;
  /** The scopes that the handler requires, when one was missing. */
  readonly scopes?: readonly string[];
  /** Whole seconds after which the call may be repeated; with status 503. */
  readonly retryAfterSeconds?: number;
}

/** No credentials at all, or those of another scheme: RFC 6750 §3.1 asks for a challenge without an error code. */
export const NO_CREDENTIALS: Refusal = {
  status: 401,
  error: undefined,
  description: 'A bearer token is required.',
  reason: 'NO_CREDENTIALS',
};

export const MALFORMED_CREDENTIALS: Refusal = {
  status: 400,
  error: 'invalid_request',
  description: 'There must be exactly one Authorization header with exactly one bearer token.',
  reason: 'MALFORMED_CREDENTIALS',
};

/** No decorator says who may call. */
export const NOT_DECLARED: Refusal = {
  status: 403,
  error: undefined,
  description: 'Forbidden.',
  reason: 'NOT_DECLARED',
};

/** A kind of context that the guard does not know. */
export const UNKNOWN_CONTEXT: Refusal = { ...NOT_DECLARED, reason: 'UNKNOWN_CONTEXT' };

/** Whether a call is allowed. */
export type AccessDecision =
  { readonly allowed: true } | { readonly allowed: false; readonly refusal: Refusal };

const ALLOWED: AccessDecision = { allowed: true };

/**
 * Decides whether a principal meets a handler's requirement.
 *
 * @param principal `undefined` when no token was presented.
 */
export function decideAccess(
  requirement: AccessRequirement,
  principal: Principal | undefined,
): AccessDecision {
  if (requirement.kind === 'public') return ALLOWED;
  if (requirement.kind === 'undeclared') return refuse(NOT_DECLARED);
  if (principal === undefined) return refuse(NO_CREDENTIALS);
  return decideForPrincipal(requirement, principal);
}

function decideForPrincipal(
  requirement: PrincipalRequirement,
  principal: Principal,
): AccessDecision {
  const { customers, services, scopes } = requirement;
  if (principal.kind === 'customer' && !customers) {
    return refuse(forbidden('KIND_NOT_ALLOWED', 'Only services may do this.'));
  }
  if (principal.kind === 'service' && services === 'none') {
    return refuse(forbidden('KIND_NOT_ALLOWED', 'Only customers may do this.'));
  }
  if (principal.kind === 'service' && !isListed(principal, services)) {
    return refuse(forbidden('CLIENT_NOT_ALLOWED', 'This service may not do this.'));
  }
  if (!scopes.every((scope) => principal.scopes.includes(scope))) {
    return refuse({ ...forbidden('SCOPE_MISSING', 'The access token lacks a scope.'), scopes });
  }
  return ALLOWED;
}

function isListed(
  { clientId, issuer }: ServicePrincipal,
  services: PrincipalRequirement['services'],
): boolean {
  if (typeof services === 'string') return services === 'all';
  return services.some((client: AllowedClient) =>
    typeof client === 'string'
      ? client === clientId
      : client.clientId === clientId && client.issuer === issuer,
  );
}

/** RFC 6750 §3.1: the request requires higher privileges than provided by the access token. */
function forbidden(reason: string, description: string): Refusal {
  return { status: 403, error: 'insufficient_scope', description, reason };
}

function refuse(refusal: Refusal): AccessDecision {
  return { allowed: false, refusal };
}

/** What a caller is told about its own token. Everything else is "not accepted". */
const DESCRIPTIONS: Partial<Record<TokenRejectionCode, string>> = {
  TOKEN_MALFORMED: 'The access token is malformed.',
  TOKEN_TYPE_WRONG: 'The token is not an access token.',
  TOKEN_EXPIRED: 'The access token expired.',
  TOKEN_NOT_YET_VALID: 'The access token is not valid yet.',
  TOKEN_AUDIENCE_WRONG: 'The access token is not meant for this resource.',
  TOKEN_SENDER_CONSTRAINED:
    'The access token is bound to a key and is not accepted as a bearer token.',
};

/** The refusal for what the verifier threw; `undefined` for an error that says nothing about the token. */
export function refusalOf(error: unknown): Refusal | undefined {
  if (error instanceof TokenRejectedError) {
    return {
      status: 401,
      error: 'invalid_token',
      description: DESCRIPTIONS[error.code] ?? 'The access token was not accepted.',
      reason: error.code,
    };
  }
  if (error instanceof KeysUnavailableError) {
    return {
      status: 503,
      error: 'temporarily_unavailable',
      description: 'The access token cannot be verified at the moment.',
      reason: error.code,
      retryAfterSeconds: Math.max(1, Math.ceil(error.retryAfterSeconds)),
    };
  }
  return undefined;
}

/** What the guard says about the resource it protects. */
export interface ChallengeOptions {
  /** The `realm` of the challenge (RFC 9110 §11.5), for people. Default: none. */
  readonly realm?: string;
  /**
   * The URL of the resource's metadata, sent as `resource_metadata` (RFC 9728 §5.1), so that a client finds out which
   * authorization server to ask. An `https` URL, or `http` on loopback. Default: none.
   */
  readonly resourceMetadata?: string;
}

/** @throws {GuardConfigError} when an option cannot be written into a header. */
export function checkChallengeOptions({ realm, resourceMetadata }: ChallengeOptions): void {
  if (realm !== undefined && !(typeof realm === 'string' && QUOTABLE.test(realm))) {
    throw new GuardConfigError(
      '"realm" must be printable ASCII without quotation marks and backslashes.',
    );
  }
  if (resourceMetadata !== undefined && !isMetadataUrl(resourceMetadata)) {
    throw new GuardConfigError(
      '"resourceMetadata" must be an absolute https URL (or http on loopback) without a fragment or a password.',
    );
  }
}

const QUOTABLE = /^[\x20\x21\x23-\x5b\x5d-\x7e]+$/;

function isMetadataUrl(text: string): boolean {
  const url = typeof text === 'string' && QUOTABLE.test(text) ? parseUrl(text) : undefined;
  if (url === undefined) return false;
  const { protocol, hostname, hash, username, password } = url;
  const isSafe = protocol === 'https:' || (protocol === 'http:' && isLoopbackHost(hostname));
  return isSafe && `${hash}${username}${password}` === '';
}

/**
 * The `WWW-Authenticate` header of a refusal (RFC 6750 §3); `undefined` for a handler that nobody may call, and while keys
 * are unavailable.
 */
export function challengeOf(refusal: Refusal, options: ChallengeOptions): string | undefined {
  const { status, error, description, scopes } = refusal;
  if (status === 503 || (status === 403 && error === undefined)) return undefined;
  const parameters: (readonly [string, string | undefined])[] = [
    ['realm', options.realm],
    ['error', error],
    ['error_description', error === undefined ? undefined : description],
    ['scope', scopes?.join(' ')],
    ['resource_metadata', options.resourceMetadata],
  ];
  const written = parameters
    .filter(([, value]) => value !== undefined)
    .map(([name, value]) => `${name}="${value}"`);
  return written.length === 0 ? 'Bearer' : `Bearer ${written.join(', ')}`;
}

/** The JSON body of a refusal. */
interface RefusalBody {
  readonly statusCode: number;
  readonly error?: string;
  readonly message: string;
}

function bodyOf({ status, error, description }: Refusal): RefusalBody {
  return { statusCode: status, ...(error === undefined ? {} : { error }), message: description };
}

/** A refused call over HTTP. The guard sets the headers of the answer before it throws this. */
export class CallRefusedException extends HttpException {
  /** Why. */
  readonly refusal: Refusal;

  constructor(refusal: Refusal) {
    super(bodyOf(refusal), refusal.status);
    this.refusal = refusal;
  }
}

const GRAPHQL_CODES = {
  400: 'BAD_REQUEST',
  401: 'UNAUTHENTICATED',
  403: 'FORBIDDEN',
  503: 'SERVICE_UNAVAILABLE',
} as const satisfies Record<Refusal['status'], string>;

/** A refused GraphQL field. Other fields of the operation are not affected. */
export class GraphqlCallRefusedException extends CallRefusedException {
  /** What GraphQL servers copy into the error's `extensions`. */
  readonly extensions: Readonly<Record<string, unknown>>;

  constructor(refusal: Refusal) {
    super(refusal);
    const { status, error, scopes, retryAfterSeconds } = refusal;
    this.extensions = {
      code: GRAPHQL_CODES[status],
      ...(error === undefined ? {} : { error }),
      ...(scopes === undefined ? {} : { scopes }),
      ...(retryAfterSeconds === undefined ? {} : { retryAfterSeconds }),
    };
  }
}

/**
 * A refused message of a WebSocket or a microservice. It is neither `WsException` nor `RpcException`, whose packages may not be
 * installed; the decorators bring a filter that answers as Nest does for those two. Without that filter, Nest answers
 * "Internal server error".
 */
export class MessageRefusedException extends IntrinsicException {
  /** Why. */
  readonly refusal: Refusal;

  constructor(refusal: Refusal) {
    super(refusal.description);
    this.name = 'MessageRefusedException';
    this.refusal = refusal;
  }

  /** What the other side gets. */
  get answer(): Readonly<Record<string, unknown>> {
    const { scopes, retryAfterSeconds } = this.refusal;
    return {
      status: 'error',
      ...bodyOf(this.refusal),
      ...(scopes === undefined ? {} : { scopes }),
      ...(retryAfterSeconds === undefined ? {} : { retryAfterSeconds }),
    };
  }
}
