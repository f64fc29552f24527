import { describe, expect, test } from '@jest/globals';
import {
  BrokerAsker,
  DEMOTION,
  FIRST_PAUSE,
  FIRST_REST,
  isResting,
  lineUp,
  LONGEST_PAUSE,
  LONGEST_REFUSAL_REST,
  LONGEST_REST,
  LONGEST_RETRY_AFTER,
  LONGEST_URGENT_REST,
  pauseBeforeRound,
  remember,
  type ListedBroker,
  type RememberedFailure,
} from '../../src/client/ask-brokers.js';
import { TokenRequestError } from '../../src/client/client-errors.js';
import { readClientOptions } from '../../src/client/client-options.js';
import { ProofReader } from '../../src/client/peer-proof.js';
import type { Clock } from '../../src/tokens/time.js';
import { SteppingClock } from '../provider/stepping-clock.js';
import { fc } from '../support/properties.js';
import { answers } from '../support/provider-server.js';
import { failureOf, HOUR, PEER_SECRET, requests, rig, serveTokens } from './client-fixture.js';

const NOW = 1_000_000_000;
const down = new TokenRequestError('BROKER_UNREACHABLE', 'down');
const nonsense = new TokenRequestError('BROKER_ANSWER_INVALID', 'nonsense');
const refused = new TokenRequestError('BROKER_CREDENTIALS_REFUSED', 'refused');
const busy = (retryAfterSeconds: number): TokenRequestError =>
  new TokenRequestError('BROKER_UNAVAILABLE', 'busy', { retryAfterSeconds });
const failed = (
  error: TokenRequestError,
  at: number,
  last?: RememberedFailure,
): RememberedFailure => remember(error, last, at, 0);

describe('remember', () => {
  test('a temporary failure may be retried at once', () => {
    expect(failed(down, NOW)).toEqual({ error: down, at: NOW, count: 1, restUntil: NOW });
    expect(failed(down, NOW, failed(down, NOW)).count).toBe(2);
  });

  test('Retry-After is kept, up to a limit', () => {
    expect(failed(busy(7), NOW).restUntil).toBe(NOW + 7_000);
    expect(failed(busy(0), NOW).restUntil).toBe(NOW);
    expect(failed(busy(86_400), NOW).restUntil).toBe(NOW + LONGEST_RETRY_AFTER);
  });

  test.each([
    ['nobody to serve', nonsense, [FIRST_REST, 2_000, LONGEST_REST, LONGEST_REST]],
    ['a refusal', refused, [FIRST_REST, 2_000, 4_000, LONGEST_REFUSAL_REST, LONGEST_REFUSAL_REST]],
  ])(
    'what a person has to fix rests for longer, up to a few seconds: %s',
    (_what, error, rests) => {
      let last: RememberedFailure | undefined;
      for (const rest of rests) {
        last = failed(error, NOW, last);
        expect(last.restUntil - NOW).toBe(rest);
      }
      expect(remember(nonsense, undefined, NOW, 0.5).restUntil).toBe(NOW + FIRST_REST * 1.125);
    },
  );

  test('a rest from before the clock was set back does not count', () => {
    const failure = failed(busy(60), NOW);
    expect(isResting(failure, NOW, false)).toBe(true);
    expect(isResting(failure, NOW + 59_999, false)).toBe(true);
    expect(isResting(failure, NOW + 60_000, false)).toBe(false);
    expect(isResting(failure, NOW - 1, false)).toBe(false);
    expect(isResting(undefined, NOW, false)).toBe(false);
    expect(isResting(failure, NOW + LONGEST_URGENT_REST - 1, true)).toBe(true);
    expect(isResting(failure, NOW + LONGEST_URGENT_REST, true)).toBe(false);
  });
});

describe('lineUp', () => {
  const urls = (brokers: readonly ListedBroker[], now = NOW): string =>
    lineUp(brokers, now, false)
      .map(({ url }) => url)
      .join('');
  const a = { url: 'a' };
  const b = { url: 'b' };
  const c = { url: 'c' };

  test.each([
    ['all well', [a, b, c], 'abc'],
    ['the first has just failed', [{ ...a, failure: failed(down, NOW) }, b, c], 'bca'],
    ['its failure is a minute old', [{ ...a, failure: failed(down, NOW - DEMOTION) }, b], 'ab'],
    [
      'two have failed',
      [{ ...a, failure: failed(down, NOW) }, b, { ...c, failure: failed(down, NOW - 9) }],
      'bca',
    ],
    ['one rests', [{ ...a, failure: failed(busy(5), NOW) }, b], 'b'],
    ['one has rested', [{ ...a, failure: failed(busy(5), NOW - 5_000) }, b], 'ba'],
    ['all rest', [{ ...a, failure: failed(nonsense, NOW) }], ''],
    ['the clock was set back', [{ ...a, failure: failed(busy(5), NOW + 1) }, b], 'ab'],
  ])('%s', (_what, brokers: readonly ListedBroker[], expected) => {
    expect(urls(brokers)).toBe(expected);
  });
});

