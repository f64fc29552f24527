import { PutSecretValueCommand, SecretsManagerClient } from '@aws-sdk/client-secrets-manager';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { spawn } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { createHttpFunction } from '../../src/lambda/http-function.js';
import { createRotationFunction } from '../../src/lambda/rotation-function.js';
import { ROTATION_STEPS } from '../../src/rotation/rotation.js';
import { createAwsStore } from '../../src/secrets/aws/aws-store.js';
import { decideAccess, listOf, type PolicyDocument } from '../deploy/support/iam.js';
import { NEEDED, packageStack } from '../deploy/support/packaging.js';
import { arnOf, drawStack, ofType } from '../deploy/support/template.js';
import { CREDENTIALS, rotationScene, type RotationScene } from '../support/rotation-scene.js';
import { PlayedSecret } from './lambda-played-secret.js';

/** What moto's CloudFormation cannot make: not proven here, and told when the tests run. */
const GAPS = [
  'AWS::CloudWatch::Alarm',
  'AWS::Lambda::Url',
  'AWS::Logs::MetricFilter',
  'AWS::S3::BucketPolicy',
  'AWS::SNS::TopicPolicy',
  'AWS::SQS::QueuePolicy',
  'AWS::SecretsManager::RotationSchedule',
];

interface MadeSecret {
  readonly arn: string;
  readonly name: string;
  readonly kmsKeyId: string;
  readonly hasValue: boolean;
  readonly policy: PolicyDocument;
}

interface MadeStack {
  readonly made: Readonly<Record<string, string>>;
  readonly secrets: Readonly<Record<string, MadeSecret>>;
  readonly keyArn: string;
  readonly keyRotates: boolean;
  readonly told: Readonly<Record<string, readonly string[]>>;
  readonly missing: readonly string[];
}

const TOKEN_SECRET = { Ref: 'TokenSecret' };
const PEERS_SECRET = { Ref: 'PeersSecret' };

/** Events in the form that AWS documents, of the token secret and of another one. */
const EVENTS = {
  'a token promoted': labelMoved(TOKEN_SECRET, 'AWSCURRENT'),
  'another label moved': labelMoved(TOKEN_SECRET, 'BROKERCLAIM'),
  'another secret changed': labelMoved(PEERS_SECRET, 'AWSCURRENT'),
  'a rotation failed': rotationEvent(TOKEN_SECRET, 'RotationFailed'),
  'a rotation abandoned': rotationEvent(TOKEN_SECRET, 'RotationAbandoned'),
  'a rotation begun': rotationEvent(TOKEN_SECRET, 'RotationStarted'),
  'another rotation failed': rotationEvent(PEERS_SECRET, 'RotationFailed'),
  'a rotation switched off': callEvent(TOKEN_SECRET, 'CancelRotateSecret', 'arn'),
  'a rotation switched off, by the other name': callEvent(
    TOKEN_SECRET,
    'CancelRotateSecret',
    'aRN',
  ),
  'another rotation switched off': callEvent(PEERS_SECRET, 'CancelRotateSecret', 'arn'),
  'a rotation asked for': callEvent(TOKEN_SECRET, 'RotateSecret', 'arn'),
};

function labelMoved(secret: object, label: string): object {
  return {
    Source: 'aws.secretsmanager',
    DetailType: 'Secret Label Updated',
    Resources: [secret],
    Detail: { name: 'a-secret', labelUpdated: label, versionId: 'a-version' },
  };
}

function rotationEvent(secret: object, eventName: string): object {
  return {
    Source: 'aws.secretsmanager',
    DetailType: 'AWS Service Event via CloudTrail',
    Resources: [],
    Detail: {
      eventSource: 'secretsmanager.amazonaws.com',
      eventName,
      additionalEventData: { SecretId: secret },
    },
  };
}

/** A call that CloudTrail saw. AWS has written the member with the ARN in both ways. */
function callEvent(secret: object, eventName: string, member: 'arn' | 'aRN'): object {
  return {
    Source: 'aws.secretsmanager',
    DetailType: 'AWS API Call via CloudTrail',
    Resources: [],
    Detail: {
      eventSource: 'secretsmanager.amazonaws.com',
      eventName,
      requestParameters: { secretId: 'a-name-or-an-arn' },
      responseElements: { [member]: secret, name: 'a-secret' },
    },
  };
}

