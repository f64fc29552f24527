import { SecretsManagerClient } from '@aws-sdk/client-secrets-manager';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { execFile } from 'node:child_process';
import { cp, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { findAwsIdentity } from '../../../src/secrets/aws/aws-connection.js';
import { createAwsStore } from '../../../src/secrets/aws/aws-store.js';
import { offsetBounds, type DateReading } from '../../../src/tokens/time.js';
import { put, ROTATION_TOKEN, useScriptedEndpoint, VALUE, VERSION } from './harness.js';
import { failureOf } from './leaks.js';
import { answer } from './scripted-endpoint.js';

const aws = useScriptedEndpoint();

describe('an endpoint that is something else', () => {
  test.each([
    ['a login page', 200, 'STORE_UNAVAILABLE', 'retry'],
    ['a redirect', 302, 'STORE_UNAVAILABLE', 'misconfigured'],
    ['a proxy that forbids', 403, 'STORE_UNAVAILABLE', 'misconfigured'],
    ['a page that is not there', 404, 'STORE_UNAVAILABLE', 'misconfigured'],
    ['a bad gateway', 502, 'STORE_UNAVAILABLE', 'retry'],
  ])('%s, HTTP %i', async (_what, status, code, kind) => {
    aws.endpoint.play(({ text }, response) => {
      response.writeHead(status, { 'content-type': 'text/html' });
      response.end(`<html><body>${text}</body></html>`);
    });
    expect(await failureOf(put(aws.open()))).toMatchObject({ code, kind });
  });

  test.each([
    ['cut off', '{"SecretString":"canary-cut-off', 'retry'],
    ['not JSON', 'canary', 'retry'],
    [
      'with a date that is none',
      '{"SecretString":"x","VersionId":"v","CreatedDate":"canary"}',
      'retry',
    ],
    ['not an object', '["canary"]', 'retry'],
    ['empty', '', 'retry'],
    ['without a version id', '{"SecretString":"canary","CreatedDate":1}', 'retry'],
    ['without a date', `{"SecretString":"canary","VersionId":"${VERSION}"}`, 'retry'],
  ])('an answer that is %s is refused', async (_what, body, kind) => {
    aws.endpoint.play((_received, response) => {
      response.writeHead(200, { 'content-type': 'application/x-amz-json-1.1' });
      response.end(body);
    });
    const error = await failureOf(aws.open().read('token'));
    expect(error).toMatchObject({ code: 'STORE_UNAVAILABLE', kind });
  });

  test('binary values are decoded strictly', async () => {
    const bytes = (data: Buffer): void =>
      aws.endpoint.play((_received, response) =>
        answer(response, {
          VersionId: VERSION,
          CreatedDate: 1_790_000_000.5,
          VersionStages: ['AWSCURRENT'],
          SecretBinary: data.toString('base64'),
        }),
      );
    bytes(Buffer.from('\ufeff{"a":"ü"}'));
    expect(await aws.open().read('token')).toEqual({
      versionId: VERSION,
      value: '\ufeff{"a":"ü"}',
      labels: ['AWSCURRENT'],
      createdAt: 1_790_000_000_500,
    });
    bytes(Buffer.concat([Buffer.from('canary'), Buffer.from([0xc3, 0x28])]));
    expect(await failureOf(aws.open().read('token'))).toMatchObject({ code: 'VALUE_INVALID' });
  });
});

describe('the machine is not set up', () => {
  test('no Region', async () => {
    delete process.env['AWS_REGION'];
    const error = await failureOf(put(aws.open()));
    expect(error).toMatchObject({ code: 'STORE_CREDENTIALS', kind: 'misconfigured' });
    expect(error.message).toContain('AWS_REGION');
  });

  test('an endpoint that is no URL', async () => {
    const error = await failureOf(put(aws.open({ endpoint: 'canary without a scheme' })));
    expect(error).toMatchObject({ code: 'STORE_UNAVAILABLE', kind: 'misconfigured' });
    expect(error.message).toContain('AWS_ENDPOINT_URL');
  });

  test('no credentials', async () => {
    delete process.env['AWS_ACCESS_KEY_ID'];
    const error = await failureOf(put(aws.open()));
    expect(error).toMatchObject({ code: 'STORE_CREDENTIALS', kind: 'misconfigured' });
    expect(error.message).toContain('CredentialsProviderError');
    expect(aws.endpoint.received.length).toBeLessThanOrEqual(1);
  });

  test('the endpoint comes from the environment when none is given', async () => {
    process.env['AWS_ENDPOINT_URL_SECRETS_MANAGER'] = aws.endpoint.url;
    aws.endpoint.play((_received, response) => answer(response, {}));
    const store = createAwsStore();
    await put(store);
    await store.close();
    expect(aws.endpoint.received[0]?.body).toEqual({
      SecretId: 'token',
      ClientRequestToken: VERSION,
      SecretString: VALUE,
      VersionStages: ['AWSPENDING'],
      RotationToken: ROTATION_TOKEN,
    });
  });

  test('a store that is closed says so', async () => {
    const store = aws.open();
    await store.close();
    expect(await failureOf(put(store))).toMatchObject({ code: 'STORE_UNAVAILABLE', kind: 'bug' });
  });

  test('a value that is too large never leaves the machine', async () => {
    aws.endpoint.play((_received, response) => answer(response, {}));
    const error = await failureOf(aws.open().putClaim('token', VERSION, 'canary'.repeat(11_000)));
    expect(error).toMatchObject({ code: 'VALUE_INVALID', kind: 'misconfigured' });
    expect(aws.endpoint.received).toHaveLength(0);
  });
});

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

test('the Date of each answer is reported, with when its attempt was sent', async () => {
  const readings: DateReading[] = [];
  const ahead = 3_600_000;
  aws.endpoint.play(({ nth }, response) => {
    response.setHeader('date', new Date(Date.now() + ahead).toUTCString());
    // An error has a Date as well, and is tried again.
    if (nth === 1) response.writeHead(503).end();
    else answer(response, {});
  });
  const store = createAwsStore({
    region: 'eu-central-1',
    endpoint: aws.endpoint.url,
    onDate: (reading) => readings.push(reading),
  });
  await put(store);
  await store.close();
  expect(readings).toHaveLength(2);
  for (const reading of readings) {
    const { least = 0, most = 0 } = offsetBounds(reading) ?? {};
    expect(least).toBeLessThanOrEqual(ahead);
    expect(most).toBeGreaterThanOrEqual(ahead - 1);
    expect(reading.mayBeCached).toBe(false);
  }
});

const SCRIPT = `
import { createAwsStore } from './dist/secrets/aws/aws-store.js';
const { code, kind, message } = await createAwsStore().read('token').catch((error) => error);
console.log(JSON.stringify({ code, kind, message }));
`;

let folder: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'missing-sdk-'));
  for (const room of ['tokens', 'secrets']) {
    await cp(join('dist', room), join(folder, 'dist', room), { recursive: true });
  }
  await writeFile(join(folder, 'package.json'), '{"type":"module"}');
  await writeFile(join(folder, 'main.js'), SCRIPT);
});
afterAll(() => rm(folder, { recursive: true }));

test('where the SDK is not installed, the store can be made, and its first call says what to install', async () => {
  const { stdout } = await promisify(execFile)(process.execPath, ['main.js'], { cwd: folder });
  const { code, kind, message } = JSON.parse(stdout) as Record<string, string>;
  expect({ code, kind }).toEqual({ code: 'STORE_UNAVAILABLE', kind: 'misconfigured' });
  expect(message).toContain('npm install @aws-sdk/client-secrets-manager');
});
