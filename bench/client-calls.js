import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import axios from 'axios';
import { openBuild } from './build.js';
import { forked } from './forked.js';
import { median, pairedRatio, spread } from './statistics.js';
import { ratio, table, withSpread } from './table.js';
import { createIssuer } from './verification-tokens.js';

const MOST_TIMES = 1.05;
/** Calls in a turn: a moment only, so that whatever else the machine does slows both contenders. */
const CALLS = 50;
const TURNS = 100;
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
    const options = { tokens, outsideCalls: 'service', origins: [{ origin }] };
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
      await turns(contenders, 0);
      const measured = [];
      for (let round = 0; round < rounds; round += 1) measured.push(await turns(contenders, round));
      tell(`client-calls: ${name}, ${rounds} rounds`);
      rows.push(rowOf(name, measured));
    }
    return rows;
  } finally {
    await server.stop();
  }
}

/** One round: microseconds for a call in each turn, a list for each contender. */
async function turns(contenders, round) {
  const taken = contenders.map(() => []);
  for (let turn = 0; turn < TURNS; turn += 1) {
    for (let step = 0; step < contenders.length; step += 1) {
      const index = (round + turn + step) % contenders.length;
      taken[index].push(await microseconds(contenders[index]));
    }
  }
  return taken;
}

async function microseconds(call) {
  let left = CALLS;
  const work = async () => {
    while (left > 0) {
      left -= 1;
      const { status, data } = await call();
      if (status !== 200 || data.orders.length !== 1) throw new Error(`A call got ${status}.`);
    }
  };
  const start = process.hrtime.bigint();
  await Promise.all(Array.from({ length: IN_FLIGHT }, work));
  return Number(process.hrtime.bigint() - start) / 1000 / CALLS;
}

function rowOf(name, measured) {
  // Turn by turn: one in which the machine did something else would weigh too much in a round's sum.
  const quotient = pairedRatio(...[0, 1].map((index) => measured.flatMap((each) => each[index])));
  const [own, reference] = [0, 1].map((index) => measured.map((each) => median(each[index])));
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