let folder = '';
let scene: RotationScene;
let stack: MadeStack;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'template-moto-'));
  scene = await rotationScene(folder);
  stack = await deploy();
}, 240_000);
afterAll(async () => {
  await rm(folder, { recursive: true, force: true });
});

async function deploy(): Promise<MadeStack> {
  const python = process.env['INTEROP_PYTHON'] ?? '';
  expect(python).not.toBe('');
  const child = spawn(python, [fileURLToPath(new URL('template_moto.py', import.meta.url))]);
  const code = new Promise<number | null>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', resolve);
  });
  child.stdin.end(
    JSON.stringify({
      endpoint: process.env['AWS_ENDPOINT_URL_SECRETS_MANAGER'],
      region: process.env['AWS_REGION'],
      template: await packageStack(NEEDED),
      functions: { RotationLambdaFunction: 'rotation', HttpLambdaFunction: 'http' },
      events: EVENTS,
    }),
  );
  const [out, err] = await Promise.all([text(child.stdout), text(child.stderr)]);
  if ((await code) !== 0) throw new Error(`The stack could not be made at moto:\n${err}`);
  return JSON.parse(out) as MadeStack;
}

describe('the stack at moto', () => {
  test('is made, but for what moto does not know', () => {
    console.log(`Not made at moto, and so not proven: ${stack.missing.join(', ')}`);
    expect(stack.missing).toEqual(GAPS);
    expect(Object.keys(stack.made)).toEqual(
      expect.arrayContaining([
        'RotationLambdaFunction',
        'RotationPermission',
        'RotationPolicy',
        'PeerPolicy',
      ]),
    );
  });

  test('has its secrets, encrypted with a key that AWS renews, and only the token secret has a value', () => {
    expect(stack.keyRotates).toBe(true);
    expect(
      Object.entries(stack.secrets).map(([id, { name, hasValue }]) => [id, name, hasValue]),
    ).toEqual([
      ['CredentialsSecret', 'service-token-broker/dev/credentials', false],
      ['TokenSecret', 'service-token-broker/dev/token', true],
      ['PeersSecret', 'service-token-broker/dev/peers', false],
    ]);
    for (const { kmsKeyId } of Object.values(stack.secrets)) expect(kmsKeyId).toBe(stack.keyArn);
  });

  test('has policies on them that name the roles which were made', () => {
    const somebody = 'arn:aws:iam::123456789012:role/somebody';
    const rotation = `arn:aws:iam::123456789012:role/${stack.made['RotationRole']}`;
    for (const { arn, policy } of Object.values(stack.secrets)) {
      const read = (principal: string) =>
        decideAccess([policy], {
          action: 'secretsmanager:GetSecretValue',
          resource: arn,
          context: { 'aws:PrincipalArn': principal },
        });
      expect(read(somebody)).toBe('denied');
      expect(read('arn:aws:iam::123456789012:root')).toBe('not allowed');
      expect(read(rotation)).toBe(
        arn === stack.secrets['PeersSecret']?.arn ? 'denied' : 'not allowed',
      );
    }
  });

  test('has rules that match what they are for, and nothing else', () => {
    expect(stack.told).toEqual({
      'a token promoted': ['RotationDoneRule'],
      'another label moved': [],
      'another secret changed': [],
      'a rotation failed': ['RotationFailedRule'],
      'a rotation abandoned': ['RotationFailedRule'],
      'a rotation begun': [],
      'another rotation failed': [],
      'a rotation switched off': ['RotationFailedRule'],
      'a rotation switched off, by the other name': ['RotationFailedRule'],
      'another rotation switched off': [],
      'a rotation asked for': [],
    });
  });
});

/** A store at moto that remembers each call, as IAM would see it. */
function recordingStore() {
  const calls = new Set<string>();
  const aws = new SecretsManagerClient({});
  aws.middlewareStack.add(
    (next, context) => (request) => {
      const { SecretId = '' } = request.input as { readonly SecretId?: string };
      calls.add(
        `secretsmanager:${String(context.commandName).replace(/Command$/, '')} ${SecretId}`,
      );
      return next(request);
    },
    { step: 'initialize' },
  );
  return { calls, aws, store: createAwsStore({ client: aws }) };
}

