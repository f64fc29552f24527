import { describe, expect, jest, test } from '@jest/globals';
import {
  backoff,
  nextOffset,
  offsetBounds,
  systemClock,
  waitFor,
  withDeadline,
  type DateReading,
} from '../../src/tokens/time.js';
import { FakeClock } from '../../src/testing/index.js';
import { fc } from '../support/properties.js';

const NOW = Date.parse('2026-11-22T12:00:00Z');
const HOUR = 3_600_000;
const reading = (theirs: number, changes: Partial<DateReading> = {}): DateReading => ({
  date: new Date(theirs).toUTCString(),
  age: null,
  sentAt: NOW - 200,
  answeredAt: NOW,
  mayBeCached: false,
  ...changes,
});
const offset = (theirs: number, changes: Partial<DateReading> = {}, known = 0): number => {
  const bounds = offsetBounds(reading(theirs, changes));
  if (bounds === undefined) throw new Error('it says nothing');
  return nextOffset(known, bounds);
};

describe('the offset of a clock', () => {
  test.each<[string, number, Partial<DateReading>, number]>([
    ['right', NOW - 100, {}, 0],
    ['an hour behind theirs', NOW + HOUR, {}, HOUR],
    ['an hour ahead of theirs', NOW - HOUR, {}, 1_000 - HOUR + 200],
    ['right, with an answer that took 40 s', NOW, { sentAt: NOW - 40_000 }, 0],
    ['right, and a cache that kept Date for an hour', NOW - HOUR, { age: '3600' }, 0],
    ['right, and a cache that renewed Date', NOW, { age: '3600' }, 0],
    ['right, and a cache that says nothing', NOW - HOUR, { mayBeCached: true }, 0],
    ['behind, and a cache that says nothing', NOW + HOUR, { mayBeCached: true }, HOUR],
    ['behind, and a cache that kept Date for a while', NOW + HOUR, { age: '60' }, HOUR],
    ['right, with an Age that is none', NOW, { age: 'soon' }, 0],
  ])('that is %s', (_what, theirs, changes, expected) => {
    expect(offset(theirs, changes)).toBe(expected);
  });

  test.each<[string, Partial<DateReading>]>([
    ['no Date', { date: null }],
    ['a Date that is none', { date: 'soon' }],
    ['a clock that was set back meanwhile', { sentAt: NOW + 1 }],
  ])('is not known by %s', (_what, changes) => {
    expect(offsetBounds(reading(NOW, changes))).toBeUndefined();
  });

  test('stays as it was where a reading allows it', () => {
    // A cached answer does not show that a clock is ahead, nor that it is not.
    expect(offset(NOW - HOUR, { mayBeCached: true }, -HOUR)).toBe(-HOUR);
    expect(offset(NOW, { mayBeCached: true }, -HOUR)).toBe(0);
    expect(offset(NOW, {}, HOUR)).toBe(1_200);
  });

  test('is never farther from zero than the clocks are apart', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: -10 * HOUR, max: 10 * HOUR }),
        fc.integer({ min: 0, max: 30_000 }),
        fc.integer({ min: 0, max: 30_000 }),
        fc.integer({ min: 0, max: 90_000 }),
        fc.boolean(),
        (apart, there, back, age, keepsDate) => {
          // They answer by a clock that is so much before ours; a cache gives the answer later, with the old Date or a new one.
          const answeredAt = NOW + there + apart;
          const shown = keepsDate ? answeredAt - age : answeredAt;
          const found = offset(shown, {
            age: age === 0 ? null : String(Math.ceil(age / 1_000)),
            sentAt: NOW,
            answeredAt: NOW + there + back,
          });
          expect(Math.abs(found)).toBeLessThanOrEqual(Math.abs(apart));
          expect(found * apart).toBeGreaterThanOrEqual(0);
        },
      ),
    );
  });
});

describe('backoff', () => {
  test.each([
    [0, 1_000],
    [1, 1_000],
    [2, 2_000],
    [5, 16_000],
    [6, 30_000],
    [5_000, 30_000],
  ])('after %d failures it waits %d ms', (failures, wait) => {
    expect(backoff(failures, 1_000, 30_000)).toBe(wait);
  });

  test('is never longer than the longest, also at first', () => {
    expect(backoff(1, 1_000, 500)).toBe(500);
  });
});

