import type { DrawnResource } from '../../deploy/support/template.js';
import { arnOf, ofType } from '../../deploy/support/template.js';

/**
 * What a deployment makes, in words that serverless.yml and the Terraform module have in common: each ARN and each id is
 * replaced by what it stands for. What differs by design is left out, and named here: the bucket of osls and the first version
 * of a token secret, the ids of statements, the division of policies into pieces, and the exception for CloudFormation in
 * denials of UpdateSecret.
 */
export type Made = Readonly<Record<string, unknown>>;

/** A resource of Terraform's state. */
export interface TerraformResource {
  readonly mode: string;
  readonly type: string;
  readonly name: string;
  readonly index?: string | number;
  readonly values: Properties;
}

interface Statement {
  readonly Effect: string;
  readonly Principal?: unknown;
  readonly Action: string | readonly string[];
  readonly Resource?: string | readonly string[];
  readonly Condition?: Readonly<Record<string, Readonly<Record<string, unknown>>>>;
}

const listOf = (value: unknown): readonly string[] =>
  [value ?? []]
    .flat()
    .map((item: unknown) => (typeof item === 'string' ? item : JSON.stringify(item)))
    .toSorted();
const byText = (items: readonly unknown[]): readonly unknown[] =>
  items.toSorted((one, other) => (JSON.stringify(one) < JSON.stringify(other) ? -1 : 1));

/** Statements, one for each resource, whatever the policy that they stand in. */
function statementsOf(...policies: readonly unknown[]): readonly unknown[] {
  const statements = policies.flatMap((policy) => {
    const document = (typeof policy === 'string' ? JSON.parse(policy) : policy) as {
      readonly Statement: readonly Statement[];
    };
    return document.Statement;
  });
  const single = statements.flatMap(({ Effect, Principal, Action, Resource, Condition = {} }) =>
    (Resource === undefined ? [''] : listOf(Resource)).map((resource) => ({
      effect: Effect,
      principal: principalOf(Principal),
      actions: listOf(Action),
      resource,
      condition: Object.fromEntries(
        Object.entries(Condition)
          .filter(([, keys]) => !('aws:CalledVia' in keys))
          .map(([operator, keys]) => [
            operator,
            Object.fromEntries(Object.entries(keys).map(([key, value]) => [key, listOf(value)])),
          ]),
      ),
    })),
  );
  return byText([...new Map(single.map((one) => [JSON.stringify(one), one])).values()]);
}

function principalOf(principal: unknown): unknown {
  if (typeof principal !== 'object' || principal === null) return principal ?? '';
  return Object.fromEntries(Object.entries(principal).map(([kind, who]) => [kind, listOf(who)]));
}

/** Values without texts that stand for nothing. */
const given = (value: object): Readonly<Record<string, unknown>> =>
  Object.fromEntries(
    Object.entries(value).filter(
      ([, item]) => item !== undefined && item !== null && item !== '' && !isEmptyList(item),
    ),
  );
const isEmptyList = (value: unknown): boolean => Array.isArray(value) && value.length === 0;

function replaced<Value>(value: Value, words: ReadonlyMap<string, string>): Value {
  let json = JSON.stringify(value);
  const longestFirst = [...words].toSorted(([one], [other]) => other.length - one.length);
  for (const [word, meaning] of longestFirst) json = json.replaceAll(word, meaning);
  return JSON.parse(json) as Value;
}

const RULES: Readonly<Record<string, string>> = {
  RotationDoneRule: 'done',
  RotationFailedRule: 'failed',
  TokensRotationDoneRule: 'done-2',
  TokensRotationFailedRule: 'failed-2',
  ProbeRule: 'probe',
};
const NAME = 'service-token-broker-dev';

// What other programs write, in forms that the expectations check.
// oxlint-disable-next-line typescript/no-explicit-any
type Properties = Readonly<Record<string, any>>;
const keyed = (entries: readonly (readonly [string, unknown])[]): Made =>
  Object.fromEntries(entries.toSorted(([one], [other]) => (one < other ? -1 : 1)));

