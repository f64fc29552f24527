import { describe, expect, test } from '@jest/globals';
import { BrokerError } from '../../src/tokens/errors.js';
import { CacheError } from '../../src/tokens/refreshing-cache.js';
import { fc } from '../support/properties.js';
import { gate, HOUR, setUp, SKEW, START, TTL, turn } from './cache-fixture.js';

const storeDown = (): BrokerError => new BrokerError('STORE_DOWN', 'retry', 'The store is down.');

describe('refresh', () => {
  /** Lets time pass by seconds, as a process does that keeps its cache warm. */
  async function live(
    { cache, clock }: ReturnType<typeof setUp>,
    seconds: number,
    each: () => void = () => undefined,
  ): Promise<void> {
    for (let second = 0; second < seconds; second += 1) {
      clock.advance(1_000);
      cache.refresh(240_000);
      await turn();
      each();
    }
  }

  test('keeps the cache warm without callers, at 15 reads an hour', async () => {
    const scene = setUp();
    const { cache, source } = scene;
    cache.refresh(240_000);
    await turn();
    await live(scene, 3_599, () => expect(cache.peek()?.state).toBe('HIT'));
    expect(source.forced.length).toBe(15);
  });

  test('reads no more often by itself where the time to live is short', async () => {
    const scene = setUp({ ttlMs: 5_000, skewMs: 5_000 });
    scene.cache.refresh(240_000);
    await turn();
    await live(scene, 3_599);
    expect(scene.source.forced.length).toBe(15);
  });

  test('tries again every 15 seconds at most while there is nothing to serve', async () => {
    const scene = setUp({ random: () => 0.99 });
    const { source, cache, clock } = scene;
    source.failure = storeDown();
    const attempts: number[] = [];
    await live(scene, 600, () => {
      if (source.forced.length > attempts.length) attempts.push(clock.now());
    });
    const gaps = attempts.slice(1).map((at, index) => at - (attempts[index] ?? 0));
    expect(Math.max(...gaps)).toBeLessThanOrEqual(15_000);
    expect(gaps.length).toBeGreaterThan(30);
    source.failure = undefined;
    await live(scene, 15);
    expect(cache.peek()?.state).toBe('HIT');
  });

  test('backs off up to half a minute while the old value is served', async () => {
    const scene = setUp();
    const { cache, source, clock } = scene;
    await cache.get();
    source.failure = storeDown();
    clock.advance(TTL);
    const before = source.forced.length;
    await live(scene, 600);
    expect(cache.peek()?.state).toBe('STALE');
    expect(source.forced.length - before).toBe(24);
  });

  test('gives up a read that hangs, and begins another', async () => {
    const scene = setUp();
    const { cache, source } = scene;
    source.gate = new Promise(() => undefined);
    const asked = cache.get();
    source.gate = undefined;
    void asked.catch(() => undefined);
    await live(scene, 11);
    await expect(asked).rejects.toMatchObject({ code: 'READ_TIMEOUT' });
    expect(cache.peek()).toMatchObject({ state: 'HIT', value: { name: 'v2' } });
  });

  test('holds no forced read up', async () => {
    const { cache, source } = setUp();
    cache.refresh();
    await turn();
    expect((await cache.get({ force: true })).value.name).toBe('v2');
    expect((await cache.get({ force: true })).state).toBe('HIT');
    expect(source.forced.length).toBe(2);
  });

  test('reads at once what was invalidated', async () => {
    const scene = setUp();
    await scene.cache.get();
    scene.cache.invalidate();
    scene.cache.refresh(240_000);
    await turn();
    expect(scene.cache.peek()?.value.name).toBe('v2');
  });
});

