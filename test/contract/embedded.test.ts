import { afterAll, beforeAll } from '@jest/globals';
import { mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { openEmbeddedStore } from '../../src/secrets/embedded/open-embedded-store.js';
import { describeSecretStoreContract } from './secret-store.contract.js';
import { TEMPORARY } from '../support/temporary-folder.js';

let dataDir: string;

beforeAll(async () => {
  dataDir = await mkdtemp(join(TEMPORARY, 'embedded-contract-'));
});
afterAll(async () => {
  await rm(dataDir, { recursive: true });
});

describeSecretStoreContract('embedded', { open: () => openEmbeddedStore({ dataDir }) });
