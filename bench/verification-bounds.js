import { once } from 'node:events';
import { createServer } from 'node:http';
import { createRemoteJWKSet, jwtVerify } from 'jose';
import { megabytes, number, ratio } from './table.js';
import { heapAfterCollection } from './usage.js';
import {
  createIssuer,
  microsecondsEach,
  tokenOfUnknownKey,
  verifierFor,
} from './verification-tokens.js';

const CACHE_ENTRIES = 10_000;
const IN_FLIGHT = 64;
const MANY_TOKENS = 100_000;
const MOST_GROWTH = 1.25;
const UNKNOWN_KEYS = 10_000;
const COOLDOWN_SECONDS = 30;
const FLOOD_SECONDS = 600;

/** What must stay bounded under pressure: the memory of the cache, and the fetches of keys. */
export async function boundsRows(verification, tell) {
  tell(`verification: ${number(MANY_TOKENS)} distinct tokens`);
  const memory = await memoryRow(verification);
  tell(`verification: ${number(UNKNOWN_KEYS)} unknown key ids`);
  return [memory, ...(await unknownKeyRows(verification))];
}

async function memoryRow(verification) {
  const issuer = createIssuer('ES256');
  const verifier = verifierFor(verification, issuer, { cache: { maxEntries: CACHE_ENTRIES } });
  const verifyMore = (count) =>
    microsecondsEach((token) => verifier.verify(token), issuer.tokens(count), IN_FLIGHT);
  // What is compiled and allocated once is not the cache's.
  await verifyMore(100);
  const before = heapAfterCollection();
  await verifyMore(CACHE_ENTRIES);
  const full = heapAfterCollection() - before;
  for (let count = CACHE_ENTRIES; count < MANY_TOKENS; count += CACHE_ENTRIES) {
    await verifyMore(CACHE_ENTRIES);
  }
  const after = heapAfterCollection() - before;
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
