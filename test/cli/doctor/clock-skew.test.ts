import { describe, expect, test } from '@jest/globals';
import { fc } from '../../support/properties.js';
import { judgeClock, type ClockReading } from '../../../src/cli/doctor/examine-provider.js';

const NOW = Date.parse('2026-11-22T12:00:00.500Z');
const SECOND = 1_000;

/** An answer of a provider whose clock is ahead of ours by some milliseconds. */
function reading(ahead: number, traits: Partial<ClockReading> = {}): ClockReading {
  return {
    date: new Date(NOW + ahead).toUTCString(),
    age: null,
    sentAt: NOW,
    answeredAt: NOW,
    tolerated: 60 * SECOND,
    ...traits,
  };
}

describe("this machine's clock and the provider's", () => {
  test.each([
    ['agree', 0, 'ok'],
    ['differ by half a minute', 30 * SECOND, 'ok'],
    ['differ by half a minute the other way', -30 * SECOND, 'ok'],
    ['differ by 40 s', 40 * SECOND, 'warning'],
    ['differ by 40 s the other way', -40 * SECOND, 'warning'],
    ['differ by the tolerance', 60 * SECOND, 'warning'],
    ['differ by more', 62 * SECOND, 'failed'],
    ['differ by more the other way', -62 * SECOND, 'failed'],
    ['differ by days', -5 * 86_400 * SECOND, 'failed'],
  ])('%s', (_what, ahead, state) => {
    const finding = judgeClock(reading(ahead));
    expect(finding.state).toBe(state);
    if (state !== 'ok') {
      expect(finding.message).toContain(
        ahead > 0 ? 'behind the provider' : 'ahead of the provider',
      );
      expect(finding.action).toContain('NTP');
    }
  });

  test('are held to the tolerance that is configured', () => {
    expect(judgeClock(reading(10 * SECOND, { tolerated: 5 * SECOND })).state).toBe('failed');
    expect(judgeClock(reading(200 * SECOND, { tolerated: 300 * SECOND })).state).toBe('warning');
  });

  test('are not blamed for a slow answer', () => {
    const slow = { answeredAt: NOW + 100 * SECOND };
    expect(judgeClock(reading(90 * SECOND, slow)).state).toBe('ok');
  });

  test('are compared at the time when a cache on the way got the answer', () => {
    const cached = reading(-300 * SECOND, { age: '300' });
    expect(judgeClock(cached).state).toBe('ok');
    expect(judgeClock({ ...cached, age: null }).state).toBe('failed');
    expect(judgeClock(reading(0, { age: 'nonsense' })).state).toBe('ok');
  });

  test.each([
    ['no header', null],
    ['a header that is no date', 'today'],
  ])('cannot be compared by %s', (_what, date) => {
    expect(judgeClock(reading(0, { date })).state).toBe('skipped');
  });

  test('are never called wrong when they are the same', () => {
    const journey = fc.integer({ min: 0, max: 20 * SECOND });
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 4e12 }), journey, journey, (sentAt, there, back) => {
        const finding = judgeClock({
          date: new Date(sentAt + there).toUTCString(),
          age: null,
          sentAt,
          answeredAt: sentAt + there + back,
          tolerated: 0,
        });
        expect(finding.state).toBe('ok');
      }),
    );
  });
});
