import { createWriteStream } from 'node:fs';
import { setImmediate as turn } from 'node:timers/promises';
import { setScene } from './scene.js';

const SECOND = 1_000;
const HOUR = 3_600;
const REQUESTS_PER_SECOND = 4;
const CHECK_EVERY_SECONDS = 15;
const MOST_READS = 15;
const MOST_MINTS = 1;

/**
 * Two hours of simulated time: the broker in this process, with a clock that is moved by hand, its real embedded store
 * and a real provider. In the first hour nothing is due; in the middle of the second a slot begins.
 */
export async function measureHours(build, tell) {
  const real = await build.load('tokens/time.js');
  const startOfTime = Date.now();
  let now = startOfTime;
  // Waits are for real machines (a busy database, a provider that has to be asked again): they take real time.
  const clock = { now: () => now, sleep: real.systemClock.sleep };
  const slot = new Date(startOfTime + 1.5 * HOUR * SECOND);
  const scene = await setScene(build, {
    BROKER_ROTATION_CRON: `${slot.getUTCMinutes()} ${slot.getUTCHours()} * * *`,
  });
  const { createRuntime } = await build.load('composition/runtime.js');
  const { openStore } = await build.load('composition/open-store.js');
  const { createLogger } = await build.load('operations/log.js');
  const counted = countCalls(await openStore(scene.config, clock));
  const log = createLogger({ level: 'info', destination: createWriteStream('/dev/null') });
  const runtime = await createRuntime(scene.config, { store: counted.store, clock, log });
  const [{ schedule }] = runtime.each.values();
  const { peersSecretId } = scene.config.secrets;
  const [{ secretId: tokenSecretId }] = scene.config.tokens;

  /** One hour; what was read and minted in it. */
  const hour = async () => {
    counted.reset();
    const minted = scene.provider.mintCount;
    let requests = 0;
    for (let second = 0; second < HOUR; second += 1) {
      now += SECOND;
      if (second % CHECK_EVERY_SECONDS === 0) await schedule.check();
      const asked = Array.from({ length: REQUESTS_PER_SECOND }, () => ask(runtime, scene));
      requests += (await Promise.all(asked)).length;
      // A read behind the answers ends in this second of simulated time.
      do await turn();
      while (counted.reading() > 0);
    }
    return {
      requests,
      token: counted.readsOf(tokenSecretId),
      peers: counted.readsOf(peersSecretId),
      mints: scene.provider.mintCount - minted,
    };
  };

  try {
    // The broker is warm, as it is for the load.
    await schedule.check();
    await ask(runtime, scene);
    tell('hour: one simulated hour without a slot');
    const quiet = await hour();
    tell('hour: one simulated hour with a slot');
    const slotted = await hour();
    return hourRows(quiet, slotted);
  } finally {
    await runtime.core.close();
    await scene.close();
  }
}

/** As the hot lane does: from what is at hand, or else by the endpoint. */
async function ask({ serving }, { authorization }) {
  const answer =
    serving.token.answerNow(authorization) ??
    (await serving.token.answer({
      method: 'GET',
      url: '/v1/token',
      headers: { authorization: [authorization] },
      remoteAddress: '127.0.0.1',
      encrypted: false,
    }));
  if (answer.status !== 200) throw new Error(`The broker answers ${answer.status}.`);
}

/** Counts every call, and every read of a secret by itself, whoever it is for: the caches, the schedule, a rotation. */
export function countCalls(store) {
  const reads = new Map();
  let calls = 0;
  let reading = 0;
  const read = async (secretId, selector) => {
    reads.set(secretId, (reads.get(secretId) ?? 0) + 1);
    reading += 1;
    try {
      return await store.read(secretId, selector);
    } finally {
      reading -= 1;
    }
  };
  return {
    // The rest goes to the store itself, as its own methods want it.
    store: new Proxy(store, {
      get: (target, name) => {
        const found = name === 'read' ? read : target[name];
        if (typeof found !== 'function') return found;
        return (...parameters) => {
          calls += 1;
          return found.apply(target, parameters);
        };
      },
    }),
    calls: () => calls,
    reading: () => reading,
    readsOf: (secretId) => reads.get(secretId) ?? 0,
    reset: () => {
      reads.clear();
      calls = 0;
    },
  };
}

function hourRows(quiet, slotted) {
  const reads = (name, count) => ({
    name,
    measured: String(count),
    reference: `${quiet.requests} requests`,
    target: `at most ${MOST_READS}`,
    met: count <= MOST_READS,
  });
  return [
    reads('reads of the token secret in an hour', quiet.token),
    reads('reads of the peers secret in an hour', quiet.peers),
    {
      name: 'mints in an hour without a slot',
      measured: String(quiet.mints),
      reference: `${quiet.requests} requests`,
      target: `at most ${MOST_MINTS}`,
      met: quiet.mints <= MOST_MINTS,
    },
    {
      name: 'mints in an hour with a slot',
      measured: String(slotted.mints),
      reference: `${slotted.requests} requests`,
      target: `exactly ${MOST_MINTS}`,
      met: slotted.mints === MOST_MINTS,
    },
    {
      name: 'reads of the token secret in that hour, rotation included',
      measured: String(slotted.token),
      reference: `${slotted.requests} requests`,
    },
  ];
}
