import { mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import axios from 'axios';
import {
  attachAuthorization,
  createAuthorizedFetch,
  createServiceTokenClient,
  type AttachmentOptions,
  type RefusedServiceToken,
} from '../../src/client/index.js';
import { FakeClock } from '../../src/testing/index.js';
import { basic } from '../e2e/peer-http.js';
import { startDevBroker, type DevBroker } from '../support/dev-broker.js';
import { startCalleeProcess, type CalleeProcess } from './attachment-callee.js';
import { TEMPORARY } from '../support/temporary-folder.js';
import { pause } from '../support/pause.js';

const SECOND = 1_000;

let folder = '';
let broker: DevBroker;
beforeAll(async () => {
  folder = await mkdtemp(join(TEMPORARY, 'attachment-'));
  broker = await startDevBroker(join(folder, 'data'));
});
afterAll(async () => {
  await broker?.stop();
  await rm(folder, { recursive: true, force: true });
});

let callee: CalleeProcess;
beforeEach(async () => {
  const { claims } = await broker.verify(await currentToken());
  const { providerUrl } = broker;
  callee = await startCalleeProcess(providerUrl, String(claims.aud), `${providerUrl}/jwks`);
});

/** What the broker serves, past the client. */
async function currentToken(): Promise<string> {
  const response = await fetch(`${broker.url}/v1/token`, {
    headers: { authorization: basic(broker.peer.id, broker.peer.secret) },
  });
  return ((await response.json()) as { access_token: string }).access_token;
}

async function tokenId(): Promise<string> {
  return String((await broker.verify(await currentToken())).claims['jti']);
}

async function rotate(): Promise<void> {
  const { status } = await fetch(`${broker.url}/v1/rotate`, {
    method: 'POST',
    headers: { authorization: basic(broker.peer.id, broker.peer.secret) },
  });
  expect(status).toBe(200);
}

/** A client of the broker, with what it is told and how often it asks. */
function client() {
  const clock = new FakeClock();
  const told: RefusedServiceToken[] = [];
  const asked = { times: 0 };
  const tokens = createServiceTokenClient({
    brokers: broker.url,
    peer: broker.peer,
    clock,
    fetch: (input, init) => {
      asked.times += 1;
      return fetch(input, init);
    },
  });
  const options: AttachmentOptions = {
    tokens,
    outsideCalls: 'service',
    origins: [{ origin: callee.origin }],
    onRefused: (refusal: RefusedServiceToken) => told.push(refusal),
  };
  const http = axios.create({ validateStatus: null });
  attachAuthorization(http, options);
  return { asked, clock, http, send: createAuthorizedFetch(options), told };
}

describe('a token that is rotated and revoked in the middle of a request', () => {
  test('is replaced, and the request succeeds: by axios and by fetch', async () => {
    const { asked, clock, http, send, told } = client();
    const callers = [
      async () => (await http.post(`${callee.origin}/held`, { a: 1 })).status,
      async () => (await send(`${callee.origin}/held`, { method: 'POST', body: '{"a":1}' })).status,
    ];
    for (const [index, call] of callers.entries()) {
      const status = call();
      await callee.hasGot(2 * index + 1);
      const old = await tokenId();
      await rotate();
      callee.refuse([old]);
      clock.advance(SECOND);
      callee.goOn();
      // The same request again, with the new token; it is held as well.
      await callee.hasGot(2 * index + 2);
      callee.goOn();
      expect(await status).toBe(200);
    }
    const sent = { method: 'POST', url: '/held', body: '{"a":1}' };
    expect(callee.arrived).toEqual([sent, sent, sent, sent]);
    expect(told.map(({ outcome }) => outcome)).toEqual(['retried', 'retried']);
    expect(asked.times).toBe(3);
  });

  test('is asked for once by two requests that are refused together', async () => {
    const { asked, clock, http, send, told } = client();
    const statuses = Promise.all([
      http.get(`${callee.origin}/held`).then(({ status }) => status),
      send(`${callee.origin}/held`).then(({ status }) => status),
    ]);
    await callee.hasGot(2);
    const old = await tokenId();
    await rotate();
    callee.refuse([old]);
    clock.advance(SECOND);
    callee.goOn();
    await callee.hasGot(4);
    callee.goOn();
    expect(await statuses).toEqual([200, 200]);
    expect(told.map(({ outcome }) => outcome)).toEqual(['retried', 'retried']);
    // One for the first token, one for the second.
    expect(asked.times).toBe(2);
  });
});

describe('a token that is rotated and revoked within its first second', () => {
  test('is replaced when that second is over, by one request for all who were refused', async () => {
    const { asked, clock, http, send, told } = client();
    await http.get(callee.origin);
    const old = await tokenId();
    await rotate();
    callee.refuse([old]);
    const statuses = Promise.all([
      http.get(callee.origin).then(({ status }) => status),
      send(callee.origin).then(({ status }) => status),
      http.post(callee.origin, { a: 1 }).then(({ status }) => status),
    ]);
    await callee.hasGot(4);
    while (clock.sleepers === 0) await pause();
    expect(asked.times).toBe(1);
    clock.advance(SECOND);
    expect(await statuses).toEqual([200, 200, 200]);
    expect(told.map(({ outcome }) => outcome)).toEqual(['retried', 'retried', 'retried']);
    expect(asked.times).toBe(2);
  });

  test('is not waited for by a caller who gives up', async () => {
    const { clock, http, send } = client();
    callee.refuse('everything');
    const controller = new AbortController();
    const { signal } = controller;
    const answers = [http.get(callee.origin, { signal }), send(callee.origin, { signal })];
    while (clock.sleepers < 1) await pause();
    await callee.hasGot(2);
    controller.abort(new Error('enough'));
    await expect(answers[0]).rejects.toMatchObject({ code: 'ERR_CANCELED' });
    await expect(answers[1]).rejects.toThrow('enough');
  });
});

describe('a callee that refuses everything', () => {
  test('gets each request once or twice, and the broker is asked at most once a second', async () => {
    const { asked, clock, http, told } = client();
    callee.refuse('everything');
    const seconds = 3;
    const requests = 20;
    // The first token may have been replaced within its first second, which is waited out once.
    const first = http.get(callee.origin);
    await callee.hasGot(1);
    while (clock.sleepers === 0) await pause();
    clock.advance(SECOND);
    await first;
    for (let second = 0; second < seconds; second += 1) {
      clock.advance(SECOND);
      const answers = await Promise.all(
        Array.from({ length: requests }, () => http.get(callee.origin)),
      );
      expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([401]));
    }
    expect(asked.times).toBe(2 + seconds);
    expect(new Set(told.map(({ outcome }) => outcome))).toEqual(new Set(['no-newer-token']));
    await callee.hasGot(1 + seconds * requests);
    expect(callee.arrived).toHaveLength(1 + seconds * requests);
  });

  test('gets one retry when a newer token is refused as well', async () => {
    const { clock, send, told } = client();
    expect((await send(callee.origin)).status).toBe(200);
    await rotate();
    callee.refuse('everything');
    clock.advance(SECOND);
    const response = await send(callee.origin);
    expect([response.status, await response.json()]).toEqual([401, { status: 401 }]);
    expect(told).toMatchObject([{ outcome: 'retried' }]);
    await callee.hasGot(3);
    expect(callee.arrived).toHaveLength(3);
  });
});

test('a broker that dies leaves the refusal of the callee as the answer', async () => {
  const doomed = await startDevBroker(join(folder, 'doomed'));
  const { providerUrl } = doomed;
  const refusing = await startCalleeProcess(providerUrl, 'nobody', `${providerUrl}/jwks`);
  const told: RefusedServiceToken[] = [];
  const tokens = createServiceTokenClient({ brokers: doomed.url, peer: doomed.peer, rounds: 1 });
  const send = createAuthorizedFetch({
    tokens,
    outsideCalls: 'service',
    origins: [{ origin: refusing.origin }],
    onRefused: (refusal) => told.push(refusal),
  });
  await tokens.getToken();
  refusing.refuse('everything');
  const answer = send(`${refusing.origin}/held`);
  await refusing.hasGot(1);
  await doomed.stop('SIGKILL');
  refusing.goOn();
  expect((await answer).status).toBe(401);
  expect(told).toMatchObject([{ outcome: 'no-newer-token' }]);
});
