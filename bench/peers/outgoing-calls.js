import { forked } from '../forked.js';
import { inTurn } from '../rounds.js';
import { quantiles } from '../statistics.js';
import { microseconds } from '../table.js';
import { AGENT } from './agent.js';
import { comparison, promise } from './comparison.js';
import { BROKER, MINT } from './token-servers.js';

const CALLS = 50;
const TURNS = 30;
const TOKENS = 500;

const MOST_OF_FIXED = 1.1;
const MOST_OF_ASK = 0.8;

const OURS = "the kit's getToken()";
const ASK_BROKER = 'an ask of the broker for each call';
const FIXED = 'a fixed header, no token to get';

const FIGURES = {
  token: { title: 'the token alone', key: 'token', format: microseconds },
  p50: { title: 'the call with it, p50', key: 'p50', format: microseconds },
  p99: { title: 'p99', key: 'p99', format: microseconds },
  p999: { title: 'p99.9', key: 'p999', format: microseconds },
  processor: {
    title: 'processor time of the caller a call',
    key: 'processor',
    format: microseconds,
  },
};

/**
 * What a service feels: one call of another service with the token attached, one call after the other, by `fetch`. The token comes from
 * the kit in the process, from AWS's cache in the process, from a server on the same host that is asked for each call, or from the
 * provider.
 */
export async function measureOutgoingCalls(parts, flags, tell) {
  const { build, upstream, servers } = parts;
  const running = [];
  const callee = forked('./callee-server.js');
  try {
    // Every token of a provider's key begins alike; each mint is another token.
    const [header] = upstream.token.split('.');
    const { port } = await callee.ask({ token: `${header}.` });
    const started = {};
    for (const name of [BROKER, AGENT, MINT]) {
      const start = servers[name];
      started[name] = typeof start === 'string' ? start : await start();
      if (typeof start !== 'string') running.push(started[name]);
    }
    const contenders = await tokenSources({ ...parts, build, started });
    const url = `http://127.0.0.1:${port}/orders`;
    const measured = Object.fromEntries(
      Object.entries(contenders).map(([name, source]) => [
        name,
        typeof source === 'string' ? source : [],
      ]),
    );
    const names = Object.keys(contenders).filter((name) => typeof contenders[name] !== 'string');
    await inTurn(names, TURNS, (name) => turn(contenders[name], url));
    for (let round = 0; round < flags.rounds; round += 1) {
      const taken = Object.fromEntries(names.map((name) => [name, []]));
      const processor = Object.fromEntries(names.map((name) => [name, 0]));
      await inTurn(names, TURNS, async (name) => {
        const each = await turn(contenders[name], url);
        taken[name].push(...each.taken);
        processor[name] += each.processor;
      });
      for (const name of names) {
        measured[name].push({
          ...quantiles(Float64Array.from(taken[name])),
          processor: processor[name] / (TURNS * CALLS),
          token: await tokenAlone(contenders[name]),
        });
      }
      tell(`calls: round ${round + 1} of ${flags.rounds}`);
    }
    const named = (name) => [measured[OURS], measured[name]];
    return {
      tables: [comparison(measured, Object.values(FIGURES))],
      promises: [
        promise(
          'outgoing call: getToken() in the process, and a fixed header',
          named(FIXED),
          FIGURES.p50,
          { most: MOST_OF_FIXED },
        ),
        promise(
          'outgoing call: getToken() in the process, and an ask of the broker for each',
          named(ASK_BROKER),
          FIGURES.p50,
          { most: MOST_OF_ASK },
        ),
      ],
    };
  } finally {
    await Promise.all([callee, ...running].map((each) => each.stop()));
  }
}

/** Calls one after the other: how many microseconds each took, and what the process used of the processor. */
async function turn(source, url) {
  const taken = [];
  const before = process.cpuUsage();
  for (let call = 0; call < CALLS; call += 1) {
    const start = process.hrtime.bigint();
    const token = await source();
    const response = await fetch(url, { headers: { authorization: `Bearer ${token}` } });
    const { orders } = await response.json();
    taken.push(Number(process.hrtime.bigint() - start) / 1000);
    if (orders?.length !== 1) throw new Error(`A call got ${response.status}.`);
  }
  const { user, system } = process.cpuUsage(before);
  return { taken, processor: user + system };
}

async function tokenAlone(source) {
  const start = process.hrtime.bigint();
  for (let call = 0; call < TOKENS; call += 1) await source();
  return Number(process.hrtime.bigint() - start) / 1000 / TOKENS;
}

/** Each a function that resolves to a token, or why there is none. */
async function tokenSources({ build, scene, upstream, packagesSkipped, started }) {
  const { createServiceTokenClient } = await build.load('client/index.js');
  const { [BROKER]: broker, [AGENT]: agent, [MINT]: provider } = started;
  const [id, secret] = Buffer.from(scene.authorization.slice('Basic '.length), 'base64')
    .toString()
    .split(':');
  const client = createServiceTokenClient({ brokers: broker.url, peer: { id, secret } });
  const ask = async ({ url, ...request }) => (await fetch(url, request)).json();
  return {
    [OURS]: () => client.getToken(),
    "AWS's cache in the process (Powertools)": packagesSkipped ?? (await powertools(upstream)),
    [ASK_BROKER]: async () => (await ask(broker.request)).access_token,
    "an ask of AWS's agent for each call":
      typeof agent === 'string'
        ? agent
        : async () => JSON.parse((await ask(agent.request)).SecretString).access_token,
    [MINT]: async () => (await ask(provider.request)).access_token,
    [FIXED]: () => upstream.token,
  };
}

/** AWS has no caching client for JavaScript beside this one: the package for Lambda, which runs anywhere. */
async function powertools({ env, secretId }) {
  const [{ SecretsProvider }, { SecretsManagerClient }] = await Promise.all([
    import('@aws-lambda-powertools/parameters/secrets'),
    import('@aws-sdk/client-secrets-manager'),
  ]);
  const awsSdkV3Client = new SecretsManagerClient({
    endpoint: env.AWS_ENDPOINT_URL_SECRETS_MANAGER,
    region: env.AWS_REGION,
    credentials: { accessKeyId: env.AWS_ACCESS_KEY_ID, secretAccessKey: env.AWS_SECRET_ACCESS_KEY },
  });
  const provider = new SecretsProvider({ awsSdkV3Client });
  const options = { maxAge: 300, transform: 'json' };
  return async () => (await provider.get(secretId, options)).access_token;
}
