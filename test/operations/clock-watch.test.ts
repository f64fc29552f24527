import { describe, expect, test } from '@jest/globals';
import { ClockWatch } from '../../src/operations/clock-watch.js';
import type { DateReading } from '../../src/tokens/time.js';

const NOW = Date.parse('2026-11-22T12:00:00Z');
const HOUR = 3_600_000;
const reading = (ahead: number): DateReading => ({
  date: new Date(NOW + ahead).toUTCString(),
  age: null,
  sentAt: NOW,
  answeredAt: NOW,
  mayBeCached: false,
});

function watch(skewMs = 60_000) {
  const told: unknown[] = [];
  const counted: string[] = [];
  const clocks = new ClockWatch(skewMs, {
    read: (source, state) => counted.push(`${source} ${state}`),
    changed: (...change) => told.push(change),
  });
  return { clocks, told, counted };
}

describe('a watch over the clock', () => {
  test('says nothing before the first reading, and well of a clock that is right', () => {
    const { clocks, told, counted } = watch();
    expect(clocks.readiness()).toBeUndefined();
    expect(clocks.offsetSeconds('provider')).toBeUndefined();
    clocks.read('provider', reading(0));
    expect(clocks.readiness()).toEqual({ ok: true });
    expect(clocks.offsetSeconds('provider')).toBe(0);
    expect(told).toEqual([]);
    expect(counted).toEqual(['provider ok']);
  });

  test('notifies once of each change, and counts every reading', () => {
    const { clocks, told, counted } = watch();
    for (const ahead of [HOUR, HOUR, 0, -HOUR, -HOUR]) clocks.read('store', reading(ahead));
    expect(told).toEqual([
      ['store', 'behind', 3_600],
      ['store', 'ok', 1],
      ['store', 'ahead', -3_599],
    ]);
    expect(counted).toEqual([
      'store behind',
      'store behind',
      'store ok',
      'store ahead',
      'store ahead',
    ]);
  });

  test.each([
    ['behind', HOUR, /3600 s behind the provider's .* live that much longer .*NTP/],
    ['ahead', -HOUR, /3599 s ahead of the provider's .* expired that much too early.*NTP/],
  ])('says what a clock that is %s does, and what to do', (_state, ahead, words) => {
    const { clocks } = watch();
    clocks.read('provider', reading(ahead));
    expect(clocks.readiness()).toMatchObject({ ok: false, code: 'CLOCK_OFF' });
    expect(clocks.readiness()?.reason).toMatch(words);
    expect(clocks.readiness()?.reason).not.toContain('agrees');
    clocks.read('store', reading(0));
    expect(clocks.readiness()?.reason).toContain("agrees with the secret store's");
    clocks.read('store', reading(ahead));
    expect(clocks.readiness()?.reason).not.toContain('agrees');
    expect(clocks.readiness()?.reason).toContain("the secret store's");
  });

  test.each([
    [60_000, 30_000, true],
    [60_000, 31_000, false],
    [5_000, 5_000, true],
    [5_000, 6_000, false],
    [0, 2_000, true],
    [0, 3_000, false],
  ])('with %d ms tolerated, %d ms behind is ok: %p', (skewMs, behind, ok) => {
    const { clocks } = watch(skewMs);
    clocks.read('provider', reading(behind));
    expect(clocks.readiness()?.ok).toBe(ok);
  });
});
