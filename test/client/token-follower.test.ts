import { execFile } from 'node:child_process';
import { once } from 'node:events';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { promisify } from 'node:util';
import { describe, expect, test } from '@jest/globals';
import {
  end,
  scene,
  settle,
  until,
  untilToken,
  waiting,
  WaitingBroker,
} from './follower-fixture.js';

const TTL = 300_000;

describe('where the broker offers to wait', () => {
  test('a rotation reaches the client without a further request, and without time', async () => {
    const made = await waiting();
    const { client, broker, clock } = made;
    expect(client.status().waiting).toBe(true);
    const before = clock.now();
    broker.rotate();
    await untilToken(made, 2);
    expect(clock.now()).toBe(before);
    expect(broker.to('/oauth2/token')).toHaveLength(1);
    // And the next rotation, with the version that is known from the answer.
    await broker.until(() => broker.held.length > 0);
    clock.advance(1_000);
    broker.rotate();
    await untilToken(made, 3);
    expect(broker.to('/.well-known/oauth-authorization-server')).toHaveLength(1);
  });

  test('the requests have the proof, the version and a bounded wait', async () => {
    const { broker } = await waiting({ random: () => 0.5 });
    const [metadata] = broker.to('/.well-known/oauth-authorization-server');
    expect(metadata?.authorization).toBeUndefined();
    const basic = expect.stringMatching(/^Basic /);
    expect(broker.to('/v1/token')).toEqual([
      { url: '/v1/token', authorization: basic, prefer: 'wait=270', condition: undefined },
      { url: '/v1/token', authorization: basic, prefer: 'wait=270', condition: '"v1"' },
    ]);
  });

  test('a workload token is sent as Bearer', async () => {
    const workload = WaitingBroker.token(7);
    const { broker } = await waiting({ peer: { workloadToken: () => workload } });
    expect(broker.to('/v1/token')[1]?.authorization).toBe(`Bearer ${workload}`);
  });

  test('a token that was chosen by its audience is waited for by its name', async () => {
    const { broker } = await waiting({ audience: 'https://ledger.test' });
    expect(broker.to('/v1/tokens/ledger')).toHaveLength(2);
    expect(broker.to('/v1/token')).toEqual([]);
  });

  test('the token is not shorter-lived than the answer says', async () => {
    const made = await waiting();
    made.clock.advance(200_000);
    made.broker.rotate();
    await untilToken(made, 2);
    const { expiresAt } = await made.client.getToken();
    expect(expiresAt).toBe(made.clock.now() - 10_000 + 86_400_000);
  });

  test('nor longer-lived, where the clock was set back meanwhile', async () => {
    const made = await waiting();
    made.clock.advance(-3_600_000);
    made.broker.rotate();
    await untilToken(made, 2);
    expect(made.client.status().expiresAt).toBe(made.clock.now() - 10_000 + 86_400_000);
  });

  test('a token that may be about to expire is not taken', async () => {
    const { client, broker, clock, told } = await waiting();
    clock.advance(200_000);
    broker.life = 69;
    broker.rotate();
    await until(() => !client.status().waiting);
    expect((await client.getToken()).accessToken).toBe(WaitingBroker.token(1));
    expect(told).toHaveLength(1);
  });

  test('waits again after the time is over while it is used, and not otherwise', async () => {
    const { client, broker, clock } = await waiting();
    clock.advance(270_000);
    // It is used: a further wait follows.
    void client.getToken();
    broker.timeIsOver();
    await broker.until(() => broker.held.length > 0);
    clock.advance(270_000);
    broker.timeIsOver();
    await settle();
    expect(client.status().waiting).toBe(false);
    expect(broker.held).toEqual([]);
    void client.getToken();
    await broker.until(() => broker.held.length > 0);
    expect(client.status().waiting).toBe(true);
  });

  test('close() ends it, and the client works on', async () => {
    const { client, broker, clock } = await waiting();
    const [response] = broker.held;
    const closed = once(response as ServerResponse, 'close');
    client.close();
    await closed;
    await settle();
    expect(client.status().waiting).toBe(false);
    broker.version = 2;
    clock.advance(TTL);
    expect((await client.getToken()).accessToken).toBe(WaitingBroker.token(2));
    await settle();
    expect(client.status().waiting).toBe(false);
  });

  test('a token that is older than the one in use is not taken', async () => {
    const { client, broker, clock } = await waiting();
    // The ordinary refresh meets a replica that is ahead.
    broker.version = 3;
    clock.advance(TTL);
    await client.getToken();
    broker.version = 2;
    broker.release();
    await settle();
    expect((await client.getToken()).accessToken).toBe(WaitingBroker.token(3));
  });
});

