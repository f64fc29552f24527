import { describe, expect, jest, test } from '@jest/globals';
import { servingObserver } from '../../src/composition/observers.js';
import { createLogger } from '../../src/operations/log.js';
import { BrokerMetrics } from '../../src/operations/metrics.js';
import {
  type EndpointAnswer,
  type EndpointRequest,
  headerOf,
  type ServingObserver,
} from '../../src/serving/endpoint.js';
import { REREAD_INTERVAL } from '../../src/peers/peer-directory.js';
import { LogLines } from '../operations/log-lines.js';
import {
  basic,
  createBroker,
  peerEntry,
  PEERS_SECRET,
  SECRETS,
  type TestBroker,
} from './broker.js';

const NEW_SECRET = 'billing-secret-0123456789abcdefghijklmnopqrs';
const NEW_PEER = basic('billing', NEW_SECRET);

interface Scene extends TestBroker {
  readonly ask: (
    authorization?: string | readonly string[],
    change?: Partial<EndpointRequest>,
  ) => Promise<EndpointAnswer>;
  readonly addPeer: () => Promise<void>;
  /** Reads of the peers secret. */
  readonly peerReads: () => number;
}

async function setUp(observer: ServingObserver = {}): Promise<Scene> {
  const broker = createBroker({ observer });
  const { store, serving } = broker;
  let reads = 0;
  store.before = ({ method, secretId }) => {
    if (method === 'read' && secretId === PEERS_SECRET) reads += 1;
  };
  const scene: Scene = {
    ...broker,
    ask: (authorization = [], change = {}) =>
      serving.token.answer({
        method: 'GET',
        url: '/v1/token',
        headers: {
          authorization: authorization.length === 0 ? undefined : [authorization].flat(),
        },
        remoteAddress: '10.0.0.1',
        encrypted: true,
        ...change,
      }),
    addPeer: async () => {
      const { value } = await store.read(PEERS_SECRET);
      const document = JSON.parse(value) as { peers: Record<string, object> };
      document.peers['billing'] = peerEntry(NEW_SECRET, ['token']);
      store.edit(PEERS_SECRET, JSON.stringify(document));
    },
    peerReads: () => reads,
  };
  expect((await scene.ask(basic('orders', SECRETS.orders))).status).toBe(200);
  return scene;
}

/** Failures of neighbours at one address, with ids that no peer has. */
async function failOften({ ask }: Scene, times: number): Promise<readonly number[]> {
  const statuses: number[] = [];
  for (let count = 0; count < times; count += 1) {
    statuses.push((await ask(basic(`old-${count}`, 'wrong'))).status);
  }
  return statuses;
}

describe('a peer that was added a moment ago', () => {
  test.each([0, 49, 50, 51, 500])(
    'is let in at the next read, after %d failures of others at its address',
    async (failures) => {
      const scene = await setUp();
      await failOften(scene, failures);
      await scene.addPeer();
      scene.clock.advance(REREAD_INTERVAL);
      expect((await scene.ask(NEW_PEER)).status).toBe(200);
    },
  );

  test('may retry when a newer list can be read, not when others at its address may fail again', async () => {
    const scene = await setUp();
    scene.clock.advance(REREAD_INTERVAL);
    expect((await failOften(scene, 60)).slice(48)).toEqual([
      401,
      401,
      ...Array<number>(10).fill(429),
    ]);
    await scene.addPeer();
    const early = await scene.ask(NEW_PEER);
    expect([early.status, headerOf(early, 'Retry-After')]).toEqual([429, '5']);
    scene.clock.advance(5_000);
    expect((await scene.ask(NEW_PEER)).status).toBe(200);
  });

  test('has to wait for its own failures', async () => {
    const scene = await setUp();
    for (let count = 0; count < 10; count += 1) await scene.ask(NEW_PEER);
    expect(headerOf(await scene.ask(NEW_PEER), 'Retry-After')).toBe('60');
    // It is admitted all the same as soon as it is known.
    await scene.addPeer();
    scene.clock.advance(REREAD_INTERVAL);
    expect((await scene.ask(NEW_PEER)).status).toBe(200);
  });

  test('a flood of bad logins reads the list once in five seconds', async () => {
    const scene = await setUp();
    const before = scene.peerReads();
    for (let second = 0; second < 60; second += 1) {
      scene.clock.advance(1_000);
      await failOften(scene, 20);
    }
    expect(scene.peerReads() - before).toBeLessThanOrEqual(12);
    expect(scene.peerReads() - before).toBeGreaterThan(8);
  });

  test.each([
    ['an id with white space', basic('or ders', 'wrong')],
    ['an id that is too long', basic('x'.repeat(65), 'wrong')],
    ['an id with a letter beyond ASCII', basic('ordérs', 'wrong')],
    ['another scheme', 'Bearer abc'],
    ['no credentials', []],
    ['two headers', [basic('orders', 'wrong'), basic('orders', 'wrong')]],
  ])('nothing is read for what no list can have: %s', async (_what, authorization) => {
    const { ask, clock, peerReads } = await setUp();
    clock.advance(60_000);
    const before = peerReads();
    await ask(authorization);
    expect(peerReads()).toBe(before);
    // Any id that a list can have is looked up.
    await ask(basic('unknown', 'wrong'));
    expect(peerReads()).toBe(before + 1);
  });
});

