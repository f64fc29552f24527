import { describe, expect, test } from '@jest/globals';
import { FakeClock } from '../../src/testing/index.js';

describe('a fake clock', () => {
  test('stands still until it is moved, in both directions', () => {
    const clock = new FakeClock('2026-03-01T12:00:00.900Z');
    expect(clock.now()).toBe(Date.parse('2026-03-01T12:00:00.900Z'));
    expect(clock.seconds).toBe(Date.parse('2026-03-01T12:00:00Z') / 1000);
    clock.advance(-900);
    expect(clock.now()).toBe(Date.parse('2026-03-01T12:00:00Z'));
    clock.set(5);
    expect(clock.now()).toBe(5);
  });

  test('wakes who waited, in the order of their instants, and nobody else', async () => {
    const clock = new FakeClock();
    const woken: number[] = [];
    const sleeps = [300, 100, 200].map((span) => clock.sleep(span).then(() => woken.push(span)));
    expect(clock.sleepers).toBe(3);
    clock.advance(200);
    await Promise.all(sleeps.slice(1));
    expect(woken).toEqual([100, 200]);
    expect(clock.sleepers).toBe(1);
    clock.advance(100);
    await sleeps[0];
    expect(woken).toEqual([100, 200, 300]);
  });

  test('lets nobody wait who asks for no time', async () => {
    const clock = new FakeClock();
    await clock.sleep(0);
    await clock.sleep(-1);
    expect(clock.sleepers).toBe(0);
  });

  test('lets a wait be given up, before and during it', async () => {
    const clock = new FakeClock();
    const reason = new Error('stopped');
    await expect(clock.sleep(10, AbortSignal.abort(reason))).rejects.toBe(reason);
    const stopping = new AbortController();
    const waiting = clock.sleep(10, stopping.signal);
    stopping.abort(reason);
    await expect(waiting).rejects.toBe(reason);
    expect(clock.sleepers).toBe(0);
    clock.advance(10);
  });

  test.each(['yesterday', Number.NaN, Infinity])('is not set to %p', (time) => {
    expect(() => new FakeClock(time)).toThrow(RangeError);
  });
});
