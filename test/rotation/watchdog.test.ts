import { describe, expect, test } from '@jest/globals';
import { fc } from '../support/properties.js';
import {
  type CurrentToken,
  askWait,
  decideWatch,
  type Asked,
  type WatchInput,
} from '../../src/rotation/due.js';
import { HOUR } from './rotation-fixture.js';

const MINUTE = 60_000;
const NOW = Date.parse('2026-11-22T12:07:00Z');

const lives = (milliseconds: number, versionId = 'v1'): CurrentToken => ({
  versionId,
  generatedAt: NOW - HOUR,
  expiresAt: NOW + milliseconds,
});
const asked = (minutesAgo: number, count = 1, versionId: string | undefined = 'v1'): Asked => ({
  versionId,
  count,
  at: NOW - minutesAgo * MINUTE,
});
const watch = (current: CurrentToken | undefined, before?: Asked): ReturnType<typeof decideWatch> =>
  decideWatch({ now: NOW, current, minimumRemaining: HOUR, asked: before });

describe('the watchdog', () => {
  test.each([
    ['a token with life enough', lives(5 * HOUR), undefined, 'content'],
    ['just enough', lives(HOUR), undefined, 'content'],
    ['enough, though it asked a moment ago', lives(HOUR), asked(1), 'content'],
    ['a token with little life', lives(HOUR - 1), undefined, 'ask'],
    ['an expired token', lives(-HOUR), undefined, 'ask'],
    ['no token', undefined, undefined, 'ask'],
    ['little life, asked a moment ago', lives(MINUTE), asked(0), 'wait'],
    ['little life, asked nearly ten minutes ago', lives(MINUTE), asked(9.9), 'wait'],
    ['little life, asked ten minutes ago', lives(MINUTE), asked(10), 'ask'],
    ['asked twice, fifteen minutes ago', lives(MINUTE), asked(15, 2), 'wait'],
    ['asked twice, twenty minutes ago', lives(MINUTE), asked(20, 2), 'ask'],
    ['asked many times, an hour ago', lives(MINUTE), asked(60, 40), 'ask'],
    ['asked for the version before', lives(MINUTE), asked(1, 5, 'v0'), 'ask'],
    [
      'no token, asked a moment ago',
      undefined,
      { count: 1, at: NOW, versionId: undefined },
      'wait',
    ],
    ['asked in the future, by a clock set back', lives(MINUTE), asked(-90), 'ask'],
  ])('%s', (_name, current, before, kind) => {
    expect(watch(current, before).kind).toBe(kind);
  });

  test.each([
    ['with life enough', lives(5 * HOUR), undefined, 'ask', /refuse/],
    ['with life enough, asked a moment ago', lives(5 * HOUR), asked(1), 'wait', undefined],
    ['with little life', lives(0), undefined, 'ask', /little life/],
  ])('a token that receivers refuse, %s', (_name, current, before, kind, reason) => {
    const decided = decideWatch({
      now: NOW,
      current,
      minimumRemaining: HOUR,
      isRefused: true,
      asked: before,
    });
    expect(decided.kind).toBe(kind);
    if (decided.kind === 'ask') expect(decided.reason).toMatch(reason ?? /./);
  });

  test('counts its requests for a version, and starts anew for the next', () => {
    expect(watch(lives(0), asked(60, 3))).toMatchObject({
      asked: { versionId: 'v1', count: 4, at: NOW },
    });
    expect(watch(lives(0), asked(60, 3, 'v0'))).toMatchObject({ asked: { count: 1 } });
  });

  test('says until when it waits', () => {
    expect(watch(lives(0), asked(3))).toEqual({ kind: 'wait', until: NOW + 7 * MINUTE });
  });

  test('replicas ask for the same within ten minutes, and for another afterwards', () => {
    const keyAt = (minutes: number): string => {
      const decision = decideWatch({
        now: NOW + minutes * MINUTE,
        current: lives(0),
        minimumRemaining: HOUR,
        asked: undefined,
      });
      return decision.kind === 'ask' ? decision.key : '';
    };
    expect(keyAt(0)).toBe('watchdog v1 2026-11-22T12:00:00.000Z');
    expect(keyAt(2)).toBe(keyAt(0));
    expect(keyAt(3)).not.toBe(keyAt(0));
  });

  test('waits twice as long each time, up to an hour', () => {
    expect([1, 2, 3, 4, 50].map((count) => askWait(count) / MINUTE)).toEqual([10, 20, 40, 60, 60]);
  });

  test('never asks more than 26 times a day, however often it looks', () => {
    fc.assert(
      fc.property(
        fc.array(fc.integer({ min: 1, max: 45 * MINUTE }), { minLength: 1, maxLength: 400 }),
        (steps) => {
          let now = NOW;
          let state: Asked | undefined;
          const asks: number[] = [];
          for (const step of steps) {
            const input: WatchInput = {
              now,
              current: lives(0),
              minimumRemaining: HOUR,
              asked: state,
            };
            const decision = decideWatch(input);
            if (decision.kind === 'ask') {
              asks.push(now);
              state = decision.asked;
            }
            if (decision.kind === 'wait') expect(decision.until).toBeGreaterThan(now);
            now += step;
          }
          for (const [index, at] of asks.slice(1).entries()) {
            expect(at - (asks[index] ?? 0)).toBeGreaterThanOrEqual(askWait(index + 1));
          }
          const firstDay = asks.filter((at) => at - NOW <= 24 * HOUR);
          expect(firstDay.length).toBeLessThanOrEqual(26);
        },
      ),
    );
  });

  test('is content exactly when the token has life enough', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: -HOUR, max: 3 * HOUR }),
        fc.option(
          fc.integer({ min: 0, max: 90 }).map((minutes) => asked(minutes)),
          {
            nil: undefined,
          },
        ),
        (life, before) => {
          expect(watch(lives(life), before).kind === 'content').toBe(life >= HOUR);
        },
      ),
    );
  });
});
