import { isUtf8 } from 'node:buffer';
import {
  bareError,
  connectionFailure,
  isTemporaryStatus,
  lostBody,
  parseUrl,
  readBoundedBody,
  retryAfterOf,
} from '../tokens/http.js';
import { isJsonObject, parseStrictJson, type JsonObject } from '../tokens/json.js';
import { withDeadline, type Clock } from '../tokens/time.js';
import {
  traced,
  traceHeaders,
  withoutSpans,
  type TracedOperation,
  type TracedSpan,
} from '../tokens/tracing.js';
import { ClientConfigError, TokenRequestError } from './client-errors.js';
import { fetchDirectly } from './direct-fetch.js';
import type { PeerProof } from './peer-proof.js';
import { directDispatcher } from './proxies.js';

/** One token request to one broker. */
interface TokenRequest {
  /** The broker's URL without a slash at the end. */
  readonly broker: string;
  readonly proof: PeerProof;
  /** Which token, where the peer may have several. */
  readonly audience: string | undefined;
  readonly resource: string | undefined;
  /** Asks the broker to look past its own cache. */
  readonly pastCaches: boolean;
  readonly fetch: typeof globalThis.fetch;
  readonly clock: Clock;
  /** Milliseconds for all of it. */
  readonly timeoutMs: number;
  /** Life in milliseconds under which a token is of no use. */
  readonly skewMs: number;
}

/** A token as it was granted. */
export interface GrantedToken {
  readonly accessToken: string;
  /** In milliseconds since the Unix epoch, by our own clock. */
  readonly expiresAt: number;
  /** The same as a span: what was left of its life when it was requested, in milliseconds. */
  readonly lifeMs: number;
  /** Where `GET` has this token at its broker: `/v1/token`, or with a name; `undefined` when that is not known. */
  readonly path: string | undefined;
}

/**
 * Asks one broker once: the client-credentials grant (RFC 6749 §4.4) with `client_secret_basic`, with a workload token as
 * `client_assertion` (RFC 7523 §2.2), or with a client certificate (`tls_client_auth`, RFC 8705 §2.1). Follows no redirect.
 *
 * `expiresAt` counts from before the request was sent, so that it is never too late, and by `expires_in`, a span, so that it
 * does not matter how far the clocks of the two machines are apart.
 *
 * @throws {TokenRequestError}
 */
export async function requestToken(request: TokenRequest): Promise<GrantedToken> {
  const { broker, clock, timeoutMs, skewMs } = request;
  const sentAt = clock.now();
  const { accessToken, lifeSeconds, path } = await withDeadline(
    clock,
    timeoutMs,
    (signal) => traced(operationOf(broker), (span) => talk(request, signal, span)),
    () => tooSlow(broker, timeoutMs),
  );
  const lifeMs = lifeSeconds * 1_000;
  if (lifeMs <= skewMs) {
    throw new TokenRequestError(
      'BROKER_TOKEN_EXPIRED',
      `The broker ${broker} served a token with ${Math.floor(lifeSeconds)} s left, and over ${skewMs / 1_000} s are ` +
        'needed. Its /health/ready says whether rotation works.',
    );
  }
  return { accessToken, expiresAt: sentAt + lifeMs, lifeMs, path };
}

/** What a broker granted. */
interface Grant {
  readonly accessToken: string;
  /** `expires_in`: the remaining life in seconds when the broker answered. */
  readonly lifeSeconds: number;
}

/** The largest answer that is read, in bytes. Real ones have one or two thousand. */
const MAX_ANSWER_BYTES = 64 * 1024;

async function talk(
  request: TokenRequest,
  signal: AbortSignal,
  span: TracedSpan,
): Promise<Grant & Pick<GrantedToken, 'path'>> {
  const { broker, clock, proof } = request;
  try {
    const response = await send(request, signal);
    const { status, headers } = response;
    span.set({ 'http.response.status_code': status });
    const failure = failureByStatus(status, headers, broker, clock.now());
    if (failure !== undefined) {
      // Nobody reads the body; a failure to cancel it does not change the result.
      response.body?.cancel().catch(() => undefined);
      throw failure;
    }
    const body = await readBoundedBody(response, MAX_ANSWER_BYTES, () =>
      invalidAnswer(broker, status, `it has more than ${MAX_ANSWER_BYTES} bytes`),
    );
    return { ...readGrant(status, body, broker, proof.kind), path: pathOf(request, headers) };
  } catch (error) {
    if (error instanceof TokenRequestError || error instanceof ClientConfigError) throw error;
    throw noAnswer(error, broker, proof.kind);
  }
}

