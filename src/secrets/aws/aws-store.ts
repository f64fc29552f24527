import type { DescribeSecretResponse } from '@aws-sdk/client-secrets-manager';
import { decodeText } from '../../tokens/json.js';
import { systemClock, type Clock } from '../../tokens/time.js';
import {
  CLAIM_LABEL,
  encodeValue,
  isStoreError,
  requireNewSecretId,
  requireVersionId,
  SecretStoreError,
  versionWithLabel,
  type PutPendingOptions,
  type SecretDescription,
  type SecretStore,
  type SecretVersion,
  type StoreRotation,
  type VersionSelector,
} from '../secret-store.js';
import { AwsConnection, type ConnectionOptions } from './aws-connection.js';
import { AwsFault, isArn } from './aws-errors.js';

/** Options of {@link createAwsStore}. */
export interface AwsStoreOptions extends ConnectionOptions {
  /** For the pauses between reads that may lag behind. Default: the machine's clock. */
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

/** How often labels that contradict a refusal are read again, and how far apart in milliseconds. */
const LOOKS = 4;
const LOOK_PAUSE = 250;

class AwsStore implements SecretStore {
  readonly name = 'aws';
  readonly #aws: AwsConnection;
  readonly #clock: Clock;

  constructor(options: AwsStoreOptions) {
    this.#aws = new AwsConnection(options);
    this.#clock = options.clock ?? systemClock;
  }

  async read(secretId: string, selector: VersionSelector = {}): Promise<SecretVersion> {
    try {
      return await this.#get(secretId, selector);
    } catch (error) {
      // Secrets Manager has one exception for "no such secret" and "no such version", distinguished only by its message.
      if (!isStoreError(error, 'SECRET_NOT_FOUND') || !(await this.#exists(secretId))) throw error;
      throw new SecretStoreError(
        'VERSION_NOT_FOUND',
        `The secret "${secretId}" exists, but has no version ${wanted(selector)} with a value.`,
        { cause: error.cause },
      );
    }
  }

  async describe(secretId: string): Promise<SecretDescription> {
    const output = await this.#aws.call('DescribeSecret', secretId, ({ sdk, client, options }) =>
      client.send(new sdk.DescribeSecretCommand({ SecretId: secretId }), options),
    );
    // A response whose body was lost must not look like a secret without versions.
    const { ARN, Name, VersionIdsToStages, RotationEnabled } = output;
    if ([ARN, Name, VersionIdsToStages, RotationEnabled].every((part) => part === undefined)) {
      throw incomplete(secretId, "the secret's ARN and name");
    }
    const labelled = Object.entries(output.VersionIdsToStages ?? {}).filter(
      ([, labels]) => labels.length > 0,
    );
    const ownRegion = regionOfArn(output.ARN) ?? this.#aws.region;
    return {
      secretId,
      labels: new Map(labelled),
      rotationEnabled: output.RotationEnabled ?? false,
      readOnlyReplica: output.PrimaryRegion !== undefined && output.PrimaryRegion !== ownRegion,
      ...(output.RotationEnabled === true && { storeRotation: rotationOf(output) }),
      ...(output.LastChangedDate && { changedAt: output.LastChangedDate.getTime() }),
      // DescribeSecret leaves the key out when it is the account's own for Secrets Manager.
      encryptionKeyId: output.KmsKeyId ?? 'aws/secretsmanager',
    };
  }

  async create(secretId: string, description: string): Promise<void> {
    if (isArn(secretId)) {
      // AWS assigns ARNs: a secret cannot be created with one.
      await this.describe(secretId);
      return;
    }
    requireNewSecretId(secretId);
    try {
      await this.#aws.call('CreateSecret', secretId, ({ sdk, client, options }) =>
        client.send(
          new sdk.CreateSecretCommand({ Name: secretId, Description: description }),
          options,
        ),
      );
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
    await this.#put(secretId, versionId, value, 'AWSPENDING', options.rotationToken);
  }

  async putClaim(secretId: string, versionId: string, value: string): Promise<void> {
    requireVersionId(secretId, versionId);
    encodeValue(secretId, value);
    await this.#put(secretId, versionId, value, CLAIM_LABEL);
  }

  async promote(
    secretId: string,
    versionId: string,
    expectedCurrent: string | undefined,
  ): Promise<void> {
    // DescribeSecret shows neither a version without a label nor whether one has a value: only reading does.
    const { labels } = await this.read(secretId, { versionId });
    if (expectedCurrent === versionId) {
      if (labels.includes('AWSCURRENT')) return;
      throw promoteConflict(secretId, versionId, expectedCurrent);
    }
    try {
      await this.#moveLabel(secretId, 'AWSCURRENT', expectedCurrent, versionId);
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
    // With the function and the schedule that the secret has. It would also enable a rotation that is switched off: only
    // for secrets whose rotation is enabled.
    await this.#aws.call('RotateSecret', secretId, ({ sdk, client, options }) =>
      client.send(
        new sdk.RotateSecretCommand({ SecretId: secretId, ClientRequestToken: versionId }),
        options,
      ),
    );
  }

  async close(): Promise<void> {
    await this.#aws.close();
  }

  async #get(secretId: string, { label, versionId }: VersionSelector): Promise<SecretVersion> {
    const stage = label ?? (versionId === undefined ? 'AWSCURRENT' : undefined);
    const output = await this.#aws.call('GetSecretValue', secretId, ({ sdk, client, options }) =>
      client.send(
        new sdk.GetSecretValueCommand({
          SecretId: secretId,
          ...(versionId === undefined ? {} : { VersionId: versionId }),
          ...(stage === undefined ? {} : { VersionStage: stage }),
        }),
        options,
      ),
    );
    if (output.VersionId === undefined || output.CreatedDate === undefined) {
      throw incomplete(secretId, "the version's id or its date");
    }
    return {
      versionId: output.VersionId,
      value: decodeValue(secretId, output),
      labels: output.VersionStages ?? [],
      createdAt: output.CreatedDate.getTime(),
    };
  }

