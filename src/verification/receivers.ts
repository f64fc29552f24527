import type { VerifiedToken } from './judge.js';
import { TokenRejectedError } from './verification-errors.js';
import type { IssuerOptions, TokenVerifierOptions } from './verifier-options.js';
import { createTokenVerifier, type TokenVerifier } from './verifier.js';

/** Verifies tokens for several receivers, each with the rules of its own guard. */
export interface Receivers {
  /** Whether a token can only be judged for an audience that the caller names: the receivers have more than one. */
  readonly needAudience: boolean;
  /**
   * Verifies a token as the guard of a receiver does.
   *
   * @param audience which receiver. Default: whichever the token is for.
   * @throws {TokenRejectedError} `TOKEN_AUDIENCE_WRONG` also when no receiver has the audience.
   * @throws {KeysUnavailableError}
   */
  verify(token: unknown, audience?: string): Promise<VerifiedToken>;
  /** What {@link verify} gives, at once, for a token that is remembered; `undefined` for every other. */
  peek(token: unknown, audience?: string): VerifiedToken | undefined;
}

/** Options of {@link createReceivers}. */
interface ReceiversOptions extends Omit<TokenVerifierOptions, 'issuers'> {
  /** One for each receiver. The same issuer may occur any number of times. */
  readonly receivers: readonly IssuerOptions[];
}

/** What is said about one receiver's audience. */
type AudienceRules = Pick<IssuerOptions, 'audiences' | 'otherAudiences'>;

/** Receivers that one verifier can judge for, because those of an issuer differ in their audiences alone. */
interface Group {
  readonly verifier: TokenVerifier;
  /** By issuer, and there by audience; `null` stands for receivers that check none. */
  readonly rules: ReadonlyMap<string, ReadonlyMap<string | null, readonly AudienceRules[]>>;
}

/**
 * Makes the receivers. Their tokens share one cache, and one set of keys for each issuer, however many there are. Receivers
 * that judge the tokens of one issuer by different rules stay apart.
 *
 * @throws {VerifierConfigError} as `createTokenVerifier`.
 *
 * @example
 * ```ts
 * const receivers = createReceivers({
 *   receivers: [
 *     { issuer, profile: 'auth0', keys, audiences: 'https://orders.example.com' },
 *     { issuer, profile: 'auth0', keys, audiences: 'https://ledger.example.com' },
 *   ],
 * });
 * await receivers.verify(token, 'https://ledger.example.com');
 * ```
 */
export function createReceivers({ receivers, ...options }: ReceiversOptions): Receivers {
  const groups = groupReceivers(receivers).map((members) => createGroup(members, options));
  return {
    needAudience: new Set(receivers.flatMap(namesOf)).size > 1,
    async verify(token, audience) {
      let failure: unknown;
      for (const { verifier, rules } of groups) {
        try {
          const verified = await verifier.verify(token);
          if (isFor(verified, rules, audience)) return verified;
          failure = moreTelling(failure, wrongAudience(audience));
        } catch (error) {
          failure = moreTelling(failure, error);
        }
      }
      throw failure;
    },
    peek(token, audience) {
      for (const { verifier, rules } of groups) {
        const verified = verifier.peek?.(token);
        if (verified !== undefined && isFor(verified, rules, audience)) return verified;
      }
      return undefined;
    },
  };
}

/** Puts receivers together as far as the verifier's rule "one entry for each issuer" allows. */
function groupReceivers(
  receivers: readonly IssuerOptions[],
): readonly (readonly IssuerOptions[])[] {
  const groups: IssuerOptions[][] = [];
  for (const receiver of receivers) {
    const fitting = groups.find((members) => {
      const known = members.find(({ issuer }) => issuer === receiver.issuer);
      return known === undefined || judgeAlike(known, receiver);
    });
    if (fitting === undefined) groups.push([receiver]);
    else fitting.push(receiver);
  }
  return groups.length === 0 ? [[]] : groups;
}

/** Whether two receivers judge alike, but for the audience. */
function judgeAlike(one: IssuerOptions, other: IssuerOptions): boolean {
  return one.keys === other.keys && restOf(one) === restOf(other);
}

