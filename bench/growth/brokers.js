import { mkdtemp } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { forked } from '../forked.js';
import { underLoad } from '../load.js';
import { addManyTokens } from '../many-tokens.js';
import { addManyPeers, peersSettings } from '../peers.js';
import { publishedCli, SETTLED } from '../production.js';
import { inTurn } from '../rounds.js';
import { setScene } from '../scene.js';
import { startBroker } from '../server-process.js';
import { median } from '../statistics.js';
import { number } from '../table.js';
import { residentBytes } from '../usage.js';

/** Brokers that differ by their list of peers alone. */
export async function measurePeersGrowth(build, sizes, flags, tell) {
  return measureBrokers(sizes, flags, tell, 'peers', async (size) => {
    const scene = await setScene(build, peersSettings(size - 1));
    await addManyPeers(build, scene, size - 1);
    return scene;
  });
}

/** Brokers that differ by how many tokens of one provider they keep; all are minted before. */
export async function measureTokensGrowth(build, sizes, flags, tell) {
  return measureBrokers(sizes, flags, tell, 'tokens', async (size) => {
    const scene = await setScene(build);
    return { ...scene, env: await addManyTokens(build, scene, size) };
  });
}

/** Brokers as published: their starts, and then all under load, in turn. One list of points for each figure. */
async function measureBrokers(sizes, flags, tell, what, makeScene) {
  const scenes = new Map();
  const measured = new Map(sizes.map((size) => [size, {}]));
  try {
    for (const size of sizes) {
      tell(`growth: a broker with ${number(size)} ${what}`);
      scenes.set(size, await makeScene(size));
    }
    const start = async (size) => {
      const { env, folder } = scenes.get(size);
      const log = join(await mkdtemp(join(folder, 'serve-')), 'log');
      return startBroker({ cli: publishedCli() }, 'serve', env, log);
    };
    for (let round = 0; round < flags.starts; round += 1) {
      await measureStarts(sizes, start, measured);
      tell(`growth: ${what}, start ${round + 1} of ${flags.starts}`);
    }
    await measureLoads(sizes, start, scenes, measured, flags, (round) =>
      tell(`growth: ${what}, round ${round + 1} of ${flags.rounds}`),
    );
  } finally {
    await Promise.all([...scenes.values()].map((scene) => scene.close()));
  }
  return pointsOf(measured);
}

async function measureStarts(sizes, start, measured) {
  const running = new Map();
  try {
    for (const size of sizes) {
      const broker = await start(size);
      running.set(size, broker);
      note(measured.get(size), { start: broker.milliseconds });
    }
    await sleep(SETTLED);
    for (const [size, { pid }] of running) {
      note(measured.get(size), { idle: await residentBytes(pid) });
    }
  } finally {
    await Promise.all([...running.values()].map((broker) => broker.stop()));
  }
}

async function measureLoads(sizes, start, scenes, measured, flags, onRound) {
  const running = new Map();
  const generator = forked('./load-generator.js');
  try {
    for (const size of sizes) running.set(size, await start(size));
    const load = (size, seconds) => {
      const { url, pid } = running.get(size);
      const headers = { authorization: scenes.get(size).authorization };
      const { connections } = flags;
      return underLoad(
        generator,
        { url: `${url}/v1/token`, pid },
        { headers, connections, seconds },
      );
    };
    for (const size of sizes) await load(size, flags.warmUp);
    await inTurn(sizes, flags.rounds, async (size, round) => {
      const { processor, resident, p99 } = await load(size, flags.seconds);
      note(measured.get(size), { processor, resident, p99 });
      if (size === sizes.at(-1)) onRound(round);
    });
  } finally {
    await Promise.all([generator, ...running.values()].map((each) => each.stop()));
  }
}

/** Adds a value to the list of each figure. */
export function note(figures, values) {
  for (const [figure, value] of Object.entries(values)) (figures[figure] ??= []).push(value);
}

/** For each figure its points: a size, the median of what was measured, and all of it. */
export function pointsOf(measured) {
  const figures = Object.keys([...measured.values()][0]);
  return Object.fromEntries(
    figures.map((figure) => [
      figure,
      [...measured].map(([size, values]) => [size, median(values[figure]), values[figure]]),
    ]),
  );
}

/**
 * So many brokers over one store that is empty, started at the same moment: when the last of them is ready, what they mint, and the memory
 * of each.
 */
export async function measureReplicasGrowth(build, sizes, flags, tell) {
  const measured = new Map(sizes.map((size) => [size, {}]));
  for (let round = 0; round < flags.starts; round += 1) {
    for (const size of sizes) {
      const scene = await setScene(build);
      const running = [];
      try {
        const startedAt = performance.now();
        const starts = Array.from({ length: size }, (_, at) =>
          startBroker({ cli: publishedCli() }, 'serve', scene.env, join(scene.folder, `log-${at}`)),
        );
        const settled = await Promise.allSettled(starts);
        running.push(...settled.flatMap(({ value }) => value ?? []));
        const failed = settled.find(({ status }) => status === 'rejected');
        if (failed !== undefined) throw failed.reason;
        note(measured.get(size), { start: performance.now() - startedAt });
        await sleep(SETTLED);
        const resident = await Promise.all(running.map(({ pid }) => residentBytes(pid)));
        note(measured.get(size), { idle: median(resident), startMints: scene.provider.mintCount });
      } finally {
        await Promise.all(running.map((broker) => broker.stop()));
        await scene.close();
      }
    }
    tell(`growth: replicas, start ${round + 1} of ${flags.starts}`);
  }
  return pointsOf(measured);
}
