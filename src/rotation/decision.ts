import type { SecretDescription } from '../secrets/secret-store.js';
import type { RotationErrorCode } from './rotation-error.js';

/** The four steps of Secrets Manager's rotation contract, in their order. */
export const ROTATION_STEPS = ['createSecret', 'setSecret', 'testSecret', 'finishSecret'] as const;

/** One of the four steps. */
export type RotationStep = (typeof ROTATION_STEPS)[number];

/** Who drives the steps. */
export interface StepDriver {
  /**
   * True when Secrets Manager calls: it has registered the version id as AWSPENDING before the first step, and
   * rotation is enabled. False when the broker rotates by itself, and createSecret brings the version into being.
   */
  readonly managed: boolean;
}

/** What is due for a step: act, return success without acting, or fail. */
export type StepDecision =
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
