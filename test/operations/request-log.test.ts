import { once } from 'node:events';
import {
  createServer,
  request as httpRequest,
  type IncomingMessage,
  type RequestListener,
  type Server,
} from 'node:http';
import { connect, type AddressInfo } from 'node:net';
import {
  Controller,
  Get,
  Module,
  Post,
  Req,
  type INestApplication,
  Header,
  HttpCode,
} from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { ExpressAdapter } from '@nestjs/platform-express';
import { FastifyAdapter } from '@nestjs/platform-fastify';
import { afterEach, describe, expect, test } from '@jest/globals';
import { createLogger } from '../../src/operations/log.js';
import {
  annotate,
  createRequestLog,
  requestIdHeader,
  type RequestRecord,
} from '../../src/operations/request-log.js';
import { assertNoCanary, CANARIES } from '../support/canaries.js';
import { LogLines } from './log-lines.js';

const closing: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  await Promise.all(closing.splice(0).map((close) => close()));
});

interface Watched {
  readonly out: LogLines;
  readonly records: RequestRecord[];
  readonly url: string;
  /** Resolves when as many requests have ended. */
  readonly ended: (count?: number) => Promise<void>;
}

function watch(server: Server, level: 'info' | 'debug' = 'debug'): Watched {
  const out = new LogLines();
  const records: RequestRecord[] = [];
  let wake = (): void => undefined;
  let now = 0;
  const requestLog = createRequestLog({
    log: createLogger({ level, destination: out }),
    onRequest: (record) => {
      records.push(record);
      setImmediate(() => wake());
    },
    monotonic: () => (now += 1.5),
  });
  server.prependListener('request', requestLog);
  const { port } = server.address() as AddressInfo;
  const ended = async (count = 1): Promise<void> => {
    while (records.length < count) await new Promise<void>((resolve) => (wake = resolve));
  };
  return { out, records, url: `http://127.0.0.1:${port}`, ended };
}

async function listen(listener: RequestListener, level?: 'info' | 'debug'): Promise<Watched> {
  const server = createServer(listener).listen(0, '127.0.0.1');
  await once(server, 'listening');
  closing.push(async () => {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  });
  return watch(server, level);
}

const ok: RequestListener = (_request, response) => {
  response.writeHead(200, ['X-Cache', 'HIT']).end('ok');
};

describe('one line per request', () => {
  test('says what was asked, by whom, and how it ended', async () => {
    const { out, url, ended } = await listen((request, response) => {
      annotate(request, { peer: 'billing' });
      annotate(request, { code: 'SOME_CODE' });
      response.writeHead(200, ['X-Cache', 'HIT']).end('ok');
    });
    const response = await fetch(`${url}/v1/token?min_ttl=${CANARIES.peerSecret}`);
    await response.text();
    await ended();
    expect(out.line).toEqual({
      level: 'info',
      time: expect.any(String),
      service: 'service-token-broker',
      pid: process.pid,
      requestId: response.headers.get('x-request-id'),
      method: 'GET',
      route: '/v1/token',
      status: 200,
      aborted: false,
      durationMilliseconds: 1.5,
      remoteAddress: '127.0.0.1',
      cache: 'HIT',
      peer: 'billing',
      code: 'SOME_CODE',
      message: 'request',
    });
    assertNoCanary(out.text);
  });

  test.each([
    ['/v1/token', '/v1/token'],
    ['/v1/token?x=1', '/v1/token'],
    ['/v1/token/', '/v1/token'],
    ['/v1/token/?x=1', '/v1/token'],
    ['/v1/authorize/allow=service/orders?token=1', '/v1/authorize'],
    ['/v1/authorizes', 'other'],
    ['/v1/token//', 'other'],
    ['//v1/token', 'other'],
    ['/V1/TOKEN', 'other'],
    ['/v1/%74oken', 'other'],
    ['/', 'other'],
    ['/?/v1/token', 'other'],
    [`/${CANARIES.jwt}`, 'other'],
    ['*', 'other'],
  ])('the path is known only when it is one of ours (%#)', async (path, route) => {
    const { url, records, ended, out } = await listen(ok);
    const { port } = new URL(url);
    httpRequest({ port, host: '127.0.0.1', path, method: path === '*' ? 'OPTIONS' : 'GET' }).end();
    await ended();
    expect(records).toMatchObject([{ route, status: 200 }]);
    assertNoCanary(out.text);
  });

  test('an unusual method has no name', async () => {
    const { url, records, ended } = await listen(ok);
    await fetch(url, { method: 'PROPFIND' });
    await ended();
    expect(records).toMatchObject([{ method: 'OTHER' }]);
  });

  test('probes and scrapes are details, and a 503 is no warning; any other 5xx is', async () => {
    let status = 200;
    const { url, out, ended } = await listen((_request, response) => {
      response.writeHead(status).end();
    }, 'info');
    for (const path of ['/health/live', '/health/ready', '/metrics']) await fetch(url + path);
    await ended(3);
    expect(out.text).toBe('');
    // What a probe asks for is no failure of the answer.
    status = 503;
    await fetch(`${url}/health/ready`);
    await ended(4);
    expect(out.text).toBe('');
    await fetch(`${url}/v1/token`);
    await ended(5);
    status = 500;
    await fetch(`${url}/health/ready`);
    await fetch(`${url}/v1/token`);
    await ended(7);
    expect(out.lines).toMatchObject([
      { level: 'info', route: '/v1/token', status: 503 },
      { level: 'warn', route: '/health/ready', status: 500 },
      { level: 'warn', route: '/v1/token', status: 500 },
    ]);
  });

  test('a request that the caller gives up is logged as aborted', async () => {
    let arrived = (): void => undefined;
    const arrival = new Promise<void>((resolve) => (arrived = resolve));
    const { url, records, ended, out } = await listen((request, response) => {
      if (request.url === '/v1/token') response.writeHead(200).write('half');
      arrived();
    });
    const { port } = new URL(url);
    const silent = connect(Number(port), '127.0.0.1');
    silent.write('GET /v1/rotate HTTP/1.1\r\nHost: x\r\n\r\n');
    await arrival;
    silent.destroy();
    await ended(1);
    const halfway = connect(Number(port), '127.0.0.1');
    halfway.write('GET /v1/token HTTP/1.1\r\nHost: x\r\n\r\n');
    await once(halfway, 'data');
    halfway.destroy();
    await ended(2);
    expect(records).toMatchObject([
      { route: '/v1/rotate', aborted: true, status: undefined },
      { route: '/v1/token', aborted: true, status: 200 },
    ]);
    expect(out.lines[0]).not.toHaveProperty('status');
  });

  test('several requests on one connection are several lines', async () => {
    const { url, records, ended } = await listen(ok);
    const socket = connect(Number(new URL(url).port), '127.0.0.1');
    socket.write('GET /a HTTP/1.1\r\nHost: x\r\n\r\n'.repeat(3));
    await ended(3);
    socket.destroy();
    expect(new Set(records.map(({ requestId }) => requestId)).size).toBe(3);
    expect(records.every(({ aborted }) => !aborted)).toBe(true);
  });
});

