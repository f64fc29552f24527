import { inspect } from 'node:util';
import { describe, expect, test } from '@jest/globals';
import { createServiceTokenClient } from '../../src/client/service-token-client.js';
import { FakeClock } from '../../src/testing/index.js';
import type { TokenDemand } from '../../src/tokens/token-supply.js';
import { SteppingClock } from '../provider/stepping-clock.js';
import { answers } from '../support/provider-server.js';
import {
  failureOf,
  HOUR,
  meanwhile,
  requests,
  requireHarmless,
  rig,
  serveTokens,
} from './client-fixture.js';

const DAY = 24 * HOUR;
const TTL = 300_000;

describe('a token request', () => {
  test('is the client-credentials grant with client_secret_basic', async () => {
    const { client, brokers } = await rig();
    await client.getToken();
    const [request] = brokers[0]?.received('token') ?? [];
    expect(request).toMatchObject({
      method: 'POST',
      path: '/oauth2/token',
      body: 'grant_type=client_credentials',
      headers: {
        accept: 'application/json',
        'content-type': 'application/x-www-form-urlencoded',
        authorization: `Basic ${btoa('orders:right-peer-secret')}`,
      },
    });
    expect(request?.headers['cache-control']).not.toBe('no-cache');
  });

  test('encodes id and secret, so that every character arrives', async () => {
    const [id, secret] = ['or:ders ü', 'p%20+/:=&é'];
    const server = await serveTokens({ clientId: id, clientSecrets: [secret] });
    const client = createServiceTokenClient({ brokers: server.origin, peer: { id, secret } });
    expect((await client.getToken()).accessToken).toMatch(/^eyJ/);
  });

  test('goes below the path of the broker, and through the fetch that is given', async () => {
    const asked: unknown[] = [];
    const { client } = await rig({
      brokers: 'https://gateway.test/tokens/',
      fetch: (input, init) => {
        asked.push([init?.method, input, init?.redirect]);
        return Promise.resolve(
          Response.json({ access_token: 'a.b.c', token_type: 'Bearer', expires_in: 3_600 }),
        );
      },
    });
    expect((await client.getToken()).accessToken).toBe('a.b.c');
    expect(asked).toEqual([['POST', 'https://gateway.test/tokens/oauth2/token', 'manual']]);
  });
});

