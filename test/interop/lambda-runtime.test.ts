import { CreateSecretCommand, SecretsManagerClient } from '@aws-sdk/client-secrets-manager';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { execFileSync } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { join } from 'node:path';
import { ROTATION_STEPS } from '../../src/rotation/rotation.js';
import { httpEvent, ORDERS, ORDERS_SESSION, tokenValue } from '../lambda/support/http-function.js';
import { startProviderServer, type ProviderServer } from '../support/provider-server.js';
import { buildTaskFolder, type TaskFolder } from './lambda-bundle.js';
import { ExecutionEnvironment, type Outcome } from './lambda-environment.js';
import { CREDENTIALS, ROTATION_TOKEN } from './lambda-played-function.js';
import { PlayedSecret } from './lambda-played-secret.js';

const AUDIENCE = 'https://services.example.test';
/** AWS's own runtime client and Node.js 24, where test/interop/lambda-runtime.sh has put them. */
const runtime = process.env['INTEROP_LAMBDA_RUNTIME'];
const aws = new SecretsManagerClient({});

/** Lambda writes lines of its own beside ours; ours are JSON of one shape. */
function linesOf(output: string): readonly Readonly<Record<string, unknown>>[] {
  return output
    .split('\n')
    .filter((line) => line.includes('"service":"service-token-broker"'))
    .map((line) => JSON.parse(line) as Record<string, unknown>);
}

(runtime === undefined ? describe.skip : describe)('on the runtime of AWS Lambda', () => {
  const node = join(runtime ?? '', 'node');
  let task: TaskFolder;
  let provider: ProviderServer;
  let secret: PlayedSecret;
  let env: NodeJS.ProcessEnv;

  beforeAll(async () => {
    [task, provider] = await Promise.all([buildTaskFolder(), startProviderServer()]);
    const credentialsId = `interop/${randomUUID()}/credentials`;
    await aws.send(new CreateSecretCommand({ Name: credentialsId, SecretString: CREDENTIALS }));
    secret = await PlayedSecret.create(aws, tokenValue(Date.now()));
    const own = Object.entries(process.env).filter(([name]) => name.startsWith('AWS_'));
    env = {
      ...Object.fromEntries(own),
      BROKER_ISSUER: provider.issuer,
      BROKER_AUDIENCE: AUDIENCE,
      BROKER_CREDENTIALS_SECRET_ID: credentialsId,
      BROKER_TOKEN_SECRET_ID: secret.name,
    };
  }, 120_000);
  afterAll(async () => {
    await provider.close();
    await task.remove();
    aws.destroy();
  });

  function open(
    bundle: 'rotation' | 'http',
    more: NodeJS.ProcessEnv = {},
  ): Promise<ExecutionEnvironment> {
    const client = join(runtime ?? '', 'node_modules/aws-lambda-ric/index.mjs');
    const handler = `${bundle}.handler`;
    return ExecutionEnvironment.open({
      command: [node, client, handler],
      taskRoot: task.taskRoot,
      handler,
      env: { ...env, ...more },
    });
  }

  test('which is Node.js 24', () => {
    expect(execFileSync(node, ['--version']).toString()).toMatch(/^v24\./);
  });

  test.each(['TEXT', 'JSON'])(
    'a rotation: the first step on a cold start, the others warm (log format %s)',
    async (AWS_LAMBDA_LOG_FORMAT) => {
      const environment = await open('rotation', { AWS_LAMBDA_LOG_FORMAT });
      const versionId = await secret.beginRotation();
      const outcomes: Outcome[] = [];
      const took: number[] = [];
      for (const step of ROTATION_STEPS) {
        const start = performance.now();
        outcomes.push(await environment.invoke(secret.event(step, versionId, ROTATION_TOKEN)));
        took.push(Math.round(performance.now() - start));
      }
      expect(outcomes).toEqual(ROTATION_STEPS.map(() => ({ ended: 'answered', result: null })));
      expect(environment.coldStarts).toBe(1);
      expect(await secret.currentVersions()).toEqual([versionId]);
      await secret.endRotation(versionId);
      console.log(`milliseconds, the first with the start of the process: ${took.join(', ')}`);
      const lines = linesOf(environment.output);
      expect(lines.map(({ step }) => step).filter((step) => step !== undefined)).toEqual(
        ROTATION_STEPS,
      );
      expect(new Set(lines.map(({ requestId }) => requestId)).size).toBe(ROTATION_STEPS.length);
      expect(environment.output).not.toContain(ROTATION_TOKEN);
    },
  );

  test('a step that was killed is taken up by a new environment', async () => {
    const environment = await open('rotation');
    const versionId = await secret.beginRotation();
    const cut = environment.invoke(secret.event('createSecret', versionId, ROTATION_TOKEN));
    await provider.reached('token', provider.received('token').length + 1);
    await environment.kill();
    expect(await cut).toEqual({ ended: 'died' });
    for (const step of ROTATION_STEPS) {
      const outcome = await environment.invoke(secret.event(step, versionId, ROTATION_TOKEN));
      expect(outcome.ended).toBe('answered');
    }
    expect(environment.coldStarts).toBe(2);
    expect(await secret.currentVersions()).toEqual([versionId]);
    await secret.endRotation(versionId);
  });

  test('an error reaches Lambda by its name and words, and the next invocation is served', async () => {
    const environment = await open('rotation');
    const refused = await environment.invoke({ Step: 'createSecret', secret: ROTATION_TOKEN });
    expect(refused).toMatchObject({
      ended: 'failed',
      errorType: 'FunctionError',
      errorMessage: expect.stringContaining('"SecretId" is not a text'),
    });
    const [current = ''] = await secret.currentVersions();
    const event = secret.event('testSecret', current, ROTATION_TOKEN);
    expect(await environment.invoke(event)).toMatchObject({ ended: 'answered' });
    expect(environment.coldStarts).toBe(1);
    expect(environment.output).not.toContain(ROTATION_TOKEN);
  });

  test('a mistake in the configuration is the error of each invocation, not of the start', async () => {
    const environment = await open('rotation', { BROKER_PROFILE: 'nonsense' });
    const event = secret.event('testSecret', randomUUID(), ROTATION_TOKEN);
    for (const _time of [1, 2]) {
      expect(await environment.invoke(event)).toMatchObject({
        ended: 'failed',
        errorType: 'ConfigError',
        errorMessage: expect.stringContaining('BROKER_PROFILE'),
      });
    }
    expect(environment.output).not.toContain('init/error');
    expect(environment.coldStarts).toBe(1);
  });

  test('the HTTP function serves the token, cold and warm, to whom AWS IAM knows', async () => {
    const environment = await open('http', { BROKER_HTTP_IAM_PEERS: ORDERS });
    const [versionId] = await secret.currentVersions();
    const get = (userArn: string): Promise<Outcome> =>
      environment.invoke(httpEvent('/v1/token', { userArn }));
    for (const cache of ['MISS', 'HIT']) {
      expect(await get(ORDERS_SESSION)).toMatchObject({
        ended: 'answered',
        result: {
          statusCode: 200,
          headers: { ETag: `"${versionId}"`, 'X-Cache': cache, 'Cache-Control': 'no-store' },
          body: expect.stringContaining('"access_token"'),
        },
      });
    }
    const stranger = ORDERS_SESSION.replace('orders', 'billing');
    expect(await get(stranger)).toMatchObject({ result: { statusCode: 403 } });
    expect(environment.coldStarts).toBe(1);
    const requests = linesOf(environment.output).filter(({ message }) => message === 'request');
    expect(requests.map(({ status }) => status)).toEqual([200, 200, 403]);
  });
});
