import { describe, expect, jest, test } from '@jest/globals';
import { fc } from '../support/properties.js';
import { BrokerError } from '../../src/tokens/errors.js';
import {
  CacheError,
  RefreshingCache,
  type RefreshingCacheOptions,
} from '../../src/tokens/refreshing-cache.js';
import { VirtualClock } from '../support/virtual-clock.js';

interface Value {
  readonly name: string;
  readonly expiresAt: number;
}

const START = Date.parse('2026-11-22T12:00:00.000Z');
const HOUR = 3_600_000;
const TTL = 300_000;
const SKEW = 60_000;

/** A source whose reads the test ends by hand, or which end by themselves. */
function setUp(options: Partial<RefreshingCacheOptions<Value>> = {}) {
  const clock = new VirtualClock(START);
  const source = {
    reads: 0,
    inFlight: 0,
    maxInFlight: 0,
    life: 24 * HOUR,
    failure: undefined as Error | undefined,
    gate: undefined as Promise<void> | undefined,
  };
  const read = async (): Promise<Value> => {
    source.reads += 1;
    source.inFlight += 1;
    source.maxInFlight = Math.max(source.maxInFlight, source.inFlight);
    const { failure, reads } = source;
    const value = { name: `v${reads}`, expiresAt: clock.now() + source.life };
    try {
      await source.gate;
      if (failure) throw failure;
      return value;
    } finally {
      source.inFlight -= 1;
    }
  };
  const cache = new RefreshingCache<Value>({
    read,
    expiresAt: (value) => value.expiresAt,
    clock,
    random: () => 0,
    ...options,
  });
  return { cache, clock, source };
}

function gate(): { readonly opened: Promise<void>; readonly open: () => void } {
  let open = (): void => undefined;
  const opened = new Promise<void>((resolve) => (open = resolve));
  return { opened, open };
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
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
    expect(source.reads).toBe(1);
  });

  test('however many callers, one read', async () => {
    const { cache, source } = setUp();
    const answers = await Promise.all(Array.from({ length: 500 }, () => cache.get()));
    expect(new Set(answers.map(({ value }) => value.name))).toEqual(new Set(['v1']));
    expect(source.reads).toBe(1);
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
    expect(source.reads).toBe(2);
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
    expect(source.reads).toBe(2);
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
    expect(source.reads).toBe(2);
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
      const before = source.reads;
      expect((await cache.get()).state).toBe('STALE');
      await turn();
      if (source.reads > before) attempts.push((clock.now() - from) / 1_000);
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
    expect(source.reads).toBe(1);
    clock.advance(1);
    await expect(cache.get()).rejects.toBe(source.failure);
    expect(source.reads).toBe(2);
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
  const never = new Promise<void>(() => undefined);

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
    expect(source.reads).toBe(2);
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
    expect(source.reads).toBe(2);
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
    expect(source.reads).toBe(2);
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
      expect(source.reads).toBe(2);
    },
  );

  test('does not make a plain request a forced one', async () => {
    const asked: boolean[] = [];
    const clock = new VirtualClock(START);
    const cache = new RefreshingCache<Value>({
      read: async (forced) => {
        asked.push(forced);
        return { name: 'v', expiresAt: clock.now() + HOUR };
      },
      expiresAt: (value) => value.expiresAt,
      clock,
    });
    await cache.get();
    clock.advance(2 * HOUR);
    await cache.get();
    clock.advance(2 * HOUR);
    await cache.get({ minTtlMs: 1_000 });
    clock.advance(2 * HOUR);
    await cache.get({ force: true });
    expect(asked).toEqual([false, false, false, true]);
  });
});

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
    expect(source.reads).toBe(15);
  });

  test('reads no more often by itself where the time to live is short', async () => {
    const scene = setUp({ ttlMs: 5_000, skewMs: 5_000 });
    scene.cache.refresh(240_000);
    await turn();
    await live(scene, 3_599);
    expect(scene.source.reads).toBe(15);
  });

  test('tries again every 15 seconds at most while there is nothing to serve', async () => {
    const scene = setUp({ random: () => 0.99 });
    const { source, cache, clock } = scene;
    source.failure = storeDown();
    const attempts: number[] = [];
    await live(scene, 600, () => {
      if (source.reads > attempts.length) attempts.push(clock.now());
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
    const before = source.reads;
    await live(scene, 600);
    expect(cache.peek()?.state).toBe('STALE');
    expect(source.reads - before).toBe(24);
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
    expect(source.reads).toBe(2);
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
    expect(source.reads).toBe(1);
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
    expect(source.reads).toBe(2);
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
    expect(source.reads).toBe(1);
  });
});

describe('force', () => {
  test('tells the source whether a caller needs what no cache can give', async () => {
    const asked: boolean[] = [];
    const clock = new VirtualClock(START);
    const cache = new RefreshingCache<Value>({
      read: async (forced) => {
        asked.push(forced);
        return { name: 'v', expiresAt: clock.now() + HOUR };
      },
      expiresAt: (value) => value.expiresAt,
      clock,
      random: () => 0,
    });
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
    expect(asked).toEqual([false, false, true, true, false]);
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
    expect(source.reads).toBe(3);
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
    expect(source.reads).toBe(1);
  });

  test('reads again when the cached value does not', async () => {
    const { cache, source, clock } = setUp();
    await cache.get();
    clock.advance(1_000);
    expect((await cache.get({ minTtlMs: 24 * HOUR })).value.name).toBe('v2');
    expect(source.reads).toBe(2);
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
    expect(source.reads).toBe(2);
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
    expect(source.reads).toBe(2);
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
            const before = source.reads;
            cache.peek();
            cache.refresh(240_000);
            await Promise.all(Array.from({ length: callers }, () => cache.get()));
            await turn();
            if (source.reads > before) readAt.push(clock.now());
            expect(source.reads - before).toBeLessThanOrEqual(1);
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
    expect(source.reads).toBe(15);
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
