import { describe, expect, test } from '@jest/globals';
import {
  isReadDue,
  planAnswer,
  retryInstant,
  type ReadFailure,
} from '../../src/tokens/freshness.js';

const NOW = 1_000_000;
const TTL = 300_000;
const failed = (ago: number, retryIn = 0): ReadFailure => ({
  error: new Error('down'),
  at: NOW - ago,
  count: 1,
  retryAt: NOW + retryIn,
});

describe('a caller, past the time to live', () => {
  test.each([
    ['waits for the first read', undefined, undefined, 'wait'],
    ['waits for a read that others wait for', undefined, 999, 'wait'],
    ['waits no longer than others have', undefined, 1_000, 'serve-stale'],
    ['is served after a failure', failed(TTL - 1, 1), undefined, 'serve-stale'],
    ['begins the next attempt', failed(TTL - 1), undefined, 'serve-stale-and-read'],
    ['begins none beside another', failed(TTL - 1), 0, 'serve-stale'],
    ['waits again a time to live after the failure', failed(TTL, 1), undefined, 'wait'],
    ['waits where the failure is of the future', failed(-1, 1), undefined, 'wait'],
  ] as const)('%s', (_what, failure, readingFor, plan) => {
    expect(planAnswer('must-wait', failure, readingFor, NOW, TTL)).toBe(plan);
  });
});

describe('without a caller, a read', () => {
  test.each([
    ['is not due while the value is fresh', 'fresh', undefined, false],
    ['is not due while the value is fresh, after a failure', 'fresh', failed(60_000), false],
    ['is due when the value gets old', 'refresh-behind', undefined, true],
    ['is due when its pause is over', 'must-wait', failed(60_000), true],
    ['is not due within its pause', 'must-wait', failed(60_000, 1), false],
    ['is due after 15 s when there is nothing to serve', 'unavailable', failed(15_000, 1), true],
    ['is not due before', 'unavailable', failed(14_999, 1), false],
    ['is due when its shorter pause is over', 'unavailable', failed(1), true],
  ] as const)('%s', (_what, freshness, failure, expected) => {
    expect(isReadDue(freshness, failure, NOW)).toBe(expected);
  });
});

test.each([
  [1, 0, 1_000],
  [1, 0.5, 1_125],
  [2, 0.8, 2_400],
  [9, 0, 30_000],
  [9, 0.8, 36_000],
])('attempt %d, at random %d, is after %d ms: replicas spread', (count, random, wait) => {
  expect(retryInstant(NOW, count, random)).toBeCloseTo(NOW + wait, 6);
});
