import { describe, expect, test } from '@jest/globals';
import { createAwsStore } from '../../../src/secrets/aws/aws-store.js';
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
