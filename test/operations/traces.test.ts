import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { once } from 'node:events';
import {
  createServer,
  request as httpRequest,
  type ClientRequest,
  type RequestListener,
} from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { Controller, Get, Module, type INestApplication } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { FastifyAdapter } from '@nestjs/platform-fastify';
import { context, propagation, trace } from '@opentelemetry/api';
import { createAuthorizedFetch, createServiceTokenClient } from '../../src/client/index.js';
import { serveHttp, type RunningBroker } from '../../src/composition/http-server.js';
import { createRuntime, type BrokerRuntime } from '../../src/composition/runtime.js';
import { writeSecret } from '../../src/composition/secret-file.js';
import { loadConfig } from '../../src/config/load-config.js';
import { AllowService, JwtGuardModule } from '../../src/guard/index.js';
import { createLogger } from '../../src/operations/log.js';
import { traceRequests, traceServing } from '../../src/operations/traces.js';
import { traceStore } from '../../src/secrets/traced-store.js';
import { addPeer } from '../../src/peers/peer-admin.js';
import { startTestIssuer, type TestIssuer } from '../../src/testing/index.js';
import { startCallee } from '../client/attachment/support/callee.js';
import { MemorySecretStore } from '../support/memory-store.js';
import { startProviderServer, type ProviderServer } from '../support/provider-server.js';
import { startTelemetry, stopTelemetry, type Telemetry } from '../support/telemetry.js';
import { temporaryFolders } from '../support/temporary-folder.js';
import { pause } from '../support/pause.js';

const newFolder = temporaryFolders('traces-');
const TRACE_ID = '0af7651916cd43dd8448eb211c80319c';
const TRACEPARENT = `00-${TRACE_ID}-b7ad6b7169203331-01`;
const SECRET = 'right-secret-of-the-provider';

test('without an SDK, what would be traced is left as it is', () => {
  const handler: RequestListener = () => undefined;
  const store = new MemorySecretStore();
  const observer = {};
  expect(traceRequests(handler, 'http')).toBe(handler);
  expect(traceStore(store)).toBe(store);
  expect(traceServing(observer)).toBe(observer);
});

