import { expect, test } from '@jest/globals';
import { Episodes } from '../../src/composition/observers.js';

test('a state is logged when it begins, each five minutes, when it changes, and when it ends', () => {
  let now = 0;
  const episodes = new Episodes(() => now);
  expect(episodes.areLasting).toBe(false);
  expect(episodes.happened('token', 'A')).toEqual({});
  expect(episodes.areLasting).toBe(true);
  for (now = 1; now < 300_000; now += 1_000)
    expect(episodes.happened('token', 'A')).toBeUndefined();
  now = 300_000;
  expect(episodes.happened('token', 'A')).toEqual({ times: 302, lastedSeconds: 300 });
  expect(episodes.happened('token', 'A')).toBeUndefined();
  expect(episodes.happened('token', 'B')).toEqual({ times: 304, lastedSeconds: 300 });
  expect(episodes.happened('other', 'B')).toEqual({});
  now = 310_500;
  expect(episodes.ended('token')).toEqual({ times: 304, lastedSeconds: 310 });
  expect(episodes.ended('token')).toBeUndefined();
  expect(episodes.happened('token', 'B')).toEqual({});
});

test('however many states there are, memory is bounded', () => {
  const episodes = new Episodes(() => 0);
  for (let count = 0; count < 2_000; count += 1) episodes.happened(`state ${count}`);
  expect(episodes.ended('state 999')).toBeUndefined();
  expect(episodes.ended('state 1000')).toEqual({ times: 1, lastedSeconds: 0 });
});
