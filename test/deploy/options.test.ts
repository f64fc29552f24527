import { beforeAll, describe, expect, test } from '@jest/globals';
import { readHttpFunctionConfig } from '../../src/lambda/function-config.js';
import { EVERY_OPTION, NEEDED, packageStack, runOsls } from './support/packaging.js';
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
