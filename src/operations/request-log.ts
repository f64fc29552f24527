import { randomUUID } from 'node:crypto';
import { IncomingMessage, type ServerResponse } from 'node:http';
import {
  headerOf,
  plainPath,
  type DecidedRequest,
  type EndpointAnswer,
} from '../serving/endpoint.js';
import { looksSecret } from '../tokens/redaction.js';
import type { AuditEvent } from './audit-chain.js';
import { plainLines, type BrokerLogger } from './log.js';

/** What others may add to the line of a request. Never anything from outside that was not checked. */
interface RequestFields {
  /** The id of the peer, once it is authenticated. */
  readonly peer?: string;
  /** Why the request failed: a stable code. */
  readonly code?: string;
  /** The `X-Cache` of an answer whose headers Node does not keep. Default: read from the answer. */
  readonly cache?: string;
  /** Whether it was held until a token changed (`Prefer: wait`). */
  readonly held?: boolean;
}

/** One finished request. */
export interface RequestRecord extends RequestFields {
  readonly requestId: string;
  /** A common method, or `OTHER`. */
  readonly method: string;
  /** One of the known routes, or `other`. */
  readonly route: string;
  /** The status that was sent; `undefined` when the caller disconnected before. */
  readonly status: number | undefined;
  /** Whether the caller disconnected before the answer was complete. */
  readonly aborted: boolean;
  /** From the arrival of the request's head to the end of the answer. */
  readonly durationMilliseconds: number;
  readonly remoteAddress: string;
}

/** Options of {@link createRequestLog}. */
interface RequestLogOptions {
  readonly log: BrokerLogger;
  /** The paths that are logged as they are. Default: {@link KNOWN_ROUTES}. */
  readonly routes?: readonly string[];
  /** Called with every request, also those whose line the level hides. */
  readonly onRequest?: (record: RequestRecord) => void;
  /** Milliseconds that only go forward. Default: `performance.now`. */
  readonly monotonic?: () => number;
  /**
   * False when the handler sends {@link requestIdHeader} itself: a header that is sent with the others costs less than one
   * that is set before. Default: true.
   */
  readonly setsHeader?: boolean;
}

/** Watches one request. It changes nothing but the answer's `X-Request-Id`. */
type RequestLog = (request: IncomingMessage, response: ServerResponse) => void;

/** The paths of the broker. */
const KNOWN_ROUTES: readonly string[] = [
  '/oauth2/token',
  '/v1/token',
  '/v1/tokens/{name}',
  '/v1/rotate',
  '/oauth2/introspect',
  '/v1/authorize',
  '/.well-known/oauth-authorization-server',
  '/health/live',
  '/health/ready',
  '/metrics',
  '/openapi.json',
];

/** Routes that machines ask every few seconds: their lines are `debug`. Changes of health are logged elsewhere. */
export const QUIET = /^\/(?:health\/|metrics$)/;
/** Requests of the status page's script, likewise. */
const updates = new WeakSet<IncomingMessage>();

/** Says that a request only updates a page that somebody looks at: its line is `debug`. */
export function noteUpdate(request: object | undefined): void {
  if (request instanceof IncomingMessage) updates.add(request);
}

const METHODS: ReadonlySet<string> = new Set([
  'GET',
  'HEAD',
  'POST',
  'PUT',
  'PATCH',
  'DELETE',
  'OPTIONS',
]);

const SANE_ID = /^[A-Za-z0-9._-]{1,64}$/;

interface Watched {
  readonly requestId: string;
  readonly fields: RequestFields;
}

/** A property of the request: it costs less than an entry of a WeakMap. */
const WATCHED = Symbol('request log');

type WatchedRequest = IncomingMessage & { [WATCHED]?: Watched };

/** Adds fields to the line of a request, if it is watched. */
export function annotate(request: IncomingMessage, fields: RequestFields): void {
  const entry = (request as WatchedRequest)[WATCHED];
  if (entry !== undefined) Object.assign(entry.fields, fields);
}

/** The header of the answer to a watched request: its name and its value. */
export function requestIdHeader(request: IncomingMessage): readonly string[] {
  const id = (request as WatchedRequest)[WATCHED]?.requestId;
  return id === undefined ? [] : ['X-Request-Id', id];
}

