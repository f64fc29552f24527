import { rm, writeFile } from 'node:fs/promises';
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import {
  createServer as createTlsServer,
  type Server as TlsServer,
  type TLSSocket,
} from 'node:tls';

/** Everything that can be wrong with a way to another machine. */
export const FAULTS = [
  'latency',
  'hang',
  'reset',
  'half-open',
  'truncated body',
  'garbage',
  'HTML',
  '429',
  '500',
  'DNS failure',
  'TLS failure',
] as const;

/** One of {@link FAULTS}. */
export type Fault = (typeof FAULTS)[number];

/** How long `latency` holds back each part of an answer, in milliseconds. */
export const LATENCY = 3_000;

/** The `Retry-After` of `429`, in seconds. */
export const RETRY_AFTER = 7;

/** The host name that a process with `faulty-machine.mjs` resolves to this machine, unless the proxy's file says otherwise. */
const RESOLVED_HOST = 'broken.faults.test';

/** Key and certificate, both as PEM. */
export interface Certificate {
  readonly key: string;
  readonly cert: string;
}

/** What a {@link FaultProxy} stands before. */
export interface FaultProxyOptions {
  /** Where connections go on to, over plain TCP: a URL, asked for anew for each connection. */
  readonly target: () => string;
  /** For `TLS failure`: the proxy ends TLS with `trusted`, and with `other` while the fault lasts. */
  readonly tls?: { readonly trusted: Certificate; readonly other: Certificate };
  /** For `DNS failure`: a file that exists while the name does not resolve. */
  readonly dnsFile?: string;
}

/**
 * A proxy that breaks what passes through it, in one way at a time, and can be told when.
 *
 * - `latency`: each part of an answer comes {@link LATENCY} late.
 * - `hang`: requests are taken and never answered, also after the fault has ended.
 * - `reset`: connections are reset, those that stand at once and new ones with their first byte.
 * - `half-open`: a connection carries one answer; afterwards it swallows everything and is never closed, as behind a NAT
 *   that has forgotten it. Connections that stood before are like that from the start.
 * - `truncated body`: the real answer, cut off in the middle of its body.
 * - `garbage`: bytes that are not HTTP. `HTML`: a page with status 200. `429`: with `Retry-After`. `500`: as it says.
 * - `DNS failure`, `TLS failure`: the host's name does not resolve; the certificate is not trusted.
 */
export class FaultProxy {
  readonly #options: FaultProxyOptions;
  readonly #server: Server;
  readonly #links = new Set<Link>();
  #fault: Fault | undefined;

  private constructor(options: FaultProxyOptions) {
    this.#options = options;
    const accept = (socket: Socket): void => this.#accept(socket);
    this.#server =
      options.tls === undefined
        ? createServer(accept)
        : createTlsServer(options.tls.trusted, accept as (socket: TLSSocket) => void);
    // A client that does not trust the certificate ends the handshake.
    this.#server.on('tlsClientError', () => undefined);
  }

