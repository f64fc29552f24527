import { describe, expect, test } from '@jest/globals';
import { HOUR, never, setUp, START, TTL, turn, gate, SKEW } from './cache-fixture.js';

describe('follow', () => {
  test('reads when the last read began so long ago, however fresh the value is', async () => {
    const { cache, clock, source } = setUp();
    await cache.get();
    clock.advance(4_999);
    cache.follow(5_000);
    expect(source.forced).toEqual([false]);
    clock.advance(1);
    cache.follow(5_000);
    cache.follow(5_000);
    await turn();
    cache.follow(5_000);
    expect(source.forced).toEqual([false, false]);
    expect(cache.peek()?.value.name).toBe('v2');
  });

  test('begins the first read, and no other while that one is in flight', async () => {
    const { cache, clock, source } = setUp();
    source.gate = never;
    cache.follow(1_000);
    clock.advance(9_999);
    cache.follow(1_000);
    expect(source.forced).toHaveLength(1);
    clock.advance(1);
    cache.follow(1_000);
    expect(source.forced).toHaveLength(1);
    expect(cache.status().lastError).toMatchObject({ code: 'READ_TIMEOUT' });
    clock.advance(1_000);
    cache.follow(1_000);
    expect(source.forced).toHaveLength(2);
  });

  test('pauses after failed reads as others do', async () => {
    const { cache, clock, source } = setUp();
    source.failure = new Error('down');
    const attempts: number[] = [];
    for (let second = 0; second < 70; second += 1) {
      const before = source.forced.length;
      cache.follow(1_000);
      await turn();
      if (source.forced.length > before) attempts.push(second);
      clock.advance(1_000);
    }
    expect(attempts).toEqual([0, 1, 3, 7, 15, 31, 61]);
  });

  test('reads at once where the clock was set back', async () => {
    const { cache, clock, source } = setUp();
    source.failure = new Error('down');
    cache.follow(1_000);
    await turn();
    source.failure = undefined;
    clock.set(START - HOUR);
    cache.follow(1_000);
    await turn();
    expect(cache.peek()?.value.name).toBe('v2');
    clock.set(START - 2 * HOUR);
    cache.follow(HOUR);
    expect(source.forced).toHaveLength(3);
  });

  test('reads at the very instant of the first attempt', async () => {
    const { cache, source } = setUp();
    await cache.get();
    cache.follow(0);
    await turn();
    cache.follow(1);
    expect(source.forced).toHaveLength(2);
  });

  test('holds no forced read up', async () => {
    const { cache, source } = setUp();
    cache.follow(1_000);
    await turn();
    expect((await cache.get({ force: true })).value.name).toBe('v2');
    expect(source.forced).toEqual([false, true]);
  });
});

describe('prepare', () => {
  test('begins the read that a caller would wait for, and the caller is told what it was', async () => {
    const { cache, clock, source } = setUp();
    const first = cache.prepare();
    expect(first).toEqual({ at: START, read: 1 });
    expect(cache.prepare()).toEqual(first);
    await turn();
    clock.advance(700);
    expect((await cache.get({ since: first })).state).toBe('MISS');
    expect((await cache.get()).state).toBe('HIT');
    clock.advance(TTL);
    const second = cache.prepare();
    await turn();
    expect((await cache.get({ since: second })).state).toBe('REFRESH');
    expect((await cache.get({ since: first })).state).toBe('REFRESH');
    expect(source.forced).toEqual([false, false]);
  });

  test('begins nothing for who would be served', async () => {
    const { cache, clock, source } = setUp();
    await cache.get();
    clock.advance(0.9 * TTL);
    const since = cache.prepare();
    expect(since).toEqual({ at: clock.now(), read: undefined });
    expect((await cache.get({ since })).state).toBe('HIT');
    expect(source.forced).toHaveLength(2);
  });

  test('and the answer is a HIT when the clock was set back to when the old value was fresh', async () => {
    const { cache, clock, source } = setUp();
    await cache.get();
    clock.advance(TTL);
    source.gate = never;
    const since = cache.prepare();
    clock.set(START + 1);
    const answer = await cache.get({ since });
    expect([answer.value.name, answer.state]).toEqual(['v1', 'HIT']);
  });

  test('counts as the start of the wait', async () => {
    const { cache, clock, source } = setUp();
    await cache.get();
    clock.advance(TTL);
    source.gate = never;
    const since = cache.prepare();
    cache.invalidate();
    clock.advance(400);
    expect((await cache.get({ since })).state).toBe('STALE');
    expect(clock.now() - since.at).toBe(1_000);
  });

  test('counts from now where the clock was set back', async () => {
    const { cache, clock, source } = setUp();
    await cache.get();
    clock.advance(2 * TTL);
    source.gate = never;
    const since = cache.prepare();
    clock.set(since.at - 500);
    const before = clock.now();
    expect((await cache.get({ since })).state).toBe('STALE');
    expect(clock.now() - before).toBe(1_000);
  });

  test('gives up a read that hangs', async () => {
    const { cache, clock, source } = setUp();
    source.gate = never;
    cache.prepare();
    source.gate = undefined;
    clock.advance(10_000);
    expect(cache.prepare().read).toBeUndefined();
    clock.advance(1_000);
    expect(cache.prepare().read).toBe(2);
    expect((await cache.get()).value.name).toBe('v2');
  });
});

