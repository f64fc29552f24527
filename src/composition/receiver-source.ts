import type { KnownReceivers, ReceiverSource } from '../serving/authorize-endpoint.js';
import { RefreshingCache } from '../tokens/refreshing-cache.js';
import type { IssuerOptions } from '../verification/index.js';
import { createReceivers, type Receivers } from '../verification/receivers.js';
import {
  TokenRejectedError,
  type TokenRejectionCode,
} from '../verification/verification-errors.js';
import type { Core, TokenCore } from './core.js';

type Rules = readonly IssuerOptions[];
type RulesCache = RefreshingCache<Rules>;

/** For so many milliseconds the caches of all tokens are not looked at again: there may be a thousand. */
const LOOK_AGAIN = 1_000;

/**
 * The receivers of the configured tokens. Where the configuration does not say what a token is for, the credentials secret
 * is read, as seldom as the others.
 *
 * Each token has a cache of its own: while its secret cannot be read, its last known rules count, the read is retried, and
 * the rules of the others stay up to date. A token whose rules were never read stops no other: only what needs its rules
 * waits for another read, and is rejected with that read's error.
 */
export function createReceiverSource(
  core: Pick<Core, 'config' | 'clock' | 'tokens'>,
): ReceiverSource {
  const { config, clock, tokens } = core;
  const skews = config.tokens.map(({ verification }) => verification.clockSkewSeconds);
  const options = { clock, clockSkewSeconds: Math.min(...skews) };
  const makeReceivers = (rules: Rules): Receivers =>
    createReceivers({ receivers: rules, ...options });
  const caches = [...tokens.values()].map(
    (token): RulesCache =>
      new RefreshingCache({
        read: rulesReader(token, makeReceivers),
        expiresAt: () => Number.MAX_SAFE_INTEGER,
        clock,
        ttlMs: config.cache.ttlSeconds * 1_000,
      }),
  );
  let made: { readonly of: readonly Rules[]; readonly receivers: Receivers } | undefined;
  let last: { readonly at: number; readonly receivers: KnownReceivers } | undefined;

  /** The same ones for the same rules, because they keep the tokens that they remember. */
  const receiversOf = (rules: readonly Rules[]): Receivers => {
    const isSame =
      made?.of.length === rules.length && rules.every((one, index) => one === made?.of[index]);
    if (made === undefined || !isSame) made = { of: rules, receivers: makeReceivers(rules.flat()) };
    return made.receivers;
  };
  const keep = (receivers: KnownReceivers): KnownReceivers => {
    last = { at: clock.now(), receivers };
    return receivers;
  };
  const complete = async (): Promise<Receivers> =>
    keep(receiversOf(await Promise.all(caches.map(currentRules))));
  const peek = (): KnownReceivers | undefined => {
    const age = clock.now() - (last?.at ?? 0);
    return age >= 0 && age < LOOK_AGAIN ? last?.receivers : undefined;
  };

  return {
    get: async () => {
      const recent = peek();
      if (recent !== undefined) return recent;
      const settled = await Promise.allSettled(caches.map(knownRules));
      const known = settled.flatMap((one) => (one.status === 'fulfilled' ? [one.value] : []));
      if (known.length === 0) return complete();
      const receivers = receiversOf(known);
      return keep(known.length < caches.length ? incomplete(receivers, complete) : receivers);
    },
    peek,
  };
}

/**
 * Reads a token's rules. The same ones as before are the same object; those that no verifier takes fail here, and concern
 * no other token.
 */
function rulesReader(
  token: Pick<TokenCore, 'receiver'>,
  check: (rules: Rules) => unknown,
): () => Promise<Rules> {
  let last: Rules | undefined;
  return async () => {
    const rules = await token.receiver();
    if (last !== undefined && areSame(rules, last)) return last;
    check(rules);
    last = rules;
    return rules;
  };
}

function areSame(some: Rules, others: Rules): boolean {
  const text = (rules: Rules): string =>
    JSON.stringify(rules.map((one) => ({ ...one, keys: undefined })));
  return (
    text(some) === text(others) && some.every(({ keys }, index) => keys === others[index]?.keys)
  );
}

async function currentRules(cache: RulesCache): Promise<Rules> {
  return (await cache.get()).value;
}

/** The rules, without waiting for another read of those that could not be read yet. */
async function knownRules(cache: RulesCache): Promise<Rules> {
  const { value, consecutiveFailures, lastError } = cache.status();
  if (value === undefined && consecutiveFailures > 0) throw lastError;
  return currentRules(cache);
}

/** Receivers of which some are not known: what depends on these is judged by all of them, or not at all. */
function incomplete(known: Receivers, complete: () => Promise<Receivers>): KnownReceivers {
  return {
    ...known,
    complete,
    verify: async (token, audience) => {
      try {
        return await known.verify(token, audience);
      } catch (error) {
        if (!dependsOnRules(error)) throw error;
      }
      return (await complete()).verify(token, audience);
    },
  };
}

/** Refusals that another receiver's rules may lift; what else is wrong with a token is wrong for everybody. */
const BY_RULES: ReadonlySet<TokenRejectionCode> = new Set([
  'TOKEN_ISSUER_UNKNOWN',
  'TOKEN_AUDIENCE_WRONG',
  'TOKEN_TYPE_WRONG',
  'TOKEN_CLAIM_INVALID',
  'TOKEN_KIND_UNDECIDED',
  'TOKEN_CLIENT_NOT_ALLOWED',
]);

function dependsOnRules(error: unknown): boolean {
  return error instanceof TokenRejectedError && BY_RULES.has(error.code);
}
