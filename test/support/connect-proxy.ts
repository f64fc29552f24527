import { createServer, type IncomingMessage, type Server } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import { connect, type AddressInfo, type Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { createServer as createTlsFront, type TlsOptions } from 'node:tls';

/** What a proxy does with a CONNECT in place of opening a tunnel. */
export type Refusal = (socket: Duplex, request: IncomingMessage, head: Buffer) => void;

/** A CONNECT proxy on 127.0.0.1 that leads every host name to a port of this machine. */
export interface ConnectProxy {
  /** `http://127.0.0.1:PORT`, or `https:`. */
  readonly url: string;
  /** `127.0.0.1:PORT` */
  readonly host: string;
  /** The targets of each CONNECT, and the URL of each forwarded request, so far. */
  readonly asked: string[];
  /** The `Proxy-Authorization` of each. */
  readonly logins: (string | undefined)[];
  /** Misbehaves from now on; `undefined` opens tunnels again. */
  refuse(refusal: Refusal | undefined): void;
  close(): Promise<void>;
}

interface ConnectProxyOptions {
  /** Where `host:port` really is: a port of 127.0.0.1. Other hosts are answered with 502. */
  readonly places: Readonly<Record<string, number>>;
  /** `user:password`. Default: none is asked for. */
  readonly login?: string;
  /** Makes it an https proxy. */
  readonly tls?: TlsOptions;
}

export async function startConnectProxy({
  places,
  login,
  tls,
}: ConnectProxyOptions): Promise<ConnectProxy> {
  const asked: string[] = [];
  const logins: (string | undefined)[] = [];
  const open = new Set<Duplex>();
  let refusal: Refusal | undefined;
  const server: Server = tls === undefined ? createServer() : createTlsServer(tls);
  server.on(tls === undefined ? 'connection' : 'secureConnection', (socket: Socket) => {
    open.add(socket);
    socket.once('close', () => open.delete(socket));
  });
  const isLoggedIn = ({ headers }: IncomingMessage): boolean =>
    login === undefined ||
    headers['proxy-authorization'] === `Basic ${Buffer.from(login).toString('base64')}`;
  server.on('connect', (request, socket: Duplex, head: Buffer) => {
    asked.push(request.url ?? '');
    logins.push(request.headers['proxy-authorization']);
    socket.on('error', () => undefined);
    if (refusal !== undefined) {
      refusal(socket, request, head);
      return;
    }
    if (!isLoggedIn(request)) {
      socket.end(answerOf(407, 'Proxy-Authenticate: Basic realm="proxy"'));
      return;
    }
    const port = places[request.url ?? ''];
    if (port === undefined) {
      socket.end(answerOf(502));
      return;
    }
    const target = connect(port, '127.0.0.1', () => {
      socket.write('HTTP/1.1 200 Connection established\r\n\r\n');
      target.write(head);
      socket.pipe(target).pipe(socket);
    });
    open.add(target);
    target.on('error', () => socket.destroy());
    target.once('close', () => socket.destroy());
    socket.once('close', () => target.destroy());
  });
  // Forwarded requests answer for themselves: that they came is what is tested.
  server.on('request', (request, response) => {
    asked.push(request.url ?? '');
    logins.push(request.headers['proxy-authorization']);
    if (!isLoggedIn(request)) {
      response.writeHead(407, { 'proxy-authenticate': 'Basic realm="proxy"' }).end();
      return;
    }
    response.setHeader('content-type', 'application/json').end('{"keys":[]}');
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const host = `127.0.0.1:${(server.address() as AddressInfo).port}`;
  return {
    url: `${tls === undefined ? 'http' : 'https'}://${host}`,
    host,
    asked,
    logins,
    refuse: (next) => {
      refusal = next;
    },
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
        for (const socket of open) socket.destroy();
      }),
  };
}

/** A response without a body that ends the connection. */
export function answerOf(status: number, ...headers: readonly string[]): string {
  return [`HTTP/1.1 ${status} Refused`, ...headers, 'Connection: close', '', ''].join('\r\n');
}

/** TLS in front of a server of this machine. @param at its own port. Default: any free one. */
export async function startTlsFront(
  options: TlsOptions,
  port: number,
  at = 0,
): Promise<{ readonly port: number; readonly clients: string[]; close(): Promise<void> }> {
  const clients: string[] = [];
  const open = new Set<Socket>();
  const server = createTlsFront(options, (socket) => {
    clients.push(String(socket.getPeerCertificate().subject?.CN ?? ''));
    const target = connect(port, '127.0.0.1');
    open.add(socket);
    target.on('error', () => socket.destroy());
    socket.on('error', () => target.destroy());
    target.once('close', () => socket.destroy());
    socket.once('close', () => target.destroy());
    socket.pipe(target).pipe(socket);
  });
  server.on('tlsClientError', () => undefined);
  await new Promise<void>((resolve) => server.listen(at, '127.0.0.1', resolve));
  return {
    port: (server.address() as AddressInfo).port,
    clients,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        for (const socket of open) socket.destroy();
      }),
  };
}
