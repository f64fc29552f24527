import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { VersioningType, type INestApplication } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { ExpressAdapter } from '@nestjs/platform-express';
import { FastifyAdapter } from '@nestjs/platform-fastify';
import type { AddressInfo } from 'node:net';
import { BrokerModule } from '../../src/composition/broker.module.js';
import { serveHttp, type RunningBroker } from '../../src/composition/http-server.js';
import { createRuntime, type BrokerRuntime } from '../../src/composition/runtime.js';
import { loadConfig } from '../../src/config/load-config.js';
import { createLogger } from '../../src/operations/log.js';
import {
  basic,
  createBroker,
  PEERS_SECRET,
  SECRETS,
  send,
  TOKEN_SECRET,
  type RawAnswer,
} from '../serving/broker.js';

const METADATA = '/.well-known/oauth-authorization-server';
const METHODS = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS', 'TRACE', 'PROPFIND'];

/** The paths, the methods that they take, and the status of one that they take without credentials. */
const ROUTES = [
  { path: '/v1/token', methods: ['GET', 'HEAD'], status: 401 },
  { path: '/oauth2/token', methods: ['POST'], status: 400 },
  { path: '/v1/rotate', methods: ['POST'], status: 401 },
  { path: METADATA, methods: ['GET', 'HEAD'], status: 200 },
  { path: '/health/live', methods: ['GET', 'HEAD'], status: 200 },
  { path: '/health/ready', methods: ['GET', 'HEAD'], status: 200 },
  { path: '/metrics', methods: ['GET', 'HEAD'], status: 401 },
] as const;

async function runtimeOf(env: NodeJS.ProcessEnv = {}): Promise<BrokerRuntime> {
  const { store, clock } = createBroker();
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
  return createRuntime(config, { store, clock, log: createLogger({ level: 'silent' }) });
}

function errorOf({ text }: RawAnswer): unknown {
  return text === '' ? undefined : (JSON.parse(text) as { error?: unknown }).error;
}

describe('every path with every method', () => {
  let broker: RunningBroker;
  beforeAll(async () => {
    broker = await serveHttp(await runtimeOf({ BROKER_PUBLIC_URL: 'https://broker.example.com' }));
  });
  afterAll(() => broker.close());

  test.each(ROUTES)('$path', async ({ path, methods, status }) => {
    const taken: readonly string[] = methods;
    for (const target of [path, `${path}/`, `${path}?x=1`, `${path}/?x=1`]) {
      for (const method of METHODS) {
        const answer = await send(broker.port, method, target);
        const what = [method, target, answer.status, answer.headers.allow];
        if (taken.includes(method)) {
          expect(what).toEqual([method, target, status, undefined]);
        } else {
          expect(what).toEqual([method, target, 405, methods.join(', ')]);
          expect(errorOf(answer)).toBe(method === 'HEAD' ? undefined : 'method_not_allowed');
        }
        expect(answer.headers).toMatchObject({
          'content-type': 'application/json',
          'cache-control': 'no-store',
          'x-content-type-options': 'nosniff',
        });
      }
    }
  });

  test('with credentials, a slash at the end changes nothing', async () => {
    const authorization = basic('orders', SECRETS.orders);
    for (const slash of ['', '/']) {
      const got = await send(broker.port, 'GET', `/v1/token${slash}`, { authorization });
      expect(got.status).toBe(200);
      const form = 'grant_type=client_credentials';
      const headers = {
        authorization,
        'content-type': 'application/x-www-form-urlencoded',
        'content-length': String(form.length),
      };
      const issued = await send(broker.port, 'POST', `/oauth2/token${slash}`, headers, form);
      expect(issued.status).toBe(200);
    }
  });

  test.each([
    '/',
    '/nothing',
    '/.well-known/openid-configuration',
    '/.well-known/openid-configuration/',
    '/.well-known/jwks.json',
    `${METADATA}/elsewhere`,
    `${METADATA}-2`,
    ...ROUTES.flatMap(({ path }) => [`${path}//`, `/${path}`, path.toUpperCase(), `${path}%2f`]),
  ])('%s: 404 in the same form, whatever the method', async (target) => {
    for (const method of METHODS) {
      const answer = await send(broker.port, method, target);
      expect([method, answer.status]).toEqual([method, 404]);
      expect(errorOf(answer)).toBe(method === 'HEAD' ? undefined : 'not_found');
      expect(answer.headers).toMatchObject({
        'content-type': 'application/json',
        'cache-control': 'no-store',
      });
    }
  });

  test('an invalid path is 400 in the same form', async () => {
    const answer = await send(broker.port, 'GET', '/v1/%zz');
    expect([answer.status, errorOf(answer)]).toEqual([400, 'invalid_request']);
  });
});

