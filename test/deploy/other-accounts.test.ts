import { beforeAll, describe, expect, test } from '@jest/globals';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import {
  decideOnResource,
  type Access,
  type PolicyDocument,
  type PrincipalRequest,
  type Statement,
} from './support/iam.js';
import { NEEDED, packageStack, ROOT } from './support/packaging.js';
import {
  arnOf,
  drawStack,
  ofType,
  PSEUDO,
  resource,
  type DrawnResource,
} from './support/template.js';

type Stack = ReadonlyMap<string, DrawnResource>;
type Context = Readonly<Record<string, string>>;

const OWN = String(PSEUDO['AWS::AccountId']);
const OTHER = '999999999999';
const arns = (name: string) => ({
  own: `arn:aws:iam::${OWN}:role/${name}`,
  other: `arn:aws:iam::${OTHER}:role/${name}`,
});
const PEER = arns('billing');
const BROKER = arns('broker');
const ADMINISTRATOR = arns('Platform_1');
const STRANGER = arns('stranger');

let stack: Stack;
let unnamed: Stack;
beforeAll(async () => {
  const both = ({ own, other }: typeof PEER): string => `${own},${other}`;
  stack = drawStack(
    await packageStack({
      ...NEEDED,
      peers: both(PEER).replace(PEER.other, `token+admin=${PEER.other}`),
      brokerRoles: both(BROKER),
      administrators: both(ADMINISTRATOR).replaceAll('Platform_1', 'Platform_*'),
    }),
  );
  unnamed = drawStack(await packageStack(NEEDED));
}, 240_000);

/** What a function's permissions come to in its own policy (Lambda's AddPermission). */
function functionPolicy(of: Stack, id: string): PolicyDocument {
  const arn = arnOf(id, 'AWS::Lambda::Function');
  const statements = ofType(of, 'AWS::Lambda::Permission')
    .filter(({ properties }) => properties['FunctionName'] === arn)
    .map(({ properties }): Statement => {
      const principal = String(properties['Principal']);
      /** A condition of one key, where the permission has the property. */
      const given = (property: string, operator: string, key: string): Statement['Condition'] => {
        const value = properties[property] as string | boolean | undefined;
        return value === undefined ? {} : { [operator]: { [key]: value } };
      };
      return {
        Effect: 'Allow',
        Principal: principal.startsWith('arn:') ? { AWS: principal } : { Service: principal },
        Action: String(properties['Action']),
        Resource: arn,
        Condition: {
          ...given('FunctionUrlAuthType', 'StringEquals', 'lambda:FunctionUrlAuthType'),
          ...given('InvokedViaFunctionUrl', 'Bool', 'lambda:InvokedViaFunctionUrl'),
          ...given('SourceAccount', 'StringEqualsIgnoreCase', 'aws:SourceAccount'),
          ...given('SourceArn', 'ArnLike', 'aws:SourceArn'),
        },
      };
    });
  return { Statement: statements };
}

const EVERYTHING: PolicyDocument = {
  Statement: [{ Effect: 'Allow', Action: '*', Resource: '*' }],
};

function decide(
  policy: PolicyDocument | undefined,
  request: PrincipalRequest,
  identity: PolicyDocument | undefined = EVERYTHING,
  isKey = false,
): Access {
  const context = { 'aws:PrincipalArn': request.principal, ...request.context };
  return decideOnResource(
    identity ? [identity] : [],
    { account: OWN, policy, isKey },
    {
      ...request,
      context,
    },
  );
}

function onFunction(
  principal: string,
  id: string,
  action: string,
  context: Context = {},
  of = stack,
  identity?: PolicyDocument,
): Access {
  const target = arnOf(id, 'AWS::Lambda::Function');
  return decide(
    functionPolicy(of, id),
    { principal, action: `lambda:${action}`, resource: target, context },
    identity,
  );
}

function onSecret(principal: string, secret: string, call: string, of = stack): Access {
  const policy = resource(of, `${secret}Policy`).properties['ResourcePolicy'] as PolicyDocument;
  return decide(policy, {
    principal,
    action: `secretsmanager:${call}`,
    resource: arnOf(secret, 'AWS::SecretsManager::Secret'),
  });
}

function onKey(principal: string, action: string, context: Context = VIA, of = stack): Access {
  const policy = resource(of, 'Key').properties['KeyPolicy'] as PolicyDocument;
  const request = { principal, action, resource: arnOf('Key', 'AWS::KMS::Key') };
  const account = /\d{12}/.exec(principal)?.[0] ?? '';
  return decide(
    policy,
    { ...request, context: { 'kms:CallerAccount': account, ...context } },
    EVERYTHING,
    true,
  );
}