describe('a broker', () => {
  let provider: ProviderServer;
  let telemetry: Telemetry;
  let runtime: BrokerRuntime;
  let broker: RunningBroker;
  let peer: { id: string; secret: string };
  let authorization: string;

  beforeAll(async () => {
    provider = await startProviderServer({ clientSecrets: [SECRET] });
  });
  afterAll(() => provider.close());

  beforeEach(async () => {
    telemetry = startTelemetry();
    const config = loadConfig({
      env: {
        PORT: '0',
        HOST: '127.0.0.1',
        BROKER_DATA_DIR: await newFolder(),
        BROKER_ISSUER: provider.issuer,
        BROKER_AUDIENCE: 'https://services.example.test',
        BROKER_ROTATION: 'disabled',
      },
    });
    runtime = await createRuntime(config, { log: createLogger({ level: 'silent' }) });
    const { store, clock } = runtime.core;
    const credentials = JSON.stringify({ client_id: 'broker', client_secret: SECRET });
    await writeSecret(store, config.tokens[0].credentialsSecretId, credentials);
    const roles = ['token', 'admin'] as const;
    peer = await addPeer({ store, secretId: config.secrets.peersSecretId, clock }, 'orders', roles);
    authorization = `Basic ${Buffer.from(`${peer.id}:${peer.secret}`).toString('base64')}`;
    broker = await serveHttp(runtime);
    telemetry.forget();
  });
  afterEach(async () => {
    await broker.close();
    expect(await telemetry.text()).not.toMatch(new RegExp(`eyJ|${SECRET}|${peer.secret}`));
    stopTelemetry();
  });

  const ask = async (
    path: string,
    {
      headers,
      ...init
    }: Omit<RequestInit, 'headers'> & { readonly headers?: Record<string, string> } = {},
  ): Promise<number> => {
    const response = await fetch(`${broker.url}${path}`, {
      ...init,
      headers: { authorization, ...headers },
    });
    await response.arrayBuffer();
    return response.status;
  };
  test('rotates in the trace of the peer that asked for it', async () => {
    const headers = { traceparent: TRACEPARENT };
    expect(await ask('/v1/rotate', { method: 'POST', headers })).toBe(200);
    const serve = await telemetry.span('POST /v1/rotate');
    expect(serve).toMatchObject({
      kind: 'SERVER',
      traceId: TRACE_ID,
      parent: 'b7ad6b7169203331',
      failed: false,
      attributes: {
        'http.request.method': 'POST',
        'http.route': '/v1/rotate',
        'http.response.status_code': 200,
        'url.path': '/v1/rotate',
        'url.scheme': 'http',
        'service_token.peer': 'orders',
      },
    });
    expect(await telemetry.span('service_token.rotate')).toMatchObject({
      parent: serve.id,
      attributes: {
        'service_token.name': 'default',
        'service_token.rotation.trigger': 'http',
        'service_token.rotation.result': 'rotated',
      },
    });
    for (const step of ['createSecret', 'setSecret', 'testSecret', 'finishSecret']) {
      const span = await telemetry.span(`service_token.rotation.${step}`);
      expect(telemetry.ancestors(span)).toEqual(['service_token.rotate', 'POST /v1/rotate']);
      expect(span.attributes).toMatchObject({
        'service_token.rotation.step': step,
        'service_token.rotation.outcome': 'done',
      });
    }
    const above = async (name: string): Promise<string | undefined> =>
      telemetry.ancestors(await telemetry.span(name))[0];
    // The first token of a secret is verified before it is staged.
    for (const name of ['mint', 'verify', 'store.putPending']) {
      expect(await above(`service_token.${name}`)).toBe('service_token.rotation.createSecret');
    }
    expect(await above('service_token.store.promote')).toBe('service_token.rotation.finishSecret');
    const failed = telemetry.spans().filter((span) => span.failed);
    expect(failed).toEqual([]);
    const durations = await telemetry.durations();
    expect(new Set(durations.map(({ name }) => name))).toEqual(
      new Set([
        'http.server.request.duration',
        'service_token.mint.duration',
        'service_token.rotate.duration',
        'service_token.rotation.step.duration',
        'service_token.store.duration',
        'service_token.verify.duration',
      ]),
    );
    expect(new Set(durations.map(({ unit }) => unit))).toEqual(new Set(['s']));
  });

  test('serves a peer in the trace of the peer’s own call', async () => {
    expect(await ask('/v1/rotate', { method: 'POST' })).toBe(200);
    await telemetry.span('POST /v1/rotate');
    telemetry.forget();
    const callee = await startCallee();
    const client = createServiceTokenClient({ brokers: broker.url, peer, wait: false });
    const call = createAuthorizedFetch({
      tokens: client,
      outsideCalls: 'service',
      origins: [{ origin: callee.origin }],
    });
    await trace.getTracer('application').startActiveSpan('job', async (job) => {
      await (await call(callee.origin)).text();
      job.end();
    });
    const job = await telemetry.span('job');
    const attach = await telemetry.span('service_token.attach');
    const asked = await telemetry.span('POST /oauth2/token', 'CLIENT');
    const served = await telemetry.span('POST /oauth2/token', 'SERVER');
    expect([attach.parent, asked.parent, served.parent]).toEqual([job.id, attach.id, asked.id]);
    expect(asked.attributes).toEqual({
      'http.request.method': 'POST',
      'http.response.status_code': 200,
      'server.address': '127.0.0.1',
      'server.port': broker.port,
      'url.full': `${broker.url}/oauth2/token`,
      'url.template': '/oauth2/token',
    });
    expect(served.attributes).toMatchObject({
      'http.route': '/oauth2/token',
      'service_token.peer': 'orders',
      'service_token.name': 'default',
      'service_token.cache': 'MISS',
    });
    const reads = telemetry.spans().filter(({ name }) => name === 'service_token.store.read');
    expect(reads.map(({ parent }) => parent)).toContain(served.id);
    expect(new Set(telemetry.spans().map(({ traceId }) => traceId))).toEqual(
      new Set([job.traceId]),
    );
    // The callee joins the trace of the call, not of the token.
    expect(callee.arrivals[0]?.headers['traceparent']).toBe(`00-${job.traceId}-${job.id}-01`);
  });

  test('has a client wait for the next token outside of the trace that began it', async () => {
    expect(await ask('/v1/rotate', { method: 'POST' })).toBe(200);
    const carried: object[] = [];
    // As an instrumentation of node:http does.
    const instrumentation = (message: unknown): void => {
      const { request } = message as { readonly request: ClientRequest };
      if (request.path !== '/v1/token') return;
      const carrier = {};
      propagation.inject(context.active(), carrier);
      carried.push(carrier);
    };
    subscribe('http.client.request.start', instrumentation);
    const client = createServiceTokenClient({ brokers: broker.url, peer });
    try {
      await trace.getTracer('application').startActiveSpan('job', async (job) => {
        await client.getToken();
        await client.getToken();
        job.end();
      });
      while (runtime.serving.waiting() === 0) await pause();
    } finally {
      client.close();
      unsubscribe('http.client.request.start', instrumentation);
    }
    expect(carried.length).toBeGreaterThan(0);
    expect(carried.filter((carrier) => Object.keys(carrier).length > 0)).toEqual([]);
  });

  test('answers from the cache in a span of its own, and says what a request was refused for', async () => {
    expect(await ask('/v1/rotate', { method: 'POST' })).toBe(200);
    expect(await ask('/v1/token')).toBe(200);
    await telemetry.span('GET /v1/token');
    telemetry.forget();
    expect(await ask('/v1/token', { headers: { traceparent: TRACEPARENT } })).toBe(200);
    expect(await telemetry.span('GET /v1/token')).toMatchObject({
      kind: 'SERVER',
      traceId: TRACE_ID,
      attributes: {
        'service_token.peer': 'orders',
        'service_token.name': 'default',
        'service_token.cache': 'HIT',
      },
    });
    telemetry.forget();
    expect(await ask('/v1/token', { headers: { authorization: 'Basic eDp5' } })).toBe(401);
    expect(await telemetry.span('GET /v1/token')).toMatchObject({
      failed: false,
      attributes: {
        'http.response.status_code': 401,
        'service_token.login_failure': 'unknown_peer',
      },
    });
  });

  test('names no path that may hold anything, and no query', async () => {
    expect(await ask('/eyJhbGciOiJub25lIn0?access_token=eyJhbGciOiJub25lIn0')).toBe(404);
    expect((await telemetry.span('GET')).attributes).toEqual({
      'http.request.method': 'GET',
      'http.response.status_code': 404,
      'url.scheme': 'http',
    });
    expect(await ask('/v1/tokens/payments?min_ttl=5')).toBe(404);
    const named = await telemetry.span('GET /v1/tokens/{name}');
    expect(named.attributes).toMatchObject({ 'http.route': '/v1/tokens/{name}' });
    expect(JSON.stringify(named)).not.toMatch(/payments|min_ttl/);
  });

  test('does not trace probes and scrapes', async () => {
    for (const path of ['/health/live', '/health/ready', '/metrics']) await ask(path);
    expect(await ask('/v1/token')).toBe(503);
    const served = await telemetry.span('GET /v1/token');
    expect(served).toMatchObject({
      failed: true,
      attributes: { 'error.type': '503', 'service_token.code': 'TOKEN_SECRET_EMPTY' },
    });
    const kinds = telemetry.spans().filter(({ kind }) => kind === 'SERVER');
    expect(kinds.map(({ name }) => name)).toEqual(['GET /v1/token']);
  });

  test('marks requests that wait for a rotation', async () => {
    expect(await ask('/v1/rotate', { method: 'POST' })).toBe(200);
    const response = await fetch(`${broker.url}/v1/token`, { headers: { authorization } });
    const waiting = new AbortController();
    const held = ask('/v1/token', {
      headers: { prefer: 'wait=60', 'if-none-match': response.headers.get('etag') ?? '' },
      signal: waiting.signal,
    });
    await telemetry.span('GET /v1/token');
    telemetry.forget();
    while (runtime.serving.waiting() === 0) await pause();
    waiting.abort();
    await expect(held).rejects.toThrow('aborted');
    const span = await telemetry.span('GET /v1/token');
    expect(span.attributes).toMatchObject({ 'service_token.waits': true, 'error.type': 'aborted' });
    const durations = await telemetry.durations();
    const marked = durations.filter(({ attributes }) => attributes['service_token.waits'] === true);
    expect(marked.map(({ count }) => count)).toEqual([1]);
  });
});

