import type { IncomingMessage, ServerResponse } from 'node:http';

/** What an endpoint needs to know about a request, whichever server received it. */
export interface EndpointRequest {
  /** Upper case, as sent. */
  readonly method: string;
  /** Path and query, as sent. */
  readonly url: string;
  /** Every value of every header by lower-case name: `IncomingMessage.headersDistinct`. */
  readonly headers: NodeJS.Dict<string[]>;
  /** The address of the caller, as far as the server trusts what it was told about it. */
  readonly remoteAddress: string;
  /** The server's own request. Endpoints only hand it to their observer, so that a log line finds its peer. */
  readonly source?: object;
  /** True when the connection that reached this process is encrypted. */
  readonly encrypted: boolean;
  /** The body as the framework's parser left it; `undefined` when there was none that it parses. */
  readonly body?: unknown;
}

/** A complete answer. */
export interface EndpointAnswer {
  readonly status: number;
  /** Names and values in turn, as `ServerResponse.writeHead` takes them. */
  readonly headers: readonly string[];
  readonly body: Buffer;
}

/** What every endpoint is. */
export interface Endpoint {
  answer(request: EndpointRequest): Promise<EndpointAnswer>;
}

/** The error codes of the HTTP surface: RFC 6749 §5.2 and RFC 8707 §2, and what they do not name. */
export type HttpErrorCode =
  | 'invalid_request'
  | 'invalid_client'
  | 'unauthorized_client'
  | 'unsupported_grant_type'
  | 'invalid_scope'
  | 'invalid_target'
  | 'not_found'
  | 'method_not_allowed'
  | 'too_many_requests'
  | 'rotation_refused'
  | 'temporarily_unavailable'
  | 'server_error';

/**
 * Headers of everything the broker says. Tokens must not be kept by caches (RFC 6749 §5.1, which also asks for
 * `Pragma`), and nothing here is meant to be guessed into another content type.
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

/** An answer with a JSON body. */
export function jsonAnswer(
  status: number,
  body: Readonly<Record<string, unknown>>,
  headers: readonly string[] = [],
): EndpointAnswer {
  return jsonBytesAnswer(status, Buffer.from(JSON.stringify(body)), headers);
}

/** An answer whose JSON is made already. */
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

/** An error as RFC 6749 §5.2 writes it. The description goes to the caller: it never repeats what was sent. */
export function errorAnswer(
  status: number,
  error: HttpErrorCode,
  description: string,
  headers: readonly string[] = [],
): EndpointAnswer {
  return jsonAnswer(status, { error, error_description: description }, headers);
}

/** 405 with the methods that the route has. */
export function methodNotAllowed(allowed: readonly string[]): EndpointAnswer {
  const methods = allowed.join(', ');
  return errorAnswer(405, 'method_not_allowed', `This path takes ${methods}.`, ['Allow', methods]);
}

/** 404 for a path that is none of the broker's. */
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

/** Sends an answer. A HEAD request gets the headers alone, and Node leaves the body out by itself. */
export function writeAnswer(response: ServerResponse, answer: EndpointAnswer): void {
  // The types ask for a mutable array; Node only reads it.
  response.writeHead(answer.status, answer.headers as string[]);
  // The same bytes, as text: Node sends text in one piece with the head, and a buffer as a second one.
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
    encrypted: 'encrypted' in message.socket && message.socket.encrypted === true,
    body: extras.body,
    source: message,
  };
}

/** The path of a request target, without the query and without a slash at the end: with one it means the same. */
export function plainPath(url: string): string {
  const path = url.split('?', 1)[0] ?? '';
  return path.length > 1 && path.endsWith('/') ? path.slice(0, -1) : path;
}

/** The query of a request target, without the path. */
export function queryOf(url: string): URLSearchParams {
  const start = url.indexOf('?');
  return new URLSearchParams(start < 0 ? '' : url.slice(start + 1));
}

/** True when the caller wants an answer past every cache: `Cache-Control: no-cache` (RFC 9111 §5.2.1.4). */
export function asksForRead(request: Pick<EndpointRequest, 'headers'>): boolean {
  const directives = request.headers['cache-control']?.join(',').toLowerCase().split(',') ?? [];
  return directives.some((directive) => directive.trim() === 'no-cache');
}
