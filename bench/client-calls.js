import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import axios from 'axios';
import { openBuild } from './build.js';
import { forked } from './forked.js';
import { pairedRatio, spread } from './statistics.js';
import { ratio, table, withSpread } from './table.js';
import { createIssuer } from './verification-tokens.js';

const MOST_TIMES = 1.05;
/** Calls between which two contenders take turns: a moment only, so that whatever else the machine does slows both. */
const CHUNK = 50;
const CHUNKS = 60;
const IN_FLIGHT = 8;

/**
 * Calls with the token attached, and the same calls with the header written out, against a server in another process.
 * The client is a real one, which has got its token over HTTP.
 */
export async function clientCallRows({ build, rounds = 7, tell = () => undefined }) {
  const { attachAuthorization, createAuthorizedFetch, createServiceTokenClient } =
    await build.load('client/index.js');
  const token = createIssuer('RS256').tokens(1)[0].latin1Slice();
  const server = forked('./callee-server.js');
  try {
    const { port } = await server.ask({ token });
    const origin = `http://127.0.0.1:${port}`;
    const url = `${origin}/orders`;
    const headers = { Authorization: `Bearer ${token}` };
    const peer = { id: 'orders', secret: 'secret' };
    const tokens = createServiceTokenClient({ brokers: origin, peer });
    const options = { tokens, origins: [{ origin }] };
    const authorizedFetch = createAuthorizedFetch(options);
    const read = async (response) => ({ status: response.status, data: await response.json() });
    const withAxios = (adapter) => {
      const attached = axios.create({ adapter });
      attachAuthorization(attached, options);
      const fixed = axios.create({ adapter, headers });
      return [() => attached.get(url), () => fixed.get(url)];
    };
    const kinds = {
      'axios call': withAxios('http'),
      'axios call, fetch adapter': withAxios('fetch'),
      'fetch call': [
        async () => read(await authorizedFetch(url)),
        async () => read(await fetch(url, { headers })),
      ],
    };
    const rows = [];
    for (const [name, contenders] of Object.entries(kinds)) {
      await chunksInTurn(contenders, 0);
      const measured = [];
      for (let round = 0; round < rounds; round += 1) {
        measured.push(await chunksInTurn(contenders, round));
      }
      tell(`client-calls: ${name}, ${rounds} rounds`);
      rows.push(rowOf(name, measured));
    }
    return rows;
  } finally {
    await server.stop();
  }
}

/** One round: microseconds for a call, a figure for each contender. */
async function chunksInTurn(contenders, round) {
  const sums = contenders.map(() => 0);
  for (let chunk = 0; chunk < CHUNKS; chunk += 1) {
    for (let turn = 0; turn < contenders.length; turn += 1) {
      const index = (round + chunk + turn) % contenders.length;
      sums[index] += await microseconds(contenders[index]);
    }
  }
  return sums.map((sum) => sum / (CHUNKS * CHUNK));
}

async function microseconds(call) {
  let left = CHUNK;
  const work = async () => {
    while (left > 0) {
      left -= 1;
      const { status, data } = await call();
      if (status !== 200 || data.orders.length !== 1) throw new Error(`A call got ${status}.`);
    }
  };
  const start = process.hrtime.bigint();
  await Promise.all(Array.from({ length: IN_FLIGHT }, work));
  return Number(process.hrtime.bigint() - start) / 1000;
}

function rowOf(name, measured) {
  const [own, reference] = [0, 1].map((index) => measured.map((round) => round[index]));
  const quotient = pairedRatio(own, reference);
  const format = (value) => `${value.toFixed(0)} µs`;
  return {
    name: `${name} with the token attached, and with a fixed header`,
    measured: withSpread(spread(own), format),
    reference: withSpread(spread(reference), format),
    ratio: quotient.toFixed(3),
    target: `at most ${ratio(MOST_TIMES)} times`,
    met: quotient <= MOST_TIMES,
  };
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { values } = parseArgs({
    options: {
      dist: { type: 'string', default: fileURLToPath(new URL('../dist', import.meta.url)) },
      rounds: { type: 'string', default: '7' },
    },
  });
  const rows = await clientCallRows({
    build: openBuild(values.dist),
    rounds: Number(values.rounds),
    tell: (text) => process.stderr.write(`${text}\n`),
  });
  console.log(table(rows));
  process.exitCode = rows.every(({ met }) => met) ? 0 : 1;
}