/** Everything but the keys and the audiences, as text. */
function restOf(receiver: IssuerOptions): string {
  const rest = Object.entries(receiver).filter(([name]) => !APART.has(name));
  return JSON.stringify(rest.toSorted(([one], [other]) => (one < other ? -1 : 1)));
}

const APART: ReadonlySet<string> = new Set(['keys', 'audiences', 'otherAudiences']);

function createGroup(
  members: readonly IssuerOptions[],
  options: Omit<TokenVerifierOptions, 'issuers'>,
): Group {
  const byIssuer = grouped(members.map((one) => [one.issuer, one]));
  const issuers = [...byIssuer.values()].flatMap(([first, ...others]) =>
    first === undefined ? [] : [withAudiencesOf(first, others)],
  );
  const rules = [...byIssuer].map(([issuer, all]) => {
    const named = all.flatMap((one) => namesOf(one).map((name) => [name, one] as const));
    return [issuer, grouped(named)] as const;
  });
  return { verifier: createTokenVerifier({ ...options, issuers }), rules: new Map(rules) };
}

function grouped<Key, Value>(
  pairs: readonly (readonly [Key, Value])[],
): ReadonlyMap<Key, readonly Value[]> {
  const groups = new Map<Key, Value[]>();
  for (const [key, value] of pairs) {
    const known = groups.get(key);
    if (known === undefined) groups.set(key, [value]);
    else known.push(value);
  }
  return groups;
}

/** For a verifier that lets every audience pass that one of them has; {@link isFor} judges each by itself. */
function withAudiencesOf(first: IssuerOptions, others: readonly IssuerOptions[]): IssuerOptions {
  if (others.length === 0) return first;
  const all = [first, ...others];
  const checksNone = all.some(({ audiences }) => audiences === null);
  const audiences = checksNone ? null : [...new Set(all.flatMap((one) => listOf(one.audiences)))];
  return { ...first, audiences, otherAudiences: null };
}

function namesOf({ audiences }: AudienceRules): readonly (string | null)[] {
  return audiences === null ? [null] : listOf(audiences);
}

function listOf(audiences: IssuerOptions['audiences']): readonly string[] {
  return typeof audiences === 'string' ? [audiences] : (audiences ?? []);
}

/** Whether a receiver's guard would take the token, as far as the audience goes (RFC 7519 §4.1.3). */
function isFor(
  { issuer, claims }: VerifiedToken,
  rules: Group['rules'],
  audience: string | undefined,
): boolean {
  const ofIssuer = rules.get(issuer);
  if (ofIssuer === undefined) return false;
  const { aud } = claims;
  const named: readonly unknown[] = Array.isArray(aud) ? aud : aud === undefined ? [] : [aud];
  if (audience !== undefined) {
    return named.includes(audience) && takes(ofIssuer.get(audience), named);
  }
  if (ofIssuer.has(null)) return true;
  return named.some((name) => typeof name === 'string' && takes(ofIssuer.get(name), named));
}

/** Whether one of the receivers takes a token with these audiences, of which one is its own. */
function takes(
  receivers: readonly AudienceRules[] | undefined,
  named: readonly unknown[],
): boolean {
  return (
    receivers?.some(({ audiences, otherAudiences = [] }) => {
      if (otherAudiences === null) return true;
      const allowed = new Set<unknown>([...listOf(audiences), ...otherAudiences]);
      return named.every((name) => allowed.has(name));
    }) ?? false
  );
}

function wrongAudience(audience: string | undefined): TokenRejectedError {
  return new TokenRejectedError(
    'TOKEN_AUDIENCE_WRONG',
    audience === undefined
      ? 'The token is also meant for audiences we do not know, which could use it against us (allow them with otherAudiences).'
      : 'The token is meant for another audience ("aud") than the one that was asked for.',
  );
}

/** Of two failures, the one by the group that knows the token best: an undecided one may still become a yes. */
function moreTelling(one: unknown, other: unknown): unknown {
  return weightOf(other) > weightOf(one) ? other : one;
}

function weightOf(failure: unknown): number {
  if (failure === undefined) return 0;
  if (!(failure instanceof TokenRejectedError)) return 4;
  if (failure.code === 'TOKEN_ISSUER_UNKNOWN') return 1;
  return failure.code === 'TOKEN_AUDIENCE_WRONG' ? 2 : 3;
}
