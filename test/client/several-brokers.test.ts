import { describe, expect, test } from '@jest/globals';
import { answers } from '../support/provider-server.js';
import { failureOf, PEER_SECRET, requests, rig } from './client-fixture.js';

const TTL = 300_000;

describe('several brokers', () => {
  test.each([
    ['cannot be reached', answers.reset()],
    ['fails', answers.html(503)],
    ['throttles', answers.throttled('60')],
    ['answers nonsense', answers.html(200)],
    ['redirects', answers.redirect(302, '/login')],
    ['serves an expired token', answers.token({ expires_in: 1 })],
  ])('the second is asked at once when the first %s', async (_what, answer) => {
    const { client, brokers, clock, told } = await rig({}, 2);
    const [first, second] = brokers.map(({ origin }) => origin);
    brokers[0]?.always('token', answer);
    await client.getToken();
    expect(requests(brokers)).toEqual([1, 1]);
    expect(clock.pauses).toEqual([]);
    expect(client.status().broker).toBe(second);
    expect(told).toEqual([
      ['brokerFailed', expect.objectContaining({ broker: first })],
      ['refreshed', expect.objectContaining({ broker: second })],
    ]);
  });

  test('the second is not asked while the first works', async () => {
    const { client, brokers, clock } = await rig({}, 2);
    await client.getToken();
    clock.advance(TTL);
    await client.getToken();
    expect(requests(brokers)).toEqual([2, 0]);
  });

  test('the first is asked last for a minute after it failed, and then first again', async () => {
    const { client, brokers, clock, told } = await rig({}, 2);
    const [first, second] = brokers.map(({ origin }) => origin);
    await client.getToken();
    brokers[0]?.next('token', answers.empty(500));
    const ask = async (after: number): Promise<string | undefined> => {
      clock.advance(after);
      await client.getToken({ force: true });
      return client.status().broker;
    };
    expect(await ask(1_000)).toBe(second);
    expect(await ask(59_999)).toBe(second);
    expect(requests(brokers)).toEqual([2, 2]);
    expect(await ask(1_000)).toBe(first);
    expect(requests(brokers)).toEqual([3, 2]);
    expect(told.filter(([event]) => event === 'brokerSwitched')).toEqual([
      ['brokerSwitched', { from: first, to: second }],
      ['brokerSwitched', { from: second, to: first }],
    ]);
  });

  test('a refusal of the peer is not carried to the others', async () => {
    let secret = 'wrong-secret';
    const { client, brokers, clock } = await rig(
      { peer: { id: 'orders', secret: () => secret } },
      3,
    );
    expect((await failureOf(client.getToken())).code).toBe('BROKER_CREDENTIALS_REFUSED');
    expect(requests(brokers)).toEqual([1, 0, 0]);
    brokers[0]?.next('token', answers.oauthError(403, 'unauthorized_client'));
    secret = PEER_SECRET;
    clock.advance(1_000);
    const failure = await failureOf(client.getToken());
    expect(failure).toMatchObject({ code: 'BROKER_REQUEST_REFUSED', kind: 'misconfigured' });
    expect(requests(brokers)).toEqual([2, 0, 0]);
  });

  test.each([
    ['of a default backend', answers.json(404, { error: 'not_found' })],
    ['of OAuth, at a route that a broker has', answers.oauthError(404, 'invalid_request')],
    ['of a gateway', answers.json(403, { error: 'Forbidden', message: 'canary-in-body' })],
    ['in the form of OAuth, of a gateway', answers.oauthError(401, 'unauthorized')],
    ['of another method', answers.oauthError(405, 'invalid_request')],
    ['of a page that is gone', answers.oauthError(410, 'invalid_client')],
  ])('an error %s is no refusal: the next is asked', async (_what, answer) => {
    const { client, brokers } = await rig({}, 2);
    brokers[0]?.always('token', answer);
    await client.getToken();
    expect(requests(brokers)).toEqual([1, 1]);
  });

  test('when all fail, the error says what each of them said', async () => {
    const { client, brokers, clock } = await rig({}, 3);
    brokers[0]?.always('token', answers.reset());
    brokers[1]?.always('token', answers.html(200));
    brokers[2]?.always('token', answers.empty(503));
    const failure = await failureOf(client.getToken());
    expect(failure).toMatchObject({
      code: 'BROKERS_UNAVAILABLE',
      kind: 'retry',
      retryAfterSeconds: undefined,
    });
    for (const { origin } of brokers) expect(failure.message).toContain(`The broker ${origin} `);
    expect((failure.cause as AggregateError).errors).toMatchObject([
      { code: 'BROKER_UNREACHABLE' },
      { code: 'BROKER_ANSWER_INVALID' },
      { code: 'BROKER_UNAVAILABLE' },
    ]);
    // What will not pass by itself is not asked in every round.
    expect(requests(brokers)).toEqual([3, 1, 3]);
    expect(clock.pauses).toEqual([250, 500]);
  });

  test('when none will answer before something is changed, it says so', async () => {
    const { client, brokers } = await rig({}, 2);
    for (const broker of brokers) broker.always('token', answers.html(200));
    const failure = await failureOf(client.getToken());
    expect(failure).toMatchObject({ code: 'BROKERS_MISCONFIGURED', kind: 'misconfigured' });
    expect(requests(brokers)).toEqual([1, 1]);
  });

  test('when all name a time, the error names the earliest', async () => {
    const { client, brokers } = await rig({ deadlineSeconds: 5 }, 2);
    brokers[0]?.always('token', answers.throttled('300'));
    brokers[1]?.always('token', answers.empty(503, { 'retry-after': '8' }));
    const failure = await failureOf(client.getToken());
    expect(failure).toMatchObject({ code: 'BROKERS_UNAVAILABLE', retryAfterSeconds: 8 });
    expect(requests(brokers)).toEqual([1, 1]);
  });
});
