import { randomUUID } from 'node:crypto';
import { join } from 'node:path';
import { beforeAll, expect, test } from '@jest/globals';
import { PENDING_GRACE } from '../../src/rotation/repair.js';
import { runCommand } from '../support/broker-process.js';
import { prepareEmbeddedStore, rotationScene, withCoreOf } from '../support/rotation-scene.js';
import { temporaryFolder } from './folders.js';

let env: NodeJS.ProcessEnv;

beforeAll(async () => {
  const folder = await temporaryFolder();
  const scene = await rotationScene(folder);
  // No slot starts while the test runs, whatever the hour.
  const hour = (new Date().getUTCHours() + 12) % 24;
  env = {
    ...scene.env,
    BROKER_DATA_DIR: join(folder, 'data'),
    BROKER_ROTATION_CRON: `0 ${hour} * * *`,
  };
  await prepareEmbeddedStore(env, true);
});

async function json(...args: readonly string[]): Promise<Record<string, unknown>> {
  const { code, stdout } = await runCommand(['--json', ...args], env);
  return { code, ...(JSON.parse(stdout) as object) };
}

/** Leaves a copy of the current token pending, as a rotation that was killed does. @param age in milliseconds */
async function leavePending(age: number): Promise<string> {
  const versionId = randomUUID();
  await withCoreOf(
    env,
    async ({ store, config }) => {
      const [{ secretId: tokenSecretId }] = config.tokens;
      const { value } = await store.read(tokenSecretId);
      await store.putPending(tokenSecretId, versionId, value);
    },
    -age,
  );
  return versionId;
}

const currentVersion = async (): Promise<string> =>
  withCoreOf(env, async ({ rotator }) => (await rotator.current())?.versionId ?? '');

async function pendingCheck(): Promise<unknown> {
  const { checks } = await json('doctor');
  return (checks as readonly { check: string }[]).find(({ check }) => check === 'pending version');
}

test('a leftover is seen by doctor, status and --dry-run, and cleared by rotate --repair', async () => {
  const current = await currentVersion();
  const stuck = await leavePending(PENDING_GRACE + 60_000);
  expect(await pendingCheck()).toMatchObject({
    state: 'warning',
    message: expect.stringContaining(stuck),
    action: expect.stringContaining('rotate --repair'),
  });
  expect(await json('status')).toMatchObject({ code: 0, pending_leftover: stuck });
  expect(await json('rotate', '--dry-run')).toMatchObject({ pending_version_id: stuck });
  expect(await json('rotate', '--repair')).toMatchObject({ code: 0, cleared_version_id: stuck });
  expect(await pendingCheck()).toMatchObject({ state: 'ok' });
  expect(await json('rotate', '--repair')).toMatchObject({ code: 0, cleared_version_id: null });
  expect(await currentVersion()).toBe(current);
});

test('a version that a rotation may be working on is only cleared by force', async () => {
  const stuck = await leavePending(0);
  expect(await pendingCheck()).toMatchObject({
    state: 'warning',
    message: expect.stringContaining('may be running'),
  });
  expect(await json('rotate', '--repair')).toMatchObject({
    code: 1,
    error: { code: 'ROTATION_REPAIR_REFUSED', message: expect.stringContaining('--force') },
  });
  expect(await json('rotate', '--repair', '--force')).toMatchObject({
    code: 0,
    cleared_version_id: stuck,
  });
});

test('--dry-run says what would be done, and does nothing of it', async () => {
  const current = await currentVersion();
  const plan = await json('rotate', '--dry-run');
  expect(plan).toMatchObject({
    code: 0,
    dry_run: true,
    rotated_by: 'broker',
    current: { version_id: current },
    schedule: { action: 'none' },
    on_request: { action: 'mint' },
    coverage: { covered: true },
  });
  const words = await runCommand(['rotate', '--dry-run'], env);
  expect(words.stdout).toMatch(/^Nothing was written, and nothing minted\./);
  expect(words.stdout).toMatch(/^Schedule {3}would do nothing/m);
  expect(await currentVersion()).toBe(current);
});

test('rotate says when running brokers serve the new token, by their cache', async () => {
  const { stdout } = await runCommand(['rotate'], { ...env, BROKER_CACHE_TTL_SECONDS: '90' });
  expect(stdout).toContain('within 1 min 30 s');
});

test('options that do not go together are a wrong call', async () => {
  for (const args of [
    ['--repair', '--dry-run'],
    ['--dry-run', '--force'],
  ]) {
    expect(await runCommand(['rotate', ...args], env)).toMatchObject({ code: 2, stdout: '' });
  }
});
