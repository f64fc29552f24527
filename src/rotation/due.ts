import type { Withdrawals } from '../tokens/service-token.js';
import { backoff } from '../tokens/time.js';
import type { SecretStore } from '../secrets/secret-store.js';
import { earlyKey, findVersion, lastTaken, slotKey, versionIdOf, watchdogKey } from './claim.js';
import type { Slots } from './coverage.js';

/** What is known of the current version. */
export interface CurrentToken extends Withdrawals {
  readonly versionId: string;
  /** Milliseconds since the Unix epoch. */
  readonly generatedAt: number;
  /** Milliseconds since the Unix epoch. */
  readonly expiresAt: number;
}

/**
 * How old a token is at least when it is rotated early, in milliseconds: 36 rotations a day. Each writes two versions, and Secrets
 * Manager accepts about a hundred a day.
 */
const EARLY_AGE = 2_400_000;

/**
 * The remaining life in milliseconds under which a token is rotated early: `minimumRemaining`, and less where the token would be
 * younger than 40 minutes, or than two thirds of its life. A provider whose tokens live hardly longer than `minimumRemaining` would
 * be asked without a pause otherwise. Pure.
 *
 * @param now milliseconds since the Unix epoch. A token that was minted later has a wrong date: its life is not known.
 */
export function earlyMargin(
  { generatedAt, expiresAt }: Pick<CurrentToken, 'generatedAt' | 'expiresAt'>,
  minimumRemaining: number,
  now: number,
): number {
  const life = expiresAt - generatedAt;
  const isKnown = life > 0 && generatedAt <= now;
  return isKnown
    ? Math.min(minimumRemaining, Math.max(life - EARLY_AGE, life / 3))
    : minimumRemaining;
}

/** Whether a token has less life left than {@link earlyMargin}. Pure. */
export function runsOut(
  token: Pick<CurrentToken, 'generatedAt' | 'expiresAt'>,
  minimumRemaining: number,
  now: number,
): boolean {
  return token.expiresAt - now < earlyMargin(token, minimumRemaining, now);
}

/**
 * Whether a rotation may end with this token: its whole life is more than `minimumLife`, as that of each token that is minted
 * must be, and it does not run out. Spans in milliseconds. Pure.
 */
export function lasts(
  token: Pick<CurrentToken, 'generatedAt' | 'expiresAt'>,
  minimumLife: number,
  now: number,
): boolean {
  const life = token.expiresAt - Math.min(token.generatedAt, now);
  return life > minimumLife && !runsOut(token, minimumLife, now);
}

/** What {@link decideDue} decides from. */
interface DueInput {
  readonly now: number;
  readonly slots: Pick<Slots, 'startOf' | 'nextAfter'>;
  /** `undefined` while the token secret holds no service token. */
  readonly current: CurrentToken | undefined;
  /** Remaining life in milliseconds under which the token is rotated whatever the schedule says, see {@link earlyMargin}. */
  readonly minimumRemaining: number;
  /** Whether receivers refuse the current version, so that it is rotated whatever its life. Default: false. */
  readonly isRefused?: boolean;
}

/** The reason to rotate a token that has enough life left. */
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
 * A slot's own version as the slot has to see it: minted since its start. Its date may be before, as when the clock was set back
 * while it was minted, is another's, or the token could not be staged at once.
 */
export function ofSlot(own: CurrentToken, slotStart: number): CurrentToken {
  return { ...own, generatedAt: Math.max(own.generatedAt, slotStart) };
}

const DAY = 86_400_000;

/**
 * The start of the slot to rotate for while the current one has no token: the first since the current token was minted, or
 * without a token the first of the day (UTC). While a fault lasts it stays the same over all slots, and with it the version,
 * its claims and the pauses after rejected tokens: a short interval does not use up what Secrets Manager keeps of a secret.
 * In milliseconds since the Unix epoch. Pure.
 */
export function slotToRotate(
  slots: Pick<Slots, 'nextAfter'>,
  current: CurrentToken | undefined,
  slotStart: number,
): number {
  return slots.nextAfter(current?.generatedAt ?? Math.floor(slotStart / DAY) * DAY - 1);
}

/**
 * Which rotation is due now. A token minted since the slot's start satisfies the slot, whoever minted it: a slot that
 * was missed is caught up, and one that was rotated is never rotated twice.
 */
export function decideDue(input: DueInput): Due {
  const { now, slots, current, minimumRemaining, isRefused = false } = input;
  const slotStart = slots.startOf(now);
  if (current === undefined || current.generatedAt < slotStart) {
    return {
      kind: 'slot',
      key: slotKey(slotToRotate(slots, current, slotStart)),
      reason:
        current === undefined
          ? 'there is no service token yet'
          : 'the service token was minted before the current slot',
    };
  }
  if (isRefused) {
    // The key of an early rotation: a version is followed up once, whatever for.
    return { kind: 'refused', key: earlyKey(current.versionId), reason: REFUSED };
  }
  if (runsOut(current, minimumRemaining, now)) {
    return {
      kind: 'early',
      key: earlyKey(current.versionId),
      reason: 'the service token has little life left',
    };
  }
  return { kind: 'none' };
}

/** The version that a rotation for a key has to work on. */
export interface Attempt {
  readonly versionId: string;
  /** `new`: nothing has that id yet. `staged`: it is AWSPENDING, to be adopted. `done`: it is AWSCURRENT. */
  readonly state: 'new' | 'staged' | 'done';
  /** The key's attempts before this one; `undefined` when it is the first. */
  readonly givenUp: GivenUp | undefined;
}

