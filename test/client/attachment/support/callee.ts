import { afterEach } from '@jest/globals';
import { once } from 'node:events';
import {
  createServer,
  type IncomingMessage,
  type RequestListener,
  type Server,
  type ServerResponse,
} from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo } from 'node:net';

/** A request as it arrived. */
export interface Arrival {
  readonly method: string;
  readonly url: string;
  readonly headers: IncomingMessage['headers'];
  /** Every value of `Authorization`: Node shows the first alone. */
  readonly authorization: readonly string[];
  readonly body: string;
}

/** What a callee answers. */
export interface Reply {
  readonly status?: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
}

/** A service that is called: a real server that keeps what arrives. */
export interface Callee {
  readonly origin: string;
  readonly arrivals: readonly Arrival[];
  /** The `Authorization` of each request, in order; `undefined` for none. */
  tokens(): readonly (string | undefined)[];
  /** Sockets that clients hold open. */
  connections(): Promise<number>;
}

const servers: Server[] = [];

afterEach(async () => {
  await Promise.all(
    servers.splice(0).map(async (server) => {
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    }),
  );
});

/** @param answer makes each answer; by default it is an empty JSON object. @param tls for `https`. */
export async function startCallee(
  answer: (arrival: Arrival) => Reply | Promise<Reply> = () => ({}),
  tls?: { readonly key: string; readonly cert: string },
): Promise<Callee> {
  const arrivals: Arrival[] = [];
  const serve = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const arrival = await read(request);
    arrivals.push(arrival);
    const { status = 200, headers = {}, body = '{}' } = await answer(arrival);
    response.writeHead(status, { 'content-type': 'application/json', ...headers }).end(body);
  };
  // A client that has closed, or a mistake of the test, ends the connection and is seen there.
  const listener: RequestListener = (request, response) => {
    serve(request, response).catch(() => response.destroy());
  };
  const server = tls === undefined ? createServer(listener) : createTlsServer(tls, listener);
  // A connection stays for as long as the client keeps it, so that one that it forgot can be seen.
  server.keepAliveTimeout = 0;
  servers.push(server);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  return {
    origin: `${tls === undefined ? 'http' : 'https'}://127.0.0.1:${port}`,
    arrivals,
    tokens: () => arrivals.map(({ authorization }) => authorization[0]),
    connections: () =>
      new Promise((resolve, reject) => {
        server.getConnections((error, count) => (error ? reject(error) : resolve(count)));
      }),
  };
}

async function read(request: IncomingMessage): Promise<Arrival> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  return {
    method: request.method ?? '',
    url: request.url ?? '',
    headers: request.headers,
    authorization: request.headersDistinct['authorization'] ?? [],
    body: Buffer.concat(chunks).toString(),
  };
}

/** Refuses every token but one, as a receiver does that knows of a rotation. */
export function acceptingOnly(token: string): (arrival: Arrival) => Reply {
  return ({ authorization }) =>
    authorization[0] === `Bearer ${token}`
      ? { body: '{"accepted":true}' }
      : { status: 401, body: '{"refused":true}' };
}

/** Redirects everything but `/arrived`. */
export function redirectingTo(location: () => string, status = 302): (arrival: Arrival) => Reply {
  return ({ url }) =>
    url === '/arrived'
      ? { body: '{"arrived":true}' }
      : { status, headers: { location: location() } };
}