describe('the request id', () => {
  async function idFor(given: string | undefined): Promise<string> {
    let inside: string | undefined;
    const { url, records, ended, out } = await listen((request, response) => {
      [, inside] = requestIdHeader(request);
      response.end();
    });
    const response = await fetch(
      url,
      given === undefined ? {} : { headers: { 'x-request-id': given } },
    );
    await ended();
    expect(records[0]?.requestId).toBe(inside);
    expect(response.headers.get('x-request-id')).toBe(inside);
    assertNoCanary(out.text);
    return inside ?? '';
  }

  test.each(['a', 'abc-123_X.y', '018f3c5e-7a1b-7c2d-8e3f-0123456789ab', 'x'.repeat(64)])(
    'of the caller is kept: %s',
    async (given) => {
      expect(await idFor(given)).toBe(given);
    },
  );

  test.each([
    ['none', undefined],
    ['too long', 'x'.repeat(65)],
    ['spaces', 'a b'],
    ['something that ends the line', 'a"},{"b'],
    ['not ASCII', 'caf\u00e9'],
    ["a peer's secret", CANARIES.peerSecret],
    ['the start of a JWT', CANARIES.jwt.slice(0, 40)],
  ])('is new for %s', async (_what, given) => {
    expect(await idFor(given)).toMatch(/^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/);
  });
});

test('a request that is not watched can be annotated, to no effect', () => {
  const request = {} as IncomingMessage;
  annotate(request, { peer: 'x' });
  expect(requestIdHeader(request)).toEqual([]);
});

@Controller()
class Routes {
  @Get('v1/token')
  @Header('X-Cache', 'MISS')
  token(@Req() request: IncomingMessage & { raw?: IncomingMessage }): object {
    annotate(request.raw ?? request, { peer: 'billing' });
    return { ok: true };
  }

  @Post('v1/rotate')
  @HttpCode(202)
  rotate(): void {
    throw new Error('no');
  }
}

@Module({ controllers: [Routes] })
class Application {}

describe.each([
  ['Fastify', () => new FastifyAdapter()],
  ['Express', () => new ExpressAdapter()],
])('in front of %s', (_name, adapter) => {
  test('the line is the same', async () => {
    const app: INestApplication = await NestFactory.create(Application, adapter(), {
      logger: false,
    });
    closing.push(() => app.close());
    await app.listen(0, '127.0.0.1');
    const { url, records, ended } = watch(app.getHttpServer() as Server);
    const first = await fetch(`${url}/v1/token?a=1`, { headers: { 'x-request-id': 'mine' } });
    await first.text();
    await ended(1);
    expect(first.headers.get('x-request-id')).toBe('mine');
    await (await fetch(`${url}/v1/rotate`, { method: 'POST' })).text();
    await ended(2);
    await (await fetch(`${url}/nowhere`)).text();
    await ended(3);
    expect(records).toMatchObject([
      {
        requestId: 'mine',
        method: 'GET',
        route: '/v1/token',
        status: 200,
        cache: 'MISS',
        peer: 'billing',
        aborted: false,
      },
      { method: 'POST', route: '/v1/rotate', status: 500, aborted: false },
      { method: 'GET', route: 'other', status: 404, aborted: false },
    ]);
  });
});
