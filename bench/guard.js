import { join, resolve } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';
import { openBuild } from './build.js';
import { forked } from './forked.js';
import { fetchAnswer, requireSameShape } from './same-answer.js';
import { median, pairedRatio, spread } from './statistics.js';
import { microseconds, number, ratio, table, withSpread } from './table.js';
import { processorSeconds } from './usage.js';
import { AUDIENCE, createIssuer, ISSUER } from './verification-tokens.js';

const LEAST_THROUGHPUT = 0.9;
/** Starts of all applications, for each round of the other benchmarks. */
export const STARTS = 3;
/** Requests of a turn: some hundredths of a second, so that whatever else the machine does hits all applications alike. */
const REQUESTS = 1000;
const TURNS = 16;

/**
 * A Nest application on Fastify, with the guard and without, under the same load with the same valid token. A third one
 * shows what Node's own tracking of asynchronous calls costs there, which the guard's call context needs, and a fourth that
 * and a guard that lets everybody through.
 */
export async function guardRows(build, flags, tell) {
  const issuer = createIssuer('RS256');
  const authorization = `Bearer ${issuer.tokens(1)[0].latin1Slice()}`;
  const guard = pathToFileURL(join(resolve(build.cli, '..'), 'guard', 'index.js')).href;
  const kinds = [
    { guard },
    { guard: null },
    { guard: null, isTracked: true },
    { guard: null, isTracked: true, hasIdleGuard: true },
  ];
  const shared = {
    issuer: { issuer: ISSUER, audiences: AUDIENCE, profile: 'rfc9068' },
    jwks: issuer.jwks,
  };
  const measured = kinds.map(() => []);
  // What the compiler makes of a program differs from process to process, by as much as the guard costs.
  const starts = flags.rounds * STARTS;
  for (let start = 0; start < starts; start += 1) {
    const load = {
      authorizations: [authorization],
      connections: flags.connections,
      requests: REQUESTS,
      turns: TURNS,
    };
    for (const [index, turns] of (await measureStart(kinds, shared, load)).entries()) {
      measured[index].push(...turns);
    }
    const [own, open] = measured.map((turns) =>
      number(median(turns.slice(-TURNS).map(({ perSecond }) => perSecond))),
    );
    tell(`guard: start ${start + 1} of ${starts}: ${own} with the guard, ${open} without`);
  }
  return rowsOf(...measured);
}

/**
 * Starts the applications and the load, each in a process of its own. Before the turns that count there are as many more, to
 * warm up, with the authorizations `load.warmUp` if there are any. @returns the turns of each application.
 */
export async function measureStart(kinds, shared, load) {
  const apps = kinds.map(() => forked('./guard-server.js'));
  const generator = forked('./turn-generator.js');
  try {
    const urls = [];
    for (const [index, app] of apps.entries()) {
      const { port } = await app.ask({ ...kinds[index], ...shared });
      urls.push(`http://127.0.0.1:${port}/orders`);
    }
    const { warmUp = load.authorizations, ...measured } = load;
    await requireGuarded(kinds, urls, warmUp[0]);
    await generator.ask({ ...measured, urls, authorizations: warmUp });
    const before = await Promise.all(apps.map(({ pid }) => processorSeconds(pid)));
    const { nanoseconds } = await generator.ask({ ...measured, urls });
    const after = await Promise.all(apps.map(({ pid }) => processorSeconds(pid)));
    return nanoseconds.map((turns, index) => {
      const seconds = after[index] === undefined ? undefined : after[index] - before[index];
      const processor = seconds && (seconds * 1e6) / (load.turns * load.requests);
      return turns.map((turn) => ({ perSecond: (load.requests * 1e9) / turn, processor }));
    });
  } finally {
    await Promise.all([...apps, generator].map((child) => child.stop()));
  }
}

/** The same answer, and the guards are really there: they refuse who has no token. */
async function requireGuarded(kinds, urls, authorization) {
  const [answer, ...others] = await Promise.all(urls.map((url) => fetchAnswer(url, authorization)));
  for (const other of others) requireSameShape(answer, other);
  for (const [index, { guard, peer }] of kinds.entries()) {
    if (guard === null && peer === undefined) continue;
    const { status } = await fetch(urls[index]);
    if (status !== 401) throw new Error(`Without a token the guard answers ${status}.`);
  }
}

function rowsOf(guarded, open, tracked, idle) {
  const row = (name, figure, format, verdict, measured = guarded) => {
    const [own, reference] = [measured, open].map((rounds) => rounds.map((round) => round[figure]));
    const quotient = pairedRatio(own, reference);
    return {
      name,
      measured: withSpread(spread(own), format),
      reference: withSpread(spread(reference), format),
      ratio: ratio(quotient),
      ...verdict?.(quotient),
    };
  };
  return [
    row(
      'guarded route, requests per second, and without the guard',
      'perSecond',
      number,
      (quotient) => ({
        target: `at least ${LEAST_THROUGHPUT} times`,
        met: quotient >= LEAST_THROUGHPUT,
      }),
    ),
    row(
      "the route without the guard in Node's AsyncLocalStorage, and without either",
      'perSecond',
      number,
      undefined,
      tracked,
    ),
    row(
      'the same with a guard that lets everybody through, and without either',
      'perSecond',
      number,
      undefined,
      idle,
    ),
    ...(guarded.some(({ processor }) => processor === undefined)
      ? []
      : [row('guarded route, processor time per request', 'processor', microseconds)]),
  ];
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { values } = parseArgs({
    options: {
      dist: { type: 'string', default: fileURLToPath(new URL('../dist', import.meta.url)) },
      rounds: { type: 'string', default: '7' },
    },
  });
  const flags = { rounds: Number(values.rounds), connections: 64 };
  const tell = (text) => process.stderr.write(`${text}\n`);
  const rows = await guardRows(openBuild(values.dist), flags, tell);
  console.log(table(rows));
  process.exitCode = rows.some(({ met }) => met === false) ? 1 : 0;
}
