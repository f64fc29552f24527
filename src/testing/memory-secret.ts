import { SecretStoreError } from '../secrets/secret-store-error.js';
import type { SecretDescription } from '../secrets/secret-store.js';

/** What `describe` says besides the labels. */
export type MemorySecretTraits = Omit<SecretDescription, 'secretId' | 'labels'>;

/** A version of a secret in memory. */
export interface MemoryVersion {
  /** Undefined while Secrets Manager has only registered the version id. */
  value: string | undefined;
  readonly labels: Set<string>;
  readonly createdAt: number;
}

/** A secret in memory. */
export interface MemorySecret {
  readonly versions: Map<string, MemoryVersion>;
  traits: MemorySecretTraits;
}

/** The version that has a label, if any. */
export function holder(secret: MemorySecret, label: string): string | undefined {
  for (const [versionId, version] of secret.versions) {
    if (version.labels.has(label)) return versionId;
  }
  return undefined;
}

/** Puts a label on one version and takes it from all others. */
export function moveLabel(secret: MemorySecret, label: string, versionId: string): void {
  for (const version of secret.versions.values()) version.labels.delete(label);
  secret.versions.get(versionId)?.labels.add(label);
}

/** Makes a version current; the one before becomes AWSPREVIOUS. */
export function moveCurrent(secret: MemorySecret, versionId: string): void {
  const before = holder(secret, 'AWSCURRENT');
  moveLabel(secret, 'AWSCURRENT', versionId);
  if (before !== undefined && before !== versionId) moveLabel(secret, 'AWSPREVIOUS', before);
}

/** What a store says that starts no rotation by itself, or none just now. */
export function rotationRefused(
  code: 'STORE_ROTATION_UNSUPPORTED' | 'STORE_ROTATION_PENDING',
): SecretStoreError {
  return new SecretStoreError(code, 'The store does not start a rotation of the secret now.');
}

/** No version matches, or it has no value. */
export function notFound(secretId: string, which: string): SecretStoreError {
  return new SecretStoreError(
    'VERSION_NOT_FOUND',
    `The secret "${secretId}" has no version ${which} with a value.`,
  );
}
