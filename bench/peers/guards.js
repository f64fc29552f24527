import { join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { measureStart } from '../guard.js';
import { measuredInTurn, orderOf } from '../rounds.js';
import { median } from '../statistics.js';
import { microseconds, number } from '../table.js';
import { callsPerSecond, chunksInTurn } from '../verification.js';
import {
  AUDIENCE,
  createIssuer,
  ISSUER,
  processorMicrosecondsEach,
  verifierFor,
} from '../verification-tokens.js';
import { comparison, promise } from './comparison.js';
import { CACHE_ENTRIES, VERIFIERS } from './verifiers.js';

const OURS = 'the guard';
const WARM_TOKENS = 1_000;
const WARM_BATCHES = 10;
const COLD_TOKENS = 2_000;
const REQUESTS = 1_000;
const TURNS = 8;

const LEAST_WARM = 1;
const MOST_COLD = 1.15;
/** What two equal applications differ by on a shared machine. */
const LEAST_ROUTE = 0.97;

const WARM = { title: 'the same tokens again', key: 'warm', format: microseconds };
const PROCESSOR = { title: 'processor time of that', key: 'processor', format: microseconds };
const COLD = { title: 'each token new', key: 'cold', format: microseconds };

/** Packages that the bench has to install first. */
const INSTALLED = ['aws-jwt-verify', 'passport-jwt'];

/** The verifier of the guard, and those of others: with tokens that were seen before, and with tokens that were not. */
export async function measureVerifiers({ build, packagesSkipped }, flags, tell) {
  const verification = await build.load('verification/index.js');
  const issuer = createIssuer('RS256');
  const makers = {
    [OURS]: async () => {
      const verifier = verifierFor(verification, issuer, { cache: { maxEntries: CACHE_ENTRIES } });
      return (token) => verifier.verify(token);
    },
    ...Object.fromEntries(
      Object.entries(VERIFIERS).map(([name, make]) => [name, () => make(issuer)]),
    ),
  };
  if (packagesSkipped !== undefined) for (const name of INSTALLED) delete makers[name];
  const names = Object.keys(makers);
  const verifiers = await Promise.all(Object.values(makers).map((make) => make()));
  const seen = issuer.tokens(WARM_TOKENS);
  for (const verify of verifiers) await callsPerSecond(verify, seen, WARM_BATCHES);
  const warm = await measuredInTurn(
    verifiers,
    flags.rounds,
    async (verify) => 1_000_000 / (await callsPerSecond(verify, seen, WARM_BATCHES)),
  );
  tell(`guards: warm, ${flags.rounds} rounds`);
  const tokens = issuer.tokens(COLD_TOKENS);
  // Made anew in each round: what one remembers it has not seen.
  const contenders = Object.values(makers);
  await chunksInTurn(contenders, tokens, 1, 0);
  const cold = [];
  const processor = [];
  for (let round = 0; round < flags.rounds; round += 1) {
    cold.push(await chunksInTurn(contenders, tokens, 1, round));
    processor.push(await chunksInTurn(contenders, tokens, 1, round, processorMicrosecondsEach));
  }
  tell(`guards: cold, ${flags.rounds} rounds`);
  const measured = Object.fromEntries(
    names.map((name, index) => [
      name,
      warm[index].map((value, round) => ({
        warm: value,
        cold: cold[round][index],
        processor: processor[round][index],
      })),
    ]),
  );
  if (packagesSkipped !== undefined) for (const name of INSTALLED) measured[name] = packagesSkipped;
  const others = Object.keys(measured).filter((name) => name !== OURS);
  return {
    tables: [comparison(measured, [WARM, COLD, PROCESSOR])],
    promises: [
      ...others.map((name) =>
        promise(
          `verify again per second: the guard, and ${name}`,
          [measured[OURS], measured[name]].map(perSecond),
          { key: 'perSecond', format: number },
          { least: LEAST_WARM },
        ),
      ),
      promise(
        'verify a new token, processor time: the guard, and jose',
        [measured[OURS], measured.jose],
        PROCESSOR,
        {
          most: MOST_COLD,
        },
      ),
    ],
  };
}

function perSecond(rounds) {
  if (typeof rounds === 'string') return rounds;
  return rounds.map(({ warm }) => ({ perSecond: 1_000_000 / warm }));
}

const ROUTE_FIGURES = [
  { title: 'same token, requests/s', key: 'perSecond', format: number },
  { title: 'processor time', key: 'processor', format: microseconds },
  { title: 'each token new, requests/s', key: 'coldPerSecond', format: number },
  { title: 'processor time', key: 'coldProcessor', format: microseconds },
];

/** The same as routes of NestJS on Fastify: the guard, `@nestjs/passport`, guards by hand around a library, and no guard at all. */
export async function measureRoutes({ build, packagesSkipped }, flags, tell) {
  const issuer = createIssuer('RS256');
  const guard = pathToFileURL(join(resolve(build.cli, '..'), 'guard', 'index.js')).href;
  const kinds = {
    [OURS]: { guard },
    '@nestjs/passport': { guard: null, peer: 'passport-jwt' },
    'by hand, jose': { guard: null, peer: 'jose' },
    'by hand, aws-jwt-verify': { guard: null, peer: 'aws-jwt-verify' },
    'by hand, fast-jwt': { guard: null, peer: 'fast-jwt' },
    'no guard': { guard: null },
  };
  const names = Object.keys(kinds).filter(
    (name) => packagesSkipped === undefined || !INSTALLED.includes(kinds[name].peer),
  );
  const shared = {
    issuer: { issuer: ISSUER, audiences: AUDIENCE, profile: 'rfc9068' },
    jwks: issuer.jwks,
  };
  tell(`guards: ${number(2 * TURNS * REQUESTS)} tokens are signed`);
  const tokens = issuer
    .tokens(2 * TURNS * REQUESTS)
    .map((bytes) => `Bearer ${bytes.latin1Slice()}`);
  const load = { connections: flags.connections, requests: REQUESTS, turns: TURNS };
  const loads = {
    warm: { ...load, authorizations: tokens.slice(0, 1) },
    cold: { ...load, authorizations: tokens.slice(load.turns * REQUESTS) },
  };
  loads.cold.warmUp = tokens.slice(0, load.turns * REQUESTS);
  const measured = Object.fromEntries(names.map((name) => [name, []]));
  for (let start = 0; start < flags.rounds; start += 1) {
    const order = orderOf(names.length, start).map((index) => names[index]);
    const wanted = order.map((name) => kinds[name]);
    const warm = await measureStart(wanted, shared, loads.warm);
    const cold = await measureStart(wanted, shared, loads.cold);
    for (const [index, name] of order.entries()) {
      for (const [at, { perSecond, processor }] of warm[index].entries()) {
        const { perSecond: coldPerSecond, processor: coldProcessor } = cold[index][at];
        measured[name].push({ perSecond, processor, coldPerSecond, coldProcessor });
      }
    }
    tell(
      `guards: start ${start + 1} of ${flags.rounds}: ${names
        .map(
          (name) =>
            `${name} ${number(median(measured[name].slice(-TURNS).map((turn) => turn.perSecond)))}`,
        )
        .join(', ')}`,
    );
  }
  if (packagesSkipped !== undefined) {
    for (const [name, { peer }] of Object.entries(kinds)) {
      if (INSTALLED.includes(peer)) measured[name] = packagesSkipped;
    }
  }
  return {
    tables: [comparison(measured, ROUTE_FIGURES)],
    promises: [
      promise(
        'route, requests per second: the guard, and @nestjs/passport',
        [measured[OURS], measured['@nestjs/passport']],
        ROUTE_FIGURES[0],
        { least: LEAST_ROUTE },
      ),
    ],
  };
}
