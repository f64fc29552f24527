import { hash } from 'node:crypto';
import { traced } from '../tokens/tracing.js';
import { timeFault, type Judgement, type VerifiedToken, judgeToken } from './judge.js';
import type { KeysAtHand, KeySet, KeySetState } from './keys/key-set.js';
import {
  type VerifierRules,
  readVerifierOptions,
  type TokenVerifierOptions,
} from './verifier-options.js';

/** Decides whether a token is genuine, meant for this service, and who it speaks for. */
export interface TokenVerifier {
  /**
   * Verifies one token. Callers with the same token may be given the same object; it is deeply frozen.
   *
   * @param token the bearer token as it came. Anything that is not a string is refused like a malformed token.
   * @throws {TokenRejectedError} when it is refused: answer 401 `invalid_token`.
   * @throws {KeysUnavailableError} when the issuer's keys are not available: answer 503 with `Retry-After`.
   */
  verify(token: unknown, options?: { readonly signal?: AbortSignal }): Promise<VerifiedToken>;
  /**
   * What {@link verify} gives, at once, for a token that is remembered; `undefined` for every other, which has to be
   * verified. Optional: a verifier without a cache need not have it.
   */
  peek?(token: unknown): VerifiedToken | undefined;
  /** The state of each issuer's keys, by issuer, for health and metrics. */
  keyStates(): ReadonlyMap<string, KeySetState>;
}

/**
 * Makes a verifier for one or several issuers. A token is judged only by the issuer it names, with that issuer's keys,
 * audiences, algorithms and profile (RFC 9068 §4, RFC 8725).
 *
 * @throws {VerifierConfigError} when an option is missing or wrong. Only an explicit `null` leaves a check out.
 *
 * @example
 * ```ts
 * import { createRemoteKeySet, createTokenVerifier } from 'service-token-kit';
 *
 * const verifier = createTokenVerifier({
 *   issuers: [
 *     {
 *       issuer: 'https://tenant.eu.auth0.com/',
 *       audiences: 'https://orders.example.com',
 *       profile: 'auth0',
 *       keys: createRemoteKeySet({ jwksUri: 'https://tenant.eu.auth0.com/.well-known/jwks.json' }),
 *     },
 *   ],
 * });
 * const { principal } = await verifier.verify(token);
 * if (principal.kind === 'service') console.log(principal.clientId);
 * ```
 */
export function createTokenVerifier(options: TokenVerifierOptions): TokenVerifier {
  const rules = readVerifierOptions(options);
  const remembered = rules.cache === null ? undefined : new VerifiedTokens(rules.cache, rules);
  return {
    async verify(token, { signal } = {}) {
      signal?.throwIfAborted();
      const known = remembered?.find(token);
      if (known !== undefined) return known;
      const judgement = await traced(VERIFY, async (span) => {
        const judged = await judgeToken(token, rules, signal);
        span.set({ 'service_token.kind': judged.verified.principal.kind });
        return judged;
      });
      // What was accepted is a string.
      if (typeof token === 'string') remembered?.add(token, judgement);
      return judgement.verified;
    },
    peek: (token) => remembered?.find(token),
    keyStates: () =>
      new Map([...rules.issuers].map(([issuer, { keys }]) => [issuer, keys.state()])),
  };
}

/** A token that is remembered makes no span: it takes microseconds. */
const VERIFY = { span: 'service_token.verify', metric: 'service_token.verify.duration' };

/** What the cache has to know of the verifier's rules. */
type CacheRules = Pick<VerifierRules, 'clock' | 'clockSkewSeconds' | 'maxTokenLength'>;

interface Entry {
  /** What it is found by: the end of the signature. */
  readonly tail: string;
  fingerprint: TokenFingerprint;
  judgement: Judgement;
  /** The keys that the judgement was last checked against. */
  atHand: KeysAtHand;
  /** Found since it was last passed over by an eviction. */
  isUsed: boolean;
}

/** How many entries in use an eviction may pass over, so that its time does not grow with the cache. */
const MAX_SECOND_CHANCES = 16;

/**
 * Characters of base64url: some 70 bits of a signature, so that no two tokens of a cache share them by chance. From 13 on
 * V8 would not copy them: they would keep the whole token alive.
 */
const TAIL_LENGTH = 12;

/** What entries are found by. Whether an entry is of the very token, its fingerprint decides. */
function tailOf(token: string): string {
  return token.slice(-TAIL_LENGTH);
}

/**
 * The tokens that were verified lately. Stores fingerprints, never tokens.
 *
 * - A remembered token is returned only while judging it again would give the same result: its times are checked against
 *   the clock, and its key must be the one that the issuer's key set would choose now. No caller can make it valid for
 *   longer.
 * - Only accepted tokens are remembered: a flood of bad ones takes no place, and each refusal has its own reason.
 * - When it is full, the oldest entry that was not found since its last turn is removed ("second chance"). Tokens in
 *   daily use stay when many others pass by once, and a hit costs no more than setting a flag.
 * - After an issuer's keys have changed, the next call removes the tokens of removed keys. There are no timers.
 */
