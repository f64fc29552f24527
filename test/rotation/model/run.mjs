// The long form of the model test: `npm run models`. Settings: MODEL_RUNS (default 10000 on the store in memory, and 300 on the
// embedded one), MODEL_SEED, MODEL_STORE (`memory` or `embedded`), MODEL_PROCESSES, and
// MODEL_COMMANDS, the most that happens in one run (default 40), MODEL_SECONDS, after which no run begins; MODEL_PATH and MODEL_REPLAY repeat one run.
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const root = fileURLToPath(new URL('../../../', import.meta.url));
const program = join(root, 'node_modules/.cache/models/main.mjs');
await build({
  entryPoints: [join(root, 'test/rotation/model/main.ts')],
  outfile: program,
  bundle: true,
  platform: 'node',
  format: 'esm',
  packages: 'external',
  sourcemap: 'inline',
});

const { MODEL_RUNS, MODEL_SEED = '20261122', MODEL_STORE, MODEL_PATH } = process.env;
const processes = MODEL_PATH === undefined ? Number(process.env.MODEL_PROCESSES ?? 2) : 1;
const whole =
  MODEL_STORE === undefined && MODEL_RUNS === undefined && MODEL_PATH === undefined
    ? [
        ['memory', 10_000],
        ['embedded', 300],
      ]
    : [
        [
          MODEL_STORE ?? 'memory',
          Number(MODEL_RUNS ?? (MODEL_STORE === 'embedded' ? 300 : 10_000)),
        ],
      ];

const begun = Date.now();
for (const [store, runs] of whole) {
  const children = Array.from({ length: processes }, async (_, index) => {
    const child = fork(program, {
      execArgv: ['--enable-source-maps'],
      env: {
        ...process.env,
        MODEL_STORE: store,
        MODEL_RUNS: String(Math.ceil(runs / processes)),
        // Each process has a seed of its own.
        MODEL_SEED: String(Number(MODEL_SEED) + index),
      },
    });
    const [code] = await once(child, 'exit');
    if (code !== 0) process.exitCode = 1;
  });
  await Promise.all(children);
}
console.log(`${((Date.now() - begun) / 1000).toFixed(1)} s`);
