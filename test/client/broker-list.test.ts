import { describe, expect, test } from '@jest/globals';
import { fc } from '../support/properties.js';
import {
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
  test('what passes by itself may be tried again at once', () => {
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

  test('a rest from before the clock was set back is none', () => {
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

test('however many hang, each is asked in turn', () => {
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
