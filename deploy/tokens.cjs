'use strict';

const { existsSync, writeFileSync } = require('node:fs');
const { dirname, join } = require('node:path');
const { pathToFileURL } = require('node:url');
const { awsCron, Mistake, readSchedule } = require('./schedule.cjs');

/**
 * What the stack has for the service tokens beside `default`, and for further peers secrets. The tokens are those of the
 * broker's own configuration file (parameter `config`), read by the broker's own code: `npm run build:lambda` makes it.
 */

/** More have no room: a stack has 500 resources, and a log group 100 filters. */
const MOST_TOKENS = 50;
const MOST_PEERS_SECRETS = 30;

/** Where the functions find the file: a path of their package, and of this repository. */
const PACKAGED_FILE = 'dist-lambda/broker.json';
const ROOT = dirname(__dirname);

/** The variables that the stack gives to the functions, and what gives each of them. */
const VARIABLES = {
  BROKER_ISSUER: 'issuer',
  BROKER_AUDIENCE: 'audience',
  BROKER_SCOPE: 'scope',
  BROKER_RESOURCE: 'resource',
  BROKER_TOKEN_ENDPOINT: 'tokenEndpoint',
  BROKER_JWKS_URI: 'jwksUri',
  BROKER_CLIENT_AUTHENTICATION: 'clientAuthentication',
  BROKER_CLIENT_ID: 'clientId',
  BROKER_KMS_KEY_ID: 'kmsKeyArn',
  BROKER_AWS_TOKEN_AUDIENCE: 'awsTokenAudience',
  BROKER_PROFILE: 'profile',
  BROKER_SERVICE_CLIENT_IDS: 'serviceClientIds',
  BROKER_OTHER_AUDIENCES: 'otherAudiences',
  BROKER_CUSTOMER_CLIENT_IDS: 'customerClientIds',
  BROKER_TOKEN_TYP: 'tokenTyp',
  BROKER_HTTP_IAM_PEERS: 'peers',
  BROKER_AWS_FALLBACK_REGIONS: 'replicaRegions',
  BROKER_ROTATION_CRON: 'schedule',
};
/** Those that it sets by itself. */
const SET_BY_THE_STACK = {
  BROKER_SECRET_STORE: 'the stack itself',
  BROKER_TOKEN_SECRET_ID: 'the stack itself',
  BROKER_CREDENTIALS_SECRET_ID: 'the stack itself',
  BROKER_PEERS_SECRET_ID: 'the stack itself',
};

const NO_DEPLOYMENT = { json: undefined, tokens: [], providers: [], iamPeers: [] };

/**
 * Reads the file that the parameter `config` names.
 *
 * @param bundle the broker's own code for it.
 * @returns what it says, and one sentence for each mistake.
 */
async function readDeployment(given, stage, bundle = join(ROOT, 'dist-lambda', 'deployment.mjs')) {
  if (given.config === '') return { ...NO_DEPLOYMENT, mistakes: [] };
  if (!existsSync(bundle)) {
    return {
      ...NO_DEPLOYMENT,
      mistakes: ['The parameter config needs the functions: run `npm run build:lambda` first.'],
    };
  }
  const broker = await import(pathToFileURL(bundle).href);
  // What is missing or wrong among the parameters is told as such; see options.cjs.
  const env = Object.fromEntries(
    Object.entries(VARIABLES)
      .filter(([name]) => name !== 'BROKER_ROTATION_CRON')
      .map(([name, parameter]) => [name, given[parameter]])
      .filter(([, value]) => value !== ''),
  );
  try {
    const deployment = broker.readDeployment(given.config, {
      prefix: `service-token-broker/${stage}`,
      parameters: {
        ...Object.fromEntries(
          Object.entries(VARIABLES).map(([name, parameter]) => [
            name,
            `the parameter ${parameter}`,
          ]),
        ),
        ...SET_BY_THE_STACK,
      },
      env,
    });
    return { ...deployment, mistakes: mistakesOfSize(deployment) };
  } catch (error) {
    const mistakes = broker.mistakesOf(error);
    if (mistakes === undefined) throw error;
    return { ...NO_DEPLOYMENT, mistakes };
  }
}

