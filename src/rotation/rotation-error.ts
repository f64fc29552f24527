import { BrokerError, type BrokerErrorOptions, type ErrorKind } from '../tokens/errors.js';

const KINDS = {
  /** The version id is not known to the secret, or has no label any more. */
  ROTATION_VERSION_UNKNOWN: 'retry',
  /** The version is not the pending one: another rotation took its place, or it was given up. */
  ROTATION_NOT_PENDING: 'retry',
  /** The secret is a read-only replica, or Secrets Manager rotates it and nobody asked to have that done now. */
  ROTATION_MANAGED_ELSEWHERE: 'rejected',
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
  /** Another rotation promoted its version first. */
  ROTATION_SUPERSEDED: 'retry',
  /** The process stops: it waited for another replica, or its mint took longer than a stop may. */
  ROTATION_STOPPED: 'retry',
  /** A pending version may belong to a rotation that still runs: it is not cleared. */
  ROTATION_REPAIR_REFUSED: 'retry',
} as const satisfies Record<string, ErrorKind>;

/** The stable codes of {@link RotationError}. */
export type RotationErrorCode = keyof typeof KINDS;

/** A rotation, or one of its steps, could not be done. AWSCURRENT is what it was before. */
export class RotationError extends BrokerError {
  declare readonly code: RotationErrorCode;

  constructor(code: RotationErrorCode, message: string, options: BrokerErrorOptions = {}) {
    super(code, KINDS[code], message, options);
  }
}
