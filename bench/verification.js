import { createServer } from 'node:http';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { createVerifier } from 'fast-jwt';
import { createRemoteJWKSet, importJWK, jwtVerify } from 'jose';
import { openBuild } from './build.js';
import { pairedRatio, spread } from './statistics.js';
import { megabytes, number, ratio, table, withSpread } from './table.js';
import {
  AUDIENCE,
  createIssuer,
  ISSUER,
  LONGEST_LIFE_SECONDS,
  SKEW_SECONDS,
  tokenOfUnknownKey,
} from './verification-tokens.js';

const WARM_TOKENS = 1_000;
const WARM_BATCHES = 100;
const COLD_TOKENS = 2_000;
const IN_FLIGHT = 64;
const MOST_COLD = 1.15;
const CACHE_ENTRIES = 10_000;
const MANY_TOKENS = 100_000;
const MOST_GROWTH = 1.25;
const UNKNOWN_KEYS = 10_000;
const COOLDOWN_SECONDS = 30;
const FLOOD_SECONDS = 600;

/** What is measured of the verifier. Every row has its reference from the same run, the two in turn. */
export async function verificationRows({ build, rounds = 7, tell = () => undefined }) {
  const verification = await build.load('verification/index.js');
  const rows = await warmRows(verification, rounds, tell);
  for (const alg of ['RS256', 'ES256']) {
    rows.push(...(await coldRows(verification, alg, rounds, tell)));
  }
  tell(`verification: ${number(MANY_TOKENS)} distinct tokens`);
  rows.push(await memoryRow(verification));
  tell(`verification: ${number(UNKNOWN_KEYS)} unknown key ids`);
  rows.push(...(await unknownKeyRows(verification)));
  return rows;
}

function verifierFor({ createStaticKeySet, createTokenVerifier }, issuer, options = {}) {
  const { keys = createStaticKeySet(issuer.jwks), ...rest } = options;
  return createTokenVerifier({
    clockSkewSeconds: SKEW_SECONDS,
    issuers: [
      {
        issuer: ISSUER,
        audiences: AUDIENCE,
        algorithms: [issuer.alg],
        typ: 'at+jwt',
        maxTokenLifetimeSeconds: LONGEST_LIFE_SECONDS,
        profile: 'rfc9068',
        keys,
      },
    ],
    ...rest,
  });
}

async function warmRows(verification, rounds, tell) {
  const issuer = createIssuer('RS256');
  const tokens = issuer.tokens(WARM_TOKENS);
  const verifier = verifierFor(verification, issuer, { cache: { maxEntries: CACHE_ENTRIES } });
  const options = {
    key: issuer.publicKey.export({ type: 'spki', format: 'pem' }),
    algorithms: [issuer.alg],
    allowedIss: ISSUER,
    allowedAud: AUDIENCE,
    checkTyp: 'at+jwt',
    clockTolerance: SKEW_SECONDS * 1000,
    cache: CACHE_ENTRIES,
  };
  const contenders = [
    (token) => verifier.verify(token),
    createVerifier(options),
    createVerifier({ ...options, cacheKeyBuilder: (token) => token }),
  ];
  for (const verify of contenders) await callsPerSecond(verify, tokens, 10);
  const [own, hashing, byText] = await inTurn(contenders, rounds, (verify) =>
    callsPerSecond(verify, tokens, WARM_BATCHES),
  );
  tell(`verification: warm, ${rounds} rounds`);
  const row = (name, references, judged) => ({
    name,
    measured: withSpread(spread(own), number),
    reference: withSpread(spread(references), number),
    ratio: ratio(pairedRatio(own, references)),
    ...(judged && { target: 'at least 1.00 times', met: pairedRatio(own, references) >= 1 }),
  });
  return [
    row('warm verify per second, and fast-jwt with its cache', hashing, true),
    row('the same, and fast-jwt told to keep whole tokens as keys', byText, false),
  ];
}

