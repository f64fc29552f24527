import { TokenRejectedError } from '../errors.js';
import { decodeBase64urlText, isCanonicalBase64url } from './base64url.js';
import { readClaims, type RegisteredClaims } from './claims.js';
import { readHeader, type TokenHeader } from './header.js';
import { isJsonObject, parseStrictJson, type JsonObject } from './strict-json.js';

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

/** The largest token by default, in characters (16 KiB); headers of common HTTP servers end there too. */
export const DEFAULT_MAX_TOKEN_LENGTH = 16_384;

/** How deeply claims may nest. Real tokens stay under half of it. */
const MAX_DEPTH = 16;

/** One pass, no backtracking: the dots are not in the class. */
const COMPACT = /^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+$/;

/**
 * Reads a compact JWS (RFC 7515 §7.1) whose payload is a JWT claims set (RFC 7519), strictly: everything that two
 * readers could read in two ways is refused before any cryptography.
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
