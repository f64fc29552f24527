import { SecretStoreError } from './secret-store-error.js';

/** The largest value of a version, in bytes of UTF-8: the limit of Secrets Manager, kept by every store. */
export const MAX_VALUE_BYTES = 65_536;

/** The shortest and the longest version id, in characters (Secrets Manager: ClientRequestToken). */
export const VERSION_ID_LENGTH = { min: 32, max: 64 } as const;

/** The longest secret id, in characters (Secrets Manager: Name). */
export const MAX_SECRET_ID_LENGTH = 512;

/**
 * @throws {SecretStoreError} `STORE_REQUEST_INVALID` unless the id has 32 to 64 characters, none of them a control
 *   character or half of a surrogate pair.
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
