import { createServer, type IncomingMessage, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { findAwsIdentity } from '../../../src/secrets/aws/aws-connection.js';
import { SecretStoreError } from '../../../src/secrets/secret-store.js';
import { useScriptedEndpoint } from './harness.js';
import { expectNoCanary } from './leaks.js';
import { answer, REQUEST_ID } from './scripted-endpoint.js';

const ROLE = {
  arn: 'arn:aws:iam::222222222222:role/secrets',
  externalId: 'broker-7f3a',
  sessionName: 'service-token-broker',
};

const harness = useScriptedEndpoint();
let sts: Server;
let url: string;
/** The requests to STS, with the Region that they are signed for. */
const asked: { readonly form: URLSearchParams; readonly region: string }[] = [];
let reply: { readonly status: number; readonly body: string };

beforeAll(async () => {
  sts = createServer((request: IncomingMessage, response) => {
    let body = '';
    request.setEncoding('utf8').on('data', (text: string) => (body += text));
    request.on('end', () => {
      const scope = /Credential=[^/]+\/\d{8}\/([^/]+)\//.exec(request.headers.authorization ?? '');
      asked.push({ form: new URLSearchParams(body), region: scope?.[1] ?? '' });
      response.writeHead(reply.status, { 'content-type': 'text/xml' }).end(reply.body);
    });
  });
  await new Promise<void>((resolve) => sts.listen(0, '127.0.0.1', resolve));
  url = `http://127.0.0.1:${(sts.address() as AddressInfo).port}`;
});
afterAll(async () => {
  await new Promise((resolve) => sts.close(resolve));
});
beforeEach(() => {
  process.env['AWS_ENDPOINT_URL_STS'] = url;
  asked.length = 0;
  session(new Date(Date.now() + 3_600_000));
});

/** STS gives a session that ends then. */
function session(until: Date, id = 'ASIASESSION'): void {
  reply = {
    status: 200,
    body: `<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult>
      <Credentials><AccessKeyId>${id}</AccessKeyId><SecretAccessKey>canary-key</SecretAccessKey>
      <SessionToken>canary-session</SessionToken><Expiration>${until.toISOString()}</Expiration></Credentials>
      <AssumedRoleUser><Arn>arn:aws:sts::222222222222:assumed-role/secrets/service-token-broker</Arn>
      <AssumedRoleId>AROA:service-token-broker</AssumedRoleId></AssumedRoleUser>
      </AssumeRoleResult></AssumeRoleResponse>`,
  };
}

function refuse(status: number, code: string, message: string): void {
  reply = {
    status,
    body: `<ErrorResponse><Error><Type>Sender</Type><Code>${code}</Code><Message>${message}</Message></Error><RequestId>${REQUEST_ID}</RequestId></ErrorResponse>`,
  };
}

/** Secrets Manager notes who asks. */
function playSecrets(): { readonly keys: string[] } {
  const keys: string[] = [];
  harness.endpoint.play((_received, response, { headers }) => {
    keys.push(/Credential=([^/]+)/.exec(headers.authorization ?? '')?.[1] ?? '');
    answer(response, {
      SecretString: 'value',
      VersionId: '7f1d0a52-52a4-4b1e-9a3e-2f0f6a1f6b01',
      VersionStages: ['AWSCURRENT'],
      CreatedDate: 1,
    });
  });
  return { keys };
}

async function failureOf(call: Promise<unknown>): Promise<SecretStoreError> {
  const error = await call.then(
    () => 'the call succeeded',
    (reason: unknown) => reason,
  );
  expectNoCanary(error);
  expect(error).toBeInstanceOf(SecretStoreError);
  return error as SecretStoreError;
}

describe('a role', () => {
  test('is assumed once, and the secrets are read in it', async () => {
    const { keys } = playSecrets();
    const store = harness.open({ role: ROLE, region: 'eu-west-1' });
    await store.read('one');
    await store.read('two');
    expect(keys).toEqual(['ASIASESSION', 'ASIASESSION']);
    expect(asked).toHaveLength(1);
    expect(asked[0]?.region).toBe('eu-west-1');
    expect(Object.fromEntries(asked[0]?.form ?? [])).toMatchObject({
      Action: 'AssumeRole',
      RoleArn: ROLE.arn,
      ExternalId: 'broker-7f3a',
      RoleSessionName: 'service-token-broker',
      DurationSeconds: '3600',
    });
  });

  test('is assumed again before the session ends', async () => {
    const { keys } = playSecrets();
    session(new Date(Date.now() + 60_000), 'ASIAFIRST');
    const store = harness.open({ role: ROLE });
    await store.read('one');
    session(new Date(Date.now() + 3_600_000), 'ASIASECOND');
    await store.read('one');
    await store.read('one');
    expect(new Set(keys).has('ASIASECOND')).toBe(true);
    expect(keys.at(-1)).toBe('ASIASECOND');
    expect(asked.length).toBeGreaterThan(1);
  });

  test('without an external id asks without one', async () => {
    playSecrets();
    const { arn, sessionName } = ROLE;
    await harness.open({ role: { arn, sessionName } }).read('one');
    expect(asked[0]?.form.has('ExternalId')).toBe(false);
  });

  test('says who is asking', async () => {
    expect(await findAwsIdentity({ role: ROLE })).toMatchObject({
      accessKeyId: 'ASIASESSION',
      accountId: '222222222222',
      expiresAt: expect.any(Number),
    });
  });

  const DENIAL =
    'User: arn:aws:sts::111111111111:assumed-role/broker/x is not authorized to perform: sts:AssumeRole on resource: arn:aws:iam::222222222222:role/secrets';

  test.each<
    [what: string, answer: [number, string, string], code: string, kind: string, says: RegExp]
  >([
    [
      'that may not be assumed, or with another external id',
      [403, 'AccessDenied', DENIAL],
      'STORE_ACCESS_DENIED',
      'misconfigured',
      /^Could not assume the role arn:aws:iam::222222222222:role\/secrets \(AccessDenied.*HTTP 403.*\): arn:aws:sts::111111111111:assumed-role\/broker\/x may not sts:AssumeRole\. Allow sts:AssumeRole .* trust policy\. Compare its condition sts:ExternalId with BROKER_AWS_EXTERNAL_ID/,
    ],
    [
      'whose own credentials have expired',
      [403, 'ExpiredToken', 'The security token included in the request is expired'],
      'STORE_CREDENTIALS',
      'misconfigured',
      /the AWS credentials have expired/,
    ],
    [
      'whose own credentials are unknown',
      [403, 'InvalidClientTokenId', 'The security token included in the request is invalid.'],
      'STORE_CREDENTIALS',
      'misconfigured',
      /AWS does not know the credentials/,
    ],
    [
      'in a Region where STS is switched off',
      [403, 'RegionDisabledException', 'STS is not activated in this region. canary'],
      'STORE_CREDENTIALS',
      'misconfigured',
      /STS is not activated in this Region/,
    ],
    [
      'that STS calls malformed',
      [400, 'ValidationError', '1 validation error detected: canary'],
      'STORE_CREDENTIALS',
      'misconfigured',
      /Check BROKER_AWS_ROLE_ARN, BROKER_AWS_EXTERNAL_ID/,
    ],
    [
      'at what is not STS',
      [404, 'canary', 'a page'],
      'STORE_UNAVAILABLE',
      'misconfigured',
      /there is no STS at the endpoint\. Check AWS_ENDPOINT_URL_STS/,
    ],
    [
      'while STS is down',
      [503, 'ServiceUnavailable', 'canary'],
      'STORE_UNAVAILABLE',
      'retry',
      /STS gave no usable answer\. Try again; .*com\.amazonaws\.REGION\.sts/,
    ],
    [
      'while STS has too many requests',
      [400, 'Throttling', 'Rate exceeded'],
      'STORE_THROTTLED',
      'retry',
      /too many requests/,
    ],
  ])('%s', async (_what, [status, exception, message], code, kind, says) => {
    process.env['AWS_MAX_ATTEMPTS'] = '1';
    const { keys } = playSecrets();
    refuse(status, exception, message);
    const store = harness.open({ role: ROLE });
    const error = await failureOf(store.read('one'));
    expect(error.message).toMatch(says);
    expect(error).toMatchObject({ code, kind });
    // It is no lasting mistake of this process: the next call asks again.
    session(new Date(Date.now() + 3_600_000));
    await store.read('one');
    expect(keys).toEqual(['ASIASESSION']);
    await failureOf((refuse(status, exception, message), findAwsIdentity({ role: ROLE }))).then(
      (identity) => expect(identity).toMatchObject({ code, kind }),
    );
  });

  test('of an STS that cannot be reached is the store that is down', async () => {
    process.env['AWS_MAX_ATTEMPTS'] = '1';
    process.env['AWS_ENDPOINT_URL_STS'] = 'http://127.0.0.1:9';
    playSecrets();
    const error = await failureOf(harness.open({ role: ROLE }).read('one'));
    expect(error).toMatchObject({ code: 'STORE_UNAVAILABLE', kind: 'retry' });
    expect(error.message).toContain('(ECONNREFUSED at 127.0.0.1:9');
  });

  test('with a response that is not complete is the store that is down', async () => {
    reply = { status: 200, body: '<AssumeRoleResponse><AssumeRoleResult/></AssumeRoleResponse>' };
    playSecrets();
    const error = await failureOf(harness.open({ role: ROLE }).read('one'));
    expect(error).toMatchObject({ code: 'STORE_UNAVAILABLE', kind: 'retry' });
    expect(error.message).toContain('the response is not complete');
  });
});
