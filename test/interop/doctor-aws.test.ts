import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { runCommand } from '../support/broker-process.js';
import { rotationScene, withCoreOf } from '../support/rotation-scene.js';
import { ROTATION_FUNCTION, startAwsFront, type AwsFront } from './aws-front.js';
import { clearPending, createSecrets, enableRotation, MOTO } from './aws-secrets.js';

let folder = '';
let env: NodeJS.ProcessEnv;
let tokenSecret = '';
let front: AwsFront;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'doctor-aws-'));
  const scene = await rotationScene(folder);
  const secrets = await createSecrets();
  tokenSecret = secrets.BROKER_TOKEN_SECRET_ID;
  front = await startAwsFront(MOTO);
  env = {
    ...scene.env,
    ...secrets,
    BROKER_ROTATION_CRON: '0 3,15 * * *',
    AWS_ENDPOINT_URL_SECRETS_MANAGER: front.url,
  };
  await withCoreOf(env, ({ rotator }) => rotator.rotate({ trigger: 'cli' }));
  await clearPending(tokenSecret);
});
afterAll(async () => {
  await front.close();
  await rm(folder, { recursive: true, force: true });
});

interface Check {
  readonly check: string;
  readonly state: string;
  readonly message: string;
}

async function doctor(
  overrides: NodeJS.ProcessEnv = {},
): Promise<{ code: number | null; of: (check: string) => Check | undefined; all: string }> {
  const { code, stdout } = await runCommand(['--json', 'doctor'], { ...env, ...overrides });
  const { checks } = JSON.parse(stdout) as { checks: readonly Check[] };
  return { code, of: (name) => checks.find(({ check }) => check === name), all: stdout };
}

describe('doctor on AWS Secrets Manager', () => {
  test('finds everything in order, and names keys but no secret', async () => {
    const { code, of, all } = await doctor();
    expect(code).toBe(0);
    expect(of('credentials')).toMatchObject({
      state: 'ok',
      message: expect.stringContaining('Region eu-central-1'),
    });
    expect(of('encryption')?.message).toContain('token by aws/secretsmanager');
    expect(of('rotation')).toMatchObject({ state: 'ok' });
    expect(of('peers secret')).toMatchObject({ state: 'warning' });
    expect(all).not.toContain('the-secret-of-the-broker-under-test');
    expect(all).not.toContain('eyJ');
  });

  test.each([
    [
      'no credentials',
      { AWS_ACCESS_KEY_ID: '', AWS_SECRET_ACCESS_KEY: '' },
      'credentials',
      'STORE_CREDENTIALS',
    ],
    ['no Region', { AWS_REGION: '' }, 'credentials', 'STORE_CREDENTIALS'],
    ['another Region', { AWS_REGION: 'eu-west-2' }, 'token secret', 'SECRET_NOT_FOUND'],
    [
      'an endpoint that is none',
      { AWS_ENDPOINT_URL_SECRETS_MANAGER: 'http://127.0.0.1:9', AWS_MAX_ATTEMPTS: '1' },
      'token secret',
      'STORE_UNAVAILABLE',
    ],
    [
      'a secret that nobody has made',
      { BROKER_PEERS_SECRET_ID: 'interop/none' },
      'peers secret',
      'SECRET_NOT_FOUND',
    ],
  ])('with %s it says so', async (_what, overrides, check, error) => {
    const { code, of } = await doctor(overrides);
    expect(code).toBe(1);
    expect(of(check)).toMatchObject({ state: 'failed', code: error });
  });

  test('sees that Secrets Manager rotates, by which function, and what blocks it', async () => {
    await enableRotation(tokenSecret);
    const managed = await doctor();
    expect(managed.code).toBe(0);
    expect(managed.of('rotation')?.message).toContain('Secrets Manager rotates at "rate(1 days)"');
    expect(managed.of('rotation function')).toMatchObject({
      state: 'skipped',
      message: expect.stringContaining('Not checked'),
      action: expect.stringContaining(ROTATION_FUNCTION),
    });
    // A window of a whole day, and a token of 25 hours.
    expect(managed.of('coverage')).toMatchObject({ state: 'warning' });

    await runCommand(['rotate'], env);
    const blocked = await doctor();
    expect(blocked.of('pending version')).toMatchObject({
      state: 'warning',
      message: expect.stringContaining('may be running'),
    });
  });
});
