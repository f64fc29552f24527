import { BrokerError, type BrokerErrorOptions, type ErrorKind } from '../tokens/errors.js';

/** Every way in which a secret store fails, with who has to act. */
const KINDS = {
  /** No secret has that id. */
  SECRET_NOT_FOUND: 'misconfigured',
  /** No version matches, or it has no value yet. */
  VERSION_NOT_FOUND: 'retry',
  /** The version id exists with a different value. */
  VERSION_CONFLICT: 'bug',
  /** Another version is current than the caller expected. */
  PROMOTE_CONFLICT: 'retry',
  /** The store was asked to rotate the secret itself, and an earlier rotation has not ended. */
  STORE_ROTATION_PENDING: 'retry',
  /** The store cannot rotate the secret by itself. */
  STORE_ROTATION_UNSUPPORTED: 'misconfigured',
  /** The value is neither text nor UTF-8 bytes, or too large. */
  VALUE_INVALID: 'misconfigured',
  /** The store, or the machine's disk, allows no write. */
  STORE_READ_ONLY: 'misconfigured',
  /** The disk is full. */
  STORE_FULL: 'retry',
  /** What is stored was changed or damaged: authentication failed. */
  STORE_TAMPERED: 'misconfigured',
  /** The store's file is not a store, or is truncated. */
  STORE_CORRUPT: 'misconfigured',
  /** A newer release wrote the store; this one does not know its schema. */
  STORE_VERSION_UNSUPPORTED: 'misconfigured',
  /** The master key (or KMS key) does not open the store. */
  STORE_KEY_WRONG: 'misconfigured',
  /** The identity may not do this. */
  STORE_ACCESS_DENIED: 'misconfigured',
  /** The identity's credentials are missing or have expired. */
  STORE_CREDENTIALS: 'misconfigured',
  /** The request was refused as wrong. */
  STORE_REQUEST_INVALID: 'bug',
  /** A quota of the store is reached. */
  STORE_LIMIT: 'misconfigured',
  /** Too many requests. */
  STORE_THROTTLED: 'retry',
  /** No answer in time. */
  STORE_TIMEOUT: 'retry',
  /** The store cannot be reached, or failed inside. */
  STORE_UNAVAILABLE: 'retry',
  /** Another process holds the store's lock for too long. */
  STORE_BUSY: 'retry',
} as const satisfies Record<string, ErrorKind>;

/** The stable codes of {@link SecretStoreError}. */
export type SecretStoreErrorCode = keyof typeof KINDS;

/** A secret store could not do what was asked. Messages name the secret's id and the way out, never a value. */
export class SecretStoreError extends BrokerError {
  declare readonly code: SecretStoreErrorCode;

  constructor(
    code: SecretStoreErrorCode,
    message: string,
    options: BrokerErrorOptions & { kind?: ErrorKind } = {},
  ) {
    super(code, options.kind ?? KINDS[code], message, options);
  }
}

/** True for a {@link SecretStoreError} with one of the codes. */
export function isStoreError(
  error: unknown,
  ...codes: readonly SecretStoreErrorCode[]
): error is SecretStoreError {
  return error instanceof SecretStoreError && codes.includes(error.code);
}
