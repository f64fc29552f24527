import { isObject } from '../tokens/json.js';
import {
  MALFORMED,
  NONE,
  readBearer,
  unreadBearer,
  type Credentials,
} from '../verification/bearer-access.js';

/** Where the token of a message is, when it is not where the guard looks. */
export interface CredentialsOptions {
  /**
   * Returns the token of a microservice's message. Default: the one `authorization` (with the scheme `Bearer`) in the
   * message's metadata or headers: `getMetadata()` (TCP, Redis), `getHeaders()` (NATS), the message's headers (Kafka), its
   * properties' headers (RabbitMQ), its packet's user properties (MQTT), the metadata (gRPC). Never the payload.
   *
   * @param data the payload.
   * @param context the transport's context.
   * @returns the token without a scheme; `undefined` when there is none.
   */
  readonly tokenFromRpc?: (data: unknown, context: unknown) => string | undefined;
  /**
   * Returns the token of a WebSocket's message. Default: the `Authorization` header of the handshake.
   *
   * @param client the connection: a `WebSocket` of `ws`, a `Socket` of socket.io.
   * @returns the token without a scheme; `undefined` when there is none.
   */
  readonly tokenFromWs?: (client: unknown, data: unknown) => string | undefined;
}

/** The kinds of context that the guard knows. */
export type Transport = 'http' | 'graphql' | 'ws' | 'rpc';

/** The part of Nest's execution context that says what kind it is. */
interface KindOfContext {
  getType(): string;
}

/** The kind of a context; `undefined` for one that the guard does not know. */
export function transportOf(context: KindOfContext): Transport | undefined {
  const type = context.getType();
  return type === 'http' || type === 'graphql' || type === 'ws' || type === 'rpc'
    ? type
    : undefined;
}

/** Reads the credentials of a call, each transport's in its own place. @param args of Nest's execution context. */
export function readCredentials(
  transport: Transport,
  args: readonly unknown[],
  { tokenFromRpc, tokenFromWs }: CredentialsOptions,
): Credentials {
  if (transport === 'ws' && tokenFromWs !== undefined) return taken(tokenFromWs(args[0], args[1]));
  if (transport === 'rpc' && tokenFromRpc !== undefined) {
    return taken(tokenFromRpc(args[0], args[1]));
  }
  return readBearer(AUTHORIZATION_OF[transport](args));
}

function taken(token: unknown): Credentials {
  if (token === undefined || token === null || token === '') return NONE;
  return typeof token === 'string' ? { kind: 'token', token } : MALFORMED;
}

/**
 * What stands behind the scheme of the only `Authorization`, unread: good only to look it up among the tokens that were
 * accepted before. What is not found there has to be read by {@link readCredentials}.
 */
export function unreadToken(
  transport: Transport,
  args: readonly unknown[],
  { tokenFromRpc, tokenFromWs }: CredentialsOptions,
): string | undefined {
  if (transport === 'http') return unreadBearer(onlyAuthorization(args[0]));
  const isTaken =
    (transport === 'ws' && tokenFromWs !== undefined) ||
    (transport === 'rpc' && tokenFromRpc !== undefined);
  const values = isTaken ? [] : AUTHORIZATION_OF[transport](args);
  return values.length === 1 ? unreadBearer(values[0]) : undefined;
}

const NAME = 'authorization';

/** Every value of a call's `Authorization`, by its transport. */
const AUTHORIZATION_OF: Readonly<
  Record<Transport, (args: readonly unknown[]) => readonly unknown[]>
> = {
  http: ([request]) => authorizationOfRequest(request),
  graphql: ([, , context]) => authorizationOfGraphql(context),
  ws: ([client]) => authorizationOfHandshake(client),
  rpc: ([, context]) => messageHeaderValues(context, NAME),
};

/**
 * Every value of a request's `Authorization` header: a request of Node, Express, Fastify (over HTTP/1.1 and 2), or
 * of the Fetch API. Only the header is read, never the query or the body (RFC 6750 §2.2 and §2.3 are not supported).
 */