  static async listen(options: FaultProxyOptions): Promise<FaultProxy> {
    const proxy = new FaultProxy(options);
    await new Promise<void>((resolve) => proxy.#server.listen(0, '127.0.0.1', resolve));
    return proxy;
  }

  /** Where it is, without a slash at the end. */
  get url(): string {
    const { port } = this.#server.address() as AddressInfo;
    const { tls, dnsFile } = this.#options;
    const host =
      dnsFile !== undefined ? RESOLVED_HOST : tls === undefined ? '127.0.0.1' : 'localhost';
    return `${tls === undefined ? 'http' : 'https'}://${host}:${port}`;
  }

  get fault(): Fault | undefined {
    return this.#fault;
  }

  /** Breaks connections from now on, those that stand included. */
  async fail(fault: Fault): Promise<void> {
    const { tls, dnsFile } = this.#options;
    if (fault === 'DNS failure') {
      if (dnsFile === undefined) throw new Error('The proxy has no file for DNS failures.');
      await writeFile(dnsFile, '');
    }
    if (fault === 'TLS failure') this.#certify((tls ?? missingCertificates()).other);
    this.#fault = fault;
    for (const link of this.#links) link.failed(fault);
  }

  /** Ends the fault. Requests that were swallowed stay unanswered. */
  async heal(): Promise<void> {
    const { tls, dnsFile } = this.#options;
    if (this.#fault === 'DNS failure' && dnsFile !== undefined) await rm(dnsFile);
    if (this.#fault === 'TLS failure') this.#certify((tls ?? missingCertificates()).trusted);
    this.#fault = undefined;
  }

  async close(): Promise<void> {
    for (const link of this.#links) link.destroy();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  #accept(near: Socket): void {
    const link = new Link(
      near,
      () => {
        const { hostname, port } = new URL(this.#options.target());
        return connect(Number(port), hostname);
      },
      () => this.#fault,
    );
    this.#links.add(link);
    near.once('close', () => this.#links.delete(link));
  }

  #certify(certificate: Certificate): void {
    (this.#server as TlsServer).setSecureContext(certificate);
  }
}

function missingCertificates(): never {
  throw new Error('The proxy has no certificates for TLS failures.');
}

/** One connection through the proxy. */
class Link {
  readonly #near: Socket;
  readonly #connect: () => Socket;
  readonly #fault: () => Fault | undefined;
  readonly #timers = new Set<NodeJS.Timeout>();
  #far: Socket | undefined;
  /** Whether an answer, or part of one, has passed. */
  #hasAnswered = false;
  /** From now on everything is swallowed. */
  #isDead = false;

  constructor(near: Socket, onward: () => Socket, fault: () => Fault | undefined) {
    this.#near = near;
    this.#connect = onward;
    this.#fault = fault;
    // Broken connections are what this is about.
    near.on('error', () => undefined);
    near.setNoDelay(true);
    near.on('data', (part) => this.#request(part));
    near.on('end', () => this.#far?.end());
    near.on('close', () => {
      for (const timer of this.#timers) clearTimeout(timer);
      this.#far?.destroy();
    });
  }

  /** The connection onward, made with the first byte: a server that takes one at a time is not kept waiting for it. */
  #onward(): Socket {
    if (this.#far !== undefined) return this.#far;
    const far = this.#connect();
    far.on('error', () => undefined);
    far.setNoDelay(true);
    far.on('data', (part) => this.#answer(part));
    far.on('end', () => {
      if (!this.#isDead) this.#later(() => this.#near.end());
    });
    far.on('close', () => {
      if (!this.#isDead) this.#later(() => this.#near.destroy());
    });
    this.#far = far;
    return far;
  }

  /** The fault begins while the connection stands. */
  failed(fault: Fault): void {
    if (fault === 'reset') this.#reset();
    if (fault === 'DNS failure' || fault === 'TLS failure') this.destroy();
    // What is on its way is lost as well.
    if (fault === 'hang') this.#isDead = true;
  }

  destroy(): void {
    this.#near.destroy();
    this.#far?.destroy();
  }

  #request(part: Buffer): void {
    if (this.#isDead) return;
    const fault = this.#fault();
    if (fault === 'reset') {
      this.#reset();
      return;
    }
    if (fault === 'hang' || (fault === 'half-open' && this.#hasAnswered)) {
      this.#isDead = true;
      return;
    }
    const said = fault === undefined ? undefined : CANNED[fault];
    if (said === undefined) {
      this.#onward().write(part);
      return;
    }
    this.#isDead = true;
    // The rest of the request may be on its way: it is taken, so that the answer is not lost to a reset.
    setTimeout(() => this.#near.end(said), 5);
  }

  #answer(part: Buffer): void {
    if (this.#isDead) return;
    this.#hasAnswered = true;
    if (this.#fault() === 'truncated body') {
      this.#isDead = true;
      const head = part.indexOf('\r\n\r\n') + 4;
      this.#near.end(part.subarray(0, head + Math.floor((part.length - head) / 2)));
      return;
    }
    this.#later(() => this.#near.write(part));
  }

  /** At once, or late while the fault is latency; in order either way, since all are late by the same. */
  #later(act: () => void): void {
    if (this.#fault() !== 'latency' && this.#timers.size === 0) {
      act();
      return;
    }
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      act();
    }, LATENCY);
    this.#timers.add(timer);
  }

  #reset(): void {
    this.#isDead = true;
    if (this.#near.constructor.name === 'Socket') this.#near.resetAndDestroy();
    else this.#near.destroy();
    this.#far?.destroy();
  }
}

/** Whole answers that are given in place of the real one. */
const CANNED: Readonly<Partial<Record<Fault, string>>> = {
  garbage: 'SSH-2.0-OpenSSH_9.7\r\n\u0000\u0001\u0002\r\n',
  HTML: answer('200 OK', 'text/html', '<!doctype html><title>Sign in to the guest network</title>'),
  '429': answer('429 Too Many Requests', 'text/plain', 'slow down', `Retry-After: ${RETRY_AFTER}`),
  '500': answer('500 Internal Server Error', 'text/plain', 'it broke'),
};

function answer(status: string, type: string, body: string, ...headers: string[]): string {
  const head = [
    `HTTP/1.1 ${status}`,
    `Content-Type: ${type}`,
    `Content-Length: ${Buffer.byteLength(body)}`,
    'Connection: close',
    ...headers,
  ];
  return `${head.join('\r\n')}\r\n\r\n${body}`;
}
