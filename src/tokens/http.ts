/**
 * The whole body of a response. When it is larger than allowed, the rest is not read, and the connection is closed.
 *
 * @param maxBytes the largest body.
 * @param tooLarge makes the error to throw for a larger one.
 */
export async function readBoundedBody(
  response: Response,
  maxBytes: number,
  tooLarge: () => Error,
): Promise<Buffer<ArrayBuffer>> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  // Throwing out of the loop cancels the rest of the body.
  for await (const chunk of (response.body ?? []) as AsyncIterable<Uint8Array>) {
    size += chunk.byteLength;
    if (size > maxBytes) throw tooLarge();
    chunks.push(chunk);
  }
  return Buffer.concat(chunks, size);
}

/**
 * How a text that should be a JSON object was damaged on the way; `undefined` when it seems complete, valid or not. A proxy
 * that lost a body, or a part of it, often ends the response as if it were complete.
 *
 * - `empty`: nothing, white space, a byte-order mark, or the `null` of a function that returned nothing.
 * - `cut short`: it begins as JSON, and ends inside an object, a list or a text.
 */
export function lostBody(text: string): 'empty' | 'cut short' | undefined {
  // JavaScript counts the byte-order mark as white space.
  const json = text.trim();
  if (json === '' || json === 'null') return 'empty';
  if (!json.startsWith('{') && !json.startsWith('[')) return undefined;
  let depth = 0;
  for (const [token, end] of json.matchAll(/"(?:[^"\\]+|\\.)*("?)|[[\]{}]/gs)) {
    if (end === '') return 'cut short';
    if (token === '{' || token === '[') depth += 1;
    else if (token === '}' || token === ']') depth -= 1;
  }
  return depth > 0 ? 'cut short' : undefined;
}

/**
 * The `Authorization` header of `client_secret_basic`: id and secret form-encoded (RFC 6749 §2.3.1), then as HTTP Basic
 * (RFC 7617).
 *
 * The form encoding leaves `-`, `_` and `.` as they are. Encoding them is allowed, but some servers do not decode at all,
 * and would then refuse nearly every generated secret.
 */
export function clientSecretBasic(id: string, secret: string): string {
  return `Basic ${btoa(`${formEncode(id)}:${formEncode(secret)}`)}`;
}

function formEncode(text: string): string {
  return new URLSearchParams([['', text]]).toString().slice(1);
}

/** Why an HTTP request failed, without anything of its content. */
type ConnectionFailure =
  /**
   * No trusted TLS connection. `why` is half a sentence: "its certificate has expired (CERT_HAS_EXPIRED)"; `advice` is a whole
   * one, fit for the owner of either side.
   */
  | { readonly kind: 'tls'; readonly code: string; readonly why: string; readonly advice: string }
  /** No connection, or it broke off. `why` is half a sentence: "the connection is refused (ECONNREFUSED)". */
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

/** What the codes of failed TLS connections mean (OpenSSL's verification errors and alerts, and Node's), and what to do. */
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
      'send them. For a private authority, point NODE_EXTRA_CA_CERTS to its certificate, a PEM file; in a broker BROKER_CA_FILE ' +
      'does as well.',
  },
  {
    codes:
      /^(?:DEPTH_ZERO_SELF_SIGNED_CERT|SELF_SIGNED_CERT_IN_CHAIN|UNABLE_TO_GET_ISSUER_CERT(?:_LOCALLY)?|CERT_UNTRUSTED|INVALID_CA|CERT_REJECTED)$/,
    why: 'its certificate is of an authority that is not trusted here',
    advice:
      'For a private certificate authority, or a proxy that inspects TLS, point NODE_EXTRA_CA_CERTS to the certificate of the ' +
      'authority, a PEM file; in a broker BROKER_CA_FILE does as well.',
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
 * What an error of `fetch` says about the connection; `undefined` for every other error. Keeps only the system's error code:
 * errors of the HTTP client hold sockets and raw bytes of responses.
 */
export function connectionFailure(error: unknown): ConnectionFailure | undefined {
  const code = systemCode(error);
  if (code === undefined) {
    // fetch reports every network failure as a TypeError with a cause, with a code or without.
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

/** The system's code of an error or of its causes: fetch wraps it once, and a body that breaks off twice. */
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
 * An error of other code without its message, cause and fields, which may quote what was sent: only its name and stack
 * frames.
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

// By shape, not by class: the runtime need not share its error classes with this code.
function asFields(error: unknown): {
  name?: unknown;
  code?: unknown;
  cause?: unknown;
  stack?: unknown;
} {
  return typeof error === 'object' && error !== null ? error : {};
}

/**
 * True for names and addresses of this machine: `localhost`, 127.0.0.0/8 and `::1`, also in the brackets of a URL. Only
 * there may secrets and keys travel by plain HTTP.
 *
 * @param hostname in lower case, as `URL.hostname` gives it.
 */
export function isLoopbackHost(hostname: string): boolean {
  return (
    hostname === 'localhost' ||
    hostname === '[::1]' ||
    hostname === '::1' ||
    /^127(?:\.\d{1,3}){3}$/.test(hostname)
  );
}

/**
 * Parses a URL; `undefined` for invalid text.
 *
 * Not by `URL.canParse`, which on Node.js 20, once its caller is hot, rejects every text with a character from U+0080 to
 * U+00FF. `URL.parse` came with Node.js 22.
 *
 * @param base for relative URLs; without it, the text must be an absolute URL.
 */
export function parseUrl(text: string, base?: string): URL | undefined {
  try {
    return new URL(text, base);
  } catch {
    return undefined;
  }
}

/**
 * The `Retry-After` of a response in seconds from now, rounded up (RFC 9110 §10.2.3: seconds, or an HTTP date); `undefined`
 * when it is absent or malformed. A date is compared with the response's `Date` if there is one, as the clocks of two
 * machines may be minutes apart; one that is past by then is compared with our clock. A date in the past is 0.
 *
 * @param now milliseconds since the Unix epoch.
 */
export function retryAfterOf(headers: Headers, now: number): number | undefined {
  const header = headers.get('retry-after') ?? '';
  const theirs = Date.parse(headers.get('date') ?? '');
  const seconds = Number.isFinite(theirs) ? parseRetryAfter(header, theirs) : undefined;
  return seconds === undefined || seconds === 0 ? parseRetryAfter(header, now) : seconds;
}

function parseRetryAfter(text: string, now: number): number | undefined {
  if (/^\d{1,10}$/.test(text)) return Number(text);
  if (!/^[A-Z][a-z]{2,8},? .*\d{2}:\d{2}:\d{2}/.test(text)) return undefined;
  // HTTP dates are in UTC, also in the form that names no zone (asctime), which would be taken for the machine's time.
  const date = Date.parse(ZONE.test(text) ? text : `${text} GMT`);
  return Number.isFinite(date) ? Math.max(0, Math.ceil((date - now) / 1000)) : undefined;
}

/** The zone at the end of a date: a name or an offset. */
const ZONE = /(?: [A-Za-z]{1,5}| ?[+-]\d{4})$/;

/** Statuses after which the same request may succeed later (RFC 9110 §15.5.9 and §15.6, RFC 8470 §5.2, RFC 6585 §4). */
export function isTemporaryStatus(status: number): boolean {
  return status === 408 || status === 425 || status === 429 || status >= 500;
}

/**
 * Metadata on a Nest controller with its own access control: those of the broker, which require a peer's credentials or
 * are open on purpose. The guard of an application that the broker runs in skips them.
 */
export const DECIDES_ACCESS_ITSELF = Symbol.for('service-token-broker/decides-access-itself');
