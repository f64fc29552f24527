import type { IncomingMessage, ServerResponse } from 'node:http';
import { gzipSync } from 'node:zlib';
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
  /** An answer byte by byte, and the end of the connection. */
  raw:
    (head: string, body: string | Buffer = ''): Answer =>
    (response) => {
      response.socket?.write(`${head.replaceAll('\n', '\r\n')}\r\n\r\n`);
      response.socket?.end(body);
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

const HALF = '{"access_token":"eyJcanary-in-body';

/** Answers that lost their body, or a part of it, on the way: a second attempt may get all of it. */
export const LOST: readonly (readonly [what: string, answer: Answer])[] = [
  ['an empty 200', answers.empty(200)],
  ['an empty 200 of JSON', answers.text(200, '', { 'content-type': 'application/json' })],
  ['a 204', answers.empty(204)],
  ['a 205', answers.empty(205)],
  ['an empty 202', answers.empty(202)],
  ['white space', answers.text(200, ' \r\n\t\n')],
  ['a byte-order mark alone', answers.text(200, '\uFEFF')],
  ['null', answers.json(200, null)],
  [
    'chunks that end at once',
    answers.raw('HTTP/1.1 200 OK\ntransfer-encoding: chunked', '0\r\n\r\n'),
  ],
  ['no length and no body', answers.raw('HTTP/1.1 200 OK\nconnection: close')],
  ['half of it, with the length of all', answers.cutShort()],
  [
    'half of it, in chunks without an end',
    answers.raw('HTTP/1.1 200 OK\ntransfer-encoding: chunked', '5\r\n{"acc'),
  ],
  ['half of it, as if it were all', answers.text(200, HALF)],
  [
    'half of it, until the connection ends',
    answers.raw('HTTP/1.1 200 OK\nconnection: close', HALF),
  ],
  ['half a refusal', answers.text(400, '{"error":"invalid_cl')],
  [
    'half of what gzip made',
    answers.raw(
      'HTTP/1.1 200 OK\ncontent-encoding: gzip\nconnection: close',
      gzipSync(`${HALF.repeat(50)}"}`).subarray(0, 60),
    ),
  ],
  [
    'nothing of what gzip made',
    answers.raw('HTTP/1.1 200 OK\ncontent-encoding: gzip\nconnection: close'),
  ],
];
