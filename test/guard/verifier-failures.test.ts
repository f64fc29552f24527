import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { describe, expect, test } from '@jest/globals';
import type { NextFunction, Request, Response } from 'express';
import type { FastifyInstance } from 'fastify';
import { createExpressGuard } from '../../src/guard/express/index.js';
import { fastifyGuard } from '../../src/guard/fastify/index.js';
import type { TokenVerifier } from '../../src/verification/verifier.js';

/** What frameworks take for leave to go on, or could: JavaScript lets anything be thrown. */
const THROWN = [undefined, null, 0, false, '', 'route', 'router', 'text', Symbol('thrown')];

const failing = (thrown: unknown, whence: 'verify' | 'peek'): TokenVerifier => ({
  keyStates: () => new Map(),
  verify: () => Promise.reject(thrown),
  peek: () => {
    if (whence === 'verify') return undefined;
    throw thrown;
  },
});

const CASES = THROWN.flatMap((thrown) =>
  (['verify', 'peek'] as const).map((whence) => [String(thrown), whence, thrown] as const),
);
const HEADERS = { authorization: 'Bearer abc.def.ghi' };
const REQUIREMENT = { allow: ['customer', 'service'] } as const;

describe.each(['express', 'express-4'])('%s', (name) => {
  test.each(CASES)(
    'a verifier that throws %s in %s lets nobody in',
    async (_text, whence, thrown) => {
      const { default: express } = (await import(name)) as {
        readonly default: typeof import('express');
      };
      const guard = createExpressGuard({ verifier: failing(thrown, whence) });
      let entered = 0;
      const app = express();
      app.set('env', 'test');
      app.get('/', guard.requireToken(REQUIREMENT), (_request, response) => {
        entered += 1;
        response.send('in');
      });
      app.get('/', (_request, response) => {
        entered += 1;
        response.send('in the next route');
      });
      const server = createServer(app).listen(0, '127.0.0.1');
      await once(server, 'listening');
      const { port } = server.address() as AddressInfo;
      const { status } = await fetch(`http://127.0.0.1:${port}/`, { headers: HEADERS });
      server.closeAllConnections();
      server.close();
      expect({ status, entered }).toEqual({ status: 500, entered: 0 });
    },
  );
});

test('a refused request has no caller that others have set', async () => {
  const { default: express } = await import('express');
  const guard = createExpressGuard({
    verifier: failing(new Error('unused'), 'verify'),
    requestProperty: 'user',
    passRefusals: true,
  });
  const seen: unknown[] = [];
  const app = express();
  app.use((request, _response, next) => {
    Object.assign(request, { user: { name: 'of a session' } });
    next();
  });
  app.use(guard.requireToken(REQUIREMENT));
  app.use((_error: Error, request: Request, response: Response, _next: NextFunction) => {
    seen.push((request as { user?: unknown }).user);
    response.sendStatus(401);
  });
  const server = createServer(app).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const { status } = await fetch(`http://127.0.0.1:${port}/`);
  server.closeAllConnections();
  server.close();
  expect({ status, seen }).toEqual({ status: 401, seen: [undefined] });
});

describe.each(['fastify', 'fastify-4'])('%s', (name) => {
  test.each(CASES)(
    'a verifier that throws %s in %s lets nobody in',
    async (_text, whence, thrown) => {
      const { default: fastify } = (await import(name)) as {
        readonly default: () => FastifyInstance;
      };
      const app = fastify();
      await app.register(fastifyGuard, { verifier: failing(thrown, whence) });
      let entered = 0;
      app.get('/', { config: { access: REQUIREMENT } }, () => (entered += 1));
      const { statusCode } = await app.inject({ url: '/', headers: HEADERS });
      await app.close();
      expect({ statusCode, entered }).toEqual({ statusCode: 500, entered: 0 });
    },
  );
});
