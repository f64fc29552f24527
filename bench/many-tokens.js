import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setScene } from './scene.js';
import { startBroker } from './server-process.js';
import { spread } from './statistics.js';
import { megabytes, milliseconds, withSpread } from './table.js';
import { residentBytes } from './usage.js';

const TOKENS = 1_000;
const MOST_TO_READY = 5_000;
const MOST_RESIDENT = 256 * 1024 * 1024;

/** A broker of a thousand tokens that all exist already: how fast it is ready, and its memory. */
export async function measureManyTokens(build, flags, tell) {
  const scene = await setScene(build);
  const ready = [];
  const resident = [];
  try {
    const env = await addManyTokens(build, scene, TOKENS);
    tell(`many tokens: ${TOKENS} minted`);
    for (let round = 0; round < flags.starts; round += 1) {
      const broker = await startBroker(build, 'serve', env, join(scene.folder, 'log'));
      try {
        ready.push(broker.milliseconds);
        await requireAll(broker.url);
        resident.push(await residentBytes(broker.pid));
      } finally {
        await broker.stop();
      }
      tell(
        `many tokens ${round + 1} of ${flags.starts}: ready in ${milliseconds(ready.at(-1))}, ${megabytes(resident.at(-1))}`,
      );
    }
  } finally {
    await scene.close();
  }
  return [
    {
      name: `start of serve to ready, ${TOKENS} tokens`,
      measured: withSpread(spread(ready), milliseconds),
      target: `under ${MOST_TO_READY / 1000} s`,
      met: spread(ready).median < MOST_TO_READY,
    },
    {
      name: `memory of serve, ${TOKENS} tokens`,
      measured: withSpread(spread(resident), megabytes),
      target: `under ${megabytes(MOST_RESIDENT)}`,
      met: spread(resident).median < MOST_RESIDENT,
    },
  ];
}

/** Makes the scene's provider mint so many tokens, which differ by their scope. @returns the environment of their broker. */
export async function addManyTokens(build, scene, count) {
  const { BROKER_ISSUER: issuer, BROKER_AUDIENCE: audience, ...env } = scene.env;
  env.BROKER_CONFIG = join(scene.folder, 'broker.yaml');
  const tokens = {
    default: { provider: 'dev', audience, secret: 'service-token-broker/token' },
  };
  for (let at = 1; at < count; at += 1) {
    tokens[`t${at}`] = {
      provider: 'dev',
      audience,
      scope: `scope-${at}`,
      secret: `service-token-broker/token-${at}`,
    };
  }
  await writeFile(env.BROKER_CONFIG, JSON.stringify({ providers: { dev: { issuer } }, tokens }));
  await mintAll(build, env);
  return env;
}

/** As the broker would in its first hours: one after the other. */
async function mintAll(build, env) {
  const [{ loadConfig }, { createCore }] = await Promise.all([
    build.load('config/load-config.js'),
    build.load('composition/core.js'),
  ]);
  const core = await createCore(loadConfig({ env }));
  try {
    for (const { rotator } of core.tokens.values()) await rotator.rotate({ trigger: 'cli' });
  } finally {
    await core.close();
  }
}

async function requireAll(url) {
  const { status, body } = await (await fetch(`${url}/health/ready`)).json();
  if (status !== 'ok') throw new Error(`Readiness says ${JSON.stringify({ status, body })}.`);
}
