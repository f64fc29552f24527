import { describe, expect, test } from '@jest/globals';
import { join } from 'node:path';
import { RotatingProcess } from '../support/rotating-process.js';
import {
  currentVersions,
  expectOneRotation,
  prepareEmbeddedStore,
  rotationScene,
  withCoreOf,
} from '../support/rotation-scene.js';
import { temporaryFolders } from '../support/temporary-folder.js';

const newFolder = temporaryFolders('replicas');
const REPLICAS = 8;

describe(`${REPLICAS} processes on one embedded store`, () => {
  test.each([
    ['an empty token secret', false],
    ['an older token', true],
  ])('rotate the same slot once, and all succeed: from %s', async (_state, older) => {
    const folder = await newFolder();
    const scene = await rotationScene(folder);
    const env = { ...scene.env, BROKER_DATA_DIR: join(folder, 'data') };
    await prepareEmbeddedStore(env, older);
    const olderId = await withCoreOf(
      env,
      async ({ rotator }) => (await rotator.current())?.versionId,
    );
    const mintedBefore = scene.provider.mintCount;
    expect(mintedBefore).toBe(older ? 1 : 0);

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
      if (!older) return;
      const previous = await store.read(tokenSecretId, { label: 'AWSPREVIOUS' });
      expect(previous.versionId).toBe(olderId);
      await scene.expectGenuine(previous.value);
    });
  });
});