describe('a healthy broker', () => {
  test('10,000 calls on a cold client are one request', async () => {
    const { client, brokers } = await rig();
    const tokens = await Promise.all(Array.from({ length: 10_000 }, () => client.getToken()));
    expect(new Set(tokens).size).toBe(1);
    expect(requests(brokers)).toEqual([1]);
  });

  test('a warm token is the same promise, without a request', async () => {
    const { client, brokers } = await rig();
    await client.getToken();
    const warm = client.getToken();
    expect(client.getToken()).toBe(warm);
    expect(await warm).toBe(await client.getToken({ minTtlSeconds: HOUR / 1_000 }));
    expect(requests(brokers)).toEqual([1]);
  });

  test('it is asked again behind the answers, before the time to live is over', async () => {
    const { client, brokers, clock } = await rig();
    const first = await client.getToken();
    clock.advance(0.9 * TTL - 1);
    expect(await client.getToken()).toBe(first);
    expect(requests(brokers)).toEqual([1]);
    clock.advance(1);
    expect(await client.getToken()).toBe(first);
    await brokers[0]?.reached('token', 2);
    const second = await client.getToken({ force: true });
    expect(second).not.toBe(first);
    expect(requests(brokers)).toEqual([2]);
  });

  test('past the time to live callers wait for one shared request', async () => {
    const { client, brokers, clock } = await rig();
    const first = await client.getToken();
    clock.advance(TTL);
    const later = await Promise.all(Array.from({ length: 100 }, () => client.getToken()));
    expect(new Set(later).size).toBe(1);
    expect(later[0]).not.toBe(first);
    expect(requests(brokers)).toEqual([2]);
  });

  test('past the time to live nobody waits longer than a second while the token lives', async () => {
    // A second passes at once; the time-outs of requests are held.
    const clock = new SteppingClock((milliseconds) => milliseconds > 4_000);
    const { client, brokers, told } = await rig({ clock });
    const first = await client.getToken();
    brokers[0]?.always('token', answers.hang());
    clock.advance(TTL);
    expect(await client.getToken()).toBe(first);
    expect(clock.pauses).toEqual([1_000]);
    // The request continues in the background, and delays no other caller.
    expect(client.getToken()).toBe(client.getToken());
    expect(told.map(([event]) => event)).toEqual(['refreshed', 'servedStale']);
    expect(clock.pauses).toEqual([1_000]);
    await brokers[0]?.reached('token', 2);
    clock.release();
  });

  test('a token that has expired makes a plain request an ordinary one', async () => {
    const { client, brokers, clock } = await rig({ rounds: 1, deadlineSeconds: 10 });
    await client.getToken();
    clock.advance(DAY + HOUR);
    await client.getToken();
    const [, second] = brokers[0]?.received('token') ?? [];
    expect(second?.headers).toBeDefined();
    expect(second?.headers['cache-control']).not.toBe('no-cache');

    brokers[0]?.always('token', answers.hang());
    clock.advance(DAY + HOUR);
    const asked = clock.now();
    const calls = [client.getToken(), client.getToken()];
    const outcomes = Promise.allSettled(calls);
    await meanwhile(outcomes, () => {
      if (clock.held > 0) clock.release();
    });
    expect((await outcomes).map(({ status }) => status)).toEqual(['rejected', 'rejected']);
    expect(clock.now() - asked).toBeLessThanOrEqual(10_000);
  });

  test('force asks it to look past its own cache, once a second and once for all who ask', async () => {
    const { client, brokers, clock } = await rig();
    const first = await client.getToken();
    expect(await client.getToken({ force: true })).toBe(first);
    clock.advance(1_000);
    const forced = await Promise.all(
      Array.from({ length: 50 }, () => client.getToken({ force: true })),
    );
    expect(new Set(forced).size).toBe(1);
    expect(forced[0]).not.toBe(first);
    clock.advance(999);
    expect(await client.getToken({ force: true })).toBe(forced[0]);
    const headers = brokers[0]?.received('token').map((request) => request.headers);
    expect(headers?.map((all) => all['cache-control'] === 'no-cache')).toEqual([false, true]);
  });

  describe('force with patience, within a second of an ordinary request', () => {
    const demand = { force: true, patient: true };

    test('waits for the rest of that second, once for all who ask', async () => {
      const { client, brokers, clock } = await rig();
      const first = await client.getToken();
      clock.advance(300);
      const forced = await Promise.all(Array.from({ length: 50 }, () => client.getToken(demand)));
      expect(new Set(forced).size).toBe(1);
      expect(forced[0]).not.toBe(first);
      expect([clock.pauses, requests(brokers)]).toEqual([[700], [2]]);
    });

    test('does not wait when the last request was forced, or is a second old', async () => {
      const { client, brokers, clock } = await rig();
      await client.getToken();
      clock.advance(1_000);
      const forced = await client.getToken(demand);
      clock.advance(500);
      expect(await client.getToken(demand)).toBe(forced);
      expect([clock.pauses, requests(brokers)]).toEqual([[], [2]]);
    });

    test('waits after a request that failed, or that it joined, too', async () => {
      const clock = new SteppingClock((milliseconds) => milliseconds > 4_000);
      const { client, brokers } = await rig({ rounds: 1, clock });
      const first = await client.getToken();
      clock.advance(TTL - 1);
      brokers[0]?.next('token', answers.empty(500));
      expect(await client.getToken()).toBe(first);
      await brokers[0]?.reached('token', 2);
      expect(await client.getToken(demand)).not.toBe(first);
      expect(requests(brokers)).toEqual([3]);
    });

    test('does not wait without a token, nor beyond the deadline, nor after the clock was set back', async () => {
      const impatient = await rig({
        timeoutSeconds: 0.1,
        deadlineSeconds: 0.5,
        clock: new FakeClock(),
      });
      const first = await impatient.client.getToken();
      expect(await impatient.client.getToken(demand)).toBe(first);

      const { client, brokers, clock } = await rig({ rounds: 1 });
      brokers[0]?.next('token', answers.empty(500));
      await failureOf(client.getToken());
      await failureOf(client.getToken(demand));
      expect(clock.pauses).toEqual([]);
      clock.advance(1_000);
      await client.getToken();
      clock.advance(-HOUR);
      await client.getToken(demand);
      expect(clock.pauses).toEqual([]);
    });
  });

  test('minTtlSeconds is a promise', async () => {
    const { client, brokers, clock } = await rig();
    const token = await client.getToken({ minTtlSeconds: DAY / 1_000 });
    clock.advance(2_000);
    expect(await client.getToken({ minTtlSeconds: DAY / 1_000 - 2 })).toBe(token);
    expect(requests(brokers)).toEqual([1]);
    const renewed = await client.getToken({ minTtlSeconds: DAY / 1_000 - 1 });
    expect(renewed.expiresAt).toBe(clock.now() + DAY);
    const failure = await failureOf(client.getToken({ minTtlSeconds: DAY / 1_000 + 0.001 }));
    expect(failure).toMatchObject({ code: 'TOKEN_LIFE_TOO_SHORT', kind: 'retry' });
    const [, second] = brokers[0]?.received('token') ?? [];
    expect(second?.headers['cache-control']).toBe('no-cache');
  });

  test.each([
    [{ minTtlSeconds: -1 }, '"minTtlSeconds"'],
    [{ minTtlSeconds: Number.NaN }, '"minTtlSeconds"'],
    [{ minTtlSeconds: Infinity }, '"minTtlSeconds"'],
    [{ minTtlSeconds: '60' }, '"minTtlSeconds"'],
    [{ minTtlMs: 60_000 }, '"minTtlMs" is now "minTtlSeconds", in seconds.'],
    [{ force: 'yes' }, '"force"'],
    [{ patient: 1 }, '"patient"'],
  ])('a demand such as %j is refused', async (demand, words) => {
    const { client, brokers } = await rig();
    const failure = await failureOf(client.getToken(demand as TokenDemand));
    expect(failure).toMatchObject({ code: 'CLIENT_MISCONFIGURED', kind: 'misconfigured' });
    expect(failure.message).toContain(words);
    expect(requests(brokers)).toEqual([0]);
  });
});

