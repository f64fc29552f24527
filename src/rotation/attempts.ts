import type { SecretStore } from '../secrets/secret-store.js';
import { findVersion } from './claim.js';
import { lastTaken } from './last-taken.js';
import { versionIdOf } from './version-id.js';

/** The version that a rotation for a key has to work on. */
export interface Attempt {
  readonly versionId: string;
  /** `new`: nothing has that id yet. `staged`: it is AWSPENDING, to be adopted. `done`: it is AWSCURRENT. */
  readonly state: 'new' | 'staged' | 'done';
  /** The key's attempts before this one; `undefined` when it is the first. */
  readonly givenUp: GivenUp | undefined;
}

/** Attempts whose versions were staged and given up: the provider's token was none that receivers would accept. */
export interface GivenUp {
  readonly count: number;
  /** When the last of them was staged, in milliseconds since the Unix epoch. */
  readonly lastAt: number;
}

/** The pause after an attempt that was given up, in milliseconds; twice as long after each that follows {@link QUICK_MINTS}. */
const FIRST_REST = 10_000;
/** So many wrong tokens in a row may be a provider's bad minutes, which end without anybody. */
export const QUICK_MINTS = 8;
/** The longest pause after a token that receivers would refuse, in milliseconds. */
export const LONGEST_REST = 30 * 60_000;

/**
 * The first of the key's attempts that was not given up. Each version is read by its id, labels included: a description
 * that is older than the read would take a version for given up that was just staged.
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
 * Before which instant the schedule mints no further token for a key, in milliseconds since the Unix epoch. Replicas share
 * it, as it is computed from what is in the store: each mint may cost money, and a provider that is set up wrongly stays
 * so until somebody mends it. It is then rotated within half an hour, or at once by hand.
 *
 * @returns `undefined` when it may mint now.
 */
export function restUntil({ state, givenUp }: Attempt, now: number): number | undefined {
  if (state !== 'new' || givenUp === undefined) return undefined;
  // A store's clock may be ahead of ours. Farther ahead than any pause is long, ours was set back.
  if (givenUp.lastAt - now > LONGEST_REST) return undefined;
  const doublings = Math.min(Math.max(givenUp.count - QUICK_MINTS, 0), 20);
  const rest = Math.min(FIRST_REST * 2 ** doublings, LONGEST_REST);
  const until = givenUp.lastAt + rest;
  return until > now ? until : undefined;
}
