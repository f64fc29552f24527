import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { AuditTrail, lineSink } from '../../src/operations/audit.js';
import { RotationEvents, withAudit } from '../../src/operations/audit-events.js';
import { createLogger } from '../../src/operations/log.js';
import { BrokerMetrics } from '../../src/operations/metrics.js';
import { createRequestLog, placeOf } from '../../src/operations/request-log.js';
import { servingObserver } from '../../src/composition/observers.js';
import { WorkloadTokens } from '../../src/peers/workload-tokens.js';
import type { RotationOutcome } from '../../src/rotation/rotation.js';
import { toEndpointRequest, writeAnswer, type Endpoint } from '../../src/serving/endpoint.js';
import { createOfflineTestIssuer, type OfflineTestIssuer } from '../../src/testing/index.js';
import { createStaticKeySet } from '../../src/verification/index.js';
import { VirtualClock } from '../support/virtual-clock.js';
import { basic, createBroker, SECRETS, START } from '../serving/broker.js';
import { LogLines } from './log-lines.js';
import { pause } from '../support/pause.js';

const US = 'https://broker.example.com';
const ISSUER = 'https://ci.example.com';

let issuer: OfflineTestIssuer;
beforeAll(async () => {
  issuer = await createOfflineTestIssuer({ issuer: ISSUER });
});

let server: Server | undefined;
afterEach(() => {
  server?.closeAllConnections();
  server?.close();
});

/** A trail in memory, and its events after `started`. */
function memoryTrail() {
  const lines: string[] = [];
  const sink = lineSink((line) => lines.push(line) > 0);
  const trail = new AuditTrail({ sink, clock: new VirtualClock(START) });
  const events = () =>
    lines.slice(1).map((line) => {
      const { time: _, seq: __, prev: ___, ...event } = JSON.parse(line) as Record<string, unknown>;
      return event;
    });
  return { trail, events, lines };
}

/** A broker over HTTP with an audit, metrics and the request log, as it is put together for real. */
async function listen() {
  const clock = new VirtualClock(START);
  const { trail, events, lines } = memoryTrail();
  const metrics = new BrokerMetrics({ waitingRequests: () => serving.waiting() });
  const out = new LogLines();
  const log = createLogger({ level: 'info', destination: out });
  const workloadTokens = new WorkloadTokens({
    issuers: [
      {
        name: 'ci',
        kind: 'oidc',
        issuer: ISSUER,
        jwksUri: `${ISSUER}/jwks`,
        audience: US,
        algorithms: ['ES256'],
        maxLifetimeSeconds: 3_600,
        singleUse: false,
        caFile: undefined,
        tokenFile: undefined,
      },
    ],
    peers: [
      {
        id: 'deploy',
        roles: ['token'],
        tokens: ['default'],
        enabled: true,
        identities: [{ issuer: 'ci', subject: 'main' }],
      },
    ],
    keysOf: () => createStaticKeySet(issuer.jwks()),
    clock,
    clockSkewSeconds: 60,
  });
  const source: { current: { workloadTokens: WorkloadTokens | undefined } } = {
    current: { workloadTokens },
  };
  const { serving, versionId } = createBroker({
    clock,
    filePeers: source,
    maxWaiting: 10,
    observer: withAudit(servingObserver(log, metrics), trail, placeOf),
  });
  const endpoints: Readonly<Record<string, Endpoint>> = {
    '/v1/token': serving.token,
    '/v1/rotate': serving.rotate,
    '/oauth2/token': serving.oauth,
    '/oauth2/introspect': serving.introspect,
  };
  const requestLog = createRequestLog({
    log,
    onRequest: (record) => metrics.recordHttpRequest(record),
  });
  const handle = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const form = new URLSearchParams(Buffer.concat(chunks).toString());
    const body = chunks.length === 0 ? undefined : Object.fromEntries(form);
    const path = (request.url ?? '').split('?', 1)[0] ?? '';
    const answer = await endpoints[path]?.answer(toEndpointRequest(request, { body }));
    if (answer !== undefined) writeAnswer(response, answer);
  };
  server = createServer((request, response) => void handle(request, response));
  server.prependListener('request', requestLog);
  await new Promise<void>((resolve) => server?.listen(0, '127.0.0.1', resolve));
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  let count = 0;
  return {
    serving,
    versionId,
    metrics,
    lines,
    events,
    refuseTokens: () => {
      source.current = { workloadTokens: undefined };
      serving.recheckWaiting();
    },
    ask: (path: string, headers: Record<string, string> = {}, form?: Record<string, string>) => {
      count += 1;
      return fetch(`${url}${path}`, {
        headers: { 'x-request-id': `request-${count}`, ...headers },
        ...(form && { method: 'POST', body: new URLSearchParams(form) }),
      });
    },
  };
}

