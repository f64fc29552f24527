import { beforeAll, describe, expect, test } from '@jest/globals';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import {
  decideAccess,
  decideOnResource,
  listOf,
  type PolicedResource,
  type PolicyDocument,
} from './support/iam.js';
import { actionsFor, HANDLERS, KEY_USES, type Operation } from './support/handler-permissions.js';
import { EVERY_OPTION, NEEDED, packageStack, ROOT } from './support/packaging.js';
import { arnOf, drawStack, ofType, PSEUDO, type DrawnResource } from './support/template.js';

type Stack = ReadonlyMap<string, DrawnResource>;

let plain: Stack;
let full: Stack;
beforeAll(async () => {
  plain = drawStack(await packageStack(NEEDED));
  full = drawStack(await packageStack(EVERY_OPTION));
}, 240_000);

const ACCOUNT = String(PSEUDO['AWS::AccountId']);
const DEPLOYER = `arn:aws:iam::${ACCOUNT}:role/deployer`;
const ADMINISTRATOR = EVERY_OPTION.administrators.replaceAll('*', 'eu-central-1');
const OPERATIONS: readonly Operation[] = ['create', 'read', 'update', 'delete'];

const EVERYTHING: PolicyDocument = {
  Version: '2012-10-17',
  Statement: [{ Effect: 'Allow', Action: '*', Resource: '*' }],
};

/** What belongs to an account and not to a key: a key policy has no say. */
const WITHOUT_KEY = new Set(['kms:CreateKey', 'kms:ListAliases', 'kms:ListKeys']);

/** The resources with policies of their own that an action is judged by, and what they are. */
function judgedBy(stack: Stack, action: string, { id, type, properties }: DrawnResource) {
  const [service] = action.split(':');
  const policied = (arn: string, policy?: PolicyDocument, isKey = false) => ({
    arn,
    resource: { account: ACCOUNT, policy, isKey } satisfies PolicedResource,
  });
  if (service === 'kms') {
    const isOfKey = !WITHOUT_KEY.has(action);
    return isOfKey ? [policied(keyArn, keyPolicy(stack), true)] : [];
  }
  if (service === 'secretsmanager') {
    const secret =
      type === 'AWS::SecretsManager::Secret' ? id : secretOf(String(properties['SecretId']));
    return [policied(arnOf(secret, 'AWS::SecretsManager::Secret'), secretPolicy(stack, secret))];
  }
  if (service === 'sqs') {
    return [
      policied(arnOf('DeadLetters', 'AWS::SQS::Queue'), policyOf(stack, 'DeadLettersPolicy')),
    ];
  }
  if (service === 's3') {
    const policy = policyOf(stack, 'ServerlessDeploymentBucketPolicy');
    return ['', '/package.zip'].map((path) =>
      policied(`arn:aws:s3:::ServerlessDeploymentBucket${path}`, policy),
    );
  }
  return [];
}

const keyArn = arnOf('Key', 'AWS::KMS::Key');
const keyPolicy = (stack: Stack): PolicyDocument =>
  stack.get('Key')?.properties['KeyPolicy'] as PolicyDocument;
const policyOf = (stack: Stack, id: string): PolicyDocument | undefined =>
  stack.get(id)?.properties['PolicyDocument'] as PolicyDocument | undefined;
const secretPolicy = (stack: Stack, secret: string): PolicyDocument =>
  stack.get(`${secret}Policy`)?.properties['ResourcePolicy'] as PolicyDocument;
const secretOf = (arn: string): string => /secret:(\w+)-/.exec(arn)?.[1] ?? '';

/** The condition keys of a call that CloudFormation makes with the credentials of whoever deploys. */
const byCloudFormation = (
  principal: string,
): Readonly<Record<string, string | readonly string[]>> => ({
  'aws:PrincipalArn': principal,
  'aws:PrincipalAccount': ACCOUNT,
  'aws:SecureTransport': 'true',
  'aws:CalledVia': ['cloudformation.amazonaws.com'],
  'kms:CallerAccount': ACCOUNT,
});

/**
 * Every call of a deployment that the key's, the secrets', the queue's or the bucket's policy forbids, although IAM
 * allows the principal everything. A key policy that keeps its own author out is a fault too: KMS refuses it.
 */
