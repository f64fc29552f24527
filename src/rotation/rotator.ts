import { randomUUID } from 'node:crypto';
import { isStoreError, type SecretDescription } from '../secrets/secret-store.js';
import { BrokerError, errorCode } from '../tokens/errors.js';
import { parseServiceToken, TokenSecretError } from '../tokens/service-token.js';
import { traced } from '../tokens/tracing.js';
import {
  CLAIM_LEASE,
  claimMinting,
  manualKey,
  versionIdOf,
  withdrawingIdOf,
  type Claim,
} from './claim.js';
import { lasts, nextAttempt, type Attempt, type CurrentToken } from './due.js';
import {
  RotationSteps,
  type Created,
  type RotationStepsOptions,
  type StepCall,
} from './rotation-steps.js';
import {
  RotationError,
  rotationMode,
  RotationOutcomes,
  type RotationMode,
  type RotationOutcome,
  type RotationResult,
  type RotationTrigger,
} from './rotation.js';

/** What the rotator works with. */
export interface RotatorOptions extends RotationStepsOptions {
  /** How long a claim on minting stands, in milliseconds. Default: 45,000; a mint takes 30,000 at most. */
  readonly claimLease?: number;
  /** Age of the current token in milliseconds under which a request brings no other. Default: 0. */
  readonly manualInterval?: number;
}

/** A rotation that is wanted. */
interface RotationRequest {
  readonly trigger: RotationTrigger;
  /** What it is for: replicas that rotate for the same key do it once. Default: a key of its own. */
  readonly key?: string;
  /** Without a key: mints also when the current token was minted a moment ago. Default: false. */
  readonly force?: boolean;
  /** Mints in any case, and marks the version that is current as withdrawn: caches must not serve it any more. Default: false. */
  readonly revoke?: boolean;
  /** With a slot: its start, in milliseconds since the Unix epoch. A token minted since then satisfies it. */
  readonly slotStart?: number;
  /** What the caller has just read, and the rotation need not read again. Default: it reads the store. */
  readonly seen?: Seen;
}

/** What the store said, by which a rotation decides. */
interface Seen {
  readonly description: SecretDescription;
  readonly current: CurrentToken | undefined;
  /** The version that the rotation's key leads to. */
  readonly attempt?: Attempt | undefined;
}

/** A rotation that succeeded, or was requested. */
export interface Rotated {
  /** The version that is current now, or that will be when Secrets Manager was asked. */
  readonly versionId: string;
  readonly result: RotationResult;
}

/** How long a mint may go on after {@link Rotator.stop}, in milliseconds, before it is abandoned. */
const STOP_GRACE = 4_000;
/** How long what is left of a rotation may take then, in milliseconds: its claim is released. */
const STOP_REST = 2_000;
/** Who may ask Secrets Manager to rotate a secret that it rotates by its own schedule. */
const MAY_ASK: ReadonlySet<RotationTrigger> = new Set(['http', 'cli', 'watchdog']);

