import { describe, expect, jest, test } from '@jest/globals';
import { TokenRequestError } from '../../src/client/client-errors.js';
import { answers, LOST, startProviderServer } from '../support/provider-server.js';
import {
  failureOf,
  HOUR,
  meanwhile,
  PEER_SECRET,
  requests,
  requireHarmless,
  rig,
  TIMEOUT,
  type Rig,
} from './client-fixture.js';

const TTL = 300_000;

/** Lets every time-out pass, again and again, until a call has ended. */
function releaseUntilEnded<T>({ clock }: Rig, call: Promise<T>): Promise<T> {
  return meanwhile(call, () => clock.held > 0 && clock.release());
}

describe('a broker that is down', () => {
  test('at the start: a few tries, an error that is remembered for a second, and then it works', async () => {
    const scene = await rig();
    const { client, brokers, clock, told } = scene;
    brokers[0]?.always('token', answers.reset());
    const failure = await failureOf(client.getToken());
    expect(failure).toMatchObject({ code: 'BROKER_UNREACHABLE', kind: 'retry' });
    expect(failure.message).toMatch(/cannot be reached: the connection was (?:closed|reset) \(/);
    expect(requests(brokers)).toEqual([3]);
    expect(clock.pauses).toEqual([250, 500]);
    clock.advance(999);
    expect(await failureOf(client.getToken())).toBe(failure);
    expect(requests(brokers)).toEqual([3]);
    expect(client.status()).toMatchObject({ usable: false, lastError: failure });

    brokers[0]?.always('token', undefined);
    clock.advance(1);
    await client.getToken();
    expect(client.status()).toMatchObject({ usable: true, consecutiveFailures: 0 });
    expect(told.map(([event]) => event)).toEqual([
      'brokerFailed',
      'brokerFailed',
      'brokerFailed',
      'refreshFailed',
      'refreshed',
    ]);
    requireHarmless(told);
  });

  test('and nobody listens there at all', async () => {
    const { client, brokers } = await rig();
    await brokers[0]?.close();
    const failure = await failureOf(client.getToken());
    expect(failure).toMatchObject({ code: 'BROKER_UNREACHABLE', kind: 'retry' });
    expect(failure.message).toContain('ECONNREFUSED');
  });

  test('later: the token is served while it lives, and no longer', async () => {
    const { client, brokers, clock, told } = await rig();
    const token = await client.getToken();
    const { expiresAt } = token;
    brokers[0]?.always('token', answers.reset());
    clock.advance(TTL);
    expect(await client.getToken()).toBe(token);
    // With a usable token the list is tried once: no caller waits for pauses.
    expect(requests(brokers)).toEqual([2]);
    expect(clock.pauses).toEqual([]);
    expect(client.getToken()).toBe(client.getToken());
    expect(client.status()).toMatchObject({ usable: true, consecutiveFailures: 1 });
    const servedUntil = expiresAt - 60_000;
    expect(told.slice(1)).toEqual([
      ['brokerFailed', expect.objectContaining({ broker: brokers[0]?.origin })],
      ['refreshFailed', expect.objectContaining({ consecutiveFailures: 1, servedUntil })],
      ['servedStale', { readAt: expiresAt - 24 * HOUR, expiresAt }],
    ]);

    clock.advance(servedUntil - clock.now() - 1);
    expect(await client.getToken()).toBe(token);
    clock.advance(1);
    const failure = await failureOf(client.getToken());
    expect(failure.code).toBe('BROKER_UNREACHABLE');
    expect(client.status().usable).toBe(false);
    clock.advance(1_000);
    await failureOf(client.getToken());
    expect(told.at(-1)).toEqual([
      'refreshFailed',
      expect.objectContaining({ servedUntil: undefined }),
    ]);
  });

  test('is asked less and less often while the token is served', async () => {
    const { client, brokers, clock } = await rig();
    await client.getToken();
    brokers[0]?.always('token', answers.text(500, 'canary-in-body'));
    clock.advance(TTL);
    for (let second = 0; second < 240; second += 1) {
      await client.getToken();
      // A time-out that is held means that a request is under way behind the answer.
      do await new Promise((resolve) => setImmediate(resolve));
      while (clock.held > 0);
      clock.advance(1_000);
    }
    // At 0, 1, 3, 7, 15, 31, 61, 91 … seconds and up to a quarter more each.
    expect(requests(brokers)).toEqual([1 + 11]);
  });

  test.each([
    ['does not answer', answers.hang()],
    ['stops in the middle', answers.stall()],
  ])('or slow: it %s', async (_what, answer) => {
    const scene = await rig({ rounds: 1 });
    scene.brokers[0]?.always('token', answer);
    const call = scene.client.getToken();
    await scene.brokers[0]?.reached('token', 1);
    const failure = await failureOf(releaseUntilEnded(scene, call));
    expect(failure).toMatchObject({ code: 'BROKER_TIMEOUT', kind: 'retry' });
    expect(failure.message).toContain('within 5 s');
    expect(scene.clock.held).toBe(0);
  });

  test('with a fetch that ignores its signal', async () => {
    const scene = await rig({ rounds: 1, fetch: () => new Promise<Response>(() => undefined) });
    const failure = await failureOf(releaseUntilEnded(scene, scene.client.getToken()));
    expect(failure.code).toBe('BROKER_TIMEOUT');
  });

  test('keeps to the deadline', async () => {
    const scene = await rig({ rounds: 10, deadlineSeconds: (2 * TIMEOUT) / 1_000 });
    scene.brokers[0]?.always('token', answers.hang());
    const startedAt = scene.clock.now();
    const failure = await failureOf(releaseUntilEnded(scene, scene.client.getToken()));
    expect(failure.code).toBe('BROKER_TIMEOUT');
    expect(scene.clock.now() - startedAt).toBeLessThanOrEqual(2 * TIMEOUT);
    expect(scene.told.map(([event]) => event)).toEqual([
      'brokerFailed',
      'brokerFailed',
      'refreshFailed',
    ]);
  });
});

describe('a broker that answers something else', () => {
  test.each([
    ['a web page', answers.html(200), /status 200\): it is not JSON/],
    ['a web page that forbids', answers.html(403), /status 403\): it is not JSON/],
    ['broken JSON', answers.text(200, '{"access_token":eyJcanary}'), /it is not JSON/],
    ['a refusal without a word', answers.empty(403), /it is empty/],
    ['a list', answers.json(200, ['canary-in-body']), /not a JSON object/],
    ['no life', answers.token({ expires_in: undefined }), /"expires_in"/],
    ['another type', answers.token({ token_type: 'mac' }), /"token_type"/],
    ['a header in the token', answers.token({ access_token: 'eyJ\r\nx: y' }), /"access_token"/],
    ['more than 64 KiB', answers.huge(65 * 1024), /more than 65536 bytes/],
    ['nothing we know', answers.json(418, { canary: 'canary-in-body' }), /no OAuth error code/],
  ])('%s', async (_what, answer, words) => {
    const { client, brokers, clock } = await rig();
    brokers[0]?.always('token', answer);
    const failure = await failureOf(client.getToken());
    expect(failure).toMatchObject({ code: 'BROKER_ANSWER_INVALID', kind: 'misconfigured' });
    expect(failure.message).toMatch(words);
    // Once, and not again before it has rested.
    clock.advance(1_000);
    expect((await failureOf(client.getToken())).code).toBe('BROKER_ANSWER_INVALID');
    expect(requests(brokers)).toEqual([1]);
    brokers[0]?.always('token', undefined);
    clock.advance(1_000);
    await client.getToken();
  });

  test.each([
    ['no HTTP', answers.garbage(), 'BROKER_UNREACHABLE'],
    ['a failure', answers.html(502), 'BROKER_UNAVAILABLE'],
    ['an expired token', answers.token({ expires_in: 0 }), 'BROKER_TOKEN_EXPIRED'],
    ['a token under the skew', answers.token({ expires_in: 60 }), 'BROKER_TOKEN_EXPIRED'],
    ['a token of a negative life', answers.token({ expires_in: -9 }), 'BROKER_TOKEN_EXPIRED'],
  ])('%s, which may pass', async (_what, answer, code) => {
    const { client, brokers } = await rig();
    brokers[0]?.next('token', answer, answer, answer);
    expect(await failureOf(client.getToken())).toMatchObject({ code, kind: 'retry' });
    expect(requests(brokers)).toEqual([3]);
  });

  test.each(LOST)('%s, which was lost on the way and is asked for again', async (_what, answer) => {
    const { client, brokers, told } = await rig();
    brokers[0]?.next('token', answer);
    await client.getToken();
    expect(requests(brokers)).toEqual([2]);
    expect(told[0]).toMatchObject(['brokerFailed', { error: { kind: 'retry' } }]);
  });

  test.each([
    ['empty', answers.empty(204), /sent an answer that is empty \(status 204\)/],
    ['cut short', answers.text(200, '{"access_token":'), /that is cut short \(status 200\)/],
  ])('and an answer that is always %s is called so', async (_what, answer, words) => {
    const { client, brokers } = await rig();
    brokers[0]?.always('token', answer);
    const failure = await failureOf(client.getToken());
    expect(failure).toMatchObject({ code: 'BROKER_UNAVAILABLE', kind: 'retry' });
    expect(failure.message).toMatch(words);
  });

  test.each([301, 302, 307, 308])('a redirect (%d), which is not followed', async (status) => {
    const { client, brokers } = await rig();
    const elsewhere = await startProviderServer();
    brokers[0]?.always('token', answers.redirect(status, `${elsewhere.origin}/oauth2/token`));
    const failure = await failureOf(client.getToken());
    expect(failure).toMatchObject({ code: 'BROKER_REDIRECTED', kind: 'misconfigured' });
    expect(elsewhere.requests).toEqual([]);
    await elsewhere.close();
  });

  test('no TLS', async () => {
    const { brokers, clock } = await rig();
    const url = brokers[0]?.origin.replace('http:', 'https:') ?? '';
    const { client } = await rig({ brokers: url, clock }, 0);
    const failure = await failureOf(client.getToken());
    expect(failure).toMatchObject({ code: 'BROKER_TLS_FAILED', kind: 'misconfigured' });
    expect(failure.message).toMatch(
      /does not speak TLS \(ERR_SSL_\w+\)\. Check the scheme and the port/,
    );
  });

  test('a fetch function that fails is reported without its text', async () => {
    const fetch = (): Promise<Response> => Promise.reject(new RangeError('canary-in-body'));
    const { client } = await rig({ fetch });
    const failure = await failureOf(client.getToken());
    expect(failure).toMatchObject({ code: 'BROKER_UNEXPECTED', kind: 'bug' });
    expect(failure.message).toContain('(RangeError)');
  });
});

