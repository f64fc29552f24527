import { describe, expect, test } from '@jest/globals';
import type { RemoteKeySet } from '../../../src/verification/keys/remote-key-set.js';
import { MINUTE, SECOND, UNAVAILABLE, UNKNOWN, find, useKeyBench } from '../support/key-bench.js';

const bench = useKeyBench();
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
/** A fetch that runs behind an answer has ended when somebody who joins it is answered. */
const settle = (keys: RemoteKeySet): Promise<void> => keys.refresh().catch(() => undefined);

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
    for (let minutes = 10; minutes < 69; minutes += 1) {
      // The fetch that is in flight times out, and the next one becomes due.
      bench().clock.advance(5 * SECOND);
      await turn();
      bench().clock.advance(55 * SECOND);
      // One failure was enough: no answer waits for a provider that hangs.
      expect((await find(keys)).keyId).toBe('first');
      await bench().server.requestArrived(minutes - 7);
    }
    bench().clock.advance(MINUTE);
    await expect(find(keys)).rejects.toMatchObject(UNAVAILABLE);
    expect(keys.state().status).toBe('expired');
  });

  test('a failure of long ago does not keep a withdrawn key in use: the next answer waits for a fetch', async () => {
    const keys = bench().create();
    await find(keys);
    bench().server.behaviour = { kind: 'break' };
    bench().clock.advance(8 * MINUTE);
    await find(keys);
    await settle(keys);
    bench().server.behaviour = { kind: 'keys' };
    bench().server.keys = [bench().second.jwk];
    bench().clock.advance(50 * MINUTE);
    expect(keys.atHand()).toBeUndefined();
    await expect(find(keys)).rejects.toMatchObject(UNKNOWN);
    expect(keys.state()).toMatchObject({ status: 'fresh', keyIds: ['second'] });
  });

  test('when it is still down then, one fetch is waited for, and its failure counts again', async () => {
    const keys = bench().create();
    await find(keys);
    bench().server.behaviour = { kind: 'break' };
    bench().clock.advance(10 * MINUTE);
    await find(keys);
    bench().server.behaviour = { kind: 'hang' };
    bench().clock.advance(30 * MINUTE);
    const waiting = Promise.all(Array.from({ length: 100 }, () => find(keys)));
    await bench().server.requestArrived(3);
    bench().clock.advance(5 * SECOND);
    for (const { keyId } of await waiting) expect(keyId).toBe('first');
    expect((await find(keys)).keyId).toBe('first');
    expect(bench().server.requests).toBe(3);
  });

  test.each([
    ['keys that count as fresh for no longer than the cooldown', 'no-cache', undefined],
    ['a provider that asks to be left alone for longer than that', 'no-cache', '300'],
  ])('requests do not wait for it: %s', async (_, cacheControl, retryAfter) => {
    bench().server.behaviour = { kind: 'keys', headers: { 'cache-control': cacheControl } };
    const keys = bench().create();
    await find(keys);
    bench().server.behaviour = {
      kind: 'answer',
      status: 503,
      headers: retryAfter === undefined ? {} : { 'retry-after': retryAfter },
      body: '',
    };
    bench().clock.advance(MINUTE);
    await find(keys);
    bench().server.behaviour = { kind: 'hang' };
    for (let seconds = 0; seconds < 600; seconds += 2) {
      bench().clock.advance(2 * SECOND);
      expect(keys.atHand()).toBeDefined();
      await turn();
    }
  });

  test('a clock that is set back does not lengthen the stale time', async () => {
    const keys = bench().create();
    await find(keys);
    bench().server.behaviour = { kind: 'break' };
    bench().clock.advance(-24 * 60 * MINUTE);
    expect((await find(keys)).keyId).toBe('first');
    bench().clock.advance(60 * MINUTE);
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

  test('with no keys at hand, attempts are spaced 1, 2, 4 … seconds, 15 at most', async () => {
    const keys = bench().create();
    bench().server.behaviour = { kind: 'break' };
    for (const [index, pause] of [1, 2, 4, 8, 15, 15, 15].entries()) {
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
    // The clock of the bench stands at noon.
    ['Sun, 01 Mar 2026 12:02:00 GMT', 120],
    ['Sunday, 01-Mar-26 12:02:00 GMT', 120],
    ['Sun Mar  1 12:02:00 2026', 120],
    ['Mon, 02 Mar 2026 12:00:00 GMT', 300],
    ['Sun, 01 Mar 2026 11:00:00 GMT', 1],
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
