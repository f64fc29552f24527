import { mkdir, symlink } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { bundleLambda } from '../build/bundle-lambda.mjs';
import { forked } from './forked.js';
import { temporaryFolder } from './scene.js';
import { spread } from './statistics.js';
import { milliseconds, number, withSpread } from './table.js';

const MOST_BYTES = 400_000;
const MOST_IMPORT = 150;
const MOST_STEP = 10;
const STEPS = ['createSecret', 'setSecret', 'testSecret', 'finishSecret'];
const WARM_UP = 5;
const ROTATIONS = 30;

/** The functions for AWS Lambda: how large the bundles are, how long they take to import, and what a warm step costs. */
export async function lambdaRows(build, flags, tell) {
  const folder = await temporaryFolder();
  try {
    const task = join(folder.path, 'task');
    const { outputs } = await bundleLambda(task);
    const sdk = await linkSdk(folder.path);
    const sizes = Object.entries(outputs).filter(([, { entryPoint }]) => entryPoint !== undefined);
    const url = (name) => pathToFileURL(join(task, `${name}.mjs`)).href;
    const rows = sizes.map(([file, { bytes }]) => ({
      name: `bundle ${file.split('/').at(-1)}`,
      measured: `${number(bytes)} bytes`,
      target: `under ${MOST_BYTES / 1000} kB`,
      met: bytes < MOST_BYTES,
    }));
    for (const name of ['rotation', 'http']) {
      tell(`lambda: imports of ${name}.mjs`);
      rows.push(await importRow(name, url(name), flags.starts * 3));
    }
    tell('lambda: steps');
    return [...rows, ...(await stepRows(build, url('rotation'), sdk, folder.path))];
  } finally {
    await folder.remove();
  }
}

/** Lambda's runtime brings the AWS SDK; here it is found in a `node_modules` above the bundles. @returns its URL. */
async function linkSdk(folder) {
  const sdk = fileURLToPath(new URL('../node_modules/@aws-sdk', import.meta.url));
  await mkdir(join(folder, 'node_modules'));
  await symlink(sdk, join(folder, 'node_modules/@aws-sdk'));
  return import.meta.resolve('@aws-sdk/client-secrets-manager');
}

/** Each import in a process of its own. */
async function importRow(name, bundle, times) {
  const taken = [];
  for (let time = 0; time < times; time += 1) {
    const invoker = forked('./lambda-invoker.js');
    taken.push((await invoker.ask({ order: 'load', bundle, env: {} })).milliseconds);
    await invoker.stop();
  }
  const figures = spread(taken);
  return {
    name: `import of ${name}.mjs, in a new process`,
    measured: withSpread(figures, milliseconds),
    target: `under ${MOST_IMPORT} ms`,
    met: figures.median < MOST_IMPORT,
  };
}

async function stepRows(build, bundle, sdk, dataDir) {
  const server = forked('./upstream-server.js');
  const [cold, warm] = [forked('./lambda-invoker.js'), forked('./lambda-invoker.js')];
  try {
    const dist = resolve(build.cli, '..');
    const { env, secretId } = await server.ask({ order: 'start', dist, dataDir });
    for (const invoker of [cold, warm]) await invoker.ask({ order: 'load', bundle, env });
    await warm.ask({ order: 'watch', sdk });
    const { versionId } = await server.ask({ order: 'register' });
    const first = await cold.ask({ order: 'invoke', step: STEPS[0], secretId, versionId });
    const taken = Object.fromEntries(STEPS.map((step) => [step, []]));
    for (let rotation = 0; rotation < WARM_UP + ROTATIONS; rotation += 1) {
      const times = await rotate(server, warm, secretId);
      if (rotation < WARM_UP) continue;
      for (const step of STEPS) taken[step].push(times[step]);
    }
    return [
      ...STEPS.map((step) => stepRow(step, taken[step])),
      {
        name: 'processor time of a warm createSecret, with the AWS SDK and fetch',
        measured: withSpread(
          spread(taken.createSecret.map(({ processor }) => processor)),
          milliseconds,
        ),
      },
      {
        name: 'first step in a new process, with the import of the AWS SDK',
        measured: milliseconds(first.whole),
      },
    ];
  } finally {
    await Promise.all([server, cold, warm].map((child) => child.stop()));
  }
}

async function rotate(server, invoker, secretId) {
  const { versionId } = await server.ask({ order: 'register' });
  const times = {};
  for (const step of STEPS) {
    times[step] = await invoker.ask({ order: 'invoke', step, secretId, versionId });
  }
  const current = await server.ask({ order: 'current' });
  if (current.versionId !== versionId) throw new Error('A rotation did not end well.');
  return times;
}

function stepRow(step, times) {
  const own = spread(times.map((time) => time.own));
  return {
    name: `warm ${step}: our own time, and with all calls`,
    measured: withSpread(own, milliseconds),
    reference: withSpread(spread(times.map(({ whole }) => whole)), milliseconds),
    target: `under ${MOST_STEP} ms`,
    met: own.median < MOST_STEP,
  };
}