function mistakesOfSize({ tokens, providers }) {
  const mistakes = [];
  if (tokens.length > MOST_TOKENS) {
    mistakes.push(
      `${tokens.length} tokens beside default are too many for a stack: ${MOST_TOKENS} at most. Deploy another stage for the others, or keep them in brokers in containers.`,
    );
  }
  const ids = new Map();
  for (const { name } of [...tokens, ...providers]) {
    const other = ids.get(idOf(name));
    if (other !== undefined && other !== name) {
      mistakes.push(
        `${other} and ${name} differ only by hyphens: CloudFormation cannot tell them apart.`,
      );
    }
    ids.set(idOf(name), name);
  }
  return mistakes;
}

/** `tokenLifetime` of each token: `24h,mail=12h`. */
function readLifetimes(text, names) {
  const items = text.split(',').map((item) => item.trim());
  const own = new Map(
    items
      .filter((item) => item.includes('='))
      .map((item) => item.split('=', 2).map((part) => part.trim())),
  );
  const common = items.filter((item) => !item.includes('='));
  if (common.length !== 1) {
    throw new Mistake(
      `tokenLifetime=${text} is no length of time: give one for all tokens, as in 24h, and NAME=LENGTH behind a comma for others, as in 24h,mail=12h.`,
    );
  }
  for (const name of own.keys()) {
    if (names?.includes(name) === false)
      throw new Mistake(`tokenLifetime names ${name}, and there is no such token.`);
  }
  return (name) => own.get(name) ?? common[0];
}

/** When each token is rotated, and when its alarms fire; with one sentence for each mistake. */
function readSchedules(given, { tokens, mistakes: before }) {
  const mistakes = [];
  const schedules = new Map();
  const attempt = (prefix, read) => {
    try {
      return read();
    } catch (error) {
      if (!(error instanceof Mistake)) throw error;
      mistakes.push(`${prefix}${error.message}`);
      return undefined;
    }
  };
  // With a mistake in the file, its tokens are not known.
  const names = before.length > 0 ? undefined : ['default', ...tokens.map(({ name }) => name)];
  const lifetimeOf = attempt('', () => readLifetimes(given.tokenLifetime, names));
  if (lifetimeOf === undefined) return { schedules, mistakes };
  for (const { name, cron } of [{ name: 'default' }, ...tokens]) {
    const prefix = name === 'default' ? '' : `tokens.${name}: `;
    const schedule = attempt(`tokens.${name}.rotation.cron: `, () =>
      cron === undefined ? given.schedule : awsCron(cron),
    );
    const tokenLifetime = lifetimeOf(name);
    const read =
      schedule &&
      attempt(prefix, () => readSchedule({ schedule, window: given.window, tokenLifetime }));
    if (read !== undefined) schedules.set(name, read);
  }
  return { schedules, mistakes };
}

/** Writes the file where the functions' packages take it from. @returns the paths that they have besides their code. */
function packageFile({ json }) {
  if (json === undefined) return [];
  writeFileSync(join(ROOT, PACKAGED_FILE), `${json}\n`);
  return [PACKAGED_FILE];
}

/** The variable that names the file to the functions, if there is one. */
function configVariable({ json }) {
  return json === undefined ? {} : { BROKER_CONFIG: PACKAGED_FILE };
}

/** A name in a logical id: `ledger-eu` is `LedgerEu`. */
function idOf(name) {
  return name
    .split('-')
    .map((part) => `${part.slice(0, 1).toUpperCase()}${part.slice(1)}`)
    .join('');
}

const sub = (text) => ({ 'Fn::Sub': text });
const ref = (id) => ({ Ref: id });
const arnOf = (id) => ({ 'Fn::GetAtt': [id, 'Arn'] });
const TELL = { AlarmActions: [ref('AlertsTopic')], OKActions: [ref('AlertsTopic')] };
const VIA_SECRETS_MANAGER = sub('secretsmanager.${AWS::Region}.amazonaws.com');

/** Statements in the order of the stack's other policies; those that the parameters leave out are missing. */
const policyOf = (...statements) => ({
  Version: '2012-10-17',
  Statement: statements.filter(
    (statement) => statement !== undefined && statement.Ref === undefined,
  ),
});

/** Denies an action to everybody but some principals. */
const onlyFor = (sid, action, principals, more = {}) => ({
  Sid: sid,
  Effect: 'Deny',
  Principal: '*',
  Action: action,
  Resource: '*',
  Condition: { ArnNotLike: { 'aws:PrincipalArn': principals }, ...more },
});
const NOT_BY_CLOUDFORMATION = {
  'ForAllValues:StringNotEquals': { 'aws:CalledVia': ['cloudformation.amazonaws.com'] },
};
const WRITING = ['secretsmanager:PutSecretValue', 'secretsmanager:UpdateSecretVersionStage'];
const READING = ['secretsmanager:DescribeSecret', 'secretsmanager:GetSecretValue'];

