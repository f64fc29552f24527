import { createReadStream } from 'node:fs';
import { join } from 'node:path';
import { openBuild } from './build.js';
import { forked } from './forked.js';
import { fetchAnswer, requireSameShape, withoutNodesOwn } from './same-answer.js';
import { setScene } from './scene.js';
import { startBroker } from './server-process.js';
import { pairedRatio, spread } from './statistics.js';
import { megabytes, microseconds, milliseconds, number, ratio, withSpread } from './table.js';
import { processorSeconds, watchMemory } from './usage.js';

const LEAST_THROUGHPUT = 0.6;
const MOST_P99 = 2;
/** With less to gain the hot lane would not be worth its file. */
const MOST_OF_FRAMEWORK = 0.8;
const MOST_MEMORY = 150 * 1024 * 1024;
/** Two processes of one build differ by as much. */
const LEAST_BESIDE = 0.97;
const MOST_MEMORY_BESIDE = 1.05;

/** What the hot lane leaves to the framework; the answer is the same. */
const AROUND_HOT_LANE = { 'cache-control': 'max-age=300' };

/**
 * The broker as `serve` runs it, and a bare `node:http` server that sends the same answer, under the same load; and the broker
 * once more, asked in a way that its hot lane leaves to Fastify and Nest. With `--beside` another build's broker takes its turns, too.
 */
export async function measureLoad(build, flags, tell) {
  const scene = await setScene(build);
  const bare = forked('./bare-server.js');
  const generator = forked('./load-generator.js');
  let broker;
  let beside;
  try {
    broker = await startBroker(build, 'serve', scene.env, join(scene.folder, 'serve.log'));
    const { authorization } = scene;
    const brokerUrl = `${broker.url}/v1/token`;
    // The first answer is a miss; those that are measured are hits.
    await fetchAnswer(brokerUrl, authorization);
    const answer = await fetchAnswer(brokerUrl, authorization);
    if (answer.status !== 200) throw new Error(`The broker answers ${answer.status}.`);
    const { port } = await bare.ask(withoutNodesOwn(answer));
    const bareUrl = `http://127.0.0.1:${port}/v1/token`;
    requireSameShape(await fetchAnswer(bareUrl, authorization), answer);

    const servers = {
      bare: { url: bareUrl, pid: bare.pid, rounds: [] },
      broker: { url: brokerUrl, pid: broker.pid, rounds: [] },
      framework: { url: brokerUrl, pid: broker.pid, headers: AROUND_HOT_LANE, rounds: [] },
    };
    requireSameShape(await fetchAnswer(brokerUrl, authorization, AROUND_HOT_LANE), answer);
    if (flags.beside !== undefined) {
      beside = await startOther(openBuild(flags.beside));
      servers.beside = { ...beside.server, rounds: [] };
      // What only one of the two did would count against it.
      delete servers.framework;
    }
    let requests = 0;
    const load = async (server, seconds) => {
      const headers = { authorization, ...server.headers };
      const { connections } = flags;
      const measured = await underLoad(generator, server, { headers, connections, seconds });
      if (server.pid === broker.pid) requests += measured.requests;
      return measured;
    };
    tell('load: warm-up');
    for (const server of Object.values(servers)) await load(server, flags.warmUp);
    for (let round = 0; round < flags.rounds; round += 1) {
      const names = Object.keys(servers);
      // Each goes first as often as the others.
      for (const name of names.map((_, index) => names[(index + round) % names.length])) {
        const measured = await load(servers[name], flags.seconds);
        servers[name].rounds.push(measured);
        tell(`load: round ${round + 1} of ${flags.rounds}, ${name}: ${line(measured)}`);
      }
    }
    requireSameShape(
      await fetchAnswer(bareUrl, authorization),
      await fetchAnswer(brokerUrl, authorization),
    );
    await requireCounted(broker.url, requests);
    await broker.stop();
    await requireLogged(broker.logFile, requests);
    return [
      ...loadRows(servers),
      ...(servers.beside ? besideRows(servers) : []),
      memoryRow('memory of serve under load', servers.broker.rounds, MOST_MEMORY),
    ];
  } finally {
    await broker?.stop();
    await beside?.stop();
    await Promise.all([bare.stop(), generator.stop()]);
    await scene.close();
  }
}

/** Another build's broker, with a store and a provider of its own. */
async function startOther(build) {
  const scene = await setScene(build);
  const broker = await startBroker(build, 'serve', scene.env, join(scene.folder, 'serve.log'));
  const url = `${broker.url}/v1/token`;
  const { authorization } = scene;
  await fetchAnswer(url, authorization);
  return {
    server: { url, pid: broker.pid, headers: { authorization } },
    stop: async () => {
      await broker.stop();
      await scene.close();
    },
  };
}

