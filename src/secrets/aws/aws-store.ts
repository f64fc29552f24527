import { systemClock, type Clock } from '../../tokens/clock.js';
import { encodeValue, requireNewSecretId, requireVersionId } from '../secret-limits.js';
import { isStoreError, SecretStoreError } from '../secret-store-error.js';
import {
  CLAIM_LABEL,
  versionWithLabel,
  type PutPendingOptions,
  type SecretDescription,
  type SecretStore,
  type SecretVersion,
  type VersionSelector,
} from '../secret-store.js';
import { isArn } from './aws-errors.js';
import { AwsFault } from './aws-fault.js';
import type { ConnectionOptions } from './connection.js';
import { SecretsApi } from './secrets-api.js';

/** Options of {@link createAwsStore}. */
export interface AwsStoreOptions extends ConnectionOptions {
  /** For the pauses between looks at an answer that lags behind. Default: the machine's clock. */
  readonly clock?: Clock;
}

/**
 * A secret store in AWS Secrets Manager.
 *
 * Credentials, Region and endpoint come by the SDK's standard chain: environment variables (`AWS_REGION`,
 * `AWS_PROFILE`, `AWS_ENDPOINT_URL_SECRETS_MANAGER`, …), shared files, container and instance roles. Retries are the
 * SDK's own: three attempts by default. The SDK is loaded at the first call.
 *
 * @example
 * ```ts
 * import { createAwsStore } from './secrets/aws/aws-store.js';
 *
 * const store = createAwsStore({ region: 'eu-central-1' });
 * const { value } = await store.read('service-token');
 * ```
 */
export function createAwsStore(options: AwsStoreOptions = {}): SecretStore {
  return new AwsStore(options);
}

/** How often, and how far apart in milliseconds, labels are looked at that contradict a refusal. */
const LOOKS = 4;
const LOOK_PAUSE = 250;

class AwsStore implements SecretStore {
  readonly name = 'aws';
  readonly #api: SecretsApi;
  readonly #clock: Clock;

  constructor(options: AwsStoreOptions) {
    this.#api = new SecretsApi(options);
    this.#clock = options.clock ?? systemClock;
  }

  async read(secretId: string, selector: VersionSelector = {}): Promise<SecretVersion> {
    try {
      return await this.#api.read(secretId, selector);
    } catch (error) {
      // Secrets Manager has one exception for "no such secret" and "no such version", told apart by its words alone.
      if (!isStoreError(error, 'SECRET_NOT_FOUND') || !(await this.#exists(secretId))) throw error;
      throw new SecretStoreError(
        'VERSION_NOT_FOUND',
        `The secret "${secretId}" exists, but has no version ${wanted(selector)} with a value.`,
        { cause: error.cause },
      );
    }
  }

  describe(secretId: string): Promise<SecretDescription> {
    return this.#api.describe(secretId);
  }

  async create(secretId: string, description: string): Promise<void> {
    if (isArn(secretId)) {
      // AWS gives out ARNs; one that nobody has cannot be made to exist.
      await this.describe(secretId);
      return;
    }
    requireNewSecretId(secretId);
    try {
      await this.#api.create(secretId, description);
    } catch (error) {
      if (!isStoreError(error, 'VERSION_CONFLICT')) throw error;
    }
  }

  async putPending(
    secretId: string,
    versionId: string,
    value: string,
    options: PutPendingOptions = {},
  ): Promise<void> {
    requireVersionId(secretId, versionId);
    encodeValue(secretId, value);
    await this.#api.put(secretId, versionId, value, 'AWSPENDING', options.rotationToken);
  }

  async putClaim(secretId: string, versionId: string, value: string): Promise<void> {
    requireVersionId(secretId, versionId);
    encodeValue(secretId, value);
    await this.#api.put(secretId, versionId, value, CLAIM_LABEL);
  }

  async promote(
    secretId: string,
    versionId: string,
    expectedCurrent: string | undefined,
  ): Promise<void> {
    // A version without a value, or without a label, is not told by DescribeSecret: only reading tells.
    const { labels } = await this.read(secretId, { versionId });
    if (expectedCurrent === versionId) {
      if (labels.includes('AWSCURRENT')) return;
      throw promoteConflict(secretId, versionId, expectedCurrent);
    }
    try {
      await this.#api.moveLabel(secretId, 'AWSCURRENT', expectedCurrent, versionId);
    } catch (error) {
      await this.#settlePromotion(secretId, versionId, expectedCurrent, error);
    }
  }

  clearPending(secretId: string, versionId: string): Promise<void> {
    return this.#takeOff(secretId, versionId, 'AWSPENDING');
  }

  releaseClaim(secretId: string, versionId: string): Promise<void> {
    return this.#takeOff(secretId, versionId, CLAIM_LABEL);
  }

  async requestRotation(secretId: string, versionId: string): Promise<void> {
    requireVersionId(secretId, versionId);
    await this.#api.rotate(secretId, versionId);
  }

  async close(): Promise<void> {
    await this.#api.close();
  }

  async #takeOff(
    secretId: string,
    versionId: string,
    label: 'AWSPENDING' | typeof CLAIM_LABEL,
  ): Promise<void> {
    try {
      await this.#api.moveLabel(secretId, label, versionId, undefined);
    } catch (error) {
      if (!isRefusal(error)) throw error;
      await this.#lookUntil(secretId, error, ({ labels }) =>
        labels.get(versionId)?.includes(label) === true ? undefined : 'cleared',
      );
    }
  }

