import { once } from 'node:events';
import { Agent, get as httpGet, type IncomingMessage, type Server } from 'node:http';
import { type AddressInfo, connect, type Socket } from 'node:net';
import { afterEach, describe, expect, jest, test } from '@jest/globals';
import { createHotLane, hotLaneServerFactory } from '../../src/serving/hot-lane.js';
import {
  basic,
  createBroker,
  peerEntry,
  PEERS_SECRET,
  type RunningApp,
  SECRETS,
  send,
  startApp,
} from './broker.js';
import { pause } from '../support/pause.js';

const ORDERS = { authorization: basic('orders', SECRETS.orders) };

const apps: RunningApp[] = [];
afterEach(async () => {
  await Promise.all(apps.splice(0).map(({ app }) => app.close()));
});

async function start(...args: Parameters<typeof startApp>): Promise<RunningApp> {
  const running = await startApp(...args);
  apps.push(running);
  return running;
}

/** A broker whose hot lane is watched: `taken` has what it did with each request. */
async function watched() {
  const broker = createBroker();
  const taken: boolean[] = [];
  const { answerNow } = broker.serving.token;
  const token = {
    ...broker.serving.token,
    answerNow: (authorization: string) => {
      const answer = answerNow(authorization);
      taken.push(answer !== undefined);
      return answer;
    },
  };
  const running = await start({ ...broker.serving, token }, 'fastify with the hot lane');
  return { ...broker, ...running, taken };
}

describe('the hot lane', () => {
  test('answers with the same bytes as the frameworks', async () => {
    const broker = createBroker();
    const servers = [
      await start(broker.serving, 'fastify with the hot lane'),
      await start(broker.serving, 'fastify'),
      await start(broker.serving, 'express'),
    ];
    await send(servers[1]?.port ?? 0, 'GET', '/v1/token', ORDERS);
    for (const milliseconds of [0, 999, 1, 1_500, 200_000]) {
      broker.clock.advance(milliseconds);
      const answers = [];
      for (const { port } of servers) answers.push(await send(port, 'GET', '/v1/token', ORDERS));
      expect(answers[0]?.headers['x-cache']).toBe('HIT');
      for (const answer of answers) {
        expect([answer.status, answer.rawHeaders, answer.text]).toEqual([
          200,
          answers[0]?.rawHeaders,
          answers[0]?.text,
        ]);
      }
    }
  });

  test('answers what is warm and right, and leaves everything else to the framework', async () => {
    const { port, taken, clock } = await watched();
    const statuses: number[] = [];
    const ask = async (headers: Record<string, string | string[]>, path = '/v1/token') => {
      statuses.push((await send(port, 'GET', path, headers)).status);
    };
    await ask(ORDERS); // cold: nothing is cached
    await ask(ORDERS);
    await ask({ authorization: basic('orders', 'wrong') });
    await ask({ authorization: basic('admin', SECRETS.admin) });
    expect(taken.splice(0)).toEqual([false, true, false, false]);
    await ask({});
    await ask({ ...ORDERS, 'if-none-match': '*' });
    await ask({ ...ORDERS, 'cache-control': 'no-cache' });
    await ask({ ...ORDERS, 'content-length': '0' });
    await ask({ authorization: [ORDERS.authorization, ORDERS.authorization] });
    await ask(ORDERS, '/v1/token?min_ttl=1');
    expect(taken).toEqual([]);
    clock.advance(240_000); // time for a refresh behind: the framework's way begins it
    await ask(ORDERS);
    await ask(ORDERS);
    expect(taken).toEqual([false, true]);
    expect(statuses).toEqual([200, 200, 401, 403, 401, 304, 200, 200, 400, 200, 200, 200]);
  });

  test('a thousand requests of an hour read the store as often as the policy allows', async () => {
    const { port, clock, store } = await watched();
    for (let count = 0; count < 1_000; count += 1) {
      expect((await send(port, 'GET', '/v1/token', ORDERS)).status).toBe(200);
      clock.advance(3_600);
    }
    expect(store.calls.read).toBeLessThanOrEqual(2 * 15);
  });

  test('a peer that is removed is refused after the time to live', async () => {
    const { port, clock, store } = await watched();
    await send(port, 'GET', '/v1/token', ORDERS);
    store.edit(PEERS_SECRET, '{"peers":{}}');
    expect((await send(port, 'GET', '/v1/token', ORDERS)).status).toBe(200);
    clock.advance(300_000);
    expect((await send(port, 'GET', '/v1/token', ORDERS)).status).toBe(401);
  });

  test('a peer that was just added is admitted before the time to live is over', async () => {
    const { port, clock, store } = await watched();
    await send(port, 'GET', '/v1/token', ORDERS);
    store.edit(PEERS_SECRET, JSON.stringify({ peers: { fresh: peerEntry('fresh', ['token']) } }));
    const fresh = { authorization: basic('fresh', 'fresh') };
    expect((await send(port, 'GET', '/v1/token', fresh)).status).toBe(401);
    clock.advance(5_000);
    expect((await send(port, 'GET', '/v1/token', fresh)).status).toBe(200);
  });

  test('an exception is a 500 for one request, and does not end the process', async () => {
    const failed = jest.fn();
    const mistake = new Error('observer');
    const { serving } = createBroker({
      observer: {
        failed,
        tokenServed: () => {
          throw mistake;
        },
      },
    });
    const { port } = await start(serving, 'fastify with the hot lane');
    await send(port, 'GET', '/v1/token', ORDERS);
    expect((await send(port, 'GET', '/v1/token', ORDERS)).status).toBe(500);
    expect(failed.mock.calls).toEqual([[mistake], [mistake], [mistake]]);
  });
});

