import { beforeEach, describe, expect, test } from '@jest/globals';
import type { SecretStore } from '../../../src/secrets/secret-store.js';
import { VirtualClock } from '../../support/virtual-clock.js';
import { useScriptedEndpoint, VERSION } from './harness.js';
import { failureOf } from './leaks.js';
import { answer, refuse, type Received } from './scripted-endpoint.js';

const OLD = '00000000-0000-4000-8000-00000000001d';
const NEW = '00000000-0000-4000-8000-00000000002e';
const OTHER = '00000000-0000-4000-8000-00000000003f';
const REFUSAL =
  'When you move staging label AWSCURRENT, if you specify RemoveFromVersionId, it must be set to the version that currently has the staging label AWSCURRENT.';

const aws = useScriptedEndpoint();
let store: SecretStore;

beforeEach(() => {
  store = aws.open({ clock: new VirtualClock() });
});

const count = (operation: string): number =>
  aws.endpoint.received.filter((one) => one.operation === operation).length;

interface Scene {
  /** What the n-th UpdateSecretVersionStage gets: an exception's words, a lost answer, or success. */
  readonly update: (nth: number) => { refuse: string; type?: string } | 'lost' | 'done';
  /** Who is current by the n-th DescribeSecret. */
  readonly current?: (nth: number) => string;
  readonly pending?: string;
  readonly labelsOfNew?: readonly string[];
}

function play(scene: Scene): void {
  aws.endpoint.play((received: Received, response) => {
    const nth = count(received.operation);
    switch (received.operation) {
      case 'GetSecretValue':
        return answer(response, {
          VersionId: NEW,
          CreatedDate: 1_790_000_000,
          SecretString: 'value',
          VersionStages: scene.labelsOfNew ?? ['AWSPENDING'],
        });
      case 'DescribeSecret':
        return answer(response, {
          ARN: 'arn:aws:secretsmanager:eu-central-1:123456789012:secret:token-AbCdEf',
          VersionIdsToStages: {
            [scene.current?.(nth) ?? OLD]: ['AWSCURRENT'],
            ...(scene.pending === undefined ? {} : { [scene.pending]: ['AWSPENDING'] }),
          },
        });
      default: {
        const outcome = scene.update(nth);
        if (outcome === 'lost') return void response.destroy();
        if (outcome === 'done') return answer(response, {});
        return refuse(response, outcome.type ?? 'InvalidParameterException', outcome.refuse);
      }
    }
  });
}

describe('promote', () => {
  test('is one compare-and-swap, which names the version that must have the label', async () => {
    play({ update: () => 'done' });
    await store.promote('token', NEW, OLD);
    expect(aws.endpoint.received.at(-1)).toMatchObject({
      operation: 'UpdateSecretVersionStage',
      body: {
        SecretId: 'token',
        VersionStage: 'AWSCURRENT',
        RemoveFromVersionId: OLD,
        MoveToVersionId: NEW,
      },
    });
    await store.promote('token', NEW, undefined);
    expect(aws.endpoint.received.at(-1)?.body).toEqual({
      SecretId: 'token',
      VersionStage: 'AWSCURRENT',
      MoveToVersionId: NEW,
    });
    expect(count('DescribeSecret')).toBe(0);
  });

  test('asks for nothing when the version is current, as was expected', async () => {
    play({ update: () => 'done', labelsOfNew: ['AWSCURRENT'] });
    await store.promote('token', NEW, NEW);
    expect(count('UpdateSecretVersionStage')).toBe(0);
  });

  test('is a conflict when the version is expected to be current, and is not', async () => {
    play({ update: () => 'done', labelsOfNew: ['AWSPREVIOUS'] });
    expect(await failureOf(store.promote('token', NEW, NEW))).toMatchObject({
      code: 'PROMOTE_CONFLICT',
    });
    expect(count('UpdateSecretVersionStage')).toBe(0);
  });

  test("is a conflict by AWS's words, without a second look", async () => {
    play({
      update: () => ({
        refuse: `The parameter RemoveFromVersionId can't be empty. Staging label AWSCURRENT is currently attached to version ${OTHER}, so you must explicitly reference that version in RemoveFromVersionId.`,
      }),
    });
    expect(await failureOf(store.promote('token', NEW, undefined))).toMatchObject({
      code: 'PROMOTE_CONFLICT',
      kind: 'retry',
    });
    expect(count('DescribeSecret')).toBe(0);
  });

  test('is a conflict by the labels, even when they lag behind', async () => {
    play({
      update: () => ({ refuse: REFUSAL }),
      current: (nth) => (nth < 3 ? OLD : OTHER),
    });
    expect(await failureOf(store.promote('token', NEW, OLD))).toMatchObject({
      code: 'PROMOTE_CONFLICT',
    });
    expect(count('DescribeSecret')).toBe(3);
  });

  test('succeeds when the answer was lost and the second attempt is refused', async () => {
    play({
      update: (nth) => (nth === 1 ? 'lost' : { refuse: REFUSAL }),
      current: (nth) => (nth < 2 ? OLD : NEW),
    });
    await store.promote('token', NEW, OLD);
    expect(count('UpdateSecretVersionStage')).toBe(2);
  });

  test('is a conflict when somebody else has promoted the same version', async () => {
    play({ update: () => ({ refuse: REFUSAL }), current: () => NEW });
    expect(await failureOf(store.promote('token', NEW, OLD))).toMatchObject({
      code: 'PROMOTE_CONFLICT',
    });
  });

  test('is a mistake when the labels never explain the refusal', async () => {
    play({ update: () => ({ refuse: 'The parameter MoveToVersionId is not valid.' }) });
    const error = await failureOf(store.promote('token', NEW, OLD));
    expect(error).toMatchObject({ code: 'STORE_REQUEST_INVALID', kind: 'bug' });
    expect(error.message).toContain('The parameter MoveToVersionId is not valid.');
    expect(count('DescribeSecret')).toBe(4);
  });

  test.each([
    [
      'a replica',
      'InvalidRequestException',
      'Operation not permitted on a replica secret.',
      'STORE_READ_ONLY',
    ],
    [
      'a deleted secret',
      'InvalidRequestException',
      'The secret was marked for deletion.',
      'STORE_REQUEST_INVALID',
    ],
    ['no permission', 'AccessDeniedException', 'no', 'STORE_ACCESS_DENIED'],
  ])('needs no second look for %s', async (_what, type, refuse, code) => {
    play({ update: () => ({ refuse, type }) });
    expect(await failureOf(store.promote('token', NEW, OLD))).toMatchObject({
      code,
      kind: 'misconfigured',
    });
    expect(count('DescribeSecret')).toBe(0);
  });
});

