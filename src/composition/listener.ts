import {
  createServer,
  type IncomingMessage,
  type RequestListener,
  type Server,
  type ServerOptions,
  type ServerResponse,
} from 'node:http';
import type { Socket } from 'node:net';
import { errorAnswer, writeAnswer, type EndpointAnswer } from '../serving/http.js';

/** Limits of a {@link Listener}. Spans in milliseconds. */
export interface ListenerOptions {
  /**
   * Connections that are served at the same time. When all are in use, the ones that have been idle the longest are
   * closed; when none is idle, further ones get 503, except for health and metrics. Default: no limit.
   */
  readonly maxConnections?: number;
  /** How long a request may take to arrive, and how long a caller may stop reading its answer. Default: 10,000. */
  readonly requestTimeoutMs?: number;
  /** How long a connection stays open between two requests. Default: 72,000, as Fastify has it. */
  readonly keepAliveTimeoutMs?: number;
  /** How often slow connections are looked for. Default: 1,000. */
  readonly checkIntervalMs?: number;
  /** Idle for less than this, a connection may be about to send a request, and is not closed for another. Default: 1,000. */
  readonly graceMs?: number;
  readonly observer?: ListenerObserver;
}

/** Is notified of connections. */
export interface ListenerObserver {
  opened?(): void;
  closed?(): void;
  /** A connection was more than the limit allows: `answered` with 503, or `reset` because even that is not possible. */
  refused?(how: 'answered' | 'reset'): void;
}

/** An HTTP server with the limits and the drain that every listener of the broker has. */
export interface Listener {
  readonly server: Server;
  /** From now on every answer ends its connection (`Connection: close`). Connections are still accepted. */
  readonly endConnections: () => void;
  /**
   * Closes connections as soon as they are idle, and after `patienceMs` those in use too. The server itself is closed by
   * whoever listens with it, before or after.
   */
  readonly drain: (patienceMs: number) => void;
}

/** Longer than the 60 seconds that load balancers keep an idle connection: the side that sends requests closes first. */
const KEEP_ALIVE = 72_000;
const REQUEST_TIMEOUT = 10_000;
const CHECK_INTERVAL = 1_000;
/** Connections beyond the limit, for health and metrics and to say no. */
const RESERVE = 16;
const GRACE = 1_000;
const DRAIN_INTERVAL = 50;

/** What is answered when everything else is refused. */
const ALWAYS = /^\/(?:health\/|metrics(?:$|\?))/;

interface Connection {
  /** Requests that are not answered yet. */
  requests: number;
  /** Since when there is none, by `performance.now`. */
  idleSince: number;
  /** Beyond the limit. */
  readonly isExtra: boolean;
}

const CONNECTION = Symbol('connection');

type TrackedSocket = Socket & { [CONNECTION]?: Connection };

/**
 * Makes an HTTP server that closes what is slow, refuses more connections than it can serve, and can be drained.
 *
 * - A request whose head or body has not arrived after `requestTimeoutMs` gets 408, and its connection is closed.
 * - A caller that takes none of its answer for that long is disconnected.
 * - More than one `Host`, or an invalid one, is refused with 400 (RFC 9112 §3.2), and so is more than one
 *   `Content-Type` (RFC 9110 §5.3): whatever stands before the broker may have read the other one.
 *
 * @example
 * ```ts
 * const { server } = createListener((request, response) => response.end('ok'), { maxConnections: 100 });
 * server.listen(3000);
 * ```
 */
