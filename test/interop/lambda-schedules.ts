import { fc } from '../support/properties.js';
import { ROTATION_STEPS, type RotationStep } from '../../src/rotation/rotation.js';
import type { CutPoint } from './lambda-gate.js';

/** How the provider behaves when it should not: the tokens it mints are refused by receivers, or it mints none. */
export const MISCONDUCT = ['another audience', 'a customer', 'down'] as const;

/** What happens around one step of one attempt. */
export interface Moment {
  readonly provider: (typeof MISCONDUCT)[number] | undefined;
  /** A step that is called too early, or once more, before the one that is due. */
  readonly stray: RotationStep | undefined;
  /** Where the function is killed, as by a time-out: in the n-th request to Secrets Manager. */
  readonly kill: { readonly nth: number; readonly point: CutPoint } | undefined;
  /** Another environment runs the same step at the same time. */
  readonly twin: boolean;
  /** The step is called a second time after it succeeded. */
  readonly again: boolean;
}

/** One rotation: what happens in each step of its attempts. Attempts after the last of these are undisturbed. */
export type RotationPlan = readonly (readonly Moment[])[];

/** What befalls a secret in one schedule: one rotation, or two in a row. */
export type Schedule = readonly RotationPlan[];

const rarely = <T>(arbitrary: fc.Arbitrary<T>, once: number): fc.Arbitrary<T | undefined> =>
  fc.oneof({ arbitrary: fc.constant(undefined), weight: once - 1 }, { arbitrary, weight: 1 });

const moment: fc.Arbitrary<Moment> = fc.record({
  provider: rarely(fc.constantFrom(...MISCONDUCT), 8),
  stray: rarely(fc.constantFrom(...ROTATION_STEPS), 8),
  kill: rarely(
    fc.record({
      nth: fc.integer({ min: 1, max: 5 }),
      point: fc.constantFrom<CutPoint>('before', 'after'),
    }),
    5,
  ),
  twin: fc.integer({ min: 0, max: 7 }).map((number) => number === 0),
  again: fc.integer({ min: 0, max: 3 }).map((number) => number === 0),
});

const attempt = fc.array(moment, {
  minLength: ROTATION_STEPS.length,
  maxLength: ROTATION_STEPS.length,
});

/** Random schedules; the same ones for the same seed. */
export function randomSchedules(count: number, seed: number): readonly Schedule[] {
  const rotation = fc.array(attempt, { minLength: 1, maxLength: 3 });
  const schedule = fc.oneof(
    { arbitrary: fc.tuple(rotation), weight: 3 },
    { arbitrary: fc.tuple(rotation, rotation), weight: 1 },
  );
  return fc.sample(schedule, { numRuns: count, seed });
}