  /** Atomic at AWS: a known version id with the same value does nothing, with another value it is refused. */
  async #put(
    secretId: string,
    versionId: string,
    value: string,
    label: string,
    rotationToken?: string,
  ): Promise<void> {
    await this.#aws.call('PutSecretValue', secretId, ({ sdk, client, options }) =>
      client.send(
        new sdk.PutSecretValueCommand({
          SecretId: secretId,
          ClientRequestToken: versionId,
          SecretString: value,
          // Without it Secrets Manager makes the version current at once.
          VersionStages: [label],
          ...(rotationToken === undefined ? {} : { RotationToken: rotationToken }),
        }),
        options,
      ),
    );
  }

  /** Takes a label off one version and puts it on another; either may be missing. */
  async #moveLabel(
    secretId: string,
    label: string,
    from: string | undefined,
    to: string | undefined,
  ): Promise<void> {
    await this.#aws.call('UpdateSecretVersionStage', secretId, ({ sdk, client, options }) =>
      client.send(
        new sdk.UpdateSecretVersionStageCommand({
          SecretId: secretId,
          VersionStage: label,
          ...(from === undefined ? {} : { RemoveFromVersionId: from }),
          ...(to === undefined ? {} : { MoveToVersionId: to }),
        }),
        options,
      ),
    );
  }

  async #takeOff(
    secretId: string,
    versionId: string,
    label: 'AWSPENDING' | typeof CLAIM_LABEL,
  ): Promise<void> {
    try {
      await this.#moveLabel(secretId, label, versionId, undefined);
    } catch (error) {
      if (!isRefusal(error)) throw error;
      await this.#lookUntil(secretId, error, ({ labels }) =>
        labels.get(versionId)?.includes(label) === true ? undefined : 'cleared',
      );
    }
  }

  /** Confirms a read that found nothing. Without the permission to describe, AWS's message counts. */
  async #exists(secretId: string): Promise<boolean> {
    try {
      await this.describe(secretId);
      return true;
    } catch (error) {
      if (isStoreError(error, 'SECRET_NOT_FOUND', 'STORE_ACCESS_DENIED')) return false;
      throw error;
    }
  }

  /** AWS refuses a lost race and a wrong parameter alike: the labels show which it was. */
  async #settlePromotion(
    secretId: string,
    versionId: string,
    expectedCurrent: string | undefined,
    error: unknown,
  ): Promise<void> {
    if (!isRefusal(error)) throw error;
    const fault = error.cause instanceof AwsFault ? error.cause : undefined;
    const decide = (current: string | undefined): 'promoted' | 'conflict' | undefined => {
      // The SDK tried again after a lost response: the first try promoted, and the later one was refused.
      if (current === versionId && (fault?.attempts ?? 1) > 1) return 'promoted';
      return current === expectedCurrent ? undefined : 'conflict';
    };
    const verdict = fault?.labelHolder === undefined ? undefined : decide(fault.labelHolder);
    const settled =
      verdict ??
      (await this.#lookUntil(secretId, error, (description) =>
        decide(versionWithLabel(description, 'AWSCURRENT')),
      ));
    if (settled === 'conflict') throw promoteConflict(secretId, versionId, expectedCurrent, error);
  }

  /**
   * Describes the secret until its labels explain the refusal: DescribeSecret may lag behind. If they never do, the refusal
   * had another reason, and is thrown.
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

function incomplete(secretId: string, missing: string): SecretStoreError {
  return new SecretStoreError(
    'STORE_UNAVAILABLE',
    `What the endpoint answered for the secret "${secretId}" is empty, or lacks ${missing}. Try again; if it goes on, check that it is Secrets Manager, and proxies between here and AWS.`,
  );
}

function rotationOf(output: DescribeSecretResponse): StoreRotation {
  const { ScheduleExpression, AutomaticallyAfterDays, Duration } = output.RotationRules ?? {};
  // With an expression, the days are only what Secrets Manager has computed from it.
  const schedule =
    ScheduleExpression ?? (AutomaticallyAfterDays && `rate(${AutomaticallyAfterDays} days)`);
  return {
    ...(output.RotationLambdaARN && { functionId: output.RotationLambdaARN }),
    ...(schedule && { schedule }),
    ...(Duration !== undefined && { window: Duration }),
    ...(output.LastRotatedDate && { lastAt: output.LastRotatedDate.getTime() }),
    ...(output.NextRotationDate && { nextAt: output.NextRotationDate.getTime() }),
  };
}

/** `eu-central-1` of `arn:aws:secretsmanager:eu-central-1:…`. */
function regionOfArn(arn: string | undefined): string | undefined {
  return arn?.split(':')[3];
}

/** The two shapes in which Secrets Manager keeps a value. */
interface StoredValue {
  readonly SecretString?: string | undefined;
  readonly SecretBinary?: Uint8Array | undefined;
}

/**
 * The value as text. Bytes are decoded strictly, as UTF-8 (or as UTF-16 with a byte-order mark); nothing is taken off.
 *
 * @throws {SecretStoreError} `VALUE_INVALID` when the bytes are not UTF-8, `VERSION_NOT_FOUND` when there is no value.
 */
function decodeValue(secretId: string, stored: StoredValue): string {
  if (stored.SecretString !== undefined) return stored.SecretString;
  if (stored.SecretBinary === undefined) {
    throw new SecretStoreError(
      'VERSION_NOT_FOUND',
      `The version of the secret "${secretId}" has no value yet.`,
    );
  }
  const text = decodeText(stored.SecretBinary);
  if (text !== undefined) return text;
  throw new SecretStoreError(
    'VALUE_INVALID',
    `The binary value of the secret "${secretId}" is not UTF-8 text. Write it again as JSON text, best as SecretString.`,
  );
}
