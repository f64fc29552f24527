import { TokenRejectedError } from '../errors.js';
import type { JsonObject } from './strict-json.js';

/** The registered claims (RFC 7519 §4.1) with their types proven. Dates are seconds since the Unix epoch, with fractions. */
export interface RegisteredClaims {
  readonly iss: string;
  readonly exp: number;
  readonly nbf: number | undefined;
  readonly iat: number | undefined;
  /** Always a list; `undefined` when the token names no audience. */
  readonly aud: readonly string[] | undefined;
}

/** The last second of the year 9999: everything later is a mistake, and some date libraries fail on it. */
const MAX_DATE = 253_402_300_799;

/** Claims that identify somebody. A list where a string is due could match a careless comparison. */
const STRING_CLAIMS = ['sub', 'azp', 'client_id', 'cid', 'appid', 'jti'] as const;

/**
 * Reads the registered claims. A claim that is `null` is absent, as providers write what they have no value for.
 *
 * @throws {TokenRejectedError} `TOKEN_CLAIM_INVALID`.
 */
export function readClaims(payload: JsonObject): RegisteredClaims {
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
  // An empty list names nobody: whoever checks the audience refuses it for that.
  return list.length === 0 ? undefined : (list as readonly string[]);
}

function invalid(what: string): TokenRejectedError {
  return new TokenRejectedError('TOKEN_CLAIM_INVALID', `The token's claims are refused: ${what}.`);
}
