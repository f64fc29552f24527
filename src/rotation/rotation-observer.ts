import type { RotationStep } from './decision.js';

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
  /** Nothing was done for somebody who asked: the current token is of a moment ago. */
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

/** What a rotation tells while it runs. Implemented by logs and metrics; a method that throws is a bug. */
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
  /** The claim of a mint that failed could not be released: other replicas wait until it lapses. */
  claimKept?(error: unknown): void;
  /** A mint was asked of the provider, and ended with an error code or well. */
  mintEnded?(code: 'OK' | (string & {})): void;
}

/** Whether a rotation with this result has brought, or found, the token that it was for. */
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

  /** The newest outcome that ended well; a mere request is none, and neither is a token that was there. */
  latestSuccess(): RotationOutcome | undefined {
    return this.#kept.find(({ result }) => isSuccess(result));
  }
}
