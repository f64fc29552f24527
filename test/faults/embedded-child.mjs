// A process of its own with the embedded store of a data folder: takes calls as lines of JSON, answers each with one.
import { createInterface } from 'node:readline';
import { openEmbeddedStore } from '../../dist/secrets/embedded/open-embedded-store.js';

const [dataDir] = process.argv.slice(2);
let store;

async function answer({ method, args }) {
  try {
    if (method === 'open') {
      store = await openEmbeddedStore({ dataDir });
      return { ok: true };
    }
    const value = await store[method](...args.map((arg) => arg ?? undefined)); // JSON has no undefined
    return { ok: true, value: method === 'describe' ? Object.fromEntries(value.labels) : value };
  } catch (error) {
    return {
      ok: false,
      code: error.code ?? 'UNEXPECTED',
      kind: error.kind,
      message: error.message,
    };
  }
}

for await (const line of createInterface({ input: process.stdin })) {
  process.stdout.write(`${JSON.stringify(await answer(JSON.parse(line)))}\n`);
}
