/* oxlint-disable oxc/no-async-endpoint-handlers -- Fastify awaits them. */
import { beforeAll, afterEach, describe, expect, test } from '@jest/globals';
import type { FastifyInstance, FastifyReply, FastifyRequest, FastifyServerOptions } from 'fastify';
import {
  CallRefusedError,
  currentCallContext,
  fastifyGuard,
  type HttpGuardOptions,
  type RefusedCall,
  type TokenRequirement,
} from '../../src/guard/fastify/index.js';
import { createRemoteKeySet } from '../../src/guard/index.js';
import { JwksServer } from '../verification/support/jwks-server.js';
import { AUDIENCE, createIssuer, type TestIssuer } from './support/issuer.js';

let issuer: TestIssuer;
beforeAll(async () => {
  issuer = await createIssuer();
});

const whose = (): string => currentCallContext()?.principal.subject ?? 'nobody';
const seen = async (request: FastifyRequest): Promise<object> => {
  const atOnce = whose();
  await new Promise(setImmediate);
  return { principal: request.principal?.subject ?? null, atOnce, later: whose() };
};
const ANN = { principal: 'ann', atOnce: 'ann', later: 'ann' };
const NOBODY = { principal: null, atOnce: 'nobody', later: 'nobody' };

describe.each(['fastify', 'fastify-4'])('%s', (name) => {
  let fastify: (options?: FastifyServerOptions) => FastifyInstance;
  const apps: FastifyInstance[] = [];
  beforeAll(async () => {
    ({ default: fastify } = (await import(name)) as {
      readonly default: (options?: FastifyServerOptions) => FastifyInstance;
    });
  });
  afterEach(async () => {
    for (const app of apps.splice(0)) await app.close();
  });

  function create(options?: FastifyServerOptions): FastifyInstance {
    const app = fastify(options);
    apps.push(app);
    return app;
  }

  const optionsOf = (options: Partial<HttpGuardOptions> = {}): HttpGuardOptions => ({
    clock: issuer.clock,
    issuers: [issuer.options],
    ...options,
  });

  async function guarded(options: Partial<HttpGuardOptions> = {}): Promise<FastifyInstance> {
    const app = create();
    await app.register(fastifyGuard, optionsOf(options));
    return app;
  }

  const listen = (app: FastifyInstance): Promise<string> =>
    app.listen({ port: 0, host: '127.0.0.1' });

  const call = async (url: string, token?: string, method = 'GET') =>
    fetch(url, {
      method,
      headers: token === undefined ? {} : { authorization: `Bearer ${token}` },
    });

  test('a route without a declaration is closed, for a valid token and for none', async () => {
    const refused: RefusedCall[] = [];
    const app = await guarded({ onRefused: (one) => refused.push(one) });
    app.get('/orders/:id', seen);
    app.get('/empty', { config: {} }, seen);
    const url = await listen(app);
    const response = await call(`${url}/orders/7`, await issuer.customerToken());
    expect(response.status).toBe(403);
    await expect(response.json()).resolves.toEqual({ statusCode: 403, message: 'Forbidden.' });
    expect(response.headers.get('www-authenticate')).toBeNull();
    expect((await call(`${url}/orders/7`)).status).toBe(403);
    expect((await call(`${url}/empty`)).status).toBe(403);
    expect(refused[0]).toMatchObject({
      handler: 'GET /orders/:id',
      transport: 'http',
      refusal: { reason: 'NOT_DECLARED' },
    });
  });

  const CUSTOMER: TokenRequirement = { allow: 'customer' };
  test.each<[string, TokenRequirement, 'customer' | 'service', object, number]>([
    ['a customer', CUSTOMER, 'customer', {}, 200],
    ['a service where only customers may', CUSTOMER, 'service', {}, 403],
    ['a service', { allow: ['service'] }, 'service', {}, 200],
    ['either', { allow: ['service', 'customer'] }, 'customer', {}, 200],
    ['another client', { allow: 'service', clients: ['other'] }, 'service', {}, 403],
    ['a scope missing', { ...CUSTOMER, scopes: ['orders:write'] }, 'customer', {}, 403],
    [
      'its claims',
      { ...CUSTOMER, claims: { tenant: 'acme' } },
      'customer',
      { tenant: 'acme' },
      200,
    ],
    ['a claim missing', { ...CUSTOMER, claims: { tenant: 'acme' } }, 'customer', {}, 403],
  ])('%s', async (_, access, kind, claims, status) => {
    const app = await guarded();
    app.get('/', { config: { access } }, seen);
    const response = await call(await listen(app), await issuer[`${kind}Token`]({ ...claims }));
    expect(response.status).toBe(status);
    if (status !== 200) return;
    const subject = kind === 'customer' ? 'ann' : 'job';
    await expect(response.json()).resolves.toEqual({
      principal: subject,
      atOnce: subject,
      later: subject,
    });
  });

  test('a public route reads no token and runs for nobody', async () => {
    const app = await guarded();
    app.get('/', { config: { access: 'public' } }, seen);
    const url = await listen(app);
    await expect((await call(url)).json()).resolves.toEqual(NOBODY);
    await expect((await call(url, await issuer.customerToken())).json()).resolves.toEqual(NOBODY);
    expect((await call(url, 'nonsense')).status).toBe(200);
  });

  test('refused calls are answered as in NestJS', async () => {
    const jwks = await JwksServer.start();
    jwks.behaviour = { kind: 'answer', status: 500, body: 'down' };
    const down = {
      issuer: 'https://down.example/',
      audiences: AUDIENCE,
      profile: 'rfc9068',
      keys: createRemoteKeySet({ jwksUri: jwks.uri, clock: issuer.clock }),
    } as const;
    const app = await guarded({ issuers: [issuer.options, down], realm: 'orders' });
    let handled = 0;
    app.get('/', { config: { access: { allow: 'customer', scopes: ['orders:write'] } } }, () => {
      handled += 1;
      return 'handled';
    });
    const url = await listen(app);
    const none = await call(url);
    expect([none.status, await none.json(), none.headers.get('www-authenticate')]).toEqual([
      401,
      { statusCode: 401, message: 'A bearer token is required.' },
      'Bearer realm="orders"',
    ]);
    expect(none.headers.get('content-type')).toBe('application/json; charset=utf-8');
    const short = await call(url, await issuer.customerToken());
    expect([short.status, await short.json(), short.headers.get('www-authenticate')]).toEqual([
      403,
      {
        statusCode: 403,
        error: 'insufficient_scope',
        message: 'The access token lacks a scope.',
      },
      'Bearer realm="orders", error="insufficient_scope", error_description="The access token lacks a scope.", scope="orders:write"',
    ]);
    const unverifiable = await call(url, await issuer.customerToken({ iss: down.issuer }));
    expect([unverifiable.status, unverifiable.headers.get('www-authenticate')]).toEqual([
      503,
      null,
    ]);
    expect(Number(unverifiable.headers.get('retry-after'))).toBeGreaterThanOrEqual(1);
    const head = await call(url, undefined, 'HEAD');
    expect([head.status, await head.text()]).toEqual([401, '']);
    await jwks.stop();
    expect(handled).toBe(0);
  });

  test('what was registered before it, without waiting, and below, is closed as well', async () => {
    const app = create();
    app.get('/early', seen);
    await app.register((child, _, done) => {
      child.get('/child', seen);
      void child.register((grandchild, __, ready) => {
        grandchild.get('/grandchild', seen);
        ready();
      });
      done();
    });
    await app.register(fastifyGuard, optionsOf());
    app.get('/late', seen);
    void app.register((child, _, done) => {
      child.get('/late-child', { config: { access: { allow: 'customer' } } }, seen);
      done();
    });
    const url = await listen(app);
    const token = await issuer.customerToken();
    for (const path of ['early', 'child', 'grandchild', 'late']) {
      expect([path, (await call(`${url}/${path}`, token)).status]).toEqual([path, 403]);
    }
    expect((await call(`${url}/late-child`)).status).toBe(401);
    await expect((await call(`${url}/late-child`, token)).json()).resolves.toEqual(ANN);
  });

  test('registered without being awaited, it holds for the routes after it', async () => {
    const app = create();
    void app.register(fastifyGuard, optionsOf());
    app.get('/closed', seen);
    app.get('/open', { config: { access: { allow: 'customer' } } }, seen);
    const url = await listen(app);
    expect((await call(`${url}/closed`)).status).toBe(403);
    expect((await call(`${url}/open`)).status).toBe(401);
    expect((await call(`${url}/open`, await issuer.customerToken())).status).toBe(200);
  });

  test('on an instance below, it does not reach beyond', async () => {
    const app = create();
    app.get('/outside', async () => whose());
    void app.register(async (child) => {
      await child.register(fastifyGuard, optionsOf());
      child.get('/inside', seen);
    });
    const url = await listen(app);
    expect((await call(`${url}/outside`)).status).toBe(200);
    expect((await call(`${url}/inside`)).status).toBe(403);
  });

  test('a plugin’s routes are declared by a hook around it', async () => {
    const lines: string[] = [];
    const app = create();
    await app.register(
      fastifyGuard,
      optionsOf({ logger: { warn: (line: string) => lines.push(line) } }),
    );
    await app.register(async (around) => {
      around.addHook('onRoute', (route) => {
        route.config = { ...route.config, access: 'public' };
      });
      await around.register((library, _, done) => {
        library.get('/docs', seen);
        done();
      });
    });
    const url = await listen(app);
    expect((await call(`${url}/docs`)).status).toBe(200);
    expect(lines).toEqual([]);
  });

  test('a route that is not there is not judged; nobody is behind it', async () => {
    const app = await guarded();
    app.setNotFoundHandler(async (request, reply) => reply.code(404).send(await seen(request)));
    const url = await listen(app);
    const response = await call(`${url}/none`, await issuer.customerToken());
    expect(response.status).toBe(404);
    await expect(response.json()).resolves.toEqual(NOBODY);
  });

  test('a preflight is answered by what stands before the guard, as by @fastify/cors', async () => {
    const app = create();
    app.addHook('onRequest', (request, reply, done) => {
      if (request.method === 'OPTIONS') void reply.code(204).send();
      else done();
    });
    await app.register(fastifyGuard, optionsOf());
    app.get('/', { config: { access: { allow: 'customer' } } }, seen);
    app.options('/', () => 'handled');
    const url = await listen(app);
    expect((await call(url, undefined, 'OPTIONS')).status).toBe(204);
    expect((await call(url)).status).toBe(401);
    expect((await call(url, await issuer.customerToken(), 'HEAD')).status).toBe(200);
  });

  test('undeclared routes are warned of at the start, once', async () => {
    const lines: string[] = [];
    const app = await guarded({ logger: { warn: (line: string) => lines.push(line) } });
    app.get('/forgotten', seen);
    app.route({ method: ['PUT', 'POST'], url: '/both', handler: seen });
    app.get('/declared', { config: { access: { allow: 'customer' } } }, seen);
    const url = await listen(app);
    await call(`${url}/forgotten`);
    const [line, ...others] = lines;
    expect(line).toContain('GET /forgotten');
    expect(line).toContain('PUT,POST /both');
    expect(line).toContain("Add config: { access: { allow: 'service' } }");
    expect(line).not.toContain('/declared');
    expect(others).toEqual([]);
  });

  test.each<[unknown, RegExp]>([
    ['Public', /may be the text 'public'/],
    ['', /may be the text 'public'/],
    [null, /takes an object/],
    [true, /takes an object/],
    [['public'], /takes an object/],
    [{}, /"allow" must be/],
    [{ allow: 'customer', scope: ['a'] }, /unknown member "scope"/],
    [{ allow: 'customer', claims: {} }, /requires no claim/],
  ])('config.access %p is refused where the route is added', async (access, words) => {
    const app = await guarded();
    expect(() =>
      app.get('/orders', { config: { access: access as TokenRequirement } }, seen),
    ).toThrow(
      expect.objectContaining({
        code: 'GUARD_MISCONFIGURED',
        message: expect.stringMatching(words),
      }),
    );
  });

  test('a mistake in a route that was added before it: 500, never open', async () => {
    const app = create();
    app.get('/', { config: { access: { allow: 'anybody' } as never } }, seen);
    await app.register(fastifyGuard, optionsOf());
    expect((await call(await listen(app), await issuer.customerToken())).status).toBe(500);
  });

  test('passRefusals: the error handler gets the refusal', async () => {
    const app = await guarded({ passRefusals: true });
    const errors: unknown[] = [];
    app.get('/', { config: { access: { allow: 'customer' } } }, seen);
    const url = await listen(app);
    const plain = await call(url);
    expect([plain.status, plain.headers.get('www-authenticate')]).toEqual([401, 'Bearer']);

    const shaped = await guarded({ passRefusals: true });
    shaped.setErrorHandler((error: CallRefusedError, _, reply: FastifyReply) => {
      errors.push(error);
      return reply.code(error.statusCode).send({ title: error.body.message, context: whose() });
    });
    shaped.get('/', { config: { access: { allow: 'customer' } } }, seen);
    const answer = await call(await listen(shaped));
    expect(answer.status).toBe(401);
    await expect(answer.json()).resolves.toEqual({
      title: 'A bearer token is required.',
      context: 'nobody',
    });
    expect(errors).toEqual([expect.any(CallRefusedError)]);
  });

  test('an error that says nothing about the token: 500', async () => {
    const app = create();
    const verifier = {
      verify: () => Promise.reject(new Error('broken')),
      keyStates: () => new Map(),
    };
    await app.register(fastifyGuard, { verifier });
    app.get('/', { config: { access: { allow: 'customer' } } }, seen);
    const response = await call(await listen(app), await issuer.customerToken());
    expect(response.status).toBe(500);
  });

  test('many at once, with bodies, and injected ones, each in its own call context', async () => {
    const app = await guarded();
    app.post('/', { config: { access: { allow: 'customer' } } }, seen);
    const url = await listen(app);
    const body = JSON.stringify({ text: 'x'.repeat(50_000) });
    const subjects = Array.from({ length: 30 }, (_, index) => `customer-${index}`);
    const answers = await Promise.all(
      subjects.map(async (sub, index) => {
        const headers = {
          authorization: `Bearer ${await issuer.customerToken({ sub })}`,
          'content-type': 'application/json',
        };
        if (index % 3 === 0) {
          const response = await app.inject({ method: 'POST', url: '/', headers, payload: body });
          return response.json<object>();
        }
        const response = await fetch(url, { method: 'POST', headers, body });
        return (await response.json()) as object;
      }),
    );
    expect(answers).toEqual(subjects.map((sub) => ({ principal: sub, atOnce: sub, later: sub })));
    expect(whose()).toBe('nobody');
  });

  test('another property; one that is decorated already is used', async () => {
    const app = create();
    app.decorateRequest('user', null);
    await app.register(fastifyGuard, optionsOf({ requestProperty: 'user' }));
    app.get('/', { config: { access: { allow: 'customer' } } }, (request) => {
      const { user } = request as unknown as { user: { subject: string } };
      return { user: user.subject };
    });
    const response = await call(await listen(app), await issuer.customerToken());
    await expect(response.json()).resolves.toEqual({ user: 'ann' });
  });

  test('a polluted prototype opens no route', async () => {
    const app = create();
    await app.register(fastifyGuard, optionsOf());
    app.get('/', seen);
    const polluted = Object.prototype as { access?: unknown };
    polluted.access = 'public';
    try {
      expect((await app.inject({ url: '/' })).statusCode).toBe(403);
    } finally {
      delete polluted.access;
    }
  });
});
