import { request as httpRequest } from 'node:http';
import { createListener } from '../../src/composition/listener.js';
import { toEndpointRequest, writeAnswer } from '../../src/serving/endpoint.js';
import type { RotateNow } from '../../src/serving/kept-token.js';
import { WaitingPeers, waitPreference } from '../../src/serving/waiting-peers.js';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { afterEach, describe, expect, test } from '@jest/globals';
import { serializeServiceToken } from '../../src/tokens/service-token.js';
import { createServiceTokenClient } from '../../src/client/service-token-client.js';
import { fc } from '../support/properties.js';
import { VirtualClock } from '../support/virtual-clock.js';
import {
  basic,
  createBroker,
  PEERS_SECRET,
  peerEntry,
  SECRETS,
  send,
  SERVERS,
  startApp,
  TOKEN_SECRET,
  tokenAt,
  type RawAnswer,
  type RunningApp,
  type TestBroker,
} from './broker.js';

const ORDERS = basic('orders', SECRETS.orders);

async function until(isSo: () => boolean): Promise<void> {
  for (let turn = 0; !isSo(); turn += 1) {
    if (turn > 20_000) throw new Error('it did not happen');
    await new Promise((resolve) => setImmediate(resolve));
  }
}

interface Scene extends TestBroker {
  readonly port: number;
  /** Sends a request that is to wait for another version than this. */
  readonly wait: (versionId: string, prefer?: string) => Promise<RawAnswer>;
  readonly rotate: (value?: string) => Promise<string>;
  readonly reads: (secretId: string) => number;
}

