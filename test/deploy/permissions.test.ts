import { beforeAll, describe, expect, test } from '@jest/globals';
import { fc } from '../support/properties.js';
import { AWS_API_CALLS } from '../../src/secrets/aws/aws-errors.js';
import {
  decideAccess,
  listOf,
  type Access,
  type PolicyDocument,
  type Statement,
} from './support/iam.js';
import { EVERY_OPTION, NEEDED, packageStack } from './support/packaging.js';
import {
  arnOf,
  drawStack,
  ofType,
  PSEUDO,
  resource,
  type DrawnResource,
} from './support/template.js';

type Stack = ReadonlyMap<string, DrawnResource>;

let plain: Stack;
let full: Stack;
beforeAll(async () => {
  plain = drawStack(await packageStack(NEEDED));
  full = drawStack(await packageStack(EVERY_OPTION));
}, 240_000);

const SECRETS = ['CredentialsSecret', 'TokenSecret', 'PeersSecret'] as const;
type SecretName = (typeof SECRETS)[number];
const secretArn = (name: string): string => arnOf(name, 'AWS::SecretsManager::Secret');
const roleArn = (name: string): string => arnOf(name, 'AWS::IAM::Role');
const CONTAINER_ROLE = EVERY_OPTION.brokerRoles;

/** What a principal's own policies say. The network's is apart: it is about EC2 alone. */
function identityPolicies(stack: Stack, name: string): readonly PolicyDocument[] {
  const policies = [
    ...ofType(stack, 'AWS::IAM::Policy').filter(({ properties }) =>
      (properties['Roles'] as string[]).includes(name),
    ),
    ...ofType(stack, 'AWS::IAM::ManagedPolicy').filter(({ id }) => id === name),
  ];
  return policies.map(({ properties }) => properties['PolicyDocument'] as PolicyDocument);
}

function secretPolicy(stack: Stack, secret: SecretName): PolicyDocument {
  return resource(stack, `${secret}Policy`).properties['ResourcePolicy'] as PolicyDocument;
}

/** May a principal do this to a secret, by its own policies and by the secret's? */
function access(
  stack: Stack,
  policies: readonly PolicyDocument[],
  principal: string,
  call: string,
  secret: SecretName,
  context: Readonly<Record<string, string | readonly string[]>> = {},
): Access {
  return decideAccess([...policies, secretPolicy(stack, secret)], {
    action: `secretsmanager:${call}`,
    resource: secretArn(secret),
    context: { 'aws:PrincipalArn': principal, ...context },
  });
}

const ROLES: readonly {
  readonly name: string;
  readonly arn: string;
  readonly may: Readonly<Record<SecretName, readonly string[]>>;
}[] = [
  {
    name: 'RotationRole',
    arn: roleArn('RotationRole'),
    may: {
      CredentialsSecret: ['DescribeSecret', 'GetSecretValue'],
      TokenSecret: [
        'DescribeSecret',
        'GetSecretValue',
        'PutSecretValue',
        'UpdateSecretVersionStage',
      ],
      PeersSecret: [],
    },
  },
  {
    name: 'HttpRole',
    arn: roleArn('HttpRole'),
    may: {
      CredentialsSecret: [],
      TokenSecret: ['DescribeSecret', 'GetSecretValue', 'RotateSecret'],
      PeersSecret: [],
    },
  },
  {
    name: 'ContainerBrokerPolicy',
    arn: CONTAINER_ROLE,
    may: {
      CredentialsSecret: [],
      TokenSecret: ['DescribeSecret', 'GetSecretValue', 'RotateSecret'],
      PeersSecret: ['DescribeSecret', 'GetSecretValue'],
    },
  },
  {
    name: 'PeerPolicy',
    arn: 'arn:aws:iam::123456789012:role/billing',
    may: { CredentialsSecret: [], TokenSecret: [], PeersSecret: [] },
  },
];

/** Calls to Secrets Manager that no role of the stack has to make, and why. */
const MADE_BY_NOBODY = {
  CreateSecret: 'the stack makes the secrets; the adapter has the call for whoever embeds it',
};