  /** The second witness, for a read that found nothing. When it may not be asked, AWS's words stand. */
  async #exists(secretId: string): Promise<boolean> {
    try {
      await this.describe(secretId);
      return true;
    } catch (error) {
      if (isStoreError(error, 'SECRET_NOT_FOUND', 'STORE_ACCESS_DENIED')) return false;
      throw error;
    }
  }

  /** AWS refuses a lost race and a wrong parameter alike: the labels tell which it was. */
  async #settlePromotion(
    secretId: string,
    versionId: string,
    expectedCurrent: string | undefined,
    error: unknown,
  ): Promise<void> {
    if (!isRefusal(error)) throw error;
    const facts = error.cause instanceof AwsFault ? error.cause.facts : undefined;
    const decide = (current: string | undefined): 'promoted' | 'conflict' | undefined => {
      // The SDK tried again after an answer was lost, and the refusal is of the later try: the first one did it.
      if (current === versionId && (facts?.attempts ?? 1) > 1) return 'promoted';
      return current === expectedCurrent ? undefined : 'conflict';
    };
    const verdict = facts?.labelHolder === undefined ? undefined : decide(facts.labelHolder);
    const settled =
      verdict ??
      (await this.#lookUntil(secretId, error, (description) =>
        decide(versionWithLabel(description, 'AWSCURRENT')),
      ));
    if (settled === 'conflict') throw promoteConflict(secretId, versionId, expectedCurrent, error);
  }

  /**
   * Looks at the labels until they explain the refusal: DescribeSecret may lag behind. When they never do, the
   * refusal had another reason, and is thrown.
   */
  async #lookUntil<Verdict>(
    secretId: string,
    refusal: unknown,
    judge: (description: SecretDescription) => Verdict | undefined,
  ): Promise<Verdict> {
    for (let look = 1; ; look += 1) {
      const verdict = judge(await this.describe(secretId));
      if (verdict !== undefined) return verdict;
      if (look === LOOKS) throw refusal;
      await this.#clock.sleep(LOOK_PAUSE);
    }
  }
}

/** True when AWS refused the call, and the labels may be the reason. */
function isRefusal(error: unknown): error is SecretStoreError {
  return (
    isStoreError(error, 'VERSION_NOT_FOUND', 'SECRET_NOT_FOUND') ||
    (isStoreError(error, 'STORE_REQUEST_INVALID') && error.kind === 'bug')
  );
}

function promoteConflict(
  secretId: string,
  versionId: string,
  expected: string | undefined,
  refusal?: SecretStoreError,
): SecretStoreError {
  return new SecretStoreError(
    'PROMOTE_CONFLICT',
    `The version ${versionId} of the secret "${secretId}" was not promoted: ${expected === undefined ? 'a version is current, and none' : `another version is current than ${expected}, which`} was expected. Read the secret again.`,
    refusal === undefined ? {} : { cause: refusal.cause },
  );
}

function wanted({ label, versionId }: VersionSelector): string {
  return [versionId, label ?? (versionId === undefined ? 'AWSCURRENT' : undefined)]
    .filter((part) => part !== undefined)
    .join(' with ');
}
