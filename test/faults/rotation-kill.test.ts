import { describe, expect, test } from '@jest/globals';
import { existsSync } from 'node:fs';
import { cp } from 'node:fs/promises';
import { join } from 'node:path';
import { pendingLeftover } from '../../src/rotation/rotation.js';
import { slotKey } from '../../src/rotation/claim.js';
import { collectGarbageUntil } from '../support/collect-garbage.js';
import { RotatingProcess } from '../support/rotating-process.js';
import {
  currentVersions,
  prepareEmbeddedStore,
  rotationScene,
  withCoreOf,
} from '../support/rotation-scene.js';
import { temporaryFolders } from '../support/temporary-folder.js';
import { killPoints } from './kill-points.js';

const newFolder = temporaryFolders('rotation-kill');

// The clocks of those that rotate, in milliseconds ahead of this machine's: the slot starts after the older token was
// minted, and when the next process comes the claim of the one that was killed has lapsed.
const SLOT = 30_000;
const FIRST = 60_000;
const NEXT = FIRST + 120_000;

/** Rotates in a process of its own, to its end or until it is killed. */
async function rotateElsewhere(env: NodeJS.ProcessEnv, slotStart: number, killAt: number) {
  const replica = new RotatingProcess({ env, clockAhead: FIRST, killAt });
  const rotation = await replica.rotate(slotStart);
  return { rotation, exit: await replica.end(), points: replica.points };
}

// The store changes only within its calls, each of which is atomic (embedded-kill.test.ts). So these points show every
// state that a killed rotation can leave behind, and that a reader can meet while one runs.
describe('a rotation that is killed before or after any call of the store or the provider', () => {
  test.each([
    ['an empty token secret', false],
    ['an older token', true],
  ])(
    'leaves AWSCURRENT valid, and the next one succeeds: from %s',
    async (_state, older) => {
      const folder = await newFolder();
      const scene = await rotationScene(folder);
      const { provider } = scene;
      const template = join(folder, 'template');
      const prepared = { ...scene.env, BROKER_DATA_DIR: template };
      await prepareEmbeddedStore(prepared, older);
      const olderId = await withCoreOf(
        prepared,
        async ({ rotator }) => (await rotator.current())?.versionId,
      );
      expect(olderId !== undefined).toBe(older);
      // Its log goes when the driver lets go of the file. A copy that is made meanwhile meets a file that vanishes.
      await collectGarbageUntil(() => !existsSync(join(template, 'secrets.db-wal')));
      const slotStart = Date.now() + SLOT;

      const copyOf = async (name: string): Promise<NodeJS.ProcessEnv> => {
        const copy = join(folder, name);
        await cp(template, copy, { recursive: true });
        return { ...scene.env, BROKER_DATA_DIR: copy };
      };

      const whole = await rotateElsewhere(await copyOf('whole'), slotStart, 0);
      expect(whole).toMatchObject({
        exit: { code: 0, signal: null },
        rotation: { result: 'rotated' },
      });
      const { points } = whole;
      const minted = points.indexOf('after provider.mint');
      const staged = points.indexOf('after store.putPending');
      const promoted = points.indexOf('after store.promote');
      // Each is there, once, in this order.
      expect([minted, staged, promoted].toSorted((a, b) => a - b)).toEqual([
        minted,
        staged,
        promoted,
      ]);
      expect(minted).toBeGreaterThan(0);
      expect(points.filter((point) => point === 'after provider.mint')).toHaveLength(1);

      for (const place of killPoints(points.length)) {
        const index = place - 1;
        const point = points[index];
        const env = await copyOf(`killed-${index}`);
        const mintedBefore = provider.mintCount;
        const killed = await rotateElsewhere(env, slotStart, place);
        expect(killed.exit).toEqual({ code: null, signal: 'SIGKILL' });
        expect(killed.points).toEqual(points.slice(0, index + 1));

        const after = await withCoreOf(
          env,
          async ({ store, config, rotator }) => {
            const [{ secretId: tokenSecretId }] = config.tokens;
            const found = await currentVersions(store, tokenSecretId);
            if (found.length > 0)
              await scene.expectGenuine((await store.read(tokenSecretId)).value);

            const rotated = await rotator.rotate({
              trigger: 'schedule',
              key: slotKey(slotStart),
              slotStart,
            });
            await scene.expectGenuine((await store.read(tokenSecretId)).value);
            const current = await currentVersions(store, tokenSecretId);
            const leftover = pendingLeftover(await store.describe(tokenSecretId));
            const previous = older
              ? (await store.read(tokenSecretId, { label: 'AWSPREVIOUS' })).versionId
              : undefined;
            const mints = provider.mintCount - mintedBefore;
            return { point, found, rotated, current, leftover, previous, mints };
          },
          NEXT,
        );

        const versionId = current(whole.rotation);
        const isPromoted = index >= promoted;
        const isLost = index >= minted && index < staged;
        expect(after).toEqual({
          point,
          found: isPromoted ? [versionId] : older ? [olderId] : [],
          rotated: {
            versionId,
            result: isPromoted ? 'already-rotated' : index >= staged ? 'adopted' : 'rotated',
          },
          current: [versionId],
          leftover: undefined,
          previous: olderId,
          // A token that was minted and not kept is lost; nothing else is ever minted twice.
          mints: isLost ? 2 : 1,
        });
      }
    },
    600_000,
  );
});

function current(rotation: object): string {
  return 'versionId' in rotation ? String(rotation.versionId) : '';
}
