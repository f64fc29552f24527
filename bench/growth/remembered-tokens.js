import { setImmediate as nextTurn } from 'node:timers/promises';
import { microsecondsEach, createIssuer, verifierFor } from '../verification-tokens.js';
import { heapAfterCollection } from '../usage.js';
import { note, pointsOf } from './brokers.js';

const MOST_TOKENS = 100_000;
/** Looked at again, of all that are remembered: enough to leave the processor's caches. */
const SAMPLE = 20_000;
const IN_FLIGHT = 64;

/** A verifier that remembers so many tokens: the time to verify one of them again, and the memory of all. */
export async function measureRememberedTokens(build, sizes, flags, tell) {
  const verification = await build.load('verification/index.js');
  // The faster signature to make: what is measured does not depend on it.
  const issuer = createIssuer('ES256');
  tell(`growth: ${MOST_TOKENS} tokens are signed`);
  const tokens = issuer.tokens(MOST_TOKENS);
  const options = { cache: { maxEntries: MOST_TOKENS } };
  // What is compiled and allocated once belongs to no size.
  const first = verifierFor(verification, issuer, options);
  await microsecondsEach((token) => first.verify(token), tokens.slice(0, 1_000), IN_FLIGHT);
  const measured = new Map(sizes.map((size) => [size, {}]));
  for (let round = 0; round < flags.starts; round += 1) {
    for (const size of sizes) {
      const verifier = verifierFor(verification, issuer, options);
      const verify = (token) => verifier.verify(token);
      // What the size before has remembered can be collected only in another turn.
      await nextTurn();
      const before = heapAfterCollection();
      await microsecondsEach(verify, tokens.slice(0, size), IN_FLIGHT);
      const heap = heapAfterCollection() - before;
      const again = Array.from({ length: SAMPLE }, (_, at) => tokens[(at * 7919) % size]);
      await microsecondsEach(verify, again, 1);
      note(measured.get(size), { again: await microsecondsEach(verify, again, 1), heap });
    }
    tell(`growth: remembered tokens, round ${round + 1} of ${flags.starts}`);
  }
  return pointsOf(measured);
}
