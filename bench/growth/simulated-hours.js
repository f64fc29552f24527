import { createWriteStream } from 'node:fs';
import { setImmediate as turn } from 'node:timers/promises';
import { countCalls } from '../hour.js';
import { addManyTokens } from '../many-tokens.js';
import { addManyPeers, peersSettings } from '../peers.js';
import { setScene } from '../scene.js';

const SECOND = 1_000;
const HOUR = 3_600;
const CHECK_EVERY_SECONDS = 15;

/** Calls of the store in a simulated hour without a slot, and mints in one with a slot, by how many replicas share the store. */
export async function simulateReplicas(build, sizes, tell) {
  const points = { calls: [], slotMints: [] };
  for (const size of sizes) {
    tell(`growth: two simulated hours of ${size} replicas`);
    const { calls, mints } = await simulate(build, { replicas: size, hours: 2 });
    points.calls.push([size, calls[0]]);
    points.slotMints.push([size, mints[1]]);
  }
  return points;
}

/** Calls of the store in a simulated hour without a slot, by how many tokens a broker keeps. */
export async function simulateTokens(build, sizes, tell) {
  const points = { calls: [] };
  for (const size of sizes) {
    tell(`growth: a simulated hour of ${size} tokens`);
    const { calls } = await simulate(build, { tokens: size, hours: 1 });
    points.calls.push([size, calls[0]]);
  }
  return points;
}

/** Calls of the store in a simulated hour without a slot, by how many peers a broker knows. */
export async function simulatePeers(build, sizes, tell) {
  const points = { calls: [] };
  for (const size of sizes) {
    tell(`growth: a simulated hour of ${size} peers`);
    const { calls } = await simulate(build, { peers: size, hours: 1 });
    points.calls.push([size, calls[0]]);
  }
  return points;
}

/**
 * Brokers in this process, as `serve` runs them: each keeps its caches warm every second and its schedule checks every fifteen. They have one
 * clock, moved by hand, and each its own connection to one embedded store. In the middle of the second hour a slot begins.
 *
 * @returns for each hour the calls of the store and the mints.
 */
async function simulate(build, { replicas = 1, tokens = 1, peers = 1, hours }) {
  const [real, { createRuntime }, { openStore }, { createLogger }, { loadConfig }] =
    await Promise.all(
      [
        'tokens/time.js',
        'composition/runtime.js',
        'composition/open-store.js',
        'operations/log.js',
        'config/load-config.js',
      ].map(build.load),
    );
  const startOfTime = Date.now();
  let now = startOfTime;
  const clock = { now: () => now, sleep: real.systemClock.sleep };
  const slot = new Date(startOfTime + 1.5 * HOUR * SECOND);
  const scene = await setScene(build, {
    ...peersSettings(peers - 1),
    BROKER_ROTATION_CRON: `${slot.getUTCMinutes()} ${slot.getUTCHours()} * * *`,
  });
  const brokers = [];
  try {
    await addManyPeers(build, scene, peers - 1);
    const env = tokens === 1 ? scene.env : await addManyTokens(build, scene, tokens);
    const config = loadConfig({ env });
    for (let replica = 0; replica < replicas; replica += 1) {
      const counted = countCalls(await openStore(config, clock));
      const log = createLogger({ level: 'info', destination: createWriteStream('/dev/null') });
      const runtime = await createRuntime(config, { store: counted.store, clock, log });
      brokers.push({ counted, runtime });
    }
    const checkAll = () =>
      Promise.all(
        brokers.flatMap(({ runtime }) =>
          [...runtime.each.values()].map(({ schedule }) => schedule.check()),
        ),
      );
    await checkAll();
    const measured = { calls: [], mints: [] };
    for (let hour = 0; hour < hours; hour += 1) {
      for (const { counted } of brokers) counted.reset();
      const minted = scene.provider.mintCount;
      for (let second = 0; second < HOUR; second += 1) {
        now += SECOND;
        if (second % CHECK_EVERY_SECONDS === 0) await checkAll();
        for (const { runtime } of brokers) runtime.serving.keepWarm();
        // A read that is under way ends in this second of simulated time.
        do await turn();
        while (brokers.some(({ counted }) => counted.reading() > 0));
      }
      measured.calls.push(brokers.reduce((sum, { counted }) => sum + counted.calls(), 0));
      measured.mints.push(scene.provider.mintCount - minted);
    }
    return measured;
  } finally {
    await Promise.all(brokers.map(({ runtime }) => runtime.core.close()));
    await scene.close();
  }
}
