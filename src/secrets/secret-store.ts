import { BrokerError, type BrokerErrorOptions, type ErrorKind } from '../tokens/errors.js';

/** The labels that this package moves. At most one version of a secret has each. */
export type SecretLabel = 'AWSCURRENT' | 'AWSPENDING' | 'AWSPREVIOUS';

/** The label of claims: versions that hold no token, and only say which replica mints for a slot. */
export const CLAIM_LABEL = 'BROKERCLAIM';

/** Which version to read: the one with a label, the one with an id, or the one that has both. */
export interface VersionSelector {
  readonly label?: SecretLabel;
  readonly versionId?: string;
}

/** One version of a secret, with its value. */
export interface SecretVersion {
  readonly versionId: string;
  /** The value as text; a binary value is decoded as UTF-8. */
  readonly value: string;
  readonly labels: readonly string[];
  /** Milliseconds since the Unix epoch, by the store's clock. */
  readonly createdAt: number;
}

/** How the store itself rotates a secret, as far as it says. */
export interface StoreRotation {
  /** Where the rotation function is (AWS: RotationLambdaARN). */
  readonly functionId?: string;
  /** The schedule in the store's own notation, for example `cron(0 3 * * ? *)` or `rate(1 day)`. */
  readonly schedule?: string;
  /** How long after the schedule's instant a rotation may begin, in the store's own notation, for example `2h`. */
  readonly window?: string;
  /** The last rotation that ended well, in milliseconds since the Unix epoch. */
  readonly lastAt?: number;
  /** When the next one begins at the latest, in milliseconds since the Unix epoch. */
  readonly nextAt?: number;
}

/** What a store says about a secret without reading a value. */
export interface SecretDescription {
  readonly secretId: string;
  /** Labels by version id, for every version that has one. A listed version need not have a value yet. */
  readonly labels: ReadonlyMap<string, readonly string[]>;
  /** True when the store itself rotates the secret (AWS: RotationEnabled). The broker then never writes on its own. */
  readonly rotationEnabled: boolean;
  /** True when this is a copy in another Region: it can be read, never written. */
  readonly readOnlyReplica: boolean;
  /** How the store rotates the secret; `undefined` where it does not, or does not say. */
  readonly storeRotation?: StoreRotation;
  /** When anything about the secret changed last, in milliseconds since the Unix epoch, where the store says. */
  readonly changedAt?: number;
  /** The key that protects the secret, by the store's name for it (AWS: KmsKeyId), where the store says. */
  readonly encryptionKeyId?: string;
}

/** Options of {@link SecretStore.putPending}. */
export interface PutPendingOptions {
  /** Secrets Manager's RotationToken, passed on as it came. Sensitive: never logged. */
  readonly rotationToken?: string;
}

/**
 * Where secrets are kept. It says what can be done, never what should be done: policy stays in the caller.
 *
 * One contract suite tests every adapter: `test/contract/secret-store.contract.ts`. Every method rejects with a
 * `SecretStoreError` and nothing else.
 */
export interface SecretStore {
  /** For messages and metrics: `embedded` or `aws`. */
  readonly name: string;

  /**
   * Reads one version. Without a selector: AWSCURRENT.
   *
   * @throws `SECRET_NOT_FOUND` when the secret does not exist, `VERSION_NOT_FOUND` when no version matches, or the
   *   version has no value yet.
   */
  read(secretId: string, selector?: VersionSelector): Promise<SecretVersion>;

  /** Labels and rotation state, without a value. @throws `SECRET_NOT_FOUND` */
  describe(secretId: string): Promise<SecretDescription>;

  /** Creates an empty secret; does nothing when it exists. */
  create(secretId: string, description: string): Promise<void>;

  /**
   * Writes a version and moves AWSPENDING to it. The same id with the same value succeeds and changes nothing.
   *
   * A store may also put AWSCURRENT on the very first version of a secret (Secrets Manager does).
   *
   * @param versionId 32 to 64 characters.
   * @throws `VERSION_CONFLICT` when the id exists with a different value, `SECRET_NOT_FOUND`.
   */
  putPending(
    secretId: string,
    versionId: string,
    value: string,
    options?: PutPendingOptions,
  ): Promise<void>;

  /**
   * Writes a version and moves only {@link CLAIM_LABEL} to it: an atomic test-and-set, since of all callers with the
   * same id and different values exactly one succeeds.
   *
   * @throws `VERSION_CONFLICT` when another value has the id, `SECRET_NOT_FOUND`.
   */
  putClaim(secretId: string, versionId: string, value: string): Promise<void>;

  /**
   * Takes {@link CLAIM_LABEL} off a version; does nothing when the version does not have it, as after a later claim.
   *
   * @throws `SECRET_NOT_FOUND`
   */
  releaseClaim(secretId: string, versionId: string): Promise<void>;