/** A secret with its policy. What people write outlives the stack; a token can be minted again. */
function secretWithPolicy(id, { name, description, kept, value, replicas }, statements) {
  const policy = kept ? ['RetainExceptOnCreate', 'Retain'] : ['Delete', 'Delete'];
  return {
    [id]: {
      Type: 'AWS::SecretsManager::Secret',
      DeletionPolicy: policy[0],
      UpdateReplacePolicy: policy[1],
      Properties: {
        Name: name,
        Description: description,
        KmsKeyId: arnOf('Key'),
        ...(value !== undefined && { SecretString: value }),
        ...(replicas.length > 0 && { ReplicaRegions: replicas.map((Region) => ({ Region })) }),
      },
    },
    [`${id}Policy`]: {
      Type: 'AWS::SecretsManager::ResourcePolicy',
      Properties: {
        SecretId: ref(id),
        BlockPublicPolicy: true,
        ResourcePolicy: policyOf(...statements),
      },
    },
  };
}

/** The first version of a token secret: there is no token yet. It must never change; see deploy/secrets.yml. */
const NO_TOKEN = '{"rotation_claim":"made by the stack"}';

function credentialsSecret({ name, credentialsSecret: secret }, who) {
  return secretWithPolicy(
    `${idOf(name)}CredentialsSecret`,
    {
      name: secret,
      description: `Client credentials for the provider ${name}, written by people.`,
      kept: true,
      replicas: [],
    },
    [
      who.letAdministratorsEdit,
      onlyFor('OnlyRotationReads', 'secretsmanager:GetSecretValue', who.mayReadCredentials),
    ],
  );
}

function tokenSecret({ name, secret }, who) {
  return secretWithPolicy(
    `${idOf(name)}TokenSecret`,
    {
      name: secret,
      description: `The service token ${name}, written by rotation.`,
      kept: false,
      value: NO_TOKEN,
      replicas: who.regions,
    },
    [
      who.letBrokersRead,
      who.letBrokersRotate,
      who.letAdministratorsEdit,
      onlyFor('OnlyBrokersRead', 'secretsmanager:GetSecretValue', who.mayReadToken),
      onlyFor('OnlyRotationWrites', WRITING, who.mayWriteToken),
      onlyFor(
        'OnlyTheStackUpdates',
        'secretsmanager:UpdateSecret',
        who.mayWriteToken,
        NOT_BY_CLOUDFORMATION,
      ),
    ],
  );
}

function peersSecret(number, stage, who) {
  return secretWithPolicy(
    peersSecretId(number),
    {
      name: peersSecretName(stage, number),
      description: 'Further peers of brokers in containers.',
      kept: true,
      replicas: who.regions,
    },
    [
      who.letBrokersRead,
      who.letAdministratorsEdit,
      onlyFor('OnlyBrokersRead', 'secretsmanager:GetSecretValue', who.mayReadPeers),
      onlyFor('OnlyAdministratorsWrite', WRITING, who.mayWritePeers),
      onlyFor(
        'OnlyTheStackUpdates',
        'secretsmanager:UpdateSecret',
        who.mayWritePeers,
        NOT_BY_CLOUDFORMATION,
      ),
    ],
  );
}

function peersSecretId(number) {
  return `PeersSecret${String(number)}`;
}

function peersSecretName(stage, number) {
  return `service-token-broker/${stage}/peers/${number}`;
}