describe('what the roles may do to the secrets', () => {
  const cases = ROLES.flatMap((role) => SECRETS.map((secret) => ({ ...role, secret })));

  test.each(cases)('$name, $secret', ({ name, arn, may, secret }) => {
    const allowed = AWS_API_CALLS.filter(
      (call) => access(full, identityPolicies(full, name), arn, call, secret) === 'allowed',
    );
    expect(allowed.toSorted()).toEqual(may[secret]);
  });

  test('every call that the code makes is allowed to some role, and none that it does not make', () => {
    const granted = new Set(
      ROLES.flatMap(({ name }) => identityPolicies(full, name))
        .flatMap(({ Statement }) => Statement.filter(({ Effect }) => Effect === 'Allow'))
        .flatMap(({ Action }) => listOf(Action))
        .filter((action) => action.startsWith('secretsmanager:'))
        .map((action) => action.slice('secretsmanager:'.length)),
    );
    expect([...granted, ...Object.keys(MADE_BY_NOBODY)].toSorted()).toEqual(
      AWS_API_CALLS.toSorted(),
    );
  });

  test('whoever may ask for a rotation may change neither the function nor the rules', () => {
    for (const name of ['HttpRole', 'ContainerBrokerPolicy']) {
      const ask = (context: Readonly<Record<string, string>>): Access =>
        access(
          full,
          identityPolicies(full, name),
          CONTAINER_ROLE,
          'RotateSecret',
          'TokenSecret',
          context,
        );
      expect(ask({})).toBe('allowed');
      expect(ask({ 'secretsmanager:ModifyRotationRules': 'false' })).toBe('allowed');
      expect(ask({ 'secretsmanager:ModifyRotationRules': 'true' })).toBe('not allowed');
      expect(ask({ 'secretsmanager:RotationLambdaARN': 'arn:aws:lambda:::x' })).toBe('not allowed');
    }
  });
});

describe('what the roles may do besides', () => {
  test.each([
    [
      'RotationRole',
      [
        'kms:Decrypt',
        'kms:GenerateDataKey',
        'logs:CreateLogStream',
        'logs:PutLogEvents',
        'sqs:SendMessage',
      ],
    ],
    [
      'HttpRole',
      ['kms:Decrypt', 'lambda:InvokeFunction', 'logs:CreateLogStream', 'logs:PutLogEvents'],
    ],
    ['ContainerBrokerPolicy', ['kms:Decrypt', 'lambda:InvokeFunction']],
    ['PeerPolicy', ['lambda:InvokeFunction', 'lambda:InvokeFunctionUrl']],
  ])('%s: %j', (name, actions) => {
    const granted = identityPolicies(plain, name)
      .flatMap(({ Statement }) => Statement)
      .flatMap(({ Action }) => listOf(Action))
      .filter((action) => !action.startsWith('secretsmanager:'));
    expect([...new Set(granted)].toSorted()).toEqual(actions);
  });

  test.each([
    ['RotationRole', 'kms:Decrypt', ['CredentialsSecret', 'TokenSecret']],
    ['RotationRole', 'kms:GenerateDataKey', ['TokenSecret']],
    ['HttpRole', 'kms:Decrypt', ['TokenSecret']],
    ['HttpRole', 'kms:GenerateDataKey', []],
    ['ContainerBrokerPolicy', 'kms:Decrypt', ['TokenSecret', 'PeersSecret']],
    ['ContainerBrokerPolicy', 'kms:GenerateDataKey', []],
  ])('%s: %s for %j, by way of Secrets Manager alone', (name, action, secrets) => {
    const decide = (secret: string, service: string): Access =>
      decideAccess(identityPolicies(plain, name), {
        action,
        resource: arnOf('Key', 'AWS::KMS::Key'),
        context: {
          'kms:EncryptionContext:SecretARN': secretArn(secret),
          'kms:ViaService': service,
        },
      });
    const via = 'secretsmanager.eu-central-1.amazonaws.com';
    expect(SECRETS.filter((secret) => decide(secret, via) === 'allowed')).toEqual(secrets);
    for (const secret of SECRETS)
      expect(decide(secret, 'ssm.eu-central-1.amazonaws.com')).toBe('not allowed');
  });

  test('logs go to the own group', () => {
    for (const [name, group] of [
      ['RotationRole', 'RotationLogGroup'],
      ['HttpRole', 'HttpLogGroup'],
    ] as const) {
      const logged = identityPolicies(plain, name)
        .flatMap(({ Statement }) => Statement)
        .filter(({ Action }) => listOf(Action).some((action) => action.startsWith('logs:')));
      expect(logged.map(({ Resource }) => Resource)).toEqual([arnOf(group, 'AWS::Logs::LogGroup')]);
    }
  });

  test('a peer calls the URL, and never the function itself, where it could say that it is another', () => {
    const decide = (action: string, context: Readonly<Record<string, string>>): Access =>
      decideAccess(identityPolicies(plain, 'PeerPolicy'), {
        action,
        resource: arnOf('HttpLambdaFunction', 'AWS::Lambda::Function'),
        context,
      });
    expect(decide('lambda:InvokeFunctionUrl', { 'lambda:FunctionUrlAuthType': 'AWS_IAM' })).toBe(
      'allowed',
    );
    expect(decide('lambda:InvokeFunctionUrl', { 'lambda:FunctionUrlAuthType': 'NONE' })).toBe(
      'not allowed',
    );
    expect(decide('lambda:InvokeFunction', { 'lambda:InvokedViaFunctionUrl': 'true' })).toBe(
      'allowed',
    );
    expect(decide('lambda:InvokeFunction', {})).toBe('not allowed');
  });
});

