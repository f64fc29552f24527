import { describe, expect, test } from '@jest/globals';
import { SecretStoreError } from '../../src/secrets/secret-store.js';
import {
  bodyOf,
  httpEvent,
  httpScene,
  ORDERS,
  ORDERS_SESSION,
  PLATFORM,
  PLATFORM_SESSION,
  TOKEN,
  tokenValue,
  type Ask,
} from './support/http-function.js';
import { AUDIENCE, TOKEN_SECRET } from './support/rotation-function.js';

const COMMON = {
  'Content-Type': 'application/json',
  'Cache-Control': 'no-store',
  Pragma: 'no-cache',
  'X-Content-Type-Options': 'nosniff',
  'X-Request-Id': 'request-1',
};
const context = { awsRequestId: 'request-1', getRemainingTimeInMillis: () => 10_000 };
const grant = (more: Readonly<Record<string, string>> = {}): Ask => ({
  method: 'POST',
  form: new URLSearchParams({ grant_type: 'client_credentials', ...more }),
});

describe('GET /v1/token', () => {
  test('gives the token, its version, its age and where it came from', async () => {
    const { ask, clock, versionId } = httpScene();
    const first = await ask('/v1/token');
    expect(first).toEqual({
      statusCode: 200,
      headers: { ...COMMON, ETag: `"${versionId}"`, Age: '0', 'X-Cache': 'MISS' },
      body: JSON.stringify({ access_token: TOKEN, token_type: 'Bearer', expires_in: 86_400 }),
      isBase64Encoded: false,
    });
    clock.advance(7_000);
    const second = await ask('/v1/token');
    expect(second.headers).toMatchObject({ Age: '7', 'X-Cache': 'HIT' });
    expect(bodyOf(second)).toMatchObject({ expires_in: 86_393 });
  });

  test('gives 304 to whoever has the version, and no body to HEAD', async () => {
    const { ask, versionId } = httpScene();
    const known = await ask('/v1/token', { headers: { 'If-None-Match': `"${versionId}"` } });
    expect(known).toMatchObject({ statusCode: 304, body: '', headers: { ETag: `"${versionId}"` } });
    const head = await ask('/v1/token', { method: 'HEAD' });
    expect(head).toMatchObject({ statusCode: 200, body: '', headers: { ETag: `"${versionId}"` } });
  });

  test('reads again for no-cache, at most once a second', async () => {
    const { ask, store, clock } = httpScene();
    const noCache = { headers: { 'cache-control': 'no-cache' } };
    await ask('/v1/token');
    await ask('/v1/token', noCache);
    expect(store.calls.read).toBe(1);
    clock.advance(1_000);
    expect((await ask('/v1/token', noCache)).headers['X-Cache']).toBe('REFRESH');
    expect(store.calls.read).toBe(2);
  });

  test.each([
    ['min_ttl=60', 200, undefined],
    ['min_ttl=86400', 200, undefined],
    ['min_ttl=86401', 400, 'invalid_request'],
    ['min_ttl=x', 400, 'invalid_request'],
    ['X-Amz-Signature=abc', 400, 'invalid_request'],
  ])('?%s: %i', async (query, status, error) => {
    const { ask } = httpScene();
    const result = await ask('/v1/token', { query });
    expect(result.statusCode).toBe(status);
    expect(bodyOf(result)['error']).toBe(error);
  });

  test('takes no other method', async () => {
    const { ask } = httpScene();
    const result = await ask('/v1/token', { method: 'DELETE' });
    expect(result).toMatchObject({ statusCode: 405, headers: { Allow: 'GET, HEAD' } });
  });
});