describe('how long a token lives', () => {
  test.each([-15, -2, 0, 2, 15])(
    'is what the broker says is left, by our own clock: with its clock %d minutes off',
    async (minutes) => {
      const clock = new SteppingClock(() => true);
      const server = await serveTokens({
        now: () => clock.now() + minutes * 60_000,
        tokenLifeSeconds: 600,
      });
      server.always('token', answers.token({ expires_in: 600 }));
      const { client } = await rig({ brokers: server.origin, clock }, 0);
      const token = await client.getToken();
      expect(token.expiresAt).toBe(clock.now() + 600_000);
      clock.advance(TTL - 1);
      expect(await client.getToken()).toBe(token);
      expect(client.status().usable).toBe(true);
    },
  );

  test('is counted from before the request was sent', async () => {
    const { client, brokers, clock } = await rig();
    let answer = (): void => undefined;
    const opened = new Promise<void>((resolve) => (answer = resolve));
    brokers[0]?.next('token', answers.after(opened, answers.token({ expires_in: 3_600 })));
    const sentAt = clock.now();
    const token = client.getToken();
    await brokers[0]?.reached('token', 1);
    clock.advance(4_000);
    answer();
    expect((await token).expiresAt).toBe(sentAt + HOUR);
  });

  test('ends a minute early: under the skew it is not handed out', async () => {
    const { client, brokers, clock } = await rig();
    brokers[0]?.next('token', answers.token({ expires_in: 180 }));
    const first = await client.getToken();
    clock.advance(119_999);
    expect(await client.getToken()).toBe(first);
    clock.advance(1);
    expect(client.status().usable).toBe(false);
    expect(await client.getToken()).not.toBe(first);
    expect(requests(brokers)).toEqual([2]);
  });
});

