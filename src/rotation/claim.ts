import { createHash } from 'node:crypto';
import {
  CLAIM_LABEL,
  isStoreError,
  versionWithLabel,
  type SecretStore,
  type SecretVersion,
} from '../secrets/secret-store.js';
import { parseRotationClaim, serializeRotationClaim } from '../tokens/service-token.js';
import type { Clock } from '../tokens/time.js';

/**
 * The last taken number of a sequence without gaps, found by galloping and then binary search: hundreds cost some twenty
 * calls of `isTaken`.
 *
 * @param from a number that is taken.
 */
export async function lastTaken(
  isTaken: (number: number) => Promise<boolean>,
  from: number,
): Promise<number> {
  let last = from;
  let step = 1;
  for (; await isTaken(last + step); step *= 2) last += step;
  for (step = Math.floor(step / 2); step >= 1; step = Math.floor(step / 2)) {
    if (await isTaken(last + step)) last += step;
  }
  return last;
}

/** The namespace of this package's name-based UUIDs; a constant, so that every replica computes the same ids. */
const NAMESPACE = Buffer.from('6f1c2b1e8f0b4a44a5bb0d5c2e8f7a31', 'hex');

/**
 * A name-based UUID, version 5 (RFC 9562 §5.5), of the given parts.
 *
 * The parts are joined in a way that no two lists share, so `['a', 'bc']` and `['ab', 'c']` differ.
 */
export function nameBasedUuid(parts: readonly string[]): string {
  const hash = createHash('sha1').update(NAMESPACE).update(JSON.stringify(parts)).digest();
  hash[6] = ((hash[6] ?? 0) & 0x0f) | 0x50;
  hash[8] = ((hash[8] ?? 0) & 0x3f) | 0x80;
  const hex = hash.toString('hex', 0, 16);
  return [
    hex.slice(0, 8),
    hex.slice(8, 12),
    hex.slice(12, 16),
    hex.slice(16, 20),
    hex.slice(20, 32),
  ].join('-');
}

/**
 * The version id of one attempt at a rotation.
 *
 * Every replica computes the same one, so that replicas that run the same rotation meet in the store. A version's value
 * never changes, so an attempt whose version was given up is followed by the next number.
 *
 * @param rotationKey what the rotation is for, see {@link slotKey}, {@link earlyKey} and {@link manualKey}.
 */
export function versionIdOf(secretId: string, rotationKey: string, attempt: number): string {
  return nameBasedUuid(['version', secretId, rotationKey, String(attempt)]);
}

const WITHDRAWING = 'withdrawing-';

/**
 * The id of a version that Secrets Manager is asked for, so that its rotation withdraws the version before: Secrets Manager
 * passes nothing else on to the rotation function.
 */
export function withdrawingIdOf(versionId: string): string {
  return `${WITHDRAWING}${versionId}`;
}

/** Whether the rotation to this version was asked for with {@link withdrawingIdOf}. */
export function isWithdrawing(versionId: string): boolean {
  return versionId.startsWith(WITHDRAWING);
}

/** The id of the n-th claim on minting for a version. */
export function claimIdOf(versionId: string, turn: number): string {
  return nameBasedUuid(['claim', versionId, String(turn)]);
}

/** The key of a slot: one interval of the schedule, named by the instant it starts at. */
export function slotKey(slotStart: number): string {
  return `slot ${new Date(slotStart).toISOString()}`;
}

/** The key of a rotation because the current version runs out of life, or receivers refuse it; each is replaced once. */
export function earlyKey(currentVersionId: string | undefined): string {
  return `early ${currentVersionId ?? 'none'}`;
}

/**
 * The key of a request to Secrets Manager because the current version runs out of life, or receivers refuse it.
 *
 * @param windowStart milliseconds since the Unix epoch; replicas that ask within one window ask for the same version.
 */
export function watchdogKey(currentVersionId: string | undefined, windowStart: number): string {
  return `watchdog ${currentVersionId ?? 'none'} ${new Date(windowStart).toISOString()}`;
}

/**
 * The key of a rotation on request.
 *
 * @param what the version to replace, so that all who request this share one rotation; or a random id for a rotation of
 *   its own.
 */
export function manualKey(what: string): string {
  return `manual ${what}`;
}

/** What {@link claimMinting} works with. */
interface ClaimOptions {
  readonly store: SecretStore;
  readonly tokenSecretId: string;
  readonly clock: Clock;
  /** Random identifier of the process. It never waits for its own claim: it runs one mint at a time for a version. */
  readonly owner: string;
  /**
   * How long a claim stands that is not released, in milliseconds. It must be longer than a mint may take; a process that
   * dies while it mints keeps the others waiting that long.
   */
  readonly lease: number;
  /** Ends the wait for another's claim; the call then rejects with its reason. */
  readonly signal?: AbortSignal;
}

