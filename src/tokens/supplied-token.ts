import { inspect } from 'node:util';
import type { SuppliedToken } from './token-supply.js';

/**
 * Makes a {@link SuppliedToken} that is there to be sent, and not to be seen: the token is no property of its own, so
 * that `JSON.stringify`, `console.log`, a spread and `structuredClone` leave it out.
 *
 * @param expiresAt milliseconds since the Unix epoch.
 */
export function createSuppliedToken(accessToken: string, expiresAt: number): SuppliedToken {
  return new HiddenToken(accessToken, expiresAt);
}

class HiddenToken implements SuppliedToken {
  readonly expiresAt: number;
  readonly #accessToken: string;

  constructor(accessToken: string, expiresAt: number) {
    this.#accessToken = accessToken;
    this.expiresAt = expiresAt;
    Object.freeze(this);
  }

  get accessToken(): string {
    return this.#accessToken;
  }

  /** `inspect` would call the getter when it is asked to show all. */
  [inspect.custom](): object {
    return { expiresAt: this.expiresAt };
  }
}
