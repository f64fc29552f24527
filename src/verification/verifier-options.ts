import { isObject } from '../tokens/json.js';
import { systemClock, type Clock } from '../tokens/time.js';
import {
  isSignatureAlgorithm,
  SIGNATURE_ALGORITHMS,
  type SignatureAlgorithm,
} from './keys/usable-keys.js';
import { VerifierConfigError } from './verification-errors.js';
import type { KeySet } from './keys/key-set.js';
import { DEFAULT_MAX_TOKEN_LENGTH } from './parsed-token.js';
import { checkProfile, type ClassificationProfile } from './profiles/profile.js';
import { isProfileName, PROFILE_NAMES, PROFILES, type ProfileName } from './profiles/providers.js';

/** One trusted issuer. */
export interface IssuerOptions {
  /** Exactly as in its tokens' `iss` claim: a slash or a capital letter makes another issuer. */
  readonly issuer: string;
  /**
   * Who we are: a token must name at least one of these in `aud`. `null` skips the check, for providers whose access
   * tokens have no `aud` (Cognito); then narrow by client ids instead.
   */
  readonly audiences: string | readonly string[] | null;
  /**
   * Audiences that may stand beside ours. Default: none, because another audience could replay the token here. With Auth0
   * and the scope `openid`, list the tenant's userinfo address. `null` allows any.
   */
  readonly otherAudiences?: readonly string[] | null;
  /** Signature algorithms its tokens may use. Default: all of {@link SIGNATURE_ALGORITHMS}. */
  readonly algorithms?: readonly SignatureAlgorithm[];
  /** How it marks customer and service tokens: a built-in profile's name, or one of your own. */
  readonly profile: ProfileName | ClassificationProfile;
  /** Its public keys. */
  readonly keys: KeySet;
  /** `at+jwt` insists on the type of RFC 9068 §2.1. Default: also `JWT` and none. */
  readonly typ?: 'at+jwt';
  /**
   * The longest life of its tokens, from `iat` (or from now, without it) to `exp`. Default 2592000 (30 days, the most
   * that common providers allow). `null` skips the check.
   */
  readonly maxTokenLifetimeSeconds?: number | null;
  /**
   * Clients whose service tokens are accepted. Default: every client that is not in `customerClientIds`. Required where
   * claims cannot decide.
   */
  readonly serviceClientIds?: readonly string[];
  /**
   * Clients whose customer tokens are accepted. Default: every client that is not in `serviceClientIds`; none where
   * claims cannot decide. A client for both kinds belongs in both lists.
   */
  readonly customerClientIds?: readonly string[];
  /**
   * Tokens that are bound to a key (`cnf`: DPoP of RFC 9449, mutual TLS of RFC 8705) are refused by default, because a
   * Bearer header proves nothing about the key. `null` skips the check: for services behind a proxy that verifies the proof.
   */
  readonly senderConstraint?: null;
  /**
   * The claims that hold scopes, in tokens of both kinds: texts with spaces, or lists of texts. Default: those that the profile
   * names, and no others. With Auth0, `['scope', 'permissions']` also counts what its role-based access control has added; with
   * Entra ID, `['scp', 'roles']` also counts a customer's app roles. Such claims list what the person may do, not what the
   * client was granted. `scopeClaims` replaces the profile's list: name its claims too.
   */
  readonly scopeClaims?: readonly string[];
}

/** How {@link createTokenVerifier} judges tokens. */
export interface TokenVerifierOptions {
  /** The issuers it trusts, each with its own rules. A token is judged only by the one it names. */
  readonly issuers: readonly IssuerOptions[];
  /** Default: the clock of the machine. */
  readonly clock?: Clock;
  /** How far the issuers' clocks may be off, in seconds. From 0 to 600, default 60. */
  readonly clockSkewSeconds?: number;
  /** The largest token, in characters. Default 16384. */
  readonly maxTokenLength?: number;
  /**
   * How many verified tokens are remembered, so that a repeated token is not judged from the start: from 1 to 1000000,
   * default 10000. Stores a hash of the token and who it speaks for, about 1 KB each. `null` remembers none.
   */
  readonly cache?: { readonly maxEntries: number } | null;
}

