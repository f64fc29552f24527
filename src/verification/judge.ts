import { TokenRejectedError, type TokenRejectionCode } from './verification-errors.js';
import type { IssuerRules, VerifierRules } from './verifier-options.js';
import {
  type RegisteredClaims,
  type TokenHeader,
  type ParsedToken,
  parseToken,
} from './parsed-token.js';
import { type Classification, type ClassificationRefusal, classify } from './profiles/classify.js';
import { webcrypto } from 'node:crypto';
import type { SignatureAlgorithm } from './keys/usable-keys.js';
import type { VerificationKey, WantedKey } from './keys/key-set.js';
import type { JsonObject } from '../tokens/json.js';
import type { Principal } from './principal.js';

/** A token that passed every check. Deeply frozen, since callers with the same token may share it. */
export interface VerifiedToken {
  /** Who it speaks for. */
  readonly principal: Principal;
  /** All claims, as they came. */
  readonly claims: JsonObject;
  /** Who issued it, as configured. */
  readonly issuer: string;
  /** When it expires (`exp`), in whole milliseconds since the Unix epoch. */
  readonly expiresAt: number;
  /** The id of the key that signed it; `undefined` for a token that names none. */
  readonly keyId: string | undefined;
}

/** An accepted token, and what has to stay true for the judgement to stand. */
export interface Judgement {
  readonly verified: VerifiedToken;
  readonly issuer: IssuerRules;
  readonly claims: RegisteredClaims;
  /** Which key the token asks for. */
  readonly wanted: WantedKey;
  /** Which key verified it. */
  readonly key: VerificationKey;
}

/** The steps of a judgement, in order. The cheap ones come first, so that a flood of old tokens costs little. */
export const JUDGEMENT_STEPS = [
  'parse',
  'issuer',
  'times',
  'audience',
  'key',
  'signature',
  'classification',
] as const;

export type JudgementStep = (typeof JUDGEMENT_STEPS)[number];

/** Follows a judgement, for {@link explainToken}. */
interface JudgementObserver {
  passed(step: JudgementStep, words: string): void;
  /** @param explanation see {@link classify}. */
  classified(explanation: readonly string[]): void;
}

/**
 * Judges a token. The one path for verification and explanation.
 *
 * @throws {TokenRejectedError} when a check refuses it.
 * @throws {KeysUnavailableError} when the issuer's keys are not available.
 */
export async function judgeToken(
  token: unknown,
  rules: VerifierRules,
  signal?: AbortSignal,
  observer?: JudgementObserver,
): Promise<Judgement> {
  const parsed = parseToken(token, rules.maxTokenLength);
  observer?.passed('parse', 'It is a well-formed signed token.');

  const issuer = rules.issuers.get(parsed.claims.iss);
  if (issuer === undefined) throw unknownIssuer(rules);
  checkHeader(parsed.header, issuer);
  observer?.passed('issuer', 'Its issuer is configured, and allows its type and algorithm.');

  const fault = timeFault(parsed.claims, issuer, rules.clock.now(), rules.clockSkewSeconds);
  if (fault !== undefined) throw timeError(fault, issuer);
  observer?.passed('times', 'It is within its life, and that life is not too long.');

  checkAudience(parsed.claims, issuer);
  observer?.passed(
    'audience',
    issuer.audiences === null ? 'Not checked for this issuer.' : 'It is meant for us.',
  );

  // checkHeader has found the algorithm among the issuer's.
  const wanted = { alg: parsed.header.alg as SignatureAlgorithm, kid: parsed.header.kid };
  let key = await issuer.keys.find(wanted, signal);
  observer?.passed('key', 'The issuer publishes its key.');

  if (!(await isSignedWith(key, parsed))) {
    const replacement = await issuer.keys.findReplacement?.(wanted, key, signal);
    if (replacement === undefined || !(await isSignedWith(replacement, parsed))) {
      throw signatureInvalid();
    }
    key = replacement;
  }
  observer?.passed('signature', 'The issuer signed it.');

  const explanation: string[] | undefined = observer && [];
  const { serviceClientIds, customerClientIds, senderConstraint, scopeClaims } = issuer;
  const said = {
    serviceClientIds,
    customerClientIds,
    senderConstraint,
    scopeClaims,
    headerType: parsed.header.typ,
  };
  const classification = classify(parsed.payload, issuer.profile, said, explanation);
  if (explanation !== undefined) observer?.classified(explanation);
  if (classification.kind === 'rejected') {
    throw classificationError(classification, issuer.profile.name);
  }
  observer?.passed('classification', `It is a ${classification.kind} token.`);
  const verified = freezeDeeply({
    principal: toPrincipal(classification, parsed.payload, issuer),
    claims: parsed.payload,
    issuer: issuer.issuer,
    // Fractions of a millisecond are cut off: never later than the token says.
    expiresAt: Math.floor(parsed.claims.exp * 1000),
    keyId: key.keyId,
  });
  return { verified, issuer, claims: parsed.claims, wanted, key };
}