describe('the server', () => {
  test('a request in flight at shutdown is answered, and its connection ends', async () => {
    const broker = createBroker();
    const { app, port } = await startApp(broker.serving, 'fastify with the hot lane');
    await send(port, 'GET', '/v1/token', ORDERS);
    const agent = new Agent({ keepAlive: true, maxSockets: 1 });
    const ask = async (): Promise<IncomingMessage> => {
      const request = httpGet({
        port,
        host: '127.0.0.1',
        path: '/v1/token',
        agent,
        headers: ORDERS,
      });
      const [response] = (await once(request, 'response')) as [IncomingMessage];
      response.resume();
      await once(response, 'end');
      return response;
    };
    expect((await ask()).headers.connection).toBe('keep-alive');

    let release = (): void => undefined;
    const held = new Promise<void>((resolve) => (release = resolve));
    let arrived = (): void => undefined;
    const reading = new Promise<void>((resolve) => (arrived = resolve));
    broker.store.before = () => {
      arrived();
      return held;
    };
    broker.clock.advance(300_000);
    const inFlight = ask();
    await reading;
    const closed = app.close();
    while (app.getHttpServer().listening) await pause();
    release();
    expect((await inFlight).statusCode).toBe(200);
    agent.destroy();
    await closed;
  });

  test('a request that arrives on an open connection while the server closes is answered and ends it', async () => {
    const broker = createBroker();
    const { app, port } = await startApp(broker.serving, 'fastify with the hot lane');
    await send(port, 'GET', '/v1/token', ORDERS);
    const connected = once(app.getHttpServer(), 'connection');
    const socket = connect(port, '127.0.0.1');
    let received = '';
    socket.on('data', (chunk) => (received += chunk.toString()));
    // Half a request, once the server has read it, keeps the connection from being idle.
    const half = 'GET /v1/token HTTP/1.1\r\nHost: broker\r\n';
    socket.write(half);
    const [accepted] = (await connected) as [Socket];
    while (accepted.bytesRead < half.length) await pause();
    const closed = app.close();
    while (app.getHttpServer().listening) await pause();
    socket.write(`Authorization: ${ORDERS.authorization}\r\n\r\n`);
    await once(socket, 'close');
    expect(received).toMatch(/^HTTP\/1\.1 200 OK\r\n/);
    expect(received.toLowerCase()).toContain('connection: close');
    await closed;
  });

  test("Fastify's options reach it, and zeros do not switch Node's protection off", () => {
    const factory = hotLaneServerFactory(createHotLane({ answerNow: () => undefined }));
    const server = factory(() => undefined, {
      http: { maxHeaderSize: 8_192 },
      keepAliveTimeout: 72_000,
      requestTimeout: 0,
      connectionTimeout: 30_000,
      maxRequestsPerSocket: 100,
    });
    expect(server).toMatchObject({
      keepAliveTimeout: 72_000,
      requestTimeout: 300_000,
      timeout: 30_000,
      maxRequestsPerSocket: 100,
    });
  });
});

describe('answers to pipelined requests', () => {
  const answer = (index: number) => ({
    status: 200,
    headers: ['Content-Type', 'text/plain', 'Content-Length', '1'],
    body: Buffer.from(String(index)),
  });

  /** A server whose lane answers every request with its number, and whose framework says 500. */
  async function numbered(onRequest: (server: Server, index: number) => void = () => undefined) {
    let asked = 0;
    const factory = hotLaneServerFactory(() => {
      asked += 1;
      onRequest(server, asked);
      return answer(asked);
    });
    const server = factory((_request, response) => void response.writeHead(500).end(), {});
    await once(server.listen(0, '127.0.0.1'), 'listening');
    const socket = connect((server.address() as AddressInfo).port, '127.0.0.1').setEncoding('utf8');
    return { server, socket };
  }

  const GET = 'GET /v1/token HTTP/1.1\r\nHost: broker\r\n\r\n';

  test('come in the order of the requests, and leave the connection open', async () => {
    const { server, socket } = await numbered();
    socket.write(GET.repeat(3));
    let text = '';
    for await (const chunk of socket) {
      text += String(chunk);
      if (text.split('HTTP/1.1 200 OK').length === 4 && text.endsWith('3')) break;
    }
    expect(text.match(/\r\n\r\n[0-9]/g)).toEqual(['1', '2', '3'].map((n) => `\r\n\r\n${n}`));
    expect(text).not.toMatch(/^connection: close/im);
    server.close();
  });

  test('end their connections when the server is closed meanwhile', async () => {
    const { server, socket } = await numbered((closing) => closing.close());
    const closed = once(server, 'close');
    socket.write(GET);
    let text = '';
    for await (const chunk of socket) text += String(chunk);
    expect(text).toMatch(/^HTTP\/1.1 200 OK[^]*^Connection: close\r\n(?:[^]*\r\n)?\r\n1$/m);
    await closed;
  });
});