/** Throughput with strings that no engine has seen before: each is made, outside the measured time, for one call. */
async function callsPerSecond(verify, tokens, batches) {
  let nanoseconds = 0n;
  for (let batch = 0; batch < batches; batch += 1) {
    const fresh = tokens.map((bytes) => bytes.latin1Slice());
    const start = process.hrtime.bigint();
    for (const token of fresh) await verify(token);
    nanoseconds += process.hrtime.bigint() - start;
  }
  return (batches * tokens.length) / (Number(nanoseconds) / 1e9);
}

async function coldRows(verification, alg, rounds, tell) {
  const issuer = createIssuer(alg);
  const tokens = issuer.tokens(COLD_TOKENS);
  const key = await importJWK(issuer.jwks.keys[0], alg);
  const checks = {
    issuer: ISSUER,
    audience: AUDIENCE,
    algorithms: [alg],
    typ: 'at+jwt',
    maxTokenAge: LONGEST_LIFE_SECONDS,
    clockTolerance: SKEW_SECONDS,
    requiredClaims: ['exp', 'sub', 'client_id'],
  };
  const contenders = [
    async () => {
      // New in each round, so that its cache, which is on, knows none of the tokens.
      const verifier = verifierFor(verification, issuer);
      return (token) => verifier.verify(token);
    },
    async () => (token) => jwtVerify(token, key, checks),
  ];
  const rows = [];
  for (const inFlight of [1, IN_FLIGHT]) {
    const measure = async (make) => microsecondsEach(await make(), tokens, inFlight);
    for (const make of contenders) await measure(make);
    const [own, reference] = await inTurn(contenders, rounds, measure);
    const quotient = pairedRatio(own, reference);
    const how = inFlight === 1 ? 'alone' : `${inFlight} in flight`;
    tell(`verification: cold ${alg} ${how}, ${rounds} rounds`);
    rows.push({
      name: `cold verify ${alg} ${how}, and jose's jwtVerify`,
      measured: withSpread(spread(own), microseconds),
      reference: withSpread(spread(reference), microseconds),
      ratio: ratio(quotient),
      target: `at most ${MOST_COLD} times`,
      met: quotient <= MOST_COLD,
    });
  }
  return rows;
}

const microseconds = (value) => `${value.toFixed(1)} µs`;

async function microsecondsEach(verify, tokens, inFlight) {
  const fresh = tokens.map((bytes) => bytes.latin1Slice());
  let next = 0;
  const work = async () => {
    while (next < fresh.length) await verify(fresh[next++]);
  };
  const start = process.hrtime.bigint();
  await Promise.all(Array.from({ length: inFlight }, work));
  return Number(process.hrtime.bigint() - start) / 1000 / fresh.length;
}

/** Each contender once in each round, and another one first in the next round. One list of values for each. */
async function inTurn(contenders, rounds, measure) {
  const values = contenders.map(() => []);
  for (let round = 0; round < rounds; round += 1) {
    for (let turn = 0; turn < contenders.length; turn += 1) {
      const index = (round + turn) % contenders.length;
      values[index].push(await measure(contenders[index]));
    }
  }
  return values;
}

async function memoryRow(verification) {
  setFlagsFromString('--expose-gc');
  const collectGarbage = runInNewContext('gc');
  const heap = () => {
    collectGarbage();
    return process.memoryUsage().heapUsed;
  };
  const issuer = createIssuer('ES256');
  const verifier = verifierFor(verification, issuer, { cache: { maxEntries: CACHE_ENTRIES } });
  const verifyMore = (count) =>
    microsecondsEach((token) => verifier.verify(token), issuer.tokens(count), IN_FLIGHT);
  // What is compiled and allocated once is not the cache's.
  await verifyMore(100);
  const before = heap();
  await verifyMore(CACHE_ENTRIES);
  const full = heap() - before;
  for (let count = CACHE_ENTRIES; count < MANY_TOKENS; count += CACHE_ENTRIES) {
    await verifyMore(CACHE_ENTRIES);
  }
  const after = heap() - before;
  // Still needed: otherwise it would be garbage too.
  await verifier.verify(issuer.tokens(1)[0].latin1Slice());
  return {
    name: `heap after ${number(MANY_TOKENS)} distinct tokens, and after ${number(CACHE_ENTRIES)}, of which all are kept`,
    measured: megabytes(after),
    reference: `${megabytes(full)}, ${number(full / CACHE_ENTRIES)} bytes each`,
    ratio: ratio(after / full),
    target: `at most ${MOST_GROWTH} times`,
    met: after <= full * MOST_GROWTH,
  };
}

