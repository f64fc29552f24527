import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { coreOf, createCore } from '../../src/composition/core.js';
import { loadConfig } from '../../src/config/load-config.js';
import { createSlots } from '../../src/rotation/coverage.js';
import { RotationSchedule } from '../../src/rotation/rotation-schedule.js';
import { createAwsStore } from '../../src/secrets/aws/aws-store.js';
import { openEmbeddedStore } from '../../src/secrets/embedded/open-embedded-store.js';
import type { SecretStore } from '../../src/secrets/secret-store.js';
import { serializeServiceToken } from '../../src/tokens/service-token.js';
import { systemClock } from '../../src/tokens/time.js';
import { startSecretsManager } from '../faults/secrets-manager.js';
import { isolateAwsSettings } from '../secrets/aws/scripted-endpoint.js';
import { CREDENTIALS, rotationScene } from '../support/rotation-scene.js';
import { temporaryFolders } from '../support/temporary-folder.js';
import { HOUR, tokenOf } from './rotation-fixture.js';

const newFolder = temporaryFolders('store-calls');
const [{ secretId: tokenSecretId, credentialsSecretId }] = loadConfig({ env: {} }).tokens;

let restore: () => void;
beforeEach(() => {
  restore = isolateAwsSettings();
});
afterEach(() => restore());

/** The same store, which counts its calls by their kind and secret. */
function counted(store: SecretStore, calls: Record<string, number>): SecretStore {
  return new Proxy(store, {
    get(target, property) {
      const member: unknown = Reflect.get(target, property);
      if (typeof member !== 'function') return member;
      return (...args: readonly unknown[]): unknown => {
        const call = `${String(property)} ${args[0] === credentialsSecretId ? 'credentials' : 'token'}`;
        calls[call] = (calls[call] ?? 0) + 1;
        return Reflect.apply(member, target, args);
      };
    },
  });
}

/**
 * Two scheduled rotations of one process, and the calls of the second, as in every slot after the first. The broker is
 * told by the credentials secret alone who the provider is.
 */
async function callsOfScheduledRotation(store: SecretStore): Promise<Record<string, number>> {
  const { env } = await rotationScene(await newFolder());
  const { BROKER_ISSUER: issuer, BROKER_AUDIENCE: audience } = env;
  await store.create(credentialsSecretId, 'for a test');
  await store.create(tokenSecretId, 'for a test');
  const credentials = JSON.stringify({ ...JSON.parse(CREDENTIALS), issuer, audience });
  const old = tokenOf('old', Date.now() - 48 * HOUR, 240 * HOUR);
  for (const [secretId, versionId, value] of [
    [credentialsSecretId, '00000000-0000-4000-8000-00000000000a', credentials],
    [tokenSecretId, '00000000-0000-4000-8000-00000000000b', serializeServiceToken(old)],
  ] as const) {
    await store.putPending(secretId, versionId, value);
    if ((await store.describe(secretId)).labels.get(versionId)?.includes('AWSCURRENT')) continue;
    await store.promote(secretId, versionId, undefined);
  }
  const calls: Record<string, number> = {};
  let ahead = 0;
  const clock = { ...systemClock, now: () => Date.now() + ahead };
  const core = coreOf(
    await createCore(loadConfig({ env: {} }), { store: counted(store, calls), clock }),
  );
  const schedule = new RotationSchedule({
    rotator: core.rotator,
    slots: createSlots('0 * * * *'),
    minimumRemaining: HOUR,
    clock,
  });
  try {
    await schedule.check();
    const first = await core.rotator.current();
    for (const call of Object.keys(calls)) delete calls[call];
    ahead = HOUR;
    await schedule.check();
    const counts = { ...calls };
    const results = core.rotator.outcomes.list().map(({ result, code }) => code ?? result);
    expect(results).toEqual(['rotated', 'rotated']);
    expect((await core.rotator.current())?.versionId).not.toBe(first?.versionId);
    return counts;
  } finally {
    await core.store.close();
  }
}

const CONTRACT = {
  // Who rotates, at its beginning; which version is current, at the compare-and-swap.
  'describe token': 2,
  // What is current; the slot's version, before and after the claim; the staged value; what is current now.
  'read token': 5,
  'read credentials': 1,
  'putClaim token': 1,
  'putPending token': 1,
  'promote token': 1,
};

test('a scheduled rotation makes eleven calls to the embedded store', async () => {
  const store = await openEmbeddedStore({ dataDir: await newFolder(), clock: systemClock });
  expect(await callsOfScheduledRotation(store)).toEqual(CONTRACT);
});

test('a scheduled rotation makes eleven calls to AWS Secrets Manager', async () => {
  const aws = await startSecretsManager();
  try {
    expect(await callsOfScheduledRotation(createAwsStore({ endpoint: aws.url }))).toEqual(CONTRACT);
  } finally {
    await aws.close();
  }
});