describe.each(SERVERS)('Prefer: wait on %s', (server) => {
  let running: RunningApp | undefined;
  afterEach(async () => {
    await running?.app.close();
    running = undefined;
  });

  async function start(maxWaiting = 10, rotator?: RotateNow): Promise<Scene> {
    const broker = createBroker({ maxWaiting, rotator });
    const { store } = broker;
    const read = store.read.bind(store);
    const counted = new Map<string, number>();
    store.read = (secretId, which) => {
      counted.set(secretId, (counted.get(secretId) ?? 0) + 1);
      return read(secretId, which);
    };
    running = await startApp(broker.serving, server);
    const { port } = running;
    let count = 1;
    return {
      ...broker,
      port,
      reads: (secretId) => counted.get(secretId) ?? 0,
      wait: (versionId, prefer = 'wait=60') =>
        send(port, 'GET', '/v1/token', {
          authorization: ORDERS,
          'if-none-match': `"${versionId}"`,
          prefer,
        }),
      rotate: async (value) => {
        count += 1;
        const id = `version-${count}`.padEnd(36, '0');
        const token = tokenAt(broker.clock.now(), { accessToken: `header.payload.${count}` });
        await store.putPending(TOKEN_SECRET, id, value ?? serializeServiceToken(token));
        const { labels } = await store.describe(TOKEN_SECRET);
        const current = [...labels].find(([, names]) => names.includes('AWSCURRENT'))?.[0];
        await store.promote(TOKEN_SECRET, id, current);
        return id;
      },
    };
  }

  /** Starts waits, and returns when they are held: they have been logged in, and nothing came back. */
  async function held(scene: Scene, count = 1): Promise<Promise<RawAnswer>[]> {
    let answered = 0;
    const waits = Array.from({ length: count }, async () => {
      const answer = await scene.wait(scene.versionId);
      answered += 1;
      return answer;
    });
    await until(() => scene.serving.waiting() === count);
    expect(answered).toBe(0);
    return waits;
  }

  test('a new version is answered at once, to all who wait', async () => {
    const scene = await start();
    const waits = await held(scene, 5);
    const versionId = await scene.rotate();
    const reads = scene.reads(TOKEN_SECRET);
    // What this process does after its own rotations.
    const [cache] = scene.serving.tokenCaches.values();
    cache?.invalidate();
    cache?.refresh();
    for (const { status, headers, text } of await Promise.all(waits)) {
      expect([status, headers['etag']]).toEqual([200, `"${versionId}"`]);
      expect(headers['preference-applied']).toBe('wait=60');
      expect(JSON.parse(text)).toMatchObject({ access_token: 'header.payload.2' });
    }
    expect(scene.reads(TOKEN_SECRET)).toBe(reads + 1);
    expect(scene.serving.waiting()).toBe(0);
  });

  test('a rotation by HTTP is answered at once, with no time passing', async () => {
    let rotate = (): Promise<string> => Promise.reject(new Error('too early'));
    const scene = await start(10, {
      rotate: async () => ({ versionId: await rotate(), result: 'rotated' }),
    });
    rotate = () => scene.rotate();
    const waits = await held(scene, 5);
    const reads = scene.reads(TOKEN_SECRET);
    const authorization = basic('admin', SECRETS.admin);
    const { status, text } = await send(scene.port, 'POST', '/v1/rotate', { authorization });
    expect(status).toBe(200);
    for (const { headers } of await Promise.all(waits)) {
      expect(headers['etag']).toBe(`"${JSON.parse(text).version_id}"`);
    }
    expect(scene.reads(TOKEN_SECRET)).toBe(reads + 1);
  });

  test('a version that another process brought is noticed within 15 s, by one read for all', async () => {
    const scene = await start();
    const waits = await held(scene, 5);
    const reads = scene.reads(TOKEN_SECRET);
    for (let second = 0; second < 30; second += 1) {
      scene.clock.advance(1_000);
      scene.serving.keepWarm();
      await new Promise((resolve) => setImmediate(resolve));
    }
    expect(scene.reads(TOKEN_SECRET)).toBe(reads + 2);
    const versionId = await scene.rotate();
    scene.clock.advance(14_999);
    scene.serving.keepWarm();
    scene.clock.advance(1);
    scene.serving.keepWarm();
    for (const { headers } of await Promise.all(waits)) {
      expect(headers['etag']).toBe(`"${versionId}"`);
    }
    // And nobody waits: the store is left alone again.
    const after = scene.reads(TOKEN_SECRET);
    scene.clock.advance(60_000);
    scene.serving.keepWarm();
    await new Promise((resolve) => setImmediate(resolve));
    expect(scene.reads(TOKEN_SECRET)).toBe(after);
  });

  test('the time is over: 304, with the version', async () => {
    const scene = await start();
    const [wait] = await held(scene);
    scene.clock.advance(59_999);
    scene.serving.keepWarm();
    expect(scene.serving.waiting()).toBe(1);
    scene.clock.advance(1);
    scene.serving.keepWarm();
    const answer = await wait;
    expect(answer).toMatchObject({ status: 304, text: '' });
    expect(answer?.headers).toMatchObject({
      etag: `"${scene.versionId}"`,
      'preference-applied': 'wait=60',
      'cache-control': 'no-store',
    });
  });

  test('not longer than 300 s, and the answer says so', async () => {
    const scene = await start();
    const wait = scene.wait(scene.versionId, 'respond-async, wait="86400"');
    await until(() => scene.serving.waiting() === 1);
    scene.clock.advance(300_000);
    scene.serving.keepWarm();
    expect((await wait).headers['preference-applied']).toBe('wait=300');
  });

  test('without If-None-Match, or without waiting on offer, the answer comes at once', async () => {
    const scene = await start();
    const headers = { authorization: ORDERS, prefer: 'wait=60' };
    const plain = await send(scene.port, 'GET', '/v1/token', headers);
    expect([plain.status, plain.headers['preference-applied']]).toEqual([200, undefined]);
    await running?.app.close();
    const none = await start(0);
    const answer = await none.wait(none.versionId);
    expect([answer.status, answer.headers['preference-applied']]).toEqual([304, undefined]);
    const metadata = await send(none.port, 'GET', '/.well-known/oauth-authorization-server');
    expect(metadata.text).not.toContain('max_wait');
  });

  test('beyond the limit the answer comes at once', async () => {
    const scene = await start(2);
    const waits = await held(scene, 2);
    const answer = await scene.wait(scene.versionId);
    expect([answer.status, answer.headers['preference-applied']]).toEqual([304, undefined]);
    scene.serving.stopWaiting();
    await Promise.all(waits);
  });

  test('a version that this replica does not know is looked for first', async () => {
    const scene = await start();
    await send(scene.port, 'GET', '/v1/token', { authorization: ORDERS });
    const versionId = await scene.rotate();
    scene.clock.advance(1_000);
    const wait = scene.wait(versionId);
    await until(() => scene.serving.waiting() === 1);
    scene.serving.stopWaiting();
    expect(await wait).toMatchObject({ status: 304, headers: { etag: `"${versionId}"` } });
  });

  test('a peer that is disabled, removed, or loses the token or its secret is told', async () => {
    for (const entry of [
      peerEntry(SECRETS.orders, ['token'], false),
      undefined,
      { ...peerEntry(SECRETS.orders, ['token']), tokens: ['other'] },
      peerEntry('a new secret, with no overlap', ['token']),
    ]) {
      const scene = await start();
      const [wait] = await held(scene);
      scene.store.seed(
        PEERS_SECRET,
        JSON.stringify({ peers: { ...(entry && { orders: entry }) } }),
      );
      scene.serving.peerDirectory.invalidate();
      scene.serving.peerDirectory.refresh();
      const answer = await wait;
      expect(answer?.status).toBe(401);
      expect(answer?.headers['www-authenticate']).toMatch(/^Basic /);
      expect(answer?.text).not.toContain('payload');
      await running?.app.close();
    }
  });

  test('the end of a secret’s overlap ends its waits: they do not get the next token', async () => {
    const scene = await start();
    const [wait] = await held(scene);
    const { secret_sha256: digest } = peerEntry(SECRETS.orders, []) as { secret_sha256: string };
    const orders = {
      ...peerEntry('a new secret', ['token']),
      previous_secret_sha256: digest,
      previous_secret_not_after: new Date(scene.clock.now() + 30_000).toISOString(),
    };
    scene.store.seed(PEERS_SECRET, JSON.stringify({ peers: { orders } }));
    scene.serving.peerDirectory.invalidate();
    scene.serving.peerDirectory.refresh();
    const withNew = { authorization: basic('orders', 'a new secret') };
    expect((await send(scene.port, 'GET', '/v1/token', withNew)).status).toBe(200);
    expect(scene.serving.waiting()).toBe(1);
    scene.clock.advance(30_000);
    await scene.rotate();
    const [cache] = scene.serving.tokenCaches.values();
    cache?.invalidate();
    cache?.refresh();
    const answer = await wait;
    expect(answer?.status).toBe(401);
    expect(answer?.text).not.toContain('payload');
  });

  test('a peer that disconnects is forgotten', async () => {
    const scene = await start();
    const request = httpRequest({
      port: scene.port,
      host: '127.0.0.1',
      path: '/v1/token',
      headers: { authorization: ORDERS, 'if-none-match': '*', prefer: 'wait=60' },
    });
    request.on('error', () => undefined);
    request.end();
    await until(() => scene.serving.waiting() === 1);
    request.destroy();
    await until(() => scene.serving.waiting() === 0);
  });

  test('when the process stops, they are answered, and no further request waits', async () => {
    const scene = await start();
    const [wait] = await held(scene);
    scene.serving.stopWaiting();
    const { status, headers } = (await wait) as RawAnswer;
    expect([status, headers['connection']]).toEqual([304, 'close']);
    expect((await scene.wait(scene.versionId)).headers['preference-applied']).toBeUndefined();
  });

  test('a store that fails while they wait is no answer', async () => {
    const scene = await start();
    const [wait] = await held(scene);
    await scene.rotate('nonsense');
    for (let second = 0; second < 59; second += 1) {
      scene.clock.advance(1_000);
      scene.serving.keepWarm();
      await new Promise((resolve) => setImmediate(resolve));
    }
    expect(scene.serving.waiting()).toBe(1);
    scene.clock.advance(1_000);
    scene.serving.keepWarm();
    expect((await wait)?.status).toBe(304);
  });

  test('the client of the kit uses it: a rotation reaches it with no time passing', async () => {
    const scene = await start();
    const client = createServiceTokenClient({
      brokers: `http://127.0.0.1:${scene.port}`,
      peer: { id: 'orders', secret: SECRETS.orders },
    });
    const old = await client.getToken();
    void client.getToken();
    await until(() => scene.serving.waiting() === 1);
    await scene.rotate();
    const [cache] = scene.serving.tokenCaches.values();
    cache?.invalidate();
    cache?.refresh();
    let current = old;
    await until(() => {
      void client.getToken().then((token) => (current = token));
      return current !== old;
    });
    expect(current.accessToken).toBe('header.payload.2');
    client.close();
  });
});

