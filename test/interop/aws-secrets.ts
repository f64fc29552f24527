import {
  CreateSecretCommand,
  ReplicateSecretToRegionsCommand,
  ResourceNotFoundException,
  RotateSecretCommand,
  SecretsManagerClient,
} from '@aws-sdk/client-secrets-manager';
import { afterAll, expect } from '@jest/globals';
import { randomUUID } from 'node:crypto';
import { createAwsStore } from '../../src/secrets/aws/aws-store.js';
import { versionWithLabel } from '../../src/secrets/secret-store.js';
import { CREDENTIALS } from '../support/rotation-scene.js';
import { ROTATION_FUNCTION } from './aws-front.js';

/** Where moto is, whatever the tests put in front of it. */
export const MOTO = process.env['AWS_ENDPOINT_URL_SECRETS_MANAGER'] ?? '';

const aws = new SecretsManagerClient({ endpoint: MOTO });
const store = createAwsStore({ endpoint: MOTO });

afterAll(async () => {
  aws.destroy();
  await store.close();
});

/** The settings that name a broker's three secrets in AWS. */
export interface SecretSettings {
  readonly BROKER_SECRET_STORE: 'aws';
  readonly BROKER_CREDENTIALS_SECRET_ID: string;
  readonly BROKER_TOKEN_SECRET_ID: string;
  readonly BROKER_PEERS_SECRET_ID: string;
}

/** Creates the three secrets as a person would: the credentials with their value, the other two without. */
export async function createSecrets(): Promise<SecretSettings> {
  const name = (what: string): string => `interop/${randomUUID()}/${what}`;
  const ids = [name('credentials'), name('token'), name('peers')] as const;
  const [credentials, token, peers] = ids;
  await aws.send(new CreateSecretCommand({ Name: credentials, SecretString: CREDENTIALS }));
  await aws.send(new CreateSecretCommand({ Name: token }));
  await aws.send(new CreateSecretCommand({ Name: peers }));
  return {
    BROKER_SECRET_STORE: 'aws',
    BROKER_CREDENTIALS_SECRET_ID: credentials,
    BROKER_TOKEN_SECRET_ID: token,
    BROKER_PEERS_SECRET_ID: peers,
  };
}

/** Turns on Secrets Manager's own rotation, daily, as a template does. Nothing is pending afterwards. */
export async function enableRotation(secretId: string): Promise<void> {
  await clearPending(secretId);
  const rotation = aws.send(
    new RotateSecretCommand({
      SecretId: secretId,
      RotationLambdaARN: ROTATION_FUNCTION,
      RotationRules: { AutomaticallyAfterDays: 1 },
    }),
  );
  // moto refuses to call a function that does not exist, after it has noted everything else.
  await expect(rotation).rejects.toBeInstanceOf(ResourceNotFoundException);
  await clearPending(secretId);
}

/** Takes AWSPENDING off whatever has it: moto, unlike AWS, refuses to rotate while it is on the current version. */
export async function clearPending(secretId: string): Promise<void> {
  const pending = versionWithLabel(await store.describe(secretId), 'AWSPENDING');
  if (pending !== undefined) await store.clearPending(secretId, pending);
}

/** Replicates secrets to a Region. */
export async function replicate(secretIds: readonly string[], region: string): Promise<void> {
  for (const SecretId of secretIds) {
    await aws.send(
      new ReplicateSecretToRegionsCommand({ SecretId, AddReplicaRegions: [{ Region: region }] }),
    );
  }
}
