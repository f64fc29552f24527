import { earlyKey, slotKey } from './version-id.js';

/** What is known of the current version. */
export interface CurrentToken {
  readonly versionId: string;
  /** Milliseconds since the Unix epoch. */
  readonly generatedAt: number;
  /** Milliseconds since the Unix epoch. */
  readonly expiresAt: number;
}

/** What {@link decideDue} decides from. */
export interface DueInput {
  readonly now: number;
  /** Start of the slot that `now` falls in. */
  readonly slotStart: number;
  /** `undefined` while the token secret holds no service token. */
  readonly current: CurrentToken | undefined;
  /** Remaining life in milliseconds under which the token is rotated whatever the schedule says. */
  readonly minimumRemaining: number;
  /** Whether receivers refuse the current version, so that it is rotated whatever its life. Default: false. */
  readonly isRefused?: boolean;
}

/** Why a token is rotated that has life enough. */
export const REFUSED = 'receivers refuse the service token';

/** Which rotation is due. */
export type Due =
  | { readonly kind: 'none' }
  | {
      readonly kind: 'slot' | 'early' | 'refused';
      readonly key: string;
      readonly reason: string;
    };

/**
 * Which rotation is due now. A token minted since the slot's start satisfies the slot, whoever minted it: a slot that
 * was missed is caught up, and one that was rotated is never rotated twice.
 */
export function decideDue(input: DueInput): Due {
  const { now, slotStart, current, minimumRemaining, isRefused = false } = input;
  if (current === undefined) {
    return { kind: 'slot', key: slotKey(slotStart), reason: 'there is no service token yet' };
  }
  if (current.generatedAt < slotStart) {
    return {
      kind: 'slot',
      key: slotKey(slotStart),
      reason: 'the service token was minted before the current slot',
    };
  }
  if (isRefused) {
    // The key of an early rotation: a version is followed up once, whatever for.
    return { kind: 'refused', key: earlyKey(current.versionId), reason: REFUSED };
  }
  if (current.expiresAt - now < minimumRemaining) {
    return {
      kind: 'early',
      key: earlyKey(current.versionId),
      reason: 'the service token has little life left',
    };
  }
  return { kind: 'none' };
}
