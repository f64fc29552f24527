import {
  createSuppliedToken,
  type ServiceTokenSource,
  type SuppliedToken,
  type TokenDemand,
} from '../../../../src/tokens/token-supply.js';

const HOUR = 3_600_000;

/** A source of service tokens that gives one after the other: the next one whenever a new one is forced. */
export class ScriptedTokens implements ServiceTokenSource {
  /** How often a new one was asked for. */
  forced = 0;
  readonly #tokens: readonly (string | Error)[];
  #at = 0;

  /** @param tokens an error is thrown in its turn. The last one is given for ever. */
  constructor(...tokens: readonly (string | Error)[]) {
    this.#tokens = tokens;
  }

  async getToken(demand?: TokenDemand): Promise<SuppliedToken> {
    if (demand?.force === true) {
      this.forced += 1;
      this.#at = Math.min(this.#at + 1, this.#tokens.length - 1);
    }
    const token = this.#tokens[this.#at];
    if (token === undefined || token instanceof Error) throw token ?? new Error('no token');
    return createSuppliedToken(token, Date.now() + HOUR);
  }
}