function unknownIssuer({ issuers }: VerifierRules): TokenRejectedError {
  return new TokenRejectedError(
    'TOKEN_ISSUER_UNKNOWN',
    `The token names an issuer that is not configured; expected: ${quoted(issuers.keys())}. "iss" is compared exactly: a slash or a capital letter makes another issuer.`,
  );
}

/**
 * Checks the header against the issuer's rules.
 *
 * @throws {TokenRejectedError} `TOKEN_ALGORITHM_REFUSED` or `TOKEN_TYPE_WRONG`.
 */
function checkHeader(header: TokenHeader, rules: IssuerRules): void {
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

/** What is wrong with a token's times at one moment. */
type TimeFault = 'expired' | 'nbf-ahead' | 'iat-ahead' | 'ends-before-start' | 'too-long';

/**
 * The first thing that is wrong with a token's times (RFC 7519 §4.1.4 to §4.1.6) and the length of its life, or `undefined`.
 *
 * @param now milliseconds since the Unix epoch.
 */
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
 * Checks that the token is meant for us (RFC 7519 §4.1.3, RFC 9068 §4), and for no audience that is not configured.
 *
 * @throws {TokenRejectedError} `TOKEN_AUDIENCE_WRONG`.
 */
function checkAudience(claims: RegisteredClaims, rules: IssuerRules): void {
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

/** The first few of the configured values, for a message. */
function quoted(values: Iterable<string>): string {
  const all = [...values].map((value) => JSON.stringify(value));
  const rest = all.length - MAX_QUOTED;
  return `${all.slice(0, MAX_QUOTED).join(' or ')}${rest > 0 ? ` or one of ${rest} more` : ''}`;
}

const MAX_QUOTED = 5;

type SigningParameters = Parameters<typeof webcrypto.subtle.verify>[0];

/** Parameters besides the key; the hash of RSA keys was fixed at their import (RFC 7518 §3). */
const PARAMETERS: Readonly<Record<SignatureAlgorithm, SigningParameters>> = {
  RS256: { name: 'RSASSA-PKCS1-v1_5' },
  RS384: { name: 'RSASSA-PKCS1-v1_5' },
  RS512: { name: 'RSASSA-PKCS1-v1_5' },
  PS256: { name: 'RSA-PSS', saltLength: 32 },
  PS384: { name: 'RSA-PSS', saltLength: 48 },
  PS512: { name: 'RSA-PSS', saltLength: 64 },
  ES256: { name: 'ECDSA', hash: 'SHA-256' },
  ES384: { name: 'ECDSA', hash: 'SHA-384' },
  ES512: { name: 'ECDSA', hash: 'SHA-512' },
  EdDSA: { name: 'Ed25519' },
  Ed25519: { name: 'Ed25519' },
};

/** Whether the key made the signature (RFC 7515 §5.2, step 8); the strict parse has done the other steps. */
function isSignedWith(key: VerificationKey, token: ParsedToken): Promise<boolean> {
  return webcrypto.subtle.verify(
    PARAMETERS[key.alg],
    key.key,
    Buffer.from(token.signature, 'base64url'),
    Buffer.from(token.signingInput, 'latin1'),
  );
}

function signatureInvalid(): TokenRejectedError {
  return new TokenRejectedError(
    'TOKEN_SIGNATURE_INVALID',
    "The token's signature does not fit its content and the issuer's key.",
  );
}

function classificationError(
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
    'The token is bound to a key ("cnf"), which is not verified here: request a token without DPoP or mutual TLS, or set the issuer\'s option senderConstraint: null to accept bound tokens',
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
    'The token has the marks of neither a customer token nor a service token; the command "verify" shows which are missing',
  ],
};

function toPrincipal(
  classification: Exclude<Classification, { kind: 'rejected' }>,
  claims: JsonObject,
  { issuer }: IssuerRules,
): Principal {
  const { subject, scopes, actor } = classification;
  const base = { subject, issuer, scopes, actor, claims };
  return classification.kind === 'service'
    ? { kind: 'service', clientId: classification.clientId, ...base }
    : { kind: 'customer', clientId: classification.clientId, ...base };
}

/** Freezes plain objects and lists throughout. What is frozen already counts as frozen throughout. */
function freezeDeeply<T>(value: T): T {
  if (typeof value !== 'object' || value === null || Object.isFrozen(value)) return value;
  Object.freeze(value);
  for (const inner of Object.values(value)) freezeDeeply(inner);
  return value;
}
