import { randomUUID } from 'node:crypto';
import { versionWithLabel, type SecretDescription } from '../secrets/secret-store.js';
import { isStoreError } from '../secrets/secret-store-error.js';
import { BrokerError, errorCode } from '../tokens/errors.js';
import { TokenSecretError, parseServiceToken, remainingLife } from '../tokens/service-token.js';
import { claimMinting, findVersion } from './claim.js';
import type { StepDriver } from './decision.js';
import type { CurrentToken } from './due.js';
import { RotationError } from './rotation-error.js';
import {
  RotationOutcomes,
  type RotationOutcome,
  type RotationResult,
  type RotationTrigger,
} from './rotation-observer.js';
import { RotationSteps, type RotationStepsOptions } from './rotation-steps.js';
import { manualKey, versionIdOf } from './version-id.js';

/** What the rotator works with. */
export interface RotatorOptions extends RotationStepsOptions {
  /** How long a claim on minting stands, in milliseconds. Default: 45,000; a mint takes 30,000 at most. */
  readonly claimLease?: number;
}

/** A rotation that is wanted. */
export interface RotationRequest {
  readonly trigger: RotationTrigger;
  /** What it is for: replicas that rotate for the same key do it once. Default: a key of its own. */
  readonly key?: string;
  /** With a slot: its start, in milliseconds since the Unix epoch. A token minted since then satisfies it. */
  readonly slotStart?: number;
}

/** A rotation that ended well. */
export interface Rotated {
  readonly versionId: string;
  readonly result: RotationResult;
}

/** The broker drives the steps by itself: Secrets Manager has registered nothing. */
const OURSELVES: StepDriver = { managed: false };
const CLAIM_LEASE = 45_000;
/** Attempts at one key whose versions were given up; a provider that mints nothing usable ends there. */
const MOST_ATTEMPTS = 100;

/**
 * Renews the service token: the one path that the schedule, the HTTP admin call, the command line and the Lambda
 * function run.
 *
 * Rotations of the same key, in any number of processes, mint once and all succeed. A failed rotation leaves
 * AWSCURRENT as it was. A call while this process rotates for the same key, or for none, joins that rotation.
 */
export class Rotator {
  /** The four steps, for Secrets Manager's own calls. */
  readonly steps: RotationSteps;
  /** The latest outcomes in this process. */
  readonly outcomes = new RotationOutcomes();
  readonly #running = new Map<string, Promise<Rotated>>();

  constructor(private readonly options: RotatorOptions) {
    this.steps = new RotationSteps(options);
  }

  /**
   * Runs all four steps.
   *
   * @throws {BrokerError} of kind `retry` when a later attempt may succeed; every other kind needs somebody.
   */
  async rotate(request: RotationRequest): Promise<Rotated> {
    const joined = request.key ?? 'manual';
    const running = this.#running.get(joined);
    if (running !== undefined) return running;
    const key = request.key ?? manualKey(randomUUID());
    const rotation = this.#recorded(key, request).finally(() => this.#running.delete(joined));
    this.#running.set(joined, rotation);
    return rotation;
  }

  /** Resolves when no rotation runs in this process any more, however they end. */
  async idle(): Promise<void> {
    await Promise.allSettled(this.#running.values());
  }

  /** Who may rotate: the broker, Secrets Manager by its own schedule, or only the primary Region. */
  async mode(): Promise<RotationMode> {
    return rotationMode(await this.options.store.describe(this.options.tokenSecretId));
  }

  /** What the token secret serves now; `undefined` while it holds no service token. */
  async current(): Promise<CurrentToken | undefined> {
    const { store, tokenSecretId } = this.options;
    try {
      const version = await store.read(tokenSecretId, { label: 'AWSCURRENT' });
      const { generatedAt, expiresAt } = parseServiceToken(version.value);
      return { versionId: version.versionId, generatedAt, expiresAt };
    } catch (error) {
      // A value that is no token is as good as none: the next rotation replaces it.
      if (error instanceof TokenSecretError || isStoreError(error, 'VERSION_NOT_FOUND')) {
        return undefined;
      }
      throw error;
    }
  }

  async #recorded(key: string, request: RotationRequest): Promise<Rotated> {
    const { clock, observer } = this.options;
    const startedAt = clock.now();
    const end = (
      ended: Pick<RotationOutcome, 'result'> & Partial<RotationOutcome>,
      error?: unknown,
    ): void => {
      const at = clock.now();
      const { trigger } = request;
      const outcome = { at, durationMilliseconds: at - startedAt, trigger, key, ...ended };
      this.outcomes.add(outcome);
      observer?.rotationEnded?.(outcome, error);
    };
    try {
      const rotated = await this.#run(key, request);
      end(rotated);
      return rotated;
    } catch (error) {
      const message =
        error instanceof BrokerError ? error.message : 'An unexpected error; see the log.';
      end({ result: 'failed', code: errorCode(error), message }, error);
      throw error;
    }
  }

