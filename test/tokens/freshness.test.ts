import { describe, expect, test } from '@jest/globals';
import { fc } from '../support/properties.js';
import { decideFreshness, refreshAge, type FreshnessInput } from '../../src/tokens/freshness.js';

const READ_AT = 1_000_000;
const base: FreshnessInput = {
  now: READ_AT,
  readAt: READ_AT,
  expiresAt: READ_AT + 86_400_000,
  ttl: 300_000,
  jitter: 0,
  skew: 60_000,
};

describe('decideFreshness', () => {
  test.each([
    ['nothing was read', { readAt: undefined }, 'unavailable'],
    ['just read', {}, 'fresh'],
    ['a moment before 80 %', { now: READ_AT + 239_999 }, 'fresh'],
    ['at 80 %', { now: READ_AT + 240_000 }, 'refresh-behind'],
    ['at 80 %, with jitter', { now: READ_AT + 240_000, jitter: 0.5 }, 'fresh'],
    ['at 90 %, with jitter', { now: READ_AT + 270_000, jitter: 0.5 }, 'refresh-behind'],
    ['a moment before the time to live', { now: READ_AT + 299_999 }, 'refresh-behind'],
    ['at the time to live', { now: READ_AT + 300_000 }, 'must-wait'],
    ['the clock was set back', { now: READ_AT - 1 }, 'must-wait'],
    ['life just above the skew', { expiresAt: READ_AT + 60_001 }, 'fresh'],
    ['life equal to the skew', { expiresAt: READ_AT + 60_000 }, 'unavailable'],
    ['expired, and past the time to live', { now: READ_AT + 90_000_000 }, 'unavailable'],
    ['a value that never expires', { expiresAt: Number.POSITIVE_INFINITY }, 'fresh'],
  ] as const)('%s', (_, change, expected) => {
    expect(decideFreshness({ ...base, ...change })).toBe(expected);
  });

  test('what may be served has more life than the skew, and what needs no read is younger than the time to live', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: -1_000, max: 1_000_000 }),
        fc.integer({ min: -1_000, max: 1_000_000 }),
        fc.double({ min: 0, max: 0.999, noNaN: true }),
        (age, life, jitter) => {
          const now = READ_AT + age;
          const freshness = decideFreshness({ ...base, now, expiresAt: now + life, jitter });
          if (life <= base.skew) expect(freshness).toBe('unavailable');
          else expect(freshness).not.toBe('unavailable');
          if (freshness === 'fresh') expect(age).toBeLessThan(refreshAge(base.ttl, jitter));
          if (freshness === 'refresh-behind') expect(age).toBeLessThan(base.ttl);
        },
      ),
    );
  });
});

test('refreshAge lies between 80 % and all of the time to live', () => {
  expect(refreshAge(300_000, 0)).toBe(240_000);
  expect(refreshAge(300_000, 0.5)).toBe(270_000);
  expect(refreshAge(300_000, 0.999)).toBeLessThan(300_000);
});
