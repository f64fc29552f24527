import { REFUSED, type CurrentToken } from './due.js';
import { watchdogKey } from './version-id.js';

/** What the watchdog remembers of its requests. */
export interface Asked {
  /** The version that was current then; `undefined` when there was none. */
  readonly versionId: string | undefined;
  /** How often it has asked since that version is current. */
  readonly count: number;
  /** When it asked last, in milliseconds since the Unix epoch. */
  readonly at: number;
}

/** What {@link decideWatch} decides from. */
export interface WatchInput {
  readonly now: number;
  /** `undefined` while the token secret holds no service token. */
  readonly current: CurrentToken | undefined;
  /** Remaining life in milliseconds under which the watchdog asks for a rotation. */
  readonly minimumRemaining: number;
  /** Whether receivers refuse the current version. Default: false. */
  readonly isRefused?: boolean;
  /** `undefined` when it has not asked yet. */
  readonly asked: Asked | undefined;
}

/** What the watchdog has to do. */
export type Watch =
  | { readonly kind: 'content' }
  /** It has asked, and gives the rotation time until then. */
  | { readonly kind: 'wait'; readonly until: number }
  | {
      readonly kind: 'ask';
      readonly key: string;
      readonly reason: string;
      readonly asked: Asked;
    };

const FIRST_WAIT = 600_000;
const LONGEST_WAIT = 3_600_000;

/** Milliseconds to wait after so many requests, from 1: ten minutes, doubling up to an hour. */
export function askWait(count: number): number {
  return Math.min(FIRST_WAIT * 2 ** Math.min(count - 1, 10), LONGEST_WAIT);
}

/**
 * Whether Secrets Manager has to be asked to rotate now. It rotates by its own schedule; the watchdog steps in only when
 * the service token's life runs out, when receivers refuse it, or when there is none, and never more often than {@link askWait} says.
 */
export function decideWatch(input: WatchInput): Watch {
  const { now, current, minimumRemaining, isRefused = false } = input;
  const hasLife = current !== undefined && current.expiresAt - now >= minimumRemaining;
  if (hasLife && !isRefused) {
    return { kind: 'content' };
  }
  const versionId = current?.versionId;
  const asked = input.asked?.versionId === versionId ? input.asked : undefined;
  if (asked !== undefined) {
    const elapsed = now - asked.at;
    const wait = askWait(asked.count);
    // A clock that was set back must not silence the watchdog for as long as the jump.
    if (elapsed >= 0 && elapsed < wait) return { kind: 'wait', until: asked.at + wait };
  }
  return {
    kind: 'ask',
    // Replicas that ask within the same ten minutes ask for the same version.
    key: watchdogKey(versionId, Math.floor(now / FIRST_WAIT) * FIRST_WAIT),
    reason:
      current === undefined
        ? 'there is no service token'
        : hasLife
          ? REFUSED
          : 'the service token has little life left',
    asked: { versionId, count: (asked?.count ?? 0) + 1, at: now },
  };
}