export class VerifiedTokens {
  readonly #maxEntries: number;
  readonly #rules: CacheRules;
  /** In the order in which evictions look at them. */
  readonly #byTail = new Map<string, Entry>();
  /** Continues where the last eviction ended: from its start a Map would look at all that was removed (30 µs at 10,000). */
  #oldest: Iterator<Entry> | undefined;
  /** The keys that each key set had when its tokens were last looked through. */
  readonly #lookedThrough = new Map<KeySet, KeysAtHand>();

  constructor({ maxEntries }: { readonly maxEntries: number }, rules: CacheRules) {
    this.#maxEntries = maxEntries;
    this.#rules = rules;
  }

  /** How many tokens are remembered. */
  get size(): number {
    return this.#byTail.size;
  }

  /**
   * The verified token while the judgement stands; `undefined` when it has to be judged (again).
   *
   * @param token anything; the work is bounded by the length that a token may have.
   */
  find(token: unknown): VerifiedToken | undefined {
    if (typeof token !== 'string' || token.length > this.#rules.maxTokenLength) return undefined;
    const entry = this.#byTail.get(tailOf(token));
    if (entry?.fingerprint.matches(token) !== true) return undefined;
    const { judgement } = entry;
    const { keys } = judgement.issuer;
    const atHand = keys.atHand();
    if (atHand === undefined) return undefined;
    if (entry.atHand !== atHand) this.#removeByKeys(keys, atHand);
    if (!this.#stands(judgement, atHand, entry.atHand)) {
      this.#remove(entry);
      return undefined;
    }
    entry.atHand = atHand;
    entry.isUsed = true;
    return judgement.verified;
  }

  /** Remembers a token that was just judged. */
  add(token: string, judgement: Judgement): void {
    const { keys } = judgement.issuer;
    const atHand = keys.atHand();
    if (atHand === undefined) return;
    this.#removeByKeys(keys, atHand);
    // The keys and the clock may have moved on while the signature was checked.
    if (!this.#stands(judgement, atHand)) return;
    const [tail, fingerprint] = [tailOf(token), new TokenFingerprint(token)];
    const known = this.#byTail.get(tail);
    if (known !== undefined) {
      Object.assign(known, { fingerprint, judgement, atHand });
      return;
    }
    if (this.#byTail.size >= this.#maxEntries) this.#evict();
    this.#byTail.set(tail, { tail, fingerprint, judgement, atHand, isUsed: false });
  }

  /**
   * By the same decisions that a judgement from the start would take.
   *
   * @param before keys by which it stood: the same keys give the same match.
   */
  #stands(
    { claims, issuer, wanted, key }: Judgement,
    atHand: KeysAtHand,
    before?: KeysAtHand,
  ): boolean {
    const { clock, clockSkewSeconds } = this.#rules;
    return (
      (atHand === before || atHand.match(wanted) === key) &&
      timeFault(claims, issuer, clock.now(), clockSkewSeconds) === undefined
    );
  }

  #removeByKeys(keys: KeySet, atHand: KeysAtHand): void {
    if (this.#lookedThrough.get(keys) === atHand) return;
    this.#lookedThrough.set(keys, atHand);
    for (const entry of this.#byTail.values()) {
      const { judgement } = entry;
      if (judgement.issuer.keys === keys && !this.#stands(judgement, atHand)) this.#remove(entry);
    }
  }

  #evict(): void {
    for (let passed = 0; ; passed += 1) {
      this.#oldest ??= this.#byTail.values();
      const { done, value: entry } = this.#oldest.next();
      if (done === true) {
        this.#oldest = undefined;
        continue;
      }
      this.#byTail.delete(entry.tail);
      if (!entry.isUsed || passed === MAX_SECOND_CHANCES) return;
      entry.isUsed = false;
      this.#byTail.set(entry.tail, entry);
    }
  }

  #remove({ tail }: Entry): void {
    this.#byTail.delete(tail);
    // An iterator keeps what was removed since it last moved; the next eviction makes another.
    this.#oldest = undefined;
  }
}

/**
 * Recognizes one token without keeping it: by its digest, and by the string that came last while the garbage collector
 * has not taken that. Comparing two strings takes a fraction of hashing one.
 */
export class TokenFingerprint {
  readonly #digest: string;
  /** Does not keep the string alive: the next full collection takes it. */
  #seen: WeakRef<{ readonly token: string }> | undefined = undefined;

  constructor(token: string) {
    this.#digest = digestToken(token);
  }

  /**
   * Whether this is the very token.
   *
   * The comparison's time may show how far two strings agree, but only to a caller who already has the end of the
   * signature, by which the entry is found.
   */
  matches(token: string): boolean {
    if (this.#seen?.deref()?.token === token) return true;
    if (digestToken(token) !== this.#digest) return false;
    this.#seen = new WeakRef({ token });
    return true;
  }
}

/**
 * All 256 bits of a token's SHA-256, as a string of 32 characters. Texts that are not ASCII may share a digest with each
 * other, never with a token: only ASCII is accepted.
 */
export function digestToken(token: string): string {
  return hash('sha256', token, 'binary');
}
