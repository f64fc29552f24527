import type { IncomingMessage, ServerResponse } from 'node:http';
import type { ProviderServer } from './provider-server.js';

/** One request as it arrived. */
export interface ReceivedRequest {
  readonly method: string;
  readonly path: string;
  readonly headers: IncomingMessage['headers'];
  readonly body: string;
  readonly form: URLSearchParams;
}

/** How to answer one request. */
export type Answer = (
  response: ServerResponse,
  request: ReceivedRequest,
  server: ProviderServer,
) => void | Promise<void>;

type Headers = Readonly<Record<string, string>>;

/** Good and bad answers to script a {@link ProviderServer} with. */
export const answers = {
  json:
    (status: number, body: unknown, headers: Headers = {}): Answer =>
    (response) => {
      response.writeHead(status, { 'content-type': 'application/json', ...headers });
      response.end(JSON.stringify(body));
    },
  text:
    (status: number, body: string, headers: Headers = {}): Answer =>
    (response) => {
      response.writeHead(status, { 'content-type': 'text/plain', ...headers });
      response.end(body);
    },
  html: (status: number): Answer =>
    answers.text(status, '<html>canary-in-body</html>', {
      'content-type': 'text/html; charset=utf-8',
    }),
  empty:
    (status: number, headers: Headers = {}): Answer =>
    (response) => {
      response.writeHead(status, headers);
      response.end();
    },
  oauthError: (status: number, error: string, description?: string, headers?: Headers): Answer =>
    answers.json(status, { error, error_description: description }, headers),
  throttled: (retryAfter?: string): Answer =>
    answers.text(429, 'slow down', retryAfter === undefined ? {} : { 'retry-after': retryAfter }),
  redirect: (status: number, location: string): Answer => answers.empty(status, { location }),
  /** A token response; `members` replace those of a good one. */
  token:
    (members: Readonly<Record<string, unknown>> = {}): Answer =>
    async (response, request, server) => {
      const access_token = await server.token();
      const good = { access_token, token_type: 'Bearer', expires_in: server.tokenLifeSeconds };
      return answers.json(200, { ...good, ...members })(response, request, server);
    },
  /** Takes the request and never answers. */
  hang: (): Answer => () => undefined,
  /** Sends the head and half of the body, and then nothing more. */
  stall: (): Answer => (response) => {
    response.writeHead(200, { 'content-type': 'application/json', 'content-length': '100' });
    response.write('{"access_token":');
  },
  /** Closes the connection without an answer. */
  reset: (): Answer => (response) => {
    response.socket?.resetAndDestroy();
  },
  /** Closes the connection in the middle of the body. */
  cutShort: (): Answer => (response) => {
    response.writeHead(200, { 'content-type': 'application/json', 'content-length': '100' });
    response.write('{"access_token":', () => response.socket?.destroy());
  },
  /** Says something that is not HTTP. */
  garbage: (): Answer => (response) => {
    response.socket?.end('canary-in-body\r\n\r\n');
  },
  /** A JSON string of so many bytes. */
  huge: (bytes: number): Answer => answers.json(200, 'x'.repeat(bytes)),
  /** Answers as `then` does once `until` is resolved. */
  after:
    (until: Promise<unknown>, then: Answer): Answer =>
    async (response, request, server) => {
      await until;
      return then(response, request, server);
    },
} as const;
