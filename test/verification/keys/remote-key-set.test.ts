import { describe, expect, test } from '@jest/globals';
import type { RemoteKeySet } from '../../../src/verification/keys/remote-key-set.js';
import { MINUTE, SECOND, UNAVAILABLE, UNKNOWN, find, useKeyBench } from '../support/key-bench.js';

const bench = useKeyBench();
/** A fetch that runs behind an answer has ended when somebody who joins it is answered. */
const settle = (keys: RemoteKeySet): Promise<void> => keys.refresh().catch(() => undefined);

describe('fetching', () => {
  test('nothing is fetched before it is needed, then once for everybody', async () => {
    const keys = bench().create();
    expect(keys.state()).toMatchObject({ status: 'empty', fetches: 0, keyIds: [] });
    const found = await Promise.all(Array.from({ length: 50 }, () => find(keys)));
    expect(new Set(found).size).toBe(1);
    expect(bench().server.requests).toBe(1);
    expect(keys.state()).toMatchObject({
      status: 'fresh',
      fetchedAt: bench().clock.now(),
      lastAttemptAt: bench().clock.now(),
      lastError: undefined,
      keyIds: ['first'],
      fetches: 1,
      failures: 0,
      changes: 1,
    });
  });

  test('from 80 % of the age keys are fetched behind the answer, once', async () => {
    const keys = bench().create();
    await find(keys);
    bench().clock.advance(8 * MINUTE - 1);
    await find(keys);
    expect(bench().server.requests).toBe(1);
    bench().server.behaviour = { kind: 'hang' };
    bench().clock.advance(1);
    // Answered although the provider does not answer: nobody waits for this fetch.
    await Promise.all([find(keys), find(keys), find(keys)]);
    await bench().server.requestArrived(2);
    bench().server.release();
    await settle(keys);
    expect(bench().server.requests).toBe(2);
    expect(keys.state().fetchedAt).toBe(bench().clock.now());
  });

  test('past the age the answer waits for new keys, and a removed key is gone', async () => {
    const keys = bench().create();
    await find(keys);
    bench().server.keys = [bench().second.jwk];
    bench().clock.advance(10 * MINUTE);
    await expect(find(keys)).rejects.toMatchObject(UNKNOWN);
    expect((await find(keys, 'second')).keyId).toBe('second');
    expect(keys.state().keyIds).toEqual(['second']);
    expect(bench().server.requests).toBe(2);
  });

  test('an empty JWKS takes all trust away', async () => {
    const keys = bench().create();
    await find(keys);
    bench().server.keys = [];
    await keys.refresh();
    await expect(find(keys)).rejects.toMatchObject(UNKNOWN);
  });

  test('the same id with another key is another key', async () => {
    const keys = bench().create();
    const before = await find(keys);
    bench().server.keys = [{ ...bench().second.jwk, kid: 'first' }];
    await keys.refresh();
    expect((await find(keys)).key).not.toBe(before.key);
  });

  test.each<[string, string, number]>([
    ['shorter is honoured', 'public, max-age=120', 2 * MINUTE],
    ['longer is not', 'max-age=86400', 10 * MINUTE],
    ['never under the cooldown', 'max-age=0', 30 * SECOND],
    ['no-store means the cooldown', 'no-store', 30 * SECOND],
    ['nonsense means the default', 'max-age=soon', 10 * MINUTE],
  ])('Cache-Control: %s', async (_, header, age) => {
    bench().server.behaviour = { kind: 'keys', headers: { 'cache-control': header } };
    const keys = bench().create();
    await find(keys);
    bench().clock.advance(age - 1);
    expect(keys.state().status).toBe('fresh');
    bench().clock.advance(1);
    expect(keys.state().status).toBe('stale');
  });

  test('the address may be found out, anew for each fetch', async () => {
    let asked = 0;
    const jwksUri = async (): Promise<string> => {
      asked += 1;
      return bench().server.uri;
    };
    const keys = bench().create({ jwksUri });
    expect(asked).toBe(0);
    await find(keys);
    await keys.refresh();
    expect(asked).toBe(2);
  });
});

