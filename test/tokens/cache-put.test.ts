import { describe, expect, test } from '@jest/globals';
import {
  gate,
  HOUR,
  never,
  noteReads,
  setUp,
  SKEW,
  START,
  TTL,
  turn,
  type Value,
} from './cache-fixture.js';

const brought = (life = 24 * HOUR, at = START): Value => ({ name: 'put', expiresAt: at + life });

describe('a value that is put', () => {
  test('is fresh from then on, and is a read to the observer', async () => {
    const { notes, observer } = noteReads();
    const { cache, clock, source } = setUp({ observer });
    cache.put(brought());
    expect(notes).toEqual([['succeeded', 0]]);
    clock.advance(0.8 * TTL - 1);
    expect(cache.peek()).toMatchObject({ value: { name: 'put' }, state: 'HIT', readAt: START });
    expect(source.forced).toEqual([]);
    clock.advance(TTL);
    expect((await cache.get()).value.name).toBe('v1');
  });

  test('replaces one that was invalidated, and ends failures', async () => {
    const { cache, clock, source } = setUp();
    await cache.get();
    source.failure = new Error('down');
    clock.advance(TTL);
    await cache.get();
    cache.invalidate();
    cache.put(brought(24 * HOUR, clock.now()));
    expect(cache.peek()?.value.name).toBe('put');
    expect(cache.status()).toMatchObject({ consecutiveFailures: 0, lastError: undefined });
    expect(source.forced).toHaveLength(2);
  });

  test.each([
    ['has expired', -1],
    ['is about to expire', SKEW],
    ['has no expiry', Number.NaN],
  ])('and %s changes nothing', async (_what, life) => {
    const { notes, observer } = noteReads();
    const { cache, clock, source } = setUp({ observer });
    await cache.get();
    clock.advance(TTL);
    const slow = gate();
    source.gate = slow.opened;
    const read = cache.get();
    const before = cache.status();
    cache.put(brought(life, clock.now()));
    expect(cache.status()).toEqual(before);
    slow.open();
    // The read in flight is still the one that all wait for.
    expect(await read).toMatchObject({ value: { name: 'v2' }, state: 'REFRESH' });
    expect(source.forced).toHaveLength(2);
    expect(notes).toHaveLength(2);
  });
});

describe('a value that is put during a read', () => {
  test.each(['get', 'force'] as const)('ends it at once for who waits: %s', async (how) => {
    const { cache, clock, source } = setUp();
    await cache.get();
    clock.advance(TTL);
    source.gate = never;
    const waiting = [cache.get(), cache.get({ force: how === 'force', waitMs: HOUR })];
    await turn();
    const since = clock.now();
    cache.put(brought(24 * HOUR, since));
    for (const answer of await Promise.all(waiting)) {
      expect(answer).toMatchObject({ value: { name: 'put' }, state: 'REFRESH', readAt: since });
    }
    // Nobody has to wait for the read that hangs, nor is there another one.
    expect(cache.peek()?.state).toBe('HIT');
    expect(source.forced).toHaveLength(2);
  });

  test('serves who forces a read while another is in flight', async () => {
    const { cache, clock, source } = setUp();
    await cache.get();
    clock.advance(TTL);
    source.gate = never;
    cache.refresh();
    clock.advance(1_000);
    const forced = cache.get({ force: true, waitMs: HOUR });
    cache.put(brought(24 * HOUR, clock.now()));
    expect((await forced).value.name).toBe('put');
    expect(source.forced).toHaveLength(2);
  });

  test('serves who had nothing', async () => {
    const { cache, source } = setUp();
    source.gate = never;
    const cold = cache.get();
    const since = cache.prepare();
    cache.put(brought());
    expect(await cold).toMatchObject({ value: { name: 'put' }, state: 'MISS' });
    expect((await cache.get({ since })).state).toBe('MISS');
  });

  test.each([
    ['a value', undefined],
    ['a failure', new Error('too late')],
  ])('makes it end without effect: %s', async (_what, failure) => {
    const { notes, observer } = noteReads();
    const { cache, source } = setUp({ observer });
    const hung = gate();
    source.gate = hung.opened;
    source.failure = failure;
    const first = cache.get();
    cache.put(brought());
    await first;
    hung.open();
    await turn();
    expect(cache.status()).toMatchObject({ value: { name: 'put' }, consecutiveFailures: 0 });
    expect(notes).toEqual([['succeeded', 0]]);
  });

  test('leaves one read in flight at a time, and one forced read a second', async () => {
    const { cache, clock, source } = setUp();
    source.gate = never;
    void cache.get();
    cache.put(brought());
    source.gate = undefined;
    // The read that it has ended was asked for just now.
    expect((await cache.get({ force: true })).value.name).toBe('put');
    clock.advance(1_000);
    const slow = gate();
    source.gate = slow.opened;
    const forced = [cache.get({ force: true }), cache.get({ force: true })];
    slow.open();
    expect((await Promise.all(forced)).map(({ value }) => value.name)).toEqual(['v2', 'v2']);
    expect(source.forced).toEqual([false, true]);
  });

  test('does not spare a patient caller who was refused with it', async () => {
    const { cache, clock, source } = setUp();
    source.gate = never;
    void cache.get();
    cache.put(brought());
    source.gate = undefined;
    const before = clock.now();
    expect((await cache.get({ force: true, patient: true })).value.name).toBe('v2');
    expect(clock.now() - before).toBe(1_000);
  });
});

