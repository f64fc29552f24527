import { hash } from 'node:crypto';

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
