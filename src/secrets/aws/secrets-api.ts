import { SecretStoreError } from '../secret-store-error.js';
import type {
  SecretDescription,
  SecretVersion,
  StoreRotation,
  VersionSelector,
} from '../secret-store.js';
import { AwsConnection, type ConnectionOptions } from './connection.js';
import { decodeValue } from './secret-value.js';
import type { DescribeSecretResponse } from '@aws-sdk/client-secrets-manager';

/** Secrets Manager's calls in our words: one call each, nothing decided. */
export class SecretsApi {
  readonly #aws: AwsConnection;

  constructor(options: ConnectionOptions) {
    this.#aws = new AwsConnection(options);
  }

  async read(secretId: string, { label, versionId }: VersionSelector): Promise<SecretVersion> {
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

  async describe(secretId: string): Promise<SecretDescription> {
    const output = await this.#aws.call('DescribeSecret', secretId, ({ sdk, client, options }) =>
      client.send(new sdk.DescribeSecretCommand({ SecretId: secretId }), options),
    );
    // An answer whose body was lost must not pass for a secret without versions.
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

  /** Rejects with `VERSION_CONFLICT` when the secret exists. */
  async create(secretId: string, description: string): Promise<void> {
    await this.#aws.call('CreateSecret', secretId, ({ sdk, client, options }) =>
      client.send(
        new sdk.CreateSecretCommand({ Name: secretId, Description: description }),
        options,
      ),
    );
  }

  /** Atomic at AWS: a known version id with the same value does nothing, with another value it is refused. */
  async put(
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
  async moveLabel(
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

  /**
   * Starts a rotation with the function and the schedule that the secret has. It would also switch on again a rotation
   * that somebody has switched off: only for secrets whose rotation is enabled.
   */
  async rotate(secretId: string, versionId: string): Promise<void> {
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
