import type { IncomingMessage, ServerResponse } from 'node:http';
import { describe, expect, test } from '@jest/globals';
import { PEER_SECRET } from './client-fixture.js';
import {
  end,
  scene,
  settle,
  until,
  untilToken,
  waiting,
  WaitingBroker,
  type Scene,
} from './follower-fixture.js';

const TTL = 300_000;

describe('a rotation while the ordinary refresh hangs', () => {
  /** A scene in which one request waits, and the refresh that is due gets no answer. */
  async function hanging(age: number): Promise<Scene & { readonly hung: ServerResponse[] }> {
    const made = await waiting();
    const hung: ServerResponse[] = [];
    made.broker.script = ({ url }, response) => url === '/oauth2/token' && hung.push(response) > 0;
    made.clock.advance(age);
    return { ...made, hung };
  }

  test('is used at once, and what the refresh gives later is not', async () => {
    const made = await hanging(0.95 * TTL);
    const { client, broker, clock, hung, told } = made;
    expect((await client.getToken()).accessToken).toBe(WaitingBroker.token(1));
    await until(() => hung.length > 0);
    const before = clock.now();
    broker.rotate();
    await untilToken(made, 2);
    expect(clock.now()).toBe(before);
    broker.version = 1;
    broker.token(hung[0] as ServerResponse);
    await settle();
    expect((await client.getToken()).accessToken).toBe(WaitingBroker.token(2));
    expect(hung).toHaveLength(1);
    expect(told.map(([event]) => event)).toEqual(['refreshed', 'refreshed']);
  });

  test('reaches who waits for that refresh', async () => {
    const { client, broker, clock, hung } = await hanging(TTL);
    const before = clock.now();
    const calls = [client.getToken(), client.getToken({ force: true }), client.getToken()];
    await until(() => hung.length > 0);
    broker.rotate();
    for (const { accessToken } of await Promise.all(calls)) {
      expect(accessToken).toBe(WaitingBroker.token(2));
    }
    expect(clock.now()).toBe(before);
    expect(hung).toHaveLength(1);
  });

  test('reaches who had no usable token left', async () => {
    const { client, broker, hung } = await hanging(86_400_000);
    const call = client.getToken();
    await until(() => hung.length > 0);
    broker.rotate();
    expect((await call).accessToken).toBe(WaitingBroker.token(2));
  });

  test('and nobody calls any more: the token is not used after it has expired', async () => {
    const { client, broker, clock, hung } = await hanging(0.95 * TTL);
    await client.getToken();
    await until(() => hung.length > 0);
    broker.life = 3_600;
    broker.rotate();
    await until(() => client.status().expiresAt === clock.now() - 10_000 + 3_600_000);
    broker.script = undefined;
    clock.advance(3_600_000);
    broker.version = 3;
    expect((await client.getToken()).accessToken).toBe(WaitingBroker.token(3));
  });
});

describe('metadata that cannot be had at the moment', () => {
  const METADATA = '/.well-known/oauth-authorization-server';

  test.each([
    ['a failure', end(503)],
    ['a gateway that gives up', end(504)],
    ['too many requests', end(429)],
    ['a refusal', end(401, {}, '{"error":"invalid_client"}')],
    ['a redirect', end(302, { location: '/login' })],
    ['the page of a proxy', end(200, {}, '<html></html>')],
    ['nothing', end(200)],
    ['a list', end(200, {}, '[]')],
    ['too much', end(200, {}, ' '.repeat(70_000))],
    ['a broken connection', (_: IncomingMessage, response: ServerResponse) => response.destroy()],
  ])('%s: they are asked for again, less and less often', async (_what, answer) => {
    const { client, broker, clock } = await scene();
    broker.script = (request, response) => {
      if (request.url !== METADATA) return false;
      answer(request, response);
      return true;
    };
    for (let second = 0; second < 240; second += 1) {
      await client.getToken();
      await until(() => !client.status().waiting);
      clock.advance(1_000);
    }
    expect(broker.to(METADATA).length).toBeLessThanOrEqual(9);
    expect(broker.to(METADATA).length).toBeGreaterThanOrEqual(5);
    expect(broker.to('/v1/token')).toEqual([]);
    broker.script = undefined;
    clock.advance(300_000);
    await client.getToken();
    void client.getToken();
    await broker.until(() => broker.held.length > 0);
  });

  test('one failure costs a second', async () => {
    const { client, broker, clock } = await scene();
    broker.script = (request, response) => {
      if (request.url !== METADATA) return false;
      end(503)(request, response);
      broker.script = undefined;
      return true;
    };
    await client.getToken();
    void client.getToken();
    await until(() => broker.to(METADATA).length === 1 && !client.status().waiting);
    clock.advance(1_000);
    void client.getToken();
    await broker.until(() => broker.held.length > 0);
  });

  test('Retry-After is respected', async () => {
    const { client, broker, clock } = await scene();
    broker.script = (request, response) => {
      if (request.url !== METADATA) return false;
      end(503, { 'retry-after': '100' })(request, response);
      return true;
    };
    await client.getToken();
    for (let second = 0; second <= 100; second += 1) {
      void client.getToken();
      await until(() => !client.status().waiting);
      expect(broker.to(METADATA)).toHaveLength(second < 100 ? 1 : 2);
      clock.advance(1_000);
    }
  });

  test('a server without metadata is asked once an hour', async () => {
    const { client, broker, clock } = await scene();
    broker.script = (request, response) => {
      if (request.url !== METADATA) return false;
      end(404)(request, response);
      return true;
    };
    await client.getToken();
    for (let minute = 0; minute < 60; minute += 1) {
      await client.getToken();
      await until(() => !client.status().waiting);
      clock.advance(60_000);
    }
    expect(broker.to(METADATA)).toHaveLength(1);
    broker.script = undefined;
    void client.getToken();
    await broker.until(() => broker.held.length > 0);
  });

  test('they need no proof; the wait needs one, and soon tries again', async () => {
    let isReadable = true;
    const secret = (): string => {
      if (isReadable) return PEER_SECRET;
      throw new Error('no such file');
    };
    const { client, broker, clock } = await scene({ peer: { id: 'orders', secret } });
    await client.getToken();
    isReadable = false;
    void client.getToken();
    await until(() => broker.to(METADATA).length === 1 && !client.status().waiting);
    expect(broker.to('/v1/token')).toEqual([]);
    isReadable = true;
    clock.advance(1_000);
    void client.getToken();
    await broker.until(() => broker.held.length > 0);
    expect(broker.to(METADATA)).toHaveLength(1);
  });
});