describe('Retry-After', () => {
  test.each([
    ['429', answers.throttled('3'), 'BROKER_THROTTLED'],
    ['503', answers.empty(503, { 'retry-after': '3' }), 'BROKER_UNAVAILABLE'],
  ])('of a %s is waited for within the deadline', async (_status, answer, code) => {
    const { client, brokers, clock, told } = await rig();
    brokers[0]?.next('token', answer);
    await client.getToken();
    expect(clock.pauses).toEqual([3_250]);
    expect(requests(brokers)).toEqual([2]);
    expect(told[0]).toMatchObject(['brokerFailed', { error: { code, retryAfterSeconds: 3 } }]);
  });

  test('past the deadline ends the call, and nobody is asked before', async () => {
    const { client, brokers, clock } = await rig({ deadlineSeconds: 5 });
    brokers[0]?.next('token', answers.empty(503, { 'retry-after': '9' }));
    const first = await failureOf(client.getToken());
    expect(first).toMatchObject({ code: 'BROKER_UNAVAILABLE', retryAfterSeconds: 9 });
    clock.advance(2_500);
    const second = await failureOf(client.getToken());
    expect(second).toMatchObject({ code: 'BROKER_UNAVAILABLE', retryAfterSeconds: 7 });
    expect(requests(brokers)).toEqual([1]);
    clock.advance(6_500);
    await client.getToken();
    expect(requests(brokers)).toEqual([2]);
  });

  test('of more than 10 s is not kept with nothing to serve, and the error says when it is tried again', async () => {
    const { client, brokers, clock } = await rig({ rounds: 1 });
    // What a broker says of a failure that a person has to fix.
    brokers[0]?.next('token', answers.empty(503, { 'retry-after': '60' }));
    expect(await failureOf(client.getToken())).toMatchObject({ retryAfterSeconds: 10 });
    clock.advance(9_000);
    expect(await failureOf(client.getToken())).toMatchObject({ retryAfterSeconds: 1 });
    expect(requests(brokers)).toEqual([1]);
    clock.advance(1_000);
    await client.getToken();
    expect(requests(brokers)).toEqual([2]);
  });

  test('is respected while there is a token, and for 10 s at most without one', async () => {
    const { client, brokers, clock } = await rig();
    const { expiresAt } = await client.getToken();
    // Past its time to live, and 100 s before it is no longer served.
    clock.advance(expiresAt - clock.now() - 160_000);
    brokers[0]?.next('token', answers.throttled('300'));
    await client.getToken();
    expect(requests(brokers)).toEqual([2]);
    clock.advance(99_000);
    await client.getToken();
    // The read behind the answer ends without a request.
    await new Promise((resolve) => setImmediate(resolve));
    expect(requests(brokers)).toEqual([2]);
    clock.advance(1_001);
    await client.getToken();
    expect(requests(brokers)).toEqual([3]);
  });
});

