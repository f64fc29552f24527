import { afterEach, describe, expect, jest, test } from '@jest/globals';
import type { EndpointAnswer } from '../../src/serving/endpoint.js';
import type { RotateNow } from '../../src/serving/kept-token.js';
import { BrokerError } from '../../src/tokens/errors.js';
import { serializeServiceToken } from '../../src/tokens/service-token.js';
import {
  basic,
  createBroker,
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
const ADMIN = { authorization: basic('admin', SECRETS.admin) };

describe.each(SERVERS)('POST /v1/rotate on %s', (server) => {
  let running: RunningApp | undefined;
  afterEach(async () => {
    await running?.app.close();
    running = undefined;
  });

  async function start(rotator?: RotateNow, observer = {}): Promise<TestBroker & { port: number }> {
    const broker = createBroker({ rotator, observer });
    running = await startApp(broker.serving, server);
    return { ...broker, port: running.port };
  }

  test('rotates, and the new token is served at once', async () => {
    const rotated = jest.fn();
    let rotate = (): string => '';
    const { port, store, versionId } = await start(
      { rotate: () => Promise.resolve({ versionId: rotate(), result: 'rotated' }) },
      { rotated },
    );
    rotate = () =>
      store.edit(
        TOKEN_SECRET,
        serializeServiceToken(tokenAt(START, { accessToken: 'header.payload.signature-two' })),
      );
    const before = await send(port, 'GET', '/v1/token', ORDERS);
    expect(before.headers.etag).toBe(`"${versionId}"`);
    const answer = await send(port, 'POST', '/v1/rotate', ADMIN);
    expect(answer.status).toBe(200);
    const { version_id: newId, ...rest } = JSON.parse(answer.text);
    expect(rest).toEqual({ outcome: 'rotated' });
    expect(rotated).toHaveBeenCalledWith('admin', newId, 'rotated', 'default');
    const after = await send(port, 'GET', '/v1/token', ORDERS);
    expect([after.headers.etag, after.headers['x-cache']]).toEqual([`"${newId}"`, 'REFRESH']);
    expect(after.text).toContain('signature-two');
  });

  test('answers 202 when the rotation goes on elsewhere', async () => {
    const versionId = 'd7a2b6c0-52a4-4b1e-9a3e-2f0f6a1f6b01';
    const { port } = await start({
      rotate: () => Promise.resolve({ versionId, result: 'requested' }),
    });
    const answer = await send(port, 'POST', '/v1/rotate', ADMIN);
    expect([answer.status, JSON.parse(answer.text)]).toEqual([
      202,
      { version_id: versionId, outcome: 'requested' },
    ]);
  });

  test('only admins may; for others no rotation starts', async () => {
    const rotate = jest.fn<RotateNow['rotate']>();
    const { port } = await start({ rotate });
    expect((await send(port, 'POST', '/v1/rotate', ORDERS)).status).toBe(403);
    expect((await send(port, 'POST', '/v1/rotate')).status).toBe(401);
    const get = await send(port, 'GET', '/v1/rotate', ADMIN);
    expect([get.status, get.headers.allow]).toEqual([405, 'POST']);
    expect(rotate).not.toHaveBeenCalled();
  });

  test.each([
    [
      new BrokerError('PROVIDER_DOWN', 'retry', 'The provider is down.', { retryAfterSeconds: 30 }),
      503,
      'temporarily_unavailable',
      '30',
    ],
    [
      new BrokerError('PROVIDER_CLIENT', 'misconfigured', 'The client secret is wrong.'),
      503,
      'temporarily_unavailable',
      '60',
    ],
    [
      new BrokerError('ROTATION_MANAGED_ELSEWHERE', 'rejected', 'The store rotates.'),
      409,
      'rotation_refused',
      undefined,
    ],
    [new BrokerError('ODD', 'bug', 'Odd.'), 500, 'server_error', undefined],
    [new Error('secret-canary'), 500, 'server_error', undefined],
  ])('a rotation that fails with %s: %d', async (failure, status, code, retryAfter) => {
    const rotationFailed = jest.fn();
    const { port } = await start({ rotate: () => Promise.reject(failure) }, { rotationFailed });
    for (let count = 1; count <= 2; count += 1) {
      const answer = await send(port, 'POST', '/v1/rotate', ADMIN);
      expect([answer.status, answer.headers['retry-after']]).toEqual([status, retryAfter]);
      expect(JSON.parse(answer.text).error).toBe(code);
      expect(answer.text).not.toContain('canary');
      expect(rotationFailed).toHaveBeenCalledTimes(count);
    }
    expect(rotationFailed).toHaveBeenCalledWith('admin', failure, 'default');
  });

  test('a broker that does not rotate has no such route', async () => {
    const { port } = await start();
    expect((await send(port, 'POST', '/v1/rotate', ADMIN)).status).toBe(404);
  });

  test('a rotation that throws before it returns a promise does not block the next one', async () => {
    let calls = 0;
    const { port } = await start({
      rotate: () => {
        calls += 1;
        if (calls === 1) throw new BrokerError('PROVIDER_DOWN', 'retry', 'The provider is down.');
        return Promise.resolve({ versionId: 'version', result: 'rotated' });
      },
    });
    expect((await send(port, 'POST', '/v1/rotate', ADMIN)).status).toBe(503);
    expect((await send(port, 'POST', '/v1/rotate', ADMIN)).status).toBe(200);
  });
});

test('requests that come while a rotation runs share it, and the next one begins another', async () => {
  const rotate = jest.fn<RotateNow['rotate']>();
  let finish = (versionId: string): void => void versionId;
  rotate.mockImplementation(
    () =>
      new Promise((resolve) => {
        finish = (versionId) => resolve({ versionId, result: 'rotated' });
      }),
  );
  const { serving } = createBroker({ rotator: { rotate } });
  const ask = (): Promise<EndpointAnswer> =>
    serving.rotate.answer({
      method: 'POST',
      url: '/v1/rotate',
      headers: { authorization: [ADMIN.authorization] },
      remoteAddress: '127.0.0.1',
      encrypted: false,
    });
  const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
  const shared = [ask(), ask(), ask()];
  await turn();
  finish('one');
  const outcomes: string[] = [];
  for (const answer of shared) {
    const body = JSON.parse((await answer).body.toString()) as Record<string, string>;
    expect(body['version_id']).toBe('one');
    outcomes.push(body['outcome'] ?? '');
  }
  expect(outcomes).toEqual(['rotated', 'joined', 'joined']);
  expect(rotate).toHaveBeenCalledTimes(1);
  const next = ask();
  await turn();
  finish('two');
  expect((await next).body.toString()).toContain('"version_id":"two"');
  expect(rotate).toHaveBeenCalledTimes(2);
});