describe('logins that are not logged each time', () => {
  const observe = (): {
    readonly told: string[];
    readonly observer: ServingObserver;
  } => {
    const told: string[] = [];
    return {
      told,
      observer: {
        loginFailed: (reason) => told.push(reason),
        roleMissing: (peer, role) => told.push(`${peer} is no ${role}`),
      },
    };
  };

  test('without credentials: reported each time, and always 401', async () => {
    const { told, observer } = observe();
    const { ask } = await setUp(observer);
    const statuses = new Set<number>();
    for (let count = 0; count < 15; count += 1) statuses.add((await ask()).status);
    expect([...statuses]).toEqual([401]);
    expect(told).toEqual(Array<string>(15).fill('missing'));
  });

  test('without credentials does not count against others at the same address', async () => {
    const { ask } = await setUp();
    for (let count = 0; count < 200; count += 1) await ask();
    expect((await ask(basic('orders', 'wrong'))).status).toBe(401);
  });

  test('without the role: reported each time, and always 403', async () => {
    const { told, observer } = observe();
    const { ask } = await setUp(observer);
    const admin = basic('admin', SECRETS.admin);
    const statuses = new Set<number>();
    for (let count = 0; count < 12; count += 1) statuses.add((await ask(admin)).status);
    expect([...statuses]).toEqual([403]);
    expect(told).toEqual(Array<string>(12).fill('admin is no token'));
  });

  test('every one is in the metrics, and one of each kind in the log', async () => {
    const [metrics, out] = [new BrokerMetrics(), new LogLines()];
    const log = createLogger({ level: 'info', destination: out });
    const { ask } = await setUp(servingObserver(log, metrics));
    for (let count = 0; count < 30; count += 1) {
      await ask();
      await ask(basic('admin', SECRETS.admin));
    }
    const shown = await metrics.registry.metrics();
    metrics.registry.clear();
    for (const reason of ['missing', 'role_missing']) {
      expect(shown).toContain(`peer_login_failures_total{reason="${reason}"} 30\n`);
    }
    const logged = (message: string): number =>
      out.lines.filter((line) => line['message'] === message).length;
    expect([
      logged('a peer could not log in'),
      logged('a peer asked for what it has no role for'),
      out.lines.length,
    ]).toEqual([1, 1, 2]);
  });

  test('credentials twice: 400, counted like any failed login', async () => {
    const [loginFailed, loginThrottled] = [jest.fn(), jest.fn()];
    const { ask } = await setUp({ loginFailed, loginThrottled });
    const statuses: number[] = [];
    const twice = [basic('orders', SECRETS.orders), basic('orders', SECRETS.orders)];
    for (let count = 0; count < 12; count += 1) statuses.push((await ask(twice)).status);
    expect(statuses).toEqual([...Array<number>(10).fill(400), 429, 429]);
    expect(loginFailed).toHaveBeenCalledTimes(10);
    expect(loginFailed).toHaveBeenLastCalledWith('malformed', undefined, '10.0.0.1');
    expect(loginThrottled).toHaveBeenCalledTimes(2);
  });
});