function faults(stack: Stack, principal: string): readonly string[] {
  const found: string[] = [];
  const check = (
    title: string,
    who: string,
    action: string,
    place: { readonly arn: string; readonly resource: PolicedResource },
    context: Readonly<Record<string, string | readonly string[]>>,
  ): void => {
    const request = { principal: who, action, resource: place.arn, context };
    const identity = who === principal ? [EVERYTHING] : [];
    const decided = decideOnResource(identity, place.resource, request);
    if (decided !== 'allowed') found.push(`${title}: ${action} is ${decided}`);
  };
  for (const resource of stack.values()) {
    for (const operation of OPERATIONS) {
      for (const action of actionsFor(resource.type, operation, resource.properties)) {
        for (const place of judgedBy(stack, action, resource)) {
          check(
            `${resource.id} ${operation}`,
            principal,
            action,
            place,
            byCloudFormation(principal),
          );
        }
      }
    }
  }
  const key = {
    arn: keyArn,
    resource: { account: ACCOUNT, policy: keyPolicy(stack), isKey: true },
  };
  for (const { type, property, actions, via, service } of KEY_USES) {
    for (const { id, properties } of ofType(stack, type)) {
      if (properties[property] === undefined) continue;
      const context = {
        ...(via === undefined ? {} : byCloudFormation(principal)),
        ...(via !== undefined && { 'kms:ViaService': `${via}.eu-central-1.amazonaws.com` }),
        ...(service !== undefined && {
          'aws:SourceAccount': ACCOUNT,
          'kms:EncryptionContext:aws:logs:arn': `arn:aws:logs:eu-central-1:${ACCOUNT}:log-group:${String(properties['LogGroupName'])}`,
        }),
      };
      for (const action of actions) {
        check(`${id} with the key`, service ?? principal, action, key, context);
      }
    }
  }
  return [...new Set(found)];
}

test('the table knows every type of resource in the stack, and no other', () => {
  const types = new Set([...full.values()].map(({ type }) => type));
  expect(Object.keys(HANDLERS)).toEqual([...types].toSorted());
});

describe('CloudFormation can create, read, update and delete every resource', () => {
  test('for an administrator of the secrets', () => {
    expect(faults(full, ADMINISTRATOR)).toEqual([]);
  });

  /**
   * A value is not shown to whoever deploys, by way of CloudFormation neither: a template could say
   * `{{resolve:secretsmanager:…}}`. The schema has the action for updates; no property of the stack's secrets needs it.
   */
  const VALUES = ['CredentialsSecret', 'TokenSecret', 'PeersSecret'].flatMap((secret) =>
    ['read', 'update'].map(
      (operation) => `${secret} ${operation}: secretsmanager:GetSecretValue is denied`,
    ),
  );

  test('for everybody else whom IAM lets deploy, but for the values of the secrets', () => {
    for (const stack of [plain, full]) expect(faults(stack, DEPLOYER)).toEqual(VALUES);
  });

  test('for nobody of another account', () => {
    const stranger = 'arn:aws:iam::999999999999:role/deployer';
    expect(faults(plain, stranger)).toEqual(
      expect.arrayContaining([
        'Key update: kms:PutKeyPolicy is not allowed',
        'TokenSecretPolicy create: secretsmanager:PutResourcePolicy is not allowed',
      ]),
    );
  });
});

