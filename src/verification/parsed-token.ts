import { isUtf8 } from 'node:buffer';
import { TokenRejectedError } from './verification-errors.js';
import { type JsonObject, isJsonObject, parseStrictJson } from '../tokens/json.js';

/** A token that is well formed. Nothing in it is proven yet. */
export interface ParsedToken {
  readonly header: TokenHeader;
  /** The registered claims with their types proven. */
  readonly claims: RegisteredClaims;
  /** All claims, as parsed. */
  readonly payload: JsonObject;
  /** What was signed: header and payload as they came, in ASCII (RFC 7515 §5.2). */
  readonly signingInput: string;
  /** The signature in canonical base64url. */
  readonly signature: string;
}

/** The members of the JOSE header that verification uses. */
export interface TokenHeader {
  /** The signature algorithm, as the token claims it. */
  readonly alg: string;
  /** The key's id; absent when the issuer names no keys. */
  readonly kid: string | undefined;
  /** The media type, in lower case and without `application/` (RFC 7515 §4.1.9); absent when not given. */
  readonly typ: string | undefined;
}

/** The registered claims (RFC 7519 §4.1) with their types proven. Dates are seconds since the Unix epoch, with fractions. */
export interface RegisteredClaims {
  readonly iss: string;
  readonly exp: number;
  readonly nbf: number | undefined;
  readonly iat: number | undefined;
  /** Always a list; `undefined` when the token names no audience. */
  readonly aud: readonly string[] | undefined;
}

/** The largest token by default, in characters (16 KiB): the limit of common HTTP servers for headers. */
export const DEFAULT_MAX_TOKEN_LENGTH = 16_384;

/** How deeply claims may nest. Real tokens stay under half of it. */
const MAX_DEPTH = 16;

/** One pass, no backtracking: the dots are not in the class. */
const COMPACT = /^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+$/;

/**
 * Reads a compact JWS (RFC 7515 §7.1) whose payload is a JWT claims set (RFC 7519), strictly: whatever two parsers could
 * read differently is rejected before any cryptography.
 *
 * @param token what was received; anything but a string is refused.
 * @param maxLength the largest accepted length, in characters.
 * @throws {TokenRejectedError} `TOKEN_MALFORMED`, `TOKEN_HEADER_REFUSED`, `TOKEN_TYPE_WRONG` or `TOKEN_CLAIM_INVALID`.
 */
export function parseToken(token: unknown, maxLength = DEFAULT_MAX_TOKEN_LENGTH): ParsedToken {
  if (typeof token !== 'string') throw malformed('it is not a string');
  if (token.length > maxLength) throw malformed(`it is longer than ${maxLength} characters`);
  if (!COMPACT.test(token)) throw malformed(describeShape(token));
  const firstDot = token.indexOf('.');
  const lastDot = token.lastIndexOf('.');
  const signature = token.slice(lastDot + 1);
  if (!isCanonicalBase64url(signature)) {
    throw malformed('its signature is not canonical base64url');
  }
  const header = readHeader(readPart(token.slice(0, firstDot), 'header'));
  const payload = readPart(token.slice(firstDot + 1, lastDot), 'payload');
  const claims = readClaims(payload);
  return { header, claims, payload, signingInput: token.slice(0, lastDot), signature };
}

function readPart(encoded: string, part: 'header' | 'payload'): JsonObject {
  if (!isCanonicalBase64url(encoded)) throw malformed(`its ${part} is not canonical base64url`);
  const text = decodeBase64urlText(encoded);
  if (text === undefined) throw malformed(`its ${part} is not UTF-8`);
  const json = parseStrictJson(text, MAX_DEPTH);
  if (!json.ok) throw malformed(`its ${part} is refused: ${json.fault}`);
  if (!isJsonObject(json.value)) throw malformed(`its ${part} is not a JSON object`);
  return json.value;
}