export function authorizationOfRequest(request: unknown): readonly unknown[] {
  if (!isObject(request)) return [];
  const source = isObject(request['raw']) ? request['raw'] : request;
  // Node's `headers` keeps the first of two Authorization headers, silently; `rawHeaders` has both.
  const raw = rawValues(source['rawHeaders']);
  if (raw.length > 1) return raw;
  const { headers } = request;
  // With one raw header there is no second spelling to look for; an application may have replaced its value.
  const isPlain = raw.length === 1 && isObject(headers) && typeof headers[NAME] === 'string';
  return isPlain ? [headers[NAME]] : headerValues(headers, NAME);
}

function rawValues(rawHeaders: unknown): readonly unknown[] {
  if (!Array.isArray(rawHeaders)) return [];
  const found: unknown[] = [];
  for (let index = 0; index < rawHeaders.length; index += 2) {
    if (isAuthorization(rawHeaders[index])) found.push(rawHeaders[index + 1]);
  }
  return found;
}

/**
 * The `Authorization` of a request of Node, Express or Fastify that certainly has just one, at the least cost. `undefined`
 * for every other request: see {@link authorizationOfRequest}.
 */
function onlyAuthorization(request: unknown): unknown {
  if (!isObject(request)) return undefined;
  const { raw, headers } = request;
  const { rawHeaders } = isObject(raw) ? raw : request;
  if (!Array.isArray(rawHeaders) || !isObject(headers)) return undefined;
  let count = 0;
  for (let index = 0; index < rawHeaders.length; index += 2) {
    if (isAuthorization(rawHeaders[index])) count += 1;
  }
  return count === 1 ? headers[NAME] : undefined;
}

function isAuthorization(name: unknown): boolean {
  return typeof name === 'string' && name.length === NAME.length && name.toLowerCase() === NAME;
}

/** `Authorization` of the handshake or request, and of the payload of graphql-ws' `connection_init`, which browsers can set. */
function authorizationOfGraphql(context: unknown): readonly unknown[] {
  const values = authorizationOfRequest(requestOfGraphql(context));
  if (!isObject(context)) return values;
  const parameters = [context, context['req']].flatMap((connection) =>
    isObject(connection) ? headerValues(connection['connectionParams'], NAME) : [],
  );
  return parameters.length === 0 ? values : [...new Set([...values, ...parameters])];
}

/**
 * The request in a GraphQL context: Apollo and Mercurius under Nest, Yoga, Mercurius alone, graphql-ws. For a subscription
 * of Apollo, Nest's `req` is the connection of graphql-ws, which holds the request of the handshake.
 */
export function requestOfGraphql(context: unknown): unknown {
  if (!isObject(context)) return undefined;
  const { req, request, reply } = context;
  const candidates = [
    req,
    request,
    isObject(reply) ? reply['request'] : undefined,
    ...[context, req].map((connection) => {
      const extra = isObject(connection) ? connection['extra'] : undefined;
      return isObject(extra) ? extra['request'] : undefined;
    }),
  ];
  return candidates.find((candidate) => isObject(candidate) && isObject(candidate['headers']));
}

/** Every value of the handshake's `Authorization` header: kept, or on the client itself (socket.io). */
export function authorizationOfHandshake(client: unknown): readonly unknown[] {
  if (!isObject(client)) return [];
  const own = handshakes.get(client);
  if (own !== undefined) return own;
  return authorizationOfRequest(client['request'] ?? client['handshake']);
}

/** By the connection: the values of `Authorization`. The request would keep its socket's whole history alive. */
const handshakes = new WeakMap<object, readonly unknown[]>();

/** The part of Nest's WebSocket adapters that hands out connections. */
interface HandshakeAdapter {
  // oxlint-disable-next-line typescript/no-unsafe-function-type -- it is what Nest's WebSocketAdapter takes.
  bindClientConnect(server: unknown, callback: Function): unknown;
}

