import { constants } from 'node:crypto';
import { close, open, readFileSync } from 'node:fs';
import {
  createServer,
  type IncomingMessage,
  type RequestListener,
  type Server,
  type ServerOptions,
  type ServerResponse,
} from 'node:http';
import { createServer as createTlsServer, type Server as HttpsServer } from 'node:https';
import { createServer as createTcpServer, type AddressInfo, type Socket } from 'node:net';
import type { SecureContextOptions } from 'node:tls';
import type { OnApplicationBootstrap, OnApplicationShutdown } from '@nestjs/common';
import type { HttpConfig } from '../config/broker-config.js';
import type { OpenOperationsEndpoints } from '../operations/operations.module.js';
import { PAGE_PATHS } from '../operations/status-page/page-facts.js';
import {
  errorAnswer,
  notFound,
  plainPath,
  toEndpointRequest,
  writeAnswer,
  type Endpoint,
  type EndpointAnswer,
} from '../serving/endpoint.js';
import { BrokerError } from '../tokens/errors.js';
import { isObject } from '../tokens/json.js';
import { PEM_CERTIFICATE, type ServerCertificate } from './server-certificate.js';

/** Options of {@link createListener}. Spans in milliseconds. */
export interface ListenerOptions {
  /**
   * Connections that are served at the same time. For further ones an idle connection is closed, the oldest first; when
   * none is idle they get 503, except for health and metrics. Default: no limit.
   */
  readonly maxConnections?: number;
  /** How long a request may take to arrive, and how long a caller may stop reading its answer. Default: 10,000. */
  readonly requestTimeoutMs?: number;
  /** How long a connection stays open between two requests. Default: 72,000, as Fastify has it. */
  readonly keepAliveTimeoutMs?: number;
  /** How often slow connections are checked. Default: 1,000. */
  readonly checkIntervalMs?: number;
  /** A connection idle for less may be about to send a request, and is not closed for another one. Default: 1,000. */
  readonly graceMs?: number;
  readonly observer?: ListenerObserver;
  /** Speaks TLS 1.2 and later with this certificate. Default: clear text. */
  readonly tls?: ServerCertificate;
}

/** Notified of connections. */
export interface ListenerObserver {
  opened?(): void;
  closed?(): void;
  /** A connection was beyond the limit: `answered` with 503, or `reset` when even that is not possible. */
  refused?(how: 'answered' | 'reset'): void;
}

/** An HTTP server with the broker's limits and its drain. */
export interface Listener {
  readonly server: Server;
  /** From now on every answer ends its connection (`Connection: close`). Connections are still accepted. */
  readonly endConnections: () => void;
  /**
   * Closes connections as soon as they are idle, and those in use after `patienceMs` milliseconds. The caller closes the
   * server itself, before or after.
   */
  readonly drain: (patienceMs: number) => void;
  /**
   * New connections get this certificate; those that are open stay as they are, and with other authorities end with their
   * next answer. If one of their authorities was removed, their client certificates prove nothing from now on. Without TLS
   * it does nothing.
   */
  readonly useCertificate: (certificate: ServerCertificate) => void;
}

/** Longer than the 60 seconds that load balancers keep an idle connection, so that they close it first. */
const KEEP_ALIVE = 72_000;
const REQUEST_TIMEOUT = 10_000;
const CHECK_INTERVAL = 1_000;
/** Connections beyond the limit, for health and metrics, and for answers of 503. */
const RESERVE = 16;
const GRACE = 1_000;
const DRAIN_INTERVAL = 50;

/** Paths that are answered when everything else is refused. */
const ALWAYS = /^\/(?:health\/|metrics(?:$|\?))/;

interface Connection {
  /** Requests that are not answered yet. */
  requests: number;
  /** Since when there is none, by `performance.now`. */
  idleSince: number;
  /** Beyond the limit. */
  readonly isExtra: boolean;
  /** The authorities of client certificates when it was opened. */
  readonly clientCa: string | undefined;
  /** Whether each of those still is an authority. */
  trustsClientCa: boolean;
}

const CONNECTION = Symbol('connection');

type TrackedSocket = Socket & { [CONNECTION]?: Connection };