describe('unknown key ids', () => {
  test('a new key is found at once when the cooldown is over', async () => {
    const keys = bench().create();
    await find(keys);
    bench().server.keys = [bench().first.jwk, bench().second.jwk];
    bench().clock.advance(30 * SECOND - 1);
    await expect(find(keys, 'second')).rejects.toMatchObject(UNKNOWN);
    bench().clock.advance(1);
    expect((await find(keys, 'second')).keyId).toBe('second');
    expect(bench().server.requests).toBe(2);
  });

  test.each(['up', 'slow', 'down'] as const)(
    '10,000 invented ids, provider %s: one fetch per cooldown',
    async (state) => {
      const keys = bench().create();
      await find(keys);
      bench().clock.advance(MINUTE);
      if (state === 'slow') bench().server.behaviour = { kind: 'hang' };
      if (state === 'down') bench().server.behaviour = { kind: 'break' };
      const flood = Promise.allSettled(
        Array.from({ length: 10_000 }, (_, index) => find(keys, `invented-${index}`)),
      );
      await bench().server.requestArrived(2);
      if (state === 'slow') bench().server.release();
      const outcomes = await flood;
      const expected = state === 'down' ? UNAVAILABLE : UNKNOWN;
      for (const outcome of [outcomes[0], outcomes.at(-1)]) {
        expect(outcome).toMatchObject({ status: 'rejected', reason: expected });
      }
      await expect(find(keys, 'late')).rejects.toMatchObject(expected);
      expect(bench().server.requests).toBe(2);
      // Whoever has a known key is not disturbed.
      expect((await find(keys)).keyId).toBe('first');

      bench().clock.advance(30 * SECOND - 1);
      await expect(find(keys, 'later')).rejects.toMatchObject(expected);
      expect(bench().server.requests).toBe(2);
      bench().clock.advance(1);
      await expect(find(keys, 'latest')).rejects.toMatchObject(expected);
      expect(bench().server.requests).toBe(3);
    },
  );

  test('a clock that is set back does not lengthen the cooldown', async () => {
    const keys = bench().create();
    await find(keys);
    bench().server.keys = [bench().first.jwk, bench().second.jwk];
    bench().clock.advance(-24 * 60 * MINUTE);
    expect((await find(keys, 'second')).keyId).toBe('second');
  });
});

describe('kept fresh without tokens', () => {
  test('fetched when due, and not before', async () => {
    const keys = bench().create();
    await keys.refreshWhenDue();
    expect(keys.state()).toMatchObject({ status: 'fresh', fetches: 1, changes: 1 });
    for (let minute = 1; minute <= 60; minute += 1) {
      bench().clock.advance(MINUTE);
      await keys.refreshWhenDue();
      expect(keys.state().status).toBe('fresh');
    }
    // Every eight minutes, 80 % of their age.
    expect(bench().server.requests).toBe(1 + 7);
    expect(keys.state()).toMatchObject({ fetches: 8, failures: 0, changes: 1 });
  });

  test('a change is counted, whoever caused the fetch, and the same keys again are none', async () => {
    const keys = bench().create();
    await find(keys);
    await keys.refresh();
    expect(keys.state().changes).toBe(1);
    bench().server.keys = [bench().second.jwk];
    await keys.refresh();
    expect(keys.state().changes).toBe(2);
    bench().server.keys = [];
    bench().clock.advance(10 * MINUTE);
    await expect(find(keys, 'second')).rejects.toMatchObject(UNKNOWN);
    expect(keys.state().changes).toBe(3);
  });

  test('a failure is in the state, and attempts keep their pauses', async () => {
    const keys = bench().create();
    bench().server.behaviour = { kind: 'break' };
    await keys.refreshWhenDue();
    await keys.refreshWhenDue();
    expect(bench().server.requests).toBe(1);
    expect(keys.state()).toMatchObject({
      status: 'empty',
      lastError: { code: 'KEYS_UNREACHABLE' },
      changes: 0,
    });
    bench().server.behaviour = { kind: 'keys' };
    bench().clock.advance(SECOND);
    await keys.refreshWhenDue();
    expect(keys.state()).toMatchObject({ status: 'fresh', lastError: undefined, changes: 1 });
  });
});
