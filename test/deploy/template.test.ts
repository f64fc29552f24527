import { beforeAll, describe, expect, test } from '@jest/globals';
import { readFunctionConfig, readHttpFunctionConfig } from '../../src/lambda/function-start.js';
import { checkCoverage, gapOfStoreRotation } from '../../src/rotation/coverage.js';
import { parseServiceToken } from '../../src/tokens/service-token.js';
import { EVERY_OPTION, NEEDED, packageStack } from './support/packaging.js';
import { drawStack, ofType, resource, type DrawnResource, arnOf } from './support/template.js';

type Stack = ReadonlyMap<string, DrawnResource>;

let plain: Stack;
let full: Stack;
beforeAll(async () => {
  plain = drawStack(await packageStack(NEEDED));
  full = drawStack(await packageStack(EVERY_OPTION));
}, 240_000);

const KEY = arnOf('Key', 'AWS::KMS::Key');
const HOUR = 3_600_000;

function environmentOf(stack: Stack, id: string): NodeJS.ProcessEnv {
  const environment = resource(stack, id).properties['Environment'] as {
    readonly Variables: NodeJS.ProcessEnv;
  };
  return environment.Variables;
}

describe('the secrets', () => {
  test('all are encrypted with the stack’s key, which AWS renews, and have a policy that nobody can make public', () => {
    expect(resource(plain, 'Key').properties).toMatchObject({ EnableKeyRotation: true });
    const secrets = ofType(plain, 'AWS::SecretsManager::Secret');
    expect(secrets.map(({ id }) => id)).toEqual([
      'CredentialsSecret',
      'TokenSecret',
      'PeersSecret',
    ]);
    for (const { id, properties } of secrets) {
      expect(properties['KmsKeyId']).toBe(KEY);
      expect(resource(plain, `${id}Policy`).properties).toMatchObject({
        SecretId: arnOf(id, 'AWS::SecretsManager::Secret'),
        BlockPublicPolicy: true,
      });
    }
  });

  test('no value stands in the template, but one that says that there is no token yet', () => {
    const values = ofType(plain, 'AWS::SecretsManager::Secret').map(
      ({ properties }) => properties['SecretString'],
    );
    expect(values).toEqual([undefined, expect.any(String), undefined]);
    expect(() => parseServiceToken(String(values[1]))).toThrow(
      expect.objectContaining({ code: 'TOKEN_SECRET_EMPTY' }),
    );
    expect(JSON.stringify([...plain])).not.toContain('GenerateSecretString');
  });

  test('what people wrote outlives the stack, and so does the key to it, but not a creation that failed', () => {
    const kept = [...plain.values()].filter(({ deletionPolicy }) => deletionPolicy !== undefined);
    expect(
      kept.map(({ id, deletionPolicy, updateReplacePolicy }) => [
        id,
        deletionPolicy,
        updateReplacePolicy,
      ]),
    ).toEqual([
      ['Key', 'RetainExceptOnCreate', 'Retain'],
      ['CredentialsSecret', 'RetainExceptOnCreate', 'Retain'],
      // Nothing in it is precious.
      ['TokenSecret', 'Delete', 'Delete'],
      ['PeersSecret', 'RetainExceptOnCreate', 'Retain'],
    ]);
  });
});

describe('the rotation', () => {
  const rules = (
    stack: Stack,
  ): { readonly ScheduleExpression: string; readonly Duration: string } =>
    resource(stack, 'RotationSchedule').properties['RotationRules'] as never;
  const covers = (schedule: string, window: string, tokenLifetime: number): boolean => {
    const gap = gapOfStoreRotation({ schedule, window }, Date.UTC(2026, 0, 1));
    if (gap === undefined) throw new Error(`The schedule ${schedule} cannot be read.`);
    return checkCoverage({ tokenLifetime, ...gap, cacheTtl: 300_000, skew: 60_000 }).covered;
  };

  test('a token of a day, and even one of fourteen hours, outlives the worst gap of the schedule', () => {
    const { ScheduleExpression, Duration } = rules(plain);
    expect(covers(ScheduleExpression, Duration, 24 * HOUR)).toBe(true);
    expect(covers(ScheduleExpression, Duration, 14 * HOUR)).toBe(true);
    expect(covers(ScheduleExpression, Duration, 13 * HOUR)).toBe(false);
    expect(covers('cron(0 3 * * ? *)', '21h', 25 * HOUR)).toBe(false);
  });

  test('the first deployment does not rotate: there are no client credentials yet', () => {
    const schedule = resource(plain, 'RotationSchedule');
    expect(schedule.properties).toMatchObject({
      SecretId: arnOf('TokenSecret', 'AWS::SecretsManager::Secret'),
      RotationLambdaARN: arnOf('RotationLambdaFunction', 'AWS::Lambda::Function'),
      RotateImmediatelyOnUpdate: false,
    });
    expect(schedule.dependsOn).toEqual([
      'RotationPermission',
      'RotationPolicy',
      'TokenSecretPolicy',
    ]);
  });

  test('Secrets Manager invokes the function, for this account and this secret, and nobody else but the probe', () => {
    const permissions = ofType(plain, 'AWS::Lambda::Permission');
    expect(permissions.map(({ id }) => id)).toEqual(['RotationPermission', 'ProbePermission']);
    expect(resource(plain, 'RotationPermission').properties).toEqual({
      Action: 'lambda:InvokeFunction',
      FunctionName: arnOf('RotationLambdaFunction', 'AWS::Lambda::Function'),
      Principal: 'secretsmanager.amazonaws.com',
      SourceAccount: '123456789012',
      SourceArn: arnOf('TokenSecret', 'AWS::SecretsManager::Secret'),
    });
  });
});

