import { describe, expect, test } from '@jest/globals';
import { restUntil, type Attempt } from '../../src/rotation/due.js';
import { lastTaken } from '../../src/rotation/claim.js';

const NOW = Date.parse('2026-11-22T12:00:00Z');
const MINUTE = 60_000;

describe('the pause after rejected tokens', () => {
  const after = (count: number, age: number, state: Attempt['state'] = 'new') =>
    restUntil({ versionId: 'v', state, givenUp: { count, lastAt: NOW - age } }, NOW);

  test.each([
    [1, 10_000],
    [8, 10_000],
    [9, 20_000],
    [15, 1_280_000],
    [16, 30 * MINUTE],
    [10_000, 30 * MINUTE],
  ])('after %d: %d ms since the last of them', (count, pause) => {
    expect(after(count, 0)).toBe(NOW + pause);
    expect(after(count, pause - 1)).toBe(NOW + 1);
    expect(after(count, pause)).toBeUndefined();
  });

  test('there is none before the first attempt, nor for a token that is staged or current', () => {
    expect(restUntil({ versionId: 'v', state: 'new', givenUp: undefined }, NOW)).toBeUndefined();
    expect(after(3, 0, 'staged')).toBeUndefined();
    expect(after(3, 0, 'done')).toBeUndefined();
  });

  test('a store whose clock is ahead keeps it; after our own clock was set back there is none', () => {
    expect(after(16, -4 * MINUTE)).toBe(NOW + 34 * MINUTE);
    expect(after(16, -31 * MINUTE)).toBeUndefined();
  });
});

test.each([0, 1, 2, 3, 7, 8, 100, 1_000])(
  'the last of %d that follow the first is found',
  async (last) => {
    let asked = 0;
    const isTaken = (number: number): Promise<boolean> => {
      asked += 1;
      return Promise.resolve(number <= last);
    };
    expect(await lastTaken(isTaken, 0)).toBe(last);
    expect(asked).toBeLessThanOrEqual(2 * Math.ceil(Math.log2(last + 2)) + 1);
  },
);