describe('clearPending', () => {
  test('takes the label off one version and puts it on none', async () => {
    play({ update: () => 'done' });
    await store.clearPending('token', NEW);
    expect(aws.endpoint.received.map(({ body }) => body)).toEqual([
      { SecretId: 'token', VersionStage: 'AWSPENDING', RemoveFromVersionId: NEW },
    ]);
  });

  test('does nothing when the version has not the label', async () => {
    play({ update: () => ({ refuse: 'no such label there' }), pending: OTHER });
    await store.clearPending('token', NEW);
    expect(count('DescribeSecret')).toBe(1);
  });

  test('fails when the label is there and AWS does not take it off', async () => {
    play({ update: () => ({ refuse: 'another reason' }), pending: NEW });
    expect(await failureOf(store.clearPending('token', NEW))).toMatchObject({
      code: 'STORE_REQUEST_INVALID',
    });
  });
});

describe('a read that finds nothing', () => {
  const missing = "Secrets Manager can't find the specified secret.";

  test.each([
    ['the secret exists', 'exists', 'VERSION_NOT_FOUND'],
    ['the secret does not exist', 'ResourceNotFoundException', 'SECRET_NOT_FOUND'],
    ['nobody may say', 'AccessDeniedException', 'SECRET_NOT_FOUND'],
    ['the second question is throttled', 'ThrottlingException', 'STORE_THROTTLED'],
  ])('asks whether the secret exists: %s', async (_what, witness, code) => {
    process.env['AWS_MAX_ATTEMPTS'] = '1';
    aws.endpoint.play(({ operation }, response) => {
      if (operation === 'GetSecretValue') refuse(response, 'ResourceNotFoundException', missing);
      else if (witness === 'exists') answer(response, { Name: 'token' });
      else refuse(response, witness, missing);
    });
    expect((await failureOf(store.read('token', { label: 'AWSPENDING' }))).code).toBe(code);
    expect(count('DescribeSecret')).toBe(1);
  });

  test("does not ask when AWS's words are clear", async () => {
    aws.endpoint.play((_received, response) =>
      refuse(
        response,
        'ResourceNotFoundException',
        "Secrets Manager can't find the specified secret value for staging label: AWSPENDING",
      ),
    );
    expect((await failureOf(store.read('token', { label: 'AWSPENDING' }))).code).toBe(
      'VERSION_NOT_FOUND',
    );
    expect(aws.endpoint.received).toHaveLength(1);
  });
});