/** What CloudFormation makes of serverless.yml. */
export function madeBySls(drawn: ReadonlyMap<string, DrawnResource>): Made {
  const words = new Map<string, string>();
  for (const { id, type, properties } of drawn.values()) {
    const say = (meaning: unknown): void => void words.set(arnOf(id, type), `<${String(meaning)}>`);
    if (type === 'AWS::SecretsManager::Secret') say(`secret ${String(properties['Name'])}`);
    if (type === 'AWS::Lambda::Function') {
      const name = String(properties['FunctionName']);
      say(`function ${name}`);
      words.set(arnOf(name, type), `<function ${name}>`);
    }
    if (type === 'AWS::Logs::LogGroup') {
      words.set(arnOf(id, type), `<log ${String(properties['LogGroupName'])}>:*`);
    }
    if (type === 'AWS::IAM::Role') say(`role ${id.replace('Role', '').toLowerCase()}`);
    if (type === 'AWS::SNS::Topic') say(`topic ${id.replace('Topic', '').toLowerCase()}`);
    if (type === 'AWS::Events::Rule') say(`rule ${RULES[id] ?? id}`);
    if (type === 'AWS::KMS::Key') say('key');
    if (type === 'AWS::SQS::Queue') say('queue');
  }
  words.set('"DeadLetters"', `"${NAME}-dead-letters"`);
  words.set('"FunctionSecurityGroup"', '"<group functions>"');
  words.set('"EndpointSecurityGroup"', '"<group endpoint>"');
  const stack: ReadonlyMap<string, DrawnResource> = new Map(
    [...drawn].map(([id, resource]) => [id, replaced(resource, words)]),
  );
  const of = (type: string): readonly { readonly id: string; readonly p: Properties }[] =>
    ofType(stack, `AWS::${type}`).map(({ id, properties }) => ({
      id,
      p: properties as Properties,
    }));
  const policies = (test: RegExp): readonly unknown[] =>
    of('IAM::ManagedPolicy')
      .filter(({ id }) => test.test(id))
      .map(({ p }) => p['PolicyDocument']);
  const ofRole = (role: string): readonly unknown[] =>
    [...of('IAM::Policy'), ...of('IAM::ManagedPolicy')]
      .filter(({ p }) => listOf(p['Roles']).includes(role))
      .map(({ p }) => p['PolicyDocument']);
  const isKept = (id: string): boolean => stack.get(id)?.updateReplacePolicy === 'Retain';

  return {
    key: of('KMS::Key').map(({ p }) => ({
      description: p['Description'],
      isRenewed: p['EnableKeyRotation'],
      statements: statementsOf(p['KeyPolicy']),
      alias: of('KMS::Alias').map((alias) => alias.p['AliasName']),
    })),
    secrets: keyed(
      of('SecretsManager::Secret').map(({ id, p }) => [
        p['Name'],
        {
          description: p['Description'],
          key: p['KmsKeyId'],
          replicas: listOf(
            ((p['ReplicaRegions'] ?? []) as readonly Properties[]).map((one) => one['Region']),
          ),
          isKept: isKept(id),
          statements: statementsOf(stack.get(`${id}Policy`)?.properties['ResourcePolicy']),
        },
      ]),
    ),
    rotations: keyed(
      of('SecretsManager::RotationSchedule').map(({ p }) => [
        p['SecretId'],
        {
          function: p['RotationLambdaARN'],
          schedule: p['RotationRules']['ScheduleExpression'],
          window: p['RotationRules']['Duration'] ?? '',
          atOnce: p['RotateImmediatelyOnUpdate'],
        },
      ]),
    ),
    roles: keyed(
      of('IAM::Role').map(({ id, p }) => [
        id.replace('Role', '').toLowerCase(),
        {
          description: p['Description'],
          trust: statementsOf(p['AssumeRolePolicyDocument']),
          statements: statementsOf(...ofRole(id)),
        },
      ]),
    ),
    peerPolicy: statementsOf(...policies(/^PeerPolicy$/)),
    containerPolicies: statementsOf(...policies(/^Container/)),
    functions: keyed(
      of('Lambda::Function').map(({ p }) => [
        p['FunctionName'],
        given({
          description: p['Description'],
          handler: p['Handler'],
          runtime: p['Runtime'],
          architectures: p['Architectures'],
          memory: p['MemorySize'],
          timeout: p['Timeout'],
          role: p['Role'],
          deadLetters: (p['DeadLetterConfig'] as Properties | undefined)?.['TargetArn'],
          groups: listOf((p['VpcConfig'] as Properties | undefined)?.['SecurityGroupIds']),
          subnets: listOf((p['VpcConfig'] as Properties | undefined)?.['SubnetIds']),
          environment: given(p['Environment']['Variables']),
        }),
      ]),
    ),
    urls: of('Lambda::Url').map(({ p }) => ({
      auth: p['AuthType'],
      function: p['TargetFunctionArn'],
    })),
    permissions: byText(
      of('Lambda::Permission').map(({ p }) =>
        given({
          action: p['Action'],
          function: p['FunctionName'],
          principal: p['Principal'],
          account: p['SourceAccount'],
          source: p['SourceArn'],
          urlAuth: p['FunctionUrlAuthType'],
          viaUrl: p['InvokedViaFunctionUrl'],
        }),
      ),
    ),
    logs: keyed(
      of('Logs::LogGroup').map(({ p }) => [
        p['LogGroupName'],
        { days: p['RetentionInDays'], key: p['KmsKeyId'] },
      ]),
    ),
    filters: keyed(
      of('Logs::MetricFilter').map(({ p }) => {
        const one = p['MetricTransformations'][0] as Properties;
        return [
          one['MetricName'],
          given({
            log: p['LogGroupName'],
            pattern: p['FilterPattern'],
            namespace: one['MetricNamespace'],
            value: one['MetricValue'],
            default: one['DefaultValue'] === undefined ? undefined : String(one['DefaultValue']),
            unit: one['Unit'],
            dimensions: ((one['Dimensions'] ?? []) as readonly Properties[]).map((dimension) => [
              dimension['Key'],
              dimension['Value'],
            ]),
          }),
        ];
      }),
    ),
    alarms: keyed(
      of('CloudWatch::Alarm').map(({ p }) => [
        p['AlarmName'],
        given({
          description: p['AlarmDescription'],
          namespace: p['Namespace'],
          metric: p['MetricName'],
          dimensions: ((p['Dimensions'] ?? []) as readonly Properties[]).map((dimension) => [
            dimension['Name'],
            dimension['Value'],
          ]),
          statistic: p['Statistic'],
          period: p['Period'],
          periods: p['EvaluationPeriods'],
          datapoints: p['DatapointsToAlarm'],
          comparison: p['ComparisonOperator'],
          threshold: p['Threshold'],
          missing: p['TreatMissingData'],
          alarms: p['AlarmActions'],
          oks: p['OKActions'],
        }),
      ]),
    ),
    rules: keyed(
      of('Events::Rule').map(({ id, p }) => [
        RULES[id] ?? id,
        given({
          description: p['Description'],
          pattern: p['EventPattern'],
          schedule: p['ScheduleExpression'],
          targets: (p['Targets'] as readonly Properties[]).map((target) =>
            given({
              arn: target['Arn'],
              deadLetters: (target['DeadLetterConfig'] as Properties | undefined)?.['Arn'],
              age: target['RetryPolicy']['MaximumEventAgeInSeconds'],
              attempts: target['RetryPolicy']['MaximumRetryAttempts'],
              input: target['Input'],
              paths: (target['InputTransformer'] as Properties | undefined)?.['InputPathsMap'],
              template: (target['InputTransformer'] as Properties | undefined)?.['InputTemplate'],
            }),
          ),
        }),
      ]),
    ),
    topics: keyed(
      of('SNS::Topic').map(({ id, p }) => [
        id.replace('Topic', '').toLowerCase(),
        { title: p['DisplayName'], key: p['KmsMasterKeyId'] },
      ]),
    ),
    topicStatements: statementsOf(...of('SNS::TopicPolicy').map(({ p }) => p['PolicyDocument'])),
    mails: of('SNS::Topic')
      .flatMap(({ p }) => (p['Subscription'] ?? []) as readonly Properties[])
      .map((one) => `${String(one['Protocol'])} ${String(one['Endpoint'])}`)
      .toSorted(),
    queue: of('SQS::Queue').map(({ p }) => ({
      seconds: p['MessageRetentionPeriod'],
      isEncrypted: p['SqsManagedSseEnabled'],
      statements: statementsOf(...of('SQS::QueuePolicy').map((one) => one.p['PolicyDocument'])),
    })),
    groups: byText(
      of('EC2::SecurityGroup').map(({ p }) => ({
        description: p['GroupDescription'],
        vpc: p['VpcId'],
        egress: rulesOf(p['SecurityGroupEgress']),
        ingress: rulesOf(p['SecurityGroupIngress']),
      })),
    ),
    endpoints: of('EC2::VPCEndpoint').map(({ p }) => ({
      type: p['VpcEndpointType'],
      service: p['ServiceName'],
      vpc: p['VpcId'],
      subnets: listOf(p['SubnetIds']),
      groups: listOf(p['SecurityGroupIds']),
      hasOwnName: p['PrivateDnsEnabled'],
      statements: statementsOf(p['PolicyDocument']),
    })),
  };

  function rulesOf(rules: unknown): readonly unknown[] {
    return ((rules ?? []) as readonly Properties[]).map((rule) => ({
      description: rule['Description'],
      protocol: rule['IpProtocol'],
      ports: [rule['FromPort'], rule['ToPort']],
      with: listOf([rule['CidrIp'], rule['SourceSecurityGroupId']].filter(Boolean)),
    }));
  }
}

