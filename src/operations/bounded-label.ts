import { looksSecret } from '../tokens/redaction.js';

/** Word characters only: codes such as `STORE_THROTTLED`, words such as `wrong_secret` or `secrets-manager`. */
const LABEL = /^[A-Za-z0-9_-]{1,48}$/;

/**
 * Lets words through as metric labels, up to a number of different ones. Callers pass stable codes; a mistake of theirs
 * must neither put a secret into a label nor make a series for every request.
 */
export class BoundedLabel {
  readonly #seen = new Set<string>();

  /** @param most how many different words are let through. Default: 100. */
  constructor(private readonly most = 100) {}

  /** The word, or `other`. */
  of(word: string): string {
    if (this.#seen.has(word)) return word;
    if (this.#seen.size >= this.most || !LABEL.test(word) || looksSecret(word)) return 'other';
    this.#seen.add(word);
    return word;
  }
}
