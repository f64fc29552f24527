import { createServer, type AddressInfo } from 'node:net';
import { afterEach, describe, expect, test } from '@jest/globals';
import { NestFactory } from '@nestjs/core';
import { ExpressAdapter } from '@nestjs/platform-express';
import { FastifyAdapter } from '@nestjs/platform-fastify';
import { BrokerModule } from '../../src/composition/broker.module.js';
import { serveHttp, type RunningBroker } from '../../src/composition/http-server.js';
import { ManagementServer } from '../../src/composition/listener.js';
import { createRuntime, type BrokerRuntime } from '../../src/composition/runtime.js';
import { loadConfig } from '../../src/config/load-config.js';
import { createLogger } from '../../src/operations/log.js';
import { SecretStoreError } from '../../src/secrets/secret-store.js';
import { LogLines } from '../operations/log-lines.js';
import {
  basic,
  createBroker,
  PEERS_SECRET,
  SECRETS,
  send,
  TOKEN_SECRET,
  type RawAnswer,
  type TestBroker,
} from '../serving/broker.js';

const ADMIN = { authorization: basic('admin', SECRETS.admin) };
const PUBLIC_URL = 'https://broker.example.com';
/** What the store says, which nobody outside may read. */
const WORDS = 'The store store-canary-7 is down.';

const closing: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0).toReversed()) await close();
});

interface Scene extends TestBroker {
  readonly runtime: BrokerRuntime;
  readonly out: LogLines;
  /** Makes every read of the token secret fail. */
  readonly breakStore: () => void;
}

async function sceneOf(env: NodeJS.ProcessEnv): Promise<Scene> {
  const broker = createBroker();
  const out = new LogLines();
  const config = loadConfig({
    env: {
      PORT: '0',
      HOST: '127.0.0.1',
      BROKER_TOKEN_SECRET_ID: TOKEN_SECRET,
      BROKER_PEERS_SECRET_ID: PEERS_SECRET,
      BROKER_ROTATION: 'disabled',
      ...env,
    },
  });
  const log = createLogger({ level: 'info', destination: out });
  const { store, clock } = broker;
  const runtime = await createRuntime(config, { store, clock, log });
  const breakStore = (): void => {
    store.before = ({ method, secretId }) => {
      if (method === 'read' && secretId === TOKEN_SECRET) {
        throw new SecretStoreError('STORE_UNAVAILABLE', WORDS);
      }
    };
  };
  return { ...broker, runtime, out, breakStore };
}

async function serve(env: NodeJS.ProcessEnv): Promise<Scene & { readonly broker: RunningBroker }> {
  const scene = await sceneOf(env);
  const broker = await serveHttp(scene.runtime);
  closing.push(() => broker.close());
  return { ...scene, broker };
}

const portOf = (url: string | undefined): number => Number(new URL(url ?? '').port);
const bodyOf = ({ text }: RawAnswer): unknown => JSON.parse(text);