describe('a life that is a span, where the clock is set back', () => {
  const span = { expiresAt: (_: Value, readAt: number) => readAt + 10 * HOUR, skewMs: 0 };
  const down = new Error('down');

  test.each([
    ['to before the read', 6],
    ['to after the read', 2],
  ])('%s: what has passed of it counts', async (_what, hours) => {
    const { cache, clock, source } = setUp(span);
    await cache.get();
    source.failure = down;
    clock.advance(4 * HOUR);
    await cache.get();
    clock.set(clock.now() - hours * HOUR);
    cache.peek();
    clock.advance(6 * HOUR - 1);
    expect((await cache.get()).state).toBe('STALE');
    expect(cache.status().expiresAt).toBe(clock.now() + 1);
    clock.advance(1);
    await expect(cache.get()).rejects.toBe(down);
  });

  test('several times: each counts once', async () => {
    const { cache, clock, source } = setUp(span);
    await cache.get();
    source.failure = down;
    for (let hour = 0; hour < 9; hour += 1) {
      clock.advance(HOUR);
      expect((await cache.get()).state).toBe('STALE');
      clock.set(clock.now() - 3 * HOUR);
      expect(cache.status().expiresAt).toBe(clock.now() + (9 - hour) * HOUR);
    }
    clock.advance(HOUR);
    await expect(cache.get()).rejects.toBe(down);
  });

  test('during the read, it counts from the end of the read', async () => {
    const { cache, clock, source } = setUp(span);
    const slow = gate();
    source.gate = slow.opened;
    const first = cache.get();
    clock.set(START - 100 * HOUR);
    slow.open();
    await first;
    expect(cache.status().expiresAt).toBe(clock.now() + 10 * HOUR);
  });

  test('no caller gets less life than it asks for', async () => {
    const { cache, clock, source } = setUp(span);
    await cache.get();
    source.failure = down;
    clock.set(START - 100 * HOUR);
    await cache.get({ minTtlMs: 10 * HOUR });
    clock.advance(HOUR);
    await expect(cache.get({ minTtlMs: 10 * HOUR })).rejects.toMatchObject({
      code: 'TOKEN_LIFE_TOO_SHORT',
      message: expect.stringContaining('has 32400 s left'),
    });
  });

  test('an instant stays what it was', async () => {
    const { cache, clock } = setUp();
    await cache.get();
    clock.set(START - HOUR);
    expect(cache.status().expiresAt).toBe(START + 24 * HOUR);
  });
});