describe('describe and create', () => {
  test.each([
    ['in its primary Region', 'eu-central-1', 'eu-central-1', false],
    ['as a replica', 'us-east-1', 'eu-central-1', true],
    ['behind an endpoint in another Region', 'us-east-1', 'us-east-1', false],
    ['never replicated', undefined, 'eu-central-1', false],
    ['without an ARN, by the Region that was asked', 'us-east-1', undefined, true],
  ])('a secret %s', async (_what, primary, own, readOnlyReplica) => {
    aws.endpoint.play((_received, response) =>
      answer(response, {
        ...(own === undefined
          ? {}
          : { ARN: `arn:aws:secretsmanager:${own}:1:secret:token-AbCdEf` }),
        ...(primary === undefined ? {} : { PrimaryRegion: primary }),
        RotationEnabled: true,
        VersionIdsToStages: { [OLD]: ['AWSCURRENT'], [OTHER]: [] },
      }),
    );
    expect(await store.describe('token')).toEqual({
      secretId: 'token',
      labels: new Map([[OLD, ['AWSCURRENT']]]),
      rotationEnabled: true,
      readOnlyReplica,
      storeRotation: {},
      encryptionKeyId: 'aws/secretsmanager',
    });
  });

  test.each([
    [
      { ScheduleExpression: 'cron(0 3 * * ? *)', Duration: '2h', AutomaticallyAfterDays: 1 },
      { schedule: 'cron(0 3 * * ? *)', window: '2h' },
    ],
    [{ AutomaticallyAfterDays: 30 }, { schedule: 'rate(30 days)' }],
    [{}, {}],
  ])('tells how Secrets Manager rotates: %j', async (rules, schedule) => {
    const functionId = 'arn:aws:lambda:eu-central-1:123456789012:function:rotate';
    aws.endpoint.play((_received, response) =>
      answer(response, {
        RotationEnabled: true,
        RotationLambdaARN: functionId,
        RotationRules: rules,
        LastRotatedDate: 1_790_000_000,
        NextRotationDate: 1_790_086_400,
        LastChangedDate: 1_790_000_001.5,
        KmsKeyId: 'alias/broker',
      }),
    );
    expect(await store.describe('token')).toMatchObject({
      storeRotation: {
        functionId,
        ...schedule,
        lastAt: 1_790_000_000_000,
        nextAt: 1_790_086_400_000,
      },
      changedAt: 1_790_000_001_500,
      encryptionKeyId: 'alias/broker',
    });
  });

  test('a rotation that was switched off is none, whatever is left of it', async () => {
    aws.endpoint.play((_received, response) =>
      answer(response, { RotationEnabled: false, RotationRules: { AutomaticallyAfterDays: 1 } }),
    );
    const description = await store.describe('token');
    expect(description.rotationEnabled).toBe(false);
    expect(description.storeRotation).toBeUndefined();
  });

  test.each(['', '{}', 'null', '[]', '{"Message":"from somewhere else"}'])(
    'an answer without the secret is no secret without versions: %j',
    async (body) => {
      aws.endpoint.play((_received, response) => {
        response.writeHead(200, { 'content-type': 'application/x-amz-json-1.1' });
        response.end(body);
      });
      const error = await failureOf(store.describe('token'));
      expect(error).toMatchObject({ code: 'STORE_UNAVAILABLE', kind: 'retry' });
      expect(error.message).toContain('is empty, or lacks');
    },
  );

  test('an ARN is looked up, for AWS alone gives out ARNs', async () => {
    const arn = 'arn:aws:secretsmanager:eu-central-1:123456789012:secret:token-AbCdEf';
    aws.endpoint.play((_received, response) =>
      refuse(response, 'ResourceNotFoundException', "can't find the specified secret."),
    );
    expect((await failureOf(store.create(arn, ''))).code).toBe('SECRET_NOT_FOUND');
    aws.endpoint.play((_received, response) => answer(response, { ARN: arn }));
    await store.create(arn, '');
    expect(aws.endpoint.received.map(({ operation }) => operation)).toEqual(['DescribeSecret']);
  });
});

describe('a request to rotate', () => {
  test('names the version, and nothing that would change how the secret is rotated', async () => {
    aws.endpoint.play((_received, response) => answer(response, { VersionId: VERSION }));
    await aws.open().requestRotation('token', VERSION);
    expect(aws.endpoint.received).toMatchObject([
      { operation: 'RotateSecret', body: { SecretId: 'token', ClientRequestToken: VERSION } },
    ]);
    expect(Object.keys(aws.endpoint.received[0]?.body ?? {})).toHaveLength(2);
  });

  test('is repeated with the same version id when its answer is lost', async () => {
    aws.endpoint.play(({ nth }, response) =>
      nth === 1 ? void response.destroy() : answer(response, {}),
    );
    await aws.open().requestRotation('token', VERSION);
    expect(aws.endpoint.received.map(({ body }) => body['ClientRequestToken'])).toEqual([
      VERSION,
      VERSION,
    ]);
  });

  test('is refused here when Secrets Manager would not take the version id', async () => {
    aws.endpoint.play((_received, response) => answer(response, {}));
    expect(await failureOf(aws.open().requestRotation('token', 'short'))).toMatchObject({
      code: 'STORE_REQUEST_INVALID',
    });
    expect(aws.endpoint.received).toEqual([]);
  });

  test('tells a rotation that has not ended from every other refusal', async () => {
    const store = aws.open();
    aws.endpoint.play((_received, response) =>
      refuse(
        response,
        'InvalidRequestException',
        "A previous rotation isn't complete. That rotation will be reattempted.",
      ),
    );
    const pending = await failureOf(store.requestRotation('token', VERSION));
    expect(pending).toMatchObject({ code: 'STORE_ROTATION_PENDING', kind: 'retry' });
    expect(pending.message).toMatch(/Could not start a rotation of the secret "token"/);
    aws.endpoint.play((_received, response) =>
      refuse(response, 'InvalidRequestException', 'Something else.'),
    );
    expect(await failureOf(store.requestRotation('token', VERSION))).toMatchObject({
      code: 'STORE_REQUEST_INVALID',
    });
  });
});
