import { describe, expect, test } from '@jest/globals';
import type { RemoteKeySet } from '../../../src/verification/keys/remote-key-set.js';
import type { Clock } from '../../../src/tokens/time.js';
import type { JwksServer } from '../support/jwks-server.js';
import { MINUTE, SECOND, UNAVAILABLE, UNKNOWN, find, useKeyBench } from '../support/key-bench.js';
import { createSigner } from '../support/signer.js';

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

/** Uses up the looks that may follow each other. */
async function exhaust(keys: RemoteKeySet): Promise<void> {
  for (let count = 0; count < 4; count += 1) {
    await expect(find(keys, `invented-${count}`)).rejects.toMatchObject(UNKNOWN);
  }
}

describe('unknown key ids', () => {
  test('keys that the provider has just changed are found at once, repeatedly', async () => {
    const keys = bench().create();
    await find(keys);
    const { first, second } = bench();
    for (const kid of ['new-1', 'new-2', 'new-3', 'new-4']) {
      bench().server.keys = [first.jwk, { ...second.jwk, kid }];
      expect((await find(keys, kid)).keyId).toBe(kid);
    }
    expect(bench().server.requests).toBe(5);
  });

  test('a millisecond that ends within a look does not prevent it', async () => {
    const { clock, first, second, server } = bench();
    // Time goes on between any two readings.
    const running: Clock = {
      now: () => {
        clock.advance(1);
        return clock.now();
      },
      sleep: (milliseconds, signal) => clock.sleep(milliseconds, signal),
    };
    const keys = bench().create({ clock: running });
    const old = await find(keys);
    server.keys = [first.jwk, second.jwk];
    expect((await find(keys, 'second')).keyId).toBe('second');
    await expect(find(keys, 'invented')).rejects.toMatchObject(UNKNOWN);
    clock.advance(30 * SECOND);
    server.keys = [{ ...second.jwk, kid: 'first' }];
    const replacement = await keys.findReplacement?.({ kid: 'first', alg: 'ES256' }, old);
    expect(replacement).toMatchObject({ keyId: 'first' });
    expect(server.requests).toBe(4);
  });

  test('while only the cooldown prevents a look: unavailable until then, and found then', async () => {
    const keys = bench().create();
    await find(keys);
    await exhaust(keys);
    bench().server.keys = [bench().first.jwk, bench().second.jwk];
    await expect(find(keys, 'second')).rejects.toMatchObject({
      ...UNAVAILABLE,
      retryAfterSeconds: 30,
      message: expect.stringContaining('in 30 s'),
    });
    bench().clock.advance(30 * SECOND - 1);
    await expect(find(keys, 'second')).rejects.toMatchObject({
      ...UNAVAILABLE,
      retryAfterSeconds: 1,
    });
    // Known keys are not disturbed, and nothing has failed.
    expect((await find(keys)).keyId).toBe('first');
    expect(keys.state()).toMatchObject({ status: 'fresh', lastError: undefined, fetches: 5 });
    bench().clock.advance(1);
    expect((await find(keys, 'second')).keyId).toBe('second');
    expect(bench().server.requests).toBe(6);
  });

  test('what a look has not found is refused', async () => {
    const keys = bench().create();
    await find(keys);
    await exhaust(keys);
    await expect(find(keys, 'gone')).rejects.toMatchObject(UNAVAILABLE);
    bench().clock.advance(30 * SECOND);
    await expect(find(keys, 'gone')).rejects.toMatchObject(UNKNOWN);
  });

  test('the fetch that a call waited for anyway was its look', async () => {
    const keys = bench().create();
    const outcomes = await Promise.allSettled(
      Array.from({ length: 50 }, (_, index) => find(keys, `invented-${index}`)),
    );
    for (const outcome of outcomes) expect(outcome).toMatchObject({ reason: UNKNOWN });
    expect(bench().server.requests).toBe(1);
    bench().clock.advance(10 * MINUTE);
    await expect(find(keys, 'invented')).rejects.toMatchObject(UNKNOWN);
    expect(bench().server.requests).toBe(2);
  });

  test('a quiet time fills the budget again, one look per cooldown and not beyond its size', async () => {
    const keys = bench().create();
    await find(keys);
    await exhaust(keys);
    bench().clock.advance(65 * SECOND);
    const before = bench().server.requests;
    await expect(find(keys, 'one')).rejects.toMatchObject(UNKNOWN);
    await expect(find(keys, 'two')).rejects.toMatchObject(UNKNOWN);
    // The five seconds count.
    await expect(find(keys, 'three')).rejects.toMatchObject({
      ...UNAVAILABLE,
      retryAfterSeconds: 25,
    });
    expect(bench().server.requests).toBe(before + 2);
    bench().clock.advance(60 * MINUTE);
    await find(keys);
    await exhaust(keys);
    await expect(find(keys, 'four')).rejects.toMatchObject(UNAVAILABLE);
  });

  test('an id that is given to a key of another type', async () => {
    const keys = bench().create();
    await find(keys);
    const refused = { code: 'TOKEN_ALGORITHM_REFUSED' };
    const rsa = await createSigner('first', 'RS256');
    await expect(keys.find({ kid: 'first', alg: 'RS256' })).rejects.toMatchObject(refused);
    bench().server.keys = [rsa.jwk];
    expect((await keys.find({ kid: 'first', alg: 'RS256' })).alg).toBe('RS256');
    await expect(find(keys)).rejects.toMatchObject(refused);
    await expect(find(keys)).rejects.toMatchObject(refused);
    // Without a look it is refused all the same: the issuer has said what the id is for.
    await expect(find(keys)).rejects.toMatchObject(refused);
    expect(bench().server.requests).toBe(5);
  });

  test.each<[string, JwksServer['behaviour']]>([
    ['up', { kind: 'keys' }],
    ['down', { kind: 'break' }],
    [
      'saying when to come back',
      { kind: 'answer', status: 503, headers: { 'retry-after': '1' }, body: '' },
    ],
  ])('an hour of invented ids, provider %s: a fetch per cooldown', async (_, behaviour) => {
    const keys = bench().create();
    await find(keys);
    bench().server.behaviour = behaviour;
    bench().server.requests = 0;
    for (let second = 0; second < 3600; second += 1) {
      bench().clock.advance(SECOND);
      const [invented, known] = await Promise.allSettled([
        find(keys, `invented-${second}`),
        find(keys),
      ]);
      expect(invented).toMatchObject({
        reason: { kind: expect.stringMatching(/^(rejected|retry)$/) },
      });
      expect(known).toMatchObject({ status: 'fulfilled', value: { keyId: 'first' } });
    }
    expect(bench().server.requests).toBeLessThanOrEqual(120 + 4);
  });

  test('an hour of invented ids, provider slow: a fetch per cooldown', async () => {
    const keys = bench().create();
    await find(keys);
    bench().server.behaviour = { kind: 'hang' };
    bench().server.requests = 0;
    for (let round = 0; round < 360; round += 1) {
      const { fetches } = keys.state();
      const invented = find(keys, `invented-${round}`).catch((error: unknown) => error);
      await new Promise((resolve) => setImmediate(resolve));
      if (keys.state().fetches > fetches) await bench().server.requestArrived(fetches);
      expect((await find(keys)).keyId).toBe('first');
      // Longer than the time-out: what was asked for ends.
      bench().clock.advance(10 * SECOND);
      expect(await invented).toMatchObject(UNAVAILABLE);
    }
    expect(bench().server.requests).toBeLessThanOrEqual(120 + 4);
  });

  test.each(['up', 'slow', 'down'] as const)(
    '10,000 invented ids at once, provider %s: one fetch',
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
      expect(bench().server.requests).toBe(2);
      // Whoever has a known key is not disturbed.
      expect((await find(keys)).keyId).toBe('first');
    },
  );

  test('one fetch that failed costs a second, not the cooldown', async () => {
    const keys = bench().create();
    await find(keys);
    bench().server.behaviour = { kind: 'break' };
    const failed = { ...UNAVAILABLE, retryAfterSeconds: 1, cause: { code: 'KEYS_UNREACHABLE' } };
    await expect(find(keys, 'second')).rejects.toMatchObject(failed);
    bench().server.behaviour = { kind: 'keys' };
    bench().server.keys = [bench().first.jwk, bench().second.jwk];
    bench().clock.advance(SECOND - 1);
    await expect(find(keys, 'second')).rejects.toMatchObject(failed);
    bench().clock.advance(1);
    expect((await find(keys, 'second')).keyId).toBe('second');
    expect(bench().server.requests).toBe(3);
  });

  test('while the provider is down looks come after 1, 2 and 4 seconds, then once per cooldown', async () => {
    const keys = bench().create();
    await find(keys);
    bench().server.behaviour = { kind: 'break' };
    const start = bench().clock.now();
    const looks: number[] = [];
    for (let second = 0; second <= 120; second += 1) {
      const before = bench().server.requests;
      await expect(find(keys, 'invented')).rejects.toMatchObject(UNAVAILABLE);
      if (bench().server.requests > before) looks.push((bench().clock.now() - start) / SECOND);
      bench().clock.advance(SECOND);
    }
    expect(looks).toEqual([0, 1, 3, 7, 30, 60, 90, 120]);
  });

  test('a discovery that fails is an outage, not a refusal', async () => {
    let isDown = false;
    const jwksUri = async (): Promise<string> => {
      if (isDown) throw new Error('no discovery');
      return bench().server.uri;
    };
    const keys = bench().create({ jwksUri });
    await find(keys);
    isDown = true;
    await expect(find(keys, 'second')).rejects.toMatchObject({
      ...UNAVAILABLE,
      cause: { code: 'KEYS_URI_UNKNOWN' },
    });
    expect((await find(keys)).keyId).toBe('first');
  });

  test.each([0, 1, 4])('a clock that is set back after %d looks stops none', async (looks) => {
    const keys = bench().create();
    await find(keys);
    for (let count = 0; count < looks; count += 1) await find(keys, 'x').catch(() => undefined);
    bench().server.keys = [bench().first.jwk, bench().second.jwk];
    bench().clock.advance(-24 * 60 * MINUTE);
    bench().clock.advance(30 * SECOND);
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
