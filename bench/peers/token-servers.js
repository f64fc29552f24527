import { mkdtemp } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { forked } from '../forked.js';
import { underLoad } from '../load.js';
import { publishedCli, SETTLED } from '../production.js';
import { inTurn } from '../rounds.js';
import { freePort, startBroker } from '../server-process.js';
import { megabytes, microseconds, milliseconds, number } from '../table.js';
import { residentBytes } from '../usage.js';
import { AGENT, startAgent } from './agent.js';
import { comparison, promise } from './comparison.js';

const PATIENCE = 30_000;
export const BROKER = 'the broker';
export const MINT = 'a mint for each call';
const NAIVE = 'a Nest controller with a map, Fastify';

/** Of the processor time that a controller by hand needs, which writes no log and counts nothing. */
const MOST_OF_NAIVE = 2;

const FIGURES = {
  perSecond: { title: 'requests/s', key: 'perSecond', format: number },
  p50: { title: 'p50', key: 'p50', format: milliseconds },
  p99: { title: 'p99', key: 'p99', format: milliseconds },
  p999: { title: 'p99.9', key: 'p999', format: milliseconds },
  processor: { title: 'processor time a request', key: 'processor', format: microseconds },
  resident: { title: 'memory, loaded', key: 'resident', format: megabytes },
};
const START_FIGURES = {
  ready: { title: 'start to the first token', key: 'ready', format: milliseconds },
  idle: { title: 'memory, idle', key: 'idle', format: megabytes },
};

/**
 * What serves the token over HTTP: our broker as published, AWS's agent, a controller by hand, and the provider itself, which is asked
 * to mint for each call. Each is a `start`, which returns `{ pid, request, stop }`, or why it cannot be had.
 */
export function tokenServers({ scene, upstream, agentSkipped }) {
  const { env, secretId, folder } = upstream;
  const shared = scene.authorization;
  const broker = (settings) => async () => {
    const log = join(await mkdtemp(join(folder, 'serve-')), 'log');
    const env = { ...scene.env, ...settings, PORT: String(await freePort()) };
    const running = await startBroker({ cli: publishedCli() }, 'serve', env, log);
    return {
      ...running,
      request: { url: `${running.url}/v1/token`, headers: { authorization: shared } },
    };
  };
  const naive = (platform) => async () => {
    const server = forked('./peers/naive-server.js');
    const { port } = await server.ask({ platform, env, secretId, authorization: shared });
    const request = { url: `http://127.0.0.1:${port}/token`, headers: { authorization: shared } };
    return { ...server, request };
  };
  return {
    [BROKER]: broker({}),
    'the broker, without its log of requests': broker({ BROKER_LOG_LEVEL: 'warn' }),
    [AGENT]: agentSkipped ?? (() => startAgent({ env, secretId, folder })),
    [NAIVE]: naive('fastify'),
    'the same, Express': naive('express'),
    [MINT]: async () => {
      const provider = await startUpstream(upstream);
      return { ...provider, request: await provider.ask({ order: 'mintRequest' }) };
    },
  };
}

/** Secrets Manager's protocol and a provider, in a process; with a token in the token secret. */
export async function startUpstream({ dist, folder }) {
  const server = forked('./upstream-server.js');
  const started = await server.ask({ order: 'start', dist: resolve(dist), dataDir: folder });
  const { token } = await server.ask({ order: 'fill' });
  return { ...server, ...started, token, dist, folder };
}

/** The part of the bench: rounds of load, and starts. */
export async function measureTokenServers(servers, flags, tell) {
  const rounds = await loaded(servers, flags, tell);
  const starts = await started(servers, flags, tell);
  const figures = Object.values(FIGURES);
  return {
    tables: [comparison(rounds, figures), comparison(starts, Object.values(START_FIGURES))],
    notes: busyNotes(rounds),
    promises: [
      promise(
        'token over HTTP, processor time a request: the broker, and a controller by hand',
        [rounds[BROKER], rounds[NAIVE]],
        FIGURES.processor,
        { most: MOST_OF_NAIVE },
      ),
    ],
  };
}

async function loaded(servers, flags, tell) {
  const running = {};
  const rounds = {};
  const generator = forked('./load-generator.js');
  try {
    for (const [name, start] of Object.entries(servers)) {
      rounds[name] = typeof start === 'string' ? start : [];
      if (typeof start === 'string') continue;
      running[name] = await start();
      await untilAnswered(name, running[name].request);
    }
    const load = ({ pid, request }, seconds) => {
      const { url, ...rest } = request;
      return underLoad(
        generator,
        { url, pid },
        { ...rest, connections: flags.connections, seconds },
      );
    };
    for (const server of Object.values(running)) await load(server, flags.warmUp);
    await inTurn(Object.keys(running), flags.rounds, async (name, round) => {
      const measured = await load(running[name], flags.seconds);
      rounds[name].push(measured);
      tell(
        `tokens: round ${round + 1} of ${flags.rounds}, ${name}: ${number(measured.perSecond)} requests/s, p99 ${milliseconds(measured.p99)}`,
      );
    });
  } finally {
    await Promise.all([generator, ...Object.values(running)].map((each) => each.stop()));
  }
  return rounds;
}

/** Each from the start of its process to its first token, and its memory a while after that. */
async function started(servers, flags, tell) {
  const starts = {};
  for (let start = 0; start < flags.starts; start += 1) {
    const running = [];
    try {
      for (const [name, begin] of Object.entries(servers)) {
        starts[name] ??= typeof begin === 'string' ? begin : [];
        if (typeof begin === 'string') continue;
        const startedAt = performance.now();
        const server = await begin();
        running.push(server);
        await untilAnswered(name, server.request);
        starts[name].push({ ready: performance.now() - startedAt, pid: server.pid });
      }
      await sleep(SETTLED);
      for (const each of Object.values(starts)) {
        if (typeof each === 'string') continue;
        each.at(-1).idle = await residentBytes(each.at(-1).pid);
      }
    } finally {
      await Promise.all(running.map((server) => server.stop()));
    }
    tell(`tokens: start ${start + 1} of ${flags.starts}`);
  }
  return starts;
}

async function untilAnswered(name, { url, ...request }) {
  const deadline = performance.now() + PATIENCE;
  for (;;) {
    const { status } = await fetch(url, request);
    if (status === 200) return;
    if (performance.now() > deadline) throw new Error(`${name} answers ${status}.`);
    await sleep(2);
  }
}

/** A server that is faster than what loads it could do more than is shown. */
function busyNotes(rounds) {
  return Object.entries(rounds)
    .filter(([, each]) => typeof each !== 'string' && each.every(({ busy }) => busy > 0.9))
    .map(
      ([name]) =>
        `${name}: the load itself used a whole core, so that its requests per second and waits say no more than "at least" and "at most".`,
    );
}
