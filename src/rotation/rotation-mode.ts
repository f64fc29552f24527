import { versionWithLabel, type SecretDescription } from '../secrets/secret-store.js';

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

/** The id of the version that a rotation left pending, or that one is working on now; if there is one. */
export function pendingLeftover(description: SecretDescription): string | undefined {
  const pending = versionWithLabel(description, 'AWSPENDING');
  return pending === versionWithLabel(description, 'AWSCURRENT') ? undefined : pending;
}