/** One issuer's rules, checked and with defaults. Spans in seconds. */
export interface IssuerRules {
  readonly issuer: string;
  readonly audiences: readonly string[] | null;
  readonly otherAudiences: readonly string[] | null;
  readonly algorithms: ReadonlySet<string>;
  readonly profile: ClassificationProfile;
  readonly keys: KeySet;
  readonly typ: 'at+jwt' | undefined;
  readonly maxTokenLifetimeSeconds: number | null;
  readonly serviceClientIds: readonly string[] | undefined;
  readonly customerClientIds: readonly string[] | undefined;
  readonly senderConstraint: null | undefined;
  /** `undefined`: those of the profile. */
  readonly scopeClaims: readonly string[] | undefined;
}

/** A verifier's rules, checked and with defaults. */
export interface VerifierRules {
  readonly issuers: ReadonlyMap<string, IssuerRules>;
  readonly clock: Clock;
  readonly clockSkewSeconds: number;
  readonly maxTokenLength: number;
  /** `null`: no verified token is remembered. */
  readonly cache: { readonly maxEntries: number } | null;
}

const DEFAULT_CACHE = { maxEntries: 10_000 };
const DEFAULT_MAX_LIFETIME_SECONDS = 2_592_000;

/**
 * Checks the options and fills in the defaults. Safety checks have no default: only an explicit `null` leaves one out.
 *
 * @throws {VerifierConfigError} naming the option.
 */
export function readVerifierOptions(options: TokenVerifierOptions): VerifierRules {
  const { clockSkewSeconds = 60, maxTokenLength = DEFAULT_MAX_TOKEN_LENGTH } = options;
  if (!Array.isArray(options.issuers) || options.issuers.length === 0) {
    throw new VerifierConfigError('"issuers" must name at least one issuer.');
  }
  requireNumber('clockSkewSeconds', clockSkewSeconds, 0, 600);
  requireNumber('maxTokenLength', maxTokenLength, 1, 1_048_576);
  const issuers = new Map<string, IssuerRules>();
  for (const [index, issuer] of options.issuers.entries()) {
    const rules = readIssuer(`issuers[${index}]`, issuer);
    if (issuers.has(rules.issuer)) {
      throw new VerifierConfigError(
        `issuers[${index}].issuer: "${rules.issuer}" is configured twice; give one entry all its audiences.`,
      );
    }
    issuers.set(rules.issuer, rules);
  }
  return {
    issuers,
    clock: options.clock ?? systemClock,
    clockSkewSeconds,
    maxTokenLength,
    cache: readCache(options.cache),
  };
}

function readCache(cache: TokenVerifierOptions['cache']): VerifierRules['cache'] {
  if (cache === null) return null;
  const { maxEntries } = cache ?? DEFAULT_CACHE;
  if (!Number.isInteger(maxEntries) || maxEntries < 1 || maxEntries > 1_000_000) {
    throw new VerifierConfigError(
      '"cache.maxEntries" must be a whole number from 1 to 1000000; give cache: null to remember no token.',
    );
  }
  return { maxEntries };
}