const workloadToken = (): string =>
  issuer.sign({
    iss: ISSUER,
    sub: 'main',
    aud: US,
    iat: START / 1_000,
    exp: START / 1_000 + 600,
  });
const ASSERTION = 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer';
const GRANT = { grant_type: 'client_credentials' };

describe('an event says how the peer proved who it is, and which request it was', () => {
  const orders = { authorization: basic('orders', SECRETS.orders) };
  const form = { ...GRANT, client_id: 'orders', client_secret: SECRETS.orders };
  test.each([
    [
      'HTTP Basic',
      () => ['/v1/token', orders],
      { method: 'client_secret_basic', peer: 'orders', outcome: 'served' },
    ],
    [
      'a form',
      () => ['/oauth2/token', {}, form],
      { method: 'client_secret_post', peer: 'orders', outcome: 'served' },
    ],
    [
      'a Bearer token',
      () => ['/v1/token', { authorization: `Bearer ${workloadToken()}` }],
      { method: 'bearer', peer: 'deploy', outcome: 'served' },
    ],
    [
      'an assertion',
      () => [
        '/oauth2/token',
        {},
        { ...GRANT, client_assertion: workloadToken(), client_assertion_type: ASSERTION },
      ],
      { method: 'client_assertion', peer: 'deploy', outcome: 'served' },
    ],
    [
      'a wrong secret',
      () => ['/v1/token', { authorization: basic('orders', 'wrong') }],
      {
        method: 'client_secret_basic',
        peer: 'orders',
        outcome: 'login_failed',
        reason: 'wrong_secret',
      },
    ],
    [
      'a token that is none',
      () => ['/v1/token', { authorization: `Bearer ${workloadToken()}x` }],
      { method: 'bearer', outcome: 'login_failed', reason: 'token_malformed' },
    ],
    ['nothing', () => ['/v1/token'], { outcome: 'login_failed', reason: 'missing' }],
    [
      'two proofs',
      () => ['/oauth2/token', orders, form],
      { outcome: 'login_failed', reason: 'malformed' },
    ],
    [
      'an unknown grant',
      () => ['/oauth2/token', {}, { ...form, grant_type: 'password' }],
      {
        method: 'client_secret_post',
        peer: 'orders',
        outcome: 'invalid',
        reason: 'UNSUPPORTED_GRANT_TYPE',
        token: 'default',
      },
    ],
    [
      'another client',
      () => ['/oauth2/token', orders, { ...GRANT, client_id: 'other' }],
      {
        method: 'client_secret_basic',
        peer: 'orders',
        outcome: 'invalid',
        reason: 'INVALID_REQUEST',
      },
    ],
    [
      'a scope that it has not',
      () => ['/oauth2/token', {}, { ...form, scope: 'all' }],
      { peer: 'orders', outcome: 'invalid', reason: 'INVALID_SCOPE' },
    ],
    [
      'an unknown query',
      () => ['/v1/token?x=1', orders],
      { peer: 'orders', outcome: 'invalid', reason: 'INVALID_REQUEST', token: 'default' },
    ],
  ] as const)('%s', async (_what, request, expected) => {
    const { ask, events, lines } = await listen();
    const [path, headers, body] = request() as unknown as Parameters<typeof ask>;
    await ask(path, headers, body);
    expect(events()).toHaveLength(1);
    expect(events()[0]).toMatchObject({
      ...expected,
      request_id: 'request-1',
      remote_address: expect.stringContaining('127.0.0.1'),
    });
    if (!('method' in expected) && expected.outcome === 'login_failed') {
      expect(events()[0]).not.toHaveProperty('method');
    }
    expect(lines.join('\n')).not.toContain(SECRETS.orders);
  });

  test('the hot lane writes the same', async () => {
    const { ask, serving, events } = await listen();
    const token = `Bearer ${workloadToken()}`;
    await ask('/v1/token', orders);
    await ask('/v1/token', { authorization: token });
    expect(serving.token.answerNow(orders.authorization)?.status).toBe(200);
    expect(serving.token.answerNow(token)?.status).toBe(200);
    expect(events().map(({ peer, method, outcome }) => [peer, method, outcome])).toEqual([
      ['orders', 'client_secret_basic', 'served'],
      ['deploy', 'bearer', 'served'],
      ['orders', 'client_secret_basic', 'served'],
      ['deploy', 'bearer', 'served'],
    ]);
  });
});

