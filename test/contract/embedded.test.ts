import { afterAll, beforeAll } from '@jest/globals';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openEmbeddedStore } from '../../src/secrets/embedded/open-embedded-store.js';
import { describeSecretStoreContract } from './secret-store.contract.js';

let dataDir: string;

beforeAll(async () => {
  dataDir = await mkdtemp(join(tmpdir(), 'embedded-contract-'));
});
afterAll(async () => {
  await rm(dataDir, { recursive: true });
});

describeSecretStoreContract('embedded', { open: () => openEmbeddedStore({ dataDir }) });