function readIssuer(at: string, options: IssuerOptions): IssuerRules {
  const {
    issuer,
    keys,
    typ,
    serviceClientIds,
    customerClientIds,
    otherAudiences = [],
    senderConstraint,
    scopeClaims,
  } = options;
  if (typeof issuer !== 'string' || issuer === '') {
    throw new VerifierConfigError(`${at}.issuer must be the issuer's exact "iss".`);
  }
  // JavaScript callers must not get a verifier that checks less.
  const { find, atHand } = (keys ?? {}) as Partial<KeySet>;
  if (typeof find !== 'function' || typeof atHand !== 'function') {
    throw new VerifierConfigError(
      `${at}.keys must be a key set; make one with createRemoteKeySet or createStaticKeySet.`,
    );
  }
  if (typ !== undefined && typ !== 'at+jwt') {
    throw new VerifierConfigError(`${at}.typ may only be "at+jwt".`);
  }
  if (senderConstraint !== undefined && senderConstraint !== null) {
    throw new VerifierConfigError(
      `${at}.senderConstraint may only be null, which also accepts tokens that are bound to a key.`,
    );
  }
  const profile = readProfile(`${at}.profile`, options.profile);
  if (profile.decidedBy === 'client-ids' && serviceClientIds === undefined) {
    throw new VerifierConfigError(
      `${at}.serviceClientIds is required: tokens of "${profile.name}" do not distinguish machines from people, so list the clients that are machines (and in customerClientIds those that people use).`,
    );
  }
  return {
    issuer,
    audiences: readAudiences(`${at}.audiences`, options.audiences),
    otherAudiences:
      otherAudiences === null ? null : requireTexts(`${at}.otherAudiences`, otherAudiences, 0),
    algorithms: readAlgorithms(`${at}.algorithms`, options.algorithms ?? SIGNATURE_ALGORITHMS),
    profile,
    keys,
    typ,
    maxTokenLifetimeSeconds: readLifetime(at, options.maxTokenLifetimeSeconds),
    serviceClientIds: optionalTexts(`${at}.serviceClientIds`, serviceClientIds),
    customerClientIds: optionalTexts(`${at}.customerClientIds`, customerClientIds),
    senderConstraint,
    scopeClaims:
      scopeClaims === undefined ? undefined : requireTexts(`${at}.scopeClaims`, scopeClaims, 1),
  };
}

function readAudiences(at: string, value: IssuerOptions['audiences']): readonly string[] | null {
  if (value === null) return null;
  if (value === undefined) {
    throw new VerifierConfigError(
      `${at} is missing: name the audiences that are ours, or give null to accept tokens for anybody.`,
    );
  }
  return requireTexts(at, typeof value === 'string' ? [value] : value, 1);
}

function readAlgorithms(at: string, value: readonly string[]): ReadonlySet<string> {
  for (const name of requireTexts(at, value, 1)) {
    if (!isSignatureAlgorithm(name)) {
      throw new VerifierConfigError(
        `${at}: "${name}" is not allowed; use ${SIGNATURE_ALGORITHMS.join(', ')}.`,
      );
    }
  }
  return new Set(value);
}

function readProfile(at: string, value: IssuerOptions['profile']): ClassificationProfile {
  if (typeof value === 'string') {
    if (isProfileName(value)) return PROFILES[value];
    throw new VerifierConfigError(
      `${at}: "${String(value)}" is not one of ${PROFILE_NAMES.join(', ')}.`,
    );
  }
  if (!isObject(value)) {
    throw new VerifierConfigError(
      `${at} is missing: give ${PROFILE_NAMES.join(', ')}, or a profile of your own.`,
    );
  }
  // A copy: conditions added after the check would not have been checked.
  const profile = structuredClone(value);
  checkProfile(profile);
  return profile;
}

function readLifetime(at: string, value: number | null | undefined): number | null {
  if (value === null) return null;
  const seconds = value ?? DEFAULT_MAX_LIFETIME_SECONDS;
  requireNumber(`${at}.maxTokenLifetimeSeconds`, seconds, 1, Number.MAX_SAFE_INTEGER);
  return seconds;
}

function optionalTexts(
  at: string,
  value: readonly string[] | undefined,
): readonly string[] | undefined {
  return value === undefined ? undefined : requireTexts(at, value, 0);
}

function requireTexts(at: string, value: readonly string[], least: number): readonly string[] {
  // A copy has `undefined` in place of holes, which "every" passes over.
  const texts: readonly unknown[] | undefined = Array.isArray(value) ? [...value] : undefined;
  const isTexts = texts?.every((text) => typeof text === 'string' && text !== '') === true;
  if (!isTexts || texts.length < least) {
    throw new VerifierConfigError(
      `${at} must be a list of ${least === 0 ? '' : 'at least one '}non-empty strings.`,
    );
  }
  return texts as readonly string[];
}

function requireNumber(name: string, value: number, least: number, most: number): void {
  if (!Number.isFinite(value) || value < least || value > most) {
    throw new VerifierConfigError(`"${name}" must be a number from ${least} to ${most}.`);
  }
}
