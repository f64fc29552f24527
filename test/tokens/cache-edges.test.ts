import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import { CacheError, expiredReadAt } from '../../src/tokens/refreshing-cache.js';
import { gate, HOUR, never, noteReads, setUp, SKEW, START, TTL, turn } from './cache-fixture.js';

describe('what is seen of a cache', () => {
  test('is nothing before the first read', () => {
    expect(setUp().cache.status()).toEqual({
      value: undefined,
      readAt: undefined,
      expiresAt: undefined,
      consecutiveFailures: 0,
      lastError: undefined,
      failedAt: undefined,
    });
  });

  test('is what was read, when, and until when it lives', async () => {
    const { cache } = setUp();
    await cache.get();
    expect(cache.status()).toMatchObject({
      value: { name: 'v1' },
      readAt: START,
      expiresAt: START + 24 * HOUR,
    });
  });

  test('is when a read found an expired value, and of no other failure', async () => {
    const { cache, clock, source } = setUp();
    expect(expiredReadAt(cache.status())).toBeUndefined();
    source.life = SKEW;
    clock.advance(7);
    await expect(cache.get()).rejects.toBeInstanceOf(CacheError);
    expect(expiredReadAt(cache.status())).toBe(START + 7);
    source.failure = new Error('down');
    clock.advance(1_000);
    await expect(cache.get()).rejects.toBe(source.failure);
    expect(expiredReadAt(cache.status())).toBeUndefined();
  });
});

describe('an observer', () => {
  let warn: jest.SpiedFunction<typeof process.emitWarning>;
  beforeEach(() => {
    warn = jest.spyOn(process, 'emitWarning').mockImplementation(() => undefined);
  });
  afterEach(() => warn.mockRestore());

  test('is told how long each read took, and of each failure', async () => {
    const { notes, observer } = noteReads();
    const { cache, clock, source } = setUp({ observer });
    const slow = gate();
    source.gate = slow.opened;
    const first = cache.get();
    clock.advance(250);
    slow.open();
    await first;
    source.gate = undefined;
    source.failure = new Error('down');
    for (const pause of [TTL, 1_000]) {
      clock.advance(pause);
      await cache.get();
      await turn();
    }
    expect(notes).toEqual([
      ['succeeded', 250],
      ['failed', source.failure, 1],
      ['failed', source.failure, 2],
    ]);
  });

  test('is told of no time below zero when the clock was set back meanwhile', async () => {
    const { notes, observer } = noteReads();
    const { cache, clock, source } = setUp({ observer });
    const slow = gate();
    source.gate = slow.opened;
    const first = cache.get();
    clock.set(START - 5);
    slow.open();
    await first;
    expect(notes).toEqual([['succeeded', 0]]);
  });

  test('need not want to know everything', async () => {
    const { cache, clock, source } = setUp({ observer: {} });
    await cache.get();
    source.failure = new Error('down');
    clock.advance(TTL);
    await cache.get();
    expect(warn).not.toHaveBeenCalled();
  });

  test('is told nothing of a read that was given up before', async () => {
    const { notes, observer } = noteReads();
    const { cache, clock, source } = setUp({ observer });
    const hung = gate();
    source.gate = hung.opened;
    source.failure = new Error('too late');
    const first = cache.get();
    source.gate = source.failure = undefined;
    clock.advance(10_000);
    const timeOut = 'A read did not end within 10 s, and was given up.';
    await expect(Promise.any([cache.get(), first])).rejects.toMatchObject({
      errors: [{ message: timeOut }, { message: timeOut }],
    });
    source.gate = never;
    clock.advance(1_000);
    cache.refresh();
    hung.open();
    await turn();
    expect(notes).toMatchObject([['failed', { code: 'READ_TIMEOUT' }, 1]]);
    expect(cache.status().consecutiveFailures).toBe(1);
    // The read that has replaced it is still the one in flight.
    clock.advance(5_000);
    cache.refresh();
    expect(source.forced).toHaveLength(2);
  });
});