function describeShape(token: string): string {
  const parts = token.split('.').length;
  if (parts === 5) return 'it has five parts, so it is encrypted (JWE), which is not supported';
  if (parts === 1) return 'it has no dots, so it is an opaque token or something else';
  if (parts !== 3) return `it has ${parts} parts where a signed token has three`;
  if (/\s/.test(token)) return 'it contains white space';
  if (/[+/=]/.test(token)) return 'it is base64 where base64url without padding is due';
  if (token.endsWith('.')) return 'it has no signature';
  return 'it has an empty part or characters that are not base64url';
}

function malformed(what: string): TokenRejectedError {
  return new TokenRejectedError('TOKEN_MALFORMED', `This is not a well-formed token: ${what}.`);
}

/** The last characters that leave no bits over, by the length of the text modulo four (RFC 4648 §3.5). */
const LAST_OF_TWO = /[AQgw]$/;
const LAST_OF_THREE = /[AEIMQUYcgkosw048]$/;

/**
 * True when a text of base64url characters is the only encoding of its bytes: a possible length, and no stray bits in
 * the last character. Otherwise several texts would be the same token.
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

/** The longest key id, in characters; far above what any provider uses. */
const MAX_KID_LENGTH = 256;

/**
 * Members that bring or link a key of the sender's choosing, or change how the rest is read. No access token needs them,
 * and each has been exploited (RFC 8725 §3.10).
 */
const REFUSED_MEMBERS = ['jwk', 'jku', 'x5u', 'x5c', 'crit', 'b64'] as const;

/** Types an access token may declare; RFC 9068 §2.1 for the second. */
const ACCEPTED_TYPES: ReadonlySet<string> = new Set(['jwt', 'at+jwt']);

/**
 * Reads the JOSE header.
 *
 * @throws {TokenRejectedError} `TOKEN_HEADER_REFUSED` or `TOKEN_TYPE_WRONG`.
 */
function readHeader(header: JsonObject): TokenHeader {
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

/** The last second of the year 9999: later dates are mistakes, and some date libraries fail on them. */
const MAX_DATE = 253_402_300_799;

/** Claims that identify a party. A list in place of a string could match a careless comparison. */
const STRING_CLAIMS = ['sub', 'azp', 'client_id', 'cid', 'appid', 'jti'] as const;

/**
 * Reads the registered claims. A claim that is `null` is absent, as providers write what they have no value for.
 *
 * @throws {TokenRejectedError} `TOKEN_CLAIM_INVALID`.
 */
function readClaims(payload: JsonObject): RegisteredClaims {
  const { iss } = payload;
  if (typeof iss !== 'string' || iss === '') throw invalid('"iss" must be a non-empty string');
  for (const name of STRING_CLAIMS) {
    const value = payload[name] ?? undefined;
    if (value !== undefined && (typeof value !== 'string' || value === '')) {
      throw invalid(`"${name}" must be a non-empty string`);
    }
  }
  const exp = readDate(payload, 'exp');
  if (exp === undefined) throw invalid('"exp" is missing: a token without an end is not accepted');
  return {
    iss,
    exp,
    nbf: readDate(payload, 'nbf'),
    iat: readDate(payload, 'iat'),
    aud: readAudience(payload['aud']),
  };
}

function readDate(payload: JsonObject, name: 'exp' | 'nbf' | 'iat'): number | undefined {
  const value = payload[name] ?? undefined;
  if (value === undefined) return undefined;
  // RFC 7519 §2 allows fractions. 1e400 is valid JSON and parses to Infinity, which would never expire.
  if (typeof value !== 'number' || !(value >= 0 && value <= MAX_DATE)) {
    throw invalid(`"${name}" must be a number of seconds from 0 to ${MAX_DATE}`);
  }
  return value;
}

function readAudience(value: unknown): readonly string[] | undefined {
  if (value === undefined || value === null) return undefined;
  const list: readonly unknown[] = Array.isArray(value) ? value : [value];
  if (!list.every((item) => typeof item === 'string' && item !== '')) {
    throw invalid('"aud" must be a non-empty string or a list of them');
  }
  // An empty list names no audience; the audience check rejects it.
  return list.length === 0 ? undefined : (list as readonly string[]);
}

function invalid(what: string): TokenRejectedError {
  return new TokenRejectedError('TOKEN_CLAIM_INVALID', `The token's claims are refused: ${what}.`);
}