/**
 * Makes an HTTP server that closes slow connections, refuses more than it can serve, and can be drained.
 *
 * - A request whose head or body has not arrived after `requestTimeoutMs` gets 408, and its connection is closed.
 * - A caller that reads nothing of its answer for that long is disconnected.
 * - With TLS, a handshake may take as long as a request, and is not repeated (no renegotiation). Client certificates are asked for where there are authorities
 *   for them, and never demanded: the endpoints decide what they prove.
 * - More than one `Host`, or an invalid one, is refused with 400 (RFC 9112 §3.2), and so is more than one
 *   `Content-Type` (RFC 9110 §5.3): a proxy in front of the broker may have read the other one.
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
  /** Connections of which the handshake is not done yet, by {@link endsOf}. */
  const handshakes = new Map<string, TrackedSocket>();
  let isEnding = false;

  const { tls } = options;
  let clientCa = tls?.clientCa;
  const limits = {
    ...serverOptions,
    requestTimeout,
    headersTimeout: requestTimeout,
    connectionsCheckingInterval: checkInterval,
    keepAliveTimeout: options.keepAliveTimeoutMs ?? KEEP_ALIVE,
  };
  const limited: RequestListener = (request, response) => {
    const connection = begin(request.socket, response);
    const isOver = connection?.isExtra === true || connection?.clientCa !== clientCa;
    if (isEnding || isOver) response.shouldKeepAlive = false;
    const refusal =
      refuseHeaders(request.rawHeaders) ??
      (connection?.isExtra === true ? refuseExtra(request) : undefined);
    if (refusal === undefined) return handler(request, response);
    writeAnswer(response, refusal);
  };
  const secure =
    tls && createSecureServer(tls, { ...limits, handshakeTimeout: requestTimeout }, limited);
  const server = secure ?? createServer(limits, limited);
  if (Number.isFinite(maxConnections)) server.maxConnections = maxConnections + RESERVE;

  server.on('connection', (socket: TrackedSocket) => {
    const now = performance.now();
    if (sockets.size >= maxConnections) closeOneIdle(sockets, now - grace);
    const isExtra = sockets.size >= maxConnections;
    socket[CONNECTION] = { requests: 0, idleSince: now, isExtra, clientCa, trustsClientCa: true };
    sockets.add(socket);
    observer.opened?.();
    const ends = endsOf(socket);
    if (secure !== undefined) handshakes.set(ends, socket);
    socket.on('close', () => {
      sockets.delete(socket);
      if (handshakes.get(ends) === socket) handshakes.delete(ends);
      observer.closed?.();
    });
  });
  // From the handshake on, requests and answers are those of another socket, in front of the first one.
  secure?.on('secureConnection', (socket: TrackedSocket) => {
    const ends = endsOf(socket);
    const first = handshakes.get(ends);
    handshakes.delete(ends);
    if (first === undefined || !sockets.delete(first)) return;
    socket[CONNECTION] = first[CONNECTION];
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
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
      // An answer that its caller does not read: Node closes the socket when nothing moves for this long.
      else if (socket.writableLength > 0 && socket.timeout !== requestTimeout) {
        socket.setTimeout(requestTimeout);
      }
    }
  }, checkInterval).unref();
  server.on('close', () => clearInterval(check));

  return {
    server,
    useCertificate: (certificate) => {
      secure?.setSecureContext(secureContextOf(certificate));
      clientCa = certificate.clientCa;
      for (const { [CONNECTION]: connection } of sockets) {
        if (connection !== undefined && !includesPem(clientCa, connection.clientCa)) {
          connection.trustsClientCa = false;
        }
      }
    },
    endConnections: () => {
      isEnding = true;
    },
    drain: (patienceMs) => {
      isEnding = true;
      const start = performance.now();
      const sweep = setInterval(() => {
        const now = performance.now();
        // Requests that were just sent are answered, and their answers end the connection.
        server.closeIdleConnections();
        for (const socket of sockets) {
          if (now - start >= patienceMs || isIdle(socket, now - grace)) socket.destroy();
        }
        if (sockets.size === 0 && !server.listening) clearInterval(sweep);
      }, DRAIN_INTERVAL);
    },
  };
}

/** Whether a connection is one of a {@link createListener} server, and was opened under authorities that still count. */
export function trustsClientsOf(connection: TrackedSocket): boolean {
  return connection[CONNECTION]?.trustsClientCa === true;
}

/** Whether every certificate of one PEM text is in another. */
function includesPem(all = '', some = ''): boolean {
  const known = new Set(all.match(PEM_CERTIFICATE)?.map(plainPem));
  return (some.match(PEM_CERTIFICATE) ?? []).every((one) => known.has(plainPem(one)));
}

const plainPem = (block: string): string => block.replaceAll(/\s/g, '');

function createSecureServer(
  certificate: ServerCertificate,
  limits: ServerOptions & { readonly handshakeTimeout: number },
  handler: RequestListener,
): HttpsServer {
  const requestCert = certificate.clientCa !== undefined;
  const asks = { requestCert, rejectUnauthorized: false };
  return createTlsServer({ ...limits, ...secureContextOf(certificate), ...asks }, handler);
}

