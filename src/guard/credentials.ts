import type { ExecutionContext } from '@nestjs/common';
import { authorizationOfRequest, headerValues, onlyAuthorization } from './header-values.js';
import { MALFORMED, NONE, readBearer, unreadBearer, type Credentials } from './bearer.js';
import { authorizationOfHandshake } from './handshakes.js';
import { callMethod, isRecord } from './shapes.js';

/** Where the token of a message is, when it is not where the guard looks. */
export interface CredentialsOptions {
  /**
   * Takes the token of a microservice's message. Default: the one `authorization` (with the scheme `Bearer`) in the
   * message's metadata or headers: `getMetadata()` (TCP, Redis), `getHeaders()` (NATS), the message's headers (Kafka), its
   * properties' headers (RabbitMQ), its packet's user properties (MQTT), the metadata (gRPC). Never the payload.
   *
   * @param data the payload.
   * @param context the transport's context.
   * @returns the token without a scheme; `undefined` when there is none.
   */
  readonly tokenFromRpc?: (data: unknown, context: unknown) => string | undefined;
  /**
   * Takes the token of a WebSocket's message. Default: the `Authorization` header of the handshake.
   *
   * @param client the connection: a `WebSocket` of `ws`, a `Socket` of socket.io.
   * @returns the token without a scheme; `undefined` when there is none.
   */
  readonly tokenFromWs?: (client: unknown, data: unknown) => string | undefined;
}

/** The kinds of context that the guard knows. */
export type Transport = 'http' | 'graphql' | 'ws' | 'rpc';

/** The kind of a context; `undefined` for one that the guard does not know. */
export function transportOf(context: ExecutionContext): Transport | undefined {
  const type = context.getType<string>();
  return type === 'http' || type === 'graphql' || type === 'ws' || type === 'rpc'
    ? type
    : undefined;
}

/** Reads what a call presents, each transport in its own place. */
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

/** See {@link unreadBearer}. */
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

const AUTHORIZATION_OF: Readonly<
  Record<Transport, (args: readonly unknown[]) => readonly unknown[]>
> = {
  http: ([request]) => authorizationOfRequest(request),
  graphql: ([, , context]) => authorizationOfGraphql(context),
  ws: ([client]) => authorizationOfHandshake(client),
  rpc: ([, context]) => messageHeaderValues(context, 'authorization'),
};

/**
 * The request in a GraphQL context: Apollo and Mercurius under Nest, Yoga, Mercurius alone, graphql-ws. For a subscription
 * of Apollo, what Nest calls `req` is the connection of graphql-ws, which holds the request of the handshake.
 */
export function requestOfGraphql(context: unknown): unknown {
  if (!isRecord(context)) return undefined;
  const { req, request, reply } = context;
  const candidates = [
    req,
    request,
    isRecord(reply) ? reply['request'] : undefined,
    ...[context, req].map((connection) => {
      const extra = isRecord(connection) ? connection['extra'] : undefined;
      return isRecord(extra) ? extra['request'] : undefined;
    }),
  ];
  return candidates.find((candidate) => isRecord(candidate) && isRecord(candidate['headers']));
}

/** `Authorization` of the handshake or request, and of the payload of graphql-ws' `connection_init`, which browsers can set. */
function authorizationOfGraphql(context: unknown): readonly unknown[] {
  const values = authorizationOfRequest(requestOfGraphql(context));
  if (!isRecord(context)) return values;
  const parameters = [context, context['req']].flatMap((connection) =>
    isRecord(connection) ? headerValues(connection['connectionParams'], 'authorization') : [],
  );
  return parameters.length === 0 ? values : [...new Set([...values, ...parameters])];
}

/**
 * Every value of a header in a microservice's message, wherever its transport keeps headers.
 *
 * @param name in lower case.
 */
export function messageHeaderValues(context: unknown, name: string): readonly unknown[] {
  const message = callMethod(context, 'getMessage');
  const properties = isRecord(message) ? message['properties'] : undefined;
  const packet = callMethod(context, 'getPacket');
  const packetProperties = isRecord(packet) ? packet['properties'] : undefined;
  const carriers: readonly unknown[] = [
    callMethod(context, 'getMetadata'),
    callMethod(context, 'getHeaders'),
    isRecord(message) ? message['headers'] : undefined,
    isRecord(properties) ? properties['headers'] : undefined,
    isRecord(packetProperties) ? packetProperties['userProperties'] : undefined,
    isGrpcMetadata(context) ? context : undefined,
  ];
  return carriers.flatMap((carrier) => headerValues(carrier, name));
}

function isGrpcMetadata(context: unknown): boolean {
  return isRecord(context) && typeof context['getMap'] === 'function';
}

function taken(token: unknown): Credentials {
  if (token === undefined || token === null || token === '') return NONE;
  return typeof token === 'string' ? { kind: 'token', token } : MALFORMED;
}