/** How a rotation ended, by what createSecret did. */
const RESULTS: Readonly<Record<Created, RotationResult>> = {
  minted: 'rotated',
  adopted: 'adopted',
  skipped: 'already-rotated',
};

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
  readonly #owner = randomUUID();
  /** Ends waits, and keeps a rotation from minting that has not begun to. */
  readonly #stopping = new AbortController();
  /** Ends mints. */
  readonly #abandoning = new AbortController();

  constructor(private readonly options: RotatorOptions) {
    this.steps = new RotationSteps(options);
  }

  /**
   * Runs all four steps. Where Secrets Manager rotates the secret, a request or the watchdog makes it ask for that, and the
   * result is `requested`: the rotation goes on elsewhere.
   *
   * @throws {BrokerError} of kind `retry` when a later attempt may succeed; every other kind needs a fix first.
   */
  async rotate(request: RotationRequest): Promise<Rotated> {
    const joined =
      request.key ??
      (request.revoke === true ? 'revoking' : request.force === true ? 'forced' : 'manual');
    const running = this.#running.get(joined);
    if (running !== undefined) return running;
    const key = request.key ?? manualKey(randomUUID());
    const rotation = this.#recorded(key, request).finally(() => this.#running.delete(joined));
    this.#running.set(joined, rotation);
    return rotation;
  }

  /**
   * Ends the rotations of this process for good. A wait for another replica's claim ends at once, and no further mint
   * starts; a running mint is abandoned after four seconds. Resolves within six seconds, whatever hangs.
   */
  async stop(): Promise<void> {
    this.#stopping.abort(stopped('it had not minted yet'));
    if (await this.#idleWithin(STOP_GRACE)) return;
    this.#abandoning.abort(stopped('its mint took too long, and was abandoned'));
    await this.#idleWithin(STOP_REST);
  }

  /** @returns false when a rotation still runs after so many milliseconds. */
  async #idleWithin(milliseconds: number): Promise<boolean> {
    const idle = new AbortController();
    const late = this.options.clock.sleep(milliseconds, idle.signal).then(
      () => false,
      () => true,
    );
    const ended = Promise.allSettled(this.#running.values()).then(() => true);
    const isIdle = await Promise.race([ended, late]);
    idle.abort();
    return isIdle;
  }

  /** What the store says of the token secret now. */
  describe(): Promise<SecretDescription> {
    return this.options.store.describe(this.options.tokenSecretId);
  }

  /** What the token secret serves now; `undefined` while it holds no service token. */
  async current(): Promise<CurrentToken | undefined> {
    const { store, tokenSecretId } = this.options;
    try {
      const version = await store.read(tokenSecretId, { label: 'AWSCURRENT' });
      const { generatedAt, expiresAt, withdrawn, withdrawnUntil } = parseServiceToken(
        version.value,
      );
      return {
        versionId: version.versionId,
        generatedAt,
        expiresAt,
        ...(withdrawn && { withdrawn }),
        ...(withdrawnUntil !== undefined && { withdrawnUntil }),
      };
    } catch (error) {
      // The next rotation replaces a value that is not a token.
      if (error instanceof TokenSecretError || isStoreError(error, 'VERSION_NOT_FOUND')) {
        return undefined;
      }
      throw error;
    }
  }

  /** Whether the current token is too young for a request to bring another, and has enough life left. */
  isRecent(current: CurrentToken | undefined): boolean {
    const { clock, minimumLife, manualInterval = 0 } = this.options;
    if (current === undefined) return false;
    // Another replica's clock may be ahead of ours.
    const age = Math.abs(clock.now() - current.generatedAt);
    return age < manualInterval && lasts(current, minimumLife, clock.now());
  }

  /** The version that a rotation for a key has to work on. */
  attempt(key: string): Promise<Attempt> {
    return nextAttempt(this.options.store, this.options.tokenSecretId, key);
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
      const durationMilliseconds = Math.max(0, at - startedAt);
      const outcome = { at, durationMilliseconds, trigger, key, ...ended };
      this.outcomes.add(outcome);
      observer?.rotationEnded?.(outcome, error);
    };
    try {
      const rotated = await traced(
        {
          span: 'service_token.rotate',
          metric: 'service_token.rotate.duration',
          attributes: {
            'service_token.name': this.options.tokenName ?? 'default',
            'service_token.rotation.trigger': request.trigger,
          },
        },
        async (span) => {
          const ended = await this.#run(key, request);
          span.set({ 'service_token.rotation.result': ended.result });
          return ended;
        },
      );
      end(rotated);
      return rotated;
    } catch (error) {
      const message =
        error instanceof BrokerError ? error.message : 'An unexpected error; see the log.';
      end({ result: 'failed', code: errorCode(error), message }, error);
      throw error;
    }
  }

  async #run(ownKey: string, request: RotationRequest): Promise<Rotated> {
    this.#stopping.signal.throwIfAborted();
    const seen = request.seen ?? (await this.#look(request));
    const { description, current } = seen;
    const mode = rotationMode(description);
    const isShared = this.#isShared(request);
    if (isShared && current !== undefined && this.isRecent(current) && mode !== 'primary-region') {
      return { versionId: current.versionId, result: 'recent' };
    }
    if (mode !== 'broker') return this.#runElsewhere(mode, ownKey, request);
    if (current !== undefined && this.#satisfies(current, request)) {
      return { versionId: current.versionId, result: 'already-rotated' };
    }
    const sharedKey =
      request.key ?? (isShared ? manualKey(current?.versionId ?? 'none') : undefined);
    const attempt = seen.attempt ?? (await this.attempt(sharedKey ?? ownKey));
    const { versionId, state } = attempt;
    if (state === 'done') return { versionId, result: 'already-rotated' };
    // A key of its own has no other replica to agree with.
    const claim =
      state === 'new' && sharedKey !== undefined
        ? await claimMinting(versionId, {
            ...this.options,
            owner: this.#owner,
            lease: this.options.claimLease ?? CLAIM_LEASE,
            signal: this.#stopping.signal,
          })
        : 'staged';
    const isRepeated = sharedKey !== undefined;
    const created = await this.#allSteps(versionId, claim, seen, isRepeated, request.revoke);
    return { versionId, result: RESULTS[created] };
  }

  /** Reads what the rotation decides by: the current token only where that counts. */
  async #look(request: RotationRequest): Promise<Seen> {
    const description = await this.describe();
    const isNeeded = request.slotStart !== undefined || this.#isShared(request);
    return { description, current: isNeeded ? await this.current() : undefined };
  }

  /** Whether all who ask without force, to have the current version replaced, share one rotation. */
  #isShared({ key, force, revoke }: RotationRequest): boolean {
    const { manualInterval = 0 } = this.options;
    return key === undefined && force !== true && revoke !== true && manualInterval > 0;
  }

  /** Whether the current token was minted in the slot that the rotation is for, and will last. */
  #satisfies(current: CurrentToken, { slotStart = Infinity }: RotationRequest): boolean {
    const { clock, minimumLife } = this.options;
    const isOfSlot = current.generatedAt >= slotStart;
    return isOfSlot && lasts(current, minimumLife, clock.now());
  }

  /** For a secret that the broker does not write: asks Secrets Manager, where the trigger may. */
  async #runElsewhere(
    mode: Exclude<RotationMode, 'broker'>,
    key: string,
    { trigger, revoke }: RotationRequest,
  ): Promise<Rotated> {
    const { store, tokenSecretId } = this.options;
    if (mode === 'primary-region') {
      throw new RotationError(
        'ROTATION_MANAGED_ELSEWHERE',
        `Secret "${tokenSecretId}" is a replica of another Region's secret: rotate it in its primary Region.`,
      );
    }
    if (!MAY_ASK.has(trigger)) {
      throw new RotationError(
        'ROTATION_MANAGED_ELSEWHERE',
        `Secrets Manager rotates secret "${tokenSecretId}" by its own schedule: this one leaves it alone.`,
      );
    }
    // Replicas that ask for the same key ask for one and the same version.
    const asked = versionIdOf(tokenSecretId, key, 0);
    const versionId = revoke === true ? withdrawingIdOf(asked) : asked;
    try {
      await store.requestRotation(tokenSecretId, versionId);
    } catch (error) {
      if (!isStoreError(error, 'STORE_ROTATION_PENDING')) throw error;
      // The rotation that has not ended may be the very one that another replica asked for.
      const { labels } = await store.describe(tokenSecretId);
      if (!labels.has(versionId)) throw error;
    }
    return { versionId, result: 'requested' };
  }

  async #allSteps(
    versionId: string,
    claim: Claim | 'staged',
    { description, current }: Seen,
    isRepeated: boolean,
    withdraws = false,
  ): Promise<Created> {
    const call: StepCall = {
      managed: false,
      withdraws,
      signal: this.#abandoning.signal,
      run: { description, current },
    };
    try {
      this.#stopping.signal.throwIfAborted();
      const created = await this.steps.createSecret(versionId, call);
      await this.steps.setSecret(versionId, call);
      await this.steps.testSecret(versionId, call);
      await this.steps.finishSecret(versionId, call);
      return created;
    } catch (error) {
      try {
        // A rejected token must not stay pending: the next attempt would adopt it again. Nor one that no attempt would.
        const code = errorCode(error);
        const isLost = code === 'ROTATION_TOKEN_NOT_YET_VALID' && !isRepeated;
        if (code === 'ROTATION_TOKEN_REJECTED' || isLost) await this.steps.giveUp(versionId);
      } finally {
        await this.#release(claim);
      }
      throw this.#abandoning.signal.aborted ? this.#abandoning.signal.reason : error;
    }
  }

  /** After a failure: other replicas need not wait for a mint that will not come. */
  async #release(claim: Claim | 'staged'): Promise<void> {
    if (claim === 'staged') return;
    try {
      await claim.release();
    } catch (error) {
      this.options.observer?.claimKept?.(error);
    }
  }
}

function stopped(why: string): RotationError {
  return new RotationError(
    'ROTATION_STOPPED',
    `The rotation was ended, because this process stops: ${why}. Another replica, or the next start, rotates.`,
  );
}
