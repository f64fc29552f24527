import { availableParallelism } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
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
const AT_ONCE = Number(process.env['FAULTS_AT_ONCE'] ?? availableParallelism() * 12);

/**
 * Milliseconds that the machine may add to each figure. On a shared machine, such as CI's, a few seconds say nothing about
 * the broker; what is broken is late by tens of seconds.
 */
const SLACK = Number(process.env['FAULTS_SLACK_MS'] ?? 500);

/** What to run, by name, when it is not all: then docs/reliability.md is left as it is. */
const ONLY = process.env['FAULTS_ONLY'];

/** Milliseconds between the starts of two cells. In step they would all want the processor in the same seconds, and measure that. */
const STAGGER = 3_000;

/** Runs one thing after the other, so many at once, and says when each ends. */
async function sideBySide<R>(atOnce: number, jobs: readonly Job<R>[]): Promise<readonly R[]> {
  const results: R[] = [];
  const left = [...jobs.entries()];
  const worker = async (_: unknown, number: number): Promise<void> => {
    await sleep(number * STAGGER);
    for (let next = left.shift(); next !== undefined; next = left.shift()) {
      const [index, { name, run }] = next;
      const from = Date.now();
      results[index] = await run();
      const took = Math.round((Date.now() - from) / 1_000);
      process.stderr.write(`${new Date().toISOString()} ${name} (${took} s)\n`);
    }
  };
  await Promise.all(Array.from({ length: atOnce }).map(worker));
  return results;
}

interface Job<R> {
  readonly name: string;
  readonly run: () => Promise<R>;
}

/** A cell of the matrix. `run` tells whether it is to be measured again. */
interface CellJob {
  readonly name: string;
  readonly run: (attempt: number) => Promise<boolean>;
}

const isChosen = ({ name }: { readonly name: string }): boolean =>
  ONLY === undefined || new RegExp(ONLY).test(name);

describe('everything that can go wrong', () => {
  const outages: CellResult[] = [];
  const coldStarts: CellResult[] = [];
  const parts: PartResult[] = [];

  beforeAll(async () => {
    const world = await World.open(LIVES);
    const storeWorld = await World.open(LIVES, process.env['FAULTS_SECRETS_MANAGER']);
    const cells = (kind: string, run: typeof outage, results: CellResult[]): readonly CellJob[] =>
      PLACES.flatMap((place) =>
        FAULTS.map((fault) => ({
          name: `${kind}: ${place}, ${fault}`,
          run: async (attempt: number) => {
            const cell = await run(place === 'store' ? storeWorld : world, place, fault, attempt);
            const alone = { outages: [], coldStarts: [], parts: [] };
            const found =
              results === outages
                ? { ...alone, outages: [cell] }
                : { ...alone, coldStarts: [cell] };
            // A median is one of all cells.
            const missed = targetsOf(found, SLACK).flatMap((target) =>
              target.missed
                .filter((text) => !text.startsWith('median'))
                .map((text) => `${target.figure}: ${text}`),
            );
            for (const text of missed) process.stderr.write(`MISSED (${attempt}) ${text}\n`);
            if (missed.length > 0 && attempt === 1) return true;
            results.push(cell);
            return false;
          },
        })),
      );
    const waiting: readonly Job<PartResult>[] = [
      { name: 'full disk', run: fullDisk },
      { name: 'read-only disk', run: readOnlyDisk },
      { name: 'frozen', run: () => frozen() },
      ...[-300, 300, -3_600, 3_600].map((ahead) => ({
        name: `clock ${ahead}`,
        run: () => wrongClock(ahead),
      })),
      { name: 'stop while rotating', run: stopWhileRotating },
      { name: 'idle connections', run: () => idleConnections(2_000) },
      { name: 'replicas', run: () => replicasAtSlot(20) },
    ];
    // These keep the machine busy.
    const busy: readonly Job<PartResult>[] = [
      { name: 'rolling restart', run: rollingRestart },
      { name: 'blocked output', run: () => blockedOutput(20_000) },
      { name: 'kill', run: () => killAtRandom(200) },
    ];
    const noted = waiting.filter(isChosen).map(({ name, run }, index) => ({
      name,
      run: async () => {
        parts[index] = await run();
      },
    }));
    const again: CellJob[] = [];
    const once = (jobs: readonly CellJob[]): readonly Job<unknown>[] =>
      jobs.filter(isChosen).map((job) => ({
        name: job.name,
        run: async () => {
          if (await job.run(1)) again.push(job);
        },
      }));
    // The long ones first, so that no long one is left for the end.
    await sideBySide(AT_ONCE, [
      ...once(cells('outage', outage, outages)),
      ...noted,
      ...once(cells('cold start', coldStart, coldStarts)),
    ]);
    // A cell that missed is measured once more, with few others running; the second result counts.
    await sideBySide(
      4,
      again.map(({ name, run }) => ({ name: `${name}, again`, run: () => run(2) })),
    );
    await world.close();
    await storeWorld.close();
    parts.push(...(await sideBySide(1, busy.filter(isChosen))));
    for (const { part, figures, skipped } of parts) {
      process.stderr.write(
        skipped === undefined ? `${part}: ${figures}\n` : `SKIPPED: ${part} (${skipped})\n`,
      );
    }
    if (ONLY === undefined) await writePage({ outages, coldStarts, parts });
  }, 1_800_000);

  test('every figure is reached', () => {
    const targets = targetsOf({ outages, coldStarts, parts }, SLACK);
    for (const { figure, right, reached } of targets) {
      process.stderr.write(`${figure}: ${reached} (must be ${right})\n`);
    }
    expect(Object.fromEntries(targets.map(({ figure, missed }) => [figure, missed]))).toEqual(
      Object.fromEntries(targets.map(({ figure }) => [figure, []])),
    );
  });
});
