import { connect } from 'node:net';
import { text } from 'node:stream/consumers';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import type { INestApplication } from '@nestjs/common';
import { createRemoteKeySet } from '../../src/guard/index.js';
import { JwksServer } from '../verification/support/jwks-server.js';
import { AUDIENCE, createIssuer, type TestIssuer } from './support/issuer.js';
import { createApp, KeptLog, listen, PLATFORMS } from './support/nest-app.js';
import { OrdersModule } from './support/orders.js';

const METADATA = 'https://orders.example/.well-known/oauth-protected-resource';
const DOWN = 'https://down.example/';

let issuer: TestIssuer;
beforeAll(async () => {
  issuer = await createIssuer();
});

describe.each(PLATFORMS)('over HTTP on %s', (platform) => {
  let app: INestApplication;
  let url: string;
  let jwks: JwksServer;
  const log = new KeptLog();

  beforeAll(async () => {
    jwks = await JwksServer.start();
    jwks.behaviour = { kind: 'answer', status: 500, body: 'down' };
    const down = {
      issuer: DOWN,
      audiences: AUDIENCE,
      profile: 'rfc9068',
      keys: createRemoteKeySet({ jwksUri: jwks.uri, clock: issuer.clock }),
    } as const;
    const { clock, options } = issuer;
    app = await createApp(
      OrdersModule.with({
        clock,
        issuers: [options, down],
        realm: 'orders',
        resourceMetadata: METADATA,
      }),
      platform,
      log,
    );
    url = await listen(app);
  });

  afterAll(async () => {
    await app.close();
    await jwks.stop();
  });

  const call = async (path: string, authorization?: string, method = 'GET') => {
    const headers: Record<string, string> = authorization === undefined ? {} : { authorization };
    const response = await fetch(`${url}/${path}`, { method, headers });
    const body: unknown = await response.json().catch(() => undefined);
    return {
      status: response.status,
      body,
      challenge: response.headers.get('www-authenticate'),
      retryAfter: response.headers.get('retry-after'),
    };
  };
  const asCustomer = async (path: string, change = {}, method = 'GET') =>
    call(path, `Bearer ${await issuer.customerToken(change)}`, method);
  const asService = async (path: string, change = {}, method = 'GET') =>
    call(path, `Bearer ${await issuer.serviceToken(change)}`, method);
  const ann = { kind: 'customer', subject: 'ann', context: 'ann', hasToken: true };
  const job = { kind: 'service', subject: 'job', context: 'job', hasToken: true };

  test.each([
    ['customer', 200, 403],
    ['service', 403, 200],
    ['job', 403, 200],
    ['both', 200, 200],
    ['class/inherits', 200, 403],
    ['class/service', 403, 200],
    ['undeclared', 403, 403],
  ])('/%s: customer %d, service %d', async (path, customer, service) => {
    const asAnn = await asCustomer(path);
    const asJob = await asService(path);
    expect([asAnn.status, asJob.status]).toEqual([customer, service]);
    if (customer === 200) expect(asAnn.body).toEqual(ann);
    if (service === 200) expect(asJob.body).toEqual(job);
  });

  test('a public handler reads no token and runs for nobody', async () => {
    await expect(call('public')).resolves.toMatchObject({
      status: 200,
      body: { context: 'nobody' },
    });
    await expect(call('public', 'Bearer nonsense')).resolves.toMatchObject({ status: 200 });
    await expect(asCustomer('public')).resolves.toMatchObject({ body: { context: 'nobody' } });
    await expect(call('class/public')).resolves.toMatchObject({ status: 200 });
  });

  test('a public handler that asks for the principal fails', async () => {
    await expect(asCustomer('public-principal')).resolves.toMatchObject({ status: 500 });
    expect(log.of('error').join('\n')).toContain('CurrentPrincipal() in OrdersController');
  });

  test('a subclass keeps what its base class says', async () => {
    const [customer, service, nobody] = [
      await asCustomer('subclass/service'),
      await asService('subclass/service'),
      await call('subclass/service'),
    ];
    expect([customer.status, service.status, nobody.status]).toEqual([403, 200, 401]);
  });

  test('without decorators: closed, for a valid token and for none, and the log says which handler', async () => {
    const refused = await asService('undeclared');
    expect(refused).toMatchObject({
      status: 403,
      body: { statusCode: 403, message: 'Forbidden.' },
      challenge: null,
    });
    await expect(call('undeclared')).resolves.toMatchObject({ status: 403 });
    const warnings = log.of('warn').filter((line) => line.includes('OrdersController.undeclared'));
    expect(warnings).toHaveLength(1);
  });

  test.each([undefined, 'Basic YWRtaW46YWRtaW4=', 'DPoP abc'])(
    'credentials %p: a challenge without an error (RFC 6750 §3.1)',
    async (authorization) => {
      await expect(call('customer', authorization)).resolves.toEqual({
        status: 401,
        body: { statusCode: 401, message: 'A bearer token is required.' },
        challenge: `Bearer realm="orders", resource_metadata="${METADATA}"`,
        retryAfter: null,
      });
    },
  );

  test('a malformed header: 400 invalid_request', async () => {
    const refused = await call('customer', 'Bearer a b');
    expect(refused).toMatchObject({ status: 400, body: { error: 'invalid_request' } });
    expect(refused.challenge).toContain('error="invalid_request"');
  });

  test('an expired token: 401 invalid_token', async () => {
    await expect(asCustomer('customer', { exp: issuer.clock.seconds - 61 })).resolves.toEqual({
      status: 401,
      body: { statusCode: 401, error: 'invalid_token', message: 'The access token expired.' },
      challenge: `Bearer realm="orders", error="invalid_token", error_description="The access token expired.", resource_metadata="${METADATA}"`,
      retryAfter: null,
    });
  });

  test('a missing scope: 403 insufficient_scope, and which scopes', async () => {
    const refused = await asService('write', {}, 'POST');
    expect(refused).toMatchObject({ status: 403, body: { error: 'insufficient_scope' } });
    expect(refused.challenge).toContain('scope="orders:read orders:write"');
    const allowed = await asService('write', { scope: 'orders:write orders:read' }, 'POST');
    expect(allowed).toMatchObject({ status: 201, body: job });
  });

  test('scopes of the class hold for a handler that says who', async () => {
    await expect(asService('class/service', { scope: '' })).resolves.toMatchObject({ status: 403 });
  });

  test('another client than the one that is named', async () => {
    const change = { sub: 'other', client_id: 'other' };
    await expect(asService('job', change)).resolves.toMatchObject({ status: 403 });
    await expect(asService('service', change)).resolves.toMatchObject({ status: 200 });
  });

  test('keys that are unavailable: 503 with Retry-After, while other issuers work', async () => {
    const refused = await asCustomer('customer', { iss: DOWN });
    expect(refused).toMatchObject({
      status: 503,
      body: { statusCode: 503, error: 'temporarily_unavailable' },
      challenge: null,
    });
    expect(Number(refused.retryAfter)).toBeGreaterThanOrEqual(1);
    await asCustomer('customer', { iss: DOWN });
    expect(log.of('warn').filter((line) => line.includes('KEYS_HTTP_STATUS'))).toHaveLength(1);
    await expect(asCustomer('customer')).resolves.toMatchObject({ status: 200 });
  });

  test('interleaved requests never see one another’s principal', async () => {
    const subjects = Array.from({ length: 60 }, (_, index) => `customer-${index}`);
    const answers = await Promise.all(
      subjects.map(async (sub, index) =>
        index % 3 === 0 ? call('public') : asCustomer('both', { sub }),
      ),
    );
    expect(answers.map(({ body }) => body)).toEqual(
      subjects.map((sub, index) =>
        index % 3 === 0
          ? { context: 'nobody' }
          : Object.assign({}, ann, { subject: sub, context: sub }),
      ),
    );
  });

  test('requests that come in one piece on one connection neither', async () => {
    const head = (path: string, token?: string, last = false): string =>
      [
        `GET /${path} HTTP/1.1`,
        'Host: orders',
        ...(token === undefined ? [] : [`Authorization: Bearer ${token}`]),
        ...(last ? ['Connection: close'] : []),
        '',
        '',
      ].join('\r\n');
    const [first, second] = [
      await issuer.customerToken(),
      await issuer.customerToken({ sub: 'bob' }),
    ];
    const socket = connect(Number(new URL(url).port), '127.0.0.1');
    socket.write(
      [
        head('both', first),
        head('public'),
        head('both', second),
        head('both'),
        head('public', first),
        head('customer', second, true),
      ].join(''),
    );
    const bodies = (await text(socket))
      .match(/\{"[^}]*\}/g)
      ?.map((json) => JSON.parse(json) as object);
    const bob = { ...ann, subject: 'bob', context: 'bob' };
    expect(bodies).toEqual([
      ann,
      { context: 'nobody' },
      bob,
      expect.objectContaining({ statusCode: 401 }),
      { context: 'nobody' },
      bob,
    ]);
  });

  test('no token is in any log line', () => {
    expect(log.lines.join('\n')).not.toMatch(/eyJ/);
    expect(log.of('debug').join('\n')).toContain(
      'OrdersController.customer (http): 401 TOKEN_EXPIRED',
    );
  });
});
