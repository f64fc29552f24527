import type { Clock } from '../tokens/clock.js';
import { BrokerError } from '../tokens/errors.js';
import { decideDue, type CurrentToken, type Due } from './due.js';
import type { RotationMode, Rotator } from './rotator.js';
import type { Slots } from './slots.js';

/** What the schedule works with. */
export interface RotationScheduleOptions {
  readonly rotator: Pick<Rotator, 'current' | 'mode' | 'rotate'>;
  readonly slots: Slots;
  /** Remaining life in milliseconds under which the token is rotated early. */
  readonly minimumRemaining: number;
  readonly clock: Clock;
  /** From 0 up to 1; spreads the retries of replicas. Default: `Math.random`. */
  readonly random?: () => number;
  /** Told when the schedule finds out who rotates the secret, and when a check failed before it could rotate. */
  readonly observer?: RotationScheduleObserver;
}

/** What the schedule tells besides the rotations themselves. */
export interface RotationScheduleObserver {
  modeChanged?(mode: RotationMode): void;
  checkFailed?(error: unknown, nextCheckAt: number): void;
}

const FIRST_RETRY = 15_000;
const LONGEST_RETRY = 300_000;

/**
 * Decides again and again whether a rotation is due, and runs it: at a slot, for a slot that was missed, and early
 * when the token's life runs out. It reads the store only when what it knows says that something is due.
 */
export class RotationSchedule {
  #known: CurrentToken | undefined;
  #mode: RotationMode | undefined;
  #failures = 0;
  #notBefore = Number.NEGATIVE_INFINITY;
  #checking: Promise<void> | undefined;

  constructor(private readonly options: RotationScheduleOptions) {}

  /** Checks once. Never rejects: what goes wrong is told to the observers, and tried again with backoff. */
  async check(): Promise<void> {
    this.#checking ??= this.#check().finally(() => {
      this.#checking = undefined;
    });
    await this.#checking;
  }

  /** When the next slot starts, in milliseconds since the Unix epoch. */
  nextSlot(): number {
    return this.options.slots.nextAfter(this.options.clock.now());
  }

  async #check(): Promise<void> {
    const { rotator, clock } = this.options;
    if (clock.now() < this.#notBefore) return;
    if (this.#known !== undefined && this.#due().kind === 'none') return;
    try {
      this.#known = await rotator.current();
      const due = this.#due();
      if (due.kind !== 'none' && (await this.#mayRotate())) {
        await this.#rotate(due);
        this.#known = await rotator.current();
      }
      this.#failures = 0;
    } catch (error) {
      this.#backOff(error);
    }
  }

  #due(): Due {
    const { slots, clock, minimumRemaining } = this.options;
    const now = clock.now();
    return decideDue({
      now,
      slotStart: slots.startOf(now),
      current: this.#known,
      minimumRemaining,
    });
  }

  async #rotate(due: Exclude<Due, { kind: 'none' }>): Promise<void> {
    const { rotator, slots, clock } = this.options;
    await rotator.rotate(
      due.kind === 'early'
        ? { trigger: 'early', key: due.key }
        : { trigger: 'schedule', key: due.key, slotStart: slots.startOf(clock.now()) },
    );
  }

  /** False when the secret is rotated elsewhere; then it is looked at again only after a while. */
  async #mayRotate(): Promise<boolean> {
    const { rotator, clock, observer } = this.options;
    const mode = await rotator.mode();
    if (mode !== this.#mode) observer?.modeChanged?.(mode);
    this.#mode = mode;
    if (mode === 'broker') return true;
    this.#notBefore = clock.now() + LONGEST_RETRY;
    return false;
  }

  #backOff(error: unknown): void {
    const { clock, observer, random = Math.random } = this.options;
    const wait = retryWait(this.#failures, random());
    const asked = error instanceof BrokerError ? (error.retryAfterSeconds ?? 0) * 1000 : 0;
    this.#failures += 1;
    this.#notBefore = clock.now() + Math.max(wait, Math.min(asked, LONGEST_RETRY));
    observer?.checkFailed?.(error, this.#notBefore);
  }
}

/**
 * Milliseconds until a failed rotation is tried again: doubling from 15 seconds up to 5 minutes, the last half of it
 * at random.
 */
export function retryWait(failures: number, random: number): number {
  const whole = Math.min(FIRST_RETRY * 2 ** Math.min(failures, 10), LONGEST_RETRY);
  return whole / 2 + (whole / 2) * random;
}
