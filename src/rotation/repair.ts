import {
  CLAIM_LABEL,
  isStoreError,
  versionWithLabel,
  type SecretDescription,
  type SecretStore,
} from '../secrets/secret-store.js';
import { parseRotationClaim, TokenSecretError } from '../tokens/service-token.js';
import type { Clock } from '../tokens/time.js';
import { CLAIM_LEASE, findVersion } from './claim.js';
import { pendingLeftover, RotationError, rotationMode } from './rotation.js';

/**
 * A pending version that is younger, in milliseconds, may belong to a rotation that still runs: 15 minutes, the longest
 * that a Lambda function may take.
 */
export const PENDING_GRACE = 900_000;

/** What {@link decideRepair} decides from. Instants in milliseconds since the Unix epoch. */
export interface RepairInput {
  readonly now: number;
  readonly description: SecretDescription;
  /** When the pending version got its value; `undefined` while it has none. */
  readonly stagedAt: number | undefined;
  /** When a replica last claimed a mint; `undefined` without a claim. */
  readonly claimedAt: number | undefined;
  /** Clears a version of any age. */
  readonly force: boolean;
}

/** What a repair has to do. The reason is for people. */
type RepairDecision =
  | { readonly kind: 'nothing'; readonly reason: string }
  | { readonly kind: 'refuse'; readonly reason: string }
  | { readonly kind: 'clear'; readonly versionId: string; readonly reason: string };

/**
 * Whether the pending version is a leftover that may be cleared, or belongs to a rotation that may still run. Only a
 * version that is AWSPENDING and not AWSCURRENT is ever cleared.
 */
export function decideRepair(input: RepairInput): RepairDecision {
  const { now, description, claimedAt, force } = input;
  const versionId = pendingLeftover(description);
  if (versionId === undefined) {
    return { kind: 'nothing', reason: 'no version is pending besides the current one' };
  }
  if (rotationMode(description) === 'primary-region') {
    return refuse('the secret is a replica: repair it in its primary Region');
  }
  if (force) return { kind: 'clear', versionId, reason: 'cleared by force, whatever its age' };
  if (claimedAt !== undefined && now < claimedAt + CLAIM_LEASE) {
    return refuse(
      `a replica claimed a mint ${when(claimedAt, now)}, and may be about it for ${seconds(CLAIM_LEASE)} s`,
    );
  }
  const since = input.stagedAt ?? description.changedAt;
  if (since === undefined) {
    return refuse('it has no value, and the store does not tell how old it is');
  }
  if (now < since + PENDING_GRACE) {
    return refuse(
      `it became pending ${when(since, now)}, and a rotation may take up to ${seconds(PENDING_GRACE)} s`,
    );
  }
  return {
    kind: 'clear',
    versionId,
    reason: `pending for ${seconds(now - since)} s, longer than any rotation takes`,
  };
}

/** What {@link repairPending} works with. */
interface RepairOptions {
  readonly store: SecretStore;
  readonly tokenSecretId: string;
  readonly clock: Clock;
  /** Clears a version of any age. Default: false. */
  readonly force?: boolean;
}

/** What a repair did. */
interface Repaired {
  /** The version that AWSPENDING was taken off; `undefined` when nothing was to be done. */
  readonly cleared: string | undefined;
  readonly reason: string;
}

/**
 * Clears the pending version that a failed rotation left behind, which blocks every later RotateSecret. AWSCURRENT is
 * never touched.
 *
 * @throws {RotationError} `ROTATION_REPAIR_REFUSED` when a rotation may still run, or what the store says.
 */
export async function repairPending(options: RepairOptions): Promise<Repaired> {
  const { store, tokenSecretId, clock, force = false } = options;
  const description = await store.describe(tokenSecretId);
  const pending = pendingLeftover(description);
  const staged =
    pending === undefined ? undefined : await findVersion(store, tokenSecretId, pending);
  const decision = decideRepair({
    now: clock.now(),
    description,
    stagedAt: staged?.createdAt,
    claimedAt: await openClaim(store, tokenSecretId, description),
    force,
  });
  if (decision.kind === 'refuse') {
    throw new RotationError(
      'ROTATION_REPAIR_REFUSED',
      `The pending version ${pending} of secret "${tokenSecretId}" was left as it is: ${decision.reason}. If you know that no rotation runs, add --force.`,
    );
  }
  if (decision.kind === 'nothing') return { cleared: undefined, reason: decision.reason };
  await store.clearPending(tokenSecretId, decision.versionId);
  return { cleared: decision.versionId, reason: decision.reason };
}

/** When the last claim was made, unless a token has become current since: then its mint is over. */
async function openClaim(
  store: SecretStore,
  secretId: string,
  description: SecretDescription,
): Promise<number | undefined> {
  const claimId = versionWithLabel(description, CLAIM_LABEL);
  if (claimId === undefined) return undefined;
  try {
    // By the clock of the store: that of a replica may be days ahead.
    const { value, createdAt } = await store.read(secretId, { versionId: claimId });
    if (parseRotationClaim(value) === undefined) return undefined;
    const currentId = versionWithLabel(description, 'AWSCURRENT');
    if (currentId === undefined) return createdAt;
    const current = await findVersion(store, secretId, currentId);
    return (current?.createdAt ?? 0) > createdAt ? undefined : createdAt;
  } catch (error) {
    // Deleted since, or not a claim: then no replica waits for it.
    if (isStoreError(error, 'VERSION_NOT_FOUND') || error instanceof TokenSecretError) {
      return undefined;
    }
    throw error;
  }
}

function refuse(reason: string): RepairDecision {
  return { kind: 'refuse', reason };
}

/** How long ago an instant was. A store's clock may be ahead of this machine's; by much, a person has to know. */
function when(instant: number, now: number): string {
  return instant - now > CLAIM_LEASE
    ? `${seconds(instant - now)} s ahead of this machine's clock`
    : `${seconds(now - instant)} s ago`;
}

/** Whole seconds; a store whose clock is ahead makes nothing younger than new. */
function seconds(milliseconds: number): number {
  return Math.max(0, Math.floor(milliseconds / 1000));
}
