import { afterEach, describe, expect, jest, test } from '@jest/globals';
import { SecretStoreError } from '../../src/secrets/secret-store.js';
import type { ServingObserver } from '../../src/serving/endpoint.js';
import { serializeServiceToken } from '../../src/tokens/service-token.js';
import {
  basic,
  createBroker,
  DAY_SECONDS,
  PEERS_SECRET,
  SECRETS,
  send,
  SERVERS,
  START,
  startApp,
  TOKEN_SECRET,
  tokenAt,
  type RunningApp,
  type TestBroker,
} from './broker.js';

const ORDERS = { authorization: basic('orders', SECRETS.orders) };

describe.each(SERVERS)('GET /v1/token on %s', (server) => {
  let running: RunningApp | undefined;
  afterEach(async () => {
    await running?.app.close();
    running = undefined;
  });

  async function start(observer?: ServingObserver): Promise<TestBroker & { port: number }> {
    const broker = createBroker({ observer });
    running = await startApp(broker.serving, server);
    return { ...broker, port: running.port };
  }

  test('serves the token, first read and then cached', async () => {
    const tokenServed = jest.fn();
    const { port, clock, versionId, store } = await start({ tokenServed });
    const first = await send(port, 'GET', '/v1/token', ORDERS);
    expect(first.status).toBe(200);
    expect(JSON.parse(first.text)).toEqual({
      access_token: 'header.payload.signature-one',
      token_type: 'Bearer',
      expires_in: DAY_SECONDS,
    });
    expect(first.headers).toMatchObject({
      'content-type': 'application/json',
      'content-length': String(first.text.length),
      'cache-control': 'no-store',
      pragma: 'no-cache',
      'x-content-type-options': 'nosniff',
      etag: `"${versionId}"`,
      age: '0',
      'x-cache': 'MISS',
    });
    clock.advance(2_500);
    const second = await send(port, 'GET', '/v1/token', ORDERS);
    expect(second.headers).toMatchObject({ age: '2', 'x-cache': 'HIT' });
    expect(JSON.parse(second.text)).toMatchObject({ expires_in: DAY_SECONDS - 3 });
    expect(store.calls.read).toBe(2);
    expect(tokenServed.mock.calls).toEqual([
      ['orders', 'MISS', 200, 'default'],
      ['orders', 'HIT', 200, 'default'],
    ]);
  });

  test('If-None-Match with the version gives 304 without a body', async () => {
    const { port, versionId } = await start();
    for (const value of [`"${versionId}"`, `W/"${versionId}"`, `"other", "${versionId}"`, '*']) {
      const answer = await send(port, 'GET', '/v1/token', { ...ORDERS, 'if-none-match': value });
      expect([answer.status, answer.text, answer.headers.etag]).toEqual([
        304,
        '',
        `"${versionId}"`,
      ]);
      expect(answer.headers['cache-control']).toBe('no-store');
    }
    const other = await send(port, 'GET', '/v1/token', { ...ORDERS, 'if-none-match': '"other"' });
    expect(other.status).toBe(200);
  });

  test('HEAD gives the headers alone', async () => {
    const { port } = await start();
    const get = await send(port, 'GET', '/v1/token', ORDERS);
    const head = await send(port, 'HEAD', '/v1/token', ORDERS);
    expect([head.status, head.text]).toEqual([200, '']);
    expect(head.headers['content-length']).toBe(get.headers['content-length']);
    expect(head.headers.etag).toBe(get.headers.etag);
  });

  test('other methods: 405 with Allow', async () => {
    const { port } = await start();
    for (const method of ['POST', 'PUT', 'DELETE', 'PATCH', 'OPTIONS']) {
      const answer = await send(port, method, '/v1/token', ORDERS);
      expect([method, answer.status, answer.headers.allow]).toEqual([method, 405, 'GET, HEAD']);
    }
  });

  test('Cache-Control: no-cache reads the store, at most once a second', async () => {
    const { port, clock, store } = await start();
    await send(port, 'GET', '/v1/token', ORDERS);
    store.edit(
      TOKEN_SECRET,
      serializeServiceToken(tokenAt(START, { accessToken: 'header.payload.signature-two' })),
    );
    const noCache = { ...ORDERS, 'cache-control': 'max-age=0, no-cache' };
    expect((await send(port, 'GET', '/v1/token', noCache)).headers['x-cache']).toBe('HIT');
    clock.advance(1_000);
    const answer = await send(port, 'GET', '/v1/token', noCache);
    expect(answer.headers['x-cache']).toBe('REFRESH');
    expect(answer.text).toContain('signature-two');
    expect(store.calls.read).toBe(3);
  });

  test('min_ttl is a promise', async () => {
    const tokenUnavailable = jest.fn();
    const { port, clock } = await start({ tokenUnavailable });
    const ask = (query: string): ReturnType<typeof send> =>
      send(port, 'GET', `/v1/token?${query}`, ORDERS);
    expect((await ask(`min_ttl=${DAY_SECONDS}`)).status).toBe(200);
    clock.advance(1_000);
    const tooShort = await ask(`min_ttl=${DAY_SECONDS}`);
    expect([tooShort.status, tooShort.headers['retry-after']]).toEqual([503, '60']);
    expect(JSON.parse(tooShort.text)).toEqual({
      error: 'temporarily_unavailable',
      error_description:
        'The token has 86399 s left, and 86400 s were asked for. Ask for less, or again after the next rotation.',
    });
    const never = await ask(`min_ttl=${DAY_SECONDS + 1}`);
    expect(never.status).toBe(400);
    expect(JSON.parse(never.text)).toMatchObject({
      error: 'invalid_request',
      error_description: '"min_ttl" is 86401 s, but service tokens live only 86400 s.',
    });
    // The second is the peer's own mistake: the token is as good as ever.
    expect(tokenUnavailable).toHaveBeenCalledTimes(1);
  });

  test.each([
    'min_ttl=',
    'min_ttl=-1',
    'min_ttl=1.5',
    'min_ttl=1e3',
    'min_ttl=1&min_ttl=2',
    'min_ttl=%20',
  ])('a query of %s is refused by name', async (query) => {
    const { port } = await start();
    const answer = await send(port, 'GET', `/v1/token?${query}`, ORDERS);
    expect(answer.status).toBe(400);
    expect(JSON.parse(answer.text)).toMatchObject({
      error: 'invalid_request',
      error_description: expect.stringContaining('"min_ttl"'),
    });
  });

  test('credentials in the URL are neither accepted nor repeated', async () => {
    const { port } = await start();
    const query = `client_id=orders&client_secret=${SECRETS.orders}`;
    const without = await send(port, 'GET', `/v1/token?${query}`);
    expect(without.status).toBe(401);
    const beside = await send(port, 'GET', `/v1/token?${query}`, ORDERS);
    expect(beside.status).toBe(400);
    const elsewhere = await send(port, 'GET', `/v2/token?${query}`, ORDERS);
    expect(elsewhere.status).toBe(404);
    for (const answer of [without, beside, elsewhere]) {
      expect(JSON.stringify(answer)).not.toContain(SECRETS.orders);
    }
  });

  test('whatever is wrong with the login, the answer is the same', async () => {
    const loginFailed = jest.fn();
    const { port } = await start({ loginFailed });
    const attempts: Record<string, string>[] = [
      {},
      { authorization: basic('nobody', SECRETS.orders) },
      { authorization: basic('orders', SECRETS.admin) },
      { authorization: basic('retired', SECRETS.retired) },
      { authorization: 'Basic !!!' },
      { authorization: `Bearer ${SECRETS.orders}` },
    ];
    const answers = [];
    for (const headers of attempts) answers.push(await send(port, 'GET', '/v1/token', headers));
    for (const answer of answers)
      expect(answer).toMatchObject({ status: 401, text: answers[0]?.text });
    for (const answer of answers) expect(answer.rawHeaders).toEqual(answers[0]?.rawHeaders);
    expect(answers[0]?.headers['www-authenticate']).toBe(
      'Basic realm="service-token-broker", charset="UTF-8"',
    );
    expect(JSON.parse(answers[0]?.text ?? '')).toMatchObject({ error: 'invalid_client' });
    expect(loginFailed.mock.calls.map(([reason, peer]) => [reason, peer])).toEqual([
      ['missing', undefined],
      ['unknown_peer', undefined],
      ['wrong_secret', 'orders'],
      ['disabled_peer', 'retired'],
      ['malformed', undefined],
      ['malformed', undefined],
    ]);
  });

  test('a peer without the role learns so: 403', async () => {
    const roleMissing = jest.fn();
    const { port } = await start({ roleMissing });
    const answer = await send(port, 'GET', '/v1/token', {
      authorization: basic('admin', SECRETS.admin),
    });
    expect(answer.status).toBe(403);
    expect(JSON.parse(answer.text)).toMatchObject({ error: 'unauthorized_client' });
    expect(roleMissing).toHaveBeenCalledWith('admin', 'token');
  });

  test('two Authorization headers are refused, even when the first is right', async () => {
    const { port } = await start();
    await send(port, 'GET', '/v1/token', ORDERS);
    const answer = await send(port, 'GET', '/v1/token', {
      authorization: [ORDERS.authorization, basic('admin', 'wrong')],
    });
    expect(answer.status).toBe(400);
    expect(JSON.parse(answer.text)).toMatchObject({ error: 'invalid_request' });
  });

  test('too many failures: 429 with Retry-After, while the right secret is let in', async () => {
    const loginThrottled = jest.fn();
    const { port, clock } = await start({ loginThrottled });
    const wrong = { authorization: basic('orders', 'wrong') };
    const statuses: number[] = [];
    for (let count = 0; count < 12; count += 1) {
      statuses.push((await send(port, 'GET', '/v1/token', wrong)).status);
    }
    expect(statuses).toEqual([...Array<number>(10).fill(401), 429, 429]);
    const throttled = await send(port, 'GET', '/v1/token', wrong);
    expect(throttled.headers['retry-after']).toBe('60');
    expect(JSON.parse(throttled.text)).toMatchObject({ error: 'too_many_requests' });
    expect(loginThrottled).toHaveBeenLastCalledWith('orders', '127.0.0.1');
    expect((await send(port, 'GET', '/v1/token', ORDERS)).status).toBe(200);
    const neighbour = { authorization: basic('admin', SECRETS.admin) };
    expect((await send(port, 'GET', '/v1/token', neighbour)).status).toBe(403);
    clock.advance(60_000);
    expect((await send(port, 'GET', '/v1/token', wrong)).status).toBe(401);
  });

  test('a store that fails: 503 with Retry-After while nothing is cached, then STALE', async () => {
    const tokenUnavailable = jest.fn();
    const { port, clock, store } = await start({ tokenUnavailable });
    const down = new SecretStoreError('STORE_THROTTLED', 'Too many requests.', {
      retryAfterSeconds: 7,
    });
    store.before = ({ secretId }) => {
      if (secretId === TOKEN_SECRET) throw down;
    };
    const cold = await send(port, 'GET', '/v1/token', ORDERS);
    expect([cold.status, cold.headers['retry-after'], cold.headers['cache-control']]).toEqual([
      503,
      '7',
      'no-store',
    ]);
    expect(JSON.parse(cold.text)).toEqual({
      error: 'temporarily_unavailable',
      error_description: 'The service token cannot be served at the moment (STORE_THROTTLED).',
    });
    expect(tokenUnavailable).toHaveBeenCalledWith('orders', down, 'default');
    store.before = () => undefined;
    clock.advance(1_000);
    expect((await send(port, 'GET', '/v1/token', ORDERS)).headers['x-cache']).toBe('MISS');
    store.before = () => {
      throw down;
    };
    clock.advance(301_000);
    const stale = await send(port, 'GET', '/v1/token', ORDERS);
    expect([stale.status, stale.headers['x-cache'], stale.headers.age]).toEqual([
      200,
      'STALE',
      '301',
    ]);
    const again = await send(port, 'GET', '/v1/token', ORDERS);
    expect([again.status, again.headers['x-cache']]).toEqual([200, 'STALE']);
  });

  test.each([
    ['no value yet', undefined, 'TOKEN_SECRET_EMPTY', '5'],
    ['not JSON', 'secret-canary', 'TOKEN_SECRET_INVALID', '15'],
    ['expired', serializeServiceToken(tokenAt(START - DAY_SECONDS * 1_000)), 'TOKEN_EXPIRED', '5'],
  ])('a token secret with %s: 503', async (_, value, code, retryAfter) => {
    const { port, store } = await start();
    store.seed(TOKEN_SECRET, value);
    const answer = await send(port, 'GET', '/v1/token', ORDERS);
    expect([answer.status, answer.headers['retry-after']]).toEqual([503, retryAfter]);
    expect(answer.text).toContain(`(${code})`);
    expect(answer.text).not.toContain('canary');
  });

  test('peers that cannot be read: 503, and nobody gets in', async () => {
    const peersUnavailable = jest.fn();
    const { port, store } = await start({ peersUnavailable });
    store.seed(PEERS_SECRET, '{"peers":"none"}');
    const answer = await send(port, 'GET', '/v1/token', ORDERS);
    expect([answer.status, answer.headers['retry-after']]).toEqual([503, '15']);
    expect(peersUnavailable.mock.calls[0]?.[0]).toMatchObject({ code: 'PEERS_INVALID' });
  });

  test('a peer is refused although the word that disables it is a slip, and the others are not', async () => {
    const [loginFailed, peersMalformed] = [jest.fn(), jest.fn()];
    const { port, store, clock } = await start({ loginFailed, peersMalformed });
    expect((await send(port, 'GET', '/v1/token', ORDERS)).status).toBe(200);
    const { value } = await store.read(PEERS_SECRET);
    store.edit(PEERS_SECRET, value.replace('"enabled":true', '"enabled":"false"'));
    clock.advance(300_000);
    expect((await send(port, 'GET', '/v1/token', ORDERS)).status).toBe(401);
    expect(loginFailed).toHaveBeenLastCalledWith('malformed_peer', 'orders', expect.any(String));
    expect(peersMalformed.mock.calls).toEqual([
      [[{ id: 'orders', reason: '"enabled" must be true or false' }]],
    ]);
    const admin = { authorization: basic('admin', SECRETS.admin) };
    expect((await send(port, 'GET', '/v1/token', admin)).status).toBe(403);
  });

  test('a list that cannot be read any more lets peers in for a day, and then nobody: 503', async () => {
    const peersUnavailable = jest.fn();
    const { port, store, clock } = await start({ peersUnavailable });
    const life = { expiresAt: START + 3 * DAY_SECONDS * 1_000 };
    store.edit(TOKEN_SECRET, serializeServiceToken(tokenAt(START, life)));
    const wrong = { authorization: basic('orders', 'wrong') };
    const statuses = async (): Promise<number[]> => [
      (await send(port, 'GET', '/v1/token', ORDERS)).status,
      (await send(port, 'GET', '/v1/token', wrong)).status,
    ];
    expect(await statuses()).toEqual([200, 401]);
    store.before = ({ method, secretId }) => {
      if (method === 'read' && secretId === PEERS_SECRET) {
        throw new SecretStoreError('STORE_UNAVAILABLE', 'Down.');
      }
    };
    clock.set(START + DAY_SECONDS * 1_000 - 1);
    expect(await statuses()).toEqual([200, 401]);
    clock.advance(1);
    expect(await statuses()).toEqual([503, 503]);
    expect((await send(port, 'GET', '/v1/token', ORDERS)).headers['retry-after']).toBe('5');
    expect(peersUnavailable.mock.calls[0]?.[0]).toMatchObject({ code: 'STORE_UNAVAILABLE' });
    store.before = () => undefined;
    clock.advance(1_000);
    expect(await statuses()).toEqual([200, 401]);
  });

  test('an observer that throws costs one request a 500, and the reason is told', async () => {
    const failed = jest.fn();
    const mistake = new Error('observer');
    const tokenServed = (): never => {
      throw mistake;
    };
    const { port } = await start({ tokenServed, failed });
    for (let count = 0; count < 2; count += 1) {
      const answer = await send(port, 'GET', '/v1/token', ORDERS);
      expect([answer.status, JSON.parse(answer.text).error]).toEqual([500, 'server_error']);
    }
    expect(failed).toHaveBeenCalledWith(mistake);
  });

  test('an unknown route: 404 in JSON', async () => {
    const { port } = await start();
    const answer = await send(port, 'GET', '/nothing/here');
    expect(answer.status).toBe(404);
    expect(JSON.parse(answer.text)).toEqual({
      error: 'not_found',
      error_description: 'There is nothing at this path.',
    });
  });
});
