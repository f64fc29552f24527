import { describe, expect, jest, test } from '@jest/globals';
import { BrokerError } from '../../src/tokens/errors.js';
import { gate, HOUR, never, setUp, SKEW, START, TTL, turn } from './cache-fixture.js';

const storeDown = (): BrokerError => new BrokerError('STORE_DOWN', 'retry', 'The store is down.');

describe('a healthy source', () => {
  test('the first caller waits, the next are served from the cache', async () => {
    const { cache, source, clock } = setUp();
    expect(cache.peek()).toBeUndefined();
    expect(await cache.get()).toEqual({
      value: expect.objectContaining({ name: 'v1' }),
      readAt: START,
      state: 'MISS',
    });
    clock.advance(1_000);
    expect((await cache.get()).state).toBe('HIT');
    expect(cache.peek()).toBe(cache.peek());
    expect(cache.peek()?.state).toBe('HIT');
    expect(source.forced.length).toBe(1);
  });

  test('however many callers, one read', async () => {
    const { cache, source } = setUp();
    const answers = await Promise.all(Array.from({ length: 500 }, () => cache.get()));
    expect(new Set(answers.map(({ value }) => value.name))).toEqual(new Set(['v1']));
    expect(source.forced.length).toBe(1);
  });

  test('from 80 % of the time to live it reads behind the answer', async () => {
    const { cache, source, clock } = setUp();
    await cache.get();
    clock.advance(0.8 * TTL - 1);
    expect(cache.peek()?.value.name).toBe('v1');
    clock.advance(1);
    expect(cache.peek()).toBeUndefined();
    const answer = await cache.get();
    expect([answer.value.name, answer.state]).toEqual(['v1', 'HIT']);
    await turn();
    expect(source.forced.length).toBe(2);
    expect(cache.peek()?.value.name).toBe('v2');
  });

  test('while it reads behind, a synchronous answer needs no further read', async () => {
    const { cache, source, clock } = setUp();
    await cache.get();
    clock.advance(0.9 * TTL);
    const { opened, open } = gate();
    source.gate = opened;
    await cache.get();
    expect(cache.peek()?.value.name).toBe('v1');
    open();
    await turn();
    expect(cache.peek()?.value.name).toBe('v2');
    expect(source.forced.length).toBe(2);
  });

  test('the jitter moves the start of the refresh towards the time to live', async () => {
    const { cache, clock } = setUp({ random: () => 0.5 });
    await cache.get();
    clock.advance(0.9 * TTL - 1);
    expect(cache.peek()?.state).toBe('HIT');
    clock.advance(1);
    expect(cache.peek()).toBeUndefined();
  });

  test('past the time to live callers wait for one shared read', async () => {
    const { cache, source, clock } = setUp();
    await cache.get();
    clock.advance(TTL);
    const answers = await Promise.all([cache.get(), cache.get()]);
    expect(answers.map(({ state, value }) => [state, value.name])).toEqual([
      ['REFRESH', 'v2'],
      ['REFRESH', 'v2'],
    ]);
    expect(source.forced.length).toBe(2);
  });

  test('a clock that is set back leads to a read, not to a token that looks young for as long as the jump', async () => {
    const { cache, clock } = setUp();
    await cache.get();
    clock.set(START - HOUR);
    expect((await cache.get()).value.name).toBe('v2');
    expect((await cache.get()).state).toBe('HIT');
  });
});