/** The right to mint for a version. */
export interface Claim {
  /**
   * Ends the claim after a mint that staged nothing: another replica may claim at once. Without a release the others wait
   * for the lease.
   */
  release(): Promise<void>;
}

/** The default lease of a claim, in milliseconds; a mint takes 30,000 at most. */
export const CLAIM_LEASE = 45_000;

/**
 * The most claims for one version. Each is a version of the token secret, of which Secrets Manager accepts about a hundred
 * a day: a long outage of the provider must not use them up.
 */
export const MOST_CLAIMS = 20;
/** After a failed mint the next replica mints this long after the failed one had claimed, in milliseconds. */
const AFTER_FAILURE = 5_000;
const FIRST_WAIT = 100;
const LONGEST_WAIT = 2_000;

/**
 * Agrees with all replicas on who mints for a version, without a lock or a leader: a claim is a version of the token
 * secret with an id that every replica computes, and a store lets only one value have an id. It stands while its label
 * does, and for its lease at most.
 *
 * The owner of the last of {@link MOST_CLAIMS} keeps it for all its further mints. The others then wait for its lease, and
 * mint without a claim: at worst each of them mints one token too many, and one is kept.
 *
 * @returns the claim when the caller has to mint; `staged` when another process has staged the version.
 */
export async function claimMinting(
  versionId: string,
  options: ClaimOptions,
): Promise<Claim | 'staged'> {
  const { store, tokenSecretId, clock, owner } = options;
  for (let turn = 0; turn < MOST_CLAIMS; turn += 1) {
    const claimId = claimIdOf(versionId, turn);
    try {
      await store.putClaim(tokenSecretId, claimId, serializeRotationClaim(owner, clock.now()));
      return turn === MOST_CLAIMS - 1 ? KEPT : releasable(claimId, options);
    } catch (error) {
      if (!isStoreError(error, 'VERSION_CONFLICT')) throw error;
    }
    turn = await lastTaken(async (later) => {
      if (later >= MOST_CLAIMS) return false;
      return (await findVersion(store, tokenSecretId, claimIdOf(versionId, later))) !== undefined;
    }, turn);
    const found = await waitForOwner(versionId, turn, options);
    if (found === 'staged') return 'staged';
  }
  return KEPT;
}

const KEPT: Claim = { release: async () => undefined };

function releasable(claimId: string, { store, tokenSecretId }: ClaimOptions): Claim {
  return { release: () => store.releaseClaim(tokenSecretId, claimId) };
}

/** Waits until the version is staged, or until the claim is released, turns out to be ours, or has stood for its lease. */
async function waitForOwner(
  versionId: string,
  turn: number,
  options: ClaimOptions,
): Promise<'staged' | 'ended'> {
  const { store, tokenSecretId, clock, owner, lease, signal } = options;
  const claimId = claimIdOf(versionId, turn);
  const since = clock.now();
  let slept = 0;
  for (let wait = FIRST_WAIT; ; wait = Math.min(wait * 2, LONGEST_WAIT)) {
    signal?.throwIfAborted();
    if (await findVersion(store, tokenSecretId, versionId)) return 'staged';
    // A lagging store may not show the claim yet, or it may be unreadable: then only our own wait counts.
    const version = await findVersion(store, tokenSecretId, claimId);
    const claim = version && parseRotationClaim(version.value);
    if (claim?.owner === owner) return 'ended';
    const now = clock.now();
    const isReleased = version !== undefined && (await hasNoHolder(version, options));
    if (!isReleased && version?.labels.includes(CLAIM_LABEL) === false) {
      // Another has claimed since: for this version, or for another, and then this claim may still be minted under.
      if (await findVersion(store, tokenSecretId, claimIdOf(versionId, turn + 1))) return 'ended';
    }
    // The claim's age shortens the wait after a restart, unless its owner keeps it. Our own wait bounds it if the clocks
    // differ, and the time slept does if ours is set back.
    const isKept = turn === MOST_CLAIMS - 1;
    const claimAge = isKept || claim?.claimedAt === undefined ? 0 : now - claim.claimedAt;
    const left = (isReleased ? AFTER_FAILURE : lease) - Math.max(slept, now - since, claimAge);
    if (left <= 0) return 'ended';
    const pause = Math.min(wait, left);
    await clock.sleep(pause, signal);
    slept += pause;
  }
}

/** Whether a claim was released. The mint of a claim that lost its label to another claim may still run. */
async function hasNoHolder(
  claim: SecretVersion,
  { store, tokenSecretId }: ClaimOptions,
): Promise<boolean> {
  if (claim.labels.includes(CLAIM_LABEL)) return false;
  return versionWithLabel(await store.describe(tokenSecretId), CLAIM_LABEL) === undefined;
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
