import { decodeText } from '../../tokens/pasted-text.js';
import { SecretStoreError } from '../secret-store-error.js';

/** The two shapes in which Secrets Manager keeps a value. */
export interface StoredValue {
  readonly SecretString?: string | undefined;
  readonly SecretBinary?: Uint8Array | undefined;
}

/**
 * The value as text. Bytes are decoded strictly, as UTF-8 (or as UTF-16 with a byte-order mark); nothing is taken off.
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
  const text = decodeText(stored.SecretBinary);
  if (text !== undefined) return text;
  throw new SecretStoreError(
    'VALUE_INVALID',
    `The binary value of the secret "${secretId}" is not UTF-8 text. Write it again as JSON text, best as SecretString.`,
  );
}