describe('a peer that is refused', () => {
  test('asks again after 1, 2, 4, 7, 7 … seconds, however often it is called', async () => {
    const { client, brokers, clock } = await rig({
      peer: { id: 'orders', secret: 'wrong-secret' },
    });
    const failure = await failureOf(client.getToken());
    expect(failure).toMatchObject({
      code: 'BROKER_CREDENTIALS_REFUSED',
      kind: 'misconfigured',
    });
    expect(failure.message).not.toContain('wrong-secret');
    const asked: number[] = [];
    for (let second = 1; second <= 120; second += 1) {
      clock.advance(1_000);
      const before = requests(brokers)[0];
      await failureOf(client.getToken());
      if (requests(brokers)[0] !== before) asked.push(second);
    }
    // Each rest has up to a quarter more: with this chance, an eighth.
    expect(asked).toEqual([2, 5, 10, 18, 26, 34, 42, 50, 58, 66, 74, 82, 90, 98, 106, 114]);
  });

  test('is let in at once when its secret is replaced', async () => {
    let secret = 'wrong-secret';
    const { client, brokers, clock } = await rig({ peer: { id: 'orders', secret: () => secret } });
    await failureOf(client.getToken());
    clock.advance(1_000);
    await failureOf(client.getToken());
    expect(requests(brokers)).toEqual([1]);
    secret = PEER_SECRET;
    clock.advance(1_000);
    await client.getToken();
    expect(requests(brokers)).toEqual([2]);
  });

  test('rests from the beginning when its secret is replaced by another that is wrong', async () => {
    let secret = 'wrong-secret';
    const { client, brokers, clock } = await rig({ peer: { id: 'orders', secret: () => secret } });
    const askedWithin = async (seconds: number): Promise<number[]> => {
      const asked: number[] = [];
      for (let second = 1; second <= seconds; second += 1) {
        clock.advance(1_000);
        const before = requests(brokers)[0];
        await failureOf(client.getToken());
        if (requests(brokers)[0] !== before) asked.push(second);
      }
      return asked;
    };
    await failureOf(client.getToken());
    expect(await askedWithin(20)).toEqual([2, 5, 10, 18]);
    secret = 'also-wrong';
    // At once, and then as from the beginning, not after the 7 seconds that the old one had come to.
    expect(await askedWithin(20)).toEqual([1, 3, 6, 11, 19]);
  });

  test('keeps the token that it has', async () => {
    let secret = PEER_SECRET;
    const { client, clock } = await rig({ peer: { id: 'orders', secret: () => secret } });
    const token = await client.getToken();
    secret = 'wrong-secret';
    clock.advance(TTL);
    expect(await client.getToken()).toBe(token);
    expect(client.status().lastError).toMatchObject({ code: 'BROKER_CREDENTIALS_REFUSED' });
  });
});