/** When a token is rotated, and its alarms, which docs/runbook.md describes as those of the token `default`. */
function scheduleAndAlarms({ name }, schedule, window, policyIds) {
  const { expression, expiringSeconds, missingSeconds } = schedule;
  const id = idOf(name);
  const alarm = (kind, words, properties) => ({
    Type: 'AWS::CloudWatch::Alarm',
    Properties: {
      AlarmName: sub(`\${AWS::StackName}-${kind}-${name}`),
      AlarmDescription: `${words} What to do - docs/runbook.md#${kind}`,
      Namespace: ref('AWS::StackName'),
      Dimensions: [{ Name: 'Token', Value: name }],
      Period: 300,
      ...properties,
      ...TELL,
    },
  });
  const counted = {
    Statistic: 'Sum',
    ComparisonOperator: 'GreaterThanOrEqualToThreshold',
    Threshold: 1,
    TreatMissingData: 'notBreaching',
  };
  // A probe may fall into the period of the next one.
  const twice = { EvaluationPeriods: 3, DatapointsToAlarm: 2 };
  return {
    [`${id}RotationSchedule`]: {
      Type: 'AWS::SecretsManager::RotationSchedule',
      // Secrets Manager invokes the function for a test as soon as the schedule is set.
      DependsOn: [
        'TokensRotationPermission',
        'RotationPolicy',
        ...policyIds,
        `${id}TokenSecretPolicy`,
      ],
      Properties: {
        SecretId: ref(`${id}TokenSecret`),
        RotationLambdaARN: arnOf('RotationLambdaFunction'),
        RotationRules: {
          ScheduleExpression: expression,
          ...(window !== '' && { Duration: window }),
        },
        RotateImmediatelyOnUpdate: false,
      },
    },
    [`${id}RotationFailedAlarm`]: alarm(
      'rotation-failed',
      `A step of the rotation of the token ${name} failed.`,
      {
        MetricName: 'StepsFailedByToken',
        EvaluationPeriods: 1,
        ...counted,
      },
    ),
    // By the age of the token, which has no end of what CloudWatch looks back to.
    [`${id}RotationMissingAlarm`]: alarm(
      'rotation-missing',
      `The token ${name} is older than its rotations allow.`,
      {
        MetricName: 'TokenAgeByToken',
        Statistic: 'Maximum',
        ...twice,
        ComparisonOperator: 'GreaterThanThreshold',
        Threshold: missingSeconds,
        TreatMissingData: 'breaching',
      },
    ),
    [`${id}TokenExpiringAlarm`]: alarm(
      'token-expiring',
      `The token ${name} is about to expire, or nobody can look at it.`,
      {
        MetricName: 'TokenRemainingByToken',
        Statistic: 'Minimum',
        ...twice,
        ComparisonOperator: 'LessThanThreshold',
        Threshold: expiringSeconds,
        TreatMissingData: 'breaching',
      },
    ),
    [`${id}TokenRefusedAlarm`]: alarm('token-refused', `Receivers refuse the token ${name}.`, {
      MetricName: 'TokensRefusedByToken',
      ...counted,
      ...twice,
    }),
  };
}

/** Counts the lines of the rotation function's log by their token: one metric with a dimension for all of them. */
function filters() {
  const filter = (metric, pattern, value, unit) => ({
    Type: 'AWS::Logs::MetricFilter',
    Properties: {
      LogGroupName: ref('RotationLogGroup'),
      FilterPattern: `{ ${pattern} && $.tokenName = "*" }`,
      MetricTransformations: [
        {
          MetricNamespace: ref('AWS::StackName'),
          MetricName: metric,
          MetricValue: value,
          Dimensions: [{ Key: 'Token', Value: '$.tokenName' }],
          Unit: unit,
        },
      ],
    },
  });
  const probed = '$.message = "service token probed"';
  return {
    TokenAgesFilter: filter(
      'TokenAgeByToken',
      `${probed} && $.ageSeconds >= 0`,
      '$.ageSeconds',
      'Seconds',
    ),
    TokensProbedFilter: filter('TokenRemainingByToken', probed, '$.remainingSeconds', 'Seconds'),
    TokensRefusedFilter: filter(
      'TokensRefusedByToken',
      '$.message = "receivers refuse the service token"',
      '1',
      'Count',
    ),
    StepsFailedFilter: filter(
      'StepsFailedByToken',
      '$.message = "rotation step failed"',
      '1',
      'Count',
    ),
  };
}