describe('a management port', () => {
  test('has the details and the metrics, and no token', async () => {
    const { broker, breakStore } = await serve({ BROKER_MANAGEMENT_PORT: '0' });
    const port = portOf(broker.managementUrl);
    expect(new URL(broker.managementUrl ?? '').hostname).toBe('127.0.0.1');
    const ready = await send(port, 'GET', '/health/ready');
    expect(ready.status).toBe(200);
    expect(bodyOf(ready)).toMatchObject({ details: { token: { remaining_seconds: 86_400 } } });
    expect(bodyOf(await send(port, 'GET', '/health/live'))).toEqual({ status: 'ok' });
    const metrics = await send(port, 'GET', '/metrics');
    expect(metrics.headers['content-type']).toBe('text/plain; version=0.0.4; charset=utf-8');
    expect(metrics.text).toContain(
      'service_token_broker_token_remaining_seconds{token="default"} 86400',
    );
    for (const path of ['/v1/token', '/oauth2/token', '/v1/rotate', '/health', '/page']) {
      for (const method of ['GET', 'POST']) {
        expect((await send(port, method, path, ADMIN)).status).toBe(404);
      }
    }
    for (const path of ['/health/live', '/health/ready', '/metrics']) {
      expect((await send(port, 'GET', `${path}/?x=1`)).status).toBe(200);
      const head = await send(port, 'HEAD', path);
      expect([head.status, head.text]).toEqual([200, '']);
      const posted = await send(port, 'POST', path);
      expect([posted.status, posted.headers.allow]).toEqual([405, 'GET, HEAD']);
    }
    breakStore();
    expect((await send(port, 'GET', '/health/ready')).status).toBe(200);
  });

  test('says why the broker is not ready, while the other port says that alone', async () => {
    const scene = await sceneOf({ BROKER_MANAGEMENT_PORT: '0' });
    scene.breakStore();
    const broker = await serveHttp(scene.runtime);
    closing.push(() => broker.close());
    const inside = await send(portOf(broker.managementUrl), 'GET', '/health/ready');
    expect(inside.status).toBe(503);
    expect(inside.text).toContain(WORDS);
    const outside = await send(broker.port, 'GET', '/health/ready');
    expect([outside.status, bodyOf(outside)]).toEqual([503, { status: 'error' }]);
    expect(JSON.stringify(outside)).not.toMatch(/canary|STORE_|secret/i);
  });

  test('that is in use is named, and the broker does not start', async () => {
    const other = createServer();
    await new Promise<void>((resolve) => other.listen(0, '127.0.0.1', resolve));
    closing.push(() => new Promise((resolve) => other.close(resolve)));
    const { port } = other.address() as AddressInfo;
    const { runtime } = await sceneOf({ BROKER_MANAGEMENT_PORT: String(port) });
    await expect(serveHttp(runtime)).rejects.toMatchObject({
      code: 'PORT_IN_USE',
      message: expect.stringContaining('Set BROKER_MANAGEMENT_PORT to a free one'),
    });
  });

  test('is closed with the broker, also while somebody is connected', async () => {
    const { broker } = await serve({ BROKER_MANAGEMENT_PORT: '0' });
    const { managementUrl = '' } = broker;
    expect((await fetch(`${managementUrl}/health/live`)).status).toBe(200);
    await broker.close();
    closing.length = 0;
    await expect(fetch(`${managementUrl}/health/live`)).rejects.toThrow('fetch failed');
  });

  test('cannot be the port of the peers', () => {
    const env = { PORT: '3000', BROKER_MANAGEMENT_PORT: '3000' };
    expect(() => loadConfig({ env })).toThrow(/BROKER_MANAGEMENT_PORT.*it is the same as PORT/s);
  });
});

describe("the broker's own port", () => {
  test.each([
    ['listens everywhere', { HOST: '0.0.0.0' }],
    ['has a management port', { BROKER_MANAGEMENT_PORT: '0' }],
    ['is reached by a public URL', { BROKER_PUBLIC_URL: PUBLIC_URL }],
  ])('says its status alone where it %s', async (_what, env) => {
    const { broker } = await serve(env);
    const ready = await send(broker.port, 'GET', '/health/ready');
    const { status, ...others } = bodyOf(ready) as { status: string };
    expect([ready.status, others]).toEqual([200, {}]);
    expect(['ok', 'degraded']).toContain(status);
    expect((await send(broker.port, 'GET', '/health/live')).status).toBe(200);
    const metrics = await send(broker.port, 'GET', '/metrics');
    expect([metrics.status, metrics.headers['www-authenticate']]).toEqual([
      401,
      expect.stringContaining('Basic'),
    ]);
    expect(metrics.text).not.toContain('service_token_broker_');
  });

  test('shows everything to admins, and to nobody else', async () => {
    const { broker } = await serve({ HOST: '0.0.0.0' });
    for (const path of ['/health/ready', '/metrics']) {
      const statusFor = async (id: string, secret: string): Promise<number> =>
        (await send(broker.port, 'GET', path, { authorization: basic(id, secret) })).status;
      expect(await statusFor('orders', SECRETS.orders)).toBe(403);
      expect(await statusFor('admin', 'wrong')).toBe(401);
      expect(await statusFor('retired', SECRETS.retired)).toBe(401);
      expect(await statusFor('admin', SECRETS.admin)).toBe(200);
    }
    const ready = await send(broker.port, 'GET', '/health/ready', ADMIN);
    expect(bodyOf(ready)).toMatchObject({ details: { token: { remaining_seconds: 86_400 } } });
    const metrics = await send(broker.port, 'GET', '/metrics', ADMIN);
    expect(metrics.text).toContain('service_token_broker_http_requests_total');
  });

  test('shows everything where only this machine reaches it', async () => {
    const { broker } = await serve({ HOST: 'LOCALHOST' });
    expect(broker.managementUrl).toBeUndefined();
    const response = await fetch(`${broker.url}/health/ready`);
    expect(await response.json()).toHaveProperty('details.token');
    expect((await fetch(`${broker.url}/metrics`)).status).toBe(200);
  });
});

