import type { SecretStore } from '../secrets/secret-store.js';
import { parseServiceToken, TokenSecretError, type ServiceToken } from '../tokens/service-token.js';
import type { Clock } from '../tokens/time.js';
import { findVersion } from './claim.js';
import { lasts } from './due.js';

/** How long such a token is kept for the next attempt, in milliseconds. */
const LONGEST_AGE = 300_000;

/** What {@link UnstagedToken} works with. */
interface UnstagedTokenOptions {
  readonly store: SecretStore;
  readonly tokenSecretId: string;
  /** Life in milliseconds that a token must have left to be used. */
  readonly minimumLife: number;
  readonly clock: Clock;
}

/** A token that was minted, and neither staged nor rejected: the next attempt takes it, since each mint may cost money. */
export class UnstagedToken {
  #kept: { readonly token: ServiceToken; readonly versionId: string } | undefined;

  constructor(private readonly options: UnstagedTokenOptions) {}

  /** Keeps a token that could not be staged as this version; the one before is dropped. */
  keep(token: ServiceToken, versionId: string): void {
    this.#kept = { token, versionId };
  }

  /**
   * The token, once; `undefined` when there is none, when it is too old, or when it was staged after all and only the store's
   * answer was lost. The version that was staged may have been served and withdrawn since.
   *
   * @param currentId the version that is current.
   * @throws {BrokerError} what the store says; the token is kept then.
   */
  async take(currentId: string | undefined): Promise<ServiceToken | undefined> {
    const { store, tokenSecretId, clock, minimumLife } = this.options;
    const kept = this.#kept;
    if (kept === undefined) return undefined;
    const { token, versionId } = kept;
    const written = await findVersion(store, tokenSecretId, versionId);
    // Another attempt may have taken it meanwhile.
    if (this.#kept !== kept) return undefined;
    this.#kept = undefined;
    const isStaged =
      versionId === currentId ||
      (written !== undefined && tokenIn(written.value).accessToken === token.accessToken);
    const now = clock.now();
    const age = now - token.generatedAt;
    const isYoung = age >= 0 && age < LONGEST_AGE;
    return isYoung && !isStaged && lasts(token, minimumLife, now) ? token : undefined;
  }
}

/** The token in a value; nothing when it holds none, which a rotation replaces. */
export function tokenIn(value: string): Partial<ServiceToken> {
  try {
    return parseServiceToken(value);
  } catch (error) {
    if (error instanceof TokenSecretError) return {};
    throw error;
  }
}
