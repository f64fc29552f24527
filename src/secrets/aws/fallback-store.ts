import { errorCode, notify } from '../../tokens/errors.js';
import { systemClock, withDeadline, type Clock } from '../../tokens/time.js';
import {
  isStoreError,
  SecretStoreError,
  type PutPendingOptions,
  type SecretDescription,
  type SecretStore,
  type SecretVersion,
  type VersionSelector,
} from '../secret-store.js';
import { isArn } from './aws-errors.js';

/** A Region with replicas of the secrets. */
interface FallbackRegion {
  readonly region: string;
  readonly store: SecretStore;
}

/** Notified when another Region had to answer. It must not throw; if it does, a process warning says so. */
export interface FallbackObserver {
  /** @param localCode the code of the failure in the local Region. */
  answeredElsewhere?(region: string, secretId: string, localCode: string): void;
  /** The home Region answered. */
  answeredAtHome?(secretId: string): void;
}

/** Options of {@link createFallbackStore}. */
interface FallbackOptions {
  /** Default: the machine's. */
  readonly clock?: Clock;
  /**
   * How long all Regions together may take for a read, in milliseconds; each gets an equal share. Default: 9,000, less
   * than the 10 seconds after which a cache gives a read up.
   */
  readonly patience?: number;
  readonly observer?: FallbackObserver;
}

const DEFAULT_PATIENCE = 9_000;

/**
 * A secret store that reads from other Regions' replicas, in their order, while the local endpoint fails.
 *
 * Only plain reads of AWSCURRENT fall back: what serving needs. A read of a pending version, or of one by its id,
 * belongs to a rotation, which must not decide by a replica that lags behind; `describe` and every write stay local for
 * the same reason. A refusal (no permission, no such secret) is an answer, and never falls back. A replica may lag by
 * seconds, so that a read may give the version that was current before.
 *
 * @param fallbacks at least one, the first to be asked first. They are closed with the store.
 *
 * @example
 * ```ts
 * import { createAwsStore } from './secrets/aws/aws-store.js';
 * import { createFallbackStore } from './secrets/aws/fallback-store.js';
 *
 * const region = 'eu-west-1';
 * const store = createFallbackStore(createAwsStore(), [{ region, store: createAwsStore({ region }) }]);
 * ```
 */
export function createFallbackStore(
  local: SecretStore,
  fallbacks: readonly FallbackRegion[],
  options: FallbackOptions = {},
): SecretStore {
  return new FallbackStore(local, fallbacks, options);
}

/**
 * True when another Region may do better: the local endpoint could not be reached, was too slow, failed inside or had
 * too many requests. Quotas of requests are those of one Region.
 */
export function maySucceedElsewhere(error: unknown): error is SecretStoreError {
  const isOutage = isStoreError(error, 'STORE_UNAVAILABLE', 'STORE_TIMEOUT', 'STORE_THROTTLED');
  // The same codes also mean a wrong endpoint or certificate, which has to be fixed.
  return isOutage && error.kind === 'retry';
}

/** A secret's id as another Region knows it: the name is the same, and an ARN has the Region in it. */
export function idInRegion(secretId: string, region: string): string {
  if (!isArn(secretId)) return secretId;
  const [arn, partition, service, , ...rest] = secretId.split(':');
  return [arn, partition, service, region, ...rest].join(':');
}

class FallbackStore implements SecretStore {
  readonly name: string;
  readonly #local: SecretStore;
  readonly #fallbacks: readonly FallbackRegion[];
  readonly #clock: Clock;
  readonly #share: number;
  readonly #observer: FallbackObserver;

  constructor(local: SecretStore, fallbacks: readonly FallbackRegion[], options: FallbackOptions) {
    const { clock = systemClock, patience = DEFAULT_PATIENCE, observer = {} } = options;
    this.name = local.name;
    this.#local = local;
    this.#fallbacks = fallbacks;
    this.#clock = clock;
    this.#share = patience / (fallbacks.length + 1);
    this.#observer = observer;
  }

  async read(secretId: string, selector: VersionSelector = {}): Promise<SecretVersion> {
    const { versionId, label = 'AWSCURRENT' } = selector;
    if (versionId !== undefined || label !== 'AWSCURRENT') {
      return this.#local.read(secretId, selector);
    }
    try {
      const version = await this.#within('the home Region', this.#local, secretId);
      notify(() => this.#observer.answeredAtHome?.(secretId));
      return version;
    } catch (error) {
      if (!maySucceedElsewhere(error)) throw error;
      return this.#readElsewhere(secretId, error);
    }
  }

  describe(secretId: string): Promise<SecretDescription> {
    return this.#local.describe(secretId);
  }

  create(secretId: string, description: string): Promise<void> {
    return this.#local.create(secretId, description);
  }

  putPending(
    secretId: string,
    versionId: string,
    value: string,
    options?: PutPendingOptions,
  ): Promise<void> {
    return this.#local.putPending(secretId, versionId, value, options);
  }

  putClaim(secretId: string, versionId: string, value: string): Promise<void> {
    return this.#local.putClaim(secretId, versionId, value);
  }

  releaseClaim(secretId: string, versionId: string): Promise<void> {
    return this.#local.releaseClaim(secretId, versionId);
  }

  promote(secretId: string, versionId: string, expectedCurrent: string | undefined): Promise<void> {
    return this.#local.promote(secretId, versionId, expectedCurrent);
  }

  clearPending(secretId: string, versionId: string): Promise<void> {
    return this.#local.clearPending(secretId, versionId);
  }

  requestRotation(secretId: string, versionId: string): Promise<void> {
    return this.#local.requestRotation(secretId, versionId);
  }

  async close(): Promise<void> {
    for (const { store } of [{ store: this.#local }, ...this.#fallbacks]) await store.close();
  }

  async #readElsewhere(secretId: string, failure: SecretStoreError): Promise<SecretVersion> {
    const refusals: string[] = [];
    for (const { region, store } of this.#fallbacks) {
      try {
        const version = await this.#within(region, store, idInRegion(secretId, region));
        notify(() => this.#observer.answeredElsewhere?.(region, secretId, failure.code));
        return version;
      } catch (error) {
        refusals.push(`${region} (${errorCode(error)})`);
      }
    }
    // The local failure counts: that a replica does not have the secret says nothing about the secret.
    const { code, kind, retryAfterSeconds } = failure;
    throw new SecretStoreError(
      code,
      `${failure.message} No fallback Region could answer: ${refusals.join(', ')}.`,
      { cause: failure, kind, ...(retryAfterSeconds !== undefined && { retryAfterSeconds }) },
    );
  }

  /** A plain read that is given up after this Region's share of the time. */
  #within(where: string, store: SecretStore, secretId: string): Promise<SecretVersion> {
    return withDeadline(
      this.#clock,
      this.#share,
      () => store.read(secretId),
      () =>
        new SecretStoreError(
          'STORE_TIMEOUT',
          `Could not read the secret "${secretId}": ${where} gave no answer within ${this.#share / 1000} s.`,
        ),
    );
  }
}