function send(request: TokenRequest, signal: AbortSignal): Promise<Response> {
  const { broker, proof, audience, resource, pastCaches, fetch } = request;
  const { tokenAuthorization: authorization, agent } = proof;
  const url = `${broker}/oauth2/token`;
  const method = 'POST';
  const headers = {
    ...traceHeaders(),
    accept: 'application/json',
    ...(authorization !== undefined && { authorization }),
    'content-type': 'application/x-www-form-urlencoded',
    ...(pastCaches && { 'cache-control': 'no-cache' }),
  };
  const body = new URLSearchParams({
    grant_type: 'client_credentials',
    ...(audience !== undefined && { audience }),
    ...(resource !== undefined && { resource }),
    ...proof.form,
  }).toString();
  if (agent !== undefined) {
    return withoutSpans(() => fetchDirectly(url, { method, headers, body, signal, agent }));
  }
  const init: RequestInit = { method, headers, body, redirect: 'manual', signal };
  // Plain http is allowed to this very machine and to networks in which nobody can listen, not to a proxy.
  const dispatcher = broker.startsWith('http:') ? directDispatcher(undefined) : undefined;
  if (dispatcher !== undefined) init.dispatcher = dispatcher;
  return withoutSpans(() => fetch(url, init));
}

/** By the semantic conventions of HTTP. The URL of a broker has neither credentials nor a query. */
function operationOf(broker: string): TracedOperation {
  const { hostname, port, protocol } = new URL(broker);
  const path = '/oauth2/token';
  return {
    span: `POST ${path}`,
    metric: 'http.client.request.duration',
    kind: 'client',
    attributes: {
      'http.request.method': 'POST',
      'server.address': hostname.replace(/^\[(.*)\]$/, '$1'),
      'server.port': Number(port) || (protocol === 'https:' ? 443 : 80),
    },
    details: { 'url.full': `${broker}${path}`, 'url.template': path },
  };
}

/**
 * The token's own path. Without `audience` and `resource` it is the one without a name; with them the broker says which it is
 * (`Content-Location`, RFC 9110 §8.7).
 */
function pathOf(
  { broker, audience, resource }: TokenRequest,
  headers: Headers,
): string | undefined {
  if (audience === undefined && resource === undefined) return '/v1/token';
  const location = headers.get('content-location') ?? '';
  const url = parseUrl(location, `${broker}/oauth2/token`)?.href;
  const path = url?.startsWith(`${broker}/`) === true ? url.slice(broker.length) : '';
  return /^\/v1\/tokens\/[a-z0-9-]{1,40}$/.test(path) ? path : undefined;
}

/**
 * What the status alone says; `undefined` when the body has to be read.
 *
 * @param broker the broker's URL, for the message.
 * @param now milliseconds since the Unix epoch, for a `Retry-After` that is a date.
 */
export function failureByStatus(
  status: number,
  headers: Headers,
  broker: string,
  now: number,
): TokenRequestError | undefined {
  const retryAfterSeconds = retryAfterOf(headers, now);
  const options = retryAfterSeconds === undefined ? {} : { retryAfterSeconds };
  if (status === 429) {
    return new TokenRequestError(
      'BROKER_THROTTLED',
      `The broker ${broker} answers that there were too many requests (429), which it does after too many wrong logins, too.`,
      options,
    );
  }
  if (isTemporaryStatus(status)) {
    return new TokenRequestError(
      'BROKER_UNAVAILABLE',
      `The broker ${broker} cannot serve a token at the moment (status ${status}). Its log and /health/ready say why.`,
      options,
    );
  }
  // A fetch of the browser's kind hides the status of a redirect that it was told not to follow.
  if ((status >= 300 && status < 400) || status === 0) {
    return new TokenRequestError(
      'BROKER_REDIRECTED',
      `The broker ${broker} answers with a redirect (status ${status}). Redirects are never followed, because they ` +
        "would carry the peer's secret along: configure the final URL. If it leads to a login page, there is no broker " +
        'at this URL.',
    );
  }
  return undefined;
}

/** Real answers have no nested members; somebody may add some. */
const MAX_DEPTH = 16;

/** Ten years. No real token lives that long, and far beyond that instants are not valid dates. */
const MAX_LIFE_SECONDS = 315_360_000;