describe('who reads and writes the secrets, whatever IAM allows them', () => {
  const ALL: PolicyDocument = {
    Version: '2012-10-17',
    Statement: [{ Effect: 'Allow', Action: '*', Resource: '*' }],
  };
  const root = `arn:aws:iam::${PSEUDO['AWS::AccountId']}:root`;
  const somebody = 'arn:aws:iam::123456789012:role/account-administrator';
  const platform =
    'arn:aws:iam::123456789012:role/aws-reserved/sso.amazonaws.com/eu-central-1/Platform_0a1b';
  const may = (
    stack: Stack,
    principal: string,
    call: string,
    secret: SecretName,
    context: Readonly<Record<string, string | readonly string[]>> = {},
  ): boolean => access(stack, [ALL], principal, call, secret, context) === 'allowed';

  test.each([
    ['TokenSecret', [roleArn('RotationRole'), roleArn('HttpRole'), CONTAINER_ROLE, platform, root]],
    ['CredentialsSecret', [roleArn('RotationRole'), platform, root]],
    ['PeersSecret', [CONTAINER_ROLE, platform, root]],
  ] as const)('%s is read by %j alone', (secret, readers) => {
    const everybody = [
      roleArn('RotationRole'),
      roleArn('HttpRole'),
      CONTAINER_ROLE,
      platform,
      root,
      somebody,
    ];
    const reading = everybody.filter((principal) => may(full, principal, 'GetSecretValue', secret));
    expect(reading).toEqual(readers);
  });

  test.each([
    ['TokenSecret', [roleArn('RotationRole'), platform, root]],
    ['PeersSecret', [platform, root]],
    ['CredentialsSecret', [roleArn('RotationRole'), platform, root, somebody]],
  ] as const)('%s is written by %j alone', (secret, writers) => {
    const everybody = [roleArn('RotationRole'), platform, root, somebody];
    const writing = everybody.filter((principal) => may(full, principal, 'PutSecretValue', secret));
    expect(writing).toEqual(writers);
  });

  test('without the parameters, only the functions and the root user are named', () => {
    for (const secret of SECRETS) {
      for (const principal of [CONTAINER_ROLE, platform, somebody]) {
        expect(may(plain, principal, 'GetSecretValue', secret)).toBe(false);
      }
      expect(may(plain, root, 'GetSecretValue', secret)).toBe(true);
    }
  });

  test('nobody else reads the token, whoever it is', () => {
    const name = fc.stringMatching(/^[A-Za-z0-9+=,.@_/-]{1,40}$/);
    const principal = fc
      .tuple(fc.constantFrom('role', 'user', 'assumed-role', 'federated-user'), name)
      .map(([kind, text]) => `arn:aws:iam::123456789012:${kind}/${text}`);
    fc.assert(
      fc.property(principal, fc.constantFrom(...SECRETS), (somebodyElse, secret) => {
        fc.pre(![roleArn('RotationRole'), roleArn('HttpRole')].includes(somebodyElse));
        return !may(plain, somebodyElse, 'GetSecretValue', secret);
      }),
    );
  });

  test('administrators of the account are never locked out: they can describe, rotate, and lift the policy', () => {
    for (const secret of SECRETS) {
      for (const call of [
        'DescribeSecret',
        'RotateSecret',
        'DeleteResourcePolicy',
        'PutResourcePolicy',
        'DeleteSecret',
        'RestoreSecret',
      ]) {
        expect(may(plain, somebody, call, secret)).toBe(true);
      }
    }
  });

  test('CloudFormation updates the secrets for whoever deploys; nobody writes a value by UpdateSecret', () => {
    for (const secret of ['TokenSecret', 'PeersSecret'] as const) {
      const update = (calledVia?: readonly string[]): boolean =>
        may(
          plain,
          somebody,
          'UpdateSecret',
          secret,
          calledVia ? { 'aws:CalledVia': calledVia } : {},
        );
      expect(update()).toBe(false);
      expect(update(['athena.amazonaws.com'])).toBe(false);
      expect(update(['cloudformation.amazonaws.com'])).toBe(true);
    }
  });

  test('the key is administered by the account, and decrypts for nobody directly', () => {
    const policy = resource(plain, 'Key').properties['KeyPolicy'] as PolicyDocument;
    const decide = (action: string, context: Readonly<Record<string, string>> = {}): Access =>
      decideAccess([{ ...policy, Statement: policy.Statement.filter(forAccount) }], {
        action,
        resource: arnOf('Key', 'AWS::KMS::Key'),
        context: { 'kms:CallerAccount': '123456789012', ...context },
      });
    expect(decide('kms:PutKeyPolicy')).toBe('allowed');
    expect(decide('kms:ScheduleKeyDeletion')).toBe('allowed');
    expect(decide('kms:Decrypt')).toBe('not allowed');
    expect(decide('kms:Encrypt')).toBe('not allowed');
    expect(decide('kms:CreateGrant')).toBe('not allowed');
    const via = { 'kms:ViaService': 'secretsmanager.eu-central-1.amazonaws.com' };
    expect(decide('kms:Decrypt', via)).toBe('allowed');
    expect(decide('kms:Decrypt', { ...via, 'kms:CallerAccount': '999999999999' })).toBe(
      'not allowed',
    );
  });

  function forAccount({ Principal }: Statement): boolean {
    return typeof Principal === 'object' && Principal['AWS'] === root;
  }
});

