import { describe, expect, test } from '@jest/globals';
import {
  cacheObserver,
  Episodes,
  fallbackObserver,
  rotationObserver,
  scheduleObserver,
  servingObserver,
} from '../../src/composition/observers.js';
import { createLogger } from '../../src/operations/log.js';
import { BrokerMetrics } from '../../src/operations/metrics.js';
import { BrokerError } from '../../src/tokens/errors.js';
import { LogLines } from '../operations/log-lines.js';

const failure = (code: string): BrokerError => new BrokerError(code, 'retry', 'It is down.');
const TIMES = 4_000;

/** What is logged at `info` and above when `act` is given a log. */
function logged(act: (log: ReturnType<typeof createLogger>, metrics: BrokerMetrics) => void) {
  const out = new LogLines();
  act(createLogger({ level: 'info', destination: out }), new BrokerMetrics());
  return out.lines.map((line) => [line['level'], line['message'], line['times']]);
}

const repeat = (act: (count: number) => void): void => {
  for (let count = 0; count < TIMES; count += 1) act(count);
};

describe('what is repeated while a state lasts is logged when it changes', () => {
  test('a dead token, whoever asks', () => {
    const lines = logged((log, metrics) => {
      const observer = servingObserver(log, metrics);
      repeat((count) =>
        observer.tokenUnavailable?.(`peer-${count % 50}`, failure('TOKEN_EXPIRED'), 'default'),
      );
      repeat(() => observer.tokenUnavailable?.('billing', failure('STORE_UNAVAILABLE'), 'default'));
      repeat(() => observer.tokenServed?.('billing', 'HIT', 200, 'default'));
    });
    expect(lines).toEqual([
      ['warn', 'the service token could not be served', undefined],
      ['warn', 'the service token could not be served', TIMES + 1],
      ['info', 'the service token is served again', 2 * TIMES],
    ]);
  });

  test('a peer that wants more life than there is, among others that are served', () => {
    const lines = logged((log, metrics) => {
      const observer = servingObserver(log, metrics);
      repeat(() => {
        observer.tokenUnavailable?.('greedy', failure('TOKEN_LIFE_TOO_SHORT'), 'default');
        observer.tokenServed?.('billing', 'HIT', 200, 'default');
      });
      observer.tokenServed?.('greedy', 'HIT', 200, 'default');
    });
    expect(lines).toEqual([
      ['warn', 'the service token could not be served', undefined],
      ['info', 'a peer gets a token with enough life again', TIMES],
    ]);
  });

  test('peers that cannot be read, a missing role, a bug', () => {
    const lines = logged((log, metrics) => {
      const observer = servingObserver(log, metrics);
      repeat(() => observer.peersUnavailable?.(failure('STORE_TIMEOUT')));
      observer.loggedIn?.('billing', undefined);
      repeat(() => observer.roleMissing?.('billing', 'admin'));
      const bugs = [new TypeError('one'), new TypeError('other')];
      repeat((count) => observer.failed?.(bugs[count % 2]));
    });
    expect(lines).toEqual([
      ['error', 'nobody can log in: the peers cannot be read', undefined],
      ['info', 'peers can log in again', TIMES],
      ['warn', 'a peer asked for what it has no role for', undefined],
      // One line for each of the two.
      ['error', 'an unexpected error while answering', undefined],
      ['error', 'an unexpected error while answering', undefined],
    ]);
  });

  test('reads that fail, also where another Region answers', () => {
    const lines = logged((log, metrics) => {
      const reads = cacheObserver('token', log, metrics);
      repeat((count) => reads.readFailed?.(failure('STORE_TIMEOUT'), count + 1));
      reads.readSucceeded?.(1);
      reads.readSucceeded?.(1);
      const regions = fallbackObserver(log, metrics);
      repeat(() => regions.answeredElsewhere?.('eu-west-1', 'token', 'STORE_TIMEOUT'));
      regions.answeredAtHome?.('peers');
      regions.answeredAtHome?.('token');
    });
    expect(lines).toEqual([
      ['warn', 'a secret could not be read', undefined],
      ['info', 'a secret can be read again', TIMES],
      ['warn', 'a replica in another Region was read instead', undefined],
      ['info', 'the home Region answers again', TIMES],
    ]);
  });

  test('attempts to rotate', () => {
    const lines = logged((log, metrics) => {
      const rotations = rotationObserver(log, metrics);
      const schedule = scheduleObserver(log, metrics);
      const outcome = { trigger: 'schedule', key: 'slot', durationMilliseconds: 1, at: 0 } as const;
      repeat(() => {
        const code = 'PROVIDER_UNAVAILABLE';
        rotations.rotationEnded?.(
          { ...outcome, result: 'failed', code, message: 'Down.' },
          failure(code),
        );
        schedule.checkFailed?.(failure(code), 0);
        schedule.resting?.('a slot', 0);
      });
      rotations.rotationEnded?.({ ...outcome, result: 'rotated', versionId: 'v' }, undefined);
    });
    expect(lines).toEqual([
      ['error', 'rotation failed', undefined],
      ['warn', 'a rotation was due and could not be done; it is tried again', undefined],
      [
        'warn',
        "a rotation is due and waits, because the provider's last tokens were rejected",
        undefined,
      ],
      ['info', 'rotation ended', undefined],
    ]);
  });
});

test('a state is logged when it begins, each five minutes, when it changes, and when it ends', () => {
  let now = 0;
  const episodes = new Episodes(() => now);
  expect(episodes.areLasting).toBe(false);
  expect(episodes.happened('token', 'A')).toEqual({});
  expect(episodes.areLasting).toBe(true);
  for (now = 1; now < 300_000; now += 1_000)
    expect(episodes.happened('token', 'A')).toBeUndefined();
  now = 300_000;
  expect(episodes.happened('token', 'A')).toEqual({ times: 302, lastedSeconds: 300 });
  expect(episodes.happened('token', 'A')).toBeUndefined();
  expect(episodes.happened('token', 'B')).toEqual({ times: 304, lastedSeconds: 300 });
  expect(episodes.happened('other', 'B')).toEqual({});
  now = 310_500;
  expect(episodes.ended('token')).toEqual({ times: 304, lastedSeconds: 310 });
  expect(episodes.ended('token')).toBeUndefined();
  expect(episodes.happened('token', 'B')).toEqual({});
});

test('however many states there are, memory is bounded', () => {
  const episodes = new Episodes(() => 0);
  for (let count = 0; count < 2_000; count += 1) episodes.happened(`state ${count}`);
  expect(episodes.ended('state 999')).toBeUndefined();
  expect(episodes.ended('state 1000')).toEqual({ times: 1, lastedSeconds: 0 });
});
