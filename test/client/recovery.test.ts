import { once } from 'node:events';
import { createServer as createTlsServer, type Server as TlsServer } from 'node:https';
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { createSecureContext } from 'node:tls';
import { afterEach, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import {
  createServiceTokenClient,
  type ServiceTokenClient,
} from '../../src/client/service-token-client.js';
import { SteppingClock } from '../provider/stepping-clock.js';
import { selfSignedCertificate } from '../support/certificates.js';
import { TIMEOUT } from './client-fixture.js';

type Certificate = ReturnType<typeof selfSignedCertificate>;
type TlsVersion = 'TLSv1.2' | 'TLSv1.3';

/** What stands between the client and its broker. */
type Fault =
  | { readonly kind: 'none' }
  /** Connections are closed, or accepted and never answered, or answered by something else. */
  | { readonly kind: 'reset' | 'hang' | 'no TLS' }
  /** The broker shows a certificate that nobody trusts. */
  | { readonly kind: 'certificate' }
  /** TLS works, and what is behind it answers like this. */
  | { readonly kind: 'answer'; readonly status: number; readonly body: string };

/** What `fetch` takes as its `dispatcher`. */
interface Agent {
  destroy(): Promise<void>;
}
type AgentClass = new (options: object) => Agent;

/** The class of Node's own agent: with one of another version of undici, `fetch` keeps no connection. */
async function ownAgent(): Promise<AgentClass> {
  // Makes it.
  await fetch('data:,');
  const own = ['undici.globalDispatcher.2', 'undici.globalDispatcher.1']
    .map((name): unknown => Reflect.get(globalThis, Symbol.for(name)))
    .find((agent) => agent !== undefined);
  return (own as Agent).constructor as AgentClass;
}

const GOOD = JSON.stringify({ access_token: 'a.b.c', token_type: 'Bearer', expires_in: 3_600 });

/** A broker behind real TLS that breaks and recovers. */
class Broker {
  /** Is told of what came and will not be answered: its time-out may pass. */
  onUnanswered = (): void => undefined;
  #fault: Fault = { kind: 'none' };
  readonly #good: Certificate;
  readonly #bad = selfSignedCertificate();
  readonly #tls: TlsServer;
  readonly #front: Server;
  readonly #sockets = new Set<Socket>();

  constructor(good: Certificate, version: TlsVersion) {
    this.#good = good;
    this.#tls = createTlsServer(
      { ...good, minVersion: version, maxVersion: version },
      (_request, response) => {
        const fault = this.#fault;
        const { status, body } = fault.kind === 'answer' ? fault : { status: 200, body: GOOD };
        response.writeHead(status, { 'content-type': 'application/json' }).end(body);
      },
    );
    this.#front = createServer((socket) => {
      this.#sockets.add(socket);
      socket.on('close', () => this.#sockets.delete(socket));
      socket.on('error', () => undefined);
      if (this.#fault.kind === 'reset') socket.resetAndDestroy();
      else if (this.#fault.kind === 'no TLS') socket.end('HTTP/1.1 400 Bad Request\r\n\r\n');
      else if (this.#fault.kind === 'hang') setImmediate(() => this.onUnanswered());
      else this.#join(socket);
    });
  }

  #join(socket: Socket): void {
    const inner = connect((this.#tls.address() as AddressInfo).port, '127.0.0.1');
    inner.on('error', () => socket.destroy());
    socket.on('close', () => inner.destroy());
    socket.pipe(inner).pipe(socket);
  }

  async listen(): Promise<string> {
    this.#tls.listen(0, '127.0.0.1');
    await once(this.#tls, 'listening');

    this.#front.listen(0, '127.0.0.1');
    await once(this.#front, 'listening');
    return `https://127.0.0.1:${(this.#front.address() as AddressInfo).port}`;
  }

  /** From now on: the connections that there are end. */
  set(fault: Fault): void {
    this.#fault = fault;
    this.#tls.setSecureContext(fault.kind === 'certificate' ? this.#bad : this.#good);
    for (const socket of this.#sockets) {
      socket.destroy();
    }
  }

  async close(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    this.#front.close();
    this.#tls.close();
    await Promise.all([once(this.#front, 'close'), once(this.#tls, 'close')]);
  }
}

const FAULTS: readonly (readonly [string, Fault])[] = [
  ['connections that are reset', { kind: 'reset' }],
  ['connections that hang', { kind: 'hang' }],
  ['no TLS', { kind: 'no TLS' }],
  ['a certificate that nobody trusts', { kind: 'certificate' }],
  ['the page of a proxy', { kind: 'answer', status: 200, body: '<html></html>' }],
  ['no such page', { kind: 'answer', status: 404, body: '{"error":"not_found"}' }],
  ['a forbidding gateway', { kind: 'answer', status: 403, body: '{"message":"no"}' }],
  ['an empty answer', { kind: 'answer', status: 200, body: '' }],
  ['a failure', { kind: 'answer', status: 502, body: '<html></html>' }],
  ['a refusal of the peer', { kind: 'answer', status: 401, body: '{"error":"invalid_client"}' }],
];

describe.each<TlsVersion>(['TLSv1.2', 'TLSv1.3'])(
  'a client without a token, over %s',
  (version) => {
    let certificate: Certificate;
    let agent: Agent;
    let broker: Broker;
    let clock: SteppingClock;
    let client: ServiceTokenClient;
    let OwnAgent: AgentClass;

    beforeAll(async () => {
      certificate = selfSignedCertificate();
      OwnAgent = await ownAgent();
    });
    beforeEach(async () => {
      // As the platform's own: connections and TLS sessions are kept. One context serves all: making it takes longer
      // than a handshake. With HTTP/2, requests wait for a connection that hangs as long as Node.js does, by a clock of its
      // own.
      const secureContext = createSecureContext({ ca: certificate.cert });
      agent = new OwnAgent({ allowH2: false, connect: { secureContext } });
      broker = new Broker(certificate, version);
      clock = new SteppingClock((milliseconds) => milliseconds > 4_000);
      broker.onUnanswered = () => clock.release();
      client = createServiceTokenClient({
        brokers: await broker.listen(),
        peer: { id: 'orders', secret: 'right-peer-secret' },
        clock,
        timeoutSeconds: TIMEOUT / 1_000,
        skewSeconds: 60,
        random: () => 0.5,
        fetch: (url, init) => fetch(url, { ...init, dispatcher: agent } as unknown as RequestInit),
      });
    });
    afterEach(async () => {
      await agent.destroy();
      await broker.close();
    });

    /** One call each second, as a busy service makes them. */
    const ask = (): Promise<boolean> =>
      client.getToken().then(
        () => true,
        () => false,
      );

    test.each(FAULTS)('has one at most 15 s after the end of %s', async (_what, fault) => {
      const waits: number[] = [];
      // The end of the fault comes at another moment of its rests each time.
      for (const seconds of [1, 23, 64]) {
        broker.set(fault);
        const until = clock.now() + seconds * 1_000;
        while (clock.now() < until) {
          expect(await ask()).toBe(false);
          clock.advance(1_000);
        }
        broker.set({ kind: 'none' });
        const endedAt = clock.now();
        while (!(await ask())) clock.advance(1_000);
        waits.push(clock.now() - endedAt);
        // The next outage finds it without a token again.
        clock.advance(3_600_000);
      }
      expect(Math.max(...waits)).toBeLessThanOrEqual(15_000);
      expect(waits.sort((one, other) => one - other)[1]).toBeLessThan(5_000);
    });
  },
);
