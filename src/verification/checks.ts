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
  const fault = timeFault(claims, rules, now, clockSkewSeconds);
  if (fault !== undefined) throw timeError(fault, rules);
}

/** What is wrong with a token's times at one moment. */
export type TimeFault = 'expired' | 'nbf-ahead' | 'iat-ahead' | 'ends-before-start' | 'too-long';

/** The first thing that is wrong with the times, or `undefined`: the decision behind {@link checkTimes}. */
export function timeFault(
  { exp, nbf, iat }: RegisteredClaims,
  { maxTokenLifetimeSeconds: longest }: Pick<IssuerRules, 'maxTokenLifetimeSeconds'>,
  now: number,
  clockSkewSeconds: number,
): TimeFault | undefined {
  const seconds = now / 1000;
  if (seconds >= exp + clockSkewSeconds) return 'expired';
  if (nbf !== undefined && nbf > seconds + clockSkewSeconds) return 'nbf-ahead';
  if (iat !== undefined && iat > seconds + clockSkewSeconds) return 'iat-ahead';
  if (iat !== undefined && exp <= iat) return 'ends-before-start';
  const start = iat ?? Math.floor(seconds);
  return longest !== null && exp - start > longest ? 'too-long' : undefined;
}

function timeError(fault: TimeFault, rules: IssuerRules): TokenRejectedError {
  const [code, words] = TIME_FAULTS[fault];
  return new TokenRejectedError(
    code,
    fault === 'too-long'
      ? `${words}, ${rules.maxTokenLifetimeSeconds} seconds (maxTokenLifetimeSeconds).`
      : words,
  );
}

const TIME_FAULTS: Readonly<Record<TimeFault, readonly [code: TokenRejectionCode, words: string]>> =
  {
    expired: ['TOKEN_EXPIRED', 'The token has expired ("exp").'],
    'nbf-ahead': ['TOKEN_NOT_YET_VALID', notYetValid('nbf')],
    'iat-ahead': ['TOKEN_NOT_YET_VALID', notYetValid('iat')],
    'ends-before-start': [
      'TOKEN_CLAIM_INVALID',
      'The token\'s claims are refused: "exp" must be later than "iat".',
    ],
    'too-long': ['TOKEN_LIFETIME_TOO_LONG', 'The token lives longer than allowed for this issuer'],
  };

function notYetValid(claim: 'nbf' | 'iat'): string {
  return `The token is not valid yet ("${claim}" lies in the future). Check the clocks.`;
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
        ? `The token names no audience ("aud"); expected: ${quoted(audiences)}.`
        : `The token is meant for another audience ("aud"); expected: ${quoted(audiences)}.`,
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

/** Configured values for a message: a few of them, since there may be many. */
export function quoted(values: Iterable<string>): string {
  const all = [...values].map((value) => JSON.stringify(value));
  const rest = all.length - MAX_QUOTED;
  return `${all.slice(0, MAX_QUOTED).join(' or ')}${rest > 0 ? ` or one of ${rest} more` : ''}`;
}

const MAX_QUOTED = 5;

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
  'sender-constrained': [
    'TOKEN_SENDER_CONSTRAINED',
    'The token is bound to a key ("cnf"), which nobody checks here: the client has to ask for a token without DPoP or mutual TLS, or the issuer\'s option senderConstraint: null welcomes bound tokens',
  ],
  'claims-malformed': [
    'TOKEN_CLAIM_INVALID',
    "The token's claims about the client, the actor or the scopes are malformed or contradict each other",
  ],
  'client-not-allowed': [
    'TOKEN_CLIENT_NOT_ALLOWED',
    "The token's client is not on the issuer's list for this kind of token, or only on the one for the other kind",
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
