import { availableParallelism } from 'node:os';
import { beforeAll, describe, expect, test } from '@jest/globals';
import {
  blockedOutput,
  frozen,
  fullDisk,
  idleConnections,
  killAtRandom,
  readOnlyDisk,
  replicasAtSlot,
  rollingRestart,
  stopWhileRotating,
  wrongClock,
  type PartResult,
} from './beside.js';
import { FAULTS } from './fault-proxy.js';
import { coldStart, outage, type CellResult } from './matrix.js';
import { targetsOf, writePage } from './report.js';
import { PLACES, World, type Lives } from './scene.js';

/** The shortest lives that leave room for two checks of the schedule between a slot and the end of the token. */
const LIVES: Lives = { token: 75, slot: 30, ttl: 3, skew: 3, minRemaining: 10 };

/** Brokers at once: most of them wait most of the time. */
const AT_ONCE = availableParallelism() * 10;

/** Runs one thing after the other, so many at once, and says when each ends. */
async function sideBySide<R>(
  atOnce: number,
  jobs: readonly { readonly name: string; readonly run: () => Promise<R> }[],
): Promise<readonly R[]> {
  const results: R[] = [];
  const left = [...jobs.entries()];
  const worker = async (): Promise<void> => {
    for (let next = left.shift(); next !== undefined; next = left.shift()) {
      const [index, { name, run }] = next;
      const from = Date.now();
      results[index] = await run();
      const took = Math.round((Date.now() - from) / 1_000);
      process.stderr.write(`${new Date().toISOString()} ${name} (${took} s)\n`);
    }
  };
  await Promise.all(Array.from({ length: atOnce }, worker));
  return results;
}

const part = (
  run: () => Promise<PartResult>,
): { name: string; run: () => Promise<PartResult> } => ({
  name: 'a part beside the matrix',
  run,
});

describe('everything that can go wrong', () => {
  const outages: CellResult[] = [];
  const coldStarts: CellResult[] = [];
  const parts: PartResult[] = [];

  beforeAll(async () => {
    const world = await World.open(LIVES);
    const storeWorld = await World.open(LIVES, process.env['FAULTS_SECRETS_MANAGER']);
    const cells = PLACES.flatMap((place) => FAULTS.map((fault) => ({ place, fault })));
    const [long, short] = [outage, coldStart].map((run) =>
      cells.map(({ place, fault }) => ({
        name: `${run === outage ? 'outage' : 'cold start'}: ${place}, ${fault}`,
        run: () => run(place === 'store' ? storeWorld : world, place, fault),
      })),
    );
    // The long ones first, so that no long one is left for the end.
    const results = await sideBySide(AT_ONCE, [...(long ?? []), ...(short ?? [])]);
    outages.push(...results.slice(0, cells.length));
    coldStarts.push(...results.slice(cells.length));
    await world.close();
    await storeWorld.close();

    const waiting = await sideBySide(12, [
      part(fullDisk),
      part(readOnlyDisk),
      part(frozen),
      ...[-300, 300, -3_600, 3_600].map((ahead) => part(() => wrongClock(ahead))),
      part(stopWhileRotating),
      part(() => idleConnections(2_000)),
      part(() => replicasAtSlot(20)),
    ]);
    // These keep the machine busy.
    const busy = await sideBySide(1, [
      part(rollingRestart),
      part(() => blockedOutput(20_000)),
      part(() => killAtRandom(200)),
    ]);
    parts.push(...waiting, ...busy);
    for (const { part: name, skipped } of parts) {
      if (skipped !== undefined) process.stderr.write(`SKIPPED: ${name} (${skipped})\n`);
    }
    await writePage({ outages, coldStarts, parts });
  }, 1_800_000);

  test('every figure is reached', () => {
    const targets = targetsOf({ outages, coldStarts, parts });
    expect(Object.fromEntries(targets.map(({ figure, missed }) => [figure, missed]))).toEqual(
      Object.fromEntries(targets.map(({ figure }) => [figure, []])),
    );
  });
});
