/* oxlint-disable oxc/no-async-endpoint-handlers -- these do not throw. */
import { once } from 'node:events';
import { createServer, request as send, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import type { Express, NextFunction, Request, Response as ExpressResponse } from 'express';
import { createAuthorizedFetch } from '../../src/client/index.js';
import {
  CallRefusedError,
  createExpressGuard,
  currentCallContext,
  type HttpGuardOptions,
  type RefusedCall,
  type TokenRequirement,
} from '../../src/guard/express/index.js';
import { createRemoteKeySet } from '../../src/guard/index.js';
import { JwksServer } from '../verification/support/jwks-server.js';
import { AUDIENCE, createIssuer, type TestIssuer } from './support/issuer.js';

type ExpressModule = typeof import('express');

let issuer: TestIssuer;
const servers: Server[] = [];
beforeAll(async () => {
  issuer = await createIssuer();
});
afterEach(async () => {
  for (const server of servers.splice(0)) {
    server.closeAllConnections();
    server.close();
    await once(server, 'close');
  }
});

const whose = (): string => currentCallContext()?.principal.subject ?? 'nobody';

describe.each(['express', 'express-4'])('%s', (name) => {
  let express: ExpressModule;
  beforeAll(async () => {
    ({ default: express } = (await import(name)) as { readonly default: ExpressModule });
  });

  const guardOf = (options: Partial<HttpGuardOptions> = {}) =>
    createExpressGuard({ clock: issuer.clock, issuers: [issuer.options], ...options });

  async function listen(app: Express): Promise<string> {
    const server = createServer(app).listen(0, '127.0.0.1');
    servers.push(server);
    await once(server, 'listening');
    return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  }

  const call = async (url: string, token?: string, init: RequestInit = {}): Promise<Response> =>
    fetch(url, {
      ...init,
      headers: {
        ...(init.headers as Record<string, string>),
        ...(token !== undefined && { authorization: `Bearer ${token}` }),
      },
    });

  const seen = (request: Request, response: ExpressResponse): void => {
    response.json({ principal: request.principal?.subject ?? null, context: whose() });
  };

  const CUSTOMER = { allow: 'customer' } as const;
  test.each<[string, TokenRequirement, 'customer' | 'service', object, number]>([
    ['a customer', CUSTOMER, 'customer', {}, 200],
    ['a service where only customers may', CUSTOMER, 'service', {}, 403],
    ['a service', { allow: ['service'] }, 'service', {}, 200],
    ['a customer where only services may', { allow: ['service'] }, 'customer', {}, 403],
    ['either', { allow: ['service', 'customer'] }, 'customer', {}, 200],
    ['a named client', { allow: 'service', clients: ['job'] }, 'service', {}, 200],
    ['another client', { allow: 'service', clients: ['other'] }, 'service', {}, 403],
    ['its scopes', { ...CUSTOMER, scopes: ['orders:read'] }, 'customer', {}, 200],
    ['a scope missing', { ...CUSTOMER, scopes: ['orders:write'] }, 'customer', {}, 403],
    [
      'its claims',
      { ...CUSTOMER, claims: { tenant: 'acme' } },
      'customer',
      { tenant: 'acme' },
      200,
    ],
    ['a claim missing', { ...CUSTOMER, claims: { tenant: 'acme' } }, 'customer', {}, 403],
    [
      'a check',
      { ...CUSTOMER, check: { holds: ({ age }) => age === 30, words: 'thirty' } },
      'customer',
      { age: 30 },
      200,
    ],
    [
      'a check that does not hold',
      { ...CUSTOMER, check: { holds: ({ age }) => age === 30, words: 'thirty' } },
      'customer',
      { age: 31 },
      403,
    ],
  ])('%s', async (_, requirement, kind, claims, status) => {
    const app = express();
    app.get('/', guardOf().requireToken(requirement), seen);
    const token = await issuer[`${kind}Token`]({ ...claims });
    const response = await call(await listen(app), token);
    expect(response.status).toBe(status);
    if (status !== 200) return;
    const subject = kind === 'customer' ? 'ann' : 'job';
    await expect(response.json()).resolves.toEqual({ principal: subject, context: subject });
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
    const refused: RefusedCall[] = [];
    const guard = guardOf({
      issuers: [issuer.options, down],
      realm: 'orders',
      onRefused: (one: RefusedCall) => refused.push(one),
    });
    let handled = 0;
    const app = express();
    app.get(
      '/orders/:id',
      guard.requireToken({ allow: 'customer', scopes: ['orders:write'] }),
      () => {
        handled += 1;
      },
    );
    const url = `${await listen(app)}/orders/secret-7`;
    const answerTo = async (init: RequestInit) => {
      const response = await fetch(url, init);
      return [
        response.status,
        await response.json(),
        response.headers.get('www-authenticate'),
        response.headers.get('retry-after') === null,
        response.headers.get('content-type'),
      ];
    };
    const json = 'application/json; charset=utf-8';
    const bearer = (token: string) => ({ headers: { authorization: `Bearer ${token}` } });
    expect(await answerTo({})).toEqual([
      401,
      { statusCode: 401, message: 'A bearer token is required.' },
      'Bearer realm="orders"',
      true,
      json,
    ]);
    expect(await answerTo({ headers: { authorization: 'Bearer a b' } })).toEqual([
      400,
      expect.objectContaining({ error: 'invalid_request' }),
      expect.stringContaining('error="invalid_request"'),
      true,
      json,
    ]);
    const expired = await issuer.customerToken({ exp: issuer.clock.seconds - 61 });
    expect(await answerTo(bearer(expired))).toEqual([
      401,
      { statusCode: 401, error: 'invalid_token', message: 'The access token expired.' },
      'Bearer realm="orders", error="invalid_token", error_description="The access token expired."',
      true,
      json,
    ]);
    expect(await answerTo(bearer(await issuer.customerToken()))).toEqual([
      403,
      {
        statusCode: 403,
        error: 'insufficient_scope',
        message: 'The access token lacks a scope.',
      },
      'Bearer realm="orders", error="insufficient_scope", error_description="The access token lacks a scope.", scope="orders:write"',
      true,
      json,
    ]);
    const unverifiable = await issuer.customerToken({ iss: down.issuer });
    expect(await answerTo(bearer(unverifiable))).toEqual([
      503,
      expect.objectContaining({ statusCode: 503, error: 'temporarily_unavailable' }),
      null,
      false,
      json,
    ]);
    await jwks.stop();
    expect(handled).toBe(0);
    expect(refused.map(({ refusal }) => refusal.reason)).toEqual([
      'NO_CREDENTIALS',
      'MALFORMED_CREDENTIALS',
      'TOKEN_EXPIRED',
      'SCOPE_MISSING',
      'KEYS_UNAVAILABLE',
    ]);
    // The pattern, not the address.
    expect(new Set(refused.map(({ handler }) => handler))).toEqual(new Set(['GET /orders/:id']));
  });

  test('before all routes it closes them; one route may require more', async () => {
    const guard = guardOf();
    const app = express();
    app.get('/health', seen);
    app.use(guard.requireToken({ allow: ['customer', 'service'] }));
    app.get('/orders', seen);
    app.get('/admin', guard.requireToken({ allow: 'service', clients: ['admin'] }), seen);
    app.use((request: Request, response: ExpressResponse) => {
      response.status(404).json({ principal: request.principal?.subject ?? null });
    });
    const url = await listen(app);
    const token = await issuer.customerToken();
    expect((await call(`${url}/health`)).status).toBe(200);
    expect((await call(`${url}/orders`)).status).toBe(401);
    expect((await call(`${url}/none`)).status).toBe(401);
    expect((await call(`${url}/orders`, token)).status).toBe(200);
    expect((await call(`${url}/none`, token)).status).toBe(404);
    expect((await call(`${url}/admin`, token)).status).toBe(403);
  });

  test('HEAD is judged as GET; OPTIONS is whoever answers it first, and with the guard first refused', async () => {
    const guard = guardOf();
    const app = express();
    app.get('/route', guard.requireToken({ allow: 'customer' }), seen);
    app.use('/closed', guard.requireToken({ allow: 'customer' }));
    app.get('/closed/route', seen);
    const url = await listen(app);
    const token = await issuer.customerToken();
    const head = await call(`${url}/route`, undefined, { method: 'HEAD' });
    expect([head.status, await head.text()]).toEqual([401, '']);
    expect((await call(`${url}/route`, token, { method: 'HEAD' })).status).toBe(200);
    // Express answers it itself, from the methods of the route, without running it.
    const options = await call(`${url}/route`, undefined, { method: 'OPTIONS' });
    expect([options.status, options.headers.get('allow')]).toEqual([
      200,
      expect.stringContaining('GET'),
    ]);
    expect((await call(`${url}/closed/route`, undefined, { method: 'OPTIONS' })).status).toBe(401);
  });

  test('the handler and all that it starts run in the call context, behind a body parser too', async () => {
    const guard = guardOf();
    const app = express();
    app.use(guard.openCalls());
    app.use(express.json());
    app.post('/', guard.requireToken({ allow: 'customer' }), async (request, response) => {
      const atOnce = whose();
      await new Promise(setImmediate);
      const body = request.body as { text: string };
      response.on('finish', () => heard.push(whose()));
      response.json({ atOnce, later: whose(), length: body.text.length });
    });
    const heard: string[] = [];
    app.post('/after', guard.requireToken({ allow: 'customer' }), express.json(), seen);
    const url = await listen(app);
    const subjects = Array.from({ length: 30 }, (_, index) => `customer-${index}`);
    const body = JSON.stringify({ text: 'x'.repeat(50_000) });
    const answers = await Promise.all(
      subjects.map(async (sub, index) => {
        const response = await call(
          index % 2 === 0 ? url : `${url}/after`,
          await issuer.customerToken({ sub }),
          { method: 'POST', body, headers: { 'content-type': 'application/json' } },
        );
        return (await response.json()) as object;
      }),
    );
    expect(answers).toEqual(
      subjects.map((sub, index) =>
        index % 2 === 0
          ? { atOnce: sub, later: sub, length: 50_000 }
          : { principal: sub, context: sub },
      ),
    );
    expect(heard.toSorted()).toEqual(subjects.filter((_, index) => index % 2 === 0).toSorted());
  });

  test('a call to another service carries the token of the customer, and is refused outside', async () => {
    const callee = express();
    callee.get('/', (request: Request, response: ExpressResponse) => {
      response.json(request.headers.authorization ?? null);
    });
    const origin = await listen(callee);
    const tokens = { getToken: () => Promise.reject(new Error('not for customers')) };
    const authorizedFetch = createAuthorizedFetch({
      tokens,
      origins: [{ origin, acceptsCustomers: true }],
      outsideCalls: 'service',
    });
    const guard = guardOf();
    const app = express();
    app.use(guard.openCalls());
    const forward = (_: Request, response: ExpressResponse, next: NextFunction): void => {
      authorizedFetch(`${origin}/`)
        .then(async (answer) => void response.json(await answer.json()))
        .then(undefined, next);
    };
    app.get('/public', forward);
    app.get('/', guard.requireToken({ allow: 'customer' }), forward);
    const codes: unknown[] = [];
    app.use((error: { code?: string }, _: Request, response: ExpressResponse, __: NextFunction) => {
      codes.push(error.code);
      response.status(500).end();
    });
    const url = await listen(app);
    const token = await issuer.customerToken();
    await expect((await call(url, token)).json()).resolves.toBe(`Bearer ${token}`);
    // With `outsideCalls: 'service'` too: the request has a call of its own, which nobody was admitted for.
    expect((await call(`${url}/public`)).status).toBe(500);
    expect(codes).toEqual(['CALL_CONTEXT_UNKNOWN']);
  });

  test('after a refusal by a later middleware, nothing is left of the admission by an earlier one', async () => {
    const guard = guardOf({ passRefusals: true });
    const app = express();
    app.use(guard.requireToken({ allow: 'customer' }));
    app.get('/', guard.requireToken({ allow: 'customer', scopes: ['admin'] }), seen);
    app.use(
      (error: CallRefusedError, request: Request, response: ExpressResponse, __: NextFunction) => {
        response.status(error.status).json({
          principal: request.principal?.subject ?? null,
          context: whose(),
        });
      },
    );
    const response = await call(await listen(app), await issuer.customerToken());
    expect(response.status).toBe(403);
    await expect(response.json()).resolves.toEqual({ principal: null, context: 'nobody' });
  });

  test('passRefusals: error middleware gets the refusal, and Express answers it without one', async () => {
    const guard = guardOf({ passRefusals: true });
    const app = express();
    // Silences the log of Express' own error handler.
    app.set('env', 'test');
    app.get('/plain', guard.requireToken({ allow: 'customer' }), seen);
    const errors: unknown[] = [];
    const shaped = express.Router();
    shaped.get('/', guard.requireToken({ allow: 'customer' }), seen);
    shaped.use(
      (error: CallRefusedError, _: Request, response: ExpressResponse, __: NextFunction) => {
        errors.push(error);
        response.status(error.status).set(error.headers).json({ title: error.body.message });
      },
    );
    app.use('/shaped', shaped);
    const url = await listen(app);
    const plain = await call(`${url}/plain`);
    expect([plain.status, plain.headers.get('www-authenticate')]).toEqual([401, 'Bearer']);
    const answer = await call(`${url}/shaped`);
    expect([answer.status, answer.headers.get('www-authenticate')]).toEqual([401, 'Bearer']);
    await expect(answer.json()).resolves.toEqual({ title: 'A bearer token is required.' });
    expect(errors).toEqual([expect.any(CallRefusedError)]);
    expect(errors[0]).toMatchObject({ code: 'CALL_REFUSED', statusCode: 401 });
  });

  test('an error that says nothing about the token goes to error middleware', async () => {
    const broken = new Error('broken');
    const verifier = {
      verify: () => Promise.reject(broken),
      keyStates: () => new Map(),
    };
    const app = express();
    app.get('/', createExpressGuard({ verifier }).requireToken({ allow: 'customer' }), seen);
    const errors: unknown[] = [];
    app.use((error: Error, _: Request, response: ExpressResponse, __: NextFunction) => {
      errors.push(error);
      response.status(500).end();
    });
    const response = await call(await listen(app), await issuer.customerToken());
    expect(response.status).toBe(500);
    expect(errors).toEqual([broken]);
  });

  test('an error of the handler is not the guard’s', async () => {
    const app = express();
    app.get('/', guardOf().requireToken({ allow: 'customer' }), () => {
      throw new Error('of the handler');
    });
    const messages: string[] = [];
    app.use((error: Error, _: Request, response: ExpressResponse, __: NextFunction) => {
      messages.push(error.message);
      response.status(500).end();
    });
    const url = await listen(app);
    const token = await issuer.customerToken();
    // The token is new to the verifier first, and remembered then.
    expect((await call(url, token)).status).toBe(500);
    expect((await call(url, token)).status).toBe(500);
    expect(messages).toEqual(['of the handler', 'of the handler']);
  });

  test('two Authorization headers are refused', async () => {
    const app = express();
    app.get('/', guardOf().requireToken({ allow: 'customer' }), seen);
    const url = await listen(app);
    const token = await issuer.customerToken();
    const request = send(url, {
      headers: ['Authorization', `Bearer ${token}`, 'Authorization', 'Bearer x'],
    });
    request.end();
    const [response] = (await once(request, 'response')) as [
      { statusCode: number; resume(): void },
    ];
    response.resume();
    expect(response.statusCode).toBe(400);
  });

  test('another property, for code that was written for passport', async () => {
    const app = express();
    const guard = guardOf({ requestProperty: 'user' });
    app.get('/', guard.requireToken({ allow: 'customer' }), (request: Request, response) => {
      const { user } = request as unknown as { user: { subject: string } };
      response.json([user.subject, request.principal ?? null]);
    });
    const response = await call(await listen(app), await issuer.customerToken());
    await expect(response.json()).resolves.toEqual(['ann', null]);
  });
});

test.each<[unknown, RegExp]>([
  [undefined, /takes an object/],
  [[], /takes an object/],
  ['service', /takes an object/],
  [{}, /"allow" must be/],
  [{ allow: [] }, /"allow" must be/],
  [{ allow: 'services' }, /"allow" must be/],
  [{ allow: ['service', 'admin'] }, /"allow" must be/],
  [{ allow: 'service', scope: 'a' }, /unknown member "scope"/],
  [{ allow: 'service', scopes: [] }, /"scopes" takes at least one scope/],
  [{ allow: 'service', scopes: 'a' }, /"scopes" takes at least one scope/],
  [{ allow: 'service', scopes: ['a b'] }, /without spaces/],
  [{ allow: 'service', clients: [] }, /"clients" takes client ids/],
  [{ allow: 'service', clients: ['a', ''] }, /"clients" takes client ids/],
  [{ allow: 'customer', clients: ['a'] }, /"clients" has no effect/],
  [{ allow: 'service', claims: {} }, /"claims": it requires no claim/],
  [{ allow: 'service', claims: { roles: ['a'] } }, /can mean two things/],
  [{ allow: 'service', check: () => true }, /"check": it must be \{ holds, words \}/],
  [{ allow: 'service', check: { holds: () => true } }, /"check": a function needs words/],
])('requireToken(%p) is refused at once', (requirement, words) => {
  const guard = createExpressGuard({ issuers: [issuer.options] });
  expect(() => guard.requireToken(requirement as TokenRequirement)).toThrow(
    expect.objectContaining({ code: 'GUARD_MISCONFIGURED', message: expect.stringMatching(words) }),
  );
});

test.each([
  '',
  'a b',
  '__proto__',
  'constructor',
  'headers',
  'socket',
  'body',
  'raw',
  'on',
  7,
  null,
])('requestProperty %p is refused', (requestProperty) => {
  const options = { issuers: [issuer.options], requestProperty } as HttpGuardOptions;
  expect(() => createExpressGuard(options)).toThrow(/"requestProperty"/);
});
