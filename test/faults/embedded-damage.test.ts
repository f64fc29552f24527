import { expect, test } from '@jest/globals';
import { spawnSync } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { openEmbeddedStore } from '../../src/secrets/embedded/open-embedded-store.js';
import { collectGarbageUntil } from '../support/collect-garbage.js';
import { temporaryFolders } from '../support/temporary-folder.js';
import { program } from './embedded-child.js';

const newFolder = temporaryFolders('embedded-damage');
const SECRET = 'service-token';

test('random damage gives the right value or a clear error, never another value and never a crash', async () => {
  const dataDir = await newFolder();
  const store = await openEmbeddedStore({ dataDir });
  await store.create(SECRET, 'for the test');
  let current: string | undefined;
  for (const value of ['first', 'second', 'the right value']) {
    const versionId = randomUUID();
    await store.putPending(SECRET, versionId, value);
    await store.promote(SECRET, versionId, current);
    current = versionId;
  }
  await store.close();
  await collectGarbageUntil(() => !existsSync(join(dataDir, 'secrets.db-wal')));

  const args = [dataDir, await newFolder(), SECRET, 'the right value', '300', '42'];
  const run = spawnSync(process.execPath, [program('embedded-damage.mjs'), ...args]);
  expect(run.stderr.toString()).toBe('');
  expect({ status: run.status, signal: run.signal }).toEqual({ status: 0, signal: null });
  const outcomes = new Map(
    Object.entries(JSON.parse(run.stdout.toString()) as Record<string, number>),
  );
  // Most of so small a file is unused, and some bytes matter.
  expect(outcomes.get('right')).toBeGreaterThan(0);
  expect(outcomes.get('STORE_CORRUPT')).toBeGreaterThan(0);
  expect(outcomes.get('STORE_TAMPERED')).toBeGreaterThan(0);
  // The ids are not secret and not encrypted: where they or the salt were hit, the secret or the key is another one.
  const explained = new Set([
    'right',
    'STORE_CORRUPT',
    'STORE_TAMPERED',
    'STORE_KEY_WRONG',
    'STORE_VERSION_UNSUPPORTED',
    'SECRET_NOT_FOUND',
  ]);
  expect([...outcomes.keys()].filter((outcome) => !explained.has(outcome))).toEqual([]);
});
