import { describe, expect, test } from '@jest/globals';
import { createSlots, spreadSlots } from '../../src/rotation/coverage.js';
import { createRotationGate, type Turn } from '../../src/rotation/rotation-gate.js';
import { fc } from '../support/properties.js';
import { VirtualClock } from '../support/virtual-clock.js';

const HOUR = 3_600_000;
const NOW = Date.parse('2026-11-22T12:00:00.000Z');

describe('slots of many tokens', () => {
  const name = fc.stringMatching(/^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$/);

  test('each name has its own delay, the same at every start, within an hour and half the interval', () => {
    fc.assert(
      fc.property(
        name,
        fc.constantFrom('0 3 * * *', '*/10 * * * *', '0 0,12 * * *', '30 0 */6 * * *'),
        fc.integer({ min: 0, max: 400 * 24 * HOUR }),
        (token, cron, later) => {
          const now = NOW + later;
          const slots = createSlots(cron);
          const [spread, again] = [
            spreadSlots(slots, token),
            spreadSlots(createSlots(cron), token),
          ];
          const start = spread.startOf(now);
          const next = spread.nextAfter(now);
          expect([again.startOf(now), again.nextAfter(now)]).toEqual([start, next]);
          expect(start).toBeLessThanOrEqual(now);
          expect(next).toBeGreaterThan(now);
          expect(spread.startOf(next)).toBe(next);
          // Measured from the slot of the expression that it belongs to.
          const delay = next - slots.startOf(next);
          expect(delay).toBeGreaterThanOrEqual(0);
          expect(delay).toBeLessThan(cron.startsWith('*/10') ? 300_000 : HOUR);
          expect(spread.longestPeriod(now)).toBe(slots.longestPeriod(now));
        },
      ),
      { numRuns: 60 },
    );
  });

  test('a thousand names fill the hour evenly', () => {
    const slots = createSlots('0 3 * * *');
    const minutes = new Map<number, number>();
    for (let index = 0; index < 1_000; index += 1) {
      const delay = spreadSlots(slots, `token-${index}`).nextAfter(NOW) - slots.nextAfter(NOW);
      const tenth = Math.floor(delay / (6 * 60_000));
      minutes.set(tenth, (minutes.get(tenth) ?? 0) + 1);
    }
    expect([...minutes.keys()].toSorted((a, b) => a - b)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    for (const count of minutes.values()) {
      expect(count).toBeGreaterThan(60);
      expect(count).toBeLessThan(150);
    }
  });
});

describe('the turns of many rotations', () => {
  test('the first begins at once, and has not waited', async () => {
    const turn = await createRotationGate(new VirtualClock()).enter('one');
    expect(turn.hasWaited).toBe(false);
  });

  test('four of a provider at a time, and each end lets one more begin', async () => {
    const gate = createRotationGate(new VirtualClock());
    const turns: Turn[] = [];
    const all = Array.from({ length: 10 }, async () => {
      turns.push(await gate.enter('one'));
    });
    await Promise.all(all.slice(0, 4));
    expect(turns).toHaveLength(4);
    for (let ended = 0; ended < 10; ended += 1) {
      turns[ended]?.end();
      // Ending twice gives away nothing.
      turns[ended]?.end();
      await all[Math.min(ended + 4, 9)];
      expect(turns).toHaveLength(Math.min(ended + 5, 10));
    }
    expect(turns.filter(({ hasWaited }) => hasWaited)).toHaveLength(9);
  });

  test('a provider whose rotations hang holds up no other', async () => {
    const gate = createRotationGate(new VirtualClock());
    const hanging = Array.from({ length: 500 }, () => gate.enter('down'));
    await Promise.all(hanging.slice(0, 4));
    const turn = await gate.enter('up');
    turn.end();
    expect(turn.hasWaited).toBe(true);
  });

  test('five begin in a second at most, whatever the number of providers', async () => {
    const clock = new VirtualClock();
    const gate = createRotationGate(clock);
    const began = await Promise.all(
      Array.from({ length: 50 }, async (_, index) => {
        const turn = await gate.enter(`provider-${index % 20}`);
        const at = clock.now();
        turn.end();
        return at;
      }),
    );
    const sorted = began.toSorted((a, b) => a - b);
    for (let index = 5; index < sorted.length; index += 1) {
      expect((sorted[index] ?? 0) - (sorted[index - 5] ?? 0)).toBeGreaterThanOrEqual(1_000);
    }
  });

  test('a clock that is set back holds nobody up until it catches up', async () => {
    const clock = new VirtualClock();
    const gate = createRotationGate(clock);
    (await gate.enter('one')).end();
    const back = clock.now() - 24 * HOUR;
    clock.set(back);
    (await gate.enter('one')).end();
    expect(clock.now() - back).toBeLessThan(1_000);
  });
});
