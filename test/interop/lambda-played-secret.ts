import {
  CreateSecretCommand,
  DescribeSecretCommand,
  GetSecretValueCommand,
  ResourceNotFoundException,
  RotateSecretCommand,
  UpdateSecretVersionStageCommand,
  type SecretsManagerClient,
} from '@aws-sdk/client-secrets-manager';
import { randomUUID } from 'node:crypto';
import type { RotationStep } from '../../src/rotation/rotation.js';

/** A token secret in moto, and what Secrets Manager itself does to it in a rotation, which moto does not play. */
export class PlayedSecret {
  private constructor(
    private readonly aws: SecretsManagerClient,
    readonly arn: string,
    readonly name: string,
  ) {}

  /** Creates the secret with a first value. */
  static async create(aws: SecretsManagerClient, value: string): Promise<PlayedSecret> {
    const name = `interop/${randomUUID()}/token`;
    const { ARN } = await aws.send(new CreateSecretCommand({ Name: name, SecretString: value }));
    return new PlayedSecret(aws, ARN ?? '', name);
  }

  /** A secret that is there. */
  static existing(aws: SecretsManagerClient, arn: string, name: string): PlayedSecret {
    return new PlayedSecret(aws, arn, name);
  }

  /** RotateSecret: registers a version id as AWSPENDING, before there is a value. */
  async beginRotation(): Promise<string> {
    const versionId = randomUUID();
    try {
      await this.aws.send(
        new RotateSecretCommand({
          SecretId: this.arn,
          ClientRequestToken: versionId,
          RotationLambdaARN: 'arn:aws:lambda:eu-central-1:123456789012:function:played',
          RotationRules: { AutomaticallyAfterDays: 1 },
        }),
      );
    } catch (error) {
      // The function is not one of moto's: it refuses to call it, after it has registered the version.
      if (!(error instanceof ResourceNotFoundException)) throw error;
    }
    const labels = await this.labels();
    if (labels[versionId]?.includes('AWSPENDING') !== true) {
      throw new Error(`moto did not register version ${versionId} as AWSPENDING.`);
    }
    return versionId;
  }

  /** The event of a step, as Secrets Manager sends it. */
  event(Step: RotationStep, ClientRequestToken: string, RotationToken: string): object {
    return { Step, SecretId: this.arn, ClientRequestToken, RotationToken };
  }

  /**
   * What Secrets Manager may do after finishSecret: takes AWSPENDING off the version that is current. moto needs it, since
   * it takes such a version for a rotation that goes on, where AWS takes any other pending version for one.
   */
  async endRotation(versionId: string): Promise<void> {
    if ((await this.labels())[versionId]?.includes('AWSPENDING') !== true) return;
    await this.aws.send(
      new UpdateSecretVersionStageCommand({
        SecretId: this.arn,
        VersionStage: 'AWSPENDING',
        RemoveFromVersionId: versionId,
      }),
    );
  }

  /** The versions that have AWSCURRENT: one, or something is broken. */
  async currentVersions(): Promise<readonly string[]> {
    return Object.entries(await this.labels())
      .filter(([, labels]) => labels.includes('AWSCURRENT'))
      .map(([versionId]) => versionId);
  }

  /** The value of the current version. To moto a plain read is one of the first version, whatever has happened since. */
  async currentValue(): Promise<string> {
    const read = await this.aws.send(
      new GetSecretValueCommand({ SecretId: this.arn, VersionStage: 'AWSCURRENT' }),
    );
    return read.SecretString ?? '';
  }

  async labels(): Promise<Readonly<Record<string, readonly string[]>>> {
    const described = await this.aws.send(new DescribeSecretCommand({ SecretId: this.arn }));
    return described.VersionIdsToStages ?? {};
  }
}