function secureContextOf({ certificate, key, clientCa }: ServerCertificate): SecureContextOptions {
  // A second handshake may bring another client certificate, and Node keeps the judgement of the first one.
  const secureOptions = constants.SSL_OP_NO_RENEGOTIATION;
  const context = { cert: certificate, key, minVersion: 'TLSv1.2', secureOptions } as const;
  return clientCa === undefined ? context : { ...context, ca: clientCa };
}

/** What tells an open connection from all others. */
function endsOf({ remoteAddress, remotePort, localAddress, localPort }: Socket): string {
  return `${remoteAddress} ${remotePort} ${localAddress} ${localPort}`;
}

/** Counts a request to its connection until it is answered, or its caller has disconnected. */
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

/** The characters of `uri-host [ ":" port ]` (RFC 3986 §3.2.2); it may be empty. */
const HOST = /^(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9\-._~%!$&'()*+,;=]*)(?::[0-9]*)?$/;

/** Refuses headers that two readers may read differently. Reads the raw ones: Node's parsed headers keep the first. */
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

/** The settings of the broker's port. */
const MAIN_PORT = { port: 'PORT', host: 'HOST' };

/**
 * The error of a process that cannot listen, with what to do. Errors that are not about the address are returned as they
 * are.
 *
 * @param names the settings of the address.
 */
export function listenError(
  error: unknown,
  host: string,
  port: number,
  advice = '',
  names: { readonly port: string; readonly host: string } = MAIN_PORT,
): unknown {
  const code = isObject(error) ? error['code'] : undefined;
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
 * Checks that a port is free, before work that is only useful if it is.
 *
 * @param advice what to add when the port is in use.
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
 * Health, metrics, the OpenAPI document and the status page on a listener of their own, `BROKER_MANAGEMENT_PORT`, open to everybody who reaches it. It listens
 * from before the broker serves until after its last request.
 */
export class ManagementServer implements OnApplicationBootstrap, OnApplicationShutdown {
  readonly #address: HttpConfig['management'];
  readonly #endpoints: ReadonlyMap<string, Endpoint>;
  #server: Server | undefined;

  constructor(address: HttpConfig['management'], endpoints: OpenOperationsEndpoints) {
    this.#address = address;
    this.#endpoints = new Map([
      ['/health/live', endpoints.live],
      ['/health/ready', endpoints.ready],
      ['/metrics', endpoints.metrics],
      ['/openapi.json', endpoints.openapi],
      ...PAGE_PATHS.map((path) => [path, endpoints.page] as const),
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
      // The endpoints do not reject: they answer 500.
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
      // Scrapers keep their connections open, which would keep the process alive.
      server.closeAllConnections();
    });
  }
}

/** The URL of an address that a server listens on. */
export function urlOf({ address, family, port }: AddressInfo, scheme = 'http'): string {
  return `${scheme}://${family === 'IPv6' ? `[${address}]` : address}:${port}`;
}

function managementError(error: Error, host: string, port: number): unknown {
  return listenError(error, host, port, '', {
    port: 'BROKER_MANAGEMENT_PORT',
    host: 'BROKER_MANAGEMENT_HOST',
  });
}

/** Descriptors for the broker itself: its files, its connections to store and provider, and those for health. */
const OWN_DESCRIPTORS = 96;
const MOST_CONNECTIONS = 4_096;
const DESCRIPTOR_CHECK_INTERVAL = 5_000;

/** How many connections a broker accepts, and a warning when they are fewer than configured. */
interface ConnectionLimit {
  readonly max: number;
  readonly warning?: string;
}

/**
 * How many connections are accepted: as many as configured, or 4,096, and never so many that none is left for the store.
 *
 * @param asked `BROKER_MAX_CONNECTIONS`.
 * @param limit the process's limit of open files; `undefined` when it is unknown.
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
    warning: `BROKER_MAX_CONNECTIONS is ${asked}, but this process may have ${limit} files open, so that it accepts ${max} connections. Raise the limit (ulimit -n, LimitNOFILE) to at least ${asked + OWN_DESCRIPTORS}.`,
  };
}

/** The process's limit of open files (`RLIMIT_NOFILE`); `undefined` without one, or on other systems than Linux. */
export function descriptorLimit(): number | undefined {
  try {
    const limits = readFileSync('/proc/self/limits', 'utf8');
    const found = /^Max open files\s+(\d+)/m.exec(limits)?.[1];
    return found === undefined ? undefined : Number(found);
  } catch {
    // No /proc: the limit is unknown.
    return undefined;
  }
}

/** Checks every 5 seconds whether a file can be opened, and reports changes. @returns a function that ends it. */
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
