import { inspect } from 'node:util';

/** What is shown in place of a secret setting. */
export const HIDDEN = '(hidden)';

/**
 * Bytes that do not show themselves: printed, logged, inspected, spread or turned into JSON, they read `(hidden)`.
 * The only way to them is {@link HiddenBytes.reveal}.
 */
export class HiddenBytes {
  readonly #bytes: Uint8Array;

  constructor(bytes: Uint8Array) {
    this.#bytes = Uint8Array.from(bytes);
  }

  /** A copy of the bytes. Whoever asks for it answers for where it goes. */
  reveal(): Uint8Array {
    return Uint8Array.from(this.#bytes);
  }

  toString(): string {
    return HIDDEN;
  }

  toJSON(): string {
    return HIDDEN;
  }

  [inspect.custom](): string {
    return HIDDEN;
  }
}