describe('a failing source', () => {
  test('within the time to live nobody notices, and the observer is told', async () => {
    const readFailed = jest.fn();
    const { cache, source, clock } = setUp({ observer: { readFailed } });
    await cache.get();
    source.failure = storeDown();
    clock.advance(0.9 * TTL);
    expect((await cache.get()).state).toBe('HIT');
    await turn();
    expect(readFailed).toHaveBeenCalledWith(source.failure, 1);
    expect(cache.status()).toMatchObject({
      consecutiveFailures: 1,
      lastError: source.failure,
      failedAt: clock.now(),
    });
    expect((await cache.get()).state).toBe('HIT');
  });

  test('past the time to live the cached value is served as STALE, with retries that back off', async () => {
    const { cache, source, clock } = setUp();
    await cache.get();
    source.failure = storeDown();
    clock.advance(TTL);
    const answer = await cache.get();
    expect([answer.value.name, answer.state]).toEqual(['v1', 'STALE']);
    expect(cache.peek()?.state).toBe('STALE');
    const attempts: number[] = [];
    const from = clock.now();
    for (let second = 0; second < 120; second += 1) {
      clock.advance(1_000);
      const before = source.forced.length;
      expect((await cache.get()).state).toBe('STALE');
      await turn();
      if (source.forced.length > before) attempts.push((clock.now() - from) / 1_000);
    }
    expect(attempts).toEqual([1, 3, 7, 15, 31, 61, 91]);
    source.failure = undefined;
    clock.advance(30_000);
    await cache.get();
    await turn();
    expect((await cache.get()).state).toBe('HIT');
    expect(cache.status()).toMatchObject({ consecutiveFailures: 0, failedAt: undefined });
  });

  test('a failure of long ago does not keep the next caller from waiting for a new read', async () => {
    const { cache, source, clock } = setUp();
    await cache.get();
    source.failure = storeDown();
    clock.advance(TTL);
    await cache.get();
    source.failure = undefined;
    clock.advance(HOUR);
    expect((await cache.get()).state).toBe('REFRESH');
  });

  test('a value is not served when its life is under the skew, whatever the source does', async () => {
    const { cache, source, clock } = setUp();
    source.life = 400_000;
    await cache.get();
    source.failure = storeDown();
    clock.advance(400_000 - SKEW - 1);
    expect((await cache.get()).state).toBe('STALE');
    clock.advance(1);
    expect(cache.peek()).toBeUndefined();
    await expect(cache.get()).rejects.toThrow('The store is down.');
  });

  test('a cold cache remembers the failure for a second', async () => {
    const { cache, source, clock } = setUp();
    source.failure = storeDown();
    await expect(cache.get()).rejects.toBe(source.failure);
    clock.advance(999);
    await expect(cache.get()).rejects.toBe(source.failure);
    expect(source.forced.length).toBe(1);
    clock.advance(1);
    await expect(cache.get()).rejects.toBe(source.failure);
    expect(source.forced.length).toBe(2);
    source.failure = undefined;
    clock.advance(1_000);
    expect((await cache.get()).state).toBe('MISS');
  });

  test('a failure is forgotten when the clock was set back before it', async () => {
    const { cache, source, clock } = setUp();
    source.failure = storeDown();
    await expect(cache.get()).rejects.toBe(source.failure);
    source.failure = undefined;
    clock.set(START - HOUR);
    expect((await cache.get()).state).toBe('MISS');
  });

  test('a life that is counted from the read ends no later when the clock is set back', async () => {
    const { cache, source, clock } = setUp({
      expiresAt: (_, readAt) => readAt + 24 * HOUR,
      skewMs: 0,
    });
    await cache.get();
    source.failure = storeDown();
    clock.set(START - 1_000 * HOUR);
    expect((await cache.get()).state).toBe('STALE');
    clock.advance(24 * HOUR - 1);
    expect((await cache.get()).state).toBe('STALE');
    clock.advance(1);
    await expect(cache.get()).rejects.toBe(source.failure);
    expect(cache.peek()).toBeUndefined();
  });

  test('a read that hangs is given up although the clock was set back since it began', async () => {
    const { cache, source, clock } = setUp();
    source.gate = new Promise(() => undefined);
    const first = cache.get();
    source.gate = undefined;
    clock.set(START - HOUR);
    const outcomes = await Promise.allSettled([cache.get(), first]);
    const timeout = { status: 'rejected', reason: { code: 'READ_TIMEOUT' } };
    expect(outcomes).toMatchObject([timeout, timeout]);
    clock.advance(1_000);
    expect((await cache.get()).value.name).toBe('v2');
  });

  test('a read is not given up when the clock is set back a little', async () => {
    const { cache, source, clock } = setUp();
    const { opened, open } = gate();
    source.gate = opened;
    const answers = [cache.get()];
    clock.set(START - 5);
    answers.push(cache.get());
    open();
    expect((await Promise.all(answers)).map(({ value }) => value.name)).toEqual(['v1', 'v1']);
  });

  test.each([
    ['expired', -1],
    ['within the skew', SKEW],
    ['not a number', Number.NaN],
  ])(
    'a value that arrives %s is a failed read, and does not replace a good one',
    async (_, life) => {
      const { cache, source, clock } = setUp();
      await cache.get();
      source.life = life;
      clock.advance(TTL);
      const answer = await cache.get();
      expect([answer.value.name, answer.state]).toEqual(['v1', 'STALE']);
      const cold = setUp();
      cold.source.life = life;
      await expect(cold.cache.get()).rejects.toMatchObject({
        code: 'TOKEN_EXPIRED',
        kind: 'retry',
      });
    },
  );

  test('a read that throws before it returns a promise is a failed read', async () => {
    const { cache } = setUp({
      read: () => {
        throw storeDown();
      },
    });
    await expect(cache.get()).rejects.toThrow('The store is down.');
  });

  test('a read that hangs is given up when the next caller comes, and its late result is ignored', async () => {
    const { cache, source, clock } = setUp();
    await cache.get();
    clock.advance(TTL);
    const hanging = gate();
    source.gate = hanging.opened;
    const first = cache.get();
    clock.advance(10_000);
    source.gate = undefined;
    expect((await cache.get()).state).toBe('STALE');
    expect((await first).state).toBe('STALE');
    expect(cache.status().lastError).toMatchObject({ code: 'READ_TIMEOUT' });
    clock.advance(1_000);
    await cache.get();
    await turn();
    expect(cache.peek()?.value.name).toBe('v3');
    hanging.open();
    await turn();
    expect(cache.peek()?.value.name).toBe('v3');
  });

  test('an observer that throws breaks nothing, and is seen as a process warning', async () => {
    const emitWarning = jest.spyOn(process, 'emitWarning').mockImplementation(() => undefined);
    const mistake = new Error('observer');
    const fail = (): never => {
      throw mistake;
    };
    const { cache, source, clock } = setUp({
      observer: { readSucceeded: fail, readFailed: fail },
    });
    source.failure = storeDown();
    await expect(cache.get()).rejects.toBe(source.failure);
    source.failure = undefined;
    clock.advance(1_000);
    expect((await cache.get()).state).toBe('MISS');
    expect(emitWarning).toHaveBeenCalledTimes(2);
    expect(emitWarning).toHaveBeenCalledWith(
      'Error: observer',
      expect.objectContaining({ type: 'ObserverWarning', detail: mistake.stack }),
    );
    emitWarning.mockRestore();
  });
});