describe('deploy/deployer-policy.json', () => {
  const deployer = JSON.parse(
    readFileSync(join(ROOT, 'deploy/deployer-policy.json'), 'utf8'),
  ) as PolicyDocument;

  /** What osls calls itself, beside CloudFormation: found in its source, and not in any schema. */
  const BY_OSLS = [
    'cloudformation:CreateChangeSet',
    'cloudformation:CreateStack',
    'cloudformation:DeleteChangeSet',
    'cloudformation:DeleteStack',
    'cloudformation:DescribeChangeSet',
    'cloudformation:DescribeStackEvents',
    'cloudformation:DescribeStackResource',
    'cloudformation:DescribeStackResources',
    'cloudformation:DescribeStacks',
    'cloudformation:ExecuteChangeSet',
    'cloudformation:GetTemplate',
    'cloudformation:ListStackResources',
    'cloudformation:TagResource',
    'cloudformation:UntagResource',
    'cloudformation:UpdateStack',
    'cloudformation:ValidateTemplate',
    's3:DeleteObject',
    's3:DeleteObjectVersion',
    's3:GetBucketLocation',
    's3:GetObject',
    's3:GetObjectVersion',
    's3:ListBucket',
    's3:ListBucketVersions',
    's3:PutObject',
  ];

  /** ARNs as AWS makes them: CloudFormation names a resource after its stack, unless the template does. */
  function realArns(action: string, { id, type, properties }: DrawnResource): readonly string[] {
    const name = `service-token-broker-dev-${id}-1A2B3C4D5E6F`;
    const inRegion = (service: string, rest: string): string =>
      `arn:aws:${service}:eu-central-1:${ACCOUNT}:${rest}`;
    const [service = '', call = ''] = action.split(':');
    switch (service) {
      case 'cloudwatch':
        return [inRegion(service, `alarm:${String(properties['AlarmName'])}`)];
      case 'events':
        return [inRegion(service, `rule/${name}`)];
      case 'iam':
        return type === 'AWS::IAM::ManagedPolicy'
          ? [`arn:aws:iam::${ACCOUNT}:policy/${name}`]
          : [`arn:aws:iam::${ACCOUNT}:role/${name}`];
      case 'kms':
        return [
          inRegion(service, 'key/0a1b2c3d-0000-4000-8000-000000000001'),
          ...(call.endsWith('Alias') ? [inRegion(service, 'alias/service-token-broker-dev')] : []),
        ];
      case 'lambda':
        return [
          inRegion(
            service,
            `function:service-token-broker-dev-${/Http/.test(`${id}${String(properties['FunctionName'])}${String(properties['TargetFunctionArn'])}`) ? 'http' : 'rotation'}`,
          ),
        ];
      case 'logs':
        return [inRegion(service, `log-group:/aws/lambda/service-token-broker-dev-http:*`)];
      case 's3':
        return call.startsWith('GetObject')
          ? ['arn:aws:s3:::service-token-broker-dev-serverlessdeploymentbucket-1a2b/package.zip']
          : ['arn:aws:s3:::service-token-broker-dev-serverlessdeploymentbucket-1a2b'];
      case 'secretsmanager':
        return [inRegion(service, 'secret:service-token-broker/dev/token-AbCdEf')];
      case 'sns':
      case 'sqs':
        return [inRegion(service, name)];
      default:
        return ['*'];
    }
  }

  const inContext = (action: string): Readonly<Record<string, string | readonly string[]>> => ({
    ...byCloudFormation(DEPLOYER),
    ...(action === 'iam:PassRole' && { 'iam:PassedToService': 'lambda.amazonaws.com' }),
  });

  test('lets CloudFormation do everything that it does, on the stack’s own resources', () => {
    const missing = [...full.values()].flatMap((resource) =>
      OPERATIONS.flatMap((operation) => actionsFor(resource.type, operation, resource.properties))
        .filter((action) =>
          realArns(action, resource).some(
            (arn) =>
              decideAccess([deployer], { action, resource: arn, context: inContext(action) }) !==
              'allowed',
          ),
        )
        .map((action) => `${resource.id}: ${action}`),
    );
    expect([...new Set(missing)]).toEqual([]);
    for (const action of KEY_USES.filter(({ via }) => via).flatMap(({ actions }) => actions)) {
      const context = {
        'kms:ViaService': 'secretsmanager.eu-central-1.amazonaws.com',
        'kms:EncryptionContext:SecretARN': `arn:aws:secretsmanager:eu-central-1:${ACCOUNT}:secret:service-token-broker/dev/token-AbCdEf`,
      };
      expect(decideAccess([deployer], { action, resource: keyArn, context })).toBe('allowed');
      expect(decideAccess([deployer], { action, resource: keyArn })).toBe('not allowed');
    }
  });

  test('has no action that neither CloudFormation nor osls needs, and no wildcard among them', () => {
    const needed = [...full.values()].flatMap(({ type, properties }) =>
      OPERATIONS.flatMap((operation) => actionsFor(type, operation, properties)),
    );
    const all = [...needed, ...KEY_USES.filter(({ via }) => via).flatMap(({ actions }) => actions)];
    const given = deployer.Statement.flatMap(({ Action }) => listOf(Action));
    expect(given.toSorted()).toEqual([...new Set([...all, ...BY_OSLS])].toSorted());
  });

  test('reaches nothing of others by name; what has no name, by way of CloudFormation alone', () => {
    const elsewhere = {
      'secretsmanager:GetSecretValue':
        'secretsmanager:eu-central-1:123456789012:secret:other-AbCdEf',
      'iam:PutRolePolicy': 'iam::123456789012:role/Admin',
      'lambda:UpdateFunctionCode': 'lambda:eu-central-1:123456789012:function:other',
      's3:DeleteObject': 's3:::other/file',
      'kms:ScheduleKeyDeletion': 'kms:eu-central-1:123456789012:key/other',
    };
    for (const [action, rest] of Object.entries(elsewhere)) {
      expect(decideAccess([deployer], { action, resource: `arn:aws:${rest}` })).toBe('not allowed');
    }
    // IAM's limit for the inline policies of a role, without white space.
    expect(JSON.stringify(deployer).replaceAll(/\s/g, '').length).toBeLessThan(10_240);
  });
});

