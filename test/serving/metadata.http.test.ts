import { afterEach, describe, expect, test } from '@jest/globals';
import { SecretStoreError } from '../../src/secrets/secret-store.js';
import {
  createBroker,
  send,
  SERVERS,
  startApp,
  type RawAnswer,
  type RunningApp,
  tokenCacheOf,
} from './broker.js';

const PATH = '/.well-known/oauth-authorization-server';

describe.each(SERVERS)('the metadata on %s', (server) => {
  let running: RunningApp | undefined;
  afterEach(async () => {
    await running?.app.close();
    running = undefined;
  });

  async function ask(
    options: { publicUrl?: string; scope?: string },
    headers: Record<string, string> = {},
    method = 'GET',
  ): Promise<RawAnswer> {
    running = await startApp(createBroker(options).serving, server);
    return send(running.port, method, PATH, headers);
  }

  test('has what RFC 8414 requires, with the configured URL as issuer', async () => {
    const answer = await ask({ publicUrl: 'https://broker.example.com/', scope: 'a b' });
    expect([answer.status, answer.headers['cache-control']]).toEqual([200, 'no-store']);
    expect(JSON.parse(answer.text)).toEqual({
      issuer: 'https://broker.example.com',
      token_endpoint: 'https://broker.example.com/oauth2/token',
      token_endpoint_auth_methods_supported: ['client_secret_basic', 'client_secret_post'],
      grant_types_supported: ['client_credentials'],
      response_types_supported: [],
      scopes_supported: ['a', 'b'],
    });
  });

  test('names the introspection endpoint where there is one', async () => {
    // It is known by what is configured, not by what can be read.
    const receivers = { get: () => Promise.reject(new Error('No answer.')), peek: () => undefined };
    running = await startApp(createBroker({ receivers }).serving, server);
    const headers = { host: 'broker.internal' };
    expect(JSON.parse((await send(running.port, 'GET', PATH, headers)).text)).toMatchObject({
      introspection_endpoint: 'http://broker.internal/oauth2/introspect',
    });
  });

  test('while the store fails, only the scopes that only the token has are missing', async () => {
    const broker = createBroker({ scope: 'a b' });
    broker.store.before = () => {
      throw new SecretStoreError('STORE_TIMEOUT', 'No answer.');
    };
    running = await startApp(broker.serving, server);
    const answer = await send(running.port, 'GET', PATH);
    expect(answer.status).toBe(200);
    expect(JSON.parse(answer.text)).toMatchObject({ scopes_supported: ['a', 'b'] });
  });

  test('a warm broker reads no store for it, however often it is asked', async () => {
    const broker = createBroker();
    running = await startApp(broker.serving, server);
    await tokenCacheOf(broker.serving).get();
    let reads = 0;
    broker.store.before = () => {
      reads += 1;
    };
    broker.clock.advance(3_600_000);
    for (let count = 0; count < 3; count += 1) await send(running.port, 'GET', PATH);
    expect(reads).toBe(0);
  });

  test.each([
    ['broker.internal:3000', 'http://broker.internal:3000'],
    ['BROKER', 'http://broker'],
    ['[::1]:3000', 'http://[::1]:3000'],
  ])('without one, the issuer is the host that was asked: %s', async (host, issuer) => {
    const answer = await ask(
      {},
      { host, 'x-forwarded-host': 'evil', 'x-forwarded-proto': 'https' },
    );
    expect(JSON.parse(answer.text)).toMatchObject({
      issuer,
      token_endpoint: `${issuer}/oauth2/token`,
    });
  });

  test.each(['evil.example/path', 'user@evil', 'a"b', '-', 'a b', 'broker:port'])(
    'a Host of %j is refused',
    async (host) => {
      const answer = await ask({}, { host });
      expect(answer.status).toBe(400);
    },
  );

  test('other methods: 405 with Allow', async () => {
    const answer = await ask({}, {}, 'DELETE');
    expect([answer.status, answer.headers.allow]).toEqual([405, 'GET, HEAD']);
  });
});
