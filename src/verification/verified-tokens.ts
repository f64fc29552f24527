import { hash } from 'node:crypto';
import { timeFault } from './checks.js';
import type { Judgement, VerifiedToken } from './judge.js';
import type { KeysAtHand, KeySet } from './keys/key-set.js';
import type { VerifierRules } from './options.js';

/**
 * What a token is remembered by: all 256 bits of its SHA-256, as a string of 32 characters. `undefined` for what is no
 * token at all, so that the work stays bounded.
 *
 * Texts that are not ASCII may share a digest with each other, and never with a token: only ASCII was ever accepted.
 */
export function digestToken(token: unknown, maxLength: number): string | undefined {
  if (typeof token !== 'string' || token.length > maxLength) return undefined;
  return hash('sha256', token, 'binary');
}

interface Entry {
  readonly digest: string;
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
 * The tokens that were verified lately, by their digest.
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
  readonly #rules: Pick<VerifierRules, 'clock' | 'clockSkewSeconds'>;
  readonly #byDigest = new Map<string, Entry>();
  readonly #ring: Entry[] = [];
  /** The keys that each key set had when its tokens were last looked through. */
  readonly #lookedThrough = new Map<KeySet, KeysAtHand>();
  /** Where the next eviction looks first; without meaning while the ring is not full. */
  #hand = 0;

  constructor(
    { maxEntries }: { readonly maxEntries: number },
    rules: Pick<VerifierRules, 'clock' | 'clockSkewSeconds'>,
  ) {
    this.#maxEntries = maxEntries;
    this.#rules = rules;
  }

  /** How many tokens are remembered. */
  get size(): number {
    return this.#ring.length;
  }

  /** The verified token, as long as the judgement stands; `undefined` when it has to be judged (again). */
  find(digest: string): VerifiedToken | undefined {
    const entry = this.#byDigest.get(digest);
    if (entry === undefined) return undefined;
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
  add(digest: string, judgement: Judgement): void {
    const { keys } = judgement.issuer;
    const atHand = keys.atHand();
    if (atHand === undefined) return;
    this.#forgetGoneKeys(keys, atHand);
    // The keys and the clock may have moved on while the signature was checked.
    if (!this.#stands(judgement, atHand)) return;
    const known = this.#byDigest.get(digest);
    if (known !== undefined) {
      known.judgement = judgement;
      known.atHand = atHand;
      return;
    }
    const slot = this.#ring.length < this.#maxEntries ? this.#ring.length : this.#evict();
    const entry = { digest, judgement, atHand, slot, isUsed: false };
    this.#ring[slot] = entry;
    this.#byDigest.set(digest, entry);
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
    for (const entry of this.#byDigest.values()) {
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
    this.#byDigest.delete(this.#ring[slot]?.digest ?? '');
    this.#hand = (slot + 1) % this.#maxEntries;
    return slot;
  }

  /** Forgets an entry; the last one of the ring takes its slot, so that the ring has no gaps. */
  #remove(entry: Entry): void {
    if (!this.#byDigest.delete(entry.digest)) return;
    const last = this.#ring.pop();
    if (last !== undefined && last !== entry) {
      last.slot = entry.slot;
      this.#ring[entry.slot] = last;
    }
  }
}