describe('otherwise the client works as before', () => {
  test.each([
    ['no member', undefined],
    ['no number', 'yes'],
    ['less than a second', 0],
  ])('metadata with %s: it is asked for once an hour', async (_what, offer) => {
    const { client, broker, clock } = await scene();
    broker.offer = offer;
    for (let minute = 0; minute < 50; minute += 1) {
      await client.getToken();
      await settle();
      clock.advance(60_000);
    }
    expect(broker.to('/v1/token')).toEqual([]);
    expect(broker.to('/.well-known/oauth-authorization-server')).toHaveLength(1);
    broker.offer = 300;
    clock.advance(3_600_000);
    await client.getToken();
    void client.getToken();
    await broker.until(() => broker.held.length > 0);
  });

  test('with a fetch of its own, or when it is switched off', async () => {
    for (const options of [{ fetch: globalThis.fetch.bind(undefined) }, { wait: false }]) {
      const { client, broker } = await scene(options);
      for (let use = 0; use < 5; use += 1) {
        await client.getToken();
        await settle();
      }
      expect(broker.seen.map(({ url }) => url)).toEqual(['/oauth2/token']);
    }
  });

  test.each([
    ['a refusal', end(401, {}, '{"error":"invalid_client"}')],
    ['a server that knows no such path', end(404)],
    ['a failure', end(503, { 'retry-after': '2' })],
    ['a gateway that gives up', end(504)],
    ['304 at once', end(304, { 'preference-applied': 'wait=300' })],
    ['304 without the preference', end(304)],
    ['a page', end(200, { etag: '"v2"' }, '<html>')],
    ['the same version again', end(200, { etag: '"v1"' }, '{}')],
    [
      'no version',
      end(200, {}, '{"access_token":"a.b.c","token_type":"Bearer","expires_in":9999}'),
    ],
    [
      'a token that has expired',
      end(200, { etag: '"v2"' }, '{"access_token":"a.b.c","token_type":"Bearer","expires_in":9}'),
    ],
    ['a redirect', end(307, { location: '/elsewhere' })],
    ['a broken connection', (_: IncomingMessage, response: ServerResponse) => response.destroy()],
  ])('%s: it asks less and less often, and the token is served', async (_what, answer) => {
    const { client, broker, clock } = await scene();
    broker.script = (request, response) => {
      if (request.url !== '/v1/token') return false;
      answer(request, response);
      return true;
    };
    for (let second = 0; second < 240; second += 1) {
      expect((await client.getToken()).accessToken).toBe(WaitingBroker.token(1));
      await until(() => !client.status().waiting);
      clock.advance(1_000);
    }
    // After 1, 2, 4 … seconds, as the random number of the test has it.
    expect(broker.to('/v1/token').length).toBeLessThanOrEqual(9);
    expect(broker.to('/v1/token').length).toBeGreaterThanOrEqual(5);
    expect(client.status()).toMatchObject({ usable: true, consecutiveFailures: 0 });
    broker.script = undefined;
    clock.advance(600_000);
    await client.getToken();
    await broker.until(() => broker.held.length > 0);
  });

  test('a proxy that ends long requests: the waits become shorter than that', async () => {
    const { client, broker, clock } = await waiting();
    clock.advance(60_000);
    for (const response of broker.held.splice(0)) response.writeHead(504).end();
    await until(() => !client.status().waiting);
    clock.advance(2_000);
    void client.getToken();
    await broker.until(() => broker.held.length > 0);
    expect(broker.to('/v1/token').at(-1)?.prefer).toBe('wait=43');
    // For an hour: what ended the request may have been a restart.
    clock.advance(3_600_000);
    void client.getToken();
    broker.timeIsOver();
    await broker.until(() => broker.to('/v1/token').at(-1)?.prefer === 'wait=270');
  });

  test('a broker whose every answer is another token is not asked in a circle', async () => {
    const { client, broker } = await scene();
    broker.script = (request, response) => {
      if (request.url !== '/v1/token') return false;
      broker.version += 1;
      broker.token(response);
      return true;
    };
    for (let use = 0; use < 100; use += 1) {
      await client.getToken();
      await settle();
    }
    // The clock stands still: one is taken, and the second is too soon.
    expect(broker.to('/v1/token')).toHaveLength(2);
  });
});

test('a request that waits keeps no process alive', async () => {
  const broker = await new WaitingBroker().listen();
  const source = `
    const { createServiceTokenClient } = await import(process.argv[1]);
    const client = createServiceTokenClient({
      brokers: ${JSON.stringify(broker.url)},
      peer: { id: 'orders', secret: 's' },
    });
    await client.getToken();
    void client.getToken();
    const held = async () => (await fetch(${JSON.stringify(`${broker.url}/held`)})).text();
    while ((await held()) !== '1') void client.getToken();
    console.log(JSON.stringify(client.status().waiting));
  `;
  const module = new URL('../../dist/client/index.js', import.meta.url).href;
  const run = promisify(execFile)(process.execPath, ['--input-type=module', '-e', source, module], {
    timeout: 30_000,
  });
  const { stdout } = await run;
  expect(stdout.trim()).toBe('true');
  expect(broker.held).toHaveLength(1);
}, 60_000);
