import { hash } from 'node:crypto';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { createVerifier } from 'fast-jwt';
import { importJWK, jwtVerify } from 'jose';
import { openBuild } from './build.js';
import { measuredInTurn, orderOf } from './rounds.js';
import { pairedRatio, spread } from './statistics.js';
import { microseconds, number, ratio, table, withSpread } from './table.js';
import { boundsRows } from './verification-bounds.js';
import {
  AUDIENCE,
  createIssuer,
  ISSUER,
  LONGEST_LIFE_SECONDS,
  microsecondsEach,
  SKEW_SECONDS,
  verifierFor,
} from './verification-tokens.js';

const WARM_TOKENS = 1_000;
const WARM_BATCHES = 100;
const COLD_TOKENS = 2_000;
const CHUNK = 200;
const IN_FLIGHT = 64;
const MOST_COLD = 1.15;
/** With less to gain the fingerprint would not be worth its code. */
const MOST_OF_HASHING = 0.8;
const CACHE_ENTRIES = 10_000;

/** What is measured of the verifier. Every row has its reference from the same run, the two in turn. */
export async function verificationRows({ build, rounds = 7, tell = () => undefined }) {
  const verification = await build.load('verification/index.js');
  const { TokenFingerprint } = await build.load('verification/verifier.js');
  const rows = [
    ...(await warmRows(verification, rounds, tell)),
    await fingerprintRow(TokenFingerprint, rounds, tell),
  ];
  for (const alg of ['RS256', 'ES256']) {
    rows.push(...(await coldRows(verification, alg, rounds, tell)));
  }
  rows.push(...(await boundsRows(verification, tell)));
  return rows;
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
  const [own, hashing, byText] = await measuredInTurn(contenders, rounds, (verify) =>
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

/** Recognizing a token that was seen before: by its fingerprint, and by its digest alone. Strings as new as a request's. */
async function fingerprintRow(TokenFingerprint, rounds, tell) {
  const tokens = createIssuer('RS256').tokens(WARM_TOKENS);
  const texts = tokens.map((bytes) => bytes.latin1Slice());
  const fingerprints = new Map(texts.map((text) => [text.slice(-12), new TokenFingerprint(text)]));
  const digests = new Map(texts.map((text) => [text.slice(-12), hash('sha256', text, 'binary')]));
  const contenders = [
    (token) => require(fingerprints.get(token.slice(-12)).matches(token)),
    (token) => require(digests.get(token.slice(-12)) === hash('sha256', token, 'binary')),
  ];
  for (const matches of contenders) await callsPerSecond(matches, tokens, 10);
  const [own, reference] = await measuredInTurn(contenders, rounds, async (matches) => {
    return 1_000_000 / (await callsPerSecond(matches, tokens, WARM_BATCHES));
  });
  tell(`verification: fingerprints, ${rounds} rounds`);
  const quotient = pairedRatio(own, reference);
  return {
    name: 'recognize a token by its fingerprint, and by SHA-256 alone',
    measured: withSpread(spread(own), microseconds),
    reference: withSpread(spread(reference), microseconds),
    ratio: ratio(quotient),
    target: `at most ${MOST_OF_HASHING} times`,
    met: quotient <= MOST_OF_HASHING,
  };
}

function require(matches) {
  if (!matches) throw new Error('A token was not recognized.');
}

/** Throughput with strings that no engine has seen before: each is made, outside the measured time, for one call. */
export async function callsPerSecond(verify, tokens, batches) {
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
    await chunksInTurn(contenders, tokens, inFlight, 0);
    const measured = [];
    for (let round = 0; round < rounds; round += 1) {
      measured.push(await chunksInTurn(contenders, tokens, inFlight, round));
    }
    const [own, reference] = contenders.map((_, index) => measured.map((each) => each[index]));
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

/**
 * One round: each contender judges all tokens, in chunks between which they take turns. A chunk takes a moment only, so
 * that whatever else the machine does falls on both. Microseconds for each token, a figure for each contender.
 */
export async function chunksInTurn(
  contenders,
  tokens,
  inFlight,
  round,
  measure = microsecondsEach,
) {
  const verifies = [];
  for (const make of contenders) verifies.push(await make());
  const sums = contenders.map(() => 0);
  const chunks = Math.ceil(tokens.length / CHUNK);
  for (let chunk = 0; chunk < chunks; chunk += 1) {
    const part = tokens.slice(chunk * CHUNK, (chunk + 1) * CHUNK);
    for (const index of orderOf(verifies.length, round * chunks + chunk)) {
      sums[index] += (await measure(verifies[index], part, inFlight)) * part.length;
    }
  }
  return sums.map((sum) => sum / tokens.length);
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
