import { randomUUID } from 'node:crypto';
import { isStoreError } from '../secrets/secret-store-error.js';
import type { SecretStore, SecretVersion } from '../secrets/secret-store.js';
import type { Clock } from '../tokens/clock.js';
import { rotationClaimedAt, serializeRotationClaim } from '../tokens/service-token.js';
import { lastTaken } from './last-taken.js';
import { RotationError } from './rotation-error.js';
import { claimIdOf } from './version-id.js';

/** What {@link claimMinting} works with. */
export interface ClaimOptions {
  readonly store: SecretStore;
  readonly tokenSecretId: string;
  readonly clock: Clock;
  /**
   * How long a claim stands, in milliseconds. It must be longer than a mint may take; a process that dies while it
   * mints keeps the others waiting for as long.
   */
  readonly lease: number;
}

/** How long a claim stands where nobody says otherwise, in milliseconds; a mint takes 30,000 at most. */
export const CLAIM_LEASE = 45_000;

/** Turns after which waiting is given up: every one of them was claimed, meanwhile, by a process that fell silent. */
const MOST_TURNS = 20;
const FIRST_WAIT = 100;
const LONGEST_WAIT = 2_000;

/**
 * Agrees with all replicas on who mints for a version, without a lock or a leader: a claim is a version of the token
 * secret with an id that every replica computes, and a store lets only one value have an id.
 *
 * @returns `mine` when the caller has to mint; `staged` when the version has meanwhile been staged by another.
 * @throws {RotationError} `ROTATION_IN_PROGRESS` when turn after turn is claimed and nothing is ever staged.
 */
export async function claimMinting(
  versionId: string,
  options: ClaimOptions,
): Promise<'mine' | 'staged'> {
  const { store, tokenSecretId, clock } = options;
  const owner = randomUUID();
  let turn = 0;
  for (let waits = 0; waits < MOST_TURNS; waits += 1) {
    const claimId = claimIdOf(versionId, turn);
    try {
      await store.putClaim(tokenSecretId, claimId, serializeRotationClaim(owner, clock.now()));
      return 'mine';
    } catch (error) {
      if (!isStoreError(error, 'VERSION_CONFLICT')) throw error;
    }
    // Each mint that failed has left a claim, and while a provider is down for hours there are hundreds.
    turn = await lastTaken(async (later) => {
      return (await findVersion(store, tokenSecretId, claimIdOf(versionId, later))) !== undefined;
    }, turn);
    const lastClaimId = claimIdOf(versionId, turn);
    if ((await waitForOwner(versionId, lastClaimId, options)) === 'staged') return 'staged';
    turn += 1;
  }
  throw new RotationError(
    'ROTATION_IN_PROGRESS',
    `Other replicas claimed version ${versionId} of secret "${tokenSecretId}" ${MOST_TURNS} times and never staged it. Look at their logs.`,
  );
}

/** Waits until the version is staged, or until the claim has stood for its lease. */
async function waitForOwner(
  versionId: string,
  claimId: string,
  options: ClaimOptions,
): Promise<'staged' | 'lapsed'> {
  const { store, tokenSecretId, clock, lease } = options;
  const since = clock.now();
  // Not shown yet by a store whose reads lag, or not readable as a claim: then our own wait alone counts.
  const claim = await findVersion(store, tokenSecretId, claimId);
  const claimedAt = claim && rotationClaimedAt(claim.value);
  let slept = 0;
  for (let wait = FIRST_WAIT; ; wait = Math.min(wait * 2, LONGEST_WAIT)) {
    if (await findVersion(store, tokenSecretId, versionId)) return 'staged';
    const now = clock.now();
    // The claim's own time shortens the wait after a restart; our own bounds it if the clocks differ, and what was
    // slept does if ours is set back meanwhile.
    const claimAge = claimedAt === undefined ? 0 : now - claimedAt;
    const left = lease - Math.max(slept, now - since, claimAge);
    if (left <= 0) return 'lapsed';
    const pause = Math.min(wait, left);
    await clock.sleep(pause);
    slept += pause;
  }
}

/** A version by its id, whatever its labels are; `undefined` while it has no value. */
export async function findVersion(
  store: SecretStore,
  secretId: string,
  versionId: string,
): Promise<SecretVersion | undefined> {
  try {
    return await store.read(secretId, { versionId });
  } catch (error) {
    if (isStoreError(error, 'VERSION_NOT_FOUND')) return undefined;
    throw error;
  }
}
