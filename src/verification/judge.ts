import type { SignatureAlgorithm } from './algorithms.js';
import { checkAudience, checkHeader, checkTimes, classificationError, quoted } from './checks.js';
import { TokenRejectedError } from './errors.js';
import { freezeDeeply } from './freeze.js';
import type { VerificationKey, WantedKey } from './keys/key-set.js';
import type { IssuerRules, VerifierRules } from './options.js';
import type { RegisteredClaims } from './parse/claims.js';
import type { JsonObject } from './parse/strict-json.js';
import { parseToken } from './parse/token.js';
import type { Principal } from './principal.js';
import { classify, type Classification } from './profiles/classify.js';
import { isSignedWith } from './signature.js';

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

/** A favourable judgement: the verified token, and what has to go on being true for it to stand. */
export interface Judgement {
  readonly verified: VerifiedToken;
  readonly issuer: IssuerRules;
  readonly claims: RegisteredClaims;
  /** Which key the token asks for. */
  readonly wanted: WantedKey;
  /** Which key verified it. */
  readonly key: VerificationKey;
}

/** What a judgement went through, in order. The cheap steps come first, so that a flood of old tokens costs little. */
export const JUDGEMENT_STEPS = [
  'parse',
  'issuer',
  'times',
  'audience',
  'key',
  'signature',
  'classification',
] as const;

/** One step of a judgement. */
export type JudgementStep = (typeof JUDGEMENT_STEPS)[number];

/** Follows a judgement; `explain` uses it. */
export interface JudgementObserver {
  passed(step: JudgementStep, words: string): void;
  /** @param explanation see {@link classify}. */
  classified(explanation: readonly string[]): void;
}

/**
 * Judges a token. The one path for verification and explanation.
 *
 * @throws {TokenRejectedError} when a check refuses it.
 * @throws {KeysUnavailableError} when the issuer's keys cannot be had.
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

  checkTimes(parsed.claims, issuer, rules.clock.now(), rules.clockSkewSeconds);
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
  const { serviceClientIds, customerClientIds, senderConstraint } = issuer;
  const said = {
    serviceClientIds,
    customerClientIds,
    senderConstraint,
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

function signatureInvalid(): TokenRejectedError {
  return new TokenRejectedError(
    'TOKEN_SIGNATURE_INVALID',
    "The token's signature does not fit its content and the issuer's key.",
  );
}

function unknownIssuer({ issuers }: VerifierRules): TokenRejectedError {
  return new TokenRejectedError(
    'TOKEN_ISSUER_UNKNOWN',
    `The token names an issuer that is not configured; expected: ${quoted(issuers.keys())}. "iss" is compared exactly: a slash or a capital letter makes another issuer.`,
  );
}