  /**
   * Moves AWSCURRENT to a version if `expectedCurrent` has it at this moment (compare-and-swap); the version that
   * loses it gets AWSPREVIOUS. `undefined` expects that no version has it.
   *
   * @throws `PROMOTE_CONFLICT` when another version has it, `VERSION_NOT_FOUND`, `SECRET_NOT_FOUND`.
   */
  promote(secretId: string, versionId: string, expectedCurrent: string | undefined): Promise<void>;

  /** Takes AWSPENDING off a version; does nothing when the version does not have it. @throws `SECRET_NOT_FOUND` */
  clearPending(secretId: string, versionId: string): Promise<void>;

  /**
   * Asks the store to rotate the secret by its own means (AWS: RotateSecret). Resolves when the request is accepted; the
   * rotation goes on afterwards, and only reading shows how it ended.
   *
   * @param versionId the id of the version that the rotation brings: 32 to 64 characters.
   * @throws `STORE_ROTATION_PENDING` while another version is AWSPENDING, `STORE_ROTATION_UNSUPPORTED` when the store
   *   has no means to rotate the secret, `SECRET_NOT_FOUND`.
   */
  requestRotation(secretId: string, versionId: string): Promise<void>;

  /** Releases files and sockets. The store cannot be used afterwards. */
  close(): Promise<void>;
}

/** Nest's injection token for the {@link SecretStore} in use. */
export const SecretStore = Symbol('SecretStore');

/** The version id that has a label, if any. */
export function versionWithLabel(
  description: SecretDescription,
  label: SecretLabel | typeof CLAIM_LABEL,
): string | undefined {
  for (const [versionId, labels] of description.labels) {
    if (labels.includes(label)) return versionId;
  }
  return undefined;
}

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
  /** The store itself cannot rotate the secret. */
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

/** The largest value of a version, in bytes of UTF-8: the limit of Secrets Manager, kept by every store. */
export const MAX_VALUE_BYTES = 65_536;

/** The shortest and the longest version id, in characters (Secrets Manager: ClientRequestToken). */
export const VERSION_ID_LENGTH = { min: 32, max: 64 } as const;

/** The longest secret id, in characters (Secrets Manager: Name). */
const MAX_SECRET_ID_LENGTH = 512;

/**
 * @throws {SecretStoreError} `STORE_REQUEST_INVALID` unless the id has 32 to 64 characters, without control characters
 *   or halves of surrogate pairs.
 */
export function requireVersionId(secretId: string, versionId: string): void {
  const { min, max } = VERSION_ID_LENGTH;
  if (/[\p{Cc}\p{Surrogate}]/u.test(versionId)) {
    throw new SecretStoreError(
      'STORE_REQUEST_INVALID',
      `A version id of the secret "${secretId}" must be printable text; this one has a control character in it.`,
    );
  }
  if (versionId.length >= min && versionId.length <= max) return;
  throw new SecretStoreError(
    'STORE_REQUEST_INVALID',
    `A version id of the secret "${secretId}" must have ${min} to ${max} characters; this one has ${versionId.length}. A UUID has 36.`,
  );
}

/**
 * The value as bytes of UTF-8.
 *
 * @throws {SecretStoreError} `VALUE_INVALID` when it is empty, larger than {@link MAX_VALUE_BYTES}, or not Unicode text
 *   (a surrogate without its pair), which would not come back as it was written.
 */
export function encodeValue(secretId: string, value: string): Buffer {
  const bytes = Buffer.from(value, 'utf8');
  if (bytes.length === 0) throw invalid(secretId, 'is empty');
  if (bytes.length > MAX_VALUE_BYTES) {
    throw invalid(secretId, `has ${bytes.length} bytes, and ${MAX_VALUE_BYTES} are allowed`);
  }
  if (/\p{Surrogate}/u.test(value)) {
    throw invalid(secretId, 'is not Unicode text: a surrogate stands without its pair');
  }
  return bytes;
}

/** @throws {SecretStoreError} `STORE_REQUEST_INVALID` unless Secrets Manager would take the id as a name too. */
export function requireNewSecretId(secretId: string): void {
  if (secretId.length <= MAX_SECRET_ID_LENGTH && /^[A-Za-z0-9/_+=.@-]+$/.test(secretId)) return;
  throw new SecretStoreError(
    'STORE_REQUEST_INVALID',
    `A secret id must have 1 to ${MAX_SECRET_ID_LENGTH} characters, and only letters, digits and /_+=.@- in it; choose another id for the secret ${JSON.stringify(secretId.slice(0, 80))}.`,
  );
}

function invalid(secretId: string, what: string): SecretStoreError {
  return new SecretStoreError('VALUE_INVALID', `The value for the secret "${secretId}" ${what}.`);
}
