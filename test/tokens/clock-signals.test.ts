import { getEventListeners } from 'node:events';
import { describe, expect, jest, test } from '@jest/globals';
import {
  dateReading,
  fetchWithDates,
  offsetBounds,
  systemClock,
  waitFor,
  type DateReading,
} from '../../src/tokens/time.js';
import { VirtualClock } from '../support/virtual-clock.js';

/** How many listeners a signal has: what stays there is kept as long as the signal lives. */
const listeners = (signal: AbortSignal): number => getEventListeners(signal, 'abort').length;

describe('the clock of the machine', () => {
  test('shows its time', () => {
    jest.useFakeTimers({ now: 1_234_567 });
    try {
      expect(systemClock.now()).toBe(1_234_567);
    } finally {
      jest.useRealTimers();
    }
  });

  test('does not begin a wait that has been ended', async () => {
    jest.useFakeTimers();
    try {
      const reason = new Error('stopped');
      await expect(systemClock.sleep(1, AbortSignal.abort(reason))).rejects.toBe(reason);
      expect(jest.getTimerCount()).toBe(0);
    } finally {
      jest.useRealTimers();
    }
  });

  test('leaves nothing at the signal of a wait that is over', async () => {
    jest.useFakeTimers();
    try {
      const { signal } = new AbortController();
      const waiting = systemClock.sleep(1_000, signal);
      expect(listeners(signal)).toBe(1);
      await jest.advanceTimersByTimeAsync(1_000);
      await waiting;
      expect(listeners(signal)).toBe(0);
    } finally {
      jest.useRealTimers();
    }
  });

  test('sets one timer for the longest wait that one can hold, and two for more', async () => {
    jest.useFakeTimers();
    try {
      const longest = 2 ** 31 - 1;
      const waiting = systemClock.sleep(longest);
      await jest.advanceTimersByTimeAsync(longest);
      expect(jest.getTimerCount()).toBe(0);
      await waiting;
      void systemClock.sleep(longest + 1);
      await jest.advanceTimersByTimeAsync(longest);
      expect(jest.getTimerCount()).toBe(1);
    } finally {
      jest.useRealTimers();
    }
  });
});

test('a wait for a shared promise leaves nothing at its signal, however it ends', async () => {
  const { signal } = new AbortController();
  let finish: (value: string) => void = () => undefined;
  const waiting = waitFor(new Promise<string>((resolve) => (finish = resolve)), signal);
  expect(listeners(signal)).toBe(1);
  finish('done');
  expect(await waiting).toBe('done');
  await expect(waitFor(Promise.reject(new Error('broken')), signal)).rejects.toThrow('broken');
  expect(listeners(signal)).toBe(0);
});

describe('the dates of responses', () => {
  const DATE = 'Sun, 22 Nov 2026 12:00:00 GMT';

  test('are read with the age that a cache gives', () => {
    const headers = new Headers({ date: DATE, age: '7' });
    const reading = { date: DATE, age: '7', sentAt: 1, answeredAt: 2, mayBeCached: false };
    expect(dateReading(headers, 1, 2, false)).toEqual(reading);
    expect(dateReading(new Headers(), 1, 2, true)).toEqual({
      ...reading,
      date: null,
      age: null,
      mayBeCached: true,
    });
  });

  test.each([
    [200, true],
    [404, false],
    [500, false],
  ])('of a fetch with the status %d are reported: %s', async (status, isReported) => {
    const clock = new VirtualClock(1_000);
    const readings: DateReading[] = [];
    const asked: unknown[] = [];
    const response = new Response('body', { status, headers: { date: DATE } });
    const fetch = fetchWithDates(
      clock,
      (reading) => readings.push(reading),
      async (...request) => {
        asked.push(request);
        clock.advance(250);
        return response;
      },
    );
    expect(await fetch('https://a.example', { method: 'GET' })).toBe(response);
    expect(asked).toEqual([['https://a.example', { method: 'GET' }]]);
    const reading = { date: DATE, age: null, sentAt: 1_000, answeredAt: 1_250, mayBeCached: true };
    expect(readings).toEqual(isReported ? [reading] : []);
  });

  test('are those of the fetch that is there when it is called', async () => {
    const before = globalThis.fetch;
    const fetch = fetchWithDates(new VirtualClock(), () => undefined);
    try {
      globalThis.fetch = async () => new Response('of another');
      expect(await (await fetch('https://a.example')).text()).toBe('of another');
    } finally {
      globalThis.fetch = before;
    }
  });

  const at = Date.parse(DATE);
  const base = { date: DATE, age: null, sentAt: at, answeredAt: at, mayBeCached: false };

  test('say something also when the response took no time', () => {
    expect(offsetBounds(base)).toEqual({ least: 0, most: 1_000 });
  });

  test.each([
    ['7', 8_000],
    ['999999999', 1_000_000_000_000],
    ['9999999999', 1_000],
    ['-7', 1_000],
    ['7 s', 1_000],
    ['about 7', 1_000],
    ['', 1_000],
  ])('may be as old as the age %j says', (age, most) => {
    expect(offsetBounds({ ...base, age })).toEqual({ least: 0, most });
  });
});
