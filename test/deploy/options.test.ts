import { beforeAll, describe, expect, test } from '@jest/globals';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { parse } from 'yaml';
import {
  CLIENT_AUTHENTICATION_METHODS,
  PROFILE_NAMES,
  UNDECIDABLE_PROFILES,
} from '../../src/config/settings.js';
import { readFunctionConfig, readHttpFunctionConfig } from '../../src/lambda/function-start.js';
import { KMS_KEY, LONG, REFUSED, TAKEN } from './support/option-cases.js';
import { EVERY_OPTION, NEEDED, packageStack, ROOT, runOsls } from './support/packaging.js';
import { drawStack, ofType, resource, type DrawnResource } from './support/template.js';

type Stack = ReadonlyMap<string, DrawnResource>;

/** All options but the endpoint, for a VPC that has one. */
const WITHOUT_ENDPOINT = { ...EVERY_OPTION, secretsManagerEndpoint: 'false' };

let plain: Stack;
let full: Stack;
let withoutEndpoint: Stack;
beforeAll(async () => {
  plain = drawStack(await packageStack(NEEDED));
  full = drawStack(await packageStack(EVERY_OPTION));
  withoutEndpoint = drawStack(await packageStack(WITHOUT_ENDPOINT));
}, 360_000);

async function refusalOf(parameters: Readonly<Record<string, string>>): Promise<string> {
  const { code, output } = await runOsls(parameters, 'dev');
  expect(code).not.toBe(0);
  return output;
}

describe('without a stored secret', () => {
  interface Policy {
    readonly Statement: readonly { readonly Sid?: string }[];
  }
  const statementsOf = (stack: Stack, id: string): readonly { readonly Sid?: string }[] =>
    (resource(stack, id).properties['PolicyDocument'] as Policy).Statement;
  const ours = (stack: Stack, id: string): readonly object[] =>
    statementsOf(stack, id).filter(({ Sid = '' }) => /Sign|Identity/.test(Sid));

  test('the rotation function may use the key, or ask AWS for a token, and nobody else may', async () => {
    const signing = drawStack(
      await packageStack({
        ...NEEDED,
        clientAuthentication: 'kms',
        clientId: 'broker',
        kmsKeyArn: KMS_KEY,
      }),
    );
    expect(ours(signing, 'RotationPolicy')).toEqual([
      {
        Sid: 'SignAssertions',
        Effect: 'Allow',
        Action: ['kms:GetPublicKey', 'kms:Sign'],
        Resource: KMS_KEY,
      },
    ]);
    for (const id of ['HttpPolicy', 'ContainerBrokerPolicy', 'PeerPolicy']) {
      expect(ours(signing, id)).toEqual([]);
    }
    expect(ours(plain, 'RotationPolicy')).toEqual([]);
  });
});

describe('without options', () => {
  test('there is no VPC, no replica and no subscription', () => {
    expect(ofType(plain, 'AWS::EC2::SecurityGroup')).toEqual([]);
    for (const { properties } of ofType(plain, 'AWS::Lambda::Function')) {
      expect(properties).not.toHaveProperty('VpcConfig');
    }
    for (const { properties } of ofType(plain, 'AWS::SecretsManager::Secret')) {
      expect(properties).not.toHaveProperty('ReplicaRegions');
    }
    expect(resource(plain, 'AlertsTopic').properties).not.toHaveProperty('Subscription');
  });

  test('a deployment without the provider’s values is refused, and says which is missing', async () => {
    const output = await refusalOf({ audience: NEEDED.audience });
    expect(output).toContain('provider.environment.BROKER_ISSUER');
    expect(output).toContain('Value not found at "param" source');
  }, 120_000);

  test('half a VPC is refused', async () => {
    const output = await refusalOf({ ...NEEDED, vpcId: EVERY_OPTION.vpcId });
    expect(output).toContain('Give both parameters vpcId and subnetIds, or neither.');
  }, 120_000);
});