describe.each(['fastify', 'express'])('inside an application on %s', (framework) => {
  test("the application's port is like the broker's own, whatever HOST says", async () => {
    const { runtime } = await sceneOf({ BROKER_MANAGEMENT_PORT: '0' });
    const adapter = framework === 'fastify' ? new FastifyAdapter() : new ExpressAdapter();
    const app = await NestFactory.create(BrokerModule.forRuntime(runtime), adapter, {
      logger: false,
    });
    closing.push(() => app.close());
    await app.listen(0, '127.0.0.1');
    const { port } = app.getHttpServer().address() as AddressInfo;
    const ready = await send(port, 'GET', '/health/ready');
    expect([ready.status, Object.keys(bodyOf(ready) as object)]).toEqual([200, ['status']]);
    expect((await send(port, 'GET', '/metrics')).status).toBe(401);
    expect((await send(port, 'GET', '/metrics', ADMIN)).status).toBe(200);
    const inside = portOf(app.get(ManagementServer).url);
    expect(bodyOf(await send(inside, 'GET', '/health/ready'))).toHaveProperty('details.token');
  });
});

describe('at start', () => {
  const warnings = ({ out }: Scene): unknown[] =>
    out.lines
      .filter(({ level }) => level === 'warn')
      .map(({ message }) => message)
      .filter((message) => String(message).includes('clear text'));

  test.each([
    ['0.0.0.0', {}, 1],
    ['::', {}, 1],
    ['0.0.0.0', { BROKER_PUBLIC_URL: PUBLIC_URL }, 0],
    ['127.0.0.1', {}, 0],
    ['127.0.0.2', {}, 0],
    ['localhost', {}, 0],
    ['::1', {}, 0],
  ])('on %s with %j: %d warnings of clear text', async (HOST, env, count) => {
    const scene = await serve({ HOST, ...env });
    expect(warnings(scene)).toHaveLength(count);
    if (count > 0) expect(warnings(scene)[0]).toMatch(/BROKER_PUBLIC_URL.*HOST=127\.0\.0\.1/);
  });
});

test('probes of a broker that is not ready: one line when it changes, none for each, and no stack', async () => {
  const scene = await sceneOf({ HOST: '0.0.0.0', BROKER_MANAGEMENT_PORT: '0' });
  scene.breakStore();
  const broker = await serveHttp(scene.runtime);
  closing.push(() => broker.close());
  const { out, store, clock } = scene;
  const probe = async (): Promise<number[]> => {
    const statuses: number[] = [];
    for (const port of [broker.port, portOf(broker.managementUrl), broker.port]) {
      statuses.push((await send(port, 'GET', '/health/ready')).status);
      clock.advance(5_000);
    }
    return statuses;
  };
  const ofProbes = (): readonly Record<string, unknown>[] =>
    out.lines.filter(
      ({ message, context, route }) =>
        context === 'Readiness' || route === '/health/ready' || message === 'request',
    );
  out.text = '';
  expect(await probe()).toEqual([503, 503, 503]);
  expect(await probe()).toEqual([503, 503, 503]);
  expect(ofProbes()).toMatchObject([{ level: 'error', message: `Not ready. ${WORDS}` }]);
  expect(JSON.stringify(ofProbes())).not.toMatch(/"stack"|\\n\s+at /);
  store.before = () => undefined;
  expect(await probe()).toEqual([200, 200, 200]);
  // And that the token is too short for the schedule, which is known once it was read.
  expect(ofProbes().slice(1)).toMatchObject([
    { message: 'Ready again.' },
    { message: expect.stringMatching(/^Ready, degraded\. A token lives/) },
  ]);
});