describe('the checker finds', () => {
  /** The stack with another document in one property. */
  function changed(
    id: string,
    property: string,
    change: (policy: PolicyDocument) => PolicyDocument,
  ): Stack {
    const resource = plain.get(id);
    if (resource === undefined) throw new Error(`The stack has no ${id}.`);
    const document = change(resource.properties[property] as PolicyDocument);
    return new Map([
      ...plain,
      [id, { ...resource, properties: { ...resource.properties, [property]: document } }],
    ]);
  }
  const deny = (policy: PolicyDocument, action: string): PolicyDocument => ({
    ...policy,
    Statement: [
      ...policy.Statement,
      { Effect: 'Deny', Principal: '*', Action: action, Resource: '*' },
    ],
  });
  const newFaults = (stack: Stack): readonly string[] => {
    const known = faults(plain, DEPLOYER);
    return faults(stack, DEPLOYER).filter((fault) => !known.includes(fault));
  };

  test('a key policy that lets nobody make the alias', () => {
    const without = changed('Key', 'KeyPolicy', (policy) => ({
      ...policy,
      Statement: policy.Statement.map((statement) => ({
        ...statement,
        Action: listOf(statement.Action).filter((action) => !action.endsWith('Alias')),
      })),
    }));
    expect(newFaults(without)).toEqual([
      'KeyAlias create: kms:CreateAlias is not allowed',
      'KeyAlias update: kms:UpdateAlias is not allowed',
      'KeyAlias delete: kms:DeleteAlias is not allowed',
    ]);
  });

  test.each([
    ['secretsmanager:TagResource', ['TokenSecret create', 'TokenSecret update']],
    ['secretsmanager:RotateSecret', ['RotationSchedule create', 'RotationSchedule update']],
    ['secretsmanager:Delete*', ['TokenSecret delete', 'TokenSecretPolicy delete']],
  ])('a policy of the token secret that denies %s', (action, titles) => {
    const denied = newFaults(
      changed('TokenSecretPolicy', 'ResourcePolicy', (policy) => deny(policy, action)),
    );
    expect(denied.map((fault) => fault.split(':')[0])).toEqual(titles);
  });

  test('a key that a service cannot use', () => {
    const without = changed('Key', 'KeyPolicy', ({ Statement }) => ({
      Statement: Statement.filter(({ Sid }) => Sid !== 'Logs' && Sid !== 'Events'),
    }));
    expect(newFaults(without)).toEqual(
      expect.arrayContaining([
        'RotationLogGroup with the key: kms:Encrypt is not allowed',
        'AlertsTopic with the key: kms:GenerateDataKey is not allowed',
      ]),
    );
  });

  test('a key policy that would keep its own author out', () => {
    const without = changed('Key', 'KeyPolicy', ({ Statement }) => ({
      Statement: Statement.filter(({ Sid }) => Sid !== 'Administration'),
    }));
    expect(newFaults(without)).toContain('Key create: kms:PutKeyPolicy is not allowed');
  });
});

