import { describe, expect, test } from '@jest/globals';
import {
  claimIdOf,
  earlyKey,
  lastTaken,
  nameBasedUuid,
  versionIdOf,
} from '../../src/rotation/claim.js';
import { checkCoverage, createSlots } from '../../src/rotation/coverage.js';
import { decideDue, restUntil, type Attempt } from '../../src/rotation/due.js';
import { retryWait } from '../../src/rotation/retry-wait.js';
import { SecretStoreError } from '../../src/secrets/secret-store.js';
import { BrokerError, type ErrorKind } from '../../src/tokens/errors.js';
import { fc } from '../support/properties.js';

const HOUR = 3_600_000;
const at = (instant: string): number => Date.parse(instant);

describe('slots', () => {
  test.each([
    ['0 3 * * *', '2026-11-22T12:00:00Z', '2026-11-22T03:00:00Z', '2026-11-23T03:00:00Z'],
    ['0 3 * * *', '2026-11-22T03:00:00Z', '2026-11-22T03:00:00Z', '2026-11-23T03:00:00Z'],
    ['0 3 * * *', '2026-11-22T02:59:59Z', '2026-11-21T03:00:00Z', '2026-11-22T03:00:00Z'],
    ['*/30 * * * * *', '2026-11-22T12:00:31Z', '2026-11-22T12:00:30Z', '2026-11-22T12:01:00Z'],
    ['0 0 29 2 *', '2026-11-22T12:00:00Z', '2024-02-29T00:00:00Z', '2028-02-29T00:00:00Z'],
    ['15 4 * * 1', '2026-11-22T12:00:00Z', '2026-11-16T04:15:00Z', '2026-11-23T04:15:00Z'],
  ])('"%s" at %s', (cron, now, start, next) => {
    const slots = createSlots(cron);
    expect(slots.startOf(at(now))).toBe(at(start));
    expect(slots.nextAfter(at(now))).toBe(at(next));
  });

  test.each([
    ['0 3 * * *', 24 * HOUR],
    ['0 3,4 * * *', 23 * HOUR],
    ['30 1,2,23 * * *', 21 * HOUR],
    ['0 30 1,2,23 * * *', 21 * HOUR],
    ['0 3 * * 1-5', 72 * HOUR],
    ['0 3 1 * *', 31 * 24 * HOUR],
    ['0 0 3 */2 * *', 48 * HOUR],
    ['0 3 * 2 *', 338 * 24 * HOUR],
  ])('the longest period of "%s"', (cron, period) => {
    expect(createSlots(cron).longestPeriod(at('2026-11-22T12:00:00Z'))).toBe(period);
  });

  test('every instant lies in its slot', () => {
    const slots = createSlots('*/7 2-5 * * *');
    fc.assert(
      fc.property(
        fc.integer({ min: at('2026-01-01T00:00:00Z'), max: at('2028-01-01T00:00:00Z') }),
        (now) => {
          const start = slots.startOf(now);
          expect(start).toBeLessThanOrEqual(now);
          expect(slots.nextAfter(start)).toBeGreaterThan(now);
          expect(slots.nextAfter(start)).toBe(slots.nextAfter(now));
        },
      ),
      { numRuns: 60 },
    );
  });

  test('an expression that is none is refused', () => {
    expect(() => createSlots('every day')).toThrow();
  });
});