describe('POST /oauth2/token', () => {
  test('is the client-credentials grant without client credentials: AWS IAM has authenticated', async () => {
    const { ask } = httpScene();
    const result = await ask('/oauth2/token', grant({ audience: AUDIENCE }));
    expect(result).toMatchObject({ statusCode: 200, headers: COMMON });
    expect(bodyOf(result)).toEqual({
      access_token: TOKEN,
      token_type: 'Bearer',
      expires_in: 86_400,
    });
  });

  test('grants the scopes of the token, and tells all of them', async () => {
    const { ask, store, clock } = httpScene();
    store.edit(TOKEN_SECRET, tokenValue(clock.now(), { scope: 'read write' }));
    const granted = await ask('/oauth2/token', grant({ scope: 'read' }));
    expect(granted.statusCode).toBe(200);
    expect(bodyOf(granted)['scope']).toBe('read write');
    expect(bodyOf(await ask('/v1/token'))['scope']).toBe('read write');
    const refused = await ask('/oauth2/token', grant({ scope: 'read admin' }));
    expect(refused.statusCode).toBe(400);
    expect(bodyOf(refused)).toMatchObject({
      error: 'invalid_scope',
      error_description: 'The service token has these scopes: read write.',
    });
  });

  test('takes a body as it is, when the gateway has not encoded it', async () => {
    const { ask } = httpScene();
    const event = { body: 'grant_type=client_credentials', isBase64Encoded: false };
    expect((await ask('/oauth2/token', { ...grant(), event })).statusCode).toBe(200);
  });

  test.each<[string, Ask, number, string]>([
    ['no grant', { method: 'POST', form: '' }, 400, 'invalid_request'],
    ['no form', { method: 'POST' }, 400, 'invalid_request'],
    ['another grant', grant({ grant_type: 'password' }), 400, 'unsupported_grant_type'],
    ['another audience', grant({ audience: 'https://other.example' }), 400, 'invalid_target'],
    ['a scope', grant({ scope: 'read' }), 400, 'invalid_scope'],
    ['a client secret', grant({ client_secret: 'x' }), 400, 'invalid_request'],
    ['another client id', grant({ client_id: 'billing' }), 400, 'invalid_request'],
    ['a query', { ...grant(), query: 'a=b' }, 400, 'invalid_request'],
    ['GET', {}, 405, 'method_not_allowed'],
    [
      'a parameter twice',
      { method: 'POST', form: 'grant_type=client_credentials&grant_type=client_credentials' },
      400,
      'invalid_request',
    ],
    ['bad UTF-8', { method: 'POST', form: 'grant_type=%ff' }, 400, 'invalid_request'],
    [
      '__proto__',
      { method: 'POST', form: '__proto__=x&grant_type=client_credentials&constructor=y&scope=z' },
      400,
      'invalid_scope',
    ],
    [
      'a huge body, whatever was announced',
      { ...grant({ x: 'y'.repeat(20_000) }), headers: { 'content-length': '10' } },
      413,
      'invalid_request',
    ],
    [
      'JSON',
      { ...grant(), headers: { 'content-type': 'application/json' } },
      400,
      'invalid_request',
    ],
  ])('refuses %s', async (_what, asked, status, error) => {
    const { ask } = httpScene();
    const result = await ask('/oauth2/token', asked);
    expect(result.statusCode).toBe(status);
    expect(bodyOf(result)).toMatchObject({ error, error_description: expect.any(String) });
  });

  test('takes the caller for the client that it names itself', async () => {
    const { ask } = httpScene();
    expect((await ask('/oauth2/token', grant({ client_id: ORDERS }))).statusCode).toBe(200);
  });
});

describe('who calls', () => {
  test.each<[string, string | null, number]>([
    ['a session of the role', ORDERS_SESSION, 200],
    ['another session of the role', ORDERS_SESSION.replace('i-0abc', 'platform'), 200],
    ['a role that is not on the list', ORDERS_SESSION.replace('orders', 'billing'), 403],
    ['the role in another account', ORDERS_SESSION.replace('1234', '9999'), 403],
    ['the role in another partition', ORDERS_SESSION.replace('aws', 'aws-cn'), 403],
    ['a role that is called like a session', ORDERS_SESSION.replace('orders', 'x/orders'), 403],
    ['a user with the name of the role', ORDERS.replace('role', 'user'), 403],
    ['a federated user', 'arn:aws:sts::123456789012:federated-user/orders', 403],
    ['the root of the account', 'arn:aws:iam::123456789012:root', 403],
    ['a peer without the role', PLATFORM_SESSION, 403],
    ['nobody, by an endpoint without IAM', null, 403],
    ['nobody at all', '', 403],
  ])('%s', async (_what, userArn, status) => {
    const { ask, store } = httpScene();
    for (const [path, asked] of [
      ['/v1/token', {}],
      ['/oauth2/token', grant()],
    ] as const) {
      const result = await ask(path, { ...asked, userArn });
      expect(result.statusCode).toBe(status);
      if (status === 403) expect(bodyOf(result)['error']).toBe('unauthorized_client');
    }
    expect(store.calls.read).toBe(status === 200 ? 1 : 0);
  });

  test('no header, parameter or path tells who', async () => {
    const { ask } = httpScene();
    const claimed = {
      authorization: `Basic ${Buffer.from(`${ORDERS}:secret`).toString('base64')}`,
      'x-amz-caller': ORDERS_SESSION,
      'x-forwarded-user': ORDERS,
      'x-amzn-iam-user-arn': ORDERS_SESSION,
    };
    const asked = { headers: claimed, userArn: null };
    expect((await ask('/v1/token', asked)).statusCode).toBe(403);
    const form = grant({ client_id: ORDERS, userArn: ORDERS_SESSION });
    expect((await ask('/oauth2/token', { ...form, ...asked, headers: {} })).statusCode).toBe(403);
  });

  test.each([
    [undefined],
    [{ iam: null }],
    [{ iam: { userArn: [ORDERS_SESSION] } }],
    [{ iam: { userId: ORDERS_SESSION } }],
    [{ lambda: { userArn: ORDERS_SESSION } }],
    [{ jwt: { claims: { userArn: ORDERS_SESSION } } }],
  ])('an authorizer that is not IAM tells nothing: %j', async (authorizer) => {
    const { handler } = httpScene();
    const event = httpEvent('/v1/token');
    const requestContext = { ...(event['requestContext'] as object), authorizer };
    const result = await handler({ ...event, requestContext }, context);
    expect(result.statusCode).toBe(403);
  });

  test('is in the line of the request, and the secrets of the request are not', async () => {
    const { ask, lines, output } = httpScene();
    await ask('/v1/token', { headers: { 'x-token': 'sensitive-header' }, query: 'min_ttl=1' });
    await ask('/v1/token', { userArn: PLATFORM_SESSION });
    await ask('/nowhere/sensitive-path');
    expect(lines().filter(({ message }) => message === 'request')).toMatchObject([
      {
        level: 'info',
        requestId: 'request-1',
        method: 'GET',
        route: '/v1/token',
        status: 200,
        cache: 'MISS',
        remoteAddress: '10.0.0.7',
        peer: ORDERS,
        caller: ORDERS_SESSION,
      },
      { status: 403, peer: PLATFORM, caller: PLATFORM_SESSION },
      { status: 404, route: 'other' },
    ]);
    expect(output()).toContain('a peer asked for what it has no role for');
    expect(output()).not.toContain('sensitive');
    expect(output()).not.toContain(TOKEN);
  });
});