describe('the decision about a resource with a policy', () => {
  const role = `arn:aws:iam::${ACCOUNT}:role/somebody`;
  const stranger = 'arn:aws:iam::999999999999:role/somebody';
  const root = `arn:aws:iam::${ACCOUNT}:root`;
  const allow = (
    Principal: NonNullable<PolicyDocument['Statement'][number]['Principal']>,
    rest = {},
  ) => ({
    Statement: [{ Effect: 'Allow' as const, Principal, Action: 'kms:*', Resource: '*', ...rest }],
  });
  const decide = (
    principal: string,
    policy: PolicyDocument | undefined,
    options: {
      readonly identity?: PolicyDocument;
      readonly isKey?: boolean;
      readonly context?: Readonly<Record<string, string>>;
    } = {},
  ): string =>
    decideOnResource(
      options.identity ? [options.identity] : [],
      { account: ACCOUNT, policy, isKey: options.isKey ?? true },
      { principal, action: 'kms:Decrypt', resource: keyArn, context: options.context ?? {} },
    );

  test.each([
    ['a role by name', allow({ AWS: role }), role, undefined, 'allowed'],
    [
      'a role by name, of another account, alone',
      allow({ AWS: stranger }),
      stranger,
      undefined,
      'not allowed',
    ],
    [
      'a role by name, of another account, with IAM',
      allow({ AWS: stranger }),
      stranger,
      EVERYTHING,
      'allowed',
    ],
    ['the account, without IAM', allow({ AWS: root }), role, undefined, 'not allowed'],
    ['the account, with IAM', allow({ AWS: root }), role, EVERYTHING, 'allowed'],
    ['the account by its id, with IAM', allow({ AWS: [ACCOUNT] }), role, EVERYTHING, 'allowed'],
    ['another account, with IAM', allow({ AWS: '999999999999' }), role, EVERYTHING, 'not allowed'],
    ['everybody', allow('*'), role, undefined, 'allowed'],
    ['everybody, written out', allow({ AWS: '*' }), role, undefined, 'allowed'],
    ['the root user', allow({ AWS: root }), root, undefined, 'allowed'],
    [
      'a service',
      allow({ Service: 'events.amazonaws.com' }),
      'events.amazonaws.com',
      undefined,
      'allowed',
    ],
    [
      'another service',
      allow({ Service: 'events.amazonaws.com' }),
      'sns.amazonaws.com',
      undefined,
      'not allowed',
    ],
    [
      'all other actions',
      allow({ AWS: role }, { Action: undefined, NotAction: 'kms:Decrypt' }),
      role,
      undefined,
      'not allowed',
    ],
    [
      'all but another action',
      allow({ AWS: role }, { Action: undefined, NotAction: 'kms:Sign' }),
      role,
      undefined,
      'allowed',
    ],
    [
      'all but this principal',
      allow('*', { Principal: undefined, NotPrincipal: { AWS: role } }),
      role,
      undefined,
      'not allowed',
    ],
    [
      'another resource',
      allow({ AWS: role }, { Resource: 'arn:aws:kms:*:*:key/other' }),
      role,
      undefined,
      'not allowed',
    ],
    [
      'a part of the action',
      allow({ AWS: role }, { Action: 'kms:Dec*' }),
      role,
      undefined,
      'allowed',
    ],
    ['nobody, with IAM', { Statement: [] }, role, EVERYTHING, 'not allowed'],
  ])('%s', (_, policy, principal, identity, expected) => {
    expect(decide(principal, policy, identity ? { identity } : {})).toBe(expected);
  });

  test('a resource that is no key needs no policy for its own account, and one for others', () => {
    const options = { identity: EVERYTHING, isKey: false };
    expect(decide(role, undefined, options)).toBe('allowed');
    expect(decide(stranger, undefined, options)).toBe('not allowed');
    expect(
      decide(
        role,
        { Statement: [{ Effect: 'Deny', Principal: '*', Action: '*', Resource: '*' }] },
        options,
      ),
    ).toBe('denied');
  });

  test.each([
    ['StringEquals', 'a', 'a', true],
    ['StringEquals', ['a', 'b'], 'b', true],
    ['StringEquals', 'a', undefined, false],
    ['StringEqualsIfExists', 'a', undefined, true],
    ['StringNotEquals', 'a', undefined, true],
    ['StringNotEquals', 'a', 'a', false],
    ['StringLike', 'a*', 'abc', true],
    ['StringNotLike', 'a*', 'abc', false],
    ['ArnLike', 'arn:*:b', 'arn:a:b', true],
    ['ArnNotLike', 'arn:*:b', 'arn:a:c', true],
    ['Bool', true, 'true', true],
    ['Bool', 'false', undefined, false],
    ['Null', 'true', undefined, true],
    ['Null', 'false', undefined, false],
    ['ForAnyValue:StringEquals', 'a', undefined, false],
    ['ForAnyValue:StringNotEquals', 'a', undefined, false],
    ['ForAllValues:StringEquals', 'a', undefined, true],
    ['ForAllValues:StringEquals', 'a', 'b', false],
  ] as const)('%s %j, of %j: %j', (operator, wanted, actual, expected) => {
    const policy = allow({ AWS: role }, { Condition: { [operator]: { 'Aws:Key': wanted } } });
    const context: Record<string, string> = actual === undefined ? {} : { 'aws:key': actual };
    expect(decide(role, policy, { context })).toBe(expected ? 'allowed' : 'not allowed');
  });

  test('an operator that it does not know is an error', () => {
    const policy = allow({ AWS: role }, { Condition: { DateEquals: { 'aws:CurrentTime': '' } } });
    expect(() => decide(role, policy)).toThrow('DateEquals');
  });
});