/** Notices about the further tokens, whose secrets have names with one beginning. */
function notices(prefix) {
  const secrets = {
    prefix: sub(
      `arn:\${AWS::Partition}:secretsmanager:\${AWS::Region}:\${AWS::AccountId}:secret:${prefix}/tokens/`,
    ),
  };
  const rule = (description, pattern, topic, paths, words) => ({
    Type: 'AWS::Events::Rule',
    Properties: {
      Description: description,
      EventPattern: { source: ['aws.secretsmanager'], ...pattern },
      Targets: [
        {
          Id: 'notice',
          Arn: ref(topic),
          DeadLetterConfig: { Arn: arnOf('DeadLetters') },
          RetryPolicy: { MaximumEventAgeInSeconds: 3600, MaximumRetryAttempts: 10 },
          InputTransformer: { InputPathsMap: paths, InputTemplate: words },
        },
      ],
    },
  });
  return {
    TokensRotationDoneRule: rule(
      'A new service token is current.',
      {
        'detail-type': ['Secret Label Updated'],
        resources: [secrets],
        detail: { labelUpdated: ['AWSCURRENT'] },
      },
      'RotationsTopic',
      { time: '$.time', name: '$.detail.name', version: '$.detail.versionId' },
      '"A new service token is current in <name> since <time>: version <version>."',
    ),
    // Needs CloudTrail, as RotationFailedRule does.
    TokensRotationFailedRule: rule(
      'Secrets Manager gave a rotation up, or somebody switched the rotation off.',
      {
        'detail-type': ['AWS Service Event via CloudTrail', 'AWS API Call via CloudTrail'],
        detail: {
          eventSource: ['secretsmanager.amazonaws.com'],
          $or: [
            {
              eventName: ['RotationFailed', 'RotationAbandoned'],
              additionalEventData: { SecretId: [secrets] },
            },
            { eventName: ['CancelRotateSecret'], responseElements: { arn: [secrets] } },
            { eventName: ['CancelRotateSecret'], responseElements: { aRN: [secrets] } },
          ],
        },
      },
      'AlertsTopic',
      {
        time: '$.time',
        event: '$.detail.eventName',
        secret: '$.detail.additionalEventData.SecretId',
      },
      '"<event> of <secret> at <time>. Without a name: CloudTrail has it. What to do: docs/runbook.md, rotation-failed (RotationFailed, RotationAbandoned) or rotation-missing (CancelRotateSecret)."',
    ),
  };
}

/** A managed policy has 6,144 characters; an ARN of these secrets about 130, and it stands there up to three times. */
const CHARACTERS = 5_000;

function inChunks(items, charactersOf) {
  const chunks = [];
  let room = 0;
  for (const item of items) {
    const needed = charactersOf(item);
    if (needed > room) {
      chunks.push([]);
      room = CHARACTERS;
    }
    room -= needed;
    chunks.at(-1).push(item);
  }
  return chunks;
}

const decrypt = (sid, secrets, actions = 'kms:Decrypt') => ({
  Sid: sid,
  Effect: 'Allow',
  Action: actions,
  Resource: arnOf('Key'),
  Condition: {
    StringEquals: {
      'kms:EncryptionContext:SecretARN': secrets.map(ref),
      'kms:ViaService': VIA_SECRETS_MANAGER,
    },
  },
});
const allow = (sid, actions, resources) => ({
  Sid: sid,
  Effect: 'Allow',
  Action: actions,
  Resource: resources,
});

