/** The labels that this package moves. Each stands on at most one version of a secret. */
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

/** How a store rotates a secret by itself, as far as it tells. */
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

/** What a store tells about a secret without reading a value. */
export interface SecretDescription {
  readonly secretId: string;
  /** Labels by version id, for every version that has one. A listed version need not have a value yet. */
  readonly labels: ReadonlyMap<string, readonly string[]>;
  /** True when the store itself rotates the secret (AWS: RotationEnabled). The broker then never writes on its own. */
  readonly rotationEnabled: boolean;
  /** True when this is a copy in another Region: it can be read, never written. */
  readonly readOnlyReplica: boolean;
  /** How the store rotates the secret; `undefined` where it does not, or does not tell. */
  readonly storeRotation?: StoreRotation;
  /** When anything about the secret changed last, in milliseconds since the Unix epoch, where the store tells. */
  readonly changedAt?: number;
  /** The key that protects the secret, by the store's name for it (AWS: KmsKeyId), where the store tells. */
  readonly encryptionKeyId?: string;
}

/** Options of {@link SecretStore.putPending}. */
export interface PutPendingOptions {
  /** Secrets Manager's RotationToken, passed on as it came. Sensitive: never logged. */
  readonly rotationToken?: string;
}

/**
 * Where secrets live. It says what can be done, never what should be: all policy is the caller's.
 *
 * Adapters are held by one contract suite, `test/contract/secret-store.contract.ts`. Every method rejects with a
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
   * same id and different values just one succeeds.
   *
   * @throws `VERSION_CONFLICT` when another value has the id, `SECRET_NOT_FOUND`.
   */
  putClaim(secretId: string, versionId: string, value: string): Promise<void>;

  /**
   * Takes {@link CLAIM_LABEL} off a version, which makes no new one; does nothing when the version does not have it, as
   * after a later claim.
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
   * Asks the store to rotate the secret by its own means (AWS: RotateSecret). Resolves when the request is taken; the
   * rotation itself goes on afterwards, and only reading tells how it ended.
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