describe('withDeadline', () => {
  const tooLate = new Error('too late');
  const hang = (): Promise<never> => new Promise(() => undefined);

  test('gives what the work gives, and leaves no timer', async () => {
    const clock = new FakeClock();
    await expect(
      withDeadline(
        clock,
        100,
        async () => 'done',
        () => tooLate,
      ),
    ).resolves.toBe('done');
    await expect(
      withDeadline(
        clock,
        100,
        () => Promise.reject(new Error('broken')),
        () => tooLate,
      ),
    ).rejects.toThrow('broken');
    expect(clock.sleepers).toBe(0);
  });

  test('ends work that ignores its signal', async () => {
    const clock = new FakeClock();
    const late = withDeadline(clock, 100, hang, () => tooLate);
    clock.advance(99);
    expect(clock.sleepers).toBe(1);
    clock.advance(1);
    await expect(late).rejects.toBe(tooLate);
  });

  test('throws its own error, whatever the work makes of its signal', async () => {
    const clock = new FakeClock();
    const work = (signal: AbortSignal): Promise<never> =>
      new Promise((_, reject) => {
        signal.addEventListener('abort', () => reject(new Error('AbortError')));
      });
    const late = withDeadline(clock, 100, work, () => tooLate);
    clock.advance(100);
    await expect(late).rejects.toBe(tooLate);
  });

  test("a caller's signal ends it with its own reason, and at once when it was aborted before", async () => {
    const clock = new FakeClock();
    const caller = new AbortController();
    const stopped = withDeadline(clock, 100, hang, () => tooLate, caller.signal);
    caller.abort(new Error('not wanted any more'));
    await expect(stopped).rejects.toThrow('not wanted any more');
    let calls = 0;
    const count = async (): Promise<number> => (calls += 1);
    await expect(withDeadline(clock, 100, count, () => tooLate, caller.signal)).rejects.toThrow(
      'not wanted any more',
    );
    expect([calls, clock.sleepers]).toEqual([0, 0]);
  });
});

test('a wait for a shared promise ends by its signal, and the promise goes on', async () => {
  let finish: (value: string) => void = () => undefined;
  const shared = new Promise<string>((resolve) => (finish = resolve));
  const caller = new AbortController();
  const wait = waitFor(shared, caller.signal);
  const other = waitFor(shared, undefined);
  caller.abort(new Error('gave up'));
  await expect(wait).rejects.toThrow('gave up');
  finish('done');
  await expect(other).resolves.toBe('done');
  await expect(waitFor(shared, caller.signal)).rejects.toThrow('gave up');
});

describe('the clock of the machine', () => {
  test('waits for longer than a timer of Node.js can, and ends no wait early', async () => {
    jest.useFakeTimers();
    try {
      const month = 31 * 24 * HOUR;
      let isOver = false;
      const waiting = systemClock.sleep(month).then(() => (isOver = true));
      await jest.advanceTimersByTimeAsync(month - 1);
      expect(isOver).toBe(false);
      await jest.advanceTimersByTimeAsync(1);
      await waiting;
      expect(isOver).toBe(true);
    } finally {
      jest.useRealTimers();
    }
  });

  test('can be interrupted in its second turn, and leaves no timer behind', async () => {
    jest.useFakeTimers();
    try {
      const stop = new AbortController();
      const waiting = systemClock.sleep(60 * 24 * HOUR, stop.signal);
      await jest.advanceTimersByTimeAsync(30 * 24 * HOUR);
      stop.abort(new Error('stopped'));
      await expect(waiting).rejects.toThrow('stopped');
      expect(jest.getTimerCount()).toBe(0);
    } finally {
      jest.useRealTimers();
    }
  });

  test.each([0, -1, -1e12])('a wait of %d ms is over at once', async (milliseconds) => {
    await systemClock.sleep(milliseconds);
    expect(milliseconds).toBeLessThanOrEqual(0);
  });
});
