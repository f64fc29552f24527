/** Why an HTTP exchange came to nothing, told without anything of its content. */
export type ConnectionFailure =
  /**
   * No trusted TLS connection. `why` is half a sentence: "its certificate has expired (CERT_HAS_EXPIRED)"; `advice` is a whole
   * one, fit for the owner of either side.
   */
  | { readonly kind: 'tls'; readonly code: string; readonly why: string; readonly advice: string }
  /** No connection, or it broke. `why` is half a sentence: "the connection is refused (ECONNREFUSED)". */
  | { readonly kind: 'network'; readonly why: string };

const TRUNCATED = 'the answer was cut off before its end';

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
  ECONNABORTED: 'the connection was closed',
  EHOSTDOWN: 'the host cannot be reached',
  ENETDOWN: 'the network cannot be reached',
  ENETRESET: 'the network was reset',
  EADDRNOTAVAIL: 'this machine has no free address or port for another connection',
  EACCES: 'this machine does not allow the connection',
  EPERM: 'this machine does not allow the connection',
  EMFILE: 'this process may open no more files and connections',
  ENFILE: 'this machine can open no more files and connections',
  ENOBUFS: 'this machine has no memory for another connection',
  ENOMEM: 'this machine has no memory for another connection',
  UND_ERR_SOCKET: 'the connection was closed',
  UND_ERR_CONNECT_TIMEOUT: 'the connection timed out',
  UND_ERR_HEADERS_TIMEOUT: 'the answer did not come',
  UND_ERR_BODY_TIMEOUT: 'the answer stopped in the middle',
  UND_ERR_RES_CONTENT_LENGTH_MISMATCH: TRUNCATED,
  ERR_STREAM_PREMATURE_CLOSE: TRUNCATED,
  HPE_INVALID_EOF_STATE: TRUNCATED,
  Z_BUF_ERROR: TRUNCATED,
  Z_DATA_ERROR: 'the compressed answer is damaged',
  UND_ERR_HEADERS_OVERFLOW: 'the head of the answer is too large',
  HPE_HEADER_OVERFLOW: 'the head of the answer is too large',
};

interface TlsMeaning {
  readonly codes: RegExp;
  readonly why: string;
  readonly advice: string;
}

/** What the codes of failed TLS connections mean (OpenSSL's verification errors and alerts, and Node's own), and what helps. */
const TLS_MEANINGS: readonly TlsMeaning[] = [
  {
    codes: /^CERT_HAS_EXPIRED$/,
    why: 'its certificate has expired',
    advice: "Renew the certificate, or set this machine's clock if that is wrong.",
  },
  {
    codes: /^CERT_NOT_YET_VALID$/,
    why: 'its certificate is not valid yet',
    advice: "Set this machine's clock, or wait until the certificate is valid.",
  },
  {
    codes: /^(?:ERR_TLS_CERT_ALTNAME_\w+|HOSTNAME_MISMATCH)$/,
    why: 'its certificate is for another host name',
    advice:
      'Use a host name that the certificate has, or give the server a certificate for this one.',
  },
  {
    codes: /^CERT_REVOKED$/,
    why: 'its certificate was revoked',
    advice: 'The server needs a new certificate.',
  },
  {
    codes: /^UNABLE_TO_VERIFY_LEAF_SIGNATURE$/,
    why: 'the authority of its certificate is not known here',
    advice:
      'If the certificate is of a public authority, the server leaves out the intermediate certificates: configure it to ' +
      'send them. For a private authority, point NODE_EXTRA_CA_CERTS to its certificate, a PEM file.',
  },
  {
    codes:
      /^(?:DEPTH_ZERO_SELF_SIGNED_CERT|SELF_SIGNED_CERT_IN_CHAIN|UNABLE_TO_GET_ISSUER_CERT(?:_LOCALLY)?|CERT_UNTRUSTED|INVALID_CA|CERT_REJECTED)$/,
    why: 'its certificate is of an authority that is not trusted here',
    advice:
      'For a private certificate authority, or a proxy that inspects TLS, point NODE_EXTRA_CA_CERTS to the certificate of the ' +
      'authority, a PEM file.',
  },
  {
    codes:
      /^(?:EPROTO|ERR_SSL_(?:WRONG_VERSION_NUMBER|PACKET_LENGTH_TOO_LONG|HTTP_REQUEST|UNKNOWN_PROTOCOL))$/,
    why: 'what answers there does not speak TLS',
    advice: 'Check the scheme and the port of the URL: is it a port for plain HTTP?',
  },
  {
    codes:
      /^ERR_SSL_\w*(?:CERTIFICATE_REQUIRED|ALERT_BAD_CERTIFICATE|ALERT_UNKNOWN_CA|ALERT_NO_CERTIFICATE)$/,
    why: 'it demands a client certificate',
    advice: 'Mutual TLS is not spoken here: use an address that does not demand it.',
  },
  {
    codes: /^ERR_SSL_\w*UNRECOGNIZED_NAME$/,
    why: 'it does not know the host name',
    advice: 'Check the host name in the URL.',
  },
  {
    codes:
      /^ERR_SSL_\w*(?:PROTOCOL_VERSION|UNSUPPORTED_PROTOCOL|HANDSHAKE_FAILURE|VERSION_TOO_LOW|NO_CIPHERS?\w*|KEY_TOO_SMALL|MD_TOO_WEAK)$/,
    why: 'no version of TLS, key or cipher is agreed on',
    advice: 'The server must offer TLS 1.2 or later with keys and ciphers that Node.js takes.',
  },
];

const OTHER_TLS = {
  why: 'the TLS connection failed',
  advice: 'Check the host name and the port, and the certificate that is offered there.',
};

const TLS_CODE =
  /^(CERT_|ERR_SSL_|ERR_TLS_|DEPTH_ZERO_|SELF_SIGNED_|UNABLE_TO_|INVALID_CA$|EPROTO$|HOSTNAME_)/;

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
  if (TLS_CODE.test(code)) {
    const { why, advice } = TLS_MEANINGS.find(({ codes }) => codes.test(code)) ?? OTHER_TLS;
    return { kind: 'tls', code, why: `${why} (${code})`, advice };
  }
  const meaning =
    MEANINGS[code] ??
    (code.startsWith('HPE_') ? 'what answers there does not speak HTTP' : undefined);
  return { kind: 'network', why: `${meaning ?? 'the connection failed'} (${code})` };
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
