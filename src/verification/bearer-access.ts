import type { Principal, ServicePrincipal } from './principal.js';
import { unmetRequirement, type ClaimRequirement } from './required-claims.js';
import {
  KeysUnavailableError,
  TokenRejectedError,
  type TokenRejectionCode,
} from './verification-errors.js';

/** What a call presents. */
export type Credentials =
  | { readonly kind: 'none' }
  | { readonly kind: 'malformed' }
  | { readonly kind: 'token'; readonly token: string };

export const NONE: Credentials = { kind: 'none' };
export const MALFORMED: Credentials = { kind: 'malformed' };

/** RFC 6750 §2.1: `"Bearer" 1*SP b64token`, the scheme in any case (RFC 9110 §11.1). */
const BEARER = /^bearer +([A-Za-z0-9\-._~+/]+=*)$/i;
const BEARER_SCHEME = /^bearer(?![A-Za-z0-9!#$%&'*+\-.^_`|~])/i;

/**
 * Reads the bearer token of a call.
 *
 * @param values every value of its `Authorization`. More than one is malformed, since two parts of a system may choose
 *   different ones; another scheme counts as none.
 */
export function readBearer(values: readonly unknown[]): Credentials {
  const [value] = values;
  if (value === undefined) return NONE;
  if (values.length > 1 || typeof value !== 'string') return MALFORMED;
  const token = BEARER.exec(value)?.[1];
  if (token !== undefined) return { kind: 'token', token };
  return BEARER_SCHEME.test(value) ? MALFORMED : NONE;
}

/**
 * What stands behind the scheme of an `Authorization`, unread: good only to look it up among the tokens that were
 * accepted before. What is not found there has to be read by {@link readBearer}.
 */
export function unreadBearer(value: unknown): string | undefined {
  return typeof value === 'string' && value.startsWith('Bearer ')
    ? value.slice('Bearer '.length)
    : undefined;
}

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
  /** What is required of the claims and not met, for logs; not sent to the caller. */
  readonly requirement?: string;
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

/** Nothing says who may call. */
export const NOT_DECLARED: Refusal = {
  status: 403,
  error: undefined,
  description: 'Forbidden.',
  reason: 'NOT_DECLARED',
};

/** Whether a call is allowed. */
export type AccessDecision =
  | { readonly allowed: true }
  | {
      readonly allowed: false;
      readonly refusal: Refusal;
      /** What a check of the claims threw, which refuses the call. */
      readonly error?: unknown;
    };

export const ALLOWED: AccessDecision = { allowed: true };

/** A client that `AllowService` names: its id, or its id together with the issuer that must vouch for it. */
export type AllowedClient = string | { readonly clientId: string; readonly issuer: string };

/** What a token must be for a handler. */
export interface PrincipalRequirement {
  readonly kind: 'principal';
  readonly customers: boolean;
  /** `all` services, none of them, or those on the list. */
  readonly services: 'all' | 'none' | readonly AllowedClient[];
  readonly scopes: readonly string[];
  /** What the claims must be: all of it. Default: anything. */
  readonly claims?: readonly ClaimRequirement[];
}

/** Decides whether a principal meets a requirement. */
export function decideForPrincipal(
  requirement: PrincipalRequirement,
  principal: Principal,
): AccessDecision {
  const { customers, services, scopes, claims } = requirement;
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
  return claims === undefined ? ALLOWED : decideForClaims(claims, principal);
}

function decideForClaims(
  claims: readonly ClaimRequirement[],
  principal: Principal,
): AccessDecision {
  const unmet = unmetRequirement(claims, principal);
  if (unmet === undefined) return ALLOWED;
  const { words: requirement, error } = unmet;
  const reason = error === undefined ? 'CLAIM_NOT_MET' : 'CLAIM_CHECK_FAILED';
  // The caller is not told which claim, or which of the two reasons.
  const refusal = {
    ...forbidden(reason, 'The access token lacks a required claim.'),
    requirement,
  };
  return { ...refuse(refusal), ...(error === undefined ? {} : { error }) };
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

/** The decision that a call is not allowed. */
export function refuse(refusal: Refusal): AccessDecision {
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
  if (error instanceof TokenRejectedError) return rejectedToken(error.code);
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

/** The refusal of a token for a reason of the verifier's. */
export function rejectedToken(code: TokenRejectionCode): Refusal {
  return {
    status: 401,
    error: 'invalid_token',
    description: DESCRIPTIONS[code] ?? 'The access token was not accepted.',
    reason: code,
  };
}

/** What is said about the protected resource. */
export interface ChallengeOptions {
  /** The `realm` of the challenge (RFC 9110 §11.5), for people. Default: none. */
  readonly realm?: string;
  /**
   * The URL of the resource's metadata, sent as `resource_metadata` (RFC 9728 §5.1), so that a client finds out which
   * authorization server to ask. An `https` URL, or `http` on loopback. Default: none.
   */
  readonly resourceMetadata?: string;
}

/**
 * The `WWW-Authenticate` header of a refusal (RFC 6750 §3); `undefined` for a handler that nobody may call, and while keys
 * are unavailable.
 */
export function challengeOf(refusal: Refusal, options: ChallengeOptions = {}): string | undefined {
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