/** A process that has its keys; a minute later the provider is down, and a flood of invented key ids begins. */
async function unknownKeyRows(verification) {
  const issuer = createIssuer('ES256');
  const provider = await startProvider(issuer.jwks);
  const realNow = Date.now;
  let now = realNow();
  // Both read the machine's clock, which is moved by hand here.
  Date.now = () => now;
  const fetchesOf = async (makeVerify, secondsEach) => {
    provider.isDown = false;
    const verify = makeVerify();
    await verify(issuer.tokens(1)[0].latin1Slice());
    now += 2 * COOLDOWN_SECONDS * 1000;
    provider.isDown = true;
    provider.requests = 0;
    for (let count = 0; count < UNKNOWN_KEYS; count += 1) {
      await refused(verify(tokenOfUnknownKey()));
      now += secondsEach * 1000;
    }
    return provider.requests;
  };
  const withOurs = () => {
    const keys = verification.createRemoteKeySet({
      jwksUri: provider.url,
      cooldownSeconds: COOLDOWN_SECONDS,
    });
    const verifier = verifierFor(verification, issuer, { keys });
    return (token) => verifier.verify(token);
  };
  const withJose = () => {
    const keys = createRemoteJWKSet(new URL(provider.url), {
      cooldownDuration: COOLDOWN_SECONDS * 1000,
    });
    return (token) => jwtVerify(token, keys);
  };
  const row = async (name, secondsEach, most) => {
    const own = await fetchesOf(withOurs, secondsEach);
    const reference = await fetchesOf(withJose, secondsEach);
    return {
      name: `${number(UNKNOWN_KEYS)} unknown key ids, provider down, ${name}, and jose's`,
      measured: `${number(own)} fetches`,
      reference: `${number(reference)} fetches`,
      target: `at most ${most}`,
      met: own <= most,
    };
  };
  try {
    const cooldowns = FLOOD_SECONDS / COOLDOWN_SECONDS;
    return [
      await row('at once', 0, 1),
      await row(`in ${cooldowns} cooldowns`, FLOOD_SECONDS / UNKNOWN_KEYS, cooldowns),
    ];
  } finally {
    Date.now = realNow;
    await provider.stop();
  }
}

async function refused(verifying) {
  const accepted = await verifying.then(
    () => true,
    () => false,
  );
  if (accepted) throw new Error('A token of an unknown key was accepted.');
}

async function startProvider(jwks) {
  const provider = { isDown: false, requests: 0 };
  const server = createServer((_, response) => {
    provider.requests += 1;
    response.writeHead(provider.isDown ? 503 : 200, { 'content-type': 'application/json' });
    response.end(provider.isDown ? '' : JSON.stringify(jwks));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  provider.url = `http://127.0.0.1:${server.address().port}/jwks`;
  provider.stop = async () => {
    server.close();
    server.closeAllConnections();
    await once(server, 'close');
  };
  return provider;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { values } = parseArgs({
    options: {
      dist: { type: 'string', default: fileURLToPath(new URL('../dist', import.meta.url)) },
      rounds: { type: 'string', default: '7' },
    },
  });
  const rows = await verificationRows({
    build: openBuild(values.dist),
    rounds: Number(values.rounds),
    tell: (text) => process.stderr.write(`${text}\n`),
  });
  console.log(table(rows));
  process.exitCode = rows.some(({ met }) => met === false) ? 1 : 0;
}
