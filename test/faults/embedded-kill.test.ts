import { describe, expect, test } from '@jest/globals';
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as delay } from 'node:timers/promises';
import { Database } from '../../src/secrets/embedded/database.js';
import { openEmbeddedStore } from '../../src/secrets/embedded/open-embedded-store.js';
import { versionWithLabel } from '../../src/secrets/secret-store.js';
import { systemClock } from '../../src/tokens/time.js';
import { temporaryFolders } from '../support/temporary-folder.js';
import { program } from './embedded-child.js';

const newFolder = temporaryFolders('embedded-kill');
const SECRET = 'service-token';

/** A repeatable row of numbers from 0 to below 1. The moment of a kill still differs from run to run. */
function seeded(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
}

/** What a writer had said when it was killed. */
interface LastWords {
  readonly promoted: readonly string[];
  /** The one it was working on, if any: it may have become current or not. */
  readonly unfinished: string | undefined;
}

/** Runs a writer, and kills it `milliseconds` after it has said `line` for the `count`-th time. */
async function killWriter(
  dataDir: string,
  line: 'opening' | 'promoting' | 'promoted',
  count: number,
  milliseconds: number,
): Promise<LastWords> {
  const writer = spawn(process.execPath, [program('embedded-writer.mjs'), dataDir, SECRET], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const closed = new Promise<NodeJS.Signals | null>((resolve) => {
    writer.once('close', (_, signal) => {
      resolve(signal);
    });
  });
  const promoted: string[] = [];
  let unfinished: string | undefined;
  let seen = 0;
  createInterface({ input: writer.stdout }).on('line', (said) => {
    const [verb, versionId = ''] = said.split(' ');
    if (verb === 'promoting') unfinished = versionId;
    if (verb === 'promoted') {
      promoted.push(versionId);
      unfinished = undefined;
    }
    if (verb === line) seen += 1;
    if (verb === line && seen === count) {
      void delay(milliseconds).then(() => writer.kill('SIGKILL'));
    }
  });
  expect(await closed).toBe('SIGKILL');
  return { promoted, unfinished };
}

function expectSound(dataDir: string): void {
  const database = new Database(join(dataDir, 'secrets.db'), systemClock);
  expect(database.rows('PRAGMA integrity_check')[0]?.['integrity_check']).toBe('ok');
  expect(database.rows('PRAGMA foreign_key_check')).toEqual([]);
  database.close();
}

describe('a process that is killed at any moment', () => {
  test('loses nothing it has acknowledged: 24 kills on one data folder', async () => {
    const dataDir = await newFolder();
    const random = seeded(20_260_101);
    const acknowledged: string[] = [];
    for (let round = 0; round < 24; round += 1) {
      const line = round % 2 === 0 ? 'promoting' : 'promoted';
      const words = await killWriter(dataDir, line, 1 + Math.floor(random() * 8), random() * 4);
      acknowledged.push(...words.promoted);

      const store = await openEmbeddedStore({ dataDir });
      const current = versionWithLabel(await store.describe(SECRET), 'AWSCURRENT');
      expect([acknowledged.at(-1), words.unfinished]).toContain(current);
      if (current !== undefined) {
        expect((await store.read(SECRET)).value.trimEnd()).toBe(`value of ${current}`);
        // The unfinished one counts from now on: it is what the next process finds.
        if (current === words.unfinished) acknowledged.push(current);
      }
      if (acknowledged.length > 1) {
        const previous = await store.read(SECRET, { label: 'AWSPREVIOUS' });
        expect(previous.versionId).toBe(acknowledged.at(-2));
      }
      await store.close();
      expectSound(dataDir);
    }
    const store = await openEmbeddedStore({ dataDir });
    expect(acknowledged.length).toBeGreaterThan(24);
    for (const versionId of acknowledged) {
      const { value } = await store.read(SECRET, { versionId });
      expect(value.trimEnd()).toBe(`value of ${versionId}`);
    }
    await store.close();
  });

  test('leaves a folder that the next one can use: 12 kills during the first start', async () => {
    const random = seeded(7);
    for (let round = 0; round < 12; round += 1) {
      const dataDir = join(await newFolder(), 'data');
      const words = await killWriter(dataDir, 'opening', 1, random() * 25);
      const store = await openEmbeddedStore({ dataDir });
      await store.create(SECRET, 'by the next process');
      const current = versionWithLabel(await store.describe(SECRET), 'AWSCURRENT');
      expect([words.promoted.at(-1), words.unfinished]).toContain(current);
      const next = `next-${round}`.padEnd(32, '-');
      await store.putPending(SECRET, next, 'next');
      await store.promote(SECRET, next, current);
      expect((await store.read(SECRET)).value).toBe('next');
      await store.close();
      expectSound(dataDir);
    }
  });
});
