import type { SecretStore } from '../secrets/secret-store.js';
import type { Clock } from '../tokens/time.js';
import type { Slots } from './coverage.js';
import {
  decideDue,
  decideWatch,
  nextAttempt,
  ofSlot,
  REFUSED,
  restUntil,
  slotToRotate,
  type Attempt,
  type CurrentToken,
  type Due,
} from './due.js';
import { pendingLeftover, rotationMode, type RotationMode } from './rotation.js';
import type { Rotator } from './rotator.js';

/** What a rotation would do now. */
export interface PlannedRotation {
  /**
   * `mint`: ask the provider for a token, stage, verify and promote it. `adopt`: the same with a token that is staged
   * already. `request`: ask Secrets Manager to rotate. `refuse`: fail. `none`: nothing.
   */
  readonly action: 'mint' | 'adopt' | 'request' | 'refuse' | 'none';
  /** The version it would work on; `undefined` where its id is made up only when it runs. */
  readonly versionId?: string;
  readonly reason: string;
}

/** What would happen now. It is found by reading alone: nothing is written or minted. */
export interface RotationPlan {
  readonly mode: RotationMode;
  readonly current: CurrentToken | undefined;
  /** A version that is pending now, and not current. */
  readonly pending: string | undefined;
  /** What the schedule would do. */
  readonly schedule: PlannedRotation;
  /** What a request to rotate now would do. */
  readonly onRequest: PlannedRotation;
}

/** What {@link decidePlan} decides from. */
export interface PlanInput {
  readonly mode: RotationMode;
  readonly due: Due;
  /** The version that the schedule would work on; `undefined` when nothing is due, or it writes nothing. */
  readonly attempt: Attempt | undefined;
  /** Until when the schedule leaves it alone, because the provider's last tokens were rejected. */
  readonly rest?: number | undefined;
  /** Whether the watchdog finds too little life left, or a token that receivers refuse. */
  readonly isStarving: boolean;
  /** Whether receivers refuse the current token. Default: false. */
  readonly isRefused?: boolean;
  /** Whether the current token is too young for a request to bring another. Default: false. */
  readonly isRecent?: boolean;
}

/** The pure part of {@link planRotation}. */
export function decidePlan(input: PlanInput): Pick<RotationPlan, 'schedule' | 'onRequest'> {
  const { mode, due, attempt, rest, isStarving, isRefused = false, isRecent = false } = input;
  const recent: PlannedRotation = {
    action: 'none',
    reason: 'the service token is of a moment ago; with --force another is minted',
  };
  if (mode === 'primary-region') {
    const reason = 'the secret is a replica, which is rotated in its primary Region';
    return { schedule: { action: 'none', reason }, onRequest: { action: 'refuse', reason } };
  }
  if (mode === 'secrets-manager') {
    return {
      schedule: isStarving
        ? {
            action: 'request',
            reason: isRefused ? REFUSED : 'the life of the service token runs out',
          }
        : { action: 'none', reason: 'Secrets Manager rotates by its own schedule' },
      onRequest: isRecent
        ? recent
        : { action: 'request', reason: 'Secrets Manager rotates the secret' },
    };
  }
  return {
    schedule: ownSchedule(due, attempt, rest),
    onRequest: isRecent
      ? recent
      : { action: 'mint', reason: 'all who ask to have this version replaced share one rotation' },
  };
}

function ownSchedule(
  due: Due,
  attempt: Attempt | undefined,
  rest: number | undefined,
): PlannedRotation {
  if (due.kind === 'none') {
    return { action: 'none', reason: 'the service token is of this slot, and has life enough' };
  }
  if (attempt === undefined) return { action: 'none', reason: due.reason };
  const { versionId, state } = attempt;
  if (state === 'done') {
    return { action: 'none', versionId, reason: 'the version for this rotation is AWSCURRENT' };
  }
  if (rest !== undefined) {
    const reason = `${due.reason}; the provider's last tokens were rejected, the next is minted after ${new Date(rest).toISOString()}`;
    return { action: 'none', versionId, reason };
  }
  return { action: state === 'staged' ? 'adopt' : 'mint', versionId, reason: due.reason };
}

/** What {@link planRotation} works with. */
interface PlanOptions {
  readonly store: SecretStore;
  readonly tokenSecretId: string;
  readonly rotator: Pick<Rotator, 'current' | 'describe' | 'isRecent'>;
  readonly slots: Slots;
  /** Remaining life in milliseconds under which the token is rotated early, see `earlyMargin`. */
  readonly minimumRemaining: number;
  readonly clock: Clock;
  /** Whether receivers refuse the current token. Default: false. */
  readonly isRefused?: boolean;
}

/** Finds out what a rotation would do now, by reading alone. @throws {BrokerError} what the store reports. */
export async function planRotation(options: PlanOptions): Promise<RotationPlan> {
  const { store, tokenSecretId, rotator, slots, minimumRemaining, clock } = options;
  const { isRefused = false } = options;
  const description = await rotator.describe();
  const current = await rotator.current();
  const mode = rotationMode(description);
  const now = clock.now();
  const dueFor = (token: CurrentToken | undefined): Due =>
    decideDue({ now, slots, current: token, minimumRemaining, isRefused });
  const attemptFor = async (next: Due): Promise<Attempt | undefined> =>
    mode === 'broker' && next.kind !== 'none'
      ? nextAttempt(store, tokenSecretId, next.key)
      : undefined;
  let due = dueFor(current);
  let attempt = await attemptFor(due);
  if (due.kind === 'slot' && current !== undefined && attempt?.versionId === current.versionId) {
    due = dueFor(ofSlot(current, slotToRotate(slots, current, slots.startOf(now))));
    attempt = await attemptFor(due);
  }
  const watch = decideWatch({ now, current, minimumRemaining, isRefused, asked: undefined });
  return {
    mode,
    current,
    pending: pendingLeftover(description),
    ...decidePlan({
      mode,
      due,
      attempt,
      rest: attempt && restUntil(attempt, now),
      isStarving: watch.kind === 'ask',
      isRefused,
      isRecent: rotator.isRecent(current),
    }),
  };
}
