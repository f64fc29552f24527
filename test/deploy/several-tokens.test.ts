import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { createHash } from 'node:crypto';
import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { parse } from 'yaml';
import { readFunctionConfig, readHttpFunctionConfig } from '../../src/lambda/function-start.js';
import { isConfiguredSecret } from '../../src/lambda/rotation-function.js';
import { createSlots, gapOfStoreRotation } from '../../src/rotation/coverage.js';
import { fc } from '../support/properties.js';
import { TEMPORARY } from '../support/temporary-folder.js';
import { decideAccess, listOf, type Access, type PolicyDocument } from './support/iam.js';
import { logFilter } from './support/log-filter.js';
import {
  CONFIG_FILE,
  deploymentBundle,
  EVERY_OPTION,
  NEEDED,
  packageOnce,
  packageStack,
  ROOT,
  runOsls,
  SEVERAL_TOKENS,
  SIGNING_KEY,
} from './support/packaging.js';
import {
  arnOf,
  drawStack,
  ofType,
  resource,
  type DrawnResource,
  type Template,
} from './support/template.js';

type Stack = ReadonlyMap<string, DrawnResource>;

const PREFIX = 'service-token-broker/dev';
const MANY = {
  ...NEEDED,
  config: CONFIG_FILE,
  tokenLifetime: '24h,mail-eu=30h',
  brokerRoles: EVERY_OPTION.brokerRoles,
};

let one: Template;
let many: Template;
let stack: Stack;
let packaged: string;
beforeAll(async () => {
  one = await packageStack(NEEDED);
  const { template, config } = await packageOnce(MANY, 'dev', SEVERAL_TOKENS);
  many = JSON.parse(template) as Template;
  stack = drawStack(many);
  packaged = config ?? '';
}, 240_000);