/** What the Terraform module made. */
export function madeByTerraform(state: readonly TerraformResource[]): Made {
  const managed = state.filter(({ mode, type }) => mode === 'managed' && type.startsWith('aws_'));
  const words = new Map<string, string>();
  for (const { type, values } of managed) {
    const say = (meaning: string): void => void words.set(values['arn'] ?? '', `<${meaning}>`);
    const name = String(values['name'] ?? '');
    if (type === 'aws_secretsmanager_secret') say(`secret ${name}`);
    if (type === 'aws_lambda_function') say(`function ${String(values['function_name'])}`);
    if (type === 'aws_cloudwatch_log_group') say(`log ${name}`);
    if (type === 'aws_iam_role') say(`role ${name.replace(`${NAME}-`, '')}`);
    if (type === 'aws_sns_topic') say(`topic ${name.replace(`${NAME}-`, '')}`);
    if (type === 'aws_cloudwatch_event_rule') say(`rule ${name.replace(`${NAME}-`, '')}`);
    if (type === 'aws_kms_key') say('key');
    if (type === 'aws_sqs_queue') say('queue');
    if (type === 'aws_security_group') {
      words.set(values['id'] ?? '', `<group ${name.replace(`${NAME}-`, '')}>`);
    }
  }
  const resources = managed.map((resource) => replaced(resource, words));
  const counted = new Set<string>();
  const of = (type: string): readonly { readonly name: string; readonly v: Properties }[] => {
    counted.add(`aws_${type}`);
    return resources
      .filter((resource) => resource.type === `aws_${type}`)
      .map(({ name, values }) => ({ name, v: values }));
  };
  const short = (name: unknown): string => String(name).replace(`${NAME}-`, '');
  const one = (list: unknown): Properties => ((list ?? []) as readonly Properties[])[0] ?? {};

  const secrets = of('secretsmanager_secret');
  const policyOf = (name: string): unknown =>
    of('secretsmanager_secret_policy').find(({ v }) => v['secret_arn'] === `<secret ${name}>`)?.v[
      'policy'
    ];
  const policies = of('iam_policy');
  const ofRole = (role: string): readonly unknown[] => {
    const attached = of('iam_role_policy_attachment')
      .filter(({ v }) => v['role'] === role)
      .map(({ v }) => policies.find((policy) => policy.v['arn'] === v['policy_arn'])?.v['policy']);
    const own = of('iam_role_policy').filter(({ v }) => v['role'] === role);
    return [...own.map(({ v }) => v['policy']), ...attached];
  };
  const targets = of('cloudwatch_event_target');
  const rulesOf = (rules: unknown): readonly unknown[] =>
    ((rules ?? []) as readonly Properties[]).map((rule) => ({
      description: rule['description'],
      protocol: rule['protocol'],
      ports: [rule['from_port'], rule['to_port']],
      with: listOf([rule['cidr_blocks'] ?? [], rule['security_groups'] ?? []].flat()),
    }));

  const made: Made = {
    key: of('kms_key').map(({ v }) => ({
      description: v['description'],
      isRenewed: v['enable_key_rotation'],
      statements: statementsOf(v['policy']),
      alias: of('kms_alias').map((alias) => alias.v['name']),
    })),
    secrets: keyed(
      secrets.map(({ v }) => [
        v['name'],
        {
          description: v['description'],
          key: v['kms_key_id'],
          replicas: listOf(
            ((v['replica'] ?? []) as readonly Properties[]).map((one) => one['region']),
          ),
          isKept: v['recovery_window_in_days'] === 30,
          statements: statementsOf(policyOf(v['name'])),
        },
      ]),
    ),
    rotations: keyed(
      of('secretsmanager_secret_rotation').map(({ v }) => [
        v['secret_id'],
        {
          function: v['rotation_lambda_arn'],
          schedule: one(v['rotation_rules'])['schedule_expression'],
          window: one(v['rotation_rules'])['duration'] ?? '',
          atOnce: v['rotate_immediately'],
        },
      ]),
    ),
    roles: keyed(
      of('iam_role').map(({ v }) => [
        short(v['name']),
        {
          description: v['description'],
          trust: statementsOf(v['assume_role_policy']),
          statements: statementsOf(...ofRole(v['name'])),
        },
      ]),
    ),
    peerPolicy: statementsOf(
      ...policies.filter(({ name }) => name === 'peer').map(({ v }) => v['policy']),
    ),
    containerPolicies: statementsOf(
      ...policies
        .filter(({ name }) => ['container_broker', 'tokens', 'peers'].includes(name))
        .map(({ v }) => v['policy']),
    ),
    functions: keyed(
      of('lambda_function').map(({ v }) => [
        v['function_name'],
        given({
          description: v['description'],
          handler: v['handler'],
          runtime: v['runtime'],
          architectures: v['architectures'],
          memory: v['memory_size'],
          timeout: v['timeout'],
          role: v['role'],
          deadLetters: one(v['dead_letter_config'])['target_arn'],
          groups: listOf(one(v['vpc_config'])['security_group_ids']),
          subnets: listOf(one(v['vpc_config'])['subnet_ids']),
          environment: one(v['environment'])['variables'],
        }),
      ]),
    ),
    urls: of('lambda_function_url').map(({ v }) => ({
      auth: v['authorization_type'],
      function: `<function ${String(v['function_name'])}>`,
    })),
    permissions: byText(
      of('lambda_permission').map(({ v }) =>
        given({
          action: v['action'],
          function: `<function ${String(v['function_name'])}>`,
          principal: v['principal'],
          account: v['source_account'],
          source: v['source_arn'],
          urlAuth: v['function_url_auth_type'],
          viaUrl: v['invoked_via_function_url'],
        }),
      ),
    ),
    logs: keyed(
      of('cloudwatch_log_group').map(({ v }) => [
        v['name'],
        { days: v['retention_in_days'], key: v['kms_key_id'] },
      ]),
    ),
    filters: keyed(
      of('cloudwatch_log_metric_filter').map(({ v }) => {
        const metric = one(v['metric_transformation']);
        return [
          metric['name'],
          given({
            log: v['log_group_name'],
            pattern: v['pattern'],
            namespace: metric['namespace'],
            value: metric['value'],
            default: metric['default_value'],
            unit: metric['unit'],
            dimensions: Object.entries(metric['dimensions'] ?? {}),
          }),
        ];
      }),
    ),
    alarms: keyed(
      of('cloudwatch_metric_alarm').map(({ v }) => [
        v['alarm_name'],
        given({
          description: v['alarm_description'],
          namespace: v['namespace'],
          metric: v['metric_name'],
          dimensions: Object.entries(v['dimensions'] ?? {}),
          statistic: v['statistic'],
          period: v['period'],
          periods: v['evaluation_periods'],
          datapoints: v['datapoints_to_alarm'],
          comparison: v['comparison_operator'],
          threshold: v['threshold'],
          missing: v['treat_missing_data'],
          alarms: v['alarm_actions'],
          oks: v['ok_actions'],
        }),
      ]),
    ),
    rules: keyed(
      of('cloudwatch_event_rule').map(({ v }) => [
        short(v['name']),
        given({
          description: v['description'],
          pattern: JSON.parse(v['event_pattern'] ?? 'null'),
          schedule: v['schedule_expression'],
          targets: targets
            .filter((target) => target.v['rule'] === v['name'])
            .map((target) =>
              given({
                arn: target.v['arn'],
                deadLetters: one(target.v['dead_letter_config'])['arn'],
                age: one(target.v['retry_policy'])['maximum_event_age_in_seconds'],
                attempts: one(target.v['retry_policy'])['maximum_retry_attempts'],
                input: target.v['input'],
                paths: one(target.v['input_transformer'])['input_paths'],
                template: one(target.v['input_transformer'])['input_template'],
              }),
            ),
        }),
      ]),
    ),
    topics: keyed(
      of('sns_topic').map(({ v }) => [
        short(v['name']),
        { title: v['display_name'], key: v['kms_master_key_id'] },
      ]),
    ),
    topicStatements: statementsOf(...of('sns_topic_policy').map(({ v }) => v['policy'])),
    mails: of('sns_topic_subscription')
      .map(({ v }) => `${String(v['protocol'])} ${String(v['endpoint'])}`)
      .toSorted(),
    queue: of('sqs_queue').map(({ v }) => ({
      seconds: v['message_retention_seconds'],
      isEncrypted: v['sqs_managed_sse_enabled'],
      statements: statementsOf(...of('sqs_queue_policy').map((policy) => policy.v['policy'])),
    })),
    groups: byText(
      of('security_group').map(({ v }) => ({
        description: v['description'],
        vpc: v['vpc_id'],
        egress: rulesOf(v['egress']),
        ingress: rulesOf(v['ingress']),
      })),
    ),
    endpoints: of('vpc_endpoint').map(({ v }) => ({
      type: v['vpc_endpoint_type'],
      service: v['service_name'],
      vpc: v['vpc_id'],
      subnets: listOf(v['subnet_ids']),
      groups: listOf(v['security_group_ids']),
      hasOwnName: v['private_dns_enabled'],
      statements: statementsOf(v['policy']),
    })),
  };
  const others = managed.filter(({ type }) => !counted.has(type)).map(({ type }) => type);
  if (others.length > 0) throw new Error(`The tests do not look at ${others.join(', ')}.`);
  return made;
}
