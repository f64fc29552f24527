import { bareError, connectionFailure } from '../tokens/http.js';
import { BrokerError, type BrokerErrorOptions, type ErrorKind } from '../tokens/errors.js';

/** Every way in which minting fails, with who has to act. */
const KINDS = {
  /** No issuer in the configuration, nor in the credentials secret. */
  PROVIDER_ISSUER_MISSING: 'misconfigured',
  /** A setting is not a usable URL. */
  PROVIDER_SETTINGS_INVALID: 'misconfigured',
  /** Plain HTTP to another machine. */
  PROVIDER_INSECURE: 'misconfigured',
  /** Nothing that describes an authorization server stands where discovery looks. */
  PROVIDER_DISCOVERY_FAILED: 'misconfigured',
  /** Discovery describes another issuer than the configured one. */
  PROVIDER_ISSUER_MISMATCH: 'misconfigured',
  /** The credentials are of a kind that the setting, or the provider, does not take. */
  PROVIDER_AUTHENTICATION_UNSUPPORTED: 'misconfigured',
  /** The provider does not accept the client id with its secret or key. */
  PROVIDER_INVALID_CLIENT: 'misconfigured',
  /** The provider knows the client and refuses what it asks for. */
  PROVIDER_REFUSED: 'misconfigured',
  /** The provider answers with a redirect, which is never followed. */
  PROVIDER_REDIRECTED: 'misconfigured',
  /** Something else than JSON came back, most often a web page. */
  PROVIDER_NOT_JSON: 'misconfigured',
  /** What came back is not a token response: another path of the provider, other JSON, or too much. */
  PROVIDER_RESPONSE_INVALID: 'misconfigured',
  /** The token is opaque or encrypted, so that no service can verify it. */
  PROVIDER_TOKEN_NOT_JWT: 'misconfigured',
  /** No trusted TLS connection. */
  PROVIDER_TLS_FAILED: 'misconfigured',
  /** Too many requests: status 429, or an error code that says so. */
  PROVIDER_THROTTLED: 'retry',
  /** No complete answer in time. */
  PROVIDER_TIMEOUT: 'retry',
  /** Not reachable, or failing inside. */
  PROVIDER_UNAVAILABLE: 'retry',
  /** The client library failed in a way that is not foreseen. */
  PROVIDER_UNEXPECTED: 'bug',
} as const satisfies Record<string, ErrorKind>;

/** The stable codes of {@link ProviderError}. */
export type ProviderErrorCode = keyof typeof KINDS;

/**
 * The provider did not mint, or could not be asked. Messages name endpoints, statuses and settings, and repeat what the
 * provider says of the failure, redacted and bounded; never a secret or a token, nor any other part of an answer.
 */
export class ProviderError extends BrokerError {
  declare readonly code: ProviderErrorCode;

  constructor(code: ProviderErrorCode, message: string, options: BrokerErrorOptions = {}) {
    super(code, KINDS[code], message, options);
  }
}

/** True for a {@link ProviderError} with one of the codes. */
export function isProviderError(
  error: unknown,
  ...codes: readonly ProviderErrorCode[]
): error is ProviderError {
  return error instanceof ProviderError && codes.includes(error.code);
}

/**
 * An error of the client library or the runtime that fits no other code. Such errors carry whole responses in their
 * causes and may quote bodies in their messages: only the name and the stack's frames are kept.
 */
function unexpected(error: unknown): ProviderError {
  const cause = bareError(error);
  return new ProviderError(
    'PROVIDER_UNEXPECTED',
    `Talking to the provider failed in an unforeseen way (${cause.message}). Please report it with its stack.`,
    { cause },
  );
}

/** A failed fetch as a {@link ProviderError}. */
export function connectionError(error: unknown, subject: string): ProviderError {
  const failure = connectionFailure(error);
  if (failure === undefined) return unexpected(error);
  if (failure.kind === 'tls') {
    return new ProviderError(
      'PROVIDER_TLS_FAILED',
      `${subject} offers no trusted TLS connection: ${failure.why}. ${failure.advice}`,
    );
  }
  return new ProviderError('PROVIDER_UNAVAILABLE', `${subject} cannot be reached: ${failure.why}.`);
}