describe('replica Regions', () => {
  const regions = [{ Region: 'eu-west-1' }, { Region: 'eu-north-1' }];

  test('get the token and the peers, and never the client credentials', () => {
    expect(resource(full, 'TokenSecret').properties['ReplicaRegions']).toEqual(regions);
    expect(resource(full, 'PeersSecret').properties['ReplicaRegions']).toEqual(regions);
    expect(resource(full, 'CredentialsSecret').properties).not.toHaveProperty('ReplicaRegions');
  });

  test('are read by the function, but not through an endpoint that leads to its own Region alone', () => {
    const regionsOf = (stack: Stack): readonly string[] => {
      const { Variables } = resource(stack, 'HttpLambdaFunction').properties['Environment'] as {
        readonly Variables: NodeJS.ProcessEnv;
      };
      return readHttpFunctionConfig(Variables).secrets.awsFallbackRegions;
    };
    expect(regionsOf(withoutEndpoint)).toEqual(['eu-west-1', 'eu-north-1']);
    expect(regionsOf(full)).toEqual([]);
  });
});

describe('a VPC', () => {
  test('has both functions in its subnets, which wait for the permission to be there', () => {
    const functions = ofType(full, 'AWS::Lambda::Function');
    for (const { properties, dependsOn } of functions) {
      expect(properties['VpcConfig']).toEqual({
        SecurityGroupIds: ['FunctionSecurityGroup'],
        SubnetIds: EVERY_OPTION.subnetIds.split(','),
      });
      expect(dependsOn).toContain('FunctionNetworkPolicy');
    }
    expect(functions).toHaveLength(2);
  });

  test('is denied to the functions’ own code by their very names', () => {
    const { Statement } = resource(full, 'FunctionNetworkPolicy').properties['PolicyDocument'] as {
      readonly Statement: readonly {
        readonly Effect: string;
        readonly Action: readonly string[];
        readonly Condition?: { readonly ArnEquals: Readonly<Record<string, readonly string[]>> };
      }[];
    };
    const [allow, deny] = Statement;
    expect(deny?.Action).toEqual(allow?.Action);
    const denied = deny?.Condition?.ArnEquals['lambda:SourceFunctionArn'] ?? [];
    expect(denied.map((arn) => arn.split(':').at(-1))).toEqual(
      ofType(full, 'AWS::Lambda::Function').map(({ properties }) => properties['FunctionName']),
    );
  });

  test('reaches Secrets Manager by an endpoint that takes nobody else’s calls', () => {
    const endpoint = resource(full, 'SecretsManagerEndpoint');
    expect(endpoint.properties).toMatchObject({
      ServiceName: 'com.amazonaws.eu-central-1.secretsmanager',
      PrivateDnsEnabled: false,
      SecurityGroupIds: ['EndpointSecurityGroup'],
    });
    for (const { properties } of ofType(full, 'AWS::Lambda::Function')) {
      expect(properties).toMatchObject({
        Environment: {
          Variables: {
            AWS_ENDPOINT_URL_SECRETS_MANAGER:
              'https://vpce-0abc.secretsmanager.eu-central-1.vpce.amazonaws.com',
          },
        },
      });
    }
    expect(withoutEndpoint.has('SecretsManagerEndpoint')).toBe(false);
    expect(withoutEndpoint.has('FunctionSecurityGroup')).toBe(true);
  });
});

test('each address is subscribed to the alerts', () => {
  expect(resource(full, 'AlertsTopic').properties['Subscription']).toEqual([
    { Protocol: 'email', Endpoint: 'platform@example.test' },
    { Protocol: 'email', Endpoint: 'security@example.test' },
  ]);
});