test('the listener does not take a request that waits for a stuck one', async () => {
  const { serving, versionId } = createBroker({ maxWaiting: 10 });
  const { server } = createListener(
    (request, response) =>
      void serving.token
        .answer(toEndpointRequest(request))
        .then((answer) => writeAnswer(response, answer)),
    {
      requestTimeoutMs: 100,
      keepAliveTimeoutMs: 50,
      checkIntervalMs: 10,
      graceMs: 60_000,
      maxConnections: 1,
    },
  );
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const headers = { authorization: ORDERS, 'if-none-match': `"${versionId}"`, prefer: 'wait=60' };
  const wait = send(port, 'GET', '/v1/token', headers);
  await until(() => serving.waiting() === 1);
  // Real time, many times the listener's own: what is tested is that nothing happens in it.
  await new Promise((resolve) => setTimeout(resolve, 500));
  expect(serving.waiting()).toBe(1);
  // The only connection is in use: another does not push it out.
  expect((await send(port, 'GET', '/v1/token', headers)).status).toBe(503);
  expect(serving.waiting()).toBe(1);
  serving.stopWaiting();
  expect((await wait).status).toBe(304);
  server.close();
  server.closeAllConnections();
});

describe('where as many wait as may', () => {
  const LIMIT = 6;

  /** Waits of these peers, in this order. @returns how each ended: `undefined` while it is held, `none` when it was not. */
  async function waits(peers: readonly string[]): Promise<readonly (string | undefined)[]> {
    const waiting = new WaitingPeers(new VirtualClock(0), LIMIT);
    const ends: (string | undefined)[] = peers.map(() => undefined);
    peers.forEach((id, index) => {
      const peer = { id, roles: ['token'] as const, tokens: ['default'] };
      const wait = { token: 'default', versionId: '1', peer, seconds: 60 };
      const held = waiting.hold(wait, { onDisconnect: () => () => undefined });
      if (held === undefined) ends[index] = 'none';
      else void held.then((how) => (ends[index] = how));
    });
    await new Promise(setImmediate);
    expect(waiting.count).toBe(ends.filter((end) => end === undefined).length);
    expect(waiting.count).toBeLessThanOrEqual(LIMIT);
    return ends;
  }

  test('a peer with fewer takes the place of the oldest of the one with the most', async () => {
    const greedy = Array.from({ length: LIMIT }, () => 'greedy');
    const held = undefined;
    expect(await waits([...greedy, 'greedy'])).toEqual([...greedy.map(() => held), 'none']);
    const ends = await waits([...greedy, 'a', 'b', 'a', 'a', 'b']);
    expect(ends.slice(0, LIMIT)).toEqual(['over', 'over', 'over', 'over', held, held]);
    expect(ends.slice(LIMIT)).toEqual([held, held, held, 'none', held]);
  });

  test('whoever holds all others back, each of up to that many peers has a place', async () => {
    const peer = fc.constantFrom('a', 'b', 'c', 'd', 'e', 'f');
    await fc.assert(
      fc.asyncProperty(fc.array(peer, { maxLength: 40 }), async (peers) => {
        const ends = await waits(peers);
        const left = new Set(peers.filter((_, index) => ends[index] === undefined));
        expect(left).toEqual(new Set(peers));
      }),
    );
  });
});

describe('waitPreference', () => {
  test.each([
    [undefined, 0],
    [['wait=10'], 10],
    [['WAIT = "10"'], 10],
    [['respond-async, wait=7; foo=bar'], 7],
    [['respond-async', 'wait=7'], 7],
    [['wait=7, wait=9'], 7],
    [['wait=301'], 300],
    [['wait'], 0],
    [['wait=-1'], 0],
    [['wait=1.5'], 0],
    [['await=5'], 0],
    [['wait=9999999999'], 0],
  ])('%j: %d', (headers, seconds) => {
    expect(waitPreference(headers)).toBe(seconds);
  });

  test('is a whole number from 0 to 300, whatever is sent', () => {
    fc.assert(
      fc.property(
        fc.array(fc.oneof(fc.string(), fc.constantFrom('wait=', 'wait=9', ','))),
        (list) => {
          const seconds = waitPreference(list);
          expect(Number.isInteger(seconds) && seconds >= 0 && seconds <= 300).toBe(true);
        },
      ),
    );
  });
});
