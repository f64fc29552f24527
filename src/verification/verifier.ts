import { hash } from 'node:crypto';
import { timeFault, type Judgement, type VerifiedToken, judgeToken } from './judge.js';
import type { KeysAtHand, KeySet, KeySetState } from './keys/key-set.js';
import {
  type VerifierRules,
  readVerifierOptions,
  type TokenVerifierOptions,
} from './verifier-options.js';

/**
 * What a token is remembered by: all 256 bits of its SHA-256, as a string of 32 characters.
 *
 * Texts that are not ASCII may share a digest with each other, and never with a token: only ASCII was ever accepted.
 */
export function digestToken(token: string): string {
  return hash('sha256', token, 'binary');
}

/**
 * Knows one token again without keeping it: by its digest alone, from the second time on also by a string that came
 * before, for as long as the garbage collector leaves that there. Comparing two strings takes a fraction of hashing one.
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
   * The comparison may tell by its time how far two strings agree, to nobody who has not already found the entry by the
   * end of the signature.
   */
  matches(token: string): boolean {
    if (this.#seen?.deref()?.token === token) return true;
    if (digestToken(token) !== this.#digest) return false;
    this.#seen = new WeakRef({ token });
    return true;
  }
}

/** What the cache has to know of the verifier's rules. */
type CacheRules = Pick<VerifierRules, 'clock' | 'clockSkewSeconds' | 'maxTokenLength'>;

interface Entry {
  /** What it is found by, see {@link tailOf}. */
  readonly tail: string;
  fingerprint: TokenFingerprint;
  judgement: Judgement;
  /** The keys that the judgement was last held against. */
  atHand: KeysAtHand;
  /** Its place in the ring. */
  slot: number;
  /** Asked for since the hand last passed. */
  isUsed: boolean;
}

/** How many entries in use an eviction may pass over, so that its time does not grow with the cache. */
const MAX_SECOND_CHANCES = 16;

/**
 * Characters of base64url: some 70 bits of a signature, so that no two tokens of a cache share them by chance. From 13 on
 * V8 would not copy them: they would keep the whole token alive.
 */
const TAIL_LENGTH = 12;

/**
 * What tokens are looked up by: the end of the signature, which says nothing about the rest of it. It only finds the
 * entry; whether that is of the very token, its fingerprint tells.
 */
function tailOf(token: string): string {
  return token.slice(-TAIL_LENGTH);
}

/**
 * The tokens that were verified lately: not themselves, only what they are known again by.
 *
 * - A remembered token is given out only while the judgement about it would be the same: its times are checked against
 *   the clock, and its key must be the one that the issuer's key set would choose at this moment. Nothing that a caller
 *   does makes it valid for longer.
 * - Only accepted tokens are remembered: a flood of bad ones takes no place, and each refusal has its own reason.
 * - When the ring is full, the oldest entry goes that was not asked for since its turn came last ("second chance").
 *   Tokens in daily use stay when many others pass by once, and a hit costs no more than setting a flag.
 * - When an issuer's keys have changed, the tokens of keys that are gone are forgotten at the first call after that.
 *   There are no timers.
 */
export class VerifiedTokens {
  readonly #maxEntries: number;
  readonly #rules: CacheRules;
  readonly #byTail = new Map<string, Entry>();
  readonly #ring: Entry[] = [];
  /** The keys that each key set had when its tokens were last looked through. */
  readonly #lookedThrough = new Map<KeySet, KeysAtHand>();
  /** Where the next eviction looks first; without meaning while the ring is not full. */
  #hand = 0;

  constructor({ maxEntries }: { readonly maxEntries: number }, rules: CacheRules) {
    this.#maxEntries = maxEntries;
    this.#rules = rules;
  }

  /** How many tokens are remembered. */
  get size(): number {
    return this.#ring.length;
  }

  /**
   * The verified token, as long as the judgement stands; `undefined` when it has to be judged (again).
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
    if (entry.atHand !== atHand) this.#forgetGoneKeys(keys, atHand);
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
    this.#forgetGoneKeys(keys, atHand);
    // The keys and the clock may have moved on while the signature was checked.
    if (!this.#stands(judgement, atHand)) return;
    const [tail, fingerprint] = [tailOf(token), new TokenFingerprint(token)];
    const known = this.#byTail.get(tail);
    if (known !== undefined) {
      known.fingerprint = fingerprint;
      known.judgement = judgement;
      known.atHand = atHand;
      return;
    }
    const slot = this.#ring.length < this.#maxEntries ? this.#ring.length : this.#evict();
    const entry = { tail, fingerprint, judgement, atHand, slot, isUsed: false };
    this.#ring[slot] = entry;
    this.#byTail.set(tail, entry);
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

  #forgetGoneKeys(keys: KeySet, atHand: KeysAtHand): void {
    if (this.#lookedThrough.get(keys) === atHand) return;
    this.#lookedThrough.set(keys, atHand);
    // Not over the ring: removing an entry moves another into its slot.
    for (const entry of this.#byTail.values()) {
      const { judgement } = entry;
      if (judgement.issuer.keys === keys && !this.#stands(judgement, atHand)) this.#remove(entry);
    }
  }

  /** Empties a slot of the full ring. */
  #evict(): number {
    for (let passed = 0; passed < MAX_SECOND_CHANCES; passed += 1) {
      const entry = this.#ring[this.#hand];
      if (entry?.isUsed !== true) break;
      entry.isUsed = false;
      this.#hand = (this.#hand + 1) % this.#maxEntries;
    }
    const slot = this.#hand;
    this.#byTail.delete(this.#ring[slot]?.tail ?? '');
    this.#hand = (slot + 1) % this.#maxEntries;
    return slot;
  }

  /** Forgets an entry; the last one of the ring takes its slot, so that the ring has no gaps. */
  #remove(entry: Entry): void {
    if (!this.#byTail.delete(entry.tail)) return;
    const last = this.#ring.pop();
    if (last !== undefined && last !== entry) {
      last.slot = entry.slot;
      this.#ring[entry.slot] = last;
    }
  }
}

