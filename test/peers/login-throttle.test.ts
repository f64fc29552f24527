import { describe, expect, test } from '@jest/globals';
import { LoginThrottle, type LoginThrottleOptions } from '../../src/peers/login-throttle.js';
import { VirtualClock } from '../support/virtual-clock.js';

function setUp(options: Partial<LoginThrottleOptions> = {}) {
  const clock = new VirtualClock();
  const throttle = new LoginThrottle({ clock, perPeer: 3, perAddress: 5, ...options });
  const fails = (address: string, id: string | undefined, times: number): (number | undefined)[] =>
    Array.from({ length: times }, () => throttle.fail(address, id));
  return { clock, throttle, fails };
}

describe('LoginThrottle', () => {
  test('refuses after so many failures of one address with one id, until the window ends', () => {
    const { clock, fails } = setUp();
    expect(fails('10.0.0.1', 'orders', 3)).toEqual([undefined, undefined, undefined]);
    clock.advance(20_500);
    expect(fails('10.0.0.1', 'orders', 1)).toEqual([40]);
    clock.advance(39_500);
    expect(fails('10.0.0.1', 'orders', 1)).toEqual([undefined]);
  });

  test('each window counts anew, and its end belongs to the next', () => {
    const { clock, fails } = setUp();
    for (let window = 0; window < 3; window += 1) {
      expect(fails('10.0.0.1', 'orders', 4)).toEqual([undefined, undefined, undefined, 60]);
      clock.advance(59_999);
      expect(fails('10.0.0.1', 'orders', 1)).toEqual([1]);
      clock.advance(1);
    }
  });

  test('counts addresses and ids apart', () => {
    const { fails } = setUp();
    fails('10.0.0.1', 'orders', 3);
    expect(fails('10.0.0.1', 'billing', 1)).toEqual([undefined]);
    expect(fails('10.0.0.2', 'orders', 3)).toEqual([undefined, undefined, undefined]);
  });

  test('counts an address whatever the id', () => {
    const { fails } = setUp();
    const ids = ['a', 'b', 'c', 'd', 'e', 'f'];
    expect(ids.flatMap((id) => fails('10.0.0.1', id, 1))).toEqual([
      ...Array<undefined>(5).fill(undefined),
      60,
    ]);
  });

  test('ids that no peer can have share one counter', () => {
    const { fails, throttle } = setUp();
    fails('10.0.0.1', 'x'.repeat(10_000), 1);
    fails('10.0.0.1', 'not an id', 1);
    fails('10.0.0.1', undefined, 1);
    expect(throttle.size).toBe(2);
    expect(fails('10.0.0.1', '\n', 1)).toEqual([60]);
  });

  test('keeps a bounded number of counters, those used last', () => {
    const { fails, throttle } = setUp({ capacity: 100, perAddress: 1_000_000 });
    fails('10.0.0.1', 'orders', 3);
    for (let count = 0; count < 10_000; count += 1) {
      throttle.fail(`10.1.${count >> 8}.${count & 255}`, `id-${count}`);
      if (count % 50 === 0) expect(fails('10.0.0.1', 'orders', 1)).toEqual([60]);
    }
    expect(throttle.size).toBe(200);
  });

  test('a clock that is set back begins a new window', () => {
    const { clock, fails } = setUp();
    fails('10.0.0.1', 'orders', 4);
    clock.set(clock.now() - 3_600_000);
    expect(fails('10.0.0.1', 'orders', 1)).toEqual([undefined]);
  });
});
