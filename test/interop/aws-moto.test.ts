import {
  CreateSecretCommand,
  DeleteSecretCommand,
  DescribeSecretCommand,
  GetSecretValueCommand,
  PutSecretValueCommand,
  ReplicateSecretToRegionsCommand,
  ResourceNotFoundException,
  RotateSecretCommand,
  SecretsManagerClient,
} from '@aws-sdk/client-secrets-manager';
import { afterAll, describe, expect, test } from '@jest/globals';
import { randomUUID } from 'node:crypto';
import { createAwsStore, type AwsStoreOptions } from '../../src/secrets/aws/aws-store.js';
import {
  SecretStoreError,
  versionWithLabel,
  type SecretStore,
} from '../../src/secrets/secret-store.js';

const aws = new SecretsManagerClient({});
const store = createAwsStore();
const opened: SecretStore[] = [store];

function open(options: AwsStoreOptions): SecretStore {
  const one = createAwsStore(options);
  opened.push(one);
  return one;
}

afterAll(async () => {
  for (const one of opened) await one.close();
  aws.destroy();
});

const newName = (): string => `interop/${randomUUID()}`;

async function failureOf(call: Promise<unknown>): Promise<SecretStoreError> {
  const error = await call.then(
    () => 'the call succeeded',
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(SecretStoreError);
  return error as SecretStoreError;
}

describe('what people and AWS do to a secret', () => {
  test('a secret made in the console is read by name and by ARN', async () => {
    const name = newName();
    const made = await aws.send(new CreateSecretCommand({ Name: name, SecretString: '{"a":1}' }));
    const byName = await store.read(name);
    expect(byName).toMatchObject({ versionId: made.VersionId, value: '{"a":1}' });
    expect(await store.read(made.ARN ?? '')).toEqual(byName);
    expect((await store.describe(made.ARN ?? '')).secretId).toBe(made.ARN);
    await store.create(made.ARN ?? '', '');
  });

  test('a binary value is read as UTF-8, and refused when it is something else', async () => {
    const name = newName();
    const SecretBinary = Buffer.from('{"ü":"日本"}');
    await aws.send(new CreateSecretCommand({ Name: name, SecretBinary }));
    expect((await store.read(name)).value).toBe('{"ü":"日本"}');
    const other = newName();
    await aws.send(
      new CreateSecretCommand({ Name: other, SecretBinary: Buffer.from([0xff, 0xfe, 0x00]) }),
    );
    expect(await failureOf(store.read(other))).toMatchObject({ code: 'VALUE_INVALID' });
  });

  test('what the store writes is a SecretString with its one label', async () => {
    const name = newName();
    await store.create(name, 'described');
    await store.putPending(name, randomUUID(), 'first');
    const versionId = randomUUID();
    await store.putPending(name, versionId, '{"b":2}');
    expect(
      await aws.send(new GetSecretValueCommand({ SecretId: name, VersionId: versionId })),
    ).toMatchObject({ SecretString: '{"b":2}', VersionStages: ['AWSPENDING'] });
    const described = await aws.send(new DescribeSecretCommand({ SecretId: name }));
    expect(described.Description).toBe('described');
  });

  test('a secret scheduled for deletion is told from one that does not exist', async () => {
    const name = newName();
    await aws.send(new CreateSecretCommand({ Name: name, SecretString: 'x' }));
    await aws.send(new DeleteSecretCommand({ SecretId: name, RecoveryWindowInDays: 7 }));
    const error = await failureOf(store.read(name));
    expect(error).toMatchObject({ code: 'STORE_REQUEST_INVALID', kind: 'misconfigured' });
    expect(error.message).toContain(`restore-secret --secret-id ${name}`);
  });

  test('a replica is read in its Region, and written only in the primary one', async () => {
    const name = newName();
    const made = await aws.send(new CreateSecretCommand({ Name: name, SecretString: 'x' }));
    await aws.send(
      new ReplicateSecretToRegionsCommand({
        SecretId: name,
        AddReplicaRegions: [{ Region: 'us-east-1' }],
      }),
    );
    const replica = open({ region: 'us-east-1' });
    const arn = (made.ARN ?? '').replace('eu-central-1', 'us-east-1');
    expect(await replica.read(arn)).toMatchObject({ value: 'x', versionId: made.VersionId });
    expect((await replica.describe(arn)).readOnlyReplica).toBe(true);
    expect((await store.describe(name)).readOnlyReplica).toBe(false);
    for (const write of [
      replica.putPending(arn, randomUUID(), 'y'),
      replica.putClaim(arn, randomUUID(), 'y'),
    ]) {
      const error = await failureOf(write);
      expect(error).toMatchObject({ code: 'STORE_READ_ONLY', kind: 'misconfigured' });
      expect(error.message).toContain('primary Region');
    }
    expect((await store.read(name)).value).toBe('x');
  });

  test('a version that RotateSecret has registered is listed, has no value, and takes one', async () => {
    const name = newName();
    await aws.send(new CreateSecretCommand({ Name: name, SecretString: 'current' }));
    const versionId = randomUUID();
    // The function does not exist: moto refuses to call it, after it has registered the version.
    const rotation = aws.send(
      new RotateSecretCommand({
        SecretId: name,
        ClientRequestToken: versionId,
        RotationLambdaARN: 'arn:aws:lambda:eu-central-1:123456789012:function:none',
        RotationRules: { AutomaticallyAfterDays: 1 },
      }),
    );
    await expect(rotation).rejects.toBeInstanceOf(ResourceNotFoundException);
    const description = await store.describe(name);
    expect(description.rotationEnabled).toBe(true);
    expect(versionWithLabel(description, 'AWSPENDING')).toBe(versionId);
    const selectors = [{ label: 'AWSPENDING' }, { versionId }] as const;
    for (const selector of selectors) {
      expect((await failureOf(store.read(name, selector))).code).toBe('VERSION_NOT_FOUND');
    }
    const current = versionWithLabel(description, 'AWSCURRENT');
    expect((await failureOf(store.promote(name, versionId, current))).code).toBe(
      'VERSION_NOT_FOUND',
    );
    await store.putPending(name, versionId, 'minted', { rotationToken: randomUUID() });
    await store.promote(name, versionId, current);
    expect(await store.read(name)).toMatchObject({ versionId, value: 'minted' });
  });
});

describe('where moto is laxer than Secrets Manager', () => {
  test('it replaces the value of a pending version: when this fails, take the deviation out of the contract test', async () => {
    const name = newName();
    await aws.send(new CreateSecretCommand({ Name: name, SecretString: 'current' }));
    const put = (SecretString: string, ClientRequestToken: string): Promise<unknown> =>
      aws.send(
        new PutSecretValueCommand({
          SecretId: name,
          ClientRequestToken,
          SecretString,
          VersionStages: ['AWSPENDING'],
        }),
      );
    const versionId = randomUUID();
    await put('mine', versionId);
    await put('other', versionId);
    expect((await store.read(name, { versionId })).value).toBe('other');
  });
});