/** RFC 6750 §2.1 `b64token`: what may follow `Bearer ` in a header. */
const BEARER_TOKEN = /^[A-Za-z0-9._~+/-]+=*$/;

/** Error codes of RFC 6749 §4.1.2.1 and RFC 8628 §3.5 that mean "not now". */
const TEMPORARY = new Set(['temporarily_unavailable', 'server_error', 'slow_down']);

/** Error codes of a token endpoint: RFC 6749 §5.2 and RFC 8707 §2, and those above. */
const OAUTH_ERRORS = new Set([
  ...TEMPORARY,
  'invalid_request',
  'invalid_client',
  'invalid_grant',
  'unauthorized_client',
  'unsupported_grant_type',
  'invalid_scope',
  'invalid_target',
]);

/** The statuses of a broker's refusals. Another one with an OAuth error is not a broker's. */
const REFUSALS = new Set([400, 401, 403]);

/** The statuses of a server without a token endpoint at the path, whatever the body. A broker has one, and takes POST. */
const NOTHING_THERE = new Set([404, 405, 410]);

/**
 * Reads a token response (RFC 6749 §5.1) or an error (§5.2), whatever content type it claims.
 *
 * @param proof what was sent, for the words about a refusal.
 * @throws {TokenRequestError} `BROKER_CREDENTIALS_REFUSED`, `BROKER_REQUEST_REFUSED`, `BROKER_UNAVAILABLE`,
 *   `BROKER_NOT_FOUND`, `BROKER_ANSWER_INVALID`.
 */
export function readGrant(
  status: number,
  body: Buffer,
  broker: string,
  proof: PeerProof['kind'] = 'secret',
): Grant {
  // A TextDecoder leaves out the byte-order mark that some proxies and files bring.
  const json = isUtf8(body)
    ? parseStrictJson(new TextDecoder().decode(body), MAX_DEPTH)
    : ({ ok: false, fault: 'it is not UTF-8' } as const);
  if (NOTHING_THERE.has(status)) throw nothingThere(broker, status);
  const lost = lostBody(body.toString('utf8'));
  // An empty refusal is a gateway's, not a broker's; an empty success was a broker's.
  if (lost === 'cut short' || (lost === 'empty' && status < 300)) {
    throw lostAnswer(broker, status, lost);
  }
  if (lost !== undefined) throw invalidAnswer(broker, status, `it is ${lost}`);
  if (!json.ok) throw invalidAnswer(broker, status, json.fault);
  if (!isJsonObject(json.value)) throw invalidAnswer(broker, status, 'it is not a JSON object');
  if (status !== 200) throw refusal(status, json.value, broker, proof);
  const { access_token: token, token_type: type, expires_in: life } = json.value;
  if (typeof type !== 'string' || type.toLowerCase() !== 'bearer') {
    throw invalidAnswer(broker, status, '"token_type" must be "Bearer"');
  }
  if (typeof token !== 'string' || !BEARER_TOKEN.test(token)) {
    throw invalidAnswer(broker, status, '"access_token" must be a token fit for a header');
  }
  if (typeof life !== 'number' || !(Math.abs(life) <= MAX_LIFE_SECONDS)) {
    throw invalidAnswer(broker, status, '"expires_in" must be a number of seconds');
  }
  return { accessToken: token, lifeSeconds: life };
}

/** A response that is not a token response. @param fault what is wrong with it, without any of its content. */
function invalidAnswer(broker: string, status: number, fault: string): TokenRequestError {
  return new TokenRequestError(
    'BROKER_ANSWER_INVALID',
    `The broker ${broker} did not send a token response (status ${status}): ${fault}. If another service, a proxy, a ` +
      'firewall or a login page answers, there is no broker at this URL. Configure it without the path /oauth2/token.',
  );
}

function nothingThere(broker: string, status: number): TokenRequestError {
  return new TokenRequestError(
    'BROKER_NOT_FOUND',
    `There is no broker at this URL: ${broker} answers POST /oauth2/token with status ${status}. Compare host, port and ` +
      "path with the broker's public URL, and look at what stands before it: a gateway may need another path.",
  );
}

function lostAnswer(broker: string, status: number, lost: string): TokenRequestError {
  return new TokenRequestError(
    'BROKER_UNAVAILABLE',
    `The broker ${broker} sent an answer that is ${lost} (status ${status}). Something on the way lost it, or there is no ` +
      'broker at this URL.',
  );
}