describe('parameters that cannot be right', () => {
  const optionsOf = createRequire(import.meta.url)('../../deploy/options.cjs') as (
    source: object,
  ) => Promise<{ readonly checked: string }>;
  const { params } = parse(readFileSync(join(ROOT, 'serverless.yml'), 'utf8'), {
    logLevel: 'silent',
  }) as { readonly params: { readonly default: Readonly<Record<string, unknown>> } };

  /** What is wrong with the parameters, without starting osls; nothing when they are taken. */
  async function mistakes(
    parameters: Readonly<Record<string, string>>,
    { stage = 'dev', region = 'eu-central-1' } = {},
  ): Promise<string> {
    const given: Readonly<Record<string, unknown>> = {
      ...params.default,
      ...NEEDED,
      ...parameters,
    };
    const values = await optionsOf({
      options: { param: Object.entries(parameters).map(([name, value]) => `${name}=${value}`) },
      resolveVariable: (name: string) =>
        Promise.resolve(name === 'sls:stage' ? stage : given[name.replace('param:', '')]),
      resolveConfigurationProperty: ([name]: readonly string[]) =>
        Promise.resolve(name === 'params' ? params : region),
    });
    try {
      return values.checked === stage ? '' : 'no stage';
    } catch (error) {
      return String(error);
    }
  }

  test.each(TAKEN)('taken: %j', async (parameters) => {
    expect(await mistakes(parameters)).toBe('');
  });

  test.each(REFUSED)('refused: %j, because %s', async (parameters, why) => {
    expect(await mistakes(parameters)).toContain(why);
  });

  test.each([
    ['a stage that makes a function’s name too long', { stage: 'a'.repeat(35) }, '34 at most'],
    ['a stage with other characters', { stage: 'feature/one' }, 'letters, digits and hyphens'],
    ['a Region that is none', { region: 'frankfurt' }, 'the name of a Region'],
  ])('refused: %s', async (_, place, why) => {
    expect(await mistakes({}, place)).toContain(why);
    expect(await mistakes({}, { stage: 'a'.repeat(34), region: 'us-gov-west-1' })).toBe('');
  });

  test('all mistakes are told at once, by osls too, and nothing else', async () => {
    const output = await refusalOf({
      ...NEEDED,
      schedule: 'rate(1 hours)',
      tokenTyp: 'JWT',
      x: '1',
    });
    expect(output.match(/^ {4}- .*$/gm)).toEqual([
      expect.stringContaining('x is no parameter'),
      expect.stringContaining('tokenTyp=JWT is refused'),
      expect.stringContaining('schedule=rate(1 hours) is refused by Secrets Manager'),
    ]);
    expect(output).not.toContain('node:internal');
  }, 120_000);

  test('the words are those of the broker’s own settings', async () => {
    const environment = { BROKER_ISSUER: NEEDED.issuer, BROKER_AUDIENCE: NEEDED.audience };
    for (const profile of PROFILE_NAMES) {
      const isUndecidable = UNDECIDABLE_PROFILES.has(profile);
      expect((await mistakes({ profile })) === '').toBe(!isUndecidable);
      expect(await mistakes({ profile, serviceClientIds: 'broker' })).toBe('');
    }
    for (const method of CLIENT_AUTHENTICATION_METHODS) {
      const needs: Readonly<Record<string, Readonly<Record<string, string>>>> = {
        kms: { kmsKeyArn: KMS_KEY },
        workload_token: { awsTokenAudience: 'api://AzureADTokenExchange' },
      };
      expect(await mistakes({ clientAuthentication: method, ...needs[method] })).toBe('');
    }
    const refused = await mistakes({ profile: 'none', clientAuthentication: 'none' });
    expect(refused).toContain(`one of ${PROFILE_NAMES.join(', ')}.`);
    expect(refused).toContain(`${CLIENT_AUTHENTICATION_METHODS.join(', ')}.`);
    expect(() => readFunctionConfig(environment)).not.toThrow();
  });

  test('the longest lists that are taken fit into a function’s 4 KB, and into the policies', async () => {
    const upTo = (length: number): string => LONG.slice(0, LONG.lastIndexOf(',', length));
    const roles = upTo(1_740);
    const longest = {
      ...NEEDED,
      peers: upTo(2_740),
      brokerRoles: roles,
      administrators: roles.replaceAll('orders', 'people'),
    };
    expect(await mistakes(longest)).toBe('');
    const stack = drawStack(await packageStack(longest));
    const { Variables } = resource(stack, 'HttpLambdaFunction').properties['Environment'] as {
      readonly Variables: Readonly<Record<string, string>>;
    };
    expect(JSON.stringify(Variables).length).toBeLessThan(4_096);
    expect(JSON.stringify(Variables).length).toBeGreaterThan(2_740);
    for (const { properties } of ofType(stack, 'AWS::SecretsManager::ResourcePolicy')) {
      expect(JSON.stringify(properties['ResourcePolicy']).length).toBeLessThan(20_480);
    }
    const key = resource(stack, 'Key').properties['KeyPolicy'];
    expect(JSON.stringify(key).length).toBeLessThan(32_768);
  }, 120_000);
});
