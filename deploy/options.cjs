'use strict';

/**
 * What the parameters of serverless.yml mean to CloudFormation: lists out of texts with commas, and which optional parts
 * the stack has. serverless.yml and the files beside this one read it as `${file(deploy/options.cjs):NAME}`.
 */
module.exports = async ({ resolveVariable }) => {
  const param = async (name) => String(await resolveVariable(`param:${name}`)).trim();
  const list = async (name) =>
    (await param(name))
      .split(',')
      .map((item) => item.trim())
      .filter((item) => item !== '');

  const administrators = await list('administrators');
  const brokerRoles = await list('brokerRoles');
  const emails = await list('alertEmails');
  const regions = await list('replicaRegions');
  const vpcId = await param('vpcId');
  const subnetIds = await list('subnetIds');
  const stage = await resolveVariable('sls:stage');

  if ((vpcId === '') !== (subnetIds.length === 0)) {
    throw new Error('Give both parameters vpcId and subnetIds, or neither.');
  }
  const inVpc = vpcId !== '';
  const endpoint = inVpc && (await param('secretsManagerEndpoint')) === 'true';
  const people = [...administrators, ROOT_USER];

  return {
    logRetentionDays: Number(await param('logRetentionDays')),

    /** Whom the secrets' resource policies do not deny. */
    mayReadToken: [arnOf('RotationRole'), arnOf('HttpRole'), ...brokerRoles, ...people],
    mayWriteToken: [arnOf('RotationRole'), ...people],
    mayReadCredentials: [arnOf('RotationRole'), ...people],
    mayReadPeers: [...brokerRoles, ...people],
    mayWritePeers: people,

    replicas: regions.length === 0 ? NOTHING : regions.map((region) => ({ Region: region })),
    /** A replica has the primary's name, and its suffix of six characters. */
    tokenSecrets: [
      { Ref: 'TokenSecret' },
      ...regions.map((region) => replicaArn(region, stage, 'token')),
    ],
    peersSecrets: [
      { Ref: 'PeersSecret' },
      ...regions.map((region) => replicaArn(region, stage, 'peers')),
    ],

    /** The stack's endpoint leads to its own Region alone. */
    fallbackRegions: endpoint ? '' : regions.join(','),

    subscriptions:
      emails.length === 0
        ? NOTHING
        : emails.map((email) => ({ Protocol: 'email', Endpoint: email })),

    network: inVpc ? 'vpc' : 'none',
    endpoint: endpoint ? 'endpoint' : 'none',
    vpcId,
    subnetIds,
    endpointUrl: endpoint ? ENDPOINT_URL : NOTHING,
    vpc: inVpc ? { securityGroupIds: [{ Ref: 'FunctionSecurityGroup' }], subnetIds } : false,
    /** Lambda refuses a function whose role may not yet do what its queue and its VPC need. */
    rotationDependencies: inVpc ? ['RotationPolicy', 'FunctionNetworkPolicy'] : ['RotationPolicy'],
    httpDependencies: inVpc ? ['FunctionNetworkPolicy'] : [],
  };
};

/** Leaves the property out of the stack. */
const NOTHING = { Ref: 'AWS::NoValue' };

/** The endpoint's own name. The first of its DNS entries is "ZONE:NAME". */
const ENDPOINT_URL = {
  'Fn::Join': [
    '',
    [
      'https://',
      {
        'Fn::Select': [
          1,
          {
            'Fn::Split': [
              ':',
              { 'Fn::Select': [0, { 'Fn::GetAtt': ['SecretsManagerEndpoint', 'DnsEntries'] }] },
            ],
          },
        ],
      },
    ],
  ],
};

/** The last way in, whatever else is locked: never denied. */
const ROOT_USER = { 'Fn::Sub': 'arn:${AWS::Partition}:iam::${AWS::AccountId}:root' };

function arnOf(logicalId) {
  return { 'Fn::GetAtt': [logicalId, 'Arn'] };
}

function replicaArn(region, stage, name) {
  return {
    'Fn::Sub': `arn:\${AWS::Partition}:secretsmanager:${region}:\${AWS::AccountId}:secret:service-token-broker/${stage}/${name}-??????`,
  };
}
