import { beforeAll, describe, expect, test } from '@jest/globals';
import { createHttpFunction } from '../../src/lambda/http-function.js';
import { gapOfStoreRotation } from '../../src/rotation/coverage.js';
import { SecretStoreError } from '../../src/secrets/secret-store.js';
import { FakeClock, MemorySecretStore } from '../../src/testing/index.js';
import { serializeServiceToken } from '../../src/tokens/service-token.js';
import { rotationScene, TOKEN_SECRET, VERSION } from '../lambda/support/rotation-function.js';
import { logFilter, type LogFilter } from './support/log-filter.js';
import { NEEDED, packageStack } from './support/packaging.js';
import {
  arnOf,
  drawStack,
  ofType,
  PSEUDO,
  resource,
  type DrawnResource,
} from './support/template.js';

type Stack = ReadonlyMap<string, DrawnResource>;
type Line = Readonly<Record<string, unknown>>;

let stack: Stack;
beforeAll(async () => {
  stack = drawStack(await packageStack(NEEDED));
}, 120_000);

const HOUR = 3_600_000;
const STACK_NAME = String(PSEUDO['AWS::StackName']);
const TOPIC = arnOf('AlertsTopic', 'AWS::SNS::Topic');

function filterOf(id: string): LogFilter {
  return logFilter(String(resource(stack, id).properties['FilterPattern']));
}

/** The messages of the lines that a filter counts. */
function counted(id: string, lines: readonly Line[]): readonly unknown[] {
  return lines.filter(filterOf(id)).map(({ message }) => message);
}

describe('what is counted in the log of the rotation function', () => {
  test('a rotation from the value that the stack writes: one token promoted, nothing failed', async () => {
    const first = String(resource(stack, 'TokenSecret').properties['SecretString']);
    const { store, rotate, current, lines } = await rotationScene({ hasCurrent: false });
    store.edit(TOKEN_SECRET, first);
    await rotate();
    expect(await current()).toBe(VERSION);
    expect(counted('TokenPromotedFilter', lines())).toEqual(['rotation step ended']);
    expect(counted('StepFailedFilter', lines())).toEqual([]);
  });

  test('a step that has nothing to do promotes nothing', async () => {
    const { rotate, invoke, lines } = await rotationScene();
    await rotate();
    await invoke('finishSecret');
    expect(lines().at(-1)).toMatchObject({ step: 'finishSecret', ended: 'skipped' });
    expect(counted('TokenPromotedFilter', lines())).toHaveLength(1);
  });

  test('a provider that refuses: a failure, and nothing promoted', async () => {
    const { invoke, lines } = await rotationScene({ provider: { clientSecrets: ['another'] } });
    await expect(invoke('createSecret')).rejects.toThrow();
    expect(counted('StepFailedFilter', lines())).toEqual(['rotation step failed']);
    expect(counted('TokenPromotedFilter', lines())).toEqual([]);
  });
});

describe('what the probe of the token leads to', () => {
  /** The metric values that a filter makes of lines. */
  const valuesOf = (id: string, lines: readonly Line[]): readonly unknown[] => {
    const [{ MetricValue }] = resource(stack, id).properties['MetricTransformations'] as [
      { readonly MetricValue: string },
    ];
    return lines
      .filter(filterOf(id))
      .map((line) => (MetricValue.startsWith('$.') ? line[MetricValue.slice(2)] : MetricValue));
  };
  const target = (): Line =>
    (resource(stack, 'ProbeRule').properties['Targets'] as readonly Line[])[0] ?? {};
  const context = { awsRequestId: 'request-1', getRemainingTimeInMillis: () => 60_000 };

  test('the event of the rule is one that the function takes: a remaining life, and no token promoted', async () => {
    const { rotate, handler, lines } = await rotationScene();
    await rotate();
    await handler(JSON.parse(String(target()['Input'])), context);
    expect(valuesOf('TokenProbedFilter', lines())).toEqual([expect.any(Number)]);
    expect(valuesOf('TokenPromotedFilter', lines())).toEqual(['1']);
    expect(valuesOf('TokenRefusedFilter', lines())).toEqual([]);
    expect(valuesOf('StepFailedFilter', lines())).toEqual([]);
  });

  test('before the first rotation there is no life left', async () => {
    const { handler, lines, store } = await rotationScene({ hasCurrent: false });
    store.edit(TOKEN_SECRET, String(resource(stack, 'TokenSecret').properties['SecretString']));
    await handler(JSON.parse(String(target()['Input'])), context);
    expect(valuesOf('TokenProbedFilter', lines())).toEqual([0]);
  });

  test('a token that receivers refuse is counted', async () => {
    const { handler, lines } = await rotationScene();
    // The scene's token is no JWT of the provider.
    await handler(JSON.parse(String(target()['Input'])), context);
    expect(valuesOf('TokenRefusedFilter', lines())).toEqual(['1']);
  });

  test('EventBridge may invoke the function by this rule, and repeats nothing', () => {
    expect(resource(stack, 'ProbeRule').properties).toMatchObject({
      ScheduleExpression: 'rate(5 minutes)',
      Targets: [
        {
          Arn: arnOf('RotationLambdaFunction', 'AWS::Lambda::Function'),
          RetryPolicy: { MaximumRetryAttempts: 0 },
        },
      ],
    });
    expect(resource(stack, 'ProbePermission').properties).toEqual({
      Action: 'lambda:InvokeFunction',
      FunctionName: arnOf('RotationLambdaFunction', 'AWS::Lambda::Function'),
      Principal: 'events.amazonaws.com',
      SourceArn: arnOf('ProbeRule', 'AWS::Events::Rule'),
    });
  });
});

