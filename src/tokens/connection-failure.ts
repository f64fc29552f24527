/** Why an HTTP exchange came to nothing, told without anything of its content. */
export type ConnectionFailure =
  /** No trusted TLS connection. */
  | { readonly kind: 'tls'; readonly code: string }
  /** No connection, or it broke. `why` is half a sentence: "the connection is refused (ECONNREFUSED)". */
  | { readonly kind: 'network'; readonly why: string };

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
 * What an error of `fetch` says about the connection; `undefined` for every other error. Only the system's error code is
 * kept: the errors of the HTTP client hold sockets and raw bytes of answers.
 */
export function connectionFailure(error: unknown): ConnectionFailure | undefined {
  const code = systemCode(error);
  if (code === undefined) {
    // fetch reports every network failure as a TypeError with a cause; those without a code are of the network too.
    const { name, cause } = asFields(error);
    return name === 'TypeError' && cause !== undefined
      ? { kind: 'network', why: 'the connection failed' }
      : undefined;
  }
  if (TLS_CODE.test(code)) return { kind: 'tls', code };
  return { kind: 'network', why: `${MEANINGS[code] ?? 'the connection failed'} (${code})` };
}

/** The system's code of an error or of what caused it: fetch wraps it once, and a body that breaks off twice. */
export function systemCode(error: unknown): string | undefined {
  let current = asFields(error);
  for (let depth = 0; depth < 4; depth += 1) {
    const { code } = current;
    if (typeof code === 'string' && /^[A-Z][A-Z0-9_]{1,60}$/.test(code)) return code;
    current = asFields(current.cause);
  }
  return undefined;
}

/**
 * An error of somebody else's code without its message, its cause and its fields, which may quote what was sent: its
 * name and the frames of its stack are left.
 */
export function bareError(error: unknown): Error {
  const { name, stack } = asFields(error);
  const kind = typeof name === 'string' && /^\w{1,60}$/.test(name) ? name : typeof error;
  const bare = new Error(kind);
  const frames =
    typeof stack === 'string' ? stack.split('\n').filter((line) => /^ {4}at /.test(line)) : [];
  bare.stack = [kind, ...frames].join('\n');
  return bare;
}

// By shape, not by class: the errors come from the runtime, which need not share its classes with this code.
function asFields(error: unknown): {
  name?: unknown;
  code?: unknown;
  cause?: unknown;
  stack?: unknown;
} {
  return typeof error === 'object' && error !== null ? error : {};
}
