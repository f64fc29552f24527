import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { setScene } from './scene.js';
import { runToEnd, startBroker } from './server-process.js';
import { pairedRatio, spread } from './statistics.js';
import { megabytes, milliseconds, ratio, withSpread } from './table.js';
import { residentBytes } from './usage.js';

const CLI = fileURLToPath(
  new URL('../dist-packages/service-token-broker/dist/cli.js', import.meta.url),
);
/** Milliseconds from ready on, after which a broker counts as idle. */
export const SETTLED = 3_000;
const MOST_TO_READY = 700;
const MOST_TO_STATUS = 300;
const MOST_RESIDENT = 110 * 1024 * 1024;

/** The command line as it is published: a bundle. */
export function publishedCli() {
  if (!existsSync(CLI)) throw new Error('There is no package: run "npm run build:packages".');
  return CLI;
}

/** The published command: how fast `serve` is ready and `status` done, and the memory of a broker that nobody asks. */
export async function measureProduction(build, flags, tell) {
  const cli = publishedCli();
  const scene = await setScene(build);
  const bare = [];
  const ready = [];
  const status = [];
  const resident = [];
  try {
    for (let round = 0; round < flags.starts; round += 1) {
      bare.push(await runToEnd(['-e', '0']));
      const broker = await startBroker({ cli }, 'serve', scene.env, join(scene.folder, 'log'));
      try {
        ready.push(broker.milliseconds);
        await sleep(SETTLED);
        resident.push(await residentBytes(broker.pid));
        const env = { ...scene.env, PORT: new URL(broker.url).port };
        status.push(await runToEnd([cli, 'status'], env));
      } finally {
        await broker.stop();
      }
      tell(
        `production ${round + 1} of ${flags.starts}: ready in ${milliseconds(ready.at(-1))}, status in ${milliseconds(status.at(-1))}, ${megabytes(resident.at(-1))}`,
      );
    }
  } finally {
    await scene.close();
  }
  const timeRow = (name, values, most) => ({
    name,
    measured: withSpread(spread(values), milliseconds),
    reference: withSpread(spread(bare), milliseconds),
    ratio: ratio(pairedRatio(values, bare)),
    target: `under ${most / 1000} s`,
    met: spread(values).median < most,
  });
  return [
    timeRow('start of serve to ready, as published', ready, MOST_TO_READY),
    timeRow('status, as published', status, MOST_TO_STATUS),
    {
      name: 'memory of serve, idle, as published',
      measured: withSpread(spread(resident), megabytes),
      target: `under ${megabytes(MOST_RESIDENT)}`,
      met: spread(resident).median < MOST_RESIDENT,
    },
  ];
}
