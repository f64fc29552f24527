import { inspect } from 'node:util';
import type { CacheRequest } from './freshness.js';

/** A service token as a caller receives it. */
export interface SuppliedToken {
  /** The JWT itself. Never log it. */
  readonly accessToken: string;
  /** When it stops being valid, in milliseconds since the Unix epoch. */
  readonly expiresAt: number;
}

/** What a caller asks of a {@link ServiceTokenSource}. */
export interface TokenDemand {
  /** Remaining life in seconds that the token must have. Default 0. */
  readonly minTtlSeconds?: number;
  /** Bypass every cache, at most once a second. Default false. */
  readonly force?: boolean;
  /**
   * With `force`, after an ordinary read within the last second: wait for the rest of that second and read again, instead of
   * serving the result of that read. Default false.
   */
  readonly patient?: boolean;
}

/**
 * Where a caller gets the service token: from a broker over HTTP (`createServiceTokenClient`), or from one in the same
 * process (`BrokerModule`).
 */
export interface ServiceTokenSource {
  /** @throws {BrokerError} of kind `retry` when none is available now; of kind `misconfigured` when retrying cannot help. */
  getToken(demand?: TokenDemand): Promise<SuppliedToken>;
}

/**
 * Makes a {@link SuppliedToken}. The token is not an own property, so that `JSON.stringify`, `console.log`, a spread and
 * `structuredClone` leave it out.
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

  /** With `getters`, `inspect` would show the token. */
  [inspect.custom](): object {
    return { expiresAt: this.expiresAt };
  }
}

/**
 * A demand as a cache takes it.
 *
 * @param invalid makes the error for a demand that is not one, from what is wrong with it.
 */
export function readDemand(
  demand: TokenDemand,
  invalid: (mistake: string) => Error,
): Pick<CacheRequest, 'minTtlMs' | 'force' | 'patient'> {
  const { minTtlSeconds = 0, force = false, patient = false } = demand;
  if ('minTtlMs' in demand) throw invalid('"minTtlMs" is now "minTtlSeconds", in seconds.');
  if (!Number.isFinite(minTtlSeconds) || minTtlSeconds < 0) {
    throw invalid('"minTtlSeconds" must be a number of seconds from 0.');
  }
  if (typeof force !== 'boolean') throw invalid('"force" must be true or false.');
  if (typeof patient !== 'boolean') throw invalid('"patient" must be true or false.');
  return { minTtlMs: Math.round(minTtlSeconds * 1_000), force, patient };
}
