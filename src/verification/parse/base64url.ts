import { isUtf8 } from 'node:buffer';

/** The last characters that leave no bits over, by the length of the text modulo four (RFC 4648 §3.5). */
const LAST_OF_TWO = /[AQgw]$/;
const LAST_OF_THREE = /[AEIMQUYcgkosw048]$/;

/**
 * True when a text of base64url characters is the one and only encoding of its bytes: no length that no bytes have,
 * and no stray bits in the last character. Otherwise several texts would be the same token.
 */
export function isCanonicalBase64url(text: string): boolean {
  switch (text.length % 4) {
    case 0:
      return true;
    case 2:
      return LAST_OF_TWO.test(text);
    case 3:
      return LAST_OF_THREE.test(text);
    default:
      return false;
  }
}

/** The UTF-8 text encoded in base64url, or `undefined` when its bytes are not valid UTF-8. A byte-order mark is kept. */
export function decodeBase64urlText(text: string): string | undefined {
  const bytes = Buffer.from(text, 'base64url');
  return isUtf8(bytes) ? bytes.toString('utf8') : undefined;
}
