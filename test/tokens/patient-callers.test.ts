import { describe, expect, test } from '@jest/globals';
import { gate, never, setUp, START, TTL } from './cache-fixture.js';

const PATIENT = { force: true, patient: true };

describe('a patient caller', () => {
  test('waits for the rest of the second after an ordinary read, and reads again', async () => {
    const { cache, clock, source } = setUp();
    await cache.get();
    clock.advance(300);
    const answer = await cache.get(PATIENT);
    expect([answer.value.name, answer.state]).toEqual(['v2', 'REFRESH']);
    expect(clock.now() - START).toBe(1_000);
    expect(source.forced).toEqual([false, true]);
  });

  test.each([{ force: true }, { patient: true }, { force: false, patient: true }])(
    'is none with %j, and is served at once',
    async (request) => {
      const { cache, clock, source } = setUp();
      await cache.get();
      expect((await cache.get(request)).state).toBe('HIT');
      expect([clock.now(), source.forced]).toEqual([START, [false]]);
    },
  );

  test('does not wait a second time for who forces read after read', async () => {
    const { cache, clock, source } = setUp();
    await cache.get();
    clock.advance(1_000);
    expect((await cache.get({ force: true })).value.name).toBe('v2');
    expect((await cache.get(PATIENT)).value.name).toBe('v2');
    expect([clock.now() - START, source.forced]).toEqual([1_000, [false, true]]);
  });

  test('does not wait once the second is over', async () => {
    const { cache, clock } = setUp();
    await cache.get();
    clock.advance(1_000);
    expect((await cache.get(PATIENT)).value.name).toBe('v2');
    expect(clock.now() - START).toBe(1_000);
  });

  test('shares the pause and the read with others, and the next pause is another', async () => {
    const { cache, clock, source } = setUp();
    let sleeps = 0;
    const sleep = clock.sleep.bind(clock);
    clock.sleep = (milliseconds, signal) => {
      // Those of a caller who waits for a read have a signal.
      if (signal === undefined) sleeps += 1;
      return sleep(milliseconds, signal);
    };
    await cache.get();
    const answers = await Promise.all([cache.get(PATIENT), cache.get(PATIENT), cache.get(PATIENT)]);
    expect(answers.map(({ value }) => value.name)).toEqual(['v2', 'v2', 'v2']);
    expect([sleeps, source.forced]).toEqual([1, [false, true]]);
    clock.advance(TTL);
    await cache.get();
    const before = clock.now();
    expect((await cache.get(PATIENT)).value.name).toBe('v4');
    expect([sleeps, clock.now() - before]).toEqual([2, 1_000]);
  });

  test('waits on where a timer ends early', async () => {
    const { cache, clock, source } = setUp();
    const sleep = clock.sleep.bind(clock);
    clock.sleep = (milliseconds, signal) => sleep(Math.ceil(milliseconds / 2), signal);
    await cache.get();
    expect((await cache.get(PATIENT)).value.name).toBe('v2');
    expect([clock.now() - START, source.forced]).toEqual([1_000, [false, true]]);
  });

  test.each([
    ['at once where it would be longer than allowed', 499, 'v1', 499],
    ['after the longest that is allowed', 500, 'v2', 1_000],
  ])('is served %s', async (_what, after, name, until) => {
    const { cache, clock } = setUp({ patienceMs: 500 });
    await cache.get();
    clock.advance(after);
    expect((await cache.get(PATIENT)).value.name).toBe(name);
    expect(clock.now() - START).toBe(until);
  });

  test('keeps what a forced read gave, also when it gave the same', async () => {
    const { cache, clock, source } = setUp({ isSame: () => true });
    await cache.get();
    const answer = await cache.get(PATIENT);
    expect([answer.value.name, answer.state]).toEqual(['v2', 'REFRESH']);
    expect([clock.now() - START, source.forced]).toEqual([1_000, [false, true]]);
  });

  test('waits as long as reads are apart', async () => {
    const { cache, clock } = setUp({ forceIntervalMs: 7_000 });
    await cache.get();
    expect((await cache.get(PATIENT)).value.name).toBe('v2');
    expect(clock.now() - START).toBe(7_000);
  });

  test.each([{}, { patienceMs: 5_000 }])(
    'does not wait for a clock set back: %j',
    async (options) => {
      const { cache, clock } = setUp(options);
      await cache.get();
      clock.set(START - 500);
      expect((await cache.get(PATIENT)).value.name).toBe('v2');
      expect(clock.now()).toBe(START - 500);
    },
  );

  test('does not wait while nothing is cached', async () => {
    const { cache, clock, source } = setUp();
    source.failure = new Error('down');
    await expect(cache.get()).rejects.toBe(source.failure);
    await expect(cache.get(PATIENT)).rejects.toBe(source.failure);
    expect([clock.now(), source.forced]).toEqual([START, [false]]);
    const cold = setUp();
    expect((await cold.cache.get(PATIENT)).state).toBe('MISS');
    expect(cold.clock.now()).toBe(START);
  });

  test.each([
    ['the same', true, ['v3', 1_000, 3]],
    ['another', false, ['v2', 0, 2]],
  ])('that joins an ordinary read which gives %s', async (_what, isSame, expected) => {
    const { cache, clock, source } = setUp({ isSame: () => isSame });
    await cache.get();
    clock.advance(0.9 * TTL);
    const slow = gate();
    source.gate = slow.opened;
    await cache.get();
    const before = clock.now();
    const asked = cache.get(PATIENT);
    source.gate = undefined;
    slow.open();
    const { value } = await asked;
    expect([value.name, clock.now() - before, source.forced.length]).toEqual(expected);
  });

  test('knows the same value by its identity', async () => {
    const value = { name: 'same', expiresAt: Number.POSITIVE_INFINITY };
    let reads = 0;
    const { cache, clock } = setUp({
      read: async () => {
        reads += 1;
        return value;
      },
    });
    await cache.get();
    clock.advance(0.9 * TTL);
    await Promise.all([cache.get(), cache.get(PATIENT)]);
    expect(reads).toBe(3);
  });

  test('is served what is cached while the read that it waits for hangs', async () => {
    const { cache, source } = setUp();
    await cache.get();
    source.gate = never;
    const answer = await cache.get(PATIENT);
    expect([answer.value.name, answer.state]).toEqual(['v1', 'STALE']);
  });
});
