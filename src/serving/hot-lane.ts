import {
  createServer,
  type IncomingMessage,
  type RequestListener,
  type Server,
  type ServerOptions,
} from 'node:http';
import { AUTHORIZE_PATH, type AuthorizeEndpoint } from './authorize-endpoint.js';
import { writeAnswer, type EndpointAnswer } from './endpoint.js';
import { TOKENS_PATH, type TokenEndpoint } from './token-endpoint.js';

/** The answer to a request, if it is ready. The request is left untouched. */
type HotLane = (request: IncomingMessage) => EndpointAnswer | undefined;

/** Options of {@link createHotLane}. */
interface HotLaneOptions {
  /** Answers gateways, too. Default: only peers. */
  readonly authorize?: Pick<AuthorizeEndpoint, 'answerNow'>;
  /** Called with every answer. Returns headers to send before the answer's own, names and values alternating. */
  readonly onAnswer?: (request: IncomingMessage, answer: EndpointAnswer) => readonly string[];
}

/**
 * Answers what peers nearly always ask: a plain `GET /v1/token` or `GET /v1/tokens/{name}` with the right credentials and a warm cache. The
 * bytes are prepared, and the same as through the framework. Everything else, failed logins included, is left to the framework.
 */
export function createHotLane(
  endpoint: Pick<TokenEndpoint, 'answerNow'>,
  { onAnswer, authorize }: HotLaneOptions = {},
): HotLane {
  return (request) => {
    const { url = '' } = request;
    if (url.startsWith(AUTHORIZE_PATH)) return answerGateway(url, request);
    const isNamed = url.startsWith(TOKENS_PATH);
    if ((url !== '/v1/token' && !isNamed) || request.method !== 'GET') return undefined;
    const authorization = plainAuthorization(request.rawHeaders);
    if (authorization === undefined) return undefined;
    // A name with a query is no name: the framework answers it.
    const name = isNamed ? url.slice(TOKENS_PATH.length) : undefined;
    const answer = endpoint.answerNow(authorization, request, name);
    if (answer === undefined || onAnswer === undefined) return answer;
    return { ...answer, headers: [...onAnswer(request, answer), ...answer.headers] };
  };

  function answerGateway(url: string, request: IncomingMessage): EndpointAnswer | undefined {
    if (authorize === undefined || request.method !== 'GET') return undefined;
    // What the request in front asks of caches is not for this answer.
    const authorization = plainAuthorization(request.rawHeaders, false);
    if (authorization === undefined) return undefined;
    const source = { remoteAddress: request.socket.remoteAddress ?? '', source: request };
    const answer = authorize.answerNow(url, authorization, source);
    if (answer === undefined || onAnswer === undefined) return answer;
    return { ...answer, headers: [...onAnswer(request, answer), ...answer.headers] };
  }
}

/**
 * The one `Authorization` header of a request that has no header that could change the answer. Read from the raw
 * headers, because Node's parsed ones hide a second `Authorization`, and cost more to make than the answer.
 */
function plainAuthorization(rawHeaders: readonly string[], mindsCaches = true): string | undefined {
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
        if (mindsCaches) return undefined;
        break;
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
 * A server factory for Fastify with the hot lane in front. While the server closes, Fastify answers every request and
 * ends the connection.
 *
 * @param makeServer makes the server itself. Default: `createServer` of `node:http`.
 *
 * @example
 * ```ts
 * new FastifyAdapter({
 *   serverFactory: hotLaneServerFactory(createHotLane(serving.token)),
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
    const server = makeServer(httpOptions ?? {}, (request, response) => {
      const answer = server.listening ? lane(request) : undefined;
      if (answer === undefined) return handler(request, response);
      // A connection that is in use when the server closes would hold it open until it times out.
      if (!server.listening) response.shouldKeepAlive = false;
      writeAnswer(response, answer);
    });
    // With a factory Fastify sets none of these itself. Its zero means "not configured", and would switch off Node's own
    // protection against slow requests.
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
