import { versionWithLabel, type SecretDescription } from '../secrets/secret-store.js';
import { BrokerError, type BrokerErrorOptions, type ErrorKind } from '../tokens/errors.js';

/** The four steps of Secrets Manager's rotation contract, in their order. */
export const ROTATION_STEPS = ['createSecret', 'setSecret', 'testSecret', 'finishSecret'] as const;

/** One of the four steps. */
export type RotationStep = (typeof ROTATION_STEPS)[number];

/** Who drives the steps. */
export interface StepDriver {
  /**
   * True when Secrets Manager calls: it has registered the version id as AWSPENDING before the first step, and
   * rotation is enabled. False when the broker rotates on its own, and createSecret creates the version.
   */
  readonly managed: boolean;
}

/** What is due for a step: act, return success without acting, or fail. */
type StepDecision =
  | { readonly due: 'do' }
  | { readonly due: 'skip'; readonly reason: string }
  | { readonly due: 'refuse'; readonly code: RotationErrorCode; readonly message: string };

/**
 * Decides what a step has to do, from what the store says at this moment and from nothing else: any step may be
 * repeated, or be run by another process than the one before.
 */
export function decideStep(
  step: RotationStep,
  versionId: string,
  description: SecretDescription,
  driver: StepDriver,
): StepDecision {
  const secret = `secret "${description.secretId}"`;
  if (driver.managed && !description.rotationEnabled) {
    return refuse(
      'ROTATION_NOT_ENABLED',
      `Rotation is not enabled for ${secret}. Enable it in Secrets Manager before its rotation function runs.`,
    );
  }
  const labels = description.labels.get(versionId);
  if (labels?.includes('AWSCURRENT')) {
    return { due: 'skip', reason: 'the version is already AWSCURRENT' };
  }
  if (labels?.includes('AWSPENDING')) return { due: 'do' };
  if (!driver.managed && step === 'createSecret' && labels === undefined) return { due: 'do' };
  if (labels === undefined) {
    return refuse(
      'ROTATION_VERSION_UNKNOWN',
      `Version ${versionId} has no label in ${secret}: it was never staged for rotation, or it was given up.`,
    );
  }
  return refuse(
    'ROTATION_NOT_PENDING',
    `Version ${versionId} of ${secret} is not AWSPENDING (it has ${labels.join(', ')}): another rotation took its place.`,
  );
}

function refuse(code: RotationErrorCode, message: string): StepDecision {
  return { due: 'refuse', code, message };
}

/**
 * Why a rotation ran. `early`: the token's life ran out, or receivers refuse it. `watchdog`: the same, where Secrets
 * Manager rotates.
 */
export type RotationTrigger =
  'schedule' | 'early' | 'http' | 'cli' | 'watchdog' | 'secrets-manager';

/** How a rotation ended well. */
export type RotationResult =
  /** This process minted and promoted. */
  | 'rotated'
  /** This process promoted what another one, or an earlier attempt, had minted. */
  | 'adopted'
  /** Another process had already finished. */
  | 'already-rotated'
  /** A request did nothing: the current token was minted a moment ago. */
  | 'recent'
  /** Secrets Manager was asked to rotate. Whether it does, only the token secret shows. */
  | 'requested';

/** One rotation that ended, kept for health, metrics and `status`. */
export interface RotationOutcome {
  /** When it ended, in milliseconds since the Unix epoch. */
  readonly at: number;
  readonly durationMilliseconds: number;
  readonly trigger: RotationTrigger;
  /** What it was for, for example `slot 2026-11-22T03:00:00.000Z`. */
  readonly key: string;
  readonly result: RotationResult | 'failed';
  readonly versionId?: string;
  /** The stable code of the error, when it failed. */
  readonly code?: string;
  /** What was wrong and what to do, when it failed. */
  readonly message?: string;
}

/** What a rotation reports while it runs, to logs and metrics. A method that throws is a bug. */
export interface RotationObserver {
  /** A step ended: `done`, or `skipped` with the reason. */
  stepEnded?(
    step: RotationStep,
    versionId: string,
    ended: 'done' | 'skipped',
    detail: string,
  ): void;
  /** A rotation ended, well or not. */
  rotationEnded?(outcome: RotationOutcome, error?: unknown): void;
  /** The claim of a failed mint could not be released: other replicas wait until it lapses. */
  claimKept?(error: unknown): void;
  /** The provider was asked for a token: `OK`, or the code of the error. */
  mintEnded?(code: 'OK' | (string & {})): void;
}

/** Whether a rotation with this result has brought, or found, the token that it was for: a mere request has not. */
export function isSuccess(result: string): boolean {
  return result === 'rotated' || result === 'adopted' || result === 'already-rotated';
}

/** Keeps the latest outcomes in memory, newest first. */
export class RotationOutcomes {
  readonly #kept: RotationOutcome[] = [];