describe('POST /v1/rotate', () => {
  test('asks Secrets Manager when it rotates the secret, for an admin alone', async () => {
    const { ask, store, lines, clock } = httpScene();
    clock.advance(60_000);
    store.configure(TOKEN_SECRET, { rotationEnabled: true });
    const refused = await ask('/v1/rotate', { method: 'POST' });
    expect(refused.statusCode).toBe(403);
    expect(store.calls.requestRotation).toBe(0);
    const asked = await ask('/v1/rotate', { method: 'POST', userArn: PLATFORM_SESSION });
    expect(asked.statusCode).toBe(202);
    expect(bodyOf(asked)).toMatchObject({ outcome: 'requested', version_id: expect.any(String) });
    expect(store.calls.requestRotation).toBe(1);
    expect(lines().map(({ message }) => message)).toContain('a peer rotated the service token');
  });

  test('answers clearly when it cannot', async () => {
    const { ask, store, clock } = httpScene();
    clock.advance(60_000);
    store.configure(TOKEN_SECRET, { rotationEnabled: true });
    store.before = ({ method }) => {
      if (method === 'requestRotation') {
        throw new SecretStoreError('STORE_ACCESS_DENIED', 'The role may not call RotateSecret.');
      }
    };
    const result = await ask('/v1/rotate', { method: 'POST', userArn: PLATFORM_SESSION });
    expect(result).toMatchObject({ statusCode: 503, headers: { 'Retry-After': '60' } });
    expect(bodyOf(result)['error_description']).toContain('may not call RotateSecret');
  });
});

