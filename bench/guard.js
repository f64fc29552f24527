import { join, resolve } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';
import { openBuild } from './build.js';
import { forked } from './forked.js';
import { fetchAnswer, requireSameShape } from './same-answer.js';
import { pairedRatio, spread } from './statistics.js';
import { number, ratio, table, withSpread } from './table.js';
import { processorSeconds } from './usage.js';
import { AUDIENCE, createIssuer, ISSUER } from './verification-tokens.js';

const LEAST_THROUGHPUT = 0.9;
const SHORTER = 4;

/**
 * A Nest application on Fastify, with the guard and without, under the same load with the same valid token. A third one
 * shows what Node's own tracking of asynchronous calls costs there, which the guard's call context needs, and a fourth that
 * and a guard that lets everybody through.
 */
export async function guardRows(build, flags, tell) {
  const issuer = createIssuer('RS256');
  const authorization = `Bearer ${issuer.tokens(1)[0].latin1Slice()}`;
  const guard = pathToFileURL(join(resolve(build.cli, '..'), 'guard', 'index.js')).href;
  const generator = forked('./load-generator.js');
  const kinds = [
    { guard },
    { guard: null },
    { guard: null, isTracked: true },
    { guard: null, isTracked: true, hasIdleGuard: true },
  ];
  const apps = kinds.map(() => forked('./guard-server.js'));
  try {
    const servers = [];
    for (const [index, app] of apps.entries()) {
      const { port } = await app.ask({
        ...kinds[index],
        issuer: { issuer: ISSUER, audiences: AUDIENCE, profile: 'rfc9068' },
        jwks: issuer.jwks,
      });
      servers.push({ url: `http://127.0.0.1:${port}/orders`, pid: app.pid, rounds: [] });
    }
    await requireGuarded(servers, authorization);
    const load = async ({ url, pid }, seconds) => {
      const before = await processorSeconds(pid);
      const request = { url, authorization, connections: flags.connections, seconds };
      const measured = await generator.ask(request);
      const after = await processorSeconds(pid);
      if (measured.failed > 0 || measured.requests === 0) {
        throw new Error(`${url}: ${measured.failed} requests failed.`);
      }
      return {
        ...measured,
        processor: after === undefined ? undefined : ((after - before) * 1e6) / measured.requests,
      };
    };
    tell('guard: warm-up');
    for (const server of servers) await load(server, flags.warmUp);
    // A difference of a few microseconds: short rounds, and many, so that what else the machine does hits both alike.
    const rounds = flags.rounds * SHORTER;
    for (let round = 0; round < rounds; round += 1) {
      for (const server of round % 2 === 0 ? servers : servers.toReversed()) {
        server.rounds.push(await load(server, flags.seconds / SHORTER));
      }
      const [own, open] = servers.map(({ rounds }) => number(rounds.at(-1).perSecond));
      tell(`guard: round ${round + 1} of ${rounds}: ${own} with the guard, ${open} without`);
    }
    return rowsOf(...servers.map(({ rounds }) => rounds));
  } finally {
    await Promise.all([...apps, generator].map((child) => child.stop()));
  }
}

/** The same answer, and the guard is really there: it refuses who has no token. */
async function requireGuarded([guarded, ...others], authorization) {
  const answer = await fetchAnswer(guarded.url, authorization);
  for (const { url } of others) requireSameShape(answer, await fetchAnswer(url, authorization));
  const { status } = await fetch(guarded.url);
  if (status !== 401) throw new Error(`Without a token the guard answers ${status}.`);
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
      : [
          row(
            'guarded route, processor time per request',
            'processor',
            (value) => `${value.toFixed(1)} µs`,
          ),
        ]),
  ];
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { values } = parseArgs({
    options: {
      dist: { type: 'string', default: fileURLToPath(new URL('../dist', import.meta.url)) },
      rounds: { type: 'string', default: '7' },
      seconds: { type: 'string', default: '4' },
    },
  });
  const seconds = Number(values.seconds);
  const flags = { rounds: Number(values.rounds), seconds, warmUp: seconds, connections: 64 };
  const tell = (text) => process.stderr.write(`${text}\n`);
  const rows = await guardRows(openBuild(values.dist), flags, tell);
  console.log(table(rows));
  process.exitCode = rows.some(({ met }) => met === false) ? 1 : 0;
}