const VIA = { 'kms:ViaService': 'secretsmanager.eu-central-1.amazonaws.com' };
const URL_CALL = { 'lambda:FunctionUrlAuthType': 'AWS_IAM' };
const THROUGH_URL = { 'lambda:InvokedViaFunctionUrl': 'true' };
const NOTHING_OF_ITS_OWN: PolicyDocument = { Statement: [] };

describe('a peer of another account', () => {
  test('calls the URL, and never the function past it', () => {
    const may = (who: string, action: string, context: Context): Access =>
      onFunction(who, 'HttpLambdaFunction', action, context);
    expect(may(PEER.other, 'InvokeFunctionUrl', URL_CALL)).toBe('allowed');
    expect(may(PEER.other, 'InvokeFunction', THROUGH_URL)).toBe('allowed');
    expect(may(PEER.other, 'InvokeFunction', {})).toBe('not allowed');
    expect(may(PEER.other, 'InvokeFunctionUrl', { 'lambda:FunctionUrlAuthType': 'NONE' })).toBe(
      'not allowed',
    );
    expect(onFunction(PEER.other, 'RotationLambdaFunction', 'InvokeFunction')).toBe('not allowed');
  });

  test('is let in by name: nobody else of its account is, and nobody without the parameter', () => {
    const may = (who: string, of: Stack): Access =>
      onFunction(who, 'HttpLambdaFunction', 'InvokeFunctionUrl', URL_CALL, of);
    expect(may(STRANGER.other, stack)).toBe('not allowed');
    expect(may(BROKER.other, stack)).toBe('not allowed');
    expect(may(PEER.other, unnamed)).toBe('not allowed');
  });

  test('one of the stack’s account needs PeerPolicy, as before', () => {
    expect(
      onFunction(
        PEER.own,
        'HttpLambdaFunction',
        'InvokeFunctionUrl',
        URL_CALL,
        stack,
        NOTHING_OF_ITS_OWN,
      ),
    ).toBe('not allowed');
    const policy = resource(stack, 'PeerPolicy').properties['PolicyDocument'] as PolicyDocument;
    expect(
      onFunction(PEER.own, 'HttpLambdaFunction', 'InvokeFunctionUrl', URL_CALL, stack, policy),
    ).toBe('allowed');
  });
});

describe('a broker of another account', () => {
  test.each([
    ['TokenSecret', ['DescribeSecret', 'GetSecretValue', 'RotateSecret']],
    ['PeersSecret', ['DescribeSecret', 'GetSecretValue']],
    ['CredentialsSecret', []],
  ])('may do with %s: %j', (secret, calls) => {
    const all = [
      'DescribeSecret',
      'GetSecretValue',
      'RotateSecret',
      'PutSecretValue',
      'UpdateSecretVersionStage',
      'UpdateSecret',
      'PutResourcePolicy',
      'DeleteSecret',
    ];
    expect(all.filter((call) => onSecret(BROKER.other, secret, call) === 'allowed')).toEqual(calls);
    expect(all.filter((call) => onSecret(STRANGER.other, secret, call) === 'allowed')).toEqual([]);
    expect(
      all.filter((call) => onSecret(BROKER.other, secret, call, unnamed) === 'allowed'),
    ).toEqual([]);
  });

  test('decrypts by way of Secrets Manager, and lets the rotation run', () => {
    expect(onKey(BROKER.other, 'kms:Decrypt')).toBe('allowed');
    expect(onKey(BROKER.other, 'kms:Decrypt', {})).toBe('not allowed');
    expect(onKey(BROKER.other, 'kms:GenerateDataKey')).toBe('not allowed');
    expect(onKey(STRANGER.other, 'kms:Decrypt')).toBe('not allowed');
    expect(onKey(BROKER.other, 'kms:Decrypt', VIA, unnamed)).toBe('not allowed');
    expect(onFunction(BROKER.other, 'RotationLambdaFunction', 'InvokeFunction')).toBe('allowed');
    expect(onFunction(STRANGER.other, 'RotationLambdaFunction', 'InvokeFunction')).toBe(
      'not allowed',
    );
  });
});

test('an administrator of another account edits every secret, and changes no policy', () => {
  for (const secret of ['CredentialsSecret', 'TokenSecret', 'PeersSecret']) {
    for (const call of ['DescribeSecret', 'GetSecretValue', 'PutSecretValue']) {
      expect(onSecret(ADMINISTRATOR.other, secret, call)).toBe('allowed');
      expect(onSecret(STRANGER.other, secret, call)).not.toBe('allowed');
    }
    expect(onSecret(ADMINISTRATOR.other, secret, 'PutResourcePolicy')).toBe('not allowed');
  }
  expect(onKey(ADMINISTRATOR.other, 'kms:GenerateDataKey')).toBe('allowed');
  expect(onKey(ADMINISTRATOR.other, 'kms:PutKeyPolicy')).toBe('not allowed');
});