/** The policies of the roles for the further tokens, each in as many pieces as IAM's limits need. */
function policies(
  { tokens, providers, peersSecrets, regions, prefix },
  { proofStatements, askForRotation },
) {
  const Resources = {};
  const Outputs = {};
  const replicas = (name) =>
    regions.map((region) =>
      sub(
        `arn:\${AWS::Partition}:secretsmanager:${region}:\${AWS::AccountId}:secret:${name}-??????`,
      ),
    );
  const arnLength = (name) => 70 + name.length;
  const add = (title, number, description, statements, Roles) => {
    Resources[`${title}${number}`] = {
      Type: 'AWS::IAM::ManagedPolicy',
      Properties: {
        Description: description,
        ...(Roles && { Roles }),
        PolicyDocument: policyOf(...statements),
      },
    };
  };
  const secretIdOf = ({ name }) => `${idOf(name)}TokenSecret`;

  inChunks(tokens, ({ secret }) => 2 * arnLength(secret)).forEach((some, index) => {
    const ids = some.map(secretIdOf);
    add(
      'RotationTokensPolicy',
      index + 1,
      'What the rotation function may do to further tokens.',
      [
        allow('RotateTokens', [...READING, ...WRITING], ids.map(ref)),
        decrypt('EncryptTokens', ids, ['kms:Decrypt', 'kms:GenerateDataKey']),
      ],
      [ref('RotationRole')],
    );
  });
  inChunks(providers, ({ credentialsSecret }) => 2 * arnLength(credentialsSecret) + 500).forEach(
    (some, index) => {
      const ids = some.map(({ name }) => `${idOf(name)}CredentialsSecret`);
      add(
        'RotationProvidersPolicy',
        index + 1,
        'What the rotation function may read and sign for further providers.',
        [
          allow('ReadCredentials', READING, ids.map(ref)),
          decrypt('DecryptCredentials', ids),
          ...some.flatMap((provider) => proofStatements(provider)),
        ],
        [ref('RotationRole')],
      );
    },
  );
  const serving = ({ secret }) => (3 + regions.length) * arnLength(secret);
  const readTokens = (some) =>
    allow(
      'ReadTokens',
      READING,
      some.flatMap((token) => [ref(secretIdOf(token)), ...replicas(token.secret)]),
    );
  inChunks(tokens, serving).forEach((some, index) => {
    const ids = some.map(secretIdOf);
    const statements = [
      readTokens(some),
      askForRotation(ids.map(ref)),
      decrypt('DecryptTokens', ids),
    ];
    add(
      'HttpTokensPolicy',
      index + 1,
      'Further tokens that the HTTP function serves.',
      statements,
      [ref('HttpRole')],
    );
    add(
      'ContainerTokensPolicy',
      index + 1,
      'Further tokens that a broker in a container serves.',
      statements,
    );
    Outputs[`ContainerTokensPolicy${index + 1}Arn`] = {
      Description: 'Attach it as ContainerBrokerPolicyArn.',
      Value: ref(`ContainerTokensPolicy${index + 1}`),
    };
  });
  const peersName = (number) => `${prefix}/peers/${number}`;
  inChunks(peersSecrets, (number) => (2 + regions.length) * arnLength(peersName(number))).forEach(
    (some, index) => {
      const ids = some.map(peersSecretId);
      const names = some.flatMap((number) => [
        ref(peersSecretId(number)),
        ...replicas(peersName(number)),
      ]);
      add(
        'ContainerPeersPolicy',
        index + 1,
        'Further peers secrets that a broker in a container reads.',
        [allow('ReadPeers', READING, names), decrypt('DecryptPeers', ids)],
      );
      Outputs[`ContainerPeersPolicy${index + 1}Arn`] = {
        Description: 'Attach it as ContainerBrokerPolicyArn.',
        Value: ref(`ContainerPeersPolicy${index + 1}`),
      };
    },
  );
  return { Resources, Outputs };
}

/** Everything that the stack has beyond one token and one peers secret: nothing, without them. */
function furtherResources(parts, schedules, who, policyParts) {
  const { tokens, providers, peersSecrets, stage, prefix, window } = parts;
  const Resources = {};
  for (const provider of providers) Object.assign(Resources, credentialsSecret(provider, who));
  const granted = policies(parts, policyParts);
  const ofRotation = Object.keys(granted.Resources).filter((id) => id.startsWith('Rotation'));
  for (const token of tokens) {
    Object.assign(Resources, tokenSecret(token, who));
    const schedule = schedules.get(token.name);
    if (schedule === undefined) continue;
    Object.assign(Resources, scheduleAndAlarms(token, schedule, window, ofRotation));
  }
  for (const number of peersSecrets) Object.assign(Resources, peersSecret(number, stage, who));
  Object.assign(Resources, granted.Resources);
  if (tokens.length > 0) {
    Object.assign(Resources, filters(), notices(prefix), {
      // The function itself refuses every secret that is not of its tokens.
      TokensRotationPermission: {
        Type: 'AWS::Lambda::Permission',
        Properties: {
          Action: 'lambda:InvokeFunction',
          FunctionName: arnOf('RotationLambdaFunction'),
          Principal: 'secretsmanager.amazonaws.com',
          SourceAccount: ref('AWS::AccountId'),
          SourceArn: sub(
            `arn:\${AWS::Partition}:secretsmanager:\${AWS::Region}:\${AWS::AccountId}:secret:${prefix}/tokens/*`,
          ),
        },
      },
    });
  }
  return Object.keys(granted.Outputs).length === 0
    ? { Resources }
    : { Resources, Outputs: granted.Outputs };
}

/** The logical ids of the further secrets. */
function furtherSecrets({ tokens, providers, peersSecrets }) {
  return [
    ...providers.map(({ name }) => `${idOf(name)}CredentialsSecret`),
    ...tokens.map(({ name }) => `${idOf(name)}TokenSecret`),
    ...peersSecrets.map(peersSecretId),
  ];
}

module.exports = {
  configVariable,
  furtherResources,
  furtherSecrets,
  MOST_PEERS_SECRETS,
  packageFile,
  readDeployment,
  readSchedules,
};