describe('a source that takes long, while the cached value may be served', () => {
  test('holds the first caller up for a second, later ones for the rest of it, and then nobody', async () => {
    const { cache, source, clock } = setUp();
    await cache.get();
    clock.advance(TTL);
    source.gate = never;
    const asked = clock.now();
    const first = cache.get();
    clock.advance(400);
    const answers = await Promise.all([first, cache.get()]);
    expect(answers.map(({ state, value }) => [state, value.name])).toEqual([
      ['STALE', 'v1'],
      ['STALE', 'v1'],
    ]);
    expect(clock.now() - asked).toBe(1_000);
    expect(cache.peek()?.state).toBe('STALE');
    expect((await cache.get()).state).toBe('STALE');
    expect(clock.now() - asked).toBe(1_000);
    expect(source.forced.length).toBe(2);
  });

  test('has its late value taken', async () => {
    const { cache, source, clock } = setUp();
    await cache.get();
    clock.advance(TTL);
    const slow = gate();
    source.gate = slow.opened;
    expect((await cache.get()).state).toBe('STALE');
    slow.open();
    await turn();
    expect(cache.peek()).toMatchObject({ state: 'HIT', value: { name: 'v2' } });
  });

  test.each([
    ['forced', { force: true }, 1_000],
    ['with its own patience', { force: true, waitMs: 5_000 }, 5_000],
    ['without patience', { waitMs: 0 }, 0],
  ])('a caller %s waits no longer', async (_, request, longest) => {
    const { cache, source, clock } = setUp();
    await cache.get();
    clock.advance(TTL);
    source.gate = never;
    const asked = clock.now();
    expect((await cache.get(request)).state).toBe('STALE');
    expect(clock.now() - asked).toBe(longest);
    expect(source.forced.length).toBe(2);
  });

  test('is given up at its time-out, and tried again behind the answers', async () => {
    const { cache, source, clock } = setUp();
    await cache.get();
    clock.advance(TTL);
    source.gate = never;
    await cache.get();
    clock.advance(9_000);
    source.gate = undefined;
    expect((await cache.get()).state).toBe('STALE');
    expect(cache.status().lastError).toMatchObject({ code: 'READ_TIMEOUT' });
    clock.advance(1_000);
    cache.refresh();
    await turn();
    expect(cache.peek()).toMatchObject({ state: 'HIT', value: { name: 'v3' } });
  });

  test('a caller whose cached value dies meanwhile waits on, and gets none that is dead', async () => {
    const { cache, source, clock } = setUp();
    source.life = TTL + SKEW + 500;
    await cache.get();
    clock.advance(TTL);
    const slow = gate();
    source.gate = slow.opened;
    source.life = HOUR;
    const asked = cache.get();
    clock.advance(1_001);
    await turn();
    await turn();
    slow.open();
    expect((await asked).value.name).toBe('v2');
  });

  test('who wants more life than the cached value has waits for the read', async () => {
    const { cache, source, clock } = setUp();
    source.life = HOUR;
    await cache.get();
    clock.advance(TTL);
    const slow = gate();
    source.gate = slow.opened;
    source.life = 24 * HOUR;
    const asked = cache.get({ minTtlMs: 2 * HOUR });
    const plain = cache.get();
    expect((await plain).state).toBe('STALE');
    slow.open();
    expect((await asked).value.name).toBe('v2');
    expect(source.forced.length).toBe(2);
  });
});

describe('a value that has expired', () => {
  test.each([{}, { force: true }, { minTtlMs: HOUR }])(
    'is replaced in one turn, also for a request with %j',
    async (request) => {
      const { cache, source, clock } = setUp();
      await cache.get();
      clock.advance(25 * HOUR);
      const slow = gate();
      source.gate = slow.opened;
      const first = cache.get();
      clock.advance(5_000);
      const second = cache.get(request);
      slow.open();
      const answers = await Promise.all([first, second]);
      expect(answers.map(({ value, state }) => [value.name, state])).toEqual([
        ['v2', 'MISS'],
        ['v2', 'MISS'],
      ]);
      expect(source.forced.length).toBe(2);
    },
  );

  test('does not make a plain request a forced one', async () => {
    const { cache, clock, source } = setUp();
    source.life = HOUR;
    await cache.get();
    clock.advance(2 * HOUR);
    await cache.get();
    clock.advance(2 * HOUR);
    await cache.get({ minTtlMs: 1_000 });
    clock.advance(2 * HOUR);
    await cache.get({ force: true });
    expect(source.forced).toEqual([false, false, false, true]);
  });
});