test('however many hang, each is asked', () => {
  // A request lines the brokers up anew, and has time for three that hang.
  for (const count of [2, 4, 6]) {
    let now = NOW;
    let brokers: readonly ListedBroker[] = Array.from({ length: count }, (_, index) => ({
      url: String(index),
      failure: failed(down, now),
    }));
    const asked = new Set<string>();
    for (let request = 0; request < Math.ceil(count / 3); request += 1) {
      for (const { url } of lineUp(brokers, now, true).slice(0, 3)) {
        now += 5_000;
        asked.add(url);
        const failure = failed(down, now);
        brokers = brokers.map((one) => (one.url === url ? { url, failure } : one));
      }
    }
    expect(asked.size).toBe(count);
  }
});

describe('pauseBeforeRound', () => {
  const input = {
    brokers: [{ url: 'a', failure: failed(down, NOW) }],
    failedRounds: 1,
    isUrgent: false,
    rounds: 5,
    now: NOW,
    deadline: NOW + 60_000,
    random: 0.999,
  };

  test.each([
    [1, 0.5, FIRST_PAUSE / 2],
    [2, 0.5, FIRST_PAUSE],
    [4, 0.5, FIRST_PAUSE * 4],
    [3, 0, 0],
  ])('after %d rounds, at random %d: %d ms', (failedRounds, random, pause) => {
    expect(pauseBeforeRound({ ...input, failedRounds, random })).toBe(pause);
  });

  test('waits for the first that may be asked again', () => {
    const brokers = [
      { url: 'a', failure: failed(busy(9), NOW) },
      { url: 'b', failure: failed(busy(4), NOW) },
      { url: 'c', failure: failed(nonsense, NOW) },
    ];
    expect(pauseBeforeRound({ ...input, brokers, random: 0.5 })).toBe(4_000 + FIRST_PAUSE / 2);
  });

  test.each([
    ['after the last round', { failedRounds: 5 }],
    ['when nothing will pass', { brokers: [{ url: 'a', failure: failed(nonsense, NOW) }] }],
    ['when Retry-After is later', { brokers: [{ url: 'a', failure: failed(busy(60), NOW) }] }],
    ['when no time is left', { deadline: NOW }],
  ])('gives up %s', (_what, changes) => {
    expect(pauseBeforeRound({ ...input, ...changes })).toBeUndefined();
  });
});

test('nobody is asked before the time it named, nobody is left out without one, and no pause passes the deadline', () => {
  const error = fc.oneof(
    fc.constant(down),
    fc.constant(nonsense),
    fc.integer({ min: 0, max: 400 }).map(busy),
  );
  const failure = fc
    .tuple(error, fc.integer({ min: -5, max: 600_000 }), fc.integer({ min: 0, max: 8 }))
    .map(([error, ago, before]) => {
      let last: RememberedFailure | undefined;
      for (let count = 0; count < before; count += 1) last = failed(error, NOW - ago, last);
      return failed(error, NOW - ago, last);
    });
  const brokers = fc
    .array(fc.option(failure, { nil: undefined }), { minLength: 1, maxLength: 6 })
    .map((failures) =>
      failures.map((one, index): ListedBroker => {
        const url = String(index);
        return one === undefined ? { url } : { url, failure: one };
      }),
    );
  const rest = fc.record({
    failedRounds: fc.integer({ min: 1, max: 9 }),
    isUrgent: fc.boolean(),
    remaining: fc.integer({ min: 0, max: 60_000 }),
    random: fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
  });
  fc.assert(
    fc.property(brokers, rest, (list, { failedRounds, isUrgent, remaining, random }) => {
      const asked = lineUp(list, NOW, isUrgent);
      expect(new Set(asked).size).toBe(asked.length);
      for (const broker of list) {
        expect(asked.includes(broker)).toBe(!isResting(broker.failure, NOW, isUrgent));
      }
      if (isUrgent && list.every(({ failure }) => (failure?.at ?? 0) <= NOW))
        expect(lineUp(list, NOW + LONGEST_URGENT_REST, true)).toHaveLength(list.length);
      const pause = pauseBeforeRound({
        brokers: list,
        failedRounds,
        isUrgent,
        rounds: 8,
        now: NOW,
        deadline: NOW + remaining,
        random,
      });
      if (pause === undefined) return;
      expect(pause).toBeGreaterThanOrEqual(0);
      expect(pause).toBeLessThan(remaining);
      expect(failedRounds).toBeLessThan(8);
      if (asked.length === list.length) expect(pause).toBeLessThanOrEqual(LONGEST_PAUSE);
      // A failure from before the clock was set back counts again when the clock has caught up with it.
      if (list.some((broker) => (broker.failure?.at ?? 0) > NOW)) return;
      const later = lineUp(list, NOW + pause, isUrgent);
      expect(later.some((broker) => broker.failure?.error.kind === 'retry')).toBe(true);
    }),
  );
});

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
    ['of a page that was removed', answers.oauthError(410, 'invalid_client')],
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
    // A broker with a lasting failure is not asked in every round.
    expect(requests(brokers)).toEqual([3, 1, 3]);
    expect(clock.pauses).toEqual([250, 500]);
  });

  test('the error says when none will answer before something is changed', async () => {
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

  test('a time named by a broker does not count from before the clock was set back', async () => {
    const { client, brokers, clock } = await rig({ rounds: 1 }, 2);
    brokers[0]?.always('token', answers.throttled('300'));
    brokers[1]?.always('token', (...given) => {
      clock.advance(-HOUR);
      return answers.throttled('8')(...given);
    });
    expect(await failureOf(client.getToken())).toMatchObject({ retryAfterSeconds: 0 });
  });
});