describe('the functions', () => {
  test('each has a role, a log group that is encrypted and forgets, and the runtime it was tested on', () => {
    for (const [stack, days] of [
      [plain, 90],
      [full, 365],
    ] as const) {
      const functions = ofType(stack, 'AWS::Lambda::Function');
      expect(functions.map(({ id }) => id)).toEqual([
        'RotationLambdaFunction',
        'HttpLambdaFunction',
      ]);
      for (const { id, properties, dependsOn } of functions) {
        const group = resource(stack, id.replace('LambdaFunction', 'LogGroup'));
        expect(properties['Runtime']).toBe('nodejs24.x');
        expect(properties['Role']).toBe(
          arnOf(id.replace('LambdaFunction', 'Role'), 'AWS::IAM::Role'),
        );
        expect(dependsOn).toContain(group.id);
        expect(group.properties).toEqual({
          LogGroupName: `/aws/lambda/${String(properties['FunctionName'])}`,
          RetentionInDays: days,
          KmsKeyId: KEY,
        });
      }
    }
  });

  test('the one with a queue is made when its role may write there, or Lambda would refuse it', () => {
    for (const stack of [plain, full]) {
      expect(resource(stack, 'RotationLambdaFunction').dependsOn).toContain('RotationPolicy');
    }
  });

  test('the one that can be invoked without anybody waiting keeps what it could not do', () => {
    const kept = ofType(plain, 'AWS::Lambda::Function').map(({ id, properties }) => [
      id,
      properties['DeadLetterConfig'],
    ]);
    expect(kept).toEqual([
      ['RotationLambdaFunction', { TargetArn: arnOf('DeadLetters', 'AWS::SQS::Queue') }],
      // A URL's caller waits for the answer.
      ['HttpLambdaFunction', undefined],
    ]);
  });

  test('the URL asks IAM who calls', () => {
    expect(ofType(plain, 'AWS::Lambda::Url').map(({ properties }) => properties)).toEqual([
      {
        AuthType: 'AWS_IAM',
        TargetFunctionArn: arnOf('HttpLambdaFunction', 'AWS::Lambda::Function'),
      },
    ]);
  });

  test('their settings are ones that the code takes, and nothing else', () => {
    const rotation = readFunctionConfig(environmentOf(full, 'RotationLambdaFunction'));
    const http = readHttpFunctionConfig(environmentOf(full, 'HttpLambdaFunction'));
    const secret = (id: string): string => arnOf(id, 'AWS::SecretsManager::Secret');
    for (const config of [rotation, http]) {
      expect(config.warnings).toEqual([]);
      const [token] = config.tokens;
      expect(config.secrets).toMatchObject({ store: 'aws' });
      expect(token).toMatchObject({ name: 'default', secretId: secret('TokenSecret') });
      expect(token.provider).toMatchObject({
        issuer: EVERY_OPTION.issuer,
        audience: EVERY_OPTION.audience,
        scope: EVERY_OPTION.scope,
        resource: EVERY_OPTION.resource.split(','),
        tokenEndpoint: EVERY_OPTION.tokenEndpoint,
        jwksUri: EVERY_OPTION.jwksUri,
        clientAuthentication: EVERY_OPTION.clientAuthentication,
      });
      expect(token.verification).toMatchObject({
        profile: EVERY_OPTION.profile,
        serviceClientIds: [EVERY_OPTION.serviceClientIds],
        otherAudiences: [EVERY_OPTION.otherAudiences],
        customerClientIds: [EVERY_OPTION.customerClientIds],
        typ: EVERY_OPTION.tokenTyp,
      });
    }
    expect(rotation.tokens[0].credentialsSecretId).toBe(secret('CredentialsSecret'));
    expect(http.http.iamPeers).toEqual([
      { arn: 'arn:aws:iam::123456789012:role/billing', roles: ['token'] },
      { arn: 'arn:aws:iam::123456789012:role/operations', roles: ['token', 'admin'] },
    ]);
    expect(() => readFunctionConfig(environmentOf(plain, 'RotationLambdaFunction'))).not.toThrow();
  });

  test('the HTTP function is not told where the client credentials are', () => {
    expect(Object.keys(environmentOf(full, 'HttpLambdaFunction'))).not.toContain(
      'BROKER_CREDENTIALS_SECRET_ID',
    );
  });
});
