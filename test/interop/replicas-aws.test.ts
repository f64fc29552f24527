import { DescribeSecretCommand, SecretsManagerClient } from '@aws-sdk/client-secrets-manager';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { runCommand, startBroker, type CommandResult } from '../support/broker-process.js';
import { RotatingProcess } from '../support/rotating-process.js';
import {
  currentVersions,
  expectOneRotation,
  rotationScene,
  withCoreOf,
  type RotationScene,
} from '../support/rotation-scene.js';
import { createSecrets } from './aws-secrets.js';

const REPLICAS = 8;

const aws = new SecretsManagerClient({});
let folder = '';
let scene: RotationScene;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'replicas-aws-'));
  scene = await rotationScene(folder);
});
afterAll(async () => {
  await rm(folder, { recursive: true, force: true });
  aws.destroy();
});

async function newSecrets(): Promise<NodeJS.ProcessEnv> {
  return { ...scene.env, ...(await createSecrets()) };
}

describe(`${REPLICAS} processes on one secret in AWS Secrets Manager`, () => {
  test.each([
    ['a secret without a value', false],
    ['an older token', true],
  ])('rotate the same slot once, and all succeed: from %s', async (_state, older) => {
    const env = await newSecrets();
    const olderId = older
      ? await withCoreOf(env, async ({ rotator }) => rotator.rotate({ trigger: 'cli' }))
      : undefined;
    const mintedBefore = scene.provider.mintCount;

    const slotStart = Date.now() + 30_000;
    const replicas = Array.from(
      { length: REPLICAS },
      () => new RotatingProcess({ env, clockAhead: 60_000 }),
    );
    await Promise.all(replicas.map(({ ready }) => ready));
    const rotations = await Promise.all(replicas.map((replica) => replica.rotate(slotStart)));
    for (const replica of replicas) expect(await replica.end()).toMatchObject({ code: 0 });

    const versionId = expectOneRotation(rotations);
    expect(scene.provider.mintCount - mintedBefore).toBe(1);
    await withCoreOf(env, async ({ store, config }) => {
      const [{ secretId: tokenSecretId }] = config.tokens;
      expect(await currentVersions(store, tokenSecretId)).toEqual([versionId]);
      await scene.expectGenuine((await store.read(tokenSecretId)).value);
      if (olderId === undefined) return;
      const previous = await store.read(tokenSecretId, { label: 'AWSPREVIOUS' });
      expect(previous.versionId).toBe(olderId.versionId);
    });
  });
});

describe('a broker on AWS Secrets Manager, from an empty account to a served token', () => {
  let env: NodeJS.ProcessEnv;

  /** Runs a command that must succeed, and reads its JSON. */
  async function run(...args: readonly string[]): Promise<Record<string, unknown>> {
    const result: CommandResult = await runCommand(['--json', ...args], env, { cwd: folder });
    expect(result).toMatchObject({ code: 0, stderr: '' });
    return JSON.parse(result.stdout) as Record<string, unknown>;
  }

  test('peers, rotation and status by the command line, the token over HTTP, and a clean end', async () => {
    // A slot that starts half a day from now: none starts while the test runs, whatever the hour.
    const hour = (new Date().getUTCHours() + 12) % 24;
    env = { ...(await newSecrets()), BROKER_ROTATION_CRON: `0 ${hour} * * *` };
    const peerFile = join(folder, 'orders.json');
    expect(await run('peers', 'add', 'orders', '--secret-file', peerFile)).toMatchObject({
      id: 'orders',
      roles: ['token'],
    });
    const peer = JSON.parse(await readFile(peerFile, 'utf8')) as { id: string; secret: string };

    const before = await runCommand(['--json', 'status'], env);
    expect(before.code).toBe(1);
    expect(JSON.parse(before.stdout)).toMatchObject({ ok: false, store: 'aws' });

    const rotated = await run('rotate');
    expect(rotated['result']).toBe('rotated');
    const versionId = String(rotated['version_id']);
    const described = await aws.send(
      new DescribeSecretCommand({ SecretId: env['BROKER_TOKEN_SECRET_ID'] }),
    );
    expect(described.VersionIdsToStages?.[versionId]).toContain('AWSCURRENT');

    const mintedBefore = scene.provider.mintCount;
    const broker = await startBroker(['serve'], env);
    expect(await run('status', '--url', broker.url)).toMatchObject({
      ok: true,
      store: 'aws',
      rotated_by: 'broker',
      current: { version_id: versionId },
      broker: { url: broker.url, state: 'ready' },
    });

    const response = await fetch(new URL('/v1/token', broker.url), {
      headers: {
        authorization: `Basic ${Buffer.from(`${peer.id}:${peer.secret}`).toString('base64')}`,
      },
    });
    expect(response.status).toBe(200);
    expect(response.headers.get('etag')).toBe(`"${versionId}"`);
    expect(response.headers.get('cache-control')).toContain('no-store');
    const answer = (await response.json()) as { access_token: string; token_type: string };
    expect(answer.token_type).toBe('Bearer');
    await withCoreOf(env, async ({ store, config }) => {
      const { value } = await store.read(config.tokens[0].secretId);
      await scene.expectGenuine(value);
      expect(JSON.parse(value)).toMatchObject({ access_token: answer.access_token });
    });
    expect(scene.provider.mintCount).toBe(mintedBefore);

    expect(await broker.stop('SIGTERM')).toEqual({ code: 0, signal: null });
    expect(broker.stdout()).not.toContain(answer.access_token);
    expect(broker.stdout()).not.toContain(peer.secret);
    expect(broker.stderr()).toBe('');
  });
});
