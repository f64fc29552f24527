import { createServer } from 'node:http';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import * as openid from 'openid-client';
import { openBuild } from './build.js';
import { pairedRatio, spread } from './statistics.js';
import { number, ratio, table, withSpread } from './table.js';

const LEAST_PER_SECOND = 2_000_000;
const CALLS = 1_000_000;
const PEER = { id: 'bench', secret: 'bench-secret' };

/** What it costs a service to have the token at hand: `await client.getToken()`, warm, again and again on one core. */
export async function clientTokenRows({ build, rounds = 7, tell = () => undefined }) {
  const { createServiceTokenClient } = await build.load('client/service-token-client.js');
  const server = await serveTokens();
  try {
    const client = createServiceTokenClient({ brokers: server.url, peer: PEER });
    const contenders = [() => client.getToken(), cachedCaller(server.url), onePromise()];
    for (const call of contenders) await callsPerSecond(call);
    const values = contenders.map(() => []);
    for (let round = 0; round < rounds; round += 1) {
      for (let turn = 0; turn < contenders.length; turn += 1) {
        const index = (round + turn) % contenders.length;
        values[index].push(await callsPerSecond(contenders[index]));
      }
    }
    tell(`client-token: ${rounds} rounds`);
    // One for each of the two that ask at all: the rest came from memory.
    if (server.requests() !== 2) throw new Error(`The server had ${server.requests()} requests.`);
    return rowsOf(values);
  } finally {
    await server.close();
  }
}

/** A broker's answer, over HTTP. */
async function serveTokens() {
  let requests = 0;
  const server = createServer((request, response) => {
    // The client also reads the metadata once, beside its calls: may it wait for the next token?
    if (request.url === '/oauth2/token') requests += 1;
    request.resume();
    response.setHeader('Content-Type', 'application/json');
    response.end(
      JSON.stringify({
        access_token: `bench.${'x'.repeat(700)}.signature`,
        token_type: 'Bearer',
        expires_in: 86_400,
      }),
    );
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  return {
    url: `http://127.0.0.1:${server.address().port}`,
    requests: () => requests,
    close: () => {
      server.closeAllConnections();
      return new Promise((resolve) => server.close(resolve));
    },
  };
}

/** What services write by hand: a client library, and a variable with the token and when it expires. */
function cachedCaller(url) {
  const configuration = new openid.Configuration(
    { issuer: url, token_endpoint: `${url}/oauth2/token` },
    PEER.id,
    undefined,
    openid.ClientSecretBasic(PEER.secret),
  );
  openid.allowInsecureRequests(configuration);
  let token;
  let usableUntil = 0;
  return async () => {
    if (token !== undefined && Date.now() < usableUntil) return token;
    const answer = await openid.clientCredentialsGrant(configuration);
    usableUntil = Date.now() + (answer.expires_in - 60) * 1_000;
    token = answer.access_token;
    return token;
  };
}

/** The floor: nothing but the wait for a promise that is kept already. */
function onePromise() {
  const promise = Promise.resolve('token');
  return () => promise;
}

async function callsPerSecond(call) {
  const start = process.hrtime.bigint();
  for (let index = 0; index < CALLS; index += 1) await call();
  return CALLS / (Number(process.hrtime.bigint() - start) / 1e9);
}

function rowsOf([own, byHand, floor]) {
  const row = (name, references) => ({
    name,
    measured: withSpread(spread(own), number),
    reference: withSpread(spread(references), number),
    ratio: ratio(pairedRatio(own, references)),
  });
  return [
    {
      ...row('getToken() warm per second, and openid-client with a cache by hand', byHand),
      target: `at least ${number(LEAST_PER_SECOND)}`,
      met: spread(own).median >= LEAST_PER_SECOND,
    },
    row('the same, and the wait for one promise', floor),
  ];
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { values } = parseArgs({
    options: {
      dist: { type: 'string', default: fileURLToPath(new URL('../dist', import.meta.url)) },
      rounds: { type: 'string', default: '7' },
    },
  });
  const rows = await clientTokenRows({
    build: openBuild(values.dist),
    rounds: Number(values.rounds),
    tell: (text) => process.stderr.write(`${text}\n`),
  });
  console.log(table(rows));
  process.exitCode = rows.some(({ met }) => met === false) ? 1 : 0;
}
