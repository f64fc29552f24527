import { BrokerError, errorCode } from '../tokens/errors.js';
import type { ServiceToken } from '../tokens/service-token.js';
import { backoff, type Clock } from '../tokens/time.js';

/** Receivers refuse the current service token, by what this process knows. */
export interface Refusal {
  readonly versionId: string;
  /** The stable code of what it is refused for, such as `TOKEN_KEY_UNKNOWN`. */
  readonly code: string;
  /** What is wrong and what to do, in words. */
  readonly reason: string;
  /** False where a new token would be refused as well, because this machine's clock is behind. */
  readonly isCurable: boolean;
}

/** What a watch reports, once for each change. A method that throws is a bug. */
export interface TokenWatchObserver {
  refused?(refusal: Refusal, error: unknown): void;
  /** The current token is accepted, after one that was refused. */
  acceptedAgain?(versionId: string): void;
  /** The token could not be verified, most often because the provider's keys are not available. It stays accepted. */
  notVerified?(error: unknown): void;
}

/** What {@link TokenWatch} works with. */
interface TokenWatchOptions {
  /** The token that is served now, with its version. */
  readonly current: () => Promise<{ readonly versionId: string; readonly token: ServiceToken }>;
  /** The version that is served now, if that is known without reading. */
  readonly knownVersionId: () => string | undefined;
  /** Verifies a token as receivers do. Rejects with a BrokerError of kind `rejected` for a token that they refuse. */
  readonly verify: (token: ServiceToken) => Promise<void>;
  /**
   * Fetches the provider's keys when they are old enough, and resolves with the identity of the keys in use: when that
   * changes, a verification is due. Never rejects.
   */
  readonly freshKeys?: () => Promise<string>;
  readonly clock: Clock;
  /** Milliseconds between two verifications of the same version. Default: 600,000, the age to which keys are used. */
  readonly interval?: number;
  readonly observer?: TokenWatchObserver;
}

const INTERVAL = 600_000;
const FIRST_RETRY = 60_000;

/**
 * Verifies the current service token again: at start, when another version becomes current, when the provider's keys
 * have changed, and every ten minutes. A token whose key was withdrawn, or that the settings of today refuse, is thus
 * found while it is served. What cannot be verified, because keys or secrets cannot be read, keeps the last verdict.
 */
export class TokenWatch {
  #verdict: { readonly versionId: string; readonly refusal: Refusal | undefined } | undefined;
  /** The version that was looked at last, whether or not it could be verified. */
  #seen: string | undefined;
  /** The keys of the last verification. */
  #keys: string | undefined;
  #isAsked = true;
  #isStopped = false;
  #checkedAt = 0;
  #nextAt = 0;
  #failures = 0;
  #lastFailure: string | undefined;
  #checking: Promise<void> | undefined;

  constructor(private readonly options: TokenWatchOptions) {}

  /** Verifies the token if that is due. Never rejects: failures go to the observer. */
  async check(): Promise<void> {
    if (this.#isStopped) return;
    this.#checking ??= this.#checkWhenDue().finally(() => {
      this.#checking = undefined;
    });
    await this.#checking;
  }

  /** Makes the next {@link check} verify: a rotation has ended. */
  expire(): void {
    this.#isAsked = true;
  }

  /** Ends the watch: a verification that is under way has no effect any more. */
  stop(): void {
    this.#isStopped = true;
  }

  /** Why receivers refuse the version that was verified last; `undefined` when they accept it, or it is not known. */
  refusal(): Refusal | undefined {
    return this.#verdict?.refusal;
  }

  /** Whether receivers accept this version; `undefined` while it is not known. */
  accepts(versionId: string | undefined): boolean | undefined {
    const verdict = this.#verdict;
    return verdict === undefined || verdict.versionId !== versionId
      ? undefined
      : verdict.refusal === undefined;
  }

  async #checkWhenDue(): Promise<void> {
    const { freshKeys } = this.options;
    const keys = await freshKeys?.();
    if (!this.#isDue(keys)) return;
    await this.#check();
    // The verification used the keys that it fetched.
    this.#keys = await freshKeys?.();
  }

  #isDue(keys: string | undefined): boolean {
    const now = this.options.clock.now();
    const known = this.options.knownVersionId();
    if (this.#isAsked || keys !== this.#keys || (known !== undefined && known !== this.#seen))
      return true;
    // A clock that was set back must not stop the watch until it catches up.
    return now >= this.#nextAt || now < this.#checkedAt;
  }

  async #check(): Promise<void> {
    const { current, knownVersionId, verify, interval = INTERVAL, observer } = this.options;
    this.#isAsked = false;
    this.#seen = knownVersionId();
    let version: Awaited<ReturnType<typeof current>>;
    try {
      version = await current();
    } catch {
      // The cache reports this itself. Without a token there is nothing to verify.
      this.#retryLater();
      return;
    }
    const { versionId, token } = version;
    this.#seen = versionId;
    let failure: unknown;
    try {
      await verify(token);
    } catch (error) {
      failure = error;
    }
    if (this.#isStopped) return;
    if (failure === undefined || (failure instanceof BrokerError && failure.kind === 'rejected')) {
      this.#failures = 0;
      this.#lastFailure = undefined;
      this.#checkAgainIn(interval);
      this.#settle(versionId, failure);
      return;
    }
    this.#retryLater();
    if (this.#lastFailure !== errorCode(failure)) observer?.notVerified?.(failure);
    this.#lastFailure = errorCode(failure);
  }

  #settle(versionId: string, rejection: BrokerError | undefined): void {
    const { observer } = this.options;
    const before = this.#verdict?.refusal;
    const refusal = rejection && {
      versionId,
      code: rejection.code,
      reason: rejection.message,
      isCurable: rejection.code !== 'TOKEN_NOT_YET_VALID',
    };
    this.#verdict = { versionId, refusal };
    if (refusal === undefined) {
      if (before !== undefined) observer?.acceptedAgain?.(versionId);
    } else if (before?.versionId !== versionId || before.code !== refusal.code) {
      observer?.refused?.(refusal, rejection);
    }
  }

  #retryLater(): void {
    const { interval = INTERVAL } = this.options;
    this.#failures += 1;
    this.#checkAgainIn(backoff(this.#failures, FIRST_RETRY, interval));
  }

  #checkAgainIn(milliseconds: number): void {
    this.#checkedAt = this.options.clock.now();
    this.#nextAt = this.#checkedAt + milliseconds;
  }
}