/**
 * Keeps the `Authorization` header of a WebSocket's handshake for the guard. The `ws` package gives the handshake's
 * request to whoever handles the connection, and forgets it; without this, each message of such a connection is refused.
 * An adapter for socket.io does not need it, since its clients keep their handshake.
 *
 * @returns the same adapter.
 *
 * @example
 * ```ts
 * import { WsAdapter } from '@nestjs/platform-ws';
 * import { keepHandshakes } from 'service-token-kit/guard';
 *
 * app.useWebSocketAdapter(keepHandshakes(new WsAdapter(app)));
 * ```
 */
export function keepHandshakes<Adapter extends HandshakeAdapter>(adapter: Adapter): Adapter {
  const bindClientConnect = adapter.bindClientConnect.bind(adapter);
  adapter.bindClientConnect = (server: unknown, callback: (...args: unknown[]) => unknown) =>
    bindClientConnect(server, (...args: unknown[]) => {
      const [client, request] = args;
      if (isObject(client)) handshakes.set(client, authorizationOfRequest(request));
      return callback(...args);
    });
  return adapter;
}

/**
 * Every value of a header in a microservice's message, wherever its transport keeps headers.
 *
 * @param name in lower case.
 */
export function messageHeaderValues(context: unknown, name: string): readonly unknown[] {
  const message = callMethod(context, 'getMessage');
  const properties = isObject(message) ? message['properties'] : undefined;
  const packet = callMethod(context, 'getPacket');
  const packetProperties = isObject(packet) ? packet['properties'] : undefined;
  const isGrpcMetadata = isObject(context) && typeof context['getMap'] === 'function';
  const carriers: readonly unknown[] = [
    callMethod(context, 'getMetadata'),
    callMethod(context, 'getHeaders'),
    isObject(message) ? message['headers'] : undefined,
    isObject(properties) ? properties['headers'] : undefined,
    isObject(packetProperties) ? packetProperties['userProperties'] : undefined,
    isGrpcMetadata ? context : undefined,
  ];
  return carriers.flatMap((carrier) => headerValues(carrier, name));
}

/**
 * Every value of a header in a set of headers or metadata: a plain object with names in any case, the Fetch API's
 * `Headers`, gRPC's `Metadata`, NATS's `MsgHdrs`.
 *
 * @param name in lower case.
 */
export function headerValues(headers: unknown, name: string): readonly unknown[] {
  if (!isObject(headers)) return [];
  const { get, values } = headers;
  if (typeof get === 'function') {
    for (const spelling of [name, name.replaceAll(/\b[a-z]/g, (letter) => letter.toUpperCase())]) {
      // NATS's `get` gives the first of several; its `values` gives all.
      const all = typeof values === 'function' ? listOf(values.call(headers, spelling)) : [];
      const found = all.length > 0 ? all : listOf(get.call(headers, spelling));
      if (found.length > 0) return found;
    }
    return [];
  }
  return Object.entries(headers)
    .filter(([key]) => key.length === name.length && key.toLowerCase() === name)
    .flatMap(([, value]) => listOf(value));
}

/** Kafka and gRPC may give bytes; a header that is not there may be empty text (NATS), null or undefined. */
function listOf(value: unknown): readonly unknown[] {
  if (Array.isArray(value)) return value.flatMap(listOf);
  if (value === undefined || value === null || value === '') return [];
  if (value instanceof Uint8Array) return [Buffer.from(value).toString('latin1')];
  // An iterator of all values (the Fetch API, a Map) does not show which of them are ours.
  return typeof value === 'string' ? [value] : isObject(value) && 'next' in value ? [] : [value];
}

/** What a method of an object returns; `undefined` when it has no such method. */
export function callMethod(value: unknown, name: string, ...args: readonly unknown[]): unknown {
  const method = isObject(value) ? value[name] : undefined;
  return typeof method === 'function' ? method.apply(value, args) : undefined;
}
