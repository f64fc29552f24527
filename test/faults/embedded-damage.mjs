// Opens copies of a store after random damage. The process itself must never die of what is in the file.
import { cpSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { openEmbeddedStore } from '../../dist/secrets/embedded/open-embedded-store.js';

const [original, workFolder, secretId, expected, rounds, seed] = process.argv.slice(2);
let state = Number(seed);
const random = (below) => {
  state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
  return Math.floor((state / 2 ** 32) * below);
};

const outcomes = {};
for (let round = 0; round < Number(rounds); round += 1) {
  const dataDir = join(workFolder, String(round));
  cpSync(original, dataDir, { recursive: true });
  const file = join(dataDir, 'secrets.db');
  const bytes = readFileSync(file);
  for (let change = random(8); change >= 0; change -= 1) bytes[random(bytes.length)] = random(256);
  writeFileSync(file, bytes);
  let outcome;
  try {
    const store = await openEmbeddedStore({ dataDir });
    const { value } = await store.read(secretId);
    outcome = value === expected ? 'right' : 'WRONG VALUE';
    await store.close();
  } catch (error) {
    outcome = error.name === 'SecretStoreError' ? error.code : `NOT OURS: ${error.stack}`;
  }
  outcomes[outcome] = (outcomes[outcome] ?? 0) + 1;
  rmSync(dataDir, { recursive: true });
}
process.stdout.write(JSON.stringify(outcomes));
