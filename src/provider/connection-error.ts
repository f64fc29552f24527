import { ProviderError, unexpected } from './provider-errors.js';

/** What the codes of failed connections mean. */
const MEANINGS: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'the connection is refused',
  ECONNRESET: 'the connection was reset',
  EPIPE: 'the connection was closed',
  ENOTFOUND: 'the host name does not resolve; is it spelled right?',
  EAI_AGAIN: 'the host name cannot be resolved at the moment',
  ETIMEDOUT: 'the connection timed out',
  EHOSTUNREACH: 'the host cannot be reached',
  ENETUNREACH: 'the network cannot be reached',
  UND_ERR_SOCKET: 'the connection was closed',
  UND_ERR_CONNECT_TIMEOUT: 'the connection timed out',
  UND_ERR_HEADERS_TIMEOUT: 'the answer did not come',
  UND_ERR_BODY_TIMEOUT: 'the answer stopped in the middle',
};

const TLS_CODE = /^(CERT_|ERR_SSL_|ERR_TLS_|DEPTH_ZERO_|SELF_SIGNED_|UNABLE_TO_|EPROTO$|HOSTNAME_)/;

/**
 * A failed fetch as a {@link ProviderError}. Only the system's error code is kept: the errors of the HTTP client hold
 * sockets and raw bytes of answers.
 */
export function connectionError(error: unknown, subject: string): ProviderError {
  const code = systemCode(error);
  if (code === undefined) {
    // fetch reports every network failure as a TypeError with a cause; those without a code are of the network too.
    const { name, cause } = asFields(error);
    return name === 'TypeError' && cause !== undefined
      ? unavailable(subject, 'the connection failed')
      : unexpected(error);
  }
  if (TLS_CODE.test(code)) {
    return new ProviderError(
      'PROVIDER_TLS_FAILED',
      `${subject} offers no trusted TLS connection (${code}). For a private certificate authority, point ` +
        'NODE_EXTRA_CA_CERTS to its certificate.',
    );
  }
  const meaning = MEANINGS[code];
  return unavailable(
    subject,
    meaning === undefined ? `the connection failed (${code})` : `${meaning} (${code})`,
  );
}

function unavailable(subject: string, why: string): ProviderError {
  return new ProviderError('PROVIDER_UNAVAILABLE', `${subject} cannot be reached: ${why}.`);
}

/** The system's code of an error or of what caused it: fetch wraps it once, and a body that breaks off twice. */
function systemCode(error: unknown): string | undefined {
  let current = asFields(error);
  for (let depth = 0; depth < 4; depth += 1) {
    const { code } = current;
    if (typeof code === 'string' && /^[A-Z][A-Z0-9_]{1,60}$/.test(code)) return code;
    current = asFields(current.cause);
  }
  return undefined;
}

// By shape, not by class: the errors come from the runtime, which need not share its classes with this code.
function asFields(error: unknown): { name?: unknown; code?: unknown; cause?: unknown } {
  return typeof error === 'object' && error !== null ? error : {};
}