test('nothing of this lets anybody in by itself: the other account’s IAM decides too, and so does the stack’s', () => {
  const policy = resource(stack, 'TokenSecretPolicy').properties[
    'ResourcePolicy'
  ] as PolicyDocument;
  for (const principal of [BROKER.own, BROKER.other, ADMINISTRATOR.own, ADMINISTRATOR.other]) {
    const request = {
      principal,
      action: 'secretsmanager:GetSecretValue',
      resource: arnOf('TokenSecret', 'AWS::SecretsManager::Secret'),
    };
    expect(decide(policy, request)).toBe('allowed');
    expect(decide(policy, request, NOTHING_OF_ITS_OWN)).toBe('not allowed');
  }
});

describe('services do what the stack needs of them', () => {
  const source = (arn: string): Context => ({ 'aws:SourceArn': arn, 'aws:SourceAccount': OWN });
  const secretArn = arnOf('TokenSecret', 'AWS::SecretsManager::Secret');
  const ruleArn = (id: string): string => arnOf(id, 'AWS::Events::Rule');

  test('Secrets Manager and EventBridge invoke the rotation function, each for its own source', () => {
    const may = (principal: string, from: string): Access =>
      onFunction(principal, 'RotationLambdaFunction', 'InvokeFunction', source(from));
    expect(may('secretsmanager.amazonaws.com', secretArn)).toBe('allowed');
    expect(may('secretsmanager.amazonaws.com', `${secretArn}x`)).toBe('not allowed');
    expect(may('events.amazonaws.com', ruleArn('ProbeRule'))).toBe('allowed');
    expect(may('events.amazonaws.com', ruleArn('RotationDoneRule'))).toBe('not allowed');
    expect(may('s3.amazonaws.com', secretArn)).toBe('not allowed');
  });

  test('alarms and events reach the topics; what cannot be told, the queue', () => {
    const policyOf = (id: string): PolicyDocument =>
      resource(stack, id).properties['PolicyDocument'] as PolicyDocument;
    const publish = (principal: string, topic: string, context: Context): Access =>
      decide(
        policyOf('TopicsPolicy'),
        { principal, action: 'sns:Publish', resource: arnOf(topic, 'AWS::SNS::Topic'), context },
        NOTHING_OF_ITS_OWN,
      );
    for (const { properties } of ofType(stack, 'AWS::CloudWatch::Alarm')) {
      const alarm = `arn:aws:cloudwatch:eu-central-1:${OWN}:alarm:${String(properties['AlarmName'])}`;
      expect(publish('cloudwatch.amazonaws.com', 'AlertsTopic', source(alarm))).toBe('allowed');
    }
    expect(publish('events.amazonaws.com', 'AlertsTopic', {})).toBe('allowed');
    expect(publish('events.amazonaws.com', 'RotationsTopic', {})).toBe('allowed');
    const queue = { action: 'sqs:SendMessage', resource: arnOf('DeadLetters', 'AWS::SQS::Queue') };
    for (const rule of ['RotationDoneRule', 'RotationFailedRule']) {
      const context = { ...source(ruleArn(rule)), 'aws:SecureTransport': 'true' };
      const request = { ...queue, principal: 'events.amazonaws.com', context };
      expect(decide(policyOf('DeadLettersPolicy'), request, NOTHING_OF_ITS_OWN)).toBe('allowed');
    }
  });
});

describe('the policies on the page about deploying, for roles of other accounts', () => {
  const page = readFileSync(join(ROOT, 'docs/deploying.md'), 'utf8');
  /** The policies of the section, with the stack's ARNs in them. */
  const policies = (): readonly PolicyDocument[] => {
    const section = page.split('## Other accounts')[1]?.split('\n## ')[0] ?? '';
    const filled = section
      .replaceAll('HTTP_FUNCTION_ARN', arnOf('HttpLambdaFunction', 'AWS::Lambda::Function'))
      .replaceAll('ROTATION_FUNCTION_ARN', arnOf('RotationLambdaFunction', 'AWS::Lambda::Function'))
      .replaceAll('TOKEN_SECRET_ARN', arnOf('TokenSecret', 'AWS::SecretsManager::Secret'))
      .replaceAll('PEERS_SECRET_ARN', arnOf('PeersSecret', 'AWS::SecretsManager::Secret'))
      .replaceAll('KEY_ARN', arnOf('Key', 'AWS::KMS::Key'));
    return [...filled.matchAll(/```json\n([\s\S]*?)```/g)].map(
      ([, text = '']) => JSON.parse(text) as PolicyDocument,
    );
  };

  test('say what PeerPolicy and ContainerBrokerPolicy say', () => {
    const own = ['PeerPolicy', 'ContainerBrokerPolicy'].map((id) => {
      const { Statement } = resource(stack, id).properties['PolicyDocument'] as PolicyDocument;
      return { Version: '2012-10-17', Statement };
    });
    expect(policies()).toEqual(own);
  });
});
