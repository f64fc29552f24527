import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { measureDevMemory } from './load.js';
import { temporaryFolder } from './scene.js';
import { runToEnd, startBroker } from './server-process.js';
import { pairedRatio, spread } from './statistics.js';
import { milliseconds, ratio, withSpread } from './table.js';

const MOST = 3_000;

/** Dev mode from the start of its process to ready: on an empty data folder, and again on the same one. */
export async function measureStarts(build, flags, tell) {
  const bare = [];
  const empty = [];
  const existing = [];
  let memory;
  for (let start = 0; start < flags.starts; start += 1) {
    const folder = await temporaryFolder();
    try {
      const dataDir = join(folder.path, 'data');
      const env = { PORT: '0', BROKER_DEV_PROVIDER_PORT: '0', BROKER_DATA_DIR: dataDir };
      const logFile = join(folder.path, 'dev.log');
      bare.push(await runToEnd(['-e', '0']));
      empty.push(await startAndStop(build, env, logFile));
      existing.push(await startAndStop(build, env, logFile));
      tell(
        `start ${start + 1} of ${flags.starts}: ${milliseconds(empty.at(-1))}, ${milliseconds(existing.at(-1))}`,
      );
      memory ??= await measureDevMemory(build, flags, env, logFile, await demoPeer(dataDir));
    } finally {
      await folder.remove();
    }
  }
  const row = (name, values) => ({
    name,
    measured: withSpread(spread(values), milliseconds),
    reference: withSpread(spread(bare), milliseconds),
    ratio: ratio(pairedRatio(values, bare)),
    target: `under ${MOST / 1000} s`,
    met: spread(values).median < MOST,
  });
  return [
    row('start of dev to ready, empty data folder', empty),
    row('start of dev to ready, existing data folder', existing),
    memory,
  ];
}

async function startAndStop(build, env, logFile) {
  const broker = await startBroker(build, 'dev', env, logFile);
  await broker.stop();
  return broker.milliseconds;
}

async function demoPeer(dataDir) {
  const { id, secret } = JSON.parse(await readFile(join(dataDir, 'demo-peer.json'), 'utf8'));
  return `Basic ${Buffer.from(`${id}:${secret}`).toString('base64')}`;
}