/** The build that is measured, and the other one. */
function besideRows({ broker, beside }) {
  const row = (name, figure, format, target, isMet) => {
    const [own, other] = [broker, beside].map(({ rounds }) => rounds.map((each) => each[figure]));
    if ([...own, ...other].includes(undefined)) {
      return { name, measured: 'SKIPPED: not told here' };
    }
    const quotient = pairedRatio(own, other);
    return {
      name,
      measured: withSpread(spread(own), format),
      reference: withSpread(spread(other), format),
      ratio: ratio(quotient),
      target,
      met: isMet(quotient),
    };
  };
  return [
    row(
      'requests per second, and of the other build',
      'perSecond',
      number,
      `at least ${LEAST_BESIDE} times`,
      (quotient) => quotient >= LEAST_BESIDE,
    ),
    row(
      'processor time per request, and of the other build',
      'processor',
      microseconds,
      `at most ${(1 / LEAST_BESIDE).toFixed(2)} times`,
      (quotient) => quotient <= 1 / LEAST_BESIDE,
    ),
    row(
      'memory of serve under load, and of the other build',
      'resident',
      megabytes,
      `at most ${MOST_MEMORY_BESIDE} times`,
      (quotient) => quotient <= MOST_MEMORY_BESIDE,
    ),
  ];
}

/** For information: dev mode carries the provider in the same process. */
export async function measureDevMemory(build, flags, env, logFile, authorization) {
  const generator = forked('./load-generator.js');
  const broker = await startBroker(build, 'dev', env, logFile);
  try {
    const measured = await underLoad(
      generator,
      { url: `${broker.url}/v1/token`, pid: broker.pid },
      { headers: { authorization }, connections: flags.connections, seconds: flags.seconds },
    );
    return memoryRow('memory of dev under load', [measured]);
  } finally {
    await broker.stop();
    await generator.stop();
  }
}

/** One measurement: what the load says, the greatest memory of the process, and microseconds of its processor for a request. */
export async function underLoad(generator, { url, pid }, request) {
  const memory = watchMemory(pid);
  const before = await processorSeconds(pid);
  const measured = await generator.ask({ url, ...request });
  const after = await processorSeconds(pid);
  const resident = await memory.stop();
  if (measured.failed > 0 || measured.requests === 0) {
    throw new Error(`${url}: ${measured.failed} requests failed, ${measured.requests} did not.`);
  }
  return {
    ...measured,
    resident,
    processor:
      before === undefined ? undefined : ((after - before) * 1_000_000) / measured.requests,
  };
}

function line({ perSecond, p99 }) {
  return `${number(perSecond)} requests/s, p99 ${milliseconds(p99)}`;
}

function loadRows({ bare, broker, framework }) {
  const row = (name, figure, format, verdict, beside = bare) => {
    const [measured, reference] = [broker, beside].map(({ rounds }) =>
      rounds.map((round) => round[figure]),
    );
    const quotient = pairedRatio(measured, reference);
    return {
      name,
      measured: withSpread(spread(measured), format),
      reference: withSpread(spread(reference), format),
      ratio: ratio(quotient),
      ...verdict?.(quotient),
    };
  };
  return [
    row('GET /v1/token, requests per second', 'perSecond', number, (quotient) => ({
      target: `at least ${LEAST_THROUGHPUT} times`,
      met: quotient >= LEAST_THROUGHPUT,
    })),
    row('GET /v1/token, p99 latency', 'p99', milliseconds, (quotient) => ({
      target: `at most ${MOST_P99} times`,
      met: quotient <= MOST_P99,
    })),
    ...(bare.rounds.some(({ processor }) => processor === undefined)
      ? []
      : [
          row('processor time per request', 'processor', microseconds),
          ...(framework === undefined
            ? []
            : [
                row(
                  'the same by the hot lane, and by the framework',
                  'processor',
                  microseconds,
                  (quotient) => ({
                    target: `at most ${MOST_OF_FRAMEWORK} times`,
                    met: quotient <= MOST_OF_FRAMEWORK,
                  }),
                  framework,
                ),
              ]),
        ]),
  ];
}

/** Of each round the greatest that was seen. */
function memoryRow(name, rounds, most) {
  const resident = rounds.map((round) => round.resident);
  const told = resident.every((bytes) => bytes !== undefined);
  const measured = told ? spread(resident) : undefined;
  return {
    name,
    measured: measured ? withSpread(measured, megabytes) : 'SKIPPED: not told here',
    ...(most !== undefined && {
      target: `under ${megabytes(most)}`,
      met: measured && measured.median < most,
    }),
  };
}

/** The figures are those of the real thing: every request was counted by the broker's own metrics. */
async function requireCounted(url, requests) {
  const text = await (await fetch(`${url}/metrics`)).text();
  const pattern = /^service_token_broker_http_requests_total\{route="\/v1\/token".*\} (\d+)$/gm;
  const counted = [...text.matchAll(pattern)].reduce((sum, [, count]) => sum + Number(count), 0);
  if (counted < requests) throw new Error(`${requests} requests, and ${counted} in the metrics.`);
}

/** And every one is in its log. */
async function requireLogged(logFile, requests) {
  let lines = 0;
  for await (const chunk of createReadStream(logFile)) {
    for (let at = chunk.indexOf(10); at >= 0; at = chunk.indexOf(10, at + 1)) lines += 1;
  }
  if (lines < requests) throw new Error(`${requests} requests, and ${lines} lines in the log.`);
}
