// Reads and writes an embedded store, as a broker does, until standard input ends; then says what it did.
import { randomUUID } from 'node:crypto';
import { writeSync } from 'node:fs';
import { openEmbeddedStore } from '../../dist/secrets/embedded/open-embedded-store.js';

const [dataDir, secretId] = process.argv.slice(2);
process.stdin.resume();

const store = await openEmbeddedStore({ dataDir });
const did = { reads: 0, written: [], failures: [] };
writeSync(1, '\n');
while (!process.stdin.readableEnded) {
  const id = randomUUID();
  try {
    await store.putPending(secretId, id, `value of ${id}`);
    did.written.push(id);
    const { value } = await store.read(secretId, { versionId: id });
    if (value === `value of ${id}`) did.reads += 1;
    else did.failures.push('another value');
    await store.read(secretId);
    await store.describe(secretId);
  } catch (error) {
    did.failures.push(`${error.code}: ${error.message}`);
  }
  await new Promise((resolve) => {
    setImmediate(resolve);
  });
}
await store.close();
writeSync(1, JSON.stringify(did));