  async #run(key: string, request: RotationRequest): Promise<Rotated> {
    const { store, tokenSecretId, claimLease = CLAIM_LEASE } = this.options;
    requireWritable(await store.describe(tokenSecretId));
    const satisfied = await this.#satisfying(request);
    if (satisfied !== undefined) return { versionId: satisfied, result: 'already-rotated' };
    const { versionId, state } = await this.#nextAttempt(key);
    if (state === 'done') return { versionId, result: 'already-rotated' };
    // A key of its own has no other replica to agree with.
    if (state === 'new' && request.key !== undefined) {
      await claimMinting(versionId, { ...this.options, lease: claimLease });
    }
    const created = await this.#allSteps(versionId);
    return {
      versionId,
      result:
        created === 'minted' ? 'rotated' : created === 'adopted' ? 'adopted' : 'already-rotated',
    };
  }

  /** The current version's id, when it was minted in the slot that the rotation is for and will last. */
  async #satisfying(request: RotationRequest): Promise<string | undefined> {
    if (request.slotStart === undefined) return undefined;
    const current = await this.current();
    if (current === undefined || current.generatedAt < request.slotStart) return undefined;
    const life = remainingLife(current, this.options.clock.now());
    return life > this.options.minimumLife ? current.versionId : undefined;
  }

  /**
   * The version id to work on: the first of the key's attempts that was not given up. Each version is read by its id,
   * labels included: a description that is older than the read would take a version for given up that was just staged.
   */
  async #nextAttempt(
    key: string,
  ): Promise<{ versionId: string; state: 'new' | 'staged' | 'done' }> {
    const { store, tokenSecretId } = this.options;
    for (let attempt = 0; attempt < MOST_ATTEMPTS; attempt += 1) {
      const versionId = versionIdOf(tokenSecretId, key, attempt);
      const version = await findVersion(store, tokenSecretId, versionId);
      if (version === undefined) return { versionId, state: 'new' };
      if (version.labels.includes('AWSCURRENT')) return { versionId, state: 'done' };
      if (version.labels.includes('AWSPENDING')) return { versionId, state: 'staged' };
    }
    throw new RotationError(
      'ROTATION_ATTEMPTS_EXHAUSTED',
      `${MOST_ATTEMPTS} versions were staged for "${key}" and given up: the provider mints no token that receivers would accept. See the log of the earlier attempts.`,
    );
  }

  async #allSteps(versionId: string): Promise<'minted' | 'adopted' | 'skipped'> {
    try {
      const created = await this.steps.createSecret(versionId, OURSELVES);
      await this.steps.setSecret(versionId, OURSELVES);
      await this.steps.testSecret(versionId, OURSELVES);
      await this.steps.finishSecret(versionId, OURSELVES);
      return created;
    } catch (error) {
      // A token that will never be accepted must not stay pending: the next attempt would only adopt it again.
      if (errorCode(error) === 'ROTATION_TOKEN_REJECTED') await this.steps.giveUp(versionId);
      throw error;
    }
  }
}

/** Who rotates the token secret. */
export type RotationMode = 'broker' | 'secrets-manager' | 'primary-region';

function rotationMode(description: SecretDescription): RotationMode {
  if (description.readOnlyReplica) return 'primary-region';
  return description.rotationEnabled ? 'secrets-manager' : 'broker';
}

function requireWritable(description: SecretDescription): void {
  const { secretId } = description;
  const mode = rotationMode(description);
  if (mode === 'broker') return;
  throw new RotationError(
    'ROTATION_MANAGED_ELSEWHERE',
    mode === 'primary-region'
      ? `Secret "${secretId}" is a replica of another Region's secret: rotate it in its primary Region.`
      : `Secrets Manager rotates secret "${secretId}" itself. Ask it to rotate now: aws secretsmanager rotate-secret --secret-id ${secretId}`,
  );
}

/** The id of the version that a rotation left pending, if there is one. */
export function pendingLeftover(description: SecretDescription): string | undefined {
  const pending = versionWithLabel(description, 'AWSPENDING');
  return pending === versionWithLabel(description, 'AWSCURRENT') ? undefined : pending;
}
