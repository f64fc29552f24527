import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { runModel, type ModelReport } from './model.js';
import { LOOKED_UP } from './provider.js';
import { SIGNED } from './signed.js';
import { embeddedStores, MEMORY } from './stores.js';

/** One process of `run.mjs`: some runs of the model against one store. Its settings are environment variables. */
const {
  MODEL_STORE,
  MODEL_RUNS,
  MODEL_SEED,
  MODEL_PATH,
  MODEL_REPLAY,
  MODEL_COMMANDS,
  MODEL_SECONDS,
} = process.env;
// Most errors of a run are part of it.
if (MODEL_PATH === undefined) Error.stackTraceLimit = 0;

const which = {
  runs: Number(MODEL_RUNS),
  seed: Number(MODEL_SEED),
  path: MODEL_PATH,
  replayPath: MODEL_REPLAY,
  commands: Number(MODEL_COMMANDS ?? 40),
  seconds: MODEL_SECONDS === undefined ? undefined : Number(MODEL_SECONDS),
};

async function onEmbeddedStore(): Promise<ModelReport> {
  const folder = await mkdtemp(join(tmpdir(), 'rotation-model-'));
  const kind = await embeddedStores(folder);
  try {
    return await runModel({ ...which, kind, signatures: SIGNED });
  } finally {
    await kind.close();
    await rm(folder, { recursive: true });
  }
}

const report =
  MODEL_STORE === 'embedded'
    ? await onEmbeddedStore()
    : await runModel({ ...which, kind: MEMORY, signatures: LOOKED_UP });
if (report.failure !== undefined) {
  console.error(report.failure);
  process.exitCode = 1;
} else {
  console.log(
    `${MODEL_STORE}: ${report.runs} runs from seed ${MODEL_SEED}; a healthy broker recovered within ${report.mostChecks} checks`,
  );
}
