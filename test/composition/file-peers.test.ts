import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { createFilePeers } from '../../src/composition/issuer-keys.js';
import { loadConfig } from '../../src/config/load-config.js';
import type { BrokerConfig } from '../../src/config/broker-config.js';
import { headerOf } from '../../src/serving/endpoint.js';
import {
  createOfflineTestIssuer,
  FakeClock,
  type OfflineTestIssuer,
} from '../../src/testing/index.js';
import { basic, createBroker, SECRETS, START, type TestBroker } from '../serving/broker.js';
import { pause } from '../support/pause.js';

const US = 'https://broker.example.com';
const SHOP = 'https://shop.example.com';
const CI = 'https://ci.example.com';

let issuers: Readonly<Record<string, OfflineTestIssuer>>;
let server: Server;
/** The requests for keys, by the issuer's name, and what each waits for. */
const fetched: string[] = [];
let gate: Promise<void> = Promise.resolve();

beforeAll(async () => {
  issuers = {
    shop: await createOfflineTestIssuer({ issuer: SHOP }),
    ci: await createOfflineTestIssuer({ issuer: CI }),
  };
  server = createServer((request, response) => {
    const name = (request.url ?? '').slice(1);
    fetched.push(name);
    void gate.then(() => response.end(JSON.stringify(issuers[name]?.jwks())));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
});
afterAll(() => {
  server.closeAllConnections();
  server.close();
});

const issuerLine = (name: string, more = ''): string =>
  `  ${name}: { kind: oidc, issuer: 'https://${name}.example.com', jwks_uri: 'http://127.0.0.1:${(server.address() as AddressInfo).port}/${name}'${more} }\n`;
const peerLine = (
  id: string,
  subject: string,
  more = 'tokens: [default]',
  issuer = 'shop',
): string => `  ${id}: { identities: [{ issuer: ${issuer}, subject: '${subject}' }], ${more} }\n`;

function config(issuerLines: readonly string[], peers: readonly string[]): BrokerConfig {
  const sections = `trusted_issuers:\n${issuerLines.join('')}peers:\n${peers.join('')}`;
  const text = `public_url: ${US}\nissuer: https://provider.example.com/\n${peers.length > 0 ? sections : ''}`;
  return loadConfig({ env: { BROKER_CONFIG: 'broker.yaml' }, readFile: () => text });
}

/** A broker with one peer of the file, and what replaces it. */
function setUp(before: BrokerConfig) {
  fetched.length = 0;
  const clock = new FakeClock(START);
  const filePeers = createFilePeers(before, clock);
  const refusals: string[] = [];
  const broker = createBroker({
    clock,
    filePeers,
    maxWaiting: 10,
    observer: { loginFailed: (reason) => refusals.push(reason) },
  });
  let address = 0;
  const request = (authorization: string, headers: Record<string, string> = {}) => ({
    method: 'GET',
    url: '/v1/token',
    headers: {
      authorization: [authorization],
      ...Object.fromEntries(Object.entries(headers).map(([name, value]) => [name, [value]])),
    },
    remoteAddress: `10.0.0.${(address += 1)}`,
    encrypted: true,
    onDisconnect: () => () => undefined,
  });
  return {
    ...broker,
    clock,
    refusals,
    replace(next: BrokerConfig): void {
      filePeers.replace(next.identities);
      broker.serving.recheckWaiting();
    },
    ask: (authorization: string, headers?: Record<string, string>) =>
      broker.serving.token.answer(request(authorization, headers)),
  };
}

const token = (sub: string, claims: Record<string, unknown> = {}, issuer = 'shop'): string =>
  `Bearer ${issuers[issuer]?.sign({
    iss: `https://${issuer}.example.com`,
    sub,
    aud: US,
    iat: START / 1_000,
    exp: START / 1_000 + 3_600,
    ...claims,
  })}`;

/** Starts a request that waits for another version. */
async function waiting(
  { serving, versionId }: Pick<TestBroker, 'serving' | 'versionId'>,
  ask: (authorization: string, headers?: Record<string, string>) => Promise<unknown>,
  authorization: string,
): Promise<void> {
  const before = serving.waiting();
  void ask(authorization, { 'if-none-match': `"${versionId}"`, prefer: 'wait=60' });
  while (serving.waiting() === before) await pause();
}

describe('after the file was replaced', () => {
  test.each([
    [
      'the peer is gone',
      () => config([issuerLine('shop')], [peerLine('other', 'job:2')]),
      401,
      'subject_unknown',
    ],
    ['all peers are gone', () => config([], []), 401, 'malformed'],
    [
      'it is disabled',
      () =>
        config(
          [issuerLine('shop')],
          [peerLine('orders', 'job:1', 'tokens: [default], enabled: false')],
        ),
      401,
      'disabled_peer',
    ],
    [
      'it has another subject',
      () => config([issuerLine('shop')], [peerLine('orders', 'job:2')]),
      401,
      'subject_unknown',
    ],
    [
      'its issuer is gone',
      () => config([issuerLine('ci')], [peerLine('orders', 'job:1', undefined, 'ci')]),
      401,
      'token_issuer_unknown',
    ],
    [
      'its issuer has another audience',
      () =>
        config(
          [issuerLine('shop', ", audience: 'https://other.example.com'")],
          [peerLine('orders', 'job:1')],
        ),
      401,
      'token_audience_wrong',
    ],
    [
      'its tokens may not live so long any more',
      () =>
        config([issuerLine('shop', ', max_lifetime_seconds: 600')], [peerLine('orders', 'job:1')]),
      401,
      'token_lifetime_too_long',
    ],
    [
      'the grant is taken away',
      () =>
        config([issuerLine('shop')], [peerLine('orders', 'job:1', 'tokens: [], roles: [admin]')]),
      403,
      undefined,
    ],
  ] as const)(
    '%s: a token that was verified before opens nothing, and who waits is refused at once',
    async (_what, next, status, reason) => {
      const scene = setUp(config([issuerLine('shop')], [peerLine('orders', 'job:1')]));
      const seen = token('job:1');
      expect((await scene.ask(seen)).status).toBe(200);
      expect(scene.serving.token.answerNow(seen)?.status).toBe(200);
      const held = scene.ask(seen, { 'if-none-match': `"${scene.versionId}"`, prefer: 'wait=60' });
      while (scene.serving.waiting() === 0) await pause();
      scene.replace(next());
      expect((await held).status).toBe(401);
      expect((await held).body.toString()).not.toContain('access_token');
      expect(scene.serving.waiting()).toBe(0);
      expect(scene.serving.token.answerNow(seen)).toBeUndefined();
      expect((await scene.ask(seen)).status).toBe(status);
      expect(scene.refusals).toEqual(reason === undefined ? [] : [reason]);
    },
  );

  test('peers and issuers that did not change: known keys, and waits that go on', async () => {
    const scene = setUp(config([issuerLine('shop')], [peerLine('orders', 'job:1')]));
    await scene.ask(token('job:1'));
    await waiting(scene, scene.ask, token('job:1'));
    await waiting(scene, scene.ask, basic('orders', SECRETS.orders));
    expect(fetched).toEqual(['shop']);
    scene.replace(
      config(
        [issuerLine('shop'), issuerLine('ci')],
        [peerLine('orders', 'job:1'), peerLine('deploy', 'main', undefined, 'ci')],
      ),
    );
    expect(scene.serving.waiting()).toBe(2);
    expect((await scene.ask(token('job:1'))).status).toBe(200);
    expect(fetched).toEqual(['shop']);
    expect((await scene.ask(token('main', {}, 'ci'))).status).toBe(200);
    expect(fetched).toEqual(['shop', 'ci']);
    // The keys of an issuer whose entry has changed are fetched anew.
    scene.replace(
      config([issuerLine('shop', ', max_lifetime_seconds: 3599')], [peerLine('orders', 'job:1')]),
    );
    expect((await scene.ask(token('job:1', { exp: START / 1_000 + 60 }))).status).toBe(200);
    expect(fetched).toEqual(['shop', 'ci', 'shop']);
    // Only the wait by secret is left: what was proved by the issuer's old entry holds no more.
    expect(scene.serving.waiting()).toBe(1);
    scene.serving.stopWaiting();
  });

  test('the first peers of a file are let in, and the challenge says so', async () => {
    const scene = setUp(config([], []));
    const refused = await scene.ask(token('job:1'));
    expect([refused.status, headerOf(refused, 'WWW-Authenticate')]).toEqual([
      401,
      expect.not.stringContaining('Bearer'),
    ]);
    scene.replace(config([issuerLine('shop')], [peerLine('orders', 'job:1')]));
    expect((await scene.ask(token('job:1'))).status).toBe(200);
    const other = await scene.ask(token('job:2'));
    expect([other.status, headerOf(other, 'WWW-Authenticate')]).toEqual([
      401,
      expect.stringContaining('Bearer'),
    ]);
  });

  test('a token for one use that was used stays used, also when there were no peers meanwhile', async () => {
    const before = config(
      [issuerLine('shop', ', single_use: true')],
      [peerLine('orders', 'job:1')],
    );
    const scene = setUp(before);
    const once = token('job:1', { jti: 'one' });
    expect((await scene.ask(once)).status).toBe(200);
    scene.replace(config([], []));
    scene.replace(
      config(
        [issuerLine('shop', ', single_use: true')],
        [peerLine('orders', 'job:1'), peerLine('b', 'job:2')],
      ),
    );
    expect((await scene.ask(once)).status).toBe(401);
    expect(scene.refusals).toEqual(['token_replayed']);
  });

  test('the file changes while the keys are fetched: what it says then decides, and no use is lost', async () => {
    const open = await stalled();
    const scene = setUp(
      config([issuerLine('shop')], [peerLine('orders', 'job:1'), peerLine('once', 'job:3')]),
    );
    const gone = scene.ask(token('job:1'));
    const kept = scene.ask(token('job:3', { jti: 'three' }));
    while (fetched.length === 0) await pause();
    scene.replace(config([issuerLine('shop', ', single_use: true')], [peerLine('once', 'job:3')]));
    open();
    expect((await gone).status).toBe(401);
    expect((await kept).status).toBe(200);
    expect((await scene.ask(token('job:3', { jti: 'three' }))).status).toBe(401);
    expect(scene.refusals).toEqual(['subject_unknown', 'token_replayed']);
  });
});

/** Keeps the answers for keys back. @returns what lets them go. */
async function stalled(): Promise<() => void> {
  let open = (): void => undefined;
  gate = new Promise((resolve) => {
    open = resolve;
  });
  return open;
}

test('10,000 peers are replaced as one', () => {
  const { identities } = config([issuerLine('shop')], [peerLine('orders', 'job:1')]);
  const [issuer] = identities.issuers;
  const [orders] = identities.peers;
  if (issuer === undefined || orders === undefined) throw new Error('both are configured');
  const peers = Array.from({ length: 10_000 }, (_, index) => ({
    ...orders,
    id: `p${index}`,
    identities: [{ issuer: 'shop', subject: `job:${index}` }],
  }));
  const filePeers = createFilePeers(config([], []), new FakeClock(START));
  filePeers.replace({ issuers: [issuer], peers });
  const { workloadTokens } = filePeers.current;
  expect(workloadTokens?.holderOf({ issuer, subject: 'job:9999' })?.id).toBe('p9999');
  expect(workloadTokens?.holderOf({ issuer, subject: 'job:10000' })).toBeUndefined();
  // An entry that only equals it is another issuer's: the proof was given by that one.
  expect(workloadTokens?.holderOf({ issuer: { ...issuer }, subject: 'job:9999' })).toBeUndefined();
});
