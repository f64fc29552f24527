import { createSlots } from '../../src/rotation/coverage.js';
import { RotationSchedule } from '../../src/rotation/rotation-schedule.js';
import type { RotationMode } from '../../src/rotation/rotation.js';
import { HOUR, rotationFixture } from './rotation-fixture.js';

/** As many schedules over one token secret as a test wants, and what they report. */
export function scheduleFixture() {
  const fixture = rotationFixture();
  const modes: RotationMode[] = [];
  const failures: unknown[] = [];
  const rests: number[] = [];
  const missed: number[] = [];
  const newSchedule = (): RotationSchedule =>
    new RotationSchedule({
      rotator: fixture.rotator(),
      slots: createSlots('0 3 * * *'),
      minimumRemaining: HOUR,
      clock: fixture.clock,
      random: () => 1,
      observer: {
        modeChanged: (mode) => modes.push(mode),
        checkFailed: (error) => failures.push(error),
        resting: (_reason, until) => rests.push(until),
        slotMissed: (slotStart) => missed.push(slotStart),
      },
    });
  const storeCalls = (): number =>
    Object.values(fixture.store.calls).reduce((sum, count) => sum + count, 0);
  return { ...fixture, modes, failures, rests, missed, newSchedule, storeCalls };
}