/** A clock of a machine that is suspended during every pause. */
class SuspendedClock extends SteppingClock {
  constructor() {
    super((milliseconds) => milliseconds > 4_000);
  }

  override async sleep(milliseconds: number, signal?: AbortSignal): Promise<void> {
    await super.sleep(milliseconds, signal);
    this.advance(60_000);
  }
}

describe('when the deadline passes before any broker was asked', () => {
  test('the error is that of the proof, when that could not be read', async () => {
    const secret = (): string => {
      throw Object.assign(new Error('no such file'), { code: 'ENOENT' });
    };
    const clock = new SuspendedClock();
    const { client, brokers } = await rig({ peer: { id: 'orders', secret }, clock });
    const failure = await failureOf(client.getToken());
    expect(failure).toMatchObject({
      code: 'PEER_SECRET_UNREADABLE',
      kind: 'retry',
      retryAfterSeconds: undefined,
    });
    expect(failure.message).toContain('ENOENT');
    expect(requests(brokers)).toEqual([0]);
  });

  test.each([1, 2])('the error says so, of each of %d, and may pass', async (count) => {
    const clock = new SteppingClock((milliseconds) => milliseconds > 4_000);
    let looks = 0;
    // The machine is suspended between the beginning of the request and its first look at the time.
    const now = (): number => clock.now() + (looks++ > 0 ? HOUR : 0);
    const { asker, origins } = await askerOf(count, { now, sleep: clock.sleep.bind(clock) });
    const failure = await failureOf(asker.ask({ pastCaches: false, isUrgent: true }));
    const code = count === 1 ? 'BROKER_TIMEOUT' : 'BROKERS_UNAVAILABLE';
    expect(failure).toMatchObject({ code, kind: 'retry', retryAfterSeconds: undefined });
    for (const origin of origins) {
      expect(failure.message).toContain(`The broker ${origin} gave no token before the time`);
    }
  });

  test('one that has failed before does not make it lasting', async () => {
    const { client, brokers } = await rig({ clock: new SuspendedClock() }, 2);
    brokers[0]?.always('token', answers.reset());
    brokers[1]?.always('token', answers.html(200));
    expect(await failureOf(client.getToken())).toMatchObject({
      code: 'BROKERS_UNAVAILABLE',
      kind: 'retry',
    });
    expect(requests(brokers)).toEqual([1, 1]);
  });
});

async function askerOf(
  count: number,
  clock: Clock,
): Promise<{ asker: BrokerAsker; origins: string[] }> {
  const servers = await Promise.all(Array.from({ length: count }, () => serveTokens()));
  const origins = servers.map(({ origin }) => origin);
  const peer = { id: 'orders', secret: PEER_SECRET };
  const settings = readClientOptions({ brokers: origins, peer, clock });
  return { asker: new BrokerAsker(settings, new ProofReader(settings.peer, clock)), origins };
}
