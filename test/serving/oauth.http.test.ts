import { afterEach, describe, expect, jest, test } from '@jest/globals';
import * as client from 'openid-client';
import { SecretStoreError } from '../../src/secrets/secret-store.js';
import { serializeServiceToken, type ServiceToken } from '../../src/tokens/service-token.js';
import {
  AUDIENCE,
  basic,
  createBroker,
  DAY_SECONDS,
  SECRETS,
  send,
  sendForm,
  SERVERS,
  START,
  startApp,
  TOKEN_SECRET,
  tokenAt,
  type RawAnswer,
  type RunningApp,
  type TestBroker,
  tokenCacheOf,
} from './broker.js';

const GRANT = { grant_type: 'client_credentials' };
const ORDERS = { authorization: basic('orders', SECRETS.orders) };
const POST = { client_id: 'orders', client_secret: SECRETS.orders };

describe.each(SERVERS)('POST /oauth2/token on %s', (server) => {
  let running: RunningApp | undefined;
  afterEach(async () => {
    await running?.app.close();
    running = undefined;
  });

  async function start(
    options: Parameters<typeof createBroker>[0] = {},
  ): Promise<TestBroker & RunningApp> {
    const broker = createBroker(options);
    running = await startApp(broker.serving, server);
    return { ...broker, ...running };
  }

  const outcome = ({ status, text }: RawAnswer): unknown[] => [status, JSON.parse(text).error];

  test('an OAuth client library gets the token by discovery, with either method', async () => {
    const { url } = await start({ scope: 'orders:read orders:write' });
    for (const method of [client.ClientSecretBasic, client.ClientSecretPost]) {
      const config = await client.discovery(
        new URL(url),
        'orders',
        undefined,
        method(SECRETS.orders),
        { algorithm: 'oauth2', execute: [client.allowInsecureRequests] },
      );
      const tokens = await client.clientCredentialsGrant(config, {
        scope: 'orders:read',
        resource: AUDIENCE,
      });
      expect(tokens).toMatchObject({
        access_token: 'header.payload.signature-one',
        token_type: 'bearer',
        expires_in: DAY_SECONDS,
        scope: 'orders:read orders:write',
      });
    }
  });

  test('Cache-Control: no-cache reads the store, at most once a second', async () => {
    const { port, clock, store } = await start();
    const token = async (headers = {}): Promise<unknown> =>
      JSON.parse((await sendForm(port, GRANT, { ...ORDERS, ...headers })).text).access_token;
    const noCache = { 'cache-control': 'no-cache' };
    await token();
    store.edit(
      TOKEN_SECRET,
      serializeServiceToken(tokenAt(START, { accessToken: 'header.payload.signature-two' })),
    );
    expect(await token(noCache)).toBe('header.payload.signature-one');
    clock.advance(1_000);
    expect(await token()).toBe('header.payload.signature-one');
    expect(await token(noCache)).toBe('header.payload.signature-two');
  });

  test('the answer has the headers of RFC 6749 and a floored expires_in', async () => {
    const tokenServed = jest.fn();
    const { port, clock } = await start({ observer: { tokenServed } });
    clock.advance(1);
    const answer = await sendForm(port, GRANT, ORDERS);
    expect(answer.status).toBe(200);
    expect(answer.headers).toMatchObject({
      'content-type': 'application/json',
      'cache-control': 'no-store',
      pragma: 'no-cache',
    });
    expect(JSON.parse(answer.text)).toEqual({
      access_token: 'header.payload.signature-one',
      token_type: 'Bearer',
      expires_in: DAY_SECONDS - 1,
    });
    expect(tokenServed).toHaveBeenCalledWith('orders', 'MISS', 200, 'default');
  });

  const jwtWith = (claims: object): string =>
    `header.${Buffer.from(JSON.stringify(claims)).toString('base64url')}.signature`;

  test.each<[string, Partial<ServiceToken>, string | undefined]>([
    ['the token secret', { scope: 'read write' }, undefined],
    ['a claim', { accessToken: jwtWith({ scope: 'read write' }) }, undefined],
    ['a claim that is a list', { accessToken: jwtWith({ scp: ['read', 'write'] }) }, undefined],
    ['a claim, whatever is configured', { accessToken: jwtWith({ scp: 'read write' }) }, 'other'],
    ['the setting', {}, 'read write'],
  ])('scopes by %s: requested, returned and published', async (_by, change, scope) => {
    const { port, store } = await start(scope === undefined ? {} : { scope });
    store.edit(TOKEN_SECRET, serializeServiceToken(tokenAt(START, change)));
    const published = await send(port, 'GET', '/.well-known/oauth-authorization-server');
    expect(JSON.parse(published.text).scopes_supported).toEqual(['read', 'write']);
    for (const asked of [undefined, 'read', 'write', 'read write', 'write  read', ' read ']) {
      const answer = await sendForm(
        port,
        asked === undefined ? GRANT : { ...GRANT, scope: asked },
        ORDERS,
      );
      expect(answer.status).toBe(200);
      // RFC 6749 §5.1: every scope that was issued, also when fewer were requested.
      expect(JSON.parse(answer.text).scope).toBe('read write');
    }
    for (const asked of ['admin', 'read admin', 'READ', 'other', 'rea']) {
      const answer = await sendForm(port, { ...GRANT, scope: asked }, ORDERS);
      expect(outcome(answer)).toEqual([400, 'invalid_scope']);
      expect(JSON.parse(answer.text).error_description).toBe(
        'The service token has these scopes: read write.',
      );
    }
    const plain = await send(port, 'GET', '/v1/token', ORDERS);
    expect(JSON.parse(plain.text).scope).toBe('read write');
  });

  test.each<[string, Partial<ServiceToken>]>([
    ['are not known', {}],
    ['are none', { scope: '' }],
    ['are none by its claim', { accessToken: jwtWith({ scope: '' }) }],
  ])(
    'a token whose scopes %s: none can be requested, and none are returned',
    async (_what, change) => {
      const { port, store } = await start();
      store.edit(TOKEN_SECRET, serializeServiceToken(tokenAt(START, change)));
      const refused = await sendForm(port, { ...GRANT, scope: 'read' }, ORDERS);
      expect(outcome(refused)).toEqual([400, 'invalid_scope']);
      expect(JSON.parse(refused.text).error_description).toContain('leave "scope" out');
      const answer = await sendForm(port, { ...GRANT, scope: '' }, ORDERS);
      expect(answer.status).toBe(200);
      expect(Object.keys(JSON.parse(answer.text))).toEqual([
        'access_token',
        'token_type',
        'expires_in',
      ]);
      const published = await send(port, 'GET', '/.well-known/oauth-authorization-server');
      expect(JSON.parse(published.text)).not.toHaveProperty('scopes_supported');
    },
  );

  test('scopes are those of the token that is served, not of the one before', async () => {
    const { port, store, serving } = await start();
    const ask = (): Promise<RawAnswer> => sendForm(port, { ...GRANT, scope: 'new' }, ORDERS);
    store.edit(TOKEN_SECRET, serializeServiceToken(tokenAt(START, { scope: 'old' })));
    expect((await ask()).status).toBe(400);
    store.edit(TOKEN_SECRET, serializeServiceToken(tokenAt(START, { scope: 'new' })));
    tokenCacheOf(serving).invalidate();
    expect((await ask()).status).toBe(200);
  });

  test.each<
    [string, string | Record<string, string>, Record<string, string | string[]>, number, string]
  >([
    ['no credentials', GRANT, {}, 401, 'invalid_client'],
    ['an id without a secret', { ...GRANT, client_id: 'orders' }, {}, 401, 'invalid_client'],
    [
      'an empty secret',
      { ...GRANT, client_id: 'orders', client_secret: '' },
      {},
      401,
      'invalid_client',
    ],
    [
      'a wrong secret in the body',
      { ...GRANT, ...POST, client_secret: 'x' },
      {},
      401,
      'invalid_client',
    ],
    [
      'a wrong secret in the header',
      GRANT,
      { authorization: basic('orders', 'x') },
      401,
      'invalid_client',
    ],
    ['an unknown peer', { ...GRANT, ...POST, client_id: 'nobody' }, {}, 401, 'invalid_client'],
    [
      'a disabled peer',
      GRANT,
      { authorization: basic('retired', SECRETS.retired) },
      401,
      'invalid_client',
    ],
    ['malformed Basic', GRANT, { authorization: 'Basic =' }, 401, 'invalid_client'],
    [
      'a peer without the role',
      GRANT,
      { authorization: basic('admin', SECRETS.admin) },
      403,
      'unauthorized_client',
    ],
    [
      'a client assertion',
      { ...GRANT, client_assertion: 'a.b.c', client_assertion_type: 'x' },
      {},
      401,
      'invalid_client',
    ],
    ['both methods', { ...GRANT, ...POST }, ORDERS, 400, 'invalid_request'],
    [
      'two headers',
      GRANT,
      { authorization: [ORDERS.authorization, ORDERS.authorization] },
      400,
      'invalid_request',
    ],
    ['another id in the body', { ...GRANT, client_id: 'admin' }, ORDERS, 400, 'invalid_request'],
    ['no grant', {}, ORDERS, 400, 'invalid_request'],
    ['an empty grant', { grant_type: '' }, ORDERS, 400, 'invalid_request'],
    ['another grant', { grant_type: 'authorization_code' }, ORDERS, 400, 'unsupported_grant_type'],
    [
      'a scope the token lacks',
      { ...GRANT, scope: 'orders:read root' },
      ORDERS,
      400,
      'invalid_scope',
    ],
    [
      'another resource',
      { ...GRANT, resource: 'https://elsewhere.example' },
      ORDERS,
      400,
      'invalid_target',
    ],
    ['another audience', { ...GRANT, audience: `${AUDIENCE}/` }, ORDERS, 400, 'invalid_target'],
    [
      'one of two resources',
      `grant_type=client_credentials&resource=${AUDIENCE}&resource=b`,
      ORDERS,
      400,
      'invalid_target',
    ],
    [
      'a repeated parameter',
      'grant_type=client_credentials&grant_type=client_credentials',
      ORDERS,
      400,
      'invalid_request',
    ],
    [
      'a repeated empty parameter',
      'grant_type=client_credentials&scope=&scope=',
      ORDERS,
      400,
      'invalid_request',
    ],
    [
      'a malformed escape',
      'grant_type=client_credentials&scope=%zz',
      ORDERS,
      400,
      'invalid_request',
    ],
    [
      'bytes that are not UTF-8',
      'grant_type=client_credentials&scope=%ff',
      ORDERS,
      400,
      'invalid_request',
    ],
    [
      'JSON',
      '{"grant_type":"client_credentials"}',
      { ...ORDERS, 'content-type': 'application/json' },
      400,
      'invalid_request',
    ],
    [
      'malformed JSON',
      '{"grant_type":',
      { ...ORDERS, 'content-type': 'application/json' },
      400,
      'invalid_request',
    ],
    [
      'another content type',
      'grant_type=client_credentials',
      { ...ORDERS, 'content-type': 'text/plain' },
      400,
      'invalid_request',
    ],
    [
      'a large body',
      `grant_type=client_credentials&scope=${'x'.repeat(20_000)}`,
      ORDERS,
      413,
      'invalid_request',
    ],
  ])('%s', async (_, form, headers, status, error) => {
    const { port } = await start({ scope: 'orders:read' });
    const answer = await sendForm(port, form, headers);
    expect(outcome(answer)).toEqual([status, error]);
    expect(answer.headers['cache-control']).toBe('no-store');
    expect(answer.text).not.toContain(SECRETS.orders);
    if (status === 401) expect(answer.headers['www-authenticate']).toMatch(/^Basic realm=/);
  });

  test('a huge body is refused', async () => {
    const { port } = await start();
    // Fastify answers before the body is sent, and ends the connection; Express reads it to the end first.
    const body = server === 'express' ? 'x'.repeat(2_000_000) : '';
    const answer = await sendForm(port, body, { ...ORDERS, 'content-length': '2000000' });
    expect(outcome(answer)).toEqual([413, 'invalid_request']);
  });

  test('an id in the body as well as in the header is accepted when it is the same', async () => {
    const { port } = await start();
    const answer = await sendForm(
      port,
      { ...GRANT, client_id: 'orders', audience: AUDIENCE },
      ORDERS,
    );
    expect(answer.status).toBe(200);
  });

  test('parameters in the URL are refused', async () => {
    const { port } = await start();
    const query = new URLSearchParams({ ...GRANT, ...POST }).toString();
    const answer = await send(port, 'POST', `/oauth2/token?${query}`, {
      'content-type': 'application/x-www-form-urlencoded',
      'content-length': '0',
    });
    expect(outcome(answer)).toEqual([400, 'invalid_request']);
    expect(answer.text).not.toContain(SECRETS.orders);
  });

  test('other methods: 405 with Allow', async () => {
    const { port } = await start();
    const answer = await send(port, 'GET', '/oauth2/token', ORDERS);
    expect([answer.status, answer.headers.allow]).toEqual([405, 'POST']);
  });

  test('a store that fails: 503 with Retry-After', async () => {
    const { port, store } = await start();
    store.before = ({ secretId }) => {
      if (secretId === TOKEN_SECRET) throw new SecretStoreError('STORE_TIMEOUT', 'No answer.');
    };
    const answer = await sendForm(port, GRANT, ORDERS);
    expect(outcome(answer)).toEqual([503, 'temporarily_unavailable']);
    expect(answer.headers['retry-after']).toBe('5');
  });
});
