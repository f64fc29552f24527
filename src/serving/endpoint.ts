import { IncomingMessage, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import type { CertificateRefusal } from '../peers/certificate-names.js';
import type { PeersRoom } from '../peers/peer-directory.js';
import type { WorkloadRefusal } from '../peers/workload-tokens.js';
import type { MalformedPeer, PeerRole } from '../peers/peers.js';
import { BrokerError } from '../tokens/errors.js';
import type { CacheState } from '../tokens/refreshing-cache.js';
import type { ServiceToken } from '../tokens/service-token.js';
import type { VerifiedToken } from '../verification/judge.js';
import type { ErrorBody, HttpErrorCode } from './answers.js';

/** A request, whichever server received it. */
export interface EndpointRequest {
  /** Upper case, as sent. */
  readonly method: string;
  /** Path and query, as sent. */
  readonly url: string;
  /** Every value of every header by lower-case name: `IncomingMessage.headersDistinct`. */
  readonly headers: NodeJS.Dict<string[]>;
  /** The address of the caller, by the server's own rules about proxies. */
  readonly remoteAddress: string;
  /** The server's own request. Endpoints only pass it to their observer, which adds the peer to its log line. */
  readonly source?: object;
  /** The connection that reached this process, for the client certificate; absent in a function on Lambda. */
  readonly connection?: Socket;
  /** True when the connection that reached this process is encrypted. */
  readonly encrypted: boolean;
  /**
   * Calls the listener when the caller has disconnected. Returns what takes the listener back. Without it, as in a function on
   * Lambda, no request is held.
   */
  readonly onDisconnect?: (listener: () => void) => () => void;
  /** The body as the framework parsed it; `undefined` when there was none that it parses. */
  readonly body?: unknown;
}

/** A complete answer. */
export interface EndpointAnswer {
  readonly status: number;
  /** Names and values alternating, as `ServerResponse.writeHead` takes them. */
  readonly headers: readonly string[];
  readonly body: Buffer;
  /** The code of an error, as its body has it. */
  readonly error?: HttpErrorCode;
}

/** Answers the requests of a route. */
export interface Endpoint {
  answer(request: EndpointRequest): Promise<EndpointAnswer>;
}

/**
 * Headers of every answer. Caches must not keep tokens (RFC 6749 §5.1, which also requires `Pragma`), and no client
 * guesses another content type.
 */
export const COMMON_HEADERS: readonly string[] = [
  'Cache-Control',
  'no-store',
  'Pragma',
  'no-cache',
  'X-Content-Type-Options',
  'nosniff',
];

const EMPTY = Buffer.alloc(0);

/** An answer with a JSON body, of which the type is one of those that are documented. */
export function jsonAnswer<Body extends object>(
  status: number,
  body: NoInfer<Readonly<Body>>,
  headers: readonly string[] = [],
): EndpointAnswer {
  return jsonBytesAnswer(status, Buffer.from(JSON.stringify(body)), headers);
}

/** An answer with a body that is JSON already. */
export function jsonBytesAnswer(
  status: number,
  body: Buffer,
  headers: readonly string[],
): EndpointAnswer {
  return {
    status,
    headers: [
      'Content-Type',
      'application/json',
      'Content-Length',
      String(body.length),
      ...COMMON_HEADERS,
      ...headers,
    ],
    body,
  };
}

/** An answer without a body, for 304. */
export function bodylessAnswer(status: number, headers: readonly string[]): EndpointAnswer {
  return { status, headers: [...COMMON_HEADERS, ...headers], body: EMPTY };
}

/** An error in the form of RFC 6749 §5.2. @param description for the caller; it never repeats what was sent. */
export function errorAnswer(
  status: number,
  error: HttpErrorCode,
  description: string,
  headers: readonly string[] = [],
): EndpointAnswer {
  const body = { error, error_description: description };
  return { ...jsonAnswer<ErrorBody>(status, body, headers), error };
}

/** 405 with the methods of the route. */
export function methodNotAllowed(allowed: readonly string[]): EndpointAnswer {
  const methods = allowed.join(', ');
  return errorAnswer(405, 'method_not_allowed', `This path takes ${methods}.`, ['Allow', methods]);
}

/** 404 for a path that the broker does not have. */
export function notFound(): EndpointAnswer {
  return errorAnswer(404, 'not_found', 'There is nothing at this path.');
}

/** The value of an answer's header. @param name as the answer writes it. */
export function headerOf(answer: EndpointAnswer, name: string): string | undefined {
  const { headers } = answer;
  for (let index = 0; index < headers.length; index += 2) {
    if (headers[index] === name) return headers[index + 1];
  }
  return undefined;
}

/** Sends an answer. For a HEAD request Node leaves the body out. */
export function writeAnswer(response: ServerResponse, answer: EndpointAnswer): void {
  // The type is a mutable array, but Node only reads it.
  response.writeHead(answer.status, answer.headers as string[]);
  // The same bytes as text, which Node sends in one piece with the head; a buffer would be a second one.
  response.end(answer.body.toString('latin1'), 'latin1');
}

/** An {@link EndpointRequest} from Node's own request. */
export function toEndpointRequest(
  message: IncomingMessage,
  extras: { readonly url?: string; readonly remoteAddress?: string; readonly body?: unknown } = {},
): EndpointRequest {
  return {
    method: message.method ?? '',
    url: extras.url ?? message.url ?? '/',
    headers: message.headersDistinct,
    remoteAddress: extras.remoteAddress ?? message.socket.remoteAddress ?? '',
    connection: message.socket,
    encrypted: 'encrypted' in message.socket && message.socket.encrypted === true,
    body: extras.body,
    source: message,
    onDisconnect: (listener) => {
      const { socket } = message;
      if (socket.destroyed) listener();
      else socket.once('close', listener);
      return () => socket.off('close', listener);
    },
  };
}

/** The path of a request target, without the query and without a trailing slash, which makes no difference. */
export function plainPath(url: string): string {
  const path = url.split('?', 1)[0] ?? '';
  return path.length > 1 && path.endsWith('/') ? path.slice(0, -1) : path;
}

/** The query of a request target, without the path. */
export function queryOf(url: string): URLSearchParams {
  const start = url.indexOf('?');
  return new URLSearchParams(start < 0 ? '' : url.slice(start + 1));
}

/** Whether the caller wants an answer that no cache gave: `Cache-Control: no-cache` (RFC 9111 §5.2.1.4). */
export function asksForRead(request: Pick<EndpointRequest, 'headers'>): boolean {
  const directives = request.headers['cache-control']?.join(',').toLowerCase().split(',') ?? [];
  return directives.some((directive) => directive.trim() === 'no-cache');
}

/** Seconds for `Retry-After`, if the error has none: for what is temporary, and for what a person must fix. */
const RETRY_SOON = 5;
const RETRY_LATER = 60;
/** The most where a secret could not be read: the broker itself reads it again by then, whoever has to act. */
export const READ_AGAIN = 15;

/**
 * The answer to a failure that is not the caller's: 503 `temporarily_unavailable` with `Retry-After`, or 500
 * `server_error` for a bug.
 *
 * @param description for the caller. An error's own message is for operators.
 * @param latest the most seconds for `Retry-After`. Default: whatever the error names.
 */
export function failureAnswer(
  error: unknown,
  description: string,
  latest = Number.POSITIVE_INFINITY,
): EndpointAnswer {
  if (!(error instanceof BrokerError) || error.kind === 'bug' || error.kind === 'rejected') {
    return bugAnswer();
  }
  const seconds = error.retryAfterSeconds ?? (error.kind === 'retry' ? RETRY_SOON : RETRY_LATER);
  return unavailableAnswer(description, Math.min(seconds, latest));
}

/** 503 `temporarily_unavailable`. @param seconds for `Retry-After`. */
export function unavailableAnswer(description: string, seconds: number): EndpointAnswer {
  return errorAnswer(503, 'temporarily_unavailable', description, [
    'Retry-After',
    String(Math.max(1, Math.ceil(seconds))),
  ]);
}

/** 500 `server_error` for a bug. */
export function bugAnswer(): EndpointAnswer {
  return errorAnswer(500, 'server_error', 'The broker failed. Its log says more.');
}

/** An endpoint that answers 500 instead of throwing, and notifies the observer. */
export function guarded(endpoint: Endpoint, observer: ServingObserver): Endpoint {
  return {
    async answer(request) {
      try {
        return await endpoint.answer(request);
      } catch (error) {
        observer.failed?.(error);
        return bugAnswer();
      }
    },
  };
}

/** What is used here of a request of Fastify or Express. */
export interface FrameworkRequest {
  /** Fastify: Node's request. Express's request is Node's. */
  readonly raw?: IncomingMessage;
  /** The caller's address, by the framework's own rules about proxies. */
  readonly ip?: string;
  /** Express: the URL before a router removed its prefix. */
  readonly originalUrl?: string;
  readonly body?: unknown;
}

/** What is used here of a response of Fastify or Express. */
export interface FrameworkReply {
  readonly raw?: ServerResponse;
  /** Fastify: leaves the reply to the handler. */
  hijack?(): unknown;
}

/**
 * Lets an endpoint answer a framework's request. The answer is written to Node's response, so that it has the same bytes
 * with every framework.
 */
export async function respond(
  endpoint: Endpoint,
  request: FrameworkRequest,
  reply: FrameworkReply,
): Promise<void> {
  send(await endpoint.answer(endpointRequest(request)), reply);
}

/** Writes an answer to a framework's reply. */
export function send(answer: EndpointAnswer, reply: FrameworkReply): void {
  const response = reply.raw ?? reply;
  if (!(response instanceof ServerResponse)) throw new TypeError('Not a response of node:http.');
  reply.hijack?.();
  // The peer may have disconnected while the store was read.
  if (response.headersSent || response.destroyed) return;
  writeAnswer(response, answer);
}

function endpointRequest(request: FrameworkRequest): EndpointRequest {
  const message = request.raw ?? request;
  if (!(message instanceof IncomingMessage)) throw new TypeError('Not a request of node:http.');
  return toEndpointRequest(message, {
    url: request.originalUrl,
    remoteAddress: request.ip,
    body: request.body,
  });
}

/** Why a login failed. For metrics and logs, never for the caller. */
export type LoginFailure =
  | 'missing'
  | 'malformed'
  | 'unknown_peer'
  | 'malformed_peer'
  | 'wrong_secret'
  | 'disabled_peer'
  | WorkloadRefusal
  | CertificateRefusal;

/**
 * How a peer proves who it is: by the name that RFC 7591 §2 or RFC 8705 §2.1.1 has for it, by a Bearer token in the header
 * (RFC 6750 §2.1) or as `client_assertion` (RFC 7523 §2.2), or to AWS (`iam`).
 */
export type LoginMethod =
  | 'client_secret_basic'
  | 'client_secret_post'
  | 'bearer'
  | 'client_assertion'
  | 'tls_client_auth'
  | 'iam';

/** What was decided about the token of somebody else. */
export interface TokenDecision {
  /** Its kind when it was accepted. `unavailable`: it could not be judged. */
  readonly outcome: 'customer' | 'service' | 'refused' | 'unavailable';
  /** Why not: a stable code. For metrics and logs, never for the caller. */
  readonly reason?: string;
  /** The token as it was verified, also when it was refused for what it lacks. */
  readonly verified?: VerifiedToken | undefined;
}

/** What was decided about a peer that proved who it is. */
export interface PeerDecision {
  readonly outcome:
    | 'served'
    | 'not_modified'
    | 'unavailable'
    | 'denied'
    /** It was refused for what it asks, not for who asks. */
    | 'invalid'
    | 'rotated'
    | 'rotation_failed'
    /** By the status page. */
    | 'repaired'
    | 'peer_disabled'
    | 'peer_enabled'
    | 'action_failed';
  readonly peer: string;
  /** How it proved who it is. */
  readonly method?: LoginMethod;
  /** The name of a token, as configured. */
  readonly token?: string;
  readonly versionId?: string;
  /** The peer that was disabled or enabled. */
  readonly subject?: string;
  readonly served?: ServiceToken;
  /** A stable code: why not, or how it ended. */
  readonly reason?: string;
}

/** What observers learn of a request. */
export interface DecidedRequest extends Pick<EndpointRequest, 'remoteAddress'> {
  /** See {@link EndpointRequest}. */
  readonly source?: object | undefined;
}

/** A login, and how it was tried, if that is known. */
export interface LoginAttempt extends DecidedRequest {
  readonly loginMethod?: LoginMethod;
}

/**
 * Notified of what the endpoints do, for metrics, logs and audit. A `peerId` is always the id of a peer on the list, so
 * it may be a log field or a metric label. No method may throw, and none gets a token or a secret.
 */
export interface ServingObserver {
  /** A peer proved who it is. @param source the request, as the server received it. */
  loggedIn?(peerId: string, source: object | undefined): void;
  /** A peer got a service token, or 304 because it has it already. @param token its name, as configured. */
  tokenServed?(peerId: string, state: CacheState, status: 200 | 304, token: string): void;
  /** A peer with the role for the token could not get it. */
  tokenUnavailable?(peerId: string, error: unknown, token: string): void;
  /** @param peerId the peer that was named, if it is on the list. */
  loginFailed?(reason: LoginFailure, peerId: string | undefined, remoteAddress: string): void;
  /** A failed login was answered with 429. `loginFailed` is not called for it. */
  loginThrottled?(peerId: string | undefined, remoteAddress: string): void;
  /** Either of these two, for the audit, in addition to them: with the request. */
  loginRefused?(
    reason: LoginFailure | 'throttled',
    peerId: string | undefined,
    attempt: LoginAttempt,
  ): void;
  /** A request was held until its token changed or its time was over. @param source the request. */
  held?(source: object | undefined): void;
  /** A peer does not have the role for what it asked. */
  roleMissing?(peerId: string, role: PeerRole): void;
  /** A peer asked for a token that it may not have, or that does not exist. Its name is what the peer sent. */
  tokenNotGranted?(peerId: string): void;
  /** Nobody could log in, because the peers could not be read. */
  peersUnavailable?(error: unknown): void;
  /** A workload token could not be judged, because its issuer's keys cannot be read. */
  issuerUnavailable?(error: unknown): void;
  /** The malformed entries of the list have changed. */
  peersMalformed?(malformed: readonly MalformedPeer[]): void;
  /** The peers secrets together are nearly full. */
  peersNearlyFull?(room: PeersRoom): void;
  /** A peer rotated the token. */
  rotated?(peerId: string, versionId: string, outcome: string, token: string): void;
  /** A rotation that a peer asked for failed. */
  rotationFailed?(peerId: string, error: unknown, token: string): void;
  /** One decision, for the audit, in addition to the methods above; logins that failed have `loginRefused`. */
  decided?(decision: PeerDecision, request: DecidedRequest): void;
  /** A gateway asked whether a request may pass. */
  authorized?(decision: TokenDecision, request: DecidedRequest): void;
  /** A peer asked what a token is. */
  introspected?(peerId: string, decision: TokenDecision, request: LoginAttempt): void;
  /** A bug; the caller got 500. */
  failed?(error: unknown): void;
}
