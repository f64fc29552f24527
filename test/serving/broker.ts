import { createHash } from 'node:crypto';
import { request as httpRequest, type IncomingHttpHeaders } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { INestApplication } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { ExpressAdapter } from '@nestjs/platform-express';
import { FastifyAdapter } from '@nestjs/platform-fastify';
import { createHotLane, hotLaneServerFactory } from '../../src/serving/hot-lane.js';
import { ServingErrorFilter, ServingModule } from '../../src/serving/serving.module.js';
import {
  createServing,
  type ServedTokenOptions,
  type Serving,
  type ServingOptions,
} from '../../src/serving/serving.js';
import type { TokenCache } from '../../src/serving/token-cache.js';
import { serializeServiceToken, type ServiceToken } from '../../src/tokens/service-token.js';
import { MemorySecretStore } from '../support/memory-store.js';
import { VirtualClock } from '../support/virtual-clock.js';

export const START = Date.parse('2026-11-22T12:00:00.000Z');
export const DAY_SECONDS = 86_400;
export const TOKEN_SECRET = 'broker/token';
export const PEERS_SECRET = 'broker/peers';
export const AUDIENCE = 'https://services.example.com';

/** The peers every test broker has, with their secrets. */
export const SECRETS = {
  orders: 'orders-secret-0123456789abcdefghijklmnopqrst',
  admin: 'admin-secret-0123456789abcdefghijklmnopqrstu',
  retired: 'retired-secret-0123456789abcdefghijklmnopqrs',
} as const;

export function peerEntry(secret: string, roles: readonly string[], enabled = true): object {
  return {
    secret_sha256: createHash('sha256').update(secret).digest('base64url'),
    roles,
    enabled,
    created_at: '2026-01-01T00:00:00.000Z',
  };
}

export function tokenAt(now: number, change: Partial<ServiceToken> = {}): ServiceToken {
  return {
    accessToken: 'header.payload.signature-one',
    tokenType: 'Bearer',
    expiresAt: now + DAY_SECONDS * 1_000,
    generatedAt: now,
    issuer: 'https://issuer.example.com/',
    audience: [AUDIENCE],
    ...change,
  };
}

export function basic(id: string, secret: string): string {
  return `Basic ${Buffer.from(`${id}:${secret}`).toString('base64')}`;
}

export interface TestBroker {
  readonly clock: VirtualClock;
  readonly store: MemorySecretStore;
  readonly serving: Serving;
  /** The version id of the first token. */
  readonly versionId: string;
}

/** A store with a token and three peers, and the endpoints over it. */
export function createBroker({
  scope,
  rotator,
  ...options
}: Partial<ServingOptions> & Pick<ServedTokenOptions, 'scope' | 'rotator'> = {}): TestBroker {
  const clock = new VirtualClock(START);
  const store = new MemorySecretStore({ clock });
  const versionId = store.seed(TOKEN_SECRET, serializeServiceToken(tokenAt(START)));
  store.seed(
    PEERS_SECRET,
    JSON.stringify({
      peers: {
        orders: peerEntry(SECRETS.orders, ['token']),
        admin: peerEntry(SECRETS.admin, ['admin']),
        retired: peerEntry(SECRETS.retired, ['token', 'admin'], false),
      },
    }),
  );
  const serving = createServing({
    store,
    tokens: [
      {
        name: 'default',
        secretId: TOKEN_SECRET,
        ...(scope !== undefined && { scope }),
        ...(rotator && { rotator }),
      },
    ],
    peersSecretId: PEERS_SECRET,
    clock,
    random: () => 0,
    ...options,
  });
  return { clock, store, serving, versionId };
}

/** The cache of the only token. */
export function tokenCacheOf({ tokenCaches }: Serving): TokenCache {
  const [cache] = tokenCaches.values();
  if (cache === undefined) throw new Error('There is no token.');
  return cache;
}

/** How the broker is put on the network. */
export type Server = 'fastify' | 'fastify with the hot lane' | 'express';
export const SERVERS: readonly Server[] = ['fastify', 'fastify with the hot lane', 'express'];

export interface RunningApp {
  readonly app: INestApplication;
  readonly port: number;
  readonly url: string;
}

export async function startApp(serving: Serving, server: Server): Promise<RunningApp> {
  const adapter = server === 'express' ? new ExpressAdapter() : fastify(serving, server);
  const app = await NestFactory.create(ServingModule.register(serving), adapter, {
    logger: ['fatal'],
  });
  app.useGlobalFilters(new ServingErrorFilter());
  await app.listen(0, '127.0.0.1');
  const { port } = app.getHttpServer().address() as AddressInfo;
  return { app, port, url: `http://127.0.0.1:${port}` };
}

function fastify(serving: Serving, server: Server): FastifyAdapter {
  if (server === 'fastify') return new FastifyAdapter();
  return new FastifyAdapter({
    serverFactory: hotLaneServerFactory(
      createHotLane(serving.token, { authorize: serving.authorize }),
    ),
    return503OnClosing: false,
  });
}

export interface RawAnswer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  /** Names and values as they came over the wire, without what Node adds for the connection. */
  readonly rawHeaders: readonly string[];
  readonly text: string;
}

/** One request with exactly these headers, repeated ones included. */
export function send(
  port: number,
  method: string,
  path: string,
  headers: Record<string, string | string[]> = {},
  body = '',
): Promise<RawAnswer> {
  return new Promise((resolve, reject) => {
    const request = httpRequest({ host: '127.0.0.1', port, method, path, headers }, (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.on('error', reject);
      response.on('end', () => {
        resolve({
          status: response.statusCode ?? 0,
          headers: response.headers,
          rawHeaders: withoutConnection(response.rawHeaders),
          text: Buffer.concat(chunks).toString(),
        });
      });
    });
    request.on('error', reject);
    request.end(body);
  });
}

function withoutConnection(rawHeaders: readonly string[]): string[] {
  const own = new Set(['date', 'connection', 'keep-alive', 'x-powered-by']);
  return rawHeaders.filter((_, index) => {
    const name = rawHeaders[index - (index % 2)] ?? '';
    return !own.has(name.toLowerCase());
  });
}

/** Sends a form, as an OAuth client does. */
export function sendForm(
  port: number,
  form: string | Record<string, string>,
  headers: Record<string, string | string[]> = {},
): Promise<RawAnswer> {
  const body = typeof form === 'string' ? form : new URLSearchParams(form).toString();
  return send(
    port,
    'POST',
    '/oauth2/token',
    {
      'content-type': 'application/x-www-form-urlencoded',
      'content-length': String(Buffer.byteLength(body)),
      ...headers,
    },
    body,
  );
}