describe('retry', () => {
  test('does nothing while reading works', async () => {
    const { cache, source } = setUp();
    await cache.get();
    cache.retry();
    await turn();
    expect(source.forced.length).toBe(1);
  });

  test('reads at once, whatever the backoff', async () => {
    const { cache, source, clock } = setUp();
    source.failure = storeDown();
    for (let attempt = 0; attempt < 6; attempt += 1) {
      await cache.get().catch(() => undefined);
      clock.advance(1_000);
    }
    source.failure = undefined;
    clock.advance(1);
    cache.refresh();
    await turn();
    expect(cache.peek()).toBeUndefined();
    cache.retry();
    await turn();
    expect(cache.peek()?.state).toBe('HIT');
  });

  test('replaces a read that has taken over a second, also for those who wait for it', async () => {
    const { cache, source, clock } = setUp();
    source.failure = storeDown();
    await cache.get().catch(() => undefined);
    clock.advance(1_000);
    source.failure = undefined;
    source.gate = new Promise(() => undefined);
    const asked = cache.get();
    source.gate = undefined;
    cache.retry();
    expect(source.forced.length).toBe(2);
    clock.advance(1_000);
    cache.retry();
    expect((await asked).value.name).toBe('v3');
    expect(cache.peek()).toMatchObject({ state: 'HIT', value: { name: 'v3' } });
  });

  test('leaves a slow read alone when none has failed', async () => {
    const { cache, source, clock } = setUp();
    const slow = gate();
    source.gate = slow.opened;
    const asked = cache.get();
    clock.advance(3_000);
    cache.retry();
    slow.open();
    expect((await asked).value.name).toBe('v1');
    expect(source.forced.length).toBe(1);
  });
});

describe('force', () => {
  test('tells the source whether a caller needs what no cache can give', async () => {
    const { cache, clock, source } = setUp();
    source.life = HOUR;
    await cache.get();
    clock.advance(TTL);
    await cache.get();
    clock.advance(1_000);
    await cache.get({ force: true });
    clock.advance(1_000);
    await cache.get({ minTtlMs: HOUR });
    clock.advance(0.9 * TTL);
    await cache.get();
    await turn();
    expect(source.forced).toEqual([false, false, true, true, false]);
  });

  test('reads at once, at most once a second, and then serves by the policy', async () => {
    const { cache, source, clock } = setUp();
    await cache.get();
    clock.advance(1_000);
    const forced = await Promise.all([cache.get({ force: true }), cache.get({ force: true })]);
    expect(forced.map(({ state, value }) => [state, value.name])).toEqual([
      ['REFRESH', 'v2'],
      ['REFRESH', 'v2'],
    ]);
    clock.advance(999);
    expect((await cache.get({ force: true })).state).toBe('HIT');
    clock.advance(1);
    expect((await cache.get({ force: true })).value.name).toBe('v3');
    expect(source.forced.length).toBe(3);
  });

  test('reads at once although the clock was set back since the last read', async () => {
    const { cache, source, clock } = setUp();
    await cache.get();
    source.failure = storeDown();
    clock.advance(0.9 * TTL);
    await cache.get();
    source.failure = undefined;
    clock.set(START + 0.1 * TTL);
    expect((await cache.get({ force: true })).value.name).toBe('v3');
    expect((await cache.get({ force: true })).state).toBe('HIT');
  });

  test('a read that began long before does not count: another follows it, still one at a time', async () => {
    const { cache, source, clock } = setUp();
    await cache.get();
    clock.advance(0.9 * TTL);
    const slow = gate();
    source.gate = slow.opened;
    await cache.get();
    clock.advance(5_000);
    const forced = cache.get({ force: true });
    source.gate = undefined;
    slow.open();
    expect((await forced).value.name).toBe('v3');
    expect(source.maxInFlight).toBe(1);
  });

  test('if the read fails, what is cached is served as STALE', async () => {
    const { cache, source, clock } = setUp();
    await cache.get();
    source.failure = storeDown();
    clock.advance(1_000);
    expect((await cache.get({ force: true })).state).toBe('STALE');
    expect((await cache.get()).state).toBe('HIT');
  });
});

describe('minTtlMs', () => {
  test('is met without a read when the cached value lives long enough', async () => {
    const { cache, source } = setUp();
    await cache.get();
    expect((await cache.get({ minTtlMs: 24 * HOUR })).state).toBe('HIT');
    expect(source.forced.length).toBe(1);
  });

  test('reads again when the cached value does not', async () => {
    const { cache, source, clock } = setUp();
    await cache.get();
    clock.advance(1_000);
    expect((await cache.get({ minTtlMs: 24 * HOUR })).value.name).toBe('v2');
    expect(source.forced.length).toBe(2);
  });

  test('fails clearly when the source has nothing better, at one read a second', async () => {
    const { cache, source, clock } = setUp();
    source.life = HOUR;
    await cache.get();
    clock.advance(1_000);
    const ask = (): Promise<unknown> => cache.get({ minTtlMs: 2 * HOUR });
    await expect(ask()).rejects.toMatchObject({
      code: 'TOKEN_LIFE_TOO_SHORT',
      kind: 'retry',
      message:
        'The token has 3600 s left, and 7200 s were asked for. Ask for less, or again after the next rotation.',
    });
    await expect(ask()).rejects.toBeInstanceOf(CacheError);
    expect(source.forced.length).toBe(2);
    expect((await cache.get()).state).toBe('HIT');
  });
});