/** Tells whether a token is genuine, meant for us, and who it speaks for. */
export interface TokenVerifier {
  /**
   * Verifies one token. Callers with the same token may be given the same object; it is deeply frozen.
   *
   * @param token the bearer token as it came. Anything that is not a string is refused like a malformed token.
   * @throws {TokenRejectedError} when it is refused: answer 401 `invalid_token`.
   * @throws {KeysUnavailableError} when the issuer's keys cannot be had: answer 503 with `Retry-After`.
   */
  verify(token: unknown, options?: { readonly signal?: AbortSignal }): Promise<VerifiedToken>;
  /**
   * What {@link verify} gives for a token that it remembers, at once; `undefined` for every other one, which has to be
   * verified. A verifier that remembers none need not have it.
   */
  peek?(token: unknown): VerifiedToken | undefined;
  /** The state of each issuer's keys, by issuer, for health and metrics. */
  keyStates(): ReadonlyMap<string, KeySetState>;
}

/**
 * Makes a verifier for one or several issuers. A token is judged only by the issuer it names, with that issuer's keys,
 * audiences, algorithms and profile (RFC 9068 §4, RFC 8725).
 *
 * @throws {VerifierConfigError} when an option is missing or wrong. A check is left out only by an explicit `null`.
 *
 * @example
 * ```ts
 * import { createRemoteKeySet, createTokenVerifier } from 'service-token-broker';
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
      const judgement = await judgeToken(token, rules, signal);
      // What was accepted is a string.
      if (typeof token === 'string') remembered?.add(token, judgement);
      return judgement.verified;
    },
    peek: (token) => remembered?.find(token),
    keyStates: () =>
      new Map([...rules.issuers].map(([issuer, { keys }]) => [issuer, keys.state()])),
  };
}