describe('a server', () => {
  const until = async (
    handler: RequestListener,
    act: (port: number) => Promise<unknown>,
  ): Promise<void> => {
    const server = createServer(handler).listen(0, '127.0.0.1');
    await once(server, 'listening');
    try {
      await act((server.address() as AddressInfo).port);
    } finally {
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    }
  };
  afterEach(stopTelemetry);

  test('that the application’s own instrumentation traces gets no second span', async () => {
    const telemetry = startTelemetry();
    const traced = traceRequests((_request, response) => response.end(), 'http');
    const instrumented: RequestListener = (request, response) =>
      trace.getTracer('http').startActiveSpan('theirs', (span) => {
        response.on('close', () => span.end());
        traced(request, response);
      });
    await until(instrumented, (port) => fetch(`http://127.0.0.1:${port}/v1/token`));
    await telemetry.span('theirs');
    expect(telemetry.spans()).toHaveLength(1);
    expect(await telemetry.durations()).toEqual([]);
  });

  test.each([
    ['PURGE', '_OTHER', 'HTTP /v1/token'],
    ['DELETE', 'DELETE', 'DELETE /v1/token'],
  ])('traces the method %s as %s', async (method, seen, name) => {
    const telemetry = startTelemetry();
    const traced = traceRequests((_request, response) => response.end(), 'https');
    await until(traced, async (port) => {
      const request = httpRequest({ port, host: '127.0.0.1', method, path: '/v1/token' }).end();
      await once(request, 'response');
    });
    const { attributes } = await telemetry.span(name);
    expect(attributes).toMatchObject({ 'http.request.method': seen, 'url.scheme': 'https' });
  });
});