describe('invalidate', () => {
  test('the next caller gets what is read after it', async () => {
    const { cache, source } = setUp();
    await cache.get();
    cache.invalidate();
    expect(cache.peek()).toBeUndefined();
    expect((await cache.get()).value.name).toBe('v2');
    expect((await cache.get()).state).toBe('HIT');
    expect(source.forced.length).toBe(2);
  });

  test('a read that began before it does not satisfy a caller who came after it', async () => {
    const { cache, source } = setUp();
    const slow = gate();
    source.gate = slow.opened;
    const before = cache.get();
    cache.invalidate();
    const after = cache.get();
    source.gate = undefined;
    slow.open();
    expect((await before).value.name).toBe('v1');
    expect((await after).value.name).toBe('v2');
    expect(source.maxInFlight).toBe(1);
  });

  test('the old value is served as STALE when the read fails', async () => {
    const { cache, source } = setUp();
    await cache.get();
    source.failure = storeDown();
    cache.invalidate();
    expect((await cache.get()).state).toBe('STALE');
  });

  test('an earlier failure does not keep the next caller from reading', async () => {
    const { cache, source, clock } = setUp();
    await cache.get();
    source.failure = storeDown();
    clock.advance(TTL);
    await cache.get();
    source.failure = undefined;
    cache.invalidate();
    expect((await cache.get()).value.name).toBe('v3');
  });
});

describe('whatever the arrivals', () => {
  const arrivals = fc.array(
    fc.record({
      wait: fc.oneof(fc.integer({ min: 0, max: 5_000 }), fc.integer({ min: 0, max: 400_000 })),
      callers: fc.integer({ min: 1, max: 3 }),
      down: fc.boolean(),
      force: fc.boolean(),
      minTtlMs: fc.constantFrom(0, 0, HOUR),
    }),
    { minLength: 1, maxLength: 120 },
  );

  test('a healthy source is read at most 15 times in any hour, and one read at a time', async () => {
    await fc.assert(
      fc.asyncProperty(
        arrivals,
        fc.infiniteStream(fc.double({ min: 0, max: 0.999 })),
        async (steps, jitter) => {
          const { cache, source, clock } = setUp({ random: () => Number(jitter.next().value) });
          const readAt: number[] = [];
          for (const { wait, callers } of steps) {
            clock.advance(wait);
            const before = source.forced.length;
            cache.peek();
            cache.refresh(240_000);
            await Promise.all(Array.from({ length: callers }, () => cache.get()));
            await turn();
            if (source.forced.length > before) readAt.push(clock.now());
            expect(source.forced.length - before).toBeLessThanOrEqual(1);
          }
          for (const from of readAt) {
            const inHour = readAt.filter((at) => at >= from && at < from + HOUR);
            expect(inHour.length).toBeLessThanOrEqual(15);
          }
          expect(source.maxInFlight).toBe(1);
        },
      ),
      { numRuns: 60 },
    );
  });

  test('a caller a second, all hour long: 15 reads', async () => {
    const { cache, source, clock } = setUp();
    for (let second = 0; second < 3_600; second += 1) {
      await cache.get();
      clock.advance(1_000);
    }
    await turn();
    expect(source.forced.length).toBe(15);
  });

  test('nothing is served past its life minus the skew, nor less life than asked for', async () => {
    await fc.assert(
      fc.asyncProperty(arrivals, fc.integer({ min: 0, max: 900_000 }), async (steps, life) => {
        const { cache, source, clock } = setUp();
        source.life = life;
        for (const { wait, callers, down, force, minTtlMs } of steps) {
          clock.advance(wait);
          source.failure = down ? storeDown() : undefined;
          const peeked = cache.peek();
          const answers = await Promise.allSettled(
            Array.from({ length: callers }, () => cache.get({ force, minTtlMs })),
          );
          const least = Math.max(SKEW + 1, minTtlMs);
          if (peeked) expect(peeked.value.expiresAt - clock.now()).toBeGreaterThan(SKEW);
          for (const answer of answers) {
            if (answer.status === 'rejected') expect(answer.reason).toBeInstanceOf(BrokerError);
            else expect(answer.value.value.expiresAt - clock.now()).toBeGreaterThanOrEqual(least);
          }
        }
        expect(source.maxInFlight).toBeLessThanOrEqual(1);
      }),
      { numRuns: 60 },
    );
  });
});