describe('what is counted in the log of the HTTP function', () => {
  const PEER = 'arn:aws:iam::123456789012:role/billing';

  function httpScene() {
    const clock = new FakeClock();
    const store = new MemorySecretStore({ clock });
    store.seed(
      TOKEN_SECRET,
      serializeServiceToken({
        accessToken: 'a-token',
        tokenType: 'Bearer',
        generatedAt: clock.now(),
        expiresAt: clock.now() + 24 * HOUR,
        issuer: NEEDED.issuer,
        audience: [NEEDED.audience],
      }),
    );
    const written: string[] = [];
    const handler = createHttpFunction({
      env: {
        BROKER_TOKEN_SECRET_ID: TOKEN_SECRET,
        BROKER_HTTP_IAM_PEERS: PEER,
        BROKER_ISSUER: NEEDED.issuer,
        BROKER_AUDIENCE: NEEDED.audience,
      },
      store,
      clock,
      write: (line) => written.push(line),
    });
    return {
      clock,
      fail: () => {
        store.before = () => {
          throw new SecretStoreError('STORE_UNAVAILABLE', 'Secrets Manager does not answer.');
        };
      },
      get: async (): Promise<number> => {
        const answer = await handler(
          {
            version: '2.0',
            rawPath: '/v1/token',
            headers: {},
            requestContext: {
              http: { method: 'GET', sourceIp: '192.0.2.1' },
              authorizer: { iam: { userArn: PEER } },
            },
          },
          { awsRequestId: 'request-1', getRemainingTimeInMillis: () => 20_000 },
        );
        return answer.statusCode;
      },
      lines: () => written.map((line) => JSON.parse(line) as Line),
    };
  }

  test('a token that is served, from the secret and from the cache: nothing', async () => {
    const { get, lines } = httpScene();
    expect([await get(), await get()]).toEqual([200, 200]);
    expect(lines().map(({ cache }) => cache)).toEqual(['MISS', 'HIT']);
    expect(counted('SecretNotReadFilter', lines())).toEqual([]);
  });

  test('a cached token that is served because the secret cannot be read: one each time', async () => {
    const { clock, fail, get, lines } = httpScene();
    expect(await get()).toBe(200);
    fail();
    clock.advance(301_000);
    expect(await get()).toBe(200);
    expect(counted('SecretNotReadFilter', lines())).toEqual(['request']);
  });

  test('no token at all: one', async () => {
    const { fail, get, lines } = httpScene();
    fail();
    expect(await get()).toBe(503);
    expect(counted('SecretNotReadFilter', lines())).toEqual([
      'the service token could not be served',
    ]);
  });
});