test('a request that was held is counted, and not timed; who is refused meanwhile gets the usual challenge', async () => {
  const { ask, serving, versionId, metrics, refuseTokens, events } = await listen();
  const authorization = `Bearer ${workloadToken()}`;
  const refused = await ask('/v1/token', { authorization: 'Bearer x' });
  const held = ask('/v1/token', {
    authorization,
    'if-none-match': `"${versionId}"`,
    prefer: 'wait=60',
  });
  while (serving.waiting() === 0) await pause();
  const text = () => metrics.registry.metrics();
  expect(await text()).toContain('service_token_broker_waiting_requests 1\n');
  refuseTokens();
  const answer = await held;
  expect(answer.status).toBe(401);
  // By then no workload token is accepted at all: the challenge is that of any other failed login now.
  const after = await ask('/v1/token', { authorization: 'Bearer x' });
  expect(answer.headers.get('www-authenticate')).toBe(after.headers.get('www-authenticate'));
  expect(refused.headers.get('www-authenticate')).toContain('Bearer');
  expect(await text()).toContain('service_token_broker_waiting_requests 0\n');
  expect(await text()).toContain(
    'http_requests_total{route="/v1/token",method="GET",status="4xx"} 3\n',
  );
  expect(await text()).toContain(
    'http_request_duration_seconds_count{route="/v1/token",method="GET"} 2\n',
  );
  expect(events()).toContainEqual(
    expect.objectContaining({
      outcome: 'denied',
      reason: 'REFUSED_WHILE_WAITING',
      method: 'bearer',
      request_id: 'request-2',
    }),
  );
});

describe('rotations that no peer asked for', () => {
  const ended = (change: Partial<RotationOutcome>): RotationOutcome => ({
    at: START,
    durationMilliseconds: 1,
    trigger: 'schedule',
    key: 'slot',
    result: 'rotated',
    ...change,
  });
  const setUp = () => {
    const { trail, events } = memoryTrail();
    return { rotations: new RotationEvents(trail, 'ledger'), events };
  };

  test.each([
    [
      { versionId: 'v2' },
      {
        outcome: 'rotated',
        reason: 'rotated',
        method: 'schedule',
        token: 'ledger',
        version_id: 'v2',
      },
    ],
    [
      { trigger: 'watchdog', result: 'requested', versionId: 'v2' },
      {
        outcome: 'rotated',
        reason: 'requested',
        method: 'watchdog',
        token: 'ledger',
        version_id: 'v2',
      },
    ],
    [
      { result: 'failed', code: 'PROVIDER_UNREACHABLE' },
      {
        outcome: 'rotation_failed',
        reason: 'PROVIDER_UNREACHABLE',
        method: 'schedule',
        token: 'ledger',
      },
    ],
    [{ trigger: 'http' }, undefined],
    [{ result: 'already-rotated' }, undefined],
    [{ result: 'recent' }, undefined],
  ] as const)('%j', (change, event) => {
    const { rotations, events } = setUp();
    rotations.ended(ended(change));
    expect(events()).toEqual(event === undefined ? [] : [event]);
  });

  test('attempts that fail for the same reason are one event', () => {
    const { rotations, events } = setUp();
    for (const code of ['A', 'A', 'B', 'B', undefined, 'B'] as const) {
      rotations.ended(ended(code === undefined ? {} : { result: 'failed', code }));
    }
    expect(events().map(({ reason }) => reason)).toEqual(['A', 'B', 'rotated', 'B']);
  });

  test('a version that another process has made is one, once; the first that is read is none', () => {
    const { rotations, events } = setUp();
    for (const id of ['v1', 'v1']) rotations.read(id);
    rotations.made('v2');
    rotations.read('v2');
    rotations.ended(ended({ versionId: 'v2' }));
    for (const id of ['v3', 'v3']) rotations.read(id);
    expect(events().map(({ reason, version_id }) => [reason, version_id])).toEqual([
      ['rotated', 'v2'],
      ['elsewhere', 'v3'],
    ]);
  });
});

test('dropped events are counted', async () => {
  const trail = new AuditTrail({ sink: lineSink(() => false), clock: new VirtualClock(START) });
  const metrics = new BrokerMetrics({ droppedAuditEvents: () => trail.dropped });
  trail.record({ outcome: 'served' });
  expect(await metrics.registry.metrics()).toContain(
    'service_token_broker_audit_dropped_total 2\n',
  );
});
