import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TokenCore } from '../../src/composition/core.js';
import { RotationSchedule } from '../../src/rotation/rotation-schedule.js';
import { pendingLeftover } from '../../src/rotation/rotation.js';
import { runCommand, startBroker } from '../support/broker-process.js';
import { rotationScene, withCoreOf, type RotationScene } from '../support/rotation-scene.js';
import { startAwsFront, type AwsFront } from './aws-front.js';
import { clearPending, createSecrets, enableRotation, MOTO } from './aws-secrets.js';

let folder = '';
let scene: RotationScene;
let env: NodeJS.ProcessEnv;
let tokenSecret = '';
let front: AwsFront;

/** A broker whose first token it has minted itself; from then on Secrets Manager rotates. */
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'watchdog-aws-'));
  scene = await rotationScene(folder);
  front = await startAwsFront(MOTO);
  // For the broker in this process; the others get it by their settings.
  process.env['AWS_ENDPOINT_URL_SECRETS_MANAGER'] = front.url;
  const secrets = await createSecrets();
  tokenSecret = secrets.BROKER_TOKEN_SECRET_ID;
  env = { ...scene.env, ...secrets, AWS_ENDPOINT_URL_SECRETS_MANAGER: front.url };
  await withCoreOf(env, ({ rotator }) => rotator.rotate({ trigger: 'cli' }));
  await enableRotation(tokenSecret);
});
afterAll(async () => {
  process.env['AWS_ENDPOINT_URL_SECRETS_MANAGER'] = MOTO;
  await front.close();
  await rm(folder, { recursive: true, force: true });
});

const pendingNow = (): Promise<string | undefined> =>
  withCoreOf(env, async ({ rotator }) => pendingLeftover(await rotator.describe()));
const currentNow = (): Promise<string | undefined> =>
  withCoreOf(env, async ({ rotator }) => (await rotator.current())?.versionId);

/** What Secrets Manager does after RotateSecret: the four steps on the version that it has registered. */
async function runFunction(): Promise<string> {
  return withCoreOf(env, async ({ rotator }) => {
    const versionId = pendingLeftover(await rotator.describe()) ?? '';
    const { steps } = rotator;
    await steps.createSecret(versionId, { managed: true });
    await steps.setSecret(versionId, { managed: true });
    await steps.testSecret(versionId, { managed: true });
    await steps.finishSecret(versionId, { managed: true });
    await clearPending(tokenSecret);
    return versionId;
  });
}

function scheduleOf(
  { rotator, slots, clock }: TokenCore,
  minimumRemaining: number,
): RotationSchedule {
  return new RotationSchedule({ rotator, slots, clock, minimumRemaining });
}

const DAY = 86_400_000;

describe('where Secrets Manager rotates', () => {
  test('the schedule asks for a rotation when the life runs out, and only then', async () => {
    const before = await currentNow();
    const minted = scene.provider.mintCount;
    // A token lives 25 hours: there is more than a day left now, and less in two hours.
    await withCoreOf(env, (core) => scheduleOf(core, DAY).check());
    expect(await pendingNow()).toBeUndefined();
    const ahead = 2 * 3_600_000;
    await withCoreOf(env, (core) => scheduleOf(core, DAY).check(), ahead);
    const asked = await pendingNow();
    expect(asked).toBeDefined();
    // Another replica at the same time asks for the same version, or finds that somebody has.
    await withCoreOf(env, (core) => scheduleOf(core, DAY).check(), ahead);
    expect(await currentNow()).toBe(before);
    expect(scene.provider.mintCount).toBe(minted);
    const rotated = await runFunction();
    expect(await currentNow()).toBe(rotated);
    await withCoreOf(env, async ({ store }) => {
      await scene.expectGenuine((await store.read(tokenSecret)).value);
    });
  });

  test('the command line asks, and says so', async () => {
    const before = await currentNow();
    const plan = await runCommand(['--json', 'rotate', '--dry-run'], env);
    expect(JSON.parse(plan.stdout)).toMatchObject({
      rotated_by: 'secrets-manager',
      schedule: { action: 'none' },
      on_request: { action: 'request' },
    });
    expect(await pendingNow()).toBeUndefined();
    const { code, stdout } = await runCommand(['--json', 'rotate'], env);
    const answer = JSON.parse(stdout) as { result: string; version_id: string };
    expect({ code, result: answer.result }).toEqual({ code: 0, result: 'requested' });
    expect(await pendingNow()).toBe(answer.version_id);
    expect(await currentNow()).toBe(before);
    const status = await runCommand(['status'], env);
    expect(status.stdout).toMatch(/by Secrets Manager/);
    expect(status.stdout).toContain(answer.version_id);
    await runFunction();
    expect(await currentNow()).toBe(answer.version_id);
  });

  test('POST /v1/rotate asks, and answers 202', async () => {
    const file = join(folder, 'admin.json');
    await runCommand(['peers', 'add', 'admin', '--role', 'admin', '--secret-file', file], env);
    const peer = JSON.parse(await readFile(file, 'utf8')) as { id: string; secret: string };
    const broker = await startBroker(['serve'], env);
    const response = await fetch(`${broker.url}/v1/rotate`, {
      method: 'POST',
      headers: { authorization: `Basic ${btoa(`${peer.id}:${peer.secret}`)}` },
    });
    expect(response.status).toBe(202);
    const answer = (await response.json()) as { version_id: string; outcome: string };
    expect(answer.outcome).toBe('requested');
    expect(await pendingNow()).toBe(answer.version_id);
    await runFunction();
    expect(await currentNow()).toBe(answer.version_id);
    await broker.stop();
    expect(broker.stdout()).toContain('Secrets Manager was asked to rotate');
    expect(broker.stdout()).toContain('"mode":"secrets-manager"');
  });

  test('a version that a failed rotation left behind is cleared by --repair', async () => {
    const before = await currentNow();
    const asked = await runCommand(['--json', 'rotate'], env);
    const { version_id: stuck } = JSON.parse(asked.stdout) as { version_id: string };
    expect(await runCommand(['rotate'], env)).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/rotate --repair.*STORE_ROTATION_PENDING/s),
    });
    expect(await runCommand(['rotate', '--repair'], env)).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('ROTATION_REPAIR_REFUSED'),
    });
    const repaired = await runCommand(['--json', 'rotate', '--repair', '--force'], env);
    expect(JSON.parse(repaired.stdout)).toMatchObject({ cleared_version_id: stuck });
    expect(await pendingNow()).toBeUndefined();
    expect(await currentNow()).toBe(before);
  });
});