describe('the alarms', () => {
  const alarms = (): readonly DrawnResource[] => ofType(stack, 'AWS::CloudWatch::Alarm');

  test('tell the alerts topic when they ring, and when it is over', () => {
    expect(alarms().length).toBeGreaterThanOrEqual(8);
    for (const { properties } of alarms()) {
      expect(properties).toMatchObject({ AlarmActions: [TOPIC], OKActions: [TOPIC] });
    }
  });

  test('watch what is there: a function, the queue, or a count of the log', () => {
    const counts = ofType(stack, 'AWS::Logs::MetricFilter').flatMap(
      ({ properties }) => properties['MetricTransformations'] as readonly Line[],
    );
    const watched = alarms().map(({ properties }) => {
      const { Namespace, MetricName, Dimensions } = properties;
      if (Namespace === STACK_NAME) return String(MetricName);
      const [dimension] = Dimensions as readonly { readonly Value: string }[];
      return `${String(Namespace)} ${String(MetricName)} ${dimension?.Value}`;
    });
    for (const { MetricNamespace } of counts) expect(MetricNamespace).toBe(STACK_NAME);
    expect(watched.toSorted()).toEqual(
      [
        ...counts.map(({ MetricName }) => String(MetricName)),
        `AWS/Lambda Errors ${STACK_NAME}-rotation`,
        `AWS/Lambda Errors ${STACK_NAME}-http`,
        `AWS/Lambda Throttles ${STACK_NAME}-http`,
        `AWS/Lambda Url5xxCount ${STACK_NAME}-http`,
        'AWS/SQS ApproximateNumberOfMessagesVisible DeadLetters',
      ].toSorted(),
    );
  });

  test('a missing rotation is told after the worst gap of the schedule, and while the token lives for hours', () => {
    const { properties } = resource(stack, 'RotationMissingAlarm');
    const span = Number(properties['Period']) * Number(properties['EvaluationPeriods']) * 1000;
    const { ScheduleExpression, Duration } = resource(stack, 'RotationSchedule').properties[
      'RotationRules'
    ] as { readonly ScheduleExpression: string; readonly Duration: string };
    const gap = gapOfStoreRotation({ schedule: ScheduleExpression, window: Duration }, 0);
    expect(span).toBeGreaterThan((gap?.period ?? Infinity) + (gap?.window ?? Infinity));
    expect(span).toBeLessThan(24 * HOUR - 6 * HOUR);
    expect(properties).toMatchObject({
      TreatMissingData: 'breaching',
      Threshold: 1,
      AlarmDescription: expect.stringContaining('No new token for 14 hours.'),
    });
  });

  test('a token that is about to expire is told, also when nothing looks at it any more', () => {
    expect(resource(stack, 'TokenExpiringAlarm').properties).toMatchObject({
      Statistic: 'Minimum',
      ComparisonOperator: 'LessThanThreshold',
      Threshold: 6 * 3600,
      TreatMissingData: 'breaching',
    });
  });

  test('follow the schedule and the token’s life, and leave out what CloudWatch cannot see', async () => {
    const monthly = drawStack(
      await packageStack({
        ...NEEDED,
        schedule: 'cron(0 3 1 * ? *)',
        window: '2h',
        tokenLifetime: '40d',
      }),
    );
    expect(monthly.has('RotationMissingAlarm')).toBe(false);
    // 40 days less 31 and two hours: half of that, and half an hour.
    expect(resource(monthly, 'TokenExpiringAlarm').properties['Threshold']).toBe(
      ((9 * 24 - 2) / 2 + 0.5) * 3600,
    );
    const daily = drawStack(
      await packageStack({ ...NEEDED, schedule: 'cron(0 3 * * ? *)', tokenLifetime: '30d' }),
    );
    expect(resource(daily, 'RotationMissingAlarm').properties).toMatchObject({
      Period: 3600,
      EvaluationPeriods: 26,
    });
  }, 120_000);
});

describe('the notices', () => {
  const targetsOf = (id: string): readonly Line[] =>
    resource(stack, id).properties['Targets'] as readonly Line[];

  test.each([
    ['RotationDoneRule', 'RotationsTopic'],
    ['RotationFailedRule', 'AlertsTopic'],
  ])('%s tells %s, and keeps what it could not tell', (rule, topic) => {
    expect(targetsOf(rule)).toEqual([
      expect.objectContaining({
        Arn: arnOf(topic, 'AWS::SNS::Topic'),
        DeadLetterConfig: { Arn: arnOf('DeadLetters', 'AWS::SQS::Queue') },
      }),
    ]);
  });

  test('the topics are encrypted with a key that their senders may use', () => {
    for (const { properties } of ofType(stack, 'AWS::SNS::Topic')) {
      expect(properties['KmsMasterKeyId']).toBe(arnOf('Key', 'AWS::KMS::Key'));
    }
    const { Statement } = resource(stack, 'Key').properties['KeyPolicy'] as {
      readonly Statement: readonly { readonly Principal: { readonly Service?: string } }[];
    };
    const services = Statement.map(({ Principal }) => Principal.Service);
    expect(services).toEqual(
      expect.arrayContaining(['cloudwatch.amazonaws.com', 'events.amazonaws.com']),
    );
  });
});
