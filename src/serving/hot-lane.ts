import {
  createServer,
  type IncomingMessage,
  type RequestListener,
  type Server,
  type ServerResponse,
} from 'node:http';
import { writeAnswer } from './http.js';
import type { TokenEndpoint } from './token-endpoint.js';

/** Answers a request and returns true, or leaves it untouched and returns false. */
export type HotLane = (request: IncomingMessage, response: ServerResponse) => boolean;

/**
 * The short way for what peers ask nearly always: a plain `GET /v1/token` with the right credentials and a warm cache.
 * It is answered at once from prepared bytes, the same that the framework's way would send. Everything else, failed
 * logins included, takes the framework's way.
 */
export function createHotLane(endpoint: Pick<TokenEndpoint, 'answerNow'>): HotLane {
  return (request, response) => {
    if (request.url !== '/v1/token' || request.method !== 'GET') return false;
    const authorization = plainAuthorization(request.rawHeaders);
    if (authorization === undefined) return false;
    const answer = endpoint.answerNow(authorization, request);
    if (answer === undefined) return false;
    writeAnswer(response, answer);
    return true;
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
): (handler: RequestListener, options: Record<string, unknown>) => Server {
  return (handler, options) => {
    const httpOptions = typeof options['http'] === 'object' ? options['http'] : null;
    const server = createServer(httpOptions ?? {}, (request, response) => {
      if (!server.listening || !lane(request, response)) handler(request, response);
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

function positive(value: unknown): number | undefined {
  return typeof value === 'number' && value > 0 ? value : undefined;
}
