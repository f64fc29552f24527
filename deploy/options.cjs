'use strict';

const { createHash } = require('node:crypto');
const {
  configVariable,
  furtherResources,
  furtherSecrets,
  MOST_PEERS_SECRETS,
  packageFile,
  readDeployment,
  readSchedules,
} = require('./tokens.cjs');

/**
 * Translates the parameters of serverless.yml for CloudFormation, and checks them: splits lists at
 * commas, and decides which optional parts the stack has. serverless.yml and the files beside this one read it as
 * `${file(deploy/options.cjs):NAME}`.
 */
module.exports = async ({ options, resolveVariable, resolveConfigurationProperty }) => {
  const stage = await resolveVariable('sls:stage');
  const region = await resolveConfigurationProperty(['provider', 'region']);
  const sections = await resolveConfigurationProperty(['params']);
  const defaults = sections.default;

  /** The values of the parameters. osls itself reports missing ones. */
  const given = {};
  const unresolved = [];
  for (const name of [...NEEDED, ...Object.keys(defaults)]) {
    try {
      given[name] = String(await resolveVariable(`param:${name}`)).trim();
    } catch (error) {
      if (!NEEDED.includes(name) || error.code === 'MISSING_VARIABLE_DEPENDENCY') throw error;
      given[name] = '';
      unresolved.push(name);
    }
  }
  const lists = Object.fromEntries(LISTS.map((name) => [name, itemsOf(given[name])]));
  const { administrators, brokerRoles, alertEmails: emails, replicaRegions: regions } = lists;
  const { peers, subnetIds } = lists;
  const { vpcId } = given;

  const byCommandLine = (options.param ?? []).map((text) => text.split('=')[0]);
  const names = [...byCommandLine, ...Object.keys(sections[stage] ?? {})];
  const mistakes = [
    ...names.filter((name) => !(name in given)).map((name) => `${name} is no parameter.`),
    ...NEEDED.filter((name) => given[name] === '' && !unresolved.includes(name)).map(
      (name) => `${name} is empty.`,
    ),
    ...mistakesIn(given, lists, { stage, region }),
  ];
  // The file is read by the broker's rules for the parameters, too: first they have to be right.
  const deployment = await readDeployment(mistakes.length > 0 ? { config: '' } : given, stage);
  const { schedules, mistakes: badSchedules } = readSchedules(given, deployment);
  mistakes.push(...deployment.mistakes, ...badSchedules);
  const rotation = schedules.get('default') ?? {
    expression: given.schedule,
    missing: UNKNOWN_ALARM,
    expiringSeconds: 0,
  };
  const further = {
    ...deployment,
    peersSecrets: Array.from(
      { length: Number(given.peersSecrets) - 1 || 0 },
      (_, index) => index + 2,
    ),
    regions,
    stage,
    prefix: `service-token-broker/${stage}`,
    window: given.window,
  };
  const hasTokens = deployment.tokens.length > 0;
  const inVpc = vpcId !== '';
  const endpoint = inVpc && given.secretsManagerEndpoint === 'true';
  const people = [...administrators, ROOT_USER];
  const who = {
    regions,
    /** The principals that the secrets' resource policies do not deny. */
    mayReadToken: [arnOf('RotationRole'), arnOf('HttpRole'), ...brokerRoles, ...people],
    mayWriteToken: [arnOf('RotationRole'), ...people],
    mayReadCredentials: [arnOf('RotationRole'), ...people],
    mayReadPeers: [...brokerRoles, ...people],
    mayWritePeers: people,

    /**
     * Principals of other accounts need a resource's own permission besides IAM's. For those of the stack's account these
     * statements allow nothing that IAM does not: an account in a policy only delegates to it.
     */
    letBrokersRead: statementFor('Brokers', brokerRoles, READING),
    letBrokersRotate: statementFor(
      'BrokersRotate',
      brokerRoles,
      ['secretsmanager:RotateSecret'],
      ONLY_NOW,
    ),
    letAdministratorsEdit: statementFor('Administrators', administrators, [...READING, ...WRITING]),
  };
  const packageOf = (bundle) => [
    '!**',
    bundle,
    ...(mistakes.length > 0 ? [] : packageFile(deployment)),
  ];

  return {
    ...who,
    /** Throws when a parameter is wrong, with all mistakes at once. Everything else accepts any values. */
    get checked() {
      if (mistakes.length > 0) throw refusal(mistakes);
      return stage;
    },

    logRetentionDays: Number(given.logRetentionDays),
    schedule: rotation.expression,
    window: given.window === '' ? NOTHING : given.window,

    missingPeriod: rotation.missing.period,
    missingPeriods: rotation.missing.periods,
    missingAlarm: rotation.missing.isSeen ? 'rotation-missing' : 'network/none',
    missingInWords: spanInWords(rotation.missing.period * rotation.missing.periods),
    expiringSeconds: rotation.expiringSeconds,

    /** What the rotation function may prove to the provider with. */
    useSigningKey: useSigningKey(given.kmsKeyArn),
    askForIdentityToken: askForIdentityToken(given.awsTokenAudience),

    letBrokersDecrypt: statementFor('Brokers', brokerRoles, ['kms:Decrypt'], VIA_SECRETS_MANAGER),
    letAdministratorsEncrypt: statementFor(
      'Administrators',
      administrators,
      ['kms:Decrypt', 'kms:GenerateDataKey'],
      VIA_SECRETS_MANAGER,
    ),
    otherAccounts: permissionsForOtherAccounts(
      [
        ...new Set([
          ...peers.map((peer) => peer.replace(/^.*=(?=arn:)/, '')),
          ...deployment.iamPeers,
        ]),
      ],
      brokerRoles,
    ),

    /** What there is beyond one token and one peers secret. Without it everything else is as it was. */
    further: furtherResources(further, schedules, who, {
      proofStatements: ({ kmsKeyArn = '', awsTokenAudience = '' }) => [
        useSigningKey(kmsKeyArn),
        askForIdentityToken(awsTokenAudience),
      ],
      askForRotation: (secrets) => ({
        Sid: 'AskForRotation',
        Effect: 'Allow',
        Action: 'secretsmanager:RotateSecret',
        Resource: secrets,
        Condition: ONLY_NOW,
      }),
    }),
    /** The end of a filter's pattern, which then counts the lines about the token `default` alone. */
    ofDefault: hasTokens ? ' && $.tokenName NOT EXISTS' : '',
    notices: [
      'RotationDoneRule',
      'RotationFailedRule',
      ...(hasTokens ? ['TokensRotationDoneRule', 'TokensRotationFailedRule'] : []),
    ].map(arnOf),
    secretsBehindEndpoint: [
      'CredentialsSecret',
      'TokenSecret',
      'PeersSecret',
      ...furtherSecrets(further),
    ].map((id) => ({ Ref: id })),
    rotationEnvironment: {
      BROKER_CREDENTIALS_SECRET_ID: { Ref: 'CredentialsSecret' },
      ...configVariable(deployment),
    },
    httpEnvironment: {
      BROKER_HTTP_IAM_PEERS: given.peers,
      // The stack's endpoint reaches only its own Region.
      BROKER_AWS_FALLBACK_REGIONS: endpoint ? '' : regions.join(','),
      ...configVariable(deployment),
    },
    get rotationPackage() {
      return packageOf('dist-lambda/rotation.mjs');
    },
    get httpPackage() {
      return packageOf('dist-lambda/http.mjs');
    },

    replicas: regions.length === 0 ? NOTHING : regions.map((name) => ({ Region: name })),
    /** A replica has the primary's name, and its suffix of six characters. */
    tokenSecrets: [
      { Ref: 'TokenSecret' },
      ...regions.map((name) => replicaArn(name, stage, 'token')),
    ],
    peersSecrets: [
      { Ref: 'PeersSecret' },
      ...regions.map((name) => replicaArn(name, stage, 'peers')),
    ],

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

const READING = ['secretsmanager:DescribeSecret', 'secretsmanager:GetSecretValue'];
const WRITING = ['secretsmanager:PutSecretValue', 'secretsmanager:UpdateSecretVersionStage'];
/** To rotate now, but not to change who rotates, or when. */
const ONLY_NOW = {
  Null: { 'secretsmanager:RotationLambdaARN': 'true' },
  BoolIfExists: { 'secretsmanager:ModifyRotationRules': 'false' },
};
const VIA_SECRETS_MANAGER = {
  StringEquals: {
    'kms:ViaService': { 'Fn::Sub': 'secretsmanager.${AWS::Region}.amazonaws.com' },
  },
};

function useSigningKey(keyArn) {
  return keyArn === ''
    ? NOTHING
    : {
        Sid: 'SignAssertions',
        Effect: 'Allow',
        Action: ['kms:GetPublicKey', 'kms:Sign'],
        Resource: keyArn,
      };
}

function askForIdentityToken(audience) {
  return audience === ''
    ? NOTHING
    : {
        Sid: 'AskForIdentityToken',
        Effect: 'Allow',
        Action: 'sts:GetWebIdentityToken',
        Resource: '*',
        Condition: {
          'ForAllValues:StringEquals': { 'sts:IdentityTokenAudience': audience },
          NumericLessThanEquals: { 'sts:DurationSeconds': 120 },
        },
      };
}

/**
 * A statement of a resource's policy for principals by their ARNs. It names their accounts, so that a role need not exist
 * yet, and may be recreated.
 */
function statementFor(sid, arns, actions, conditions = {}) {
  const accounts = new Set(arns.map((arn) => `${arn.split(':').slice(0, 5).join(':')}:root`));
  return arns.length === 0
    ? NOTHING
    : {
        Sid: sid,
        Effect: 'Allow',
        Principal: { AWS: [...accounts] },
        Action: actions,
        Resource: '*',
        Condition: { ...conditions, ArnLike: { 'aws:PrincipalArn': arns } },
      };
}

/**
 * What the functions' own policies must allow for principals of other accounts. A permission names its principal, which
 * for one of the stack's own account would allow the call past IAM: those are left out, by a condition, because the
 * stack's account is known only when it is deployed.
 */
function permissionsForOtherAccounts(peers, brokerRoles) {
  const Conditions = {};
  const Resources = {};
  const permit = (title, arn, functionId, properties) => {
    const [, , , , account] = arn.split(':');
    const Condition = `IsNot${account}`;
    Conditions[Condition] = {
      'Fn::Not': [{ 'Fn::Equals': [{ Ref: 'AWS::AccountId' }, account] }],
    };
    // The same id for the same principal, whatever its place in the list.
    const id = createHash('sha256').update(arn).digest('hex').slice(0, 10);
    Resources[`${title}${id}`] = {
      Type: 'AWS::Lambda::Permission',
      Condition,
      Properties: { FunctionName: arnOf(functionId), Principal: arn, ...properties },
    };
  };
  for (const arn of peers) {
    permit('PeerCallsUrl', arn, 'HttpLambdaFunction', {
      Action: 'lambda:InvokeFunctionUrl',
      FunctionUrlAuthType: 'AWS_IAM',
    });
    permit('PeerThroughUrl', arn, 'HttpLambdaFunction', {
      Action: 'lambda:InvokeFunction',
      InvokedViaFunctionUrl: true,
    });
  }
  // Secrets Manager requires this of every caller of RotateSecret.
  for (const arn of brokerRoles) {
    permit('BrokerLetsRotate', arn, 'RotationLambdaFunction', { Action: 'lambda:InvokeFunction' });
  }
  return peers.length + brokerRoles.length === 0 ? { Resources } : { Conditions, Resources };
}

/** Parameters without a default. */
const NEEDED = ['issuer', 'audience'];

/** Parameters that become environment variables of a function. */
const ENVIRONMENT = [
  'issuer',
  'audience',
  'scope',
  'resource',
  'tokenEndpoint',
  'jwksUri',
  'clientId',
  'kmsKeyArn',
  'awsTokenAudience',
  'serviceClientIds',
  'otherAudiences',
  'customerClientIds',
  'peers',
  'replicaRegions',
];

/** Parameters that are lists. */
const LISTS = [
  'resource',
  'serviceClientIds',
  'otherAudiences',
  'customerClientIds',
  'peers',
  'brokerRoles',
  'administrators',
  'alertEmails',
  'replicaRegions',
  'subnetIds',
];

/** As in the broker's own settings; `npm test` compares the two. */
const PROFILES = [
  'rfc9068',
  'auth0',
  'okta',
  'entra',
  'cognito',
  'keycloak',
  'ping-am',
  'pingone',
  'workos',
  'hydra',
  'spring',
  'duende',
  'kinde',
  'kubernetes',
  'zitadel',
  'authentik',
];
const CLIENT_AUTHENTICATIONS = [
  'client_secret_basic',
  'client_secret_post',
  'private_key_jwt',
  'kms',
  'workload_token',
  'mtls',
];

/** The retention times that CloudWatch Logs accepts (PutRetentionPolicy). */
const RETENTIONS = [
  1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288,
  3653,
];

const ROLE_OR_USER =
  /^arn:aws[a-z-]*:iam::\d{12}:(?:role|user)\/(?:[!-+\--~]+\/)?[\w+=.@-]{1,128}$/;
const PEER = new RegExp(`^(?:(?:token|admin|token\\+admin)=)?${ROLE_OR_USER.source.slice(1)}`);
/** Wildcards may be in the name, never in the account: that would let in other people's accounts. */
const ROLES_OR_USERS = /^arn:aws[a-z-]*:iam::\d{12}:(?:(?:role|user)\/[!-+\--~]+|root)$/;
const REGION = /^[a-z]{2,8}(?:-[a-z]{2,12}){1,3}-\d{1,2}$/;
const EMAIL = /^[^\s@,<>"]{1,64}@[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63})+$/;

/** What is wrong with the parameters, other than the schedule: one sentence each. */
function mistakesIn(given, lists, { stage, region }) {
  const found = [];
  const require = (name, holds, allowed, value = given[name]) => {
    if (!holds) found.push(`${name}=${value} is refused: ${allowed}.`);
  };
  const each = (name, pattern, allowed) => {
    for (const item of lists[name]) require(name, pattern.test(item), allowed, item);
  };
  const optional = (name, holds, allowed) =>
    require(name, given[name] === '' || holds(given[name]), allowed);

  const requireShort = (names, most, why) => {
    const length = names.reduce((sum, name) => sum + given[name].length, 0);
    if (length <= most) return;
    const longest = names.toSorted((one, other) => given[other].length - given[one].length)[0];
    found.push(
      `${longest} is too long: ${names.join(', ')} have ${length} characters together, and may have ${most}: ${why}.`,
    );
  };

  // The longest name that the stack makes of it is that of a function, `service-token-broker-STAGE-rotation`.
  if (!/^[A-Za-z0-9][A-Za-z0-9-]{0,33}$/.test(stage)) {
    found.push(`--stage ${stage} is refused: letters, digits and hyphens, 34 at most.`);
  }
  if (!REGION.test(region)) {
    found.push(`--region ${region} is refused: the name of a Region, such as eu-central-1.`);
  }

  const isUrl = (query) => (text) => isHttps(text) && (query || !text.includes('?'));
  optional('issuer', isUrl(false), 'an https URL without a query or a fragment');
  optional('tokenEndpoint', isUrl(true), 'an https URL without a fragment');
  optional('jwksUri', isUrl(true), 'an https URL without a fragment');
  for (const [name, value] of Object.entries(given)) {
    require(name, !/\p{Cc}/u.test(value), 'no control characters', JSON.stringify(value));
  }
  optional(
    'scope',
    (text) => /^[!#-[\]-~]+(?: [!#-[\]-~]+)*$/.test(text),
    'scope names, separated by single spaces',
  );
  each('resource', /^[a-z][a-z0-9+.-]*:[^\s#]+$/i, 'absolute URIs without a fragment');
  require('profile', PROFILES.includes(given.profile), `one of ${PROFILES.join(', ')}`);
  if (['zitadel', 'authentik'].includes(given.profile)) {
    require('profile', lists.serviceClientIds.length > 0, 'it needs serviceClientIds, too');
  }
  optional(
    'clientAuthentication',
    (text) => CLIENT_AUTHENTICATIONS.includes(text),
    CLIENT_AUTHENTICATIONS.join(', '),
  );
  optional(
    'kmsKeyArn',
    (text) => /^arn:aws[a-z-]*:kms:[a-z0-9-]+:\d{12}:key\/[\w-]+$/.test(text),
    'the ARN of a KMS key',
  );
  for (const [method, name] of [
    ['kms', 'kmsKeyArn'],
    ['workload_token', 'awsTokenAudience'],
  ]) {
    if ((given.clientAuthentication === method) !== (given[name] !== '')) {
      found.push(`Give both clientAuthentication=${method} and ${name}, or neither.`);
    }
  }
  optional('tokenTyp', (text) => text === 'at+jwt', 'at+jwt, or nothing');
  require('otherAudiences', !lists.otherAudiences.includes('*') ||
    lists.otherAudiences.length === 1, '* stands alone');

  const arn = 'the ARN of an IAM role or user, as in arn:aws:iam::123456789012:role/orders';
  each('peers', PEER, `${arn}, with admin= or token+admin= before it if need be`);
  each('brokerRoles', ROLE_OR_USER, arn);
  each(
    'administrators',
    ROLES_OR_USERS,
    `${arn}; * and ? are wildcards in the name, not in the account`,
  );
  each('alertEmails', EMAIL, 'mail addresses');
  require('logRetentionDays', RETENTIONS.includes(
    Number(given.logRetentionDays),
  ), `CloudWatch Logs takes ${RETENTIONS.join(', ')}`);

  each('replicaRegions', REGION, 'names of Regions, such as eu-west-1');
  require('replicaRegions', !lists.replicaRegions.includes(region), `${region} has the primary`);
  optional('vpcId', (text) => /^vpc-[0-9a-f]{8,17}$/.test(text), 'the id of a VPC');
  each('subnetIds', /^subnet-[0-9a-f]{8,17}$/, 'ids of subnets');
  require('subnetIds', lists.subnetIds.length <= 16, 'a function takes 16 subnets at most');
  if ((given.vpcId === '') !== (lists.subnetIds.length === 0)) {
    found.push('Give both parameters vpcId and subnetIds, or neither.');
  }
  require('peersSecrets', /^[1-9]\d?$/.test(given.peersSecrets) &&
    Number(given.peersSecrets) <= MOST_PEERS_SECRETS, `a number from 1 to ${MOST_PEERS_SECRETS}`);
  require('secretsManagerEndpoint', ['true', 'false'].includes(
    given.secretsManagerEndpoint,
  ), 'true or false');
  requireShort(ENVIRONMENT, 2_800, 'Lambda takes 4 KB of environment variables in all');
  requireShort(
    ['brokerRoles', 'administrators'],
    3_500,
    'the policy of a secret has 20,480 characters at most',
  );
  for (const [name, items] of Object.entries(lists)) {
    // One principal has one entry, whatever roles stand before it.
    const principals = items.map((item) => item.replace(/^[a-z+]+=(?=arn:)/, ''));
    const twice = items.find((_, index) => principals.indexOf(principals[index]) !== index);
    require(name, twice === undefined, 'it is given twice', twice);
  }
  return found;
}

function isHttps(text) {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  return (
    url?.protocol === 'https:' && url.username === '' && url.password === '' && !/[\s#]/.test(text)
  );
}

function itemsOf(text) {
  return text
    .split(',')
    .map((item) => item.trim())
    .filter((item) => item !== '');
}

function refusal(mistakes) {
  const error = new Error(
    `The parameters of serverless.yml cannot be right; nothing was packaged.\n${mistakes.map((text) => `    - ${text}`).join('\n')}`,
  );
  // osls prints the stack trace, which does not help a reader of the message.
  error.stack = error.message;
  return error;
}

/** For a schedule that cannot be read, which `checked` reports. */
const UNKNOWN_ALARM = { period: 300, periods: 1, isSeen: false };

function spanInWords(seconds) {
  const hours = Math.floor(seconds / 3600);
  const minutes = Math.round((seconds % 3600) / 60);
  return `${hours} hours${minutes === 0 ? '' : ` and ${minutes} minutes`}`;
}

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

/** The last resort: never denied. */
const ROOT_USER = { 'Fn::Sub': 'arn:${AWS::Partition}:iam::${AWS::AccountId}:root' };

function arnOf(logicalId) {
  return { 'Fn::GetAtt': [logicalId, 'Arn'] };
}

function replicaArn(region, stage, name) {
  return {
    'Fn::Sub': `arn:\${AWS::Partition}:secretsmanager:${region}:\${AWS::AccountId}:secret:service-token-broker/${stage}/${name}-??????`,
  };
}