describe('retry', () => {
  test('says how long the read took that it replaces, and counts on', async () => {
    const { cache, clock, source } = setUp();
    source.failure = new Error('down');
    await expect(cache.get()).rejects.toBe(source.failure);
    clock.advance(1_000);
    source.gate = never;
    cache.refresh();
    clock.advance(3_000);
    cache.retry();
    expect(cache.status()).toMatchObject({
      consecutiveFailures: 2,
      lastError: { message: 'A read did not end within 3 s, and was given up.' },
      failedAt: clock.now(),
    });
    expect(source.forced).toHaveLength(3);
  });
});

describe('a value at the end of its life', () => {
  test('is not served when the read fails at just that instant', async () => {
    const { cache, clock, source } = setUp();
    source.life = TTL + SKEW + 500;
    await cache.get();
    clock.advance(TTL);
    const slow = gate();
    source.gate = slow.opened;
    source.failure = new Error('down');
    const asked = cache.get();
    clock.advance(500);
    slow.open();
    await expect(asked).rejects.toBe(source.failure);
  });

  test('is not served as STALE because it was invalidated', async () => {
    const { cache, clock, source } = setUp();
    await cache.get();
    cache.invalidate();
    source.failure = new Error('down');
    clock.advance(24 * HOUR);
    await expect(cache.get()).rejects.toBe(source.failure);
    expect(cache.peek()).toBeUndefined();
    await expect(cache.get()).rejects.toBe(source.failure);
  });
});

describe('invalidate', () => {
  test('a caller does not take the wait of others for an older read for its own', async () => {
    const { cache, clock, source } = setUp();
    await cache.get();
    clock.advance(TTL);
    source.gate = never;
    await cache.get();
    clock.advance(1_000);
    expect(cache.peek()?.state).toBe('STALE');
    cache.invalidate();
    expect(cache.peek()).toBeUndefined();
    const before = clock.now();
    expect((await cache.get()).state).toBe('STALE');
    expect(clock.now() - before).toBe(1_000);
  });

  test('callers wait for the first read after it together, a second in all', async () => {
    const { cache, clock, source } = setUp();
    await cache.get();
    source.gate = never;
    cache.invalidate();
    const first = cache.get();
    clock.advance(400);
    const answers = await Promise.all([first, cache.get()]);
    expect(answers.map(({ state }) => state)).toEqual(['STALE', 'STALE']);
    expect(clock.now() - START).toBe(1_000);
  });
});

describe('more life', () => {
  test.each([
    ['alone is taken from any read', {}, 'v2'],
    ['and a forced read are taken from the next one', { force: true }, 'v3'],
  ])('%s', async (_what, request, name) => {
    const { cache, clock, source } = setUp();
    source.life = HOUR;
    await cache.get();
    clock.advance(0.9 * TTL);
    const slow = gate();
    source.gate = slow.opened;
    source.life = 24 * HOUR;
    await cache.get();
    clock.advance(5_000);
    const asked = cache.get({ minTtlMs: 2 * HOUR, ...request });
    source.gate = undefined;
    slow.open();
    expect((await asked).value.name).toBe(name);
  });

  test('is not read for when the value has just so much', async () => {
    const { cache, clock, source } = setUp();
    await cache.get();
    clock.advance(2_000);
    const enough = 24 * HOUR - 2_000;
    expect((await cache.get({ minTtlMs: enough })).state).toBe('HIT');
    expect(source.forced).toEqual([false]);
    expect((await cache.get({ minTtlMs: enough + 1 })).state).toBe('REFRESH');
    expect(source.forced).toEqual([false, true]);
  });

  test('is counted from the read of the value, and why there is none is said', async () => {
    const { cache, clock, source } = setUp({ expiresAt: (_, readAt) => readAt + HOUR });
    await cache.get();
    source.failure = new Error('down');
    clock.advance(HOUR / 2);
    await expect(cache.get({ minTtlMs: 0.75 * HOUR })).rejects.toMatchObject({
      code: 'TOKEN_LIFE_TOO_SHORT',
      message:
        'The token has 1800 s left, and 2700 s were asked for. Ask for less, or again after the next rotation.',
      cause: source.failure,
    });
  });
});