describe('a secret that is a function', () => {
  test('is asked for each request, and white space around it is left out', async () => {
    let reads = 0;
    const { client, brokers } = await rig({
      peer: { id: 'orders', secret: async () => `${PEER_SECRET}${(reads += 1) > 0 ? '\n' : ''}` },
    });
    brokers[0]?.next('token', answers.empty(500));
    await client.getToken();
    expect(reads).toBe(2);
  });

  test.each(['\uFEFF%s', '%s\r\n', '\uFEFF%s\r\n', ' \n\t%s\n\n', '%s\u00A0'])(
    'may give it as it was pasted into a file, and so may a text: %j',
    async (form) => {
      const pasted = form.replace('%s', PEER_SECRET);
      for (const secret of [pasted, () => pasted]) {
        const { client } = await rig({ peer: { id: 'orders', secret } });
        expect((await client.getToken()).accessToken).toMatch(/^ey/);
      }
    },
  );

  test.each([
    ['throws', () => JSON.parse(`${PEER_SECRET}!`) as string, 'UNREADABLE', /\(SyntaxError\)/],
    [
      'rejects',
      () => Promise.reject(Object.assign(new Error(PEER_SECRET), { code: 'ENOENT' })),
      'UNREADABLE',
      /\(ENOENT\)/,
    ],
    ['gives nothing', () => ' \n', 'INVALID', /not empty/],
    ['gives no text', () => 7 as unknown as string, 'INVALID', /not empty/],
  ])('and %s', async (_what, secret, code, words) => {
    const { client, brokers } = await rig({ peer: { id: 'orders', secret } });
    const failure = await failureOf(client.getToken());
    expect(failure.code).toBe(`PEER_SECRET_${code}`);
    expect(failure.message).toMatch(words);
    expect(requests(brokers)).toEqual([0]);
  });

  test('and never ends', async () => {
    const secret = (): Promise<string> => new Promise(() => undefined);
    const scene = await rig({ peer: { id: 'orders', secret } });
    const failure = await failureOf(releaseUntilEnded(scene, scene.client.getToken()));
    expect(failure).toMatchObject({ code: 'PEER_SECRET_UNREADABLE', kind: 'retry' });
    expect(failure.message).toContain('within 5 s');
  });
});

test('an observer that throws breaks nothing and does not go unseen', async () => {
  const emitWarning = jest.spyOn(process, 'emitWarning').mockReturnValue();
  const { client } = await rig({
    observer: {
      refreshed: () => {
        throw new TypeError('a mistake of the observer');
      },
    },
  });
  await client.getToken();
  expect(emitWarning.mock.calls.map(([warning]) => String(warning))).toEqual([
    'TypeError: a mistake of the observer',
  ]);
  emitWarning.mockRestore();
  expect(client.status().consecutiveFailures).toBe(0);
});

test('the errors are of one class', async () => {
  const { client, brokers } = await rig();
  brokers[0]?.always('token', answers.empty(500));
  expect(await failureOf(client.getToken())).toBeInstanceOf(TokenRequestError);
});