describe('the status and the observer', () => {
  test('the status and the events of a client that works', async () => {
    const { client, brokers, clock, told } = await rig();
    const [broker] = brokers.map(({ origin }) => origin);
    expect(client.status()).toEqual({
      usable: false,
      broker: undefined,
      readAt: undefined,
      expiresAt: undefined,
      consecutiveFailures: 0,
      lastError: undefined,
      waiting: false,
    });
    await client.getToken();
    const expiresAt = clock.now() + DAY;
    expect(client.status()).toEqual({
      usable: true,
      broker,
      readAt: clock.now(),
      expiresAt,
      consecutiveFailures: 0,
      lastError: undefined,
      waiting: false,
    });
    expect(told).toEqual([['refreshed', { broker, durationSeconds: 0, expiresAt }]]);
  });

  test('never shows the token or the secret', async () => {
    const { client, told } = await rig();
    const token = await client.getToken();
    expect(token.accessToken).toMatch(/^eyJ/);
    const shown = [token, { ...token }, structuredClone(token), JSON.stringify({ token }), client];
    for (const value of [...shown, client.getToken(), client.status(), told]) {
      requireHarmless(value);
    }
    expect(inspect(token)).toBe(`{ expiresAt: ${token.expiresAt} }`);
    expect(() => requireHarmless(token.accessToken)).toThrow('is shown');
  });
});

describe('a clock that is set back while no broker answers', () => {
  test.each([
    ['by an hour, at once', 0, HOUR],
    ['by an hour, later', 9 * HOUR, HOUR],
    ['by a day, later', 9 * HOUR, DAY],
  ])('%s: the token is served as long as it lives', async (_what, age, back) => {
    const { client, brokers, clock } = await rig();
    const { accessToken } = await client.getToken();
    brokers[0]?.always('token', answers.reset());
    clock.advance(age);
    if (age > 0) await client.getToken();
    clock.advance(-back);
    await client.getToken();
    const life = DAY - age - 60_000;
    clock.advance(life - 1);
    expect((await client.getToken()).accessToken).toBe(accessToken);
    expect(client.status()).toMatchObject({ usable: true, expiresAt: clock.now() + 60_001 });
    clock.advance(1);
    expect(client.status().usable).toBe(false);
    expect((await failureOf(client.getToken())).code).toBe('BROKER_UNREACHABLE');
  });

  test('and no caller gets less life than it asks for', async () => {
    const { client, brokers, clock } = await rig();
    await client.getToken();
    brokers[0]?.always('token', answers.reset());
    clock.advance(-HOUR);
    await client.getToken({ minTtlSeconds: 86_400 });
    clock.advance(60_000);
    expect((await failureOf(client.getToken({ minTtlSeconds: 86_400 }))).code).toBe(
      'TOKEN_LIFE_TOO_SHORT',
    );
  });
});

test('pauses between attempts take nothing from the life of the token', async () => {
  const { client, brokers, clock } = await rig();
  brokers[0]?.next('token', answers.empty(503, { 'retry-after': '3' }));
  brokers[0]?.always('token', answers.token({ expires_in: 62 }));
  const { expiresAt } = await client.getToken();
  expect(clock.pauses).toEqual([3_250]);
  expect(client.status().expiresAt).toBe(expiresAt);
  expect(expiresAt).toBe(clock.now() + 62_000);
});