/** Attempts whose versions were staged and given up: receivers would have refused the token. */
interface GivenUp {
  readonly count: number;
  /** When the last of them was staged, in milliseconds since the Unix epoch. */
  readonly lastAt: number;
}

/** The pause after an attempt that was given up, in milliseconds; twice as long after each that follows {@link QUICK_MINTS}. */
const FIRST_REST = 10_000;
/** This many wrong tokens in a row may be a passing fault of the provider. */
export const QUICK_MINTS = 8;
/** The longest pause after a token that receivers would refuse, in milliseconds. */
export const LONGEST_REST = 30 * 60_000;

/**
 * The first of the key's attempts that was not given up. Each version is read by its id, with its labels: by an older
 * description, a version that was just staged would look given up.
 *
 * @throws {BrokerError} what the store says.
 */
export async function nextAttempt(
  store: SecretStore,
  tokenSecretId: string,
  key: string,
): Promise<Attempt> {
  const idOf = (attempt: number): string => versionIdOf(tokenSecretId, key, attempt);
  const find = (attempt: number) => findVersion(store, tokenSecretId, idOf(attempt));
  const first = await find(0);
  if (first === undefined) return { versionId: idOf(0), state: 'new', givenUp: undefined };
  const last = await lastTaken(async (attempt) => (await find(attempt)) !== undefined, 0);
  const version = last === 0 ? first : await find(last);
  const { labels = [], createdAt = first.createdAt } = version ?? {};
  const before = last === 0 ? undefined : { count: last, lastAt: createdAt };
  if (labels.includes('AWSCURRENT')) {
    return { versionId: idOf(last), state: 'done', givenUp: before };
  }
  if (labels.includes('AWSPENDING')) {
    return { versionId: idOf(last), state: 'staged', givenUp: before };
  }
  const givenUp = { count: last + 1, lastAt: createdAt };
  return { versionId: idOf(last + 1), state: 'new', givenUp };
}

/**
 * The instant before which the schedule mints no further token for a key, in milliseconds since the Unix epoch. It is
 * computed from what is in the store, so replicas share it: each mint may cost money, and a provider that is set up wrongly
 * stays so until it is fixed. The schedule then rotates within half an hour; `rotate` does at once.
 *
 * @returns `undefined` when it may mint now.
 */
export function restUntil({ state, givenUp }: Attempt, now: number): number | undefined {
  if (state !== 'new' || givenUp === undefined) return undefined;
  // A store's clock may be ahead of ours. By more than the longest pause, ours was set back.
  if (givenUp.lastAt - now > LONGEST_REST) return undefined;
  const rest = backoff(givenUp.count - QUICK_MINTS + 1, FIRST_REST, LONGEST_REST);
  const until = givenUp.lastAt + rest;
  return until > now ? until : undefined;
}

/** What the watchdog remembers of its requests. */
export interface Asked {
  /** The version that was current then; `undefined` when there was none. */
  readonly versionId: string | undefined;
  /** How often it has asked in a row, see {@link decideWatch}. */
  readonly count: number;
  /** When it asked last, in milliseconds since the Unix epoch. */
  readonly at: number;
}

/** What {@link decideWatch} decides from. */
export interface WatchInput {
  readonly now: number;
  /** `undefined` while the token secret holds no service token. */
  readonly current: CurrentToken | undefined;
  /** Remaining life in milliseconds under which the watchdog asks for a rotation, see {@link earlyMargin}. */
  readonly minimumRemaining: number;
  /** Whether receivers refuse the current version. Default: false. */
  readonly isRefused?: boolean;
  /** `undefined` when it has not asked yet. */
  readonly asked: Asked | undefined;
}

/** What the watchdog has to do. */
type Watch =
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
  return backoff(count, FIRST_WAIT, LONGEST_WAIT);
}

/**
 * Whether Secrets Manager has to be asked to rotate now. It rotates by its own schedule; the watchdog steps in only when
 * the service token runs out of life, when receivers refuse it, or when there is no token; and never more often than
 * {@link askWait} allows. The count of its requests begins again with a version that lasted, and when the token expires: it
 * asks once more then at the latest, because some providers give the same token again while it lives.
 */
export function decideWatch(input: WatchInput): Watch {
  const { now, current, minimumRemaining, isRefused = false } = input;
  const hasLife = current !== undefined && !runsOut(current, minimumRemaining, now);
  if (hasLife && !isRefused) {
    return { kind: 'content' };
  }
  const asked = isSettled(input) ? undefined : input.asked;
  if (asked !== undefined) {
    const elapsed = now - asked.at;
    const wait = askWait(asked.count);
    // A clock that was set back must not silence the watchdog until it catches up.
    if (elapsed >= 0 && elapsed < wait) {
      const { expiresAt = 0 } = current ?? {};
      const end = asked.at + wait;
      return { kind: 'wait', until: expiresAt > now ? Math.min(end, expiresAt) : end };
    }
  }
  const versionId = current?.versionId;
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

/** Whether the last request is no reason to wait: it brought a version that lasted, or the token has expired since. */
function isSettled({ now, current, minimumRemaining, asked }: WatchInput): boolean {
  if (asked === undefined || current === undefined) return asked === undefined;
  const { versionId, expiresAt } = current;
  if (asked.at < expiresAt && expiresAt <= now) return true;
  const ranOutAt = expiresAt - earlyMargin(current, minimumRemaining, now);
  return versionId !== asked.versionId && ranOutAt - asked.at >= askWait(asked.count);
}
