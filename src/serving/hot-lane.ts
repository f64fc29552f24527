import {
  createServer,
  type IncomingMessage,
  type RequestListener,
  type Server,
  type ServerOptions,
  type ServerResponse,
} from 'node:http';
import { writeAnswer, type EndpointAnswer } from './endpoint.js';
import type { TokenEndpoint } from './token-endpoint.js';

/** The answer to a request, if it is at hand. The request is left untouched. */
type HotLane = (request: IncomingMessage) => EndpointAnswer | undefined;

/** Options of {@link createHotLane}. */
interface HotLaneOptions {
  /** Is told of every answer. Returns headers to send in front of its own, names and values in turn. */
  readonly onAnswer?: (request: IncomingMessage, answer: EndpointAnswer) => readonly string[];
}

/**
 * The short way for what peers ask nearly always: a plain `GET /v1/token` with the right credentials and a warm cache.
 * It is answered from prepared bytes, the same that the framework's way would send. Everything else, failed logins
 * included, takes the framework's way.
 */
export function createHotLane(
  endpoint: Pick<TokenEndpoint, 'answerNow'>,
  { onAnswer }: HotLaneOptions = {},
): HotLane {
  return (request) => {
    if (request.url !== '/v1/token' || request.method !== 'GET') return undefined;
    const authorization = plainAuthorization(request.rawHeaders);
    if (authorization === undefined) return undefined;
    const answer = endpoint.answerNow(authorization, request);
    if (answer === undefined || onAnswer === undefined) return answer;
    return { ...answer, headers: [...onAnswer(request, answer), ...answer.headers] };
  };
}

/**
 * The one `Authorization` header of a request that has no header that could change the answer. Read from the raw
 * headers, because Node's parsed ones hide a second `Authorization`, and cost more to make than the answer.
 */
function plainAuthorization(rawHeaders: readonly string[]): string | undefined {
  let authorization: string | undefined;
  for (let index = 0; index < rawHeaders.length; index += 2) {
    const name = rawHeaders[index] ?? '';
    switch (name.toLowerCase()) {
      case 'authorization':
        if (authorization !== undefined) return undefined;
        authorization = rawHeaders[index + 1];
        break;
      case 'if-none-match':
      case 'cache-control':
      case 'content-length':
      case 'transfer-encoding':
      case 'expect':
      case 'upgrade':
        return undefined;
      default:
    }
  }
  return authorization;
}

/**
 * A server factory for Fastify with the hot lane in front. While the server closes, every request goes to Fastify,
 * which answers it and ends the connection.
 *
 * @param makeServer makes the server itself. Default: `createServer` of `node:http`.
 *
 * @example
 * ```ts
 * new FastifyAdapter({
 *   serverFactory: hotLaneServerFactory(createHotLane(serving.tokenEndpoint)),
 *   return503OnClosing: false, // requests that are on their way at shutdown are answered
 * });
 * ```
 */
export function hotLaneServerFactory(
  lane: HotLane,
  makeServer: (options: ServerOptions, listener: RequestListener) => Server = createServer,
): (handler: RequestListener, options: Record<string, unknown>) => Server {
  return (handler, options) => {
    const httpOptions = typeof options['http'] === 'object' ? options['http'] : null;
    const send = createSender(() => !server.listening);
    const server = makeServer(httpOptions ?? {}, (request, response) => {
      const answer = server.listening ? lane(request) : undefined;
      if (answer === undefined) handler(request, response);
      else send(response, answer);
    });
    // With a factory Fastify sets none of these itself. Its zero for "not configured" would switch Node's own
    // protection against slow requests off, so that stays as Node has it.
    server.keepAliveTimeout = positive(options['keepAliveTimeout']) ?? server.keepAliveTimeout;
    server.requestTimeout = positive(options['requestTimeout']) ?? server.requestTimeout;
    server.timeout = positive(options['connectionTimeout']) ?? server.timeout;
    server.maxRequestsPerSocket = positive(options['maxRequestsPerSocket']) ?? null;
    return server;
  };
}

type Send = (response: ServerResponse, answer: EndpointAnswer) => void;

/**
 * Sends the answers of one turn of the event loop together, at its end. A peer that waits is woken by the first byte,
 * which costs the sender more than all else; answers that follow at once find it awake.
 */
function createSender(closing: () => boolean): Send {
  let waiting: [ServerResponse, EndpointAnswer][] = [];
  const sendAll = (): void => {
    const turn = waiting;
    waiting = [];
    for (const [response, answer] of turn) {
      // The peer may have gone in the meantime.
      if (response.headersSent || response.destroyed) continue;
      writeAnswer(response, closing() ? lastAnswer(answer) : answer);
    }
  };
  return (response, answer) => {
    if (waiting.length === 0) setImmediate(sendAll);
    waiting.push([response, answer]);
  };
}

/** Without this a connection that was in use when the server closed would hold it open until it times out. */
function lastAnswer(answer: EndpointAnswer): EndpointAnswer {
  return { ...answer, headers: [...answer.headers, 'Connection', 'close'] };
}

function positive(value: unknown): number | undefined {
  return typeof value === 'number' && value > 0 ? value : undefined;
}
