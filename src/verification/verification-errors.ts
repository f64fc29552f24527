import { BrokerError, type BrokerErrorOptions } from '../tokens/errors.js';

/**
 * Why a token was refused.
 *
 * | code | meaning |
 * | --- | --- |
 * | `TOKEN_MALFORMED` | not three canonical base64url parts of strict JSON, or too large |
 * | `TOKEN_HEADER_REFUSED` | the header carries or links a key, asks for an extension, or has a malformed `kid` |
 * | `TOKEN_TYPE_WRONG` | not an access token: the header's `typ`, or signs of an ID, refresh or logout token |
 * | `TOKEN_ALGORITHM_REFUSED` | `alg` is not allowed for the issuer, or is not the key's own |
 * | `TOKEN_CLAIM_INVALID` | a registered claim is missing or has a wrong type |
 * | `TOKEN_ISSUER_UNKNOWN` | no issuer is configured with exactly this `iss` |
 * | `TOKEN_EXPIRED` | `exp` has passed |
 * | `TOKEN_NOT_YET_VALID` | `nbf` or `iat` lies in the future |
 * | `TOKEN_LIFETIME_TOO_LONG` | the token lives longer than the issuer's tokens may |
 * | `TOKEN_AUDIENCE_WRONG` | not meant for us, or also meant for others |
 * | `TOKEN_KEY_UNKNOWN` | the issuer has no such key |
 * | `TOKEN_SIGNATURE_INVALID` | the signature does not fit |
 * | `TOKEN_KIND_UNDECIDED` | neither a customer token nor a service token, or signs of both |
 * | `TOKEN_CLIENT_NOT_ALLOWED` | the client is not on the issuer's list for this kind, or only on that for the other |
 * | `TOKEN_SENDER_CONSTRAINED` | bound to a key by DPoP or mutual TLS, and sent as a plain Bearer |
 */
export type TokenRejectionCode =
  | 'TOKEN_MALFORMED'
  | 'TOKEN_HEADER_REFUSED'
  | 'TOKEN_TYPE_WRONG'
  | 'TOKEN_ALGORITHM_REFUSED'
  | 'TOKEN_CLAIM_INVALID'
  | 'TOKEN_ISSUER_UNKNOWN'
  | 'TOKEN_EXPIRED'
  | 'TOKEN_NOT_YET_VALID'
  | 'TOKEN_LIFETIME_TOO_LONG'
  | 'TOKEN_AUDIENCE_WRONG'
  | 'TOKEN_KEY_UNKNOWN'
  | 'TOKEN_SIGNATURE_INVALID'
  | 'TOKEN_KIND_UNDECIDED'
  | 'TOKEN_CLIENT_NOT_ALLOWED'
  | 'TOKEN_SENDER_CONSTRAINED';

/**
 * A token was refused. The message says why, with names of claims and configured values, never with what was read from
 * the token.
 */
export class TokenRejectedError extends BrokerError {
  declare readonly code: TokenRejectionCode;

  constructor(code: TokenRejectionCode, message: string, options: BrokerErrorOptions = {}) {
    super(code, 'rejected', message, options);
  }
}

/**
 * The issuer's keys are not available, so that the token can be neither accepted nor refused. Answer HTTP 503 with
 * `Retry-After: retryAfterSeconds`, not 401. The cause is a {@link KeyFetchError}, or none when the token's key is unknown
 * and the keys may not be fetched again yet.
 */
export class KeysUnavailableError extends BrokerError {
  declare readonly code: 'KEYS_UNAVAILABLE';
  declare readonly retryAfterSeconds: number;

  constructor(message: string, options: BrokerErrorOptions & { retryAfterSeconds: number }) {
    super('KEYS_UNAVAILABLE', 'retry', message, options);
  }
}

/**
 * Why one fetch of a JWKS failed.
 *
 * | code | meaning |
 * | --- | --- |
 * | `KEYS_URI_REFUSED` | the address is not an absolute `https` URL (or loopback), or carries a password |
 * | `KEYS_URI_UNKNOWN` | the address is unknown, because discovery failed |
 * | `KEYS_UNREACHABLE` | no connection, or it broke |
 * | `KEYS_TIMEOUT` | no complete answer in time |
 * | `KEYS_HTTP_STATUS` | an answer other than 200; redirects are not followed |
 * | `KEYS_TOO_LARGE` | the answer is larger than allowed |
 * | `KEYS_INVALID` | the answer is not a JWKS |
 */
export type KeyFetchCode =
  | 'KEYS_URI_REFUSED'
  | 'KEYS_URI_UNKNOWN'
  | 'KEYS_UNREACHABLE'
  | 'KEYS_TIMEOUT'
  | 'KEYS_HTTP_STATUS'
  | 'KEYS_TOO_LARGE'
  | 'KEYS_INVALID';

/** One fetch of a JWKS failed. */
export class KeyFetchError extends BrokerError {
  declare readonly code: KeyFetchCode;

  constructor(code: KeyFetchCode, message: string, options: BrokerErrorOptions = {}) {
    super(code, code === 'KEYS_URI_REFUSED' ? 'misconfigured' : 'retry', message, options);
  }
}

/** The verifier, a key set or a profile was configured wrongly. The message names the option and what is allowed. */
export class VerifierConfigError extends BrokerError {
  declare readonly code: 'VERIFIER_MISCONFIGURED';

  constructor(message: string, options: BrokerErrorOptions = {}) {
    super('VERIFIER_MISCONFIGURED', 'misconfigured', message, options);
  }
}