describe('a guarded service', () => {
  let issuer: TestIssuer;
  let app: INestApplication;
  let url: string;

  beforeAll(async () => {
    issuer = await startTestIssuer();

    @Controller()
    class OrdersController {
      @Get('orders')
      @AllowService()
      list(): string {
        return 'orders';
      }
    }

    @Module({
      imports: [JwtGuardModule.forRoot(issuer.verifierOptions())],
      controllers: [OrdersController],
    })
    class OrdersModule {}

    app = await NestFactory.create(OrdersModule, new FastifyAdapter(), {
      logger: false,
      abortOnError: false,
    });
    await app.listen(0, '127.0.0.1');
    url = `${await app.getUrl()}/orders`;
  });
  afterAll(async () => {
    await app.close();
    await issuer.close();
  });
  afterEach(stopTelemetry);

  test('has a span for each token that it verifies, and none for one that it remembers', async () => {
    const telemetry = startTelemetry();
    const headers = { authorization: `Bearer ${issuer.serviceToken()}` };
    for (let times = 0; times < 3; times += 1) {
      expect((await fetch(url, { headers })).status).toBe(200);
    }
    const verified = await telemetry.span('service_token.verify');
    expect(verified).toMatchObject({
      failed: false,
      attributes: { 'service_token.kind': 'service' },
    });
    const refused = { authorization: `Bearer ${issuer.serviceToken()}x` };
    telemetry.forget();
    expect((await fetch(url, { headers: refused })).status).toBe(401);
    const { failed, attributes } = await telemetry.span('service_token.verify');
    expect(failed).toBe(true);
    expect(Object.keys(attributes)).toEqual(['error.type']);
    expect(attributes['error.type']).toMatch(/^[A-Z_]+$/);
    expect(await telemetry.text()).not.toContain('eyJ');
  });
});

describe('an SDK that throws wherever it is called', () => {
  const key = Symbol.for('opentelemetry.js.api.1');
  const holder = globalThis as Record<symbol, unknown>;
  afterEach(() => {
    delete holder[key];
  });

  test('changes no answer, and nothing that is observed', async () => {
    const broken = (): never => {
      throw new Error('broken');
    };
    const span = { setAttributes: broken, setStatus: broken, end: broken, isRecording: broken };
    holder[key] = {
      trace: {
        getTracer: () => ({
          startActiveSpan: (...args: unknown[]) =>
            (args.at(-1) as (one: object) => Promise<void>)(span).finally(broken),
        }),
      },
      metrics: { getMeter: broken },
      propagation: { inject: broken, extract: broken },
      context: { active: () => ({ getValue: () => span, setValue: broken }), with: broken },
    };
    const seen: string[] = [];
    const observer = traceServing({ loggedIn: (peer) => void seen.push(peer) });
    const server = createServer(
      traceRequests((_request, response) => {
        observer.loggedIn?.('orders', undefined);
        response.writeHead(503).end('as ever');
      }, 'http'),
    ).listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo;
    const rejections: unknown[] = [];
    const note = (reason: unknown): void => void rejections.push(reason);
    process.on('unhandledRejection', note);
    try {
      const response = await fetch(`http://127.0.0.1:${port}/v1/token`, {
        headers: { traceparent: TRACEPARENT, baggage: 'a=b' },
      });
      expect([response.status, await response.text()]).toEqual([503, 'as ever']);
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
      await new Promise(setImmediate);
    } finally {
      process.off('unhandledRejection', note);
    }
    expect({ seen, rejections }).toEqual({ seen: ['orders'], rejections: [] });
  });
});
