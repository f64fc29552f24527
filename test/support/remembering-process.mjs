// A verifier that remembers tokens, and what its process holds in memory afterwards. The folder it is given has
// tokens.txt, a token a line, and jwks.json; it leaves memory.heapsnapshot there, and prints how many tokens it still
// remembers. With "keep" it holds on to the tokens itself.
import { readFileSync } from 'node:fs';
import { setImmediate } from 'node:timers/promises';
import { writeHeapSnapshot } from 'node:v8';
import { createStaticKeySet, createTokenVerifier } from '../../dist/verification/index.js';

const [folder, issuer, audiences, keep] = process.argv.slice(2);
const keys = createStaticKeySet(JSON.parse(readFileSync(`${folder}/jwks.json`, 'utf8')));
const verifier = createTokenVerifier({
  issuers: [{ issuer, audiences, profile: 'rfc9068', keys }],
});

/** Each time other strings, as each request brings its own; not slices of one, which would keep them all. */
const readTokens = () =>
  readFileSync(`${folder}/tokens.txt`, 'latin1')
    .split('\n')
    .map((line) => Buffer.from(line).latin1Slice());

async function verifyAll() {
  for (const token of readTokens()) await verifier.verify(token);
}

// Verified, found by the digest, found by the string that came before.
for (let time = 0; time < 3; time += 1) await verifyAll();
const kept = keep === 'keep' ? readTokens() : [];
// What a job has looked at through a weak reference stays until the job ends.
await setImmediate();
// V8 keeps the text that a regular expression last matched, until the next match.
/y/.test('anything');
writeHeapSnapshot(`${folder}/memory.heapsnapshot`);
const remembered = readTokens().filter((token) => verifier.peek(token) !== undefined);
process.stdout.write(JSON.stringify({ remembered: remembered.length, kept: kept.length }));
