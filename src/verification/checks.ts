import { TokenRejectedError, type TokenRejectionCode } from './errors.js';
import type { IssuerRules } from './options.js';
import type { RegisteredClaims } from './parse/claims.js';
import type { TokenHeader } from './parse/header.js';
import type { Classification, ClassificationRefusal } from './profiles/classify.js';

/**
 * Checks the header against the issuer's rules.
 *
 * @throws {TokenRejectedError} `TOKEN_ALGORITHM_REFUSED` or `TOKEN_TYPE_WRONG`.
 */
export function checkHeader(header: TokenHeader, rules: IssuerRules): void {
  if (!rules.algorithms.has(header.alg)) {
    throw new TokenRejectedError(
      'TOKEN_ALGORITHM_REFUSED',
      `The token's "alg" is not allowed for this issuer; allowed: ${[...rules.algorithms].join(', ')}.`,
    );
  }
  if (rules.typ !== undefined && header.typ !== rules.typ) {
    throw new TokenRejectedError(
      'TOKEN_TYPE_WRONG',
      `The header's "typ" must be "${rules.typ}" for this issuer.`,
    );
  }
}

/**
 * Checks the times (RFC 7519 §4.1.4 to §4.1.6) and the length of the token's life.
 *
 * @param now milliseconds since the Unix epoch.
 * @throws {TokenRejectedError} `TOKEN_EXPIRED`, `TOKEN_NOT_YET_VALID`, `TOKEN_LIFETIME_TOO_LONG` or `TOKEN_CLAIM_INVALID`.
 */
export function checkTimes(
  claims: RegisteredClaims,
  rules: IssuerRules,
  now: number,
  clockSkewSeconds: number,
): void {
  const seconds = now / 1000;
  const { exp, nbf, iat } = claims;
  if (seconds >= exp + clockSkewSeconds) {
    throw new TokenRejectedError('TOKEN_EXPIRED', 'The token has expired ("exp").');
  }
  for (const [name, from] of [
    ['nbf', nbf],
    ['iat', iat],
  ] as const) {
    if (from !== undefined && from > seconds + clockSkewSeconds) {
      throw new TokenRejectedError(
        'TOKEN_NOT_YET_VALID',
        `The token is not valid yet ("${name}" lies in the future). Check the clocks.`,
      );
    }
  }
  if (iat !== undefined && exp <= iat) {
    throw new TokenRejectedError(
      'TOKEN_CLAIM_INVALID',
      'The token\'s claims are refused: "exp" must be later than "iat".',
    );
  }
  const longest = rules.maxTokenLifetimeSeconds;
  if (longest !== null && exp - (iat ?? Math.floor(seconds)) > longest) {
    throw new TokenRejectedError(
      'TOKEN_LIFETIME_TOO_LONG',
      `The token lives longer than the ${longest} seconds allowed for this issuer (maxTokenLifetimeSeconds).`,
    );
  }
}

/**
 * Checks that the token is meant for us (RFC 7519 §4.1.3, RFC 9068 §4), and for nobody we do not know of.
 *
 * @throws {TokenRejectedError} `TOKEN_AUDIENCE_WRONG`.
 */
export function checkAudience(claims: RegisteredClaims, rules: IssuerRules): void {
  const { audiences, otherAudiences } = rules;
  if (audiences === null) return;
  const named = claims.aud ?? [];
  if (!named.some((audience) => audiences.includes(audience))) {
    throw new TokenRejectedError(
      'TOKEN_AUDIENCE_WRONG',
      named.length === 0
        ? 'The token names no audience ("aud").'
        : 'The token is meant for another audience ("aud").',
    );
  }
  if (otherAudiences === null) return;
  if (!named.every((name) => audiences.includes(name) || otherAudiences.includes(name))) {
    throw new TokenRejectedError(
      'TOKEN_AUDIENCE_WRONG',
      'The token is also meant for audiences we do not know, which could use it against us (allow them with otherAudiences).',
    );
  }
}

/** The refusal that a rejected classification means. */
export function classificationError(
  { reason }: Extract<Classification, { kind: 'rejected' }>,
  profileName: string,
): TokenRejectedError {
  const [code, words] = REFUSALS[reason];
  return new TokenRejectedError(code, `${words} (profile "${profileName}").`);
}

const REFUSALS: Readonly<
  Record<ClassificationRefusal, readonly [code: TokenRejectionCode, words: string]>
> = {
  'not-an-access-token': ['TOKEN_TYPE_WRONG', 'This is not an access token, by its claims'],
  'claims-malformed': [
    'TOKEN_CLAIM_INVALID',
    "The token's claims about the client, the actor or the scopes are malformed or contradict each other",
  ],
  'client-not-allowed': [
    'TOKEN_CLIENT_NOT_ALLOWED',
    "The token's client is not on the issuer's list for this kind of token",
  ],
  'both-kinds': [
    'TOKEN_KIND_UNDECIDED',
    'The token has the marks of a customer token and of a service token',
  ],
  'neither-kind': [
    'TOKEN_KIND_UNDECIDED',
    'The token has the marks of neither a customer token nor a service token; the command "verify" tells which are missing',
  ],
};
