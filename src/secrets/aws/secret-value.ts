import { SecretStoreError } from '../secret-store-error.js';

/** The two shapes in which Secrets Manager keeps a value. */
export interface StoredValue {
  readonly SecretString?: string | undefined;
  readonly SecretBinary?: Uint8Array | undefined;
}

/**
 * The value as text. Bytes are decoded as UTF-8, strictly, and nothing is taken off (no byte-order mark).
 *
 * @throws {SecretStoreError} `VALUE_INVALID` when the bytes are not UTF-8, `VERSION_NOT_FOUND` when there is no value.
 */
export function decodeValue(secretId: string, stored: StoredValue): string {
  if (stored.SecretString !== undefined) return stored.SecretString;
  if (stored.SecretBinary === undefined) {
    throw new SecretStoreError(
      'VERSION_NOT_FOUND',
      `The version of the secret "${secretId}" has no value yet.`,
    );
  }
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(stored.SecretBinary);
  } catch {
    throw new SecretStoreError(
      'VALUE_INVALID',
      `The binary value of the secret "${secretId}" is not UTF-8 text. Write it again as JSON text, best as SecretString.`,
    );
  }
}
