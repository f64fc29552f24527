import { TokenRejectedError } from '../errors.js';
import type { JsonObject } from './strict-json.js';

/** The members of the JOSE header that verification uses. */
export interface TokenHeader {
  /** The signature algorithm, as the token claims it. */
  readonly alg: string;
  /** The key's id; absent when the issuer names no keys. */
  readonly kid: string | undefined;
  /** The media type, in lower case and without `application/` (RFC 7515 §4.1.9); absent when not given. */
  readonly typ: string | undefined;
}

/** The longest key id, in characters; far above what any provider uses. */
const MAX_KID_LENGTH = 256;

/**
 * Members that bring or link a key of the sender's choosing, or change how the rest is read. None is ever needed to
 * verify an access token, and each has been a way in (RFC 8725 §3.10).
 */
const REFUSED_MEMBERS = ['jwk', 'jku', 'x5u', 'x5c', 'crit', 'b64'] as const;

/** Types an access token may declare; RFC 9068 §2.1 for the second. */
const ACCEPTED_TYPES: ReadonlySet<string> = new Set(['jwt', 'at+jwt']);

/**
 * Reads the JOSE header.
 *
 * @throws {TokenRejectedError} `TOKEN_HEADER_REFUSED` or `TOKEN_TYPE_WRONG`.
 */
export function readHeader(header: JsonObject): TokenHeader {
  for (const name of REFUSED_MEMBERS) {
    if (Object.hasOwn(header, name)) {
      throw refused(`it has the member "${name}", which an access token has no use for`);
    }
  }
  const { alg, kid } = header;
  if (typeof alg !== 'string' || alg === '') throw refused('"alg" must be a non-empty string');
  if (kid !== undefined && (typeof kid !== 'string' || kid === '' || kid.length > MAX_KID_LENGTH)) {
    throw refused(`"kid" must be a string of 1 to ${MAX_KID_LENGTH} characters`);
  }
  return { alg, kid, typ: readType(header['typ']) };
}

function readType(value: unknown): string | undefined {
  if (value === undefined) return undefined;
  const type = typeof value === 'string' ? normalizeType(value) : undefined;
  if (type === undefined || !ACCEPTED_TYPES.has(type)) {
    throw new TokenRejectedError(
      'TOKEN_TYPE_WRONG',
      'This is not an access token: the header\'s "typ" must be "JWT" or "at+jwt", or absent.',
    );
  }
  return type;
}

function normalizeType(value: string): string {
  const lower = value.toLowerCase();
  return lower.startsWith('application/') ? lower.slice('application/'.length) : lower;
}

function refused(what: string): TokenRejectedError {
  return new TokenRejectedError('TOKEN_HEADER_REFUSED', `The token's header is refused: ${what}.`);
}
