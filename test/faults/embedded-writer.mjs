// Writes and promotes versions until it is killed. Each line says what is about to be done, or what is done.
import { randomUUID } from 'node:crypto';
import { writeSync } from 'node:fs';
import { openEmbeddedStore } from '../../dist/secrets/embedded/open-embedded-store.js';

const [dataDir, secretId] = process.argv.slice(2);
// Not process.stdout: what it holds back would be lost with the process.
const say = (line) => writeSync(1, `${line}\n`);

say('opening');
const store = await openEmbeddedStore({ dataDir });
await store.create(secretId, 'written by a process that is killed');
let current = [...(await store.describe(secretId)).labels].find(([, labels]) =>
  labels.includes('AWSCURRENT'),
)?.[0];
for (;;) {
  const next = randomUUID();
  say(`promoting ${next}`);
  await store.putPending(secretId, next, `value of ${next}`.padEnd(20_000));
  await store.promote(secretId, next, current);
  say(`promoted ${next}`);
  current = next;
}
