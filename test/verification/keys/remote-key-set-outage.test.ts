import { describe, expect, test } from '@jest/globals';
import { MINUTE, SECOND, UNAVAILABLE, find, useKeyBench } from '../support/key-bench.js';

const bench = useKeyBench();

describe('a provider that is down', () => {
  test('known keys go on working until the stale time is over, without waiting', async () => {
    const keys = bench().create();
    await find(keys);
    bench().server.behaviour = { kind: 'break' };
    bench().clock.advance(10 * MINUTE);
    expect((await find(keys)).keyId).toBe('first');
    expect(keys.state()).toMatchObject({
      status: 'stale',
      lastError: { code: 'KEYS_UNREACHABLE', at: bench().clock.now() },
      failures: 1,
    });
    bench().server.behaviour = { kind: 'hang' };
    bench().clock.advance(59 * MINUTE);
    // One failure was enough: this answer does not wait for a provider that hangs.
    expect((await find(keys)).keyId).toBe('first');
    await bench().server.requestArrived(3);
    bench().clock.advance(MINUTE);
    await expect(find(keys)).rejects.toMatchObject(UNAVAILABLE);
    expect(keys.state().status).toBe('expired');
  });

  test('no stale use when it is switched off', async () => {
    const keys = bench().create({ staleSeconds: 0 });
    await find(keys);
    bench().server.behaviour = { kind: 'break' };
    bench().clock.advance(10 * MINUTE);
    await expect(find(keys)).rejects.toMatchObject(UNAVAILABLE);
  });

  test('it recovers', async () => {
    const keys = bench().create();
    bench().server.behaviour = { kind: 'break' };
    await expect(find(keys)).rejects.toMatchObject(UNAVAILABLE);
    bench().server.behaviour = { kind: 'keys' };
    bench().clock.advance(SECOND);
    expect((await find(keys)).keyId).toBe('first');
    expect(keys.state()).toMatchObject({ status: 'fresh', lastError: undefined, failures: 1 });
  });

  test('with no keys at hand, attempts are spaced 1, 2, 4 … seconds up to the cooldown', async () => {
    const keys = bench().create();
    bench().server.behaviour = { kind: 'break' };
    for (const [index, pause] of [1, 2, 4, 8, 16, 30, 30].entries()) {
      const flood = await Promise.allSettled(Array.from({ length: 100 }, () => find(keys)));
      expect(flood[0]).toMatchObject({
        status: 'rejected',
        reason: { ...UNAVAILABLE, retryAfterSeconds: pause },
      });
      expect(bench().server.requests).toBe(index + 1);
      bench().clock.advance(pause * SECOND);
    }
  });

  test('a clock that is set back does not lengthen the pause', async () => {
    const keys = bench().create();
    bench().server.behaviour = { kind: 'break' };
    await expect(find(keys)).rejects.toMatchObject(UNAVAILABLE);
    bench().server.behaviour = { kind: 'keys' };
    bench().clock.advance(-24 * 60 * MINUTE);
    expect((await find(keys)).keyId).toBe('first');
  });

  test.each([
    ['120', 120],
    ['86400', 300],
    ['tomorrow', 1],
  ])('Retry-After %s: %d seconds', async (header, seconds) => {
    bench().server.behaviour = {
      kind: 'answer',
      status: 503,
      headers: { 'retry-after': header },
      body: '',
    };
    const keys = bench().create();
    await expect(find(keys)).rejects.toMatchObject({ ...UNAVAILABLE, retryAfterSeconds: seconds });
    bench().clock.advance(seconds * SECOND - 1);
    await expect(find(keys)).rejects.toMatchObject({ retryAfterSeconds: 1 });
    expect(bench().server.requests).toBe(1);
  });

  test('a fetch that hangs ends after the time-out, discovery included', async () => {
    bench().server.behaviour = { kind: 'hang' };
    const keys = bench().create();
    const waiting = find(keys);
    await bench().server.requestArrived(1);
    bench().clock.advance(5 * SECOND);
    await expect(waiting).rejects.toMatchObject({
      ...UNAVAILABLE,
      cause: { code: 'KEYS_TIMEOUT' },
    });

    const never = bench().create({ jwksUri: () => new Promise<string>(() => undefined) });
    const waitingToo = find(never);
    bench().clock.advance(5 * SECOND);
    await expect(waitingToo).rejects.toMatchObject({ cause: { code: 'KEYS_TIMEOUT' } });
  });

  test('a caller who gives up does not end the fetch for the others', async () => {
    bench().server.behaviour = { kind: 'hang' };
    const keys = bench().create();
    const impatient = new AbortController();
    const outcomes = Promise.allSettled([find(keys, 'first', impatient.signal), find(keys)]);
    await bench().server.requestArrived(1);
    impatient.abort(new Error('gave up'));
    bench().server.release();
    const [left, stayed] = await outcomes;
    expect(left).toMatchObject({ status: 'rejected', reason: { message: 'gave up' } });
    expect(stayed).toMatchObject({ status: 'fulfilled', value: { keyId: 'first' } });
    expect(bench().server.requests).toBe(1);
  });
});