describe('a value that must not be served any more', () => {
  const isFirst = ({ name }: { name: string }): boolean => name === 'v1';

  test.each(['discard', 'drop'] as const)('%s: is not served, whatever fails', async (method) => {
    const { cache, source } = setUp();
    await cache.get();
    source.failure = new Error('down');
    cache[method](isFirst);
    expect(cache.peek()).toBeUndefined();
    expect(cache.status().value).toBeUndefined();
    await expect(cache.get()).rejects.toBe(source.failure);
    source.failure = undefined;
  });

  test('discard: another is served as STALE, and only if there is no newer one', async () => {
    const { cache, source, clock } = setUp();
    await cache.get();
    source.failure = new Error('down');
    cache.discard(() => false);
    expect(cache.peek()).toBeUndefined();
    expect((await cache.get()).state).toBe('STALE');
    source.failure = undefined;
    clock.advance(1_000);
    cache.discard(() => false);
    expect((await cache.get()).value.name).toBe('v3');
  });

  test('drop: another stays fresh', async () => {
    const { cache, source } = setUp();
    await cache.get();
    cache.drop(() => false);
    expect(cache.peek()?.state).toBe('HIT');
    expect(source.forced).toHaveLength(1);
  });

  test('is looked for only where one is cached', async () => {
    const { cache } = setUp();
    const asked: unknown[] = [];
    const ask = (value: unknown): boolean => asked.push(value) > 9;
    cache.drop(ask);
    cache.discard(ask);
    expect(asked).toEqual([]);
    await cache.get();
    cache.drop(ask);
    expect(asked).toMatchObject([{ name: 'v1' }]);
  });

  test.each([
    ['discard', 'v2'],
    ['drop', 'v1'],
  ] as const)('%s, while a read is in flight: the next caller gets %s', async (method, name) => {
    const { cache, source } = setUp();
    const slow = gate();
    source.gate = slow.opened;
    const first = cache.get();
    cache[method](() => true);
    const next = cache.get();
    source.gate = undefined;
    slow.open();
    await first;
    expect((await next).value.name).toBe(name);
  });

  test('is served to nobody when it is dropped as it arrives', async () => {
    const { cache } = setUp({ observer: { readSucceeded: () => cache.drop(() => true) } });
    await expect(cache.get()).rejects.toMatchObject({
      code: 'TOKEN_EXPIRED',
      message: 'The token that was read has expired, or is about to. Rotate to write a new one.',
    });
  });
});

describe('refresh', () => {
  test('reads although the last read was just now, where the clock was set back', async () => {
    const { cache, clock, source } = setUp();
    await cache.get();
    clock.set(START - HOUR);
    cache.refresh(240_000);
    expect(source.forced).toEqual([false, false]);
  });

  test('reads although the last read was just now, where its value has no life left', async () => {
    const { cache, clock, source } = setUp();
    source.life = SKEW + 1_000;
    await cache.get();
    clock.advance(999);
    cache.refresh(240_000);
    expect(source.forced).toHaveLength(1);
    clock.advance(1);
    cache.refresh(240_000);
    expect(source.forced).toHaveLength(2);
  });

  test('does not read twice in an instant', async () => {
    const { cache, source } = setUp({ ttlMs: 0 });
    await cache.get();
    cache.refresh(1);
    expect(source.forced).toHaveLength(1);
    cache.refresh();
    expect(source.forced).toHaveLength(2);
  });
});