/**
 * Only an OAuth error about the peer or its request is a refusal that every broker would repeat. Gateways, proxies and other
 * services answer with an `error` of their own.
 */
function refusal(
  status: number,
  json: JsonObject,
  broker: string,
  proof: PeerProof['kind'],
): TokenRequestError {
  const { error: code } = json;
  if (typeof code !== 'string') return invalidAnswer(broker, status, 'it has no OAuth error code');
  if (!OAUTH_ERRORS.has(code) || !REFUSALS.has(status)) {
    return invalidAnswer(broker, status, 'its error is not that of a token endpoint');
  }
  if (TEMPORARY.has(code)) {
    return new TokenRequestError(
      'BROKER_UNAVAILABLE',
      `The broker ${broker} cannot serve a token at the moment (${code}).`,
    );
  }
  if (status === 401 || code === 'invalid_client') {
    const { what, advice } = REFUSED_PROOFS[proof];
    return new TokenRequestError(
      'BROKER_CREDENTIALS_REFUSED',
      `The broker ${broker} does not accept ${what} (status ${status}, ${code}). ${advice}`,
    );
  }
  return new TokenRequestError(
    'BROKER_REQUEST_REFUSED',
    `The broker ${broker} refuses to serve the token (status ${status}, ${code}).${REFUSAL_ADVICE[code] ?? ''}`,
  );
}

const REFUSED_PROOFS: Readonly<
  Record<PeerProof['kind'], { readonly what: string; readonly advice: string }>
> = {
  secret: {
    what: "the peer's id and secret",
    advice: 'Compare them with the file that "service-token-broker peers add" wrote.',
  },
  'workload-token': {
    what: "the peer's workload token",
    advice:
      "Its audience must be the broker's public URL, and its issuer and subject those of a peer in the broker's " +
      'configuration; the log of the broker says what does not fit.',
  },
  certificate: {
    what: "the peer's client certificate",
    advice:
      "Its name must be that of a peer in the broker's configuration. A proxy before the broker that ends TLS must pass the " +
      'certificate on.',
  },
};

const REFUSAL_ADVICE: Readonly<Record<string, string>> = {
  unauthorized_client: ' Give the peer the role "token".',
  invalid_target:
    ' There is no token for this "audience" and "resource", or the peer may not have it, or it may have several and the ' +
    'client does not say which: compare these options with the tokens that the broker grants to the peer.',
};

function tooSlow(broker: string, timeoutMs: number): TokenRequestError {
  return new TokenRequestError(
    'BROKER_TIMEOUT',
    `The broker ${broker} gave no complete answer within ${Math.ceil(timeoutMs / 100) / 10} s.`,
  );
}

/** Alerts of a server that does not take the client's certificate (RFC 8446 §6.2). */
const CERTIFICATE_REFUSED =
  /^ERR_SSL_\w*ALERT_(?:BAD_CERTIFICATE|UNSUPPORTED_CERTIFICATE|CERTIFICATE_(?:REVOKED|EXPIRED|UNKNOWN)|UNKNOWN_CA|ACCESS_DENIED)$/;

function noAnswer(error: unknown, broker: string, proof: PeerProof['kind']): TokenRequestError {
  const failure = connectionFailure(error);
  if (failure === undefined) {
    const cause = bareError(error);
    return new TokenRequestError(
      'BROKER_UNEXPECTED',
      `The request to the broker ${broker} failed in an unexpected way (${cause.message}). If "fetch" is the ` +
        "platform's own, please report it with its stack.",
      { cause },
    );
  }
  if (failure.kind === 'tls' && proof === 'certificate' && CERTIFICATE_REFUSED.test(failure.code)) {
    return new TokenRequestError(
      'BROKER_TLS_FAILED',
      `The broker ${broker} does not take the peer's client certificate (${failure.code}): it has expired, or is of an ` +
        'authority that the broker does not trust.',
    );
  }
  if (failure.kind === 'tls') {
    return new TokenRequestError(
      'BROKER_TLS_FAILED',
      `The broker ${broker} offers no trusted TLS connection: ${failure.why}. ${failure.advice}`,
    );
  }
  return new TokenRequestError(
    'BROKER_UNREACHABLE',
    `The broker ${broker} cannot be reached: ${failure.why}.${
      proof === 'certificate'
        ? " Servers close the connection, too, when they do not take the peer's client certificate."
        : ''
    }`,
  );
}