describe('version ids', () => {
  test('are UUIDs of version 5, the same everywhere', () => {
    const id = versionIdOf('broker/token', 'slot 2026-11-22T03:00:00.000Z', 0);
    expect(id).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-5[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
    expect(id).toBe('2115fd03-cbb9-5df4-b366-c711316ce739');
  });

  test('differ by secret, key, attempt and use', () => {
    const ids = [
      versionIdOf('a', 'k', 0),
      versionIdOf('b', 'k', 0),
      versionIdOf('a', 'l', 0),
      versionIdOf('a', 'k', 1),
      claimIdOf(versionIdOf('a', 'k', 0), 0),
      claimIdOf(versionIdOf('a', 'k', 0), 1),
    ];
    expect(new Set(ids).size).toBe(ids.length);
  });

  test('no two lists of parts share an id', () => {
    fc.assert(
      fc.property(fc.array(fc.string()), fc.array(fc.string()), (one, other) => {
        const same = JSON.stringify(one) === JSON.stringify(other);
        expect(nameBasedUuid(one) === nameBasedUuid(other)).toBe(same);
      }),
    );
  });
});

describe('what is due', () => {
  const now = at('2026-11-22T12:00:00Z');
  const slots = createSlots('0 3 * * *');
  const current = (generatedAt: string, expiresAt: string) => ({
    versionId: 'v1',
    generatedAt: at(generatedAt),
    expiresAt: at(expiresAt),
  });
  test.each([
    ['nothing yet', undefined, 'slot'],
    ['minted in this slot', current('2026-11-22T03:00:02Z', '2026-11-23T04:00:02Z'), 'none'],
    ['minted at its very start', current('2026-11-22T03:00:00Z', '2026-11-23T04:00:00Z'), 'none'],
    ['a missed slot', current('2026-11-21T03:00:02Z', '2026-11-23T03:00:02Z'), 'slot'],
    ['little life', current('2026-11-22T05:00:00Z', '2026-11-22T12:30:00Z'), 'early'],
    ['a short life, half over', current('2026-11-22T11:30:00Z', '2026-11-22T12:30:00Z'), 'none'],
    ['a short life, in its end', current('2026-11-22T11:00:00Z', '2026-11-22T12:29:59Z'), 'early'],
    ['expired, this slot', current('2026-11-22T03:00:00Z', '2026-11-22T11:00:00Z'), 'early'],
    ['minted by a clock ahead', current('2026-11-22T12:05:00Z', '2026-11-23T12:05:00Z'), 'none'],
  ])('%s', (_name, token, kind) => {
    const due = decideDue({ now, slots, current: token, minimumRemaining: HOUR });
    expect(due.kind).toBe(kind);
    // What receivers refuse is due whatever its life, and once: with the key of an early rotation.
    const refused = decideDue({
      now,
      slots,
      current: token,
      minimumRemaining: HOUR,
      isRefused: true,
    });
    expect(refused).toMatchObject(
      kind === 'slot' ? { kind } : { kind: 'refused', key: earlyKey('v1') },
    );
  });
});

describe('coverage', () => {
  test.each([
    [25, 24, 0, true],
    [24, 24, 0, false],
    [25, 24, 24, false],
    [49, 24, 24, true],
  ])('a token of %d h, a period of %d h, a window of %d h', (life, period, window, covered) => {
    const coverage = checkCoverage({
      tokenLifetime: life * HOUR,
      period: period * HOUR,
      window: window * HOUR,
      cacheTtl: 300_000,
      skew: 60_000,
    });
    expect(coverage.covered).toBe(covered);
    expect(coverage.explanation).toContain(`${life}.00 h`);
  });
});

describe('the pause before a failed rotation is tried again', () => {
  const error = (code: string, kind: ErrorKind): BrokerError => new BrokerError(code, kind, '');

  test.each([
    ['what passes', error('PROVIDER_TIMEOUT', 'retry'), [10, 10, 10, 10, 10]],
    ['a store', new SecretStoreError('STORE_UNAVAILABLE', ''), [5, 5, 5, 5, 5]],
    [
      "a store's certificate",
      new SecretStoreError('STORE_UNAVAILABLE', '', { kind: 'misconfigured' }),
      [5, 10, 10, 10, 10],
    ],
    ["a store's rights", new SecretStoreError('STORE_ACCESS_DENIED', ''), [5, 10, 10, 10, 10]],
    ['what may be a proxy', error('PROVIDER_NOT_JSON', 'misconfigured'), [10, 10, 10, 10, 300]],
    ['a wrong client', error('PROVIDER_INVALID_CLIENT', 'misconfigured'), [10, 20, 300, 300, 300]],
    ['a wrong token', error('ROTATION_TOKEN_REJECTED', 'misconfigured'), [10, 20, 640, 1800, 1800]],
    ['an opaque token', error('MINTED_TOKEN_INVALID', 'misconfigured'), [10, 20, 640, 1800, 1800]],
    ['a bug', new Error('odd'), [10, 20, 300, 300, 300]],
  ])('is for %s at most', (_name, failure, seconds) => {
    const failures = [0, 8, 13, 60, 500];
    expect(failures.map((count) => retryWait(failure, count, 1) / 1000)).toEqual(seconds);
    expect(failures.map((count) => retryWait(failure, count, 0) / 500)).toEqual(seconds);
  });
});

const NOW = Date.parse('2026-11-22T12:00:00Z');
const MINUTE = 60_000;

describe('the pause before a failed rotation is tried again, while a token is served', () => {
  const tooShort = new BrokerError('ROTATION_TOKEN_TOO_SHORT', 'misconfigured', '');

  test.each([
    ['none', undefined, 1_800],
    ['none any more', -5, 1_800],
    ['two hours', 7_200, 1_800],
    ['half an hour', 1_800, 900],
    ['a minute', 60, 30],
    ['hardly any', 3, 10],
  ])('is half of what is left of its life at most: %s', (_name, left, seconds) => {
    const wait = retryWait(tooShort, 60, 1, left === undefined ? left : left * 1_000);
    expect(wait / 1_000).toBe(seconds);
  });

  test('is never longer than without a token, and never over its end by more than the first pause', () => {
    fc.assert(
      fc.property(
        fc.nat(200),
        fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
        fc.integer({ min: 1, max: 24 * HOUR }),
        fc.constantFrom<unknown>(
          tooShort,
          new BrokerError('PROVIDER_INVALID_CLIENT', 'misconfigured', ''),
          new SecretStoreError('STORE_ACCESS_DENIED', ''),
          new Error('odd'),
        ),
        (failures, random, left, error) => {
          const wait = retryWait(error, failures, random, left);
          expect(wait).toBeLessThanOrEqual(retryWait(error, failures, random));
          expect(wait).toBeLessThanOrEqual(Math.max(left / 2, 10_000));
        },
      ),
    );
  });
});

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