/** Where a request came from, and its id, for the audit. */
export function placeOf({
  remoteAddress,
  source,
}: DecidedRequest): Pick<AuditEvent, 'remoteAddress' | 'requestId'> {
  if (!(source instanceof IncomingMessage)) return { remoteAddress };
  const [, requestId] = requestIdHeader(source);
  return { remoteAddress: remoteAddress || source.socket.remoteAddress, requestId };
}

/** Annotates a request that the hot lane answers, whose headers Node does not keep. Returns {@link requestIdHeader}, to send with them. */
export function noteAnswer(request: IncomingMessage, answer: EndpointAnswer): readonly string[] {
  annotate(request, { cache: headerOf(answer, 'X-Cache') });
  return requestIdHeader(request);
}

/**
 * Logs one line per request, aborted ones included. It listens to Node's own request and response, so that it is the same
 * with Fastify, Express and a plain server; add it before the server's other listeners.
 *
 * The raw URL, the query and the headers are never logged.
 *
 * @example
 * ```ts
 * const requestLog = createRequestLog({ log, onRequest: (record) => metrics.recordHttpRequest(record) });
 * app.getHttpServer().prependListener('request', requestLog);
 * ```
 */
export function createRequestLog(options: RequestLogOptions): RequestLog {
  const { onRequest, monotonic = () => performance.now(), setsHeader = true } = options;
  // Every field below is ours, a number, an address, or checked: there is nothing to redact.
  const write = plainLines(options.log);
  const routes: ReadonlySet<string> = new Set(options.routes ?? KNOWN_ROUTES);

  return (request, response) => {
    const start = monotonic();
    const entry: Watched = { requestId: requestId(request.rawHeaders), fields: {} };
    (request as WatchedRequest)[WATCHED] = entry;
    if (setsHeader) response.setHeader('X-Request-Id', entry.requestId);
    // Read now: routers rewrite the URL, and a closed socket has no address.
    const route = routeOf(request.url ?? '', routes);
    const method = methodOf(request.method ?? '');
    const remoteAddress = request.socket.remoteAddress ?? '';

    // Emitted once, whether the answer was sent or the caller disconnected.
    response.on('close', () => {
      const cache = entry.fields.cache ?? response.getHeader('X-Cache');
      const record: RequestRecord = {
        requestId: entry.requestId,
        method,
        route,
        status: response.headersSent ? response.statusCode : undefined,
        aborted: !response.writableFinished,
        durationMilliseconds: Math.round((monotonic() - start) * 1000) / 1000,
        remoteAddress,
        ...(typeof cache === 'string' ? { cache } : undefined),
        ...entry.fields,
      };
      onRequest?.(record);
      write(levelOf(record, request), record, 'request');
    });
  };
}

function levelOf(
  { route, status = 0 }: RequestRecord,
  request: IncomingMessage,
): 'warn' | 'info' | 'debug' {
  // A 503 is a state, which has its own line; any other failure is a bug.
  if (status >= 500 && status !== 503) return 'warn';
  return QUIET.test(route) || updates.has(request) ? 'debug' : 'info';
}

const ROUTES: ReadonlySet<string> = new Set(KNOWN_ROUTES);

/** The route of a URL, for logs, metrics and traces: one of the known ones, or `other`. */
export function routeOf(url: string, routes: ReadonlySet<string> = ROUTES): string {
  const path = plainPath(url);
  // Gateways may write the policy, and what their callers ask for, behind it.
  if (path.startsWith('/v1/authorize/')) return '/v1/authorize';
  const route = path.replace(/^\/v1\/tokens\/[a-z0-9-]{1,40}$/, '/v1/tokens/{name}');
  return routes.has(route) ? route : 'other';
}

/** A common method, or `OTHER`. */
export function methodOf(method: string): string {
  return METHODS.has(method) ? method : 'OTHER';
}

/** The caller's id, if it is short, plain, and does not look like a secret in the wrong header; else a new one. */
function requestId(rawHeaders: readonly string[]): string {
  // Node's parsed headers would cost more than the rest of the line.
  for (let index = 0; index < rawHeaders.length; index += 2) {
    if (rawHeaders[index]?.length !== 12) continue;
    if (rawHeaders[index]?.toLowerCase() !== 'x-request-id') continue;
    const given = rawHeaders[index + 1] ?? '';
    if (SANE_ID.test(given) && !looksSecret(given)) return given;
    break;
  }
  return randomUUID();
}