export function createListener(
  handler: RequestListener,
  options: ListenerOptions = {},
  serverOptions: ServerOptions = {},
): Listener {
  const { maxConnections = Number.POSITIVE_INFINITY, observer = {} } = options;
  const requestTimeout = options.requestTimeoutMs ?? REQUEST_TIMEOUT;
  const checkInterval = options.checkIntervalMs ?? CHECK_INTERVAL;
  const grace = options.graceMs ?? GRACE;
  const sockets = new Set<TrackedSocket>();
  let isEnding = false;

  const server = createServer(
    {
      ...serverOptions,
      requestTimeout,
      headersTimeout: requestTimeout,
      connectionsCheckingInterval: checkInterval,
      keepAliveTimeout: options.keepAliveTimeoutMs ?? KEEP_ALIVE,
    },
    (request, response) => {
      const connection = begin(request.socket, response);
      if (isEnding || connection?.isExtra === true) response.shouldKeepAlive = false;
      const refusal =
        refuseHeaders(request.rawHeaders) ??
        (connection?.isExtra === true ? refuseExtra(request) : undefined);
      if (refusal === undefined) return handler(request, response);
      writeAnswer(response, refusal);
    },
  );
  if (Number.isFinite(maxConnections)) server.maxConnections = maxConnections + RESERVE;

  server.on('connection', (socket: TrackedSocket) => {
    const now = performance.now();
    if (sockets.size >= maxConnections) closeOneIdle(sockets, now - grace);
    const isExtra = sockets.size >= maxConnections;
    socket[CONNECTION] = { requests: 0, idleSince: now, isExtra };
    sockets.add(socket);
    observer.opened?.();
    socket.on('close', () => {
      sockets.delete(socket);
      observer.closed?.();
    });
  });
  server.on('drop', () => observer.refused?.('reset'));

  const refuseExtra = (request: IncomingMessage): EndpointAnswer | undefined => {
    if (ALWAYS.test(request.url ?? '')) return undefined;
    observer.refused?.('answered');
    return errorAnswer(503, 'temporarily_unavailable', 'The broker has too many connections.', [
      'Retry-After',
      '1',
    ]);
  };

  const check = setInterval(() => {
    const now = performance.now();
    for (const socket of sockets) {
      if (socket[CONNECTION]?.isExtra === true && isIdle(socket, now - grace)) socket.destroy();
      // An answer that waits for its caller: Node closes the socket when nothing moves for this long.
      else if (socket.writableLength > 0 && socket.timeout !== requestTimeout) {
        socket.setTimeout(requestTimeout);
      }
    }
  }, checkInterval).unref();
  server.on('close', () => clearInterval(check));

  return {
    server,
    endConnections: () => {
      isEnding = true;
    },
    drain: (patienceMs) => {
      isEnding = true;
      const start = performance.now();
      const sweep = setInterval(() => {
        const now = performance.now();
        // A caller may have sent its request the moment before: it gets its answer, which ends the connection.
        server.closeIdleConnections();
        for (const socket of sockets) {
          if (now - start >= patienceMs || isIdle(socket, now - grace)) socket.destroy();
        }
        if (sockets.size === 0 && !server.listening) clearInterval(sweep);
      }, DRAIN_INTERVAL);
    },
  };
}

/** Counts a request to its connection until it is answered, or its caller has gone. */
function begin(socket: TrackedSocket, response: ServerResponse): Connection | undefined {
  const connection = socket[CONNECTION];
  if (connection === undefined) return undefined;
  connection.requests += 1;
  response.on('close', () => {
    connection.requests -= 1;
    connection.idleSince = performance.now();
  });
  return connection;
}

/** Whether a connection has had no request since then. */
function isIdle(socket: TrackedSocket, since: number): boolean {
  const connection = socket[CONNECTION];
  return connection?.requests === 0 && connection.idleSince <= since;
}

/** Closes the idle connection that was opened first, if there is one. */
function closeOneIdle(sockets: Set<TrackedSocket>, since: number): void {
  for (const socket of sockets) {
    if (!isIdle(socket, since)) continue;
    socket.destroy();
    // Its `close` event comes later, and its place is needed now.
    sockets.delete(socket);
    return;
  }
}

/** `uri-host [ ":" port ]` of RFC 3986 §3.2.2, as far as its characters go; it may be empty. */
const HOST = /^(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9\-._~%!$&'()*+,;=]*)(?::[0-9]*)?$/;

/** The answer to headers that two readers could read in two ways. Read raw: Node's parsed ones keep the first only. */
function refuseHeaders(rawHeaders: readonly string[]): EndpointAnswer | undefined {
  let hosts = 0;
  let contentTypes = 0;
  for (let index = 0; index < rawHeaders.length; index += 2) {
    const name = rawHeaders[index] ?? '';
    if (name.length === 4 && name.toLowerCase() === 'host') {
      hosts += 1;
      if (hosts > 1) return malformed('There is more than one Host header.');
      if (!HOST.test(rawHeaders[index + 1] ?? '')) return malformed('The Host header is invalid.');
    } else if (name.length === 12 && name.toLowerCase() === 'content-type') {
      contentTypes += 1;
      if (contentTypes > 1) return malformed('There is more than one Content-Type header.');
    }
  }
  return undefined;
}

function malformed(description: string): EndpointAnswer {
  return errorAnswer(400, 'invalid_request', description, ['Connection', 'close']);
}
