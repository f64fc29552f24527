import {
  KeysUnavailableError,
  TokenRejectedError,
  type TokenRejectionCode,
} from '../verification/errors.js';

/** Why a call is refused, whichever way it came. All texts are fixed words: nothing of them was read from the call. */
export interface Refusal {
  readonly status: 400 | 401 | 403 | 503;
  /** The error code of RFC 6750 §3.1; `undefined` where it asks for none, and for a handler that nobody may call. */
  readonly error:
    | 'invalid_request'
    | 'invalid_token'
    | 'insufficient_scope'
    | 'temporarily_unavailable'
    | undefined;
  /** Words for the caller. */
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

/** What a caller may learn about its own token. Everything else is "not accepted". */
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
