import { describe, expect, test } from '@jest/globals';
import { ProviderError } from '../../src/provider/provider-errors.js';
import { BASE_PAUSE, decidePause, MAX_PAUSE, retrying } from '../../src/provider/provider-http.js';
import { fc } from '../support/properties.js';
import { SteppingClock } from './stepping-clock.js';

describe('decidePause', () => {
  const input = fc.record({
    failures: fc.integer({ min: 1, max: 50 }),
    attempts: fc.integer({ min: 1, max: 50 }),
    remaining: fc.integer({ min: -1_000, max: 60_000 }),
    retryAfterSeconds: fc.option(fc.integer({ min: 0, max: 100 }), { nil: undefined }),
    random: fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
  });

  test('never pauses past the deadline, never after the last attempt, never shorter than asked', () => {
    fc.assert(
      fc.property(input, (one) => {
        const pause = decidePause(one);
        if (pause === undefined) return;
        expect(pause).toBeGreaterThanOrEqual(0);
        expect(pause).toBeLessThan(one.remaining);
        expect(one.failures).toBeLessThan(one.attempts);
        expect(pause).toBeGreaterThanOrEqual((one.retryAfterSeconds ?? 0) * 1000);
        if (one.retryAfterSeconds === undefined) expect(pause).toBeLessThanOrEqual(MAX_PAUSE);
      }),
    );
  });

  test.each([
    [1, 0, BASE_PAUSE / 2],
    [2, 0, BASE_PAUSE],
    [3, 0, BASE_PAUSE * 2],
    [1, 0.5, (BASE_PAUSE * 3) / 4],
    [30, 0, MAX_PAUSE / 2],
  ])(
    'grows twofold up to a limit, with jitter: failure %d, random %d',
    (failures, random, pause) => {
      const rest = { attempts: 99, remaining: 60_000, retryAfterSeconds: undefined };
      expect(decidePause({ ...rest, failures, random })).toBe(pause);
    },
  );
});

describe('retrying', () => {
  const budget = (clock: SteppingClock, signal?: AbortSignal) => ({
    clock,
    deadline: clock.now() + 30_000,
    attempts: 3,
    timeoutMs: 5_000,
    random: () => 0,
    signal,
  });
  const stepping = (): SteppingClock => new SteppingClock(() => false);

  test('gives each attempt its time-out, or what is left', async () => {
    const clock = stepping();
    const given: number[] = [];
    const call = retrying(budget(clock), (timeoutMs) => {
      given.push(timeoutMs);
      clock.advance(13_000);
      return Promise.reject(new ProviderError('PROVIDER_TIMEOUT', 'slow'));
    });
    await expect(call).rejects.toMatchObject({ code: 'PROVIDER_TIMEOUT', message: 'slow' });
    expect(given).toEqual([5_000, 5_000, 30_000 - 26_000 - BASE_PAUSE / 2 - BASE_PAUSE]);
  });

  test('does not begin an attempt without time', async () => {
    const clock = stepping();
    const spent = { ...budget(clock), deadline: clock.now() };
    await expect(retrying(spent, () => Promise.resolve('late'))).rejects.toMatchObject({
      code: 'PROVIDER_TIMEOUT',
      kind: 'retry',
    });
  });

  test('does not repeat what cannot pass, nor what is not ours', async () => {
    for (const error of [new ProviderError('PROVIDER_REFUSED', 'no'), new TypeError('bug')]) {
      let calls = 0;
      const call = retrying(budget(stepping()), () => {
        calls += 1;
        return Promise.reject(error);
      });
      await expect(call).rejects.toBe(error);
      expect(calls).toBe(1);
    }
  });

  test('stops when the caller gives up, with the caller’s reason', async () => {
    const caller = new AbortController();
    let calls = 0;
    const call = retrying(budget(stepping(), caller.signal), () => {
      calls += 1;
      caller.abort(new Error('shutting down'));
      return Promise.reject(new ProviderError('PROVIDER_UNAVAILABLE', 'down'));
    });
    await expect(call).rejects.toThrow('shutting down');
    expect(calls).toBe(1);
  });
});