/** Everything that a role's policies let it do to the secrets of the stack. */
async function allowedCalls(role: string): Promise<readonly string[]> {
  const drawn = drawStack(await packageStack(NEEDED));
  const statements = ofType(drawn, 'AWS::IAM::Policy')
    .filter(({ properties }) => (properties['Roles'] as readonly string[]).includes(role))
    .flatMap(({ properties }) => (properties['PolicyDocument'] as PolicyDocument).Statement);
  const arns = Object.entries(stack.secrets).map(
    ([id, { arn }]) => [arnOf(id, 'AWS::SecretsManager::Secret'), arn] as const,
  );
  return statements
    .flatMap(({ Action, Resource }) =>
      listOf(Action).flatMap((action) =>
        listOf(Resource ?? []).map((resource) => `${action} ${new Map(arns).get(resource)}`),
      ),
    )
    .filter((call) => call.startsWith('secretsmanager:'))
    .toSorted();
}

describe('what the functions call', () => {
  const context = { awsRequestId: 'request-1', getRemainingTimeInMillis: () => 60_000 };
  const arn = (id: string): string => stack.secrets[id]?.arn ?? '';

  test('a first rotation, with failures, is all that the rotation role may do, and nothing more', async () => {
    const { calls, aws, store } = recordingStore();
    const secret = PlayedSecret.existing(aws, arn('TokenSecret'), 'service-token-broker/dev/token');
    const handler = createRotationFunction({
      store,
      write: () => undefined,
      env: {
        ...scene.env,
        BROKER_TOKEN_SECRET_ID: secret.arn,
        BROKER_CREDENTIALS_SECRET_ID: arn('CredentialsSecret'),
      },
    });
    const rotate = async (versionId: string): Promise<void> => {
      for (const step of ROTATION_STEPS)
        await handler(secret.event(step, versionId, 'a-rotation-token'), context);
    };
    const versionId = await secret.beginRotation();
    calls.clear();
    // Nobody has written the client credentials yet.
    await expect(rotate(versionId)).rejects.toMatchObject({ code: 'CREDENTIALS_SECRET_EMPTY' });
    const made = new Set(calls);
    await aws.send(
      new PutSecretValueCommand({ SecretId: arn('CredentialsSecret'), SecretString: CREDENTIALS }),
    );
    calls.clear();
    await rotate(versionId);
    for (const call of calls) made.add(call);

    expect(await secret.currentVersions()).toEqual([versionId]);
    await scene.expectGenuine((await store.read(secret.arn)).value);
    expect([...made].toSorted()).toEqual(await allowedCalls('RotationRole'));
    await secret.endRotation(versionId);
    await store.close();
    aws.destroy();
  });

  test('serving, and asking for a rotation, is all that the HTTP role may do, and nothing more', async () => {
    const { calls, aws, store } = recordingStore();
    const PEER = 'arn:aws:iam::123456789012:role/operations';
    const handler = createHttpFunction({
      store,
      write: () => undefined,
      env: {
        ...scene.env,
        BROKER_TOKEN_SECRET_ID: arn('TokenSecret'),
        BROKER_HTTP_IAM_PEERS: `token+admin=${PEER}`,
        // The token is of a moment ago.
        BROKER_MANUAL_ROTATION_SECONDS: '0',
      },
    });
    const ask = async (method: string, rawPath: string): Promise<number> => {
      const http = { method, sourceIp: '192.0.2.1' };
      const requestContext = { http, authorizer: { iam: { userArn: PEER } } };
      return (await handler({ version: '2.0', rawPath, headers: {}, requestContext }, context))
        .statusCode;
    };
    expect(await ask('GET', '/v1/token')).toBe(200);
    expect(await ask('GET', '/health/ready')).toBe(200);
    // moto has no function to run, and says so.
    await ask('POST', '/v1/rotate');
    expect([...calls].toSorted()).toEqual(await allowedCalls('HttpRole'));
    await store.close();
    aws.destroy();
  });
});
