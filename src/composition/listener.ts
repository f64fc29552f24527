import {
  createServer,
  type IncomingMessage,
  type RequestListener,
  type Server,
  type ServerOptions,
  type ServerResponse,
} from 'node:http';
import { type Socket, createServer as createTcpServer, type AddressInfo } from 'node:net';
import {
  errorAnswer,
  writeAnswer,
  type EndpointAnswer,
  notFound,
  plainPath,
  toEndpointRequest,
  type Endpoint,
} from '../serving/endpoint.js';
import { BrokerError } from '../tokens/errors.js';
import type { OnApplicationBootstrap, OnApplicationShutdown } from '@nestjs/common';
import type { HttpConfig } from '../config/broker-config.js';
import type { OperationsEndpoints } from '../operations/operations.module.js';
import { close, open, readFileSync } from 'node:fs';

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

/** The settings of the broker's own port. */
const MAIN_PORT = { port: 'PORT', host: 'HOST' };

/**
 * Why a process cannot listen, with the way out. What is not about the address stays as it is.
 *
 * @param names the settings that say where.
 */
export function listenError(
  error: unknown,
  host: string,
  port: number,
  advice = '',
  names: { readonly port: string; readonly host: string } = MAIN_PORT,
): unknown {
  const code =
    typeof error === 'object' && error !== null && 'code' in error ? error.code : undefined;
  if (code === 'EADDRINUSE') {
    return new BrokerError(
      'PORT_IN_USE',
      'misconfigured',
      `Port ${port} on ${host} is in use by another process. Set ${names.port} to a free one, or stop the other process.${advice}`,
      { cause: error },
    );
  }
  if (code === 'EACCES' || code === 'EADDRNOTAVAIL' || code === 'ENOTFOUND') {
    return new BrokerError(
      'ADDRESS_UNUSABLE',
      'misconfigured',
      `This process cannot listen on ${host}, port ${port} (${code}). Check ${names.host} and ${names.port}.`,
      { cause: error },
    );
  }
  return error;
}

/**
 * Makes sure that a port can be listened on, for who has work to do before it listens itself.
 *
 * @param advice what to add when the port is taken.
 * @throws {BrokerError} `PORT_IN_USE`, `ADDRESS_UNUSABLE`.
 */
export async function requireFreePort(host: string, port: number, advice: string): Promise<void> {
  const server = createTcpServer();
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error) => reject(listenError(error, host, port, advice)));
    server.listen({ host, port }, () => server.close(() => resolve()));
  });
}

/**
 * Health and metrics on a listener of their own, `BROKER_MANAGEMENT_PORT`, open to whoever reaches it. It listens before
 * the broker serves, and until it has served the last request.
 */
export class ManagementServer implements OnApplicationBootstrap, OnApplicationShutdown {
  readonly #address: HttpConfig['management'];
  readonly #endpoints: ReadonlyMap<string, Endpoint>;
  #server: Server | undefined;

  constructor(address: HttpConfig['management'], endpoints: OperationsEndpoints) {
    this.#address = address;
    this.#endpoints = new Map([
      ['/health/live', endpoints.live],
      ['/health/ready', endpoints.ready],
      ['/metrics', endpoints.metrics],
    ]);
  }

  /** Where it listens; `undefined` when it does not. */
  get url(): string | undefined {
    const address = this.#server?.address();
    return address === undefined || address === null || typeof address === 'string'
      ? undefined
      : urlOf(address);
  }

  /** @throws {BrokerError} `PORT_IN_USE`, `ADDRESS_UNUSABLE`. */
  async onApplicationBootstrap(): Promise<void> {
    if (this.#address === undefined) return;
    const { host, port } = this.#address;
    const { server } = createListener((request, response) => {
      const endpoint = this.#endpoints.get(plainPath(request.url ?? ''));
      // None of the endpoints rejects: what goes wrong is their answer.
      void (endpoint?.answer(toEndpointRequest(request)) ?? Promise.resolve(notFound())).then(
        (answer) => writeAnswer(response, answer),
      );
    });
    await new Promise<void>((resolve, reject) => {
      server.once('error', (error) => reject(managementError(error, host, port)));
      server.listen({ host, port }, resolve);
    });
    this.#server = server;
  }

  async onApplicationShutdown(): Promise<void> {
    const server = this.#server;
    if (server === undefined) return;
    this.#server = undefined;
    await new Promise((resolve) => {
      server.close(resolve);
      // Scrapers keep their connections, and would hold the process.
      server.closeAllConnections();
    });
  }
}

/** The URL of an address that a server listens on. */
export function urlOf({ address, family, port }: AddressInfo): string {
  return `http://${family === 'IPv6' ? `[${address}]` : address}:${port}`;
}

function managementError(error: Error, host: string, port: number): unknown {
  return listenError(error, host, port, '', {
    port: 'BROKER_MANAGEMENT_PORT',
    host: 'BROKER_MANAGEMENT_HOST',
  });
}

/** What the broker needs for itself: its files, its connections to store and provider, and those for health. */
const OWN_DESCRIPTORS = 96;
const MOST_CONNECTIONS = 4_096;
const DESCRIPTOR_CHECK_INTERVAL = 5_000;

/** How many connections a broker takes, and what to say about that. */
interface ConnectionLimit {
  readonly max: number;
  readonly warning?: string;
}

/**
 * How many connections are taken: as many as were asked for, or 4,096, and never so many that none is left for the store.
 *
 * @param limit the process's limit of open files; `undefined` when it is not known.
 */
export function decideConnectionLimit(
  asked: number | undefined,
  limit: number | undefined,
): ConnectionLimit {
  const possible = Math.max(1, (limit ?? Number.POSITIVE_INFINITY) - OWN_DESCRIPTORS);
  const max = Math.min(asked ?? MOST_CONNECTIONS, possible);
  if (asked === undefined || asked <= possible) return { max };
  return {
    max,
    warning: `BROKER_MAX_CONNECTIONS is ${asked}, but this process may have ${limit} files open, so that it takes ${max} connections. Raise the limit (ulimit -n, LimitNOFILE) to at least ${asked + OWN_DESCRIPTORS}.`,
  };
}

/** The process's limit of open files (`RLIMIT_NOFILE`); `undefined` on other systems than Linux, or without one. */
export function descriptorLimit(): number | undefined {
  try {
    const limits = readFileSync('/proc/self/limits', 'utf8');
    const found = /^Max open files\s+(\d+)/m.exec(limits)?.[1];
    return found === undefined ? undefined : Number(found);
  } catch {
    // No /proc here. The limit is not known then.
    return undefined;
  }
}

/** Looks every 5 seconds whether a file can be opened, and notifies of changes. @returns ends it. */
export function watchDescriptors(changed: (areExhausted: boolean) => void): () => void {
  let wereExhausted = false;
  const settle = (areExhausted: boolean): void => {
    if (areExhausted === wereExhausted) return;
    wereExhausted = areExhausted;
    changed(areExhausted);
  };
  const timer = setInterval(() => {
    open('/dev/null', 'r', (error, descriptor) => {
      settle(error?.code === 'EMFILE' || error?.code === 'ENFILE');
      if (error === null) close(descriptor);
    });
  }, DESCRIPTOR_CHECK_INTERVAL).unref();
  return () => clearInterval(timer);
}