describe('the metadata of an issuer with a path', () => {
  test('is at both places, and names what works', async () => {
    const broker = await serveHttp(
      await runtimeOf({ BROKER_PUBLIC_URL: 'https://gateway.example.com/broker/' }),
    );
    for (const path of [METADATA, `${METADATA}/broker`, `${METADATA}/broker/`]) {
      const answer = await send(broker.port, 'GET', path);
      expect(JSON.parse(answer.text)).toMatchObject({
        issuer: 'https://gateway.example.com/broker',
        token_endpoint: 'https://gateway.example.com/broker/oauth2/token',
      });
    }
    expect((await send(broker.port, 'DELETE', `${METADATA}/broker`)).status).toBe(405);
    expect((await send(broker.port, 'GET', `${METADATA}/other`)).status).toBe(404);
    await broker.close();
  });
});

describe.each(['fastify', 'express'] as const)('inside an application on %s', (framework) => {
  const withApp = async (
    env: NodeJS.ProcessEnv,
    change: (app: INestApplication) => unknown,
    use: (port: number) => Promise<void>,
  ): Promise<void> => {
    const adapter = framework === 'fastify' ? new FastifyAdapter() : new ExpressAdapter();
    const broker = BrokerModule.forRuntime(await runtimeOf(env));
    const app = await NestFactory.create(broker, adapter, { logger: false });
    change(app);
    await app.listen(0, '127.0.0.1');
    await use((app.getHttpServer().address() as AddressInfo).port);
    await app.close();
  };

  /** Asks for the metadata, and then for a token where it says. */
  const discover = async (port: number, path: string): Promise<readonly [string, number]> => {
    const answer = await send(port, 'GET', path);
    const { issuer, token_endpoint: endpoint } = JSON.parse(answer.text) as {
      issuer: string;
      token_endpoint: string;
    };
    const form = 'grant_type=client_credentials';
    const issued = await send(
      port,
      'POST',
      new URL(endpoint).pathname,
      {
        authorization: basic('orders', SECRETS.orders),
        'content-type': 'application/x-www-form-urlencoded',
        'content-length': String(form.length),
      },
      form,
    );
    return [issuer, issued.status];
  };

  test.each([['internal/broker'], ['/internal/broker'], ['api']])(
    'with the global prefix %s the metadata names the token endpoint that is there',
    async (prefix) => {
      const plain = prefix.replace(/^\//, '');
      await withApp(
        {},
        (app) => app.setGlobalPrefix(prefix),
        async (port) => {
          expect(await discover(port, `/${plain}${METADATA}`)).toEqual([
            `http://127.0.0.1:${port}/${plain}`,
            200,
          ]);
        },
      );
    },
  );

  test('and where RFC 8414 looks for it, when the application lets it be there', async () => {
    await withApp(
      { BROKER_PUBLIC_URL: 'https://orders.example.com/api' },
      (app) => app.setGlobalPrefix('api', { exclude: [`${METADATA}/*path`] }),
      async (port) => {
        for (const path of [`${METADATA}/api`, `/api${METADATA}`]) {
          expect(await discover(port, path)).toEqual(['https://orders.example.com/api', 200]);
        }
      },
    );
  });

  test.each([
    ['in the URL', { type: VersioningType.URI, defaultVersion: '1' }],
    ['in a header', { type: VersioningType.HEADER, header: 'X-Version', defaultVersion: '1' }],
    ['in the media type', { type: VersioningType.MEDIA_TYPE, key: 'v=', defaultVersion: '1' }],
  ] as const)('a version %s leaves the paths as they are', async (_where, versioning) => {
    await withApp(
      {},
      (app) => app.enableVersioning(versioning),
      async (port) => {
        expect(await discover(port, METADATA)).toEqual([`http://127.0.0.1:${port}`, 200]);
        const authorization = basic('orders', SECRETS.orders);
        expect((await send(port, 'GET', '/v1/token', { authorization })).status).toBe(200);
        expect((await send(port, 'GET', '/health/live')).status).toBe(200);
      },
    );
  });
});