/** Statements that allow something for every resource, or by a wildcard, and why AWS leaves no narrower way. */
const EXPLAINED: Readonly<Record<string, string>> = {
  'Key Administration': "in a key's own policy, * is that key",
  'Key Secrets': "in a key's own policy, * is that key",
  'Key Logs': "in a key's own policy, * is that key",
  'Key Alarms': "in a key's own policy, * is that key",
  'Key Events': "in a key's own policy, * is that key",
  'Key Brokers': "in a key's own policy, * is that key",
  'Key Administrators': "in a key's own policy, * is that key",
  'TokenSecretPolicy Brokers': "in a secret's own policy, * is that secret",
  'TokenSecretPolicy BrokersRotate': "in a secret's own policy, * is that secret",
  'TokenSecretPolicy Administrators': "in a secret's own policy, * is that secret",
  'PeersSecretPolicy Brokers': "in a secret's own policy, * is that secret",
  'PeersSecretPolicy Administrators': "in a secret's own policy, * is that secret",
  'CredentialsSecretPolicy Administrators': "in a secret's own policy, * is that secret",
  'FunctionNetworkPolicy LambdaMakesInterfaces':
    'Lambda checks these for all resources: the interfaces do not exist yet. FunctionsDoNot keeps the code from them',
  'HttpPolicy ReadToken':
    'a replica has six characters at its end that are not known when the stack is made',
  'ContainerBrokerPolicy ReadToken': 'as above',
  'ContainerBrokerPolicy ReadPeers': 'as above',
};

test('nothing is allowed by a wildcard, but what is explained', () => {
  const found = [...full.values()].flatMap(({ id, properties }) =>
    documentsIn(properties)
      .flatMap(({ Statement }) => Statement)
      .filter(({ Effect }) => Effect === 'Allow')
      .filter(({ Action, Resource }) =>
        [...listOf(Action), ...listOf(Resource ?? [])].some((text) =>
          /[*?]/.test(text.replace(/:\*$/, '')),
        ),
      )
      .map(({ Sid = 'without a Sid' }) => `${id} ${Sid}`),
  );
  expect(found.toSorted()).toEqual(Object.keys(EXPLAINED).toSorted());
});

/** The policy documents anywhere in a resource. */
function documentsIn(value: unknown): readonly PolicyDocument[] {
  if (typeof value !== 'object' || value === null) return [];
  if ('Statement' in value) return [value as PolicyDocument];
  return Object.values(value).flatMap(documentsIn);
}
