import { timeFault } from './checks.js';
import type { Judgement, VerifiedToken } from './judge.js';
import type { KeysAtHand, KeySet } from './keys/key-set.js';
import type { VerifierRules } from './options.js';
import { TokenFingerprint } from './token-fingerprint.js';

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
