import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { SecretsManagerClient } from '@aws-sdk/client-secrets-manager';
import { findAwsIdentity } from '../../../src/secrets/aws/aws-connection.js';
import { failureOf } from './leaks.js';
import { isolateAwsSettings } from './scripted-endpoint.js';

let restore: () => void;
beforeEach(() => {
  restore = isolateAwsSettings();
});
afterEach(() => restore());

test('the identity is what the standard chain finds, and nothing secret of it', async () => {
  const identity = await findAwsIdentity();
  expect(identity).toEqual({
    accessKeyId: 'AKIAIOSFODNN7EXAMPLE',
    region: 'eu-central-1',
    accountId: undefined,
    expiresAt: undefined,
  });
});

test('temporary credentials tell when they end, and whose they are', async () => {
  process.env['AWS_CREDENTIAL_EXPIRATION'] = '2026-11-22T12:00:00Z';
  process.env['AWS_ACCOUNT_ID'] = '123456789012';
  expect(await findAwsIdentity()).toMatchObject({
    accountId: '123456789012',
    expiresAt: Date.parse('2026-11-22T12:00:00Z'),
  });
});

test('without credentials it says where they may come from', async () => {
  delete process.env['AWS_ACCESS_KEY_ID'];
  const error = await failureOf(findAwsIdentity());
  expect(error).toMatchObject({ code: 'STORE_CREDENTIALS', kind: 'misconfigured' });
  expect(error.message).toMatch(/^Could not find AWS credentials \(CredentialsProviderError/);
  expect(error.message).toContain('AWS_PROFILE');
});

test('without a Region it says so', async () => {
  delete process.env['AWS_REGION'];
  const error = await failureOf(findAwsIdentity());
  expect(error).toMatchObject({ code: 'STORE_CREDENTIALS' });
  expect(error.message).toContain('AWS_REGION');
});

test('a source that never answers is given up', async () => {
  const client = new SecretsManagerClient({ credentials: () => new Promise(() => undefined) });
  const error = await failureOf(findAwsIdentity({ client, timeouts: { total: 20 } }));
  expect(error).toMatchObject({ code: 'STORE_CREDENTIALS' });
  expect(error.message).toContain('no answer in time');
  client.destroy();
});