/** A template without the time of its packaging, which is in the names of the packages. */
const timeless = (template: string): string =>
  template.replaceAll(/(?<=service-token-broker\/dev\/)\d+-[^/"]+/g, 'TIME');

describe('a stack of one token', () => {
  /**
   * The templates before a stack could have several tokens. A change here updates every stack there is: when it is meant,
   * read the difference of the templates first, and let no resource get another name.
   */
  test.each([
    ['without options', NEEDED, 'f9f0a1358834d4a267d9db6d0344ec542540f37ad29c4f76c42b3d9b512adef5'],
    [
      'with every option',
      EVERY_OPTION,
      '2e55137ce5342883a83f91331b7f748a4138c8bb4599de2715130a62caf513db',
    ],
  ])(
    '%s is what it was, to the byte',
    async (_what, parameters, digest) => {
      const { template } = await packageOnce(parameters);
      expect(createHash('sha256').update(timeless(template)).digest('hex')).toBe(digest);
    },
    120_000,
  );

  test('grows to several in place: nothing is renamed, replaced or removed', () => {
    for (const [id, before] of Object.entries(one.Resources)) {
      const after = many.Resources[id];
      expect([id, after?.Type]).toEqual([id, before.Type]);
      for (const name of [
        'Name',
        'FunctionName',
        'LogGroupName',
        'AlarmName',
        'AliasName',
        'SecretId',
        'SecretString',
      ]) {
        expect([id, name, after?.Properties?.[name]]).toEqual([
          id,
          name,
          before.Properties?.[name],
        ]);
      }
    }
  });
});

describe('each further token', () => {
  test('has a secret of its own, and each further provider one for its credentials', () => {
    const names = ofType(stack, 'AWS::SecretsManager::Secret').map(
      ({ id, properties, deletionPolicy }) => [id, properties['Name'], deletionPolicy],
    );
    expect(names.slice(3)).toEqual([
      ['EntraCredentialsSecret', `${PREFIX}/credentials/entra`, 'RetainExceptOnCreate'],
      ['SigningCredentialsSecret', `${PREFIX}/credentials/signing`, 'RetainExceptOnCreate'],
      ['LedgerTokenSecret', `${PREFIX}/tokens/ledger`, 'Delete'],
      ['MailEuTokenSecret', `${PREFIX}/tokens/mail-eu`, 'Delete'],
      ['VaultTokenSecret', `${PREFIX}/tokens/vault`, 'Delete'],
    ]);
    for (const { id, properties } of ofType(stack, 'AWS::SecretsManager::Secret')) {
      expect(properties['KmsKeyId']).toBe(arnOf('Key', 'AWS::KMS::Key'));
      expect(resource(stack, `${id}Policy`).properties).toMatchObject({ BlockPublicPolicy: true });
    }
  });

  test('is protected as the token `default` is', () => {
    const policyOf = (id: string): unknown => resource(stack, id).properties['ResourcePolicy'];
    for (const id of ['LedgerTokenSecret', 'MailEuTokenSecret', 'VaultTokenSecret']) {
      expect(policyOf(`${id}Policy`)).toEqual(policyOf('TokenSecretPolicy'));
    }
    expect(policyOf('EntraCredentialsSecretPolicy')).toEqual(policyOf('CredentialsSecretPolicy'));
  });

  test('has its schedule, from its own cron expression or from the parameter, and none rotates at once', () => {
    const schedules = ofType(stack, 'AWS::SecretsManager::RotationSchedule').map(
      ({ properties: { RotationRules, SecretId, RotateImmediatelyOnUpdate } }) => [
        SecretId,
        (RotationRules as { readonly ScheduleExpression: string }).ScheduleExpression,
        RotateImmediatelyOnUpdate,
      ],
    );
    const secret = (id: string): string => arnOf(id, 'AWS::SecretsManager::Secret');
    expect(schedules).toEqual([
      [secret('TokenSecret'), 'cron(0 3/12 * * ? *)', false],
      [secret('LedgerTokenSecret'), 'cron(0 5,17 * * ? *)', false],
      [secret('MailEuTokenSecret'), 'cron(0 3/12 * * ? *)', false],
      [secret('VaultTokenSecret'), 'cron(0 3/12 * * ? *)', false],
    ]);
  });

  test('has alarms of its own, which follow from its life, and lead to the runbook', () => {
    const alarms = ofType(stack, 'AWS::CloudWatch::Alarm').filter(({ properties }) =>
      String(properties['AlarmName']).endsWith('-mail-eu'),
    );
    expect(
      alarms.map(({ properties: { AlarmName, MetricName, Threshold, AlarmDescription } }) => [
        String(AlarmName).replace('service-token-broker-dev-', ''),
        MetricName,
        Threshold,
        String(AlarmDescription).split('#')[1],
      ]),
    ).toEqual([
      ['rotation-failed-mail-eu', 'StepsFailedByToken', 1, 'rotation-failed'],
      // 12 hours, an hour of window, and an hour more.
      ['rotation-missing-mail-eu', 'TokenAgeByToken', 14 * 3600, 'rotation-missing'],
      // It lives for 17 hours more than the gap: half of them, and half an hour.
      ['token-expiring-mail-eu', 'TokenRemainingByToken', 9 * 3600, 'token-expiring'],
      ['token-refused-mail-eu', 'TokensRefusedByToken', 1, 'token-refused'],
    ]);
    for (const { properties } of alarms) {
      expect(properties).toMatchObject({
        Dimensions: [{ Name: 'Token', Value: 'mail-eu' }],
        AlarmActions: [arnOf('AlertsTopic', 'AWS::SNS::Topic')],
      });
    }
  });

  test('is counted by its own name, and not as the token `default`', () => {
    const matching = (line: Readonly<Record<string, unknown>>): readonly string[] =>
      ofType(stack, 'AWS::Logs::MetricFilter')
        .filter(({ properties }) => logFilter(String(properties['FilterPattern']))(line))
        .map(({ id }) => id);
    const probed = { message: 'service token probed', remainingSeconds: 1, ageSeconds: 2 };
    expect(matching(probed)).toEqual(['TokenProbedFilter']);
    expect(matching({ ...probed, tokenName: 'ledger' })).toEqual([
      'TokenAgesFilter',
      'TokensProbedFilter',
    ]);
    // A secret without a token has no age: its alarm rings because nothing is measured.
    expect(matching({ message: probed.message, remainingSeconds: 0, tokenName: 'ledger' })).toEqual(
      ['TokensProbedFilter'],
    );
    const failed = { message: 'rotation step failed', step: 'createSecret' };
    expect(matching(failed)).toEqual(['StepFailedFilter']);
    expect(matching({ ...failed, tokenName: 'ledger' })).toEqual(['StepsFailedFilter']);
    const refused = { message: 'receivers refuse the service token', tokenName: 'ledger' };
    expect(matching(refused)).toEqual(['TokensRefusedFilter']);
    const promoted = { message: 'rotation step ended', step: 'finishSecret', ended: 'done' };
    expect(matching(promoted)).toEqual(['TokenPromotedFilter']);
    expect(matching({ ...promoted, tokenName: 'ledger' })).toEqual([]);
  });
});

describe('what the roles may do', () => {
  const SECRETS = [
    'CredentialsSecret',
    'TokenSecret',
    'PeersSecret',
    'EntraCredentialsSecret',
    'SigningCredentialsSecret',
    'LedgerTokenSecret',
    'MailEuTokenSecret',
    'VaultTokenSecret',
  ];
  const secretArn = (id: string): string => arnOf(id, 'AWS::SecretsManager::Secret');
  const statementsOf = (name: string): readonly PolicyDocument[] =>
    [...ofType(stack, 'AWS::IAM::Policy'), ...ofType(stack, 'AWS::IAM::ManagedPolicy')]
      .filter(
        ({ id, properties }) =>
          (properties['Roles'] as readonly string[] | undefined)?.includes(name) ??
          id.startsWith(name),
      )
      .map(({ properties }) => properties['PolicyDocument'] as PolicyDocument);
  const may = (name: string, action: string): readonly string[] =>
    SECRETS.filter(
      (id) => decideAccess(statementsOf(name), { action, resource: secretArn(id) }) === 'allowed',
    );
  const CREDENTIALS = SECRETS.filter((id) => id.endsWith('CredentialsSecret'));
  const TOKENS = SECRETS.filter((id) => id.endsWith('TokenSecret'));

  test.each([
    ['RotationRole', 'secretsmanager:GetSecretValue', [...CREDENTIALS, ...TOKENS]],
    ['RotationRole', 'secretsmanager:PutSecretValue', TOKENS],
    ['RotationRole', 'secretsmanager:UpdateSecretVersionStage', TOKENS],
    ['RotationRole', 'secretsmanager:RotateSecret', []],
    ['HttpRole', 'secretsmanager:GetSecretValue', TOKENS],
    ['HttpRole', 'secretsmanager:PutSecretValue', []],
    ['HttpRole', 'secretsmanager:RotateSecret', TOKENS],
    ['Container', 'secretsmanager:GetSecretValue', [...TOKENS, 'PeersSecret']],
    ['Container', 'secretsmanager:PutSecretValue', []],
    ['Container', 'secretsmanager:RotateSecret', TOKENS],
  ])('%s: %s of %j', (name, action, secrets) => {
    expect(may(name, action).toSorted()).toEqual(secrets.toSorted());
  });

  test.each([
    ['RotationRole', 'kms:Decrypt', [...CREDENTIALS, ...TOKENS]],
    ['RotationRole', 'kms:GenerateDataKey', TOKENS],
    ['HttpRole', 'kms:Decrypt', TOKENS],
    ['HttpRole', 'kms:GenerateDataKey', []],
    ['Container', 'kms:Decrypt', [...TOKENS, 'PeersSecret']],
  ])('%s: %s for %j, by way of Secrets Manager alone', (name, action, secrets) => {
    const decide = (id: string, service: string): Access =>
      decideAccess(statementsOf(name), {
        action,
        resource: arnOf('Key', 'AWS::KMS::Key'),
        context: { 'kms:EncryptionContext:SecretARN': secretArn(id), 'kms:ViaService': service },
      });
    const via = 'secretsmanager.eu-central-1.amazonaws.com';
    expect(SECRETS.filter((id) => decide(id, via) === 'allowed').toSorted()).toEqual(
      secrets.toSorted(),
    );
    for (const id of SECRETS)
      expect(decide(id, 'ssm.eu-central-1.amazonaws.com')).toBe('not allowed');
  });

  test('the rotation function signs with the key of the provider that has one, and nobody else does', () => {
    const sign = { action: 'kms:Sign', resource: SIGNING_KEY };
    expect(decideAccess(statementsOf('RotationRole'), sign)).toBe('allowed');
    for (const name of ['HttpRole', 'Container', 'PeerPolicy']) {
      expect(decideAccess(statementsOf(name), sign)).toBe('not allowed');
    }
  });

  test('no further policy has a wildcard', () => {
    for (const { id, properties } of ofType(stack, 'AWS::IAM::ManagedPolicy')) {
      const { Statement } = properties['PolicyDocument'] as PolicyDocument;
      for (const { Action, Resource } of Statement) {
        expect([
          id,
          [...listOf(Action), ...listOf(Resource)].filter((text) => text.includes('*')),
        ]).toEqual([id, []]);
      }
    }
  });

  test('a peer of another account that the file names may call the URL', () => {
    const principals = ofType(stack, 'AWS::Lambda::Permission').map(
      ({ properties }) => properties['Principal'],
    );
    expect(principals).toContain('arn:aws:iam::999999999999:role/services/settle');
  });

  test('Secrets Manager invokes the function for the further secrets, and their notices are delivered', () => {
    expect(resource(stack, 'TokensRotationPermission').properties).toEqual({
      Action: 'lambda:InvokeFunction',
      FunctionName: arnOf('RotationLambdaFunction', 'AWS::Lambda::Function'),
      Principal: 'secretsmanager.amazonaws.com',
      SourceAccount: '123456789012',
      SourceArn: `arn:aws:secretsmanager:eu-central-1:123456789012:secret:${PREFIX}/tokens/*`,
    });
    const [{ Condition }] = (
      resource(stack, 'DeadLettersPolicy').properties['PolicyDocument'] as PolicyDocument
    ).Statement as [PolicyDocument['Statement'][number]];
    const rules = ofType(stack, 'AWS::Events::Rule').filter(({ id }) => id !== 'ProbeRule');
    expect(rules).toHaveLength(4);
    expect(new Set([Condition?.['ArnEquals']?.['aws:SourceArn']].flat())).toEqual(
      new Set(rules.map(({ id }) => arnOf(id, 'AWS::Events::Rule'))),
    );
  });
});

describe('the functions', () => {
  const environmentOf = (id: string): NodeJS.ProcessEnv =>
    (resource(stack, id).properties['Environment'] as { readonly Variables: NodeJS.ProcessEnv })
      .Variables;

  test('read the same file, with the name of every secret that the stack has made', async () => {
    const own = await mkdtemp(join(TEMPORARY, 'packaged-'));
    try {
      const path = join(own, 'broker.json');
      await writeFile(path, packaged);
      const secrets = ofType(stack, 'AWS::SecretsManager::Secret').map(
        ({ properties }) => properties['Name'],
      );
      for (const [id, read] of [
        ['RotationLambdaFunction', readFunctionConfig],
        ['HttpLambdaFunction', readHttpFunctionConfig],
      ] as const) {
        const environment = environmentOf(id);
        expect(environment['BROKER_CONFIG']).toBe('dist-lambda/broker.json');
        const config = read({ ...environment, BROKER_CONFIG: path });
        expect(config.warnings).toEqual([]);
        expect(config.cache.ttlSeconds).toBe(240);
        expect(config.tokens.map(({ name, providerName }) => [name, providerName])).toEqual([
          ['default', 'default'],
          ['ledger', 'default'],
          ['mail-eu', 'entra'],
          ['vault', 'signing'],
        ]);
        for (const { secretId } of config.tokens.slice(1)) expect(secrets).toContain(secretId);
        for (const { credentialsSecretId } of config.tokens.slice(2)) {
          expect(secrets).toContain(credentialsSecretId);
        }
        const [, { secretId }] = config.tokens as unknown as [
          unknown,
          { readonly secretId: string },
        ];
        const arn = `arn:aws:secretsmanager:eu-central-1:123456789012:secret:${secretId}-AbCdEf`;
        expect(isConfiguredSecret(arn, secretId)).toBe(true);
      }
      const { identities } = readHttpFunctionConfig({
        ...environmentOf('HttpLambdaFunction'),
        BROKER_CONFIG: path,
      });
      expect(identities.peers).toMatchObject([{ id: 'settle', tokens: ['ledger'] }]);
    } finally {
      await rm(own, { recursive: true, force: true });
    }
  });

  test('of one token read no file', () => {
    const plain = drawStack(one);
    for (const id of ['RotationLambdaFunction', 'HttpLambdaFunction']) {
      const { Variables } = resource(plain, id).properties['Environment'] as {
        readonly Variables: object;
      };
      expect(Object.keys(Variables)).not.toContain('BROKER_CONFIG');
    }
  });
});

test('further peers secrets: each with its policy, read by brokers in containers alone', async () => {
  const drawn = drawStack(
    await packageStack({ ...NEEDED, peersSecrets: '30', replicaRegions: 'eu-west-1' }),
  );
  const names = ofType(drawn, 'AWS::SecretsManager::Secret').map(
    ({ properties }) => properties['Name'],
  );
  expect(names).toHaveLength(32);
  expect(names).toContain(`${PREFIX}/peers/30`);
  const policyOf = (id: string): unknown => resource(drawn, id).properties['ResourcePolicy'];
  expect(policyOf('PeersSecret30Policy')).toEqual(policyOf('PeersSecretPolicy'));
  const policies = ofType(drawn, 'AWS::IAM::ManagedPolicy').filter(({ id }) =>
    id.startsWith('ContainerPeersPolicy'),
  );
  const documents = policies.map(
    ({ properties }) => properties['PolicyDocument'] as PolicyDocument,
  );
  for (let number = 2; number <= 30; number += 1) {
    const secret = arnOf(`PeersSecret${number}`, 'AWS::SecretsManager::Secret');
    const read = (action: string): Access => decideAccess(documents, { action, resource: secret });
    expect(read('secretsmanager:GetSecretValue')).toBe('allowed');
    expect(read('secretsmanager:PutSecretValue')).toBe('not allowed');
  }
  for (const { properties } of policies) {
    expect(properties['Roles']).toBeUndefined();
    // IAM's limit for a managed policy.
    expect(JSON.stringify(properties['PolicyDocument']).length).toBeLessThan(6_144);
  }
}, 120_000);

test('the most tokens fit into what AWS takes', async () => {
  const names = Array.from(
    { length: 50 },
    (_, index) => `${'a'.repeat(37)}-${String(index).padStart(2, '0')}`,
  );
  const config = `tokens:\n  default: {}\n${names.map((name) => `  ${name}: { scope: ${name} }\n`).join('')}`;
  const parameters = { ...EVERY_OPTION, config: CONFIG_FILE };
  const template = await packageStack(parameters, 'dev', config);
  expect(Object.keys(template.Resources).length).toBeLessThan(500);
  expect(JSON.stringify(template).length).toBeLessThan(1_000_000);
  const drawn = drawStack(template);
  for (const { properties } of ofType(drawn, 'AWS::IAM::ManagedPolicy')) {
    expect(JSON.stringify(properties['PolicyDocument']).length).toBeLessThan(6_144);
  }
  for (const name of ['RotationRole', 'HttpRole']) {
    const attached = ofType(drawn, 'AWS::IAM::ManagedPolicy').filter(({ properties }) =>
      (properties['Roles'] as readonly string[] | undefined)?.includes(name),
    );
    // IAM's limit of policies that are attached to a role, unless it was raised.
    expect(attached.length).toBeLessThanOrEqual(10);
  }
}, 120_000);

describe('a file that cannot be right is refused, with the place in it', () => {
  test.each<[string, string, string, Readonly<Record<string, string>>?]>([
    ['no default', 'tokens: { ledger: { scope: a } }', 'tokens in broker.yml: it has no "default"'],
    [
      'a setting of a parameter',
      'issuer: https://other.example.test/\ntokens: { default: {} }',
      'issuer in broker.yml: the stack sets it, by the parameter issuer',
    ],
    [
      'a member of default',
      'tokens: { default: { audience: a } }',
      'tokens.default.audience in broker.yml: the parameters of the stack describe this token',
    ],
    [
      'another name of a secret',
      'tokens: { default: {}, ledger: { scope: a, secret: ledger } }',
      'tokens.ledger.secret in broker.yml: the stack makes a secret of another name. Allowed: service-token-broker/dev/tokens/ledger, or nothing',
    ],
    [
      'a file that the function does not have',
      'providers: { a: { issuer: https://a.example.test/, client_authentication: mtls, client_certificate_file: /a, client_key_file: /b } }\ntokens: { default: {}, ledger: { provider: a } }',
      'providers.a.client_certificate_file in broker.yml: the package of a function has no such file',
    ],
    [
      'a key without its ARN',
      'providers: { a: { issuer: https://a.example.test/, client_id: b, client_authentication: kms, kms_key_id: alias/broker } }\ntokens: { default: {}, ledger: { provider: a } }',
      'providers.a.kms_key_id in broker.yml: a policy names the key by its ARN',
    ],
    ['an unknown member', 'tokens: { default: {}, ledger: { scpe: a } }', 'did you mean "scope"?'],
    [
      'an unknown provider',
      'tokens: { default: {}, ledger: { provider: entra } }',
      'tokens.ledger.provider',
    ],
    [
      'the same token twice',
      'tokens: { default: {}, ledger: { audience: https://services.example.test } }',
      'tokens.ledger.audience',
    ],
    [
      'a grant of no token',
      "tokens: { default: {} }\npeers: { a: { identities: [{ iam: 'arn:aws:iam::123456789012:role/a' }], tokens: [ledger] } }",
      'peers.a.tokens.0 in broker.yml: no token of this name is configured',
    ],
    [
      'a peer of the parameter',
      "tokens: { default: {} }\npeers: { a: { identities: [{ iam: 'arn:aws:iam::123456789012:role/x/a' }], tokens: [default] } }",
      'the peer "a" of the file',
      { peers: 'arn:aws:iam::123456789012:role/a' },
    ],
    [
      'a cron expression that AWS has not',
      "tokens: { default: {}, ledger: { scope: a, rotation: { cron: '0 3 1 * 1' } } }",
      'tokens.ledger.rotation.cron: "0 3 1 * 1" cannot be a schedule of Secrets Manager',
    ],
    [
      'a time zone, which AWS does not know',
      'tokens: { default: {}, ledger: { scope: a, rotation: { time_zone: Asia/Tokyo } } }',
      'Secrets Manager rotates the token "ledger", and reads its schedules in UTC alone',
    ],
    [
      'rotations that are too seldom',
      "tokens: { default: {}, ledger: { scope: a, rotation: { cron: '0 3 * * *' } } }",
      'tokens.ledger: tokenLifetime=24h is too short',
    ],
    [
      'the life of a token that there is not',
      'tokens: { default: {} }',
      'tokenLifetime names mail, and there is no such token',
      { tokenLifetime: '24h,mail=12h' },
    ],
    [
      'names that CloudFormation cannot tell apart',
      'tokens: { default: {}, a-1: { scope: a }, a1: { scope: b } }',
      'a-1 and a1 differ only by hyphens',
    ],
    [
      'too many tokens',
      `tokens: { default: {}${Array.from({ length: 51 }, (_, index) => `, t${index}: { scope: s${index} }`).join('')} }`,
      '51 tokens beside default are too many for a stack: 50 at most',
    ],
    ['no YAML', 'tokens: {', 'it is not YAML'],
    ['an audit in a file', 'audit: /var/audit.jsonl\ntokens: { default: {} }', 'BROKER_AUDIT'],
    [
      'too many peers secrets',
      'tokens: { default: {} }',
      'a number from 1 to 30',
      { peersSecrets: '31' },
    ],
  ])('%s', async (_what, config, why, more = {}) => {
    expect(await mistakesOf(config, more)).toContain(why);
  });
});

test('a file with every secret named as the stack names it is taken, so that containers can read the same', async () => {
  const config = `
providers: { entra: { issuer: 'https://login.example.test/', credentials_secret: ${PREFIX}/credentials/entra } }
tokens:
  default: { provider: default, secret: ${PREFIX}/token }
  mail: { provider: entra, secret: ${PREFIX}/tokens/mail }
`;
  expect(await mistakesOf(config)).toBe('');
});

/** A folder with what reads the file, as it is when the stack is packaged. */
let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(TEMPORARY, 'deployment-'));
  await cp(join(ROOT, 'deploy'), join(folder, 'deploy'), { recursive: true });
  await cp(await deploymentBundle(), join(folder, 'dist-lambda', 'deployment.mjs'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

/** What is wrong with a file and parameters, without starting osls; nothing when they are taken. */
async function mistakesOf(
  config: string,
  more: Readonly<Record<string, string>> = {},
): Promise<string> {
  const path = join(folder, CONFIG_FILE);
  await writeFile(path, config);
  const optionsOf = createRequire(import.meta.url)(join(folder, 'deploy/options.cjs')) as (
    source: object,
  ) => Promise<{ readonly checked: string }>;
  const { params } = parse(await readFile(join(ROOT, 'serverless.yml'), 'utf8'), {
    logLevel: 'silent',
  }) as { readonly params: { readonly default: object } };
  const given: Readonly<Record<string, unknown>> = {
    ...params.default,
    ...NEEDED,
    ...more,
    config: path,
  };
  const values = await optionsOf({
    options: {},
    resolveVariable: (name: string) =>
      Promise.resolve(name === 'sls:stage' ? 'dev' : given[name.replace('param:', '')]),
    resolveConfigurationProperty: ([name]: readonly string[]) =>
      Promise.resolve(name === 'params' ? params : 'eu-central-1'),
  });
  try {
    return values.checked === 'dev' ? '' : 'no stage';
  } catch (error) {
    return String(error).replaceAll(path, CONFIG_FILE);
  }
}

test('the file of docs/deploying.md is one', async () => {
  const page = await readFile(join(ROOT, 'docs/deploying.md'), 'utf8');
  const [, config = ''] = /```yaml\n(# broker\.yml\n[^`]+)```/.exec(page) ?? [];
  expect(Object.keys((parse(config) as { readonly tokens: object }).tokens)).toHaveLength(3);
  expect(await mistakesOf(config)).toBe('');
});

test('osls tells the mistakes of the file as those of the parameters', async () => {
  const config = 'tokens: { default: {}, ledger: { scpe: a } }';
  const { code, output } = await runOsls({ ...NEEDED, config: CONFIG_FILE }, 'dev', config);
  expect(code).not.toBe(0);
  expect(output).toContain('nothing was packaged');
  expect(output).toContain('tokens.ledger.scpe');
}, 120_000);

describe('a cron expression of the broker, as Secrets Manager writes it', () => {
  const { awsCron } = createRequire(import.meta.url)('../../deploy/schedule.cjs') as {
    readonly awsCron: (expression: string) => string;
  };

  test.each([
    ['0 3 * * *', 'cron(0 3 * * ? *)'],
    ['0 0 3 * * *', 'cron(0 3 * * ? *)'],
    ['0 3,15 * * *', 'cron(0 3,15 * * ? *)'],
    ['0 */6 * * *', 'cron(0 */6 * * ? *)'],
    ['0 3 1 * *', 'cron(0 3 1 * ? *)'],
    ['0 3 * * 1-5', 'cron(0 3 ? * 2-6 *)'],
    ['0 3 * * 0', 'cron(0 3 ? * 1 *)'],
    ['0 3 * * 7', 'cron(0 3 ? * 1 *)'],
    ['0 3 * * MON,THU', 'cron(0 3 ? * MON,THU *)'],
  ])('%s is %s', (broker, aws) => {
    expect(awsCron(broker)).toBe(aws);
  });

  test.each([
    '0 3 1 * 1',
    '0 3 L * *',
    '0 3 * * 5L',
    '0 3 * * 1#2',
    '@daily',
    '30 0 3 * * *',
    '* *',
    '0 3 * * 5-7',
  ])('%s is refused', (expression) => {
    expect(() => awsCron(expression)).toThrow('cannot be a schedule of Secrets Manager');
  });

  test('means the same there', () => {
    const hours = fc.uniqueArray(fc.integer({ min: 0, max: 23 }), { minLength: 1, maxLength: 4 });
    const days = fc.oneof(
      fc.constant(['*', '*']),
      fc.integer({ min: 1, max: 28 }).map((day) => [String(day), '*']),
      fc
        .uniqueArray(fc.integer({ min: 0, max: 6 }), { minLength: 1, maxLength: 3 })
        .map((list) => ['*', list.join(',')]),
    );
    fc.assert(
      fc.property(hours, days, (list, [day, weekday]) => {
        const expression = `0 ${list.join(',')} ${day} * ${weekday}`;
        const now = Date.UTC(2026, 0, 1);
        const gap = gapOfStoreRotation({ schedule: awsCron(expression), window: '1h' }, now);
        expect(gap?.period).toBe(createSlots(expression).longestPeriod(now));
      }),
      { numRuns: 25 },
    );
  });
});
