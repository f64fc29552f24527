import {
  CancelRotateSecretCommand,
  RotateSecretCommand,
  SecretsManagerClient,
} from '@aws-sdk/client-secrets-manager';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { randomUUID } from 'node:crypto';
import { createAwsStore } from '../../src/secrets/aws/aws-store.js';
import { versionWithLabel, type SecretStore } from '../../src/secrets/secret-store.js';
import type { Clock } from '../../src/tokens/time.js';
import { runModel } from '../rotation/model/model.js';
import { SIGNED } from '../rotation/model/signed.js';
import type { StoreKind } from '../rotation/model/stores.js';
import { startAwsFront, type AwsFront } from './aws-front.js';
import { clearPending, enableRotation, MOTO } from './aws-secrets.js';

let front: AwsFront;
let aws: SecretsManagerClient;
let store: SecretStore;

beforeAll(async () => {
  front = await startAwsFront(MOTO);
  aws = new SecretsManagerClient({ endpoint: front.url });
  store = createAwsStore({ endpoint: front.url, clock: { now: Date.now, sleep: async () => {} } });
});
afterAll(async () => {
  aws.destroy();
  await store.close();
  await front.close();
});

/** The store with the dates of a run's clock, in place of the server's. */
function dated(secretId: string, clock: Clock): SecretStore {
  const createdAt = new Map<string, number>();
  let changedAt = clock.now();
  const noted = async (change: Promise<void>, versionId?: string): Promise<void> => {
    await change;
    changedAt = clock.now();
    if (versionId !== undefined && !createdAt.has(versionId)) createdAt.set(versionId, changedAt);
  };
  return {
    name: store.name,
    read: async (id, selector) => {
      const version = await store.read(id, selector);
      return { ...version, createdAt: createdAt.get(version.versionId) ?? changedAt };
    },
    describe: async (id) => ({ ...(await store.describe(id)), changedAt }),
    create: (id, description) => store.create(id, description),
    putPending: (id, version, value, options) =>
      noted(store.putPending(id, version, value, options), version),
    putClaim: (id, version, value) => noted(store.putClaim(id, version, value), version),
    releaseClaim: (id, version) => noted(store.releaseClaim(id, version)),
    promote: (id, version, expected) => noted(store.promote(id, version, expected)),
    clearPending: (id, version) => noted(store.clearPending(id, version)),
    requestRotation: async (id, version) => {
      await clearFinished(secretId);
      await noted(store.requestRotation(id, version));
    },
    close: async () => undefined,
  };
}

/** moto, unlike AWS, refuses to rotate while AWSPENDING is on the current version. */
async function clearFinished(secretId: string): Promise<void> {
  const description = await store.describe(secretId);
  const pending = versionWithLabel(description, 'AWSPENDING');
  if (pending === versionWithLabel(description, 'AWSCURRENT')) await clearPending(secretId);
}

const SECRETS_MANAGER: StoreKind = {
  name: 'aws',
  isManager: true,
  open: async (_traits, clock) => {
    const secretId = `interop/${randomUUID()}/token`;
    await store.create(secretId, 'of a run of the model');
    const asOfRun = dated(secretId, clock);
    return {
      store: asOfRun,
      secretId,
      manager: {
        setRotation: async (isEnabled) => {
          const description = await store.describe(secretId);
          if (description.rotationEnabled === isEnabled) return;
          if (!isEnabled) {
            await aws.send(new CancelRotateSecretCommand({ SecretId: secretId }));
            return;
          }
          await enableRotation(secretId);
        },
        register: async (versionId) => {
          await clearFinished(secretId);
          await aws.send(
            new RotateSecretCommand({ SecretId: secretId, ClientRequestToken: versionId }),
          );
        },
      },
    };
  },
};

test('every invariant of rotation holds on Secrets Manager, as moto has it', async () => {
  const seed = Number(process.env['MODEL_SEED'] ?? 20261122);
  const runs = Number(process.env['MODEL_RUNS'] ?? 10);
  const report = await runModel({
    kind: SECRETS_MANAGER,
    signatures: SIGNED,
    runs,
    seed,
    path: process.env['MODEL_PATH'],
    replayPath: process.env['MODEL_REPLAY'],
    commands: 20,
    // Each call goes over HTTP: to find a shorter list would take many minutes.
    shrinks: false,
  });
  expect(report.failure).toBeUndefined();
  expect(report.runs).toBe(runs);
});