  /** @param capacity how many are kept. Default: 20. */
  constructor(private readonly capacity = 20) {}

  /** Adds an outcome; the oldest goes when there are too many. */
  add(outcome: RotationOutcome): void {
    this.#kept.unshift(outcome);
    this.#kept.length = Math.min(this.#kept.length, this.capacity);
  }

  /** The outcomes that are kept, newest first. */
  list(): readonly RotationOutcome[] {
    return [...this.#kept];
  }

  /** The newest outcome, if there is one. */
  latest(): RotationOutcome | undefined {
    return this.#kept[0];
  }

  /** The newest outcome with the token that the rotation was for, see {@link isSuccess}. */
  latestSuccess(): RotationOutcome | undefined {
    return this.#kept.find(({ result }) => isSuccess(result));
  }
}

const KINDS = {
  /** The version id is not known to the secret, or has no label any more. */
  ROTATION_VERSION_UNKNOWN: 'retry',
  /** The version is not the pending one: another rotation took its place, or it was given up. */
  ROTATION_NOT_PENDING: 'retry',
  /** The secret is a read-only replica, or Secrets Manager rotates it and no rotation was requested. */
  ROTATION_MANAGED_ELSEWHERE: 'rejected',
  /** The provider gave the very token that was to be withdrawn. */
  ROTATION_TOKEN_UNCHANGED: 'misconfigured',
  /** The step was called by Secrets Manager for a secret whose rotation is switched off. */
  ROTATION_NOT_ENABLED: 'misconfigured',
  /** The pending version's token has too little life left; it was cleared. */
  ROTATION_PENDING_AGED: 'retry',
  /** The pending version holds no service token; it was cleared. */
  ROTATION_PENDING_INVALID: 'retry',
  /** The pending version has no value. */
  ROTATION_PENDING_EMPTY: 'retry',
  /** The provider mints tokens with too short a life. */
  ROTATION_TOKEN_TOO_SHORT: 'misconfigured',
  /** The token that was minted is not one that receivers would accept. */
  ROTATION_TOKEN_REJECTED: 'misconfigured',
  /** The provider's clock is ahead of this machine's: the token that was minted is kept, and verified again. */
  ROTATION_TOKEN_NOT_YET_VALID: 'retry',
  /** Another rotation promoted its version first. */
  ROTATION_SUPERSEDED: 'retry',
  /** The process stops: the rotation was waiting for another replica, or its mint took too long. */
  ROTATION_STOPPED: 'retry',
  /** A pending version may belong to a rotation that still runs: it is not cleared. */
  ROTATION_REPAIR_REFUSED: 'retry',
} as const satisfies Record<string, ErrorKind>;

/** The stable codes of {@link RotationError}. */
type RotationErrorCode = keyof typeof KINDS;

/** A rotation, or one of its steps, could not be done. AWSCURRENT is what it was before. */
export class RotationError extends BrokerError {
  declare readonly code: RotationErrorCode;

  constructor(code: RotationErrorCode, message: string, options: BrokerErrorOptions = {}) {
    super(code, KINDS[code], message, options);
  }
}

/** What it means to a rotation that receivers refuse its token; `undefined` for every other error. */
export function refusedByReceivers(error: unknown): RotationError | undefined {
  if (!(error instanceof BrokerError) || error.kind !== 'rejected') return undefined;
  // Its time comes: another token would be no better, and each mint may cost money.
  if (error.code === 'TOKEN_NOT_YET_VALID') {
    return new RotationError(
      'ROTATION_TOKEN_NOT_YET_VALID',
      `The token that the provider minted cannot be used yet: ${error.message} The provider's clock is ahead, or this machine's is behind. The schedule tries again by itself; after a request, rotate again once the clocks agree.`,
      { cause: error },
    );
  }
  return new RotationError(
    'ROTATION_TOKEN_REJECTED',
    `Receivers would refuse the token that the provider minted (${error.code}): ${error.message}`,
    { cause: error },
  );
}

/** Who rotates the token secret. */
export type RotationMode =
  /** The broker itself, by its own schedule. */
  | 'broker'
  /** Secrets Manager, by the secret's schedule and rotation function. The broker never writes; it may ask. */
  | 'secrets-manager'
  /** The secret is a replica: it is rotated in its primary Region. */
  | 'primary-region';

/** Who may rotate the secret, by what the store says of it. */
export function rotationMode(description: SecretDescription): RotationMode {
  if (description.readOnlyReplica) return 'primary-region';
  return description.rotationEnabled ? 'secrets-manager' : 'broker';
}

/** The id of the version that a rotation left pending or is working on; if there is one. */
export function pendingLeftover(description: SecretDescription): string | undefined {
  const pending = versionWithLabel(description, 'AWSPENDING');
  return pending === versionWithLabel(description, 'AWSCURRENT') ? undefined : pending;
}