describe('when something is wrong', () => {
  test('the store fails: 503 with Retry-After, and the cached token while it lives', async () => {
    const { ask, store, clock } = httpScene();
    const fail = (): void => {
      throw new SecretStoreError('STORE_UNAVAILABLE', 'Secrets Manager is down.');
    };
    store.before = fail;
    const cold = await ask('/v1/token');
    expect(cold.statusCode).toBe(503);
    expect(Number(cold.headers['Retry-After'])).toBeGreaterThan(0);
    expect(bodyOf(cold)['error']).toBe('temporarily_unavailable');
    store.before = () => undefined;
    clock.advance(60_000);
    expect((await ask('/v1/token')).statusCode).toBe(200);
    store.before = fail;
    clock.advance(400_000);
    expect((await ask('/v1/token')).headers['X-Cache']).toBe('STALE');
  });

  test('the configuration is wrong: 503, the log says why, and the next request tries again', async () => {
    const env: NodeJS.ProcessEnv = { BROKER_TOKEN_SECRET_ID: TOKEN_SECRET };
    const { ask, lines } = httpScene({ env });
    const refused = await ask('/v1/token');
    expect(refused).toMatchObject({ statusCode: 503, headers: { 'Retry-After': '60' } });
    expect(refused.body).not.toContain('BROKER_');
    expect(lines()).toMatchObject([
      { level: 'error', err: { message: expect.stringContaining('BROKER_HTTP_IAM_PEERS') } },
      { level: 'warn', message: 'request', status: 503 },
    ]);
    env['BROKER_HTTP_IAM_PEERS'] = ORDERS;
    expect((await ask('/v1/token')).statusCode).toBe(200);
  });

  test.each([
    [undefined],
    [{}],
    [{ version: '1.0', path: '/v1/token', httpMethod: 'GET' }],
    [{ Step: 'createSecret', SecretId: 'x', ClientRequestToken: 'y' }],
    [{ version: '2.0', rawPath: '/v1/token', requestContext: {} }],
  ])('the event is another one: %j', async (event) => {
    const { handler, lines } = httpScene();
    await expect(handler(event, context)).rejects.toMatchObject({
      code: 'FUNCTION_EVENT_INVALID',
    });
    expect(lines()).toMatchObject([{ level: 'error', message: 'the invocation failed' }]);
  });

  test.each([
    ['headers', { headers: { 'content-type': 5 } }],
    ['headers', { headers: { 'content-type': ['a'] } }],
    ['body', { body: {} }],
    ['rawQueryString', { rawQueryString: false }],
    ['stage', { requestContext: { http: { method: 'GET' }, stage: 1 } }],
  ])('a member is not a text: %s', async (_, event) => {
    const { ask } = httpScene();
    await expect(ask('/v1/token', { event })).rejects.toMatchObject({
      code: 'FUNCTION_EVENT_INVALID',
    });
  });

  test('what is null is not there', async () => {
    const { ask } = httpScene();
    const event = { headers: { accept: null }, body: null, rawQueryString: null };
    expect((await ask('/v1/token', { event })).statusCode).toBe(200);
  });
});

describe('GET /health/ready', () => {
  test('is ready when a token can be served, whoever asks', async () => {
    const { ask } = httpScene();
    const result = await ask('/health/ready', { userArn: null });
    expect(result.statusCode).toBe(200);
    const token = { status: 'up', remaining_seconds: 86_400 };
    expect(bodyOf(result)).toEqual({
      status: 'ok',
      info: { token },
      error: {},
      details: { token },
    });
  });

  test('is not ready before the first rotation, and says why', async () => {
    const { ask } = httpScene({ empty: true });
    const result = await ask('/health/ready');
    expect(result.statusCode).toBe(503);
    expect(bodyOf(result)).toMatchObject({
      status: 'error',
      error: { token: { status: 'down', code: 'TOKEN_SECRET_EMPTY', reason: expect.any(String) } },
    });
  });

  test('is degraded while the token is served stale', async () => {
    const { ask, store, clock } = httpScene();
    await ask('/health/ready');
    store.before = () => {
      throw new SecretStoreError('STORE_UNAVAILABLE', 'Secrets Manager is down.');
    };
    clock.advance(400_000);
    const result = await ask('/health/ready');
    expect(result.statusCode).toBe(200);
    expect(bodyOf(result)).toMatchObject({
      status: 'degraded',
      details: { token: { status: 'degraded', stale: true, code: 'STORE_UNAVAILABLE' } },
    });
  });

  test('takes no other method', async () => {
    const { ask } = httpScene();
    expect((await ask('/health/ready', { method: 'POST' })).statusCode).toBe(405);
  });
});

describe('an invocation', () => {
  test('does not answer while a read is under way behind the answer: the process is frozen then', async () => {
    const { ask, store, clock } = httpScene();
    await ask('/v1/token');
    // The refresh starts at a random point of the last fifth of the time to live: this is after all of them.
    clock.advance(299_999.99);
    let finish = (): void => undefined;
    const reading = new Promise<void>((begun) => {
      store.before = () => {
        begun();
        return new Promise<void>((resolve) => (finish = resolve));
      };
    });
    let answered = false;
    const answer = ask('/v1/token').then((result) => {
      answered = true;
      return result;
    });
    await reading;
    await new Promise((resolve) => setImmediate(resolve));
    expect(answered).toBe(false);
    finish();
    expect((await answer).headers['X-Cache']).toBe('HIT');
  });

  test('has the path without the stage of an HTTP API', async () => {
    const { handler } = httpScene();
    const event = httpEvent('/prod/v1/token');
    const requestContext = { ...(event['requestContext'] as object), stage: 'prod' };
    expect((await handler({ ...event, requestContext }, context)).statusCode).toBe(200);
    expect((await handler(event, context)).statusCode).toBe(404);
  });

  test('serves the new token after a rotation, within the time to live', async () => {
    const { ask, store, clock } = httpScene();
    await ask('/v1/token');
    store.edit(TOKEN_SECRET, tokenValue(clock.now(), { accessToken: 'header.payload.two' }));
    clock.advance(300_001);
    expect(bodyOf(await ask('/v1/token'))['access_token']).toBe('header.payload.two');
  });
});
