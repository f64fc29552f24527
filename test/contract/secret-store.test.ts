import { afterAll, beforeAll } from '@jest/globals';
import { mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { createFallbackStore } from '../../src/secrets/aws/fallback-store.js';
import { TEMPORARY } from '../support/temporary-folder.js';
import { openEmbeddedStore } from '../../src/secrets/embedded/open-embedded-store.js';
import { MemorySecretStore } from '../support/memory-store.js';
import { describeSecretStoreContract } from './secret-store.contract.js';

const asAws = new MemorySecretStore();
describeSecretStoreContract('in memory, as Secrets Manager', {
  open: () => Promise.resolve(asAws),
  registerPending: (secretId, versionId) => {
    asAws.registerPending(secretId, versionId);
    return Promise.resolve();
  },
  rotateByItself: (secretId) => {
    asAws.configure(secretId, { rotationEnabled: true });
    return Promise.resolve();
  },
});

const asEmbedded = new MemorySecretStore({
  firstVersionBecomesCurrent: false,
  pendingStaysAfterPromote: false,
});
describeSecretStoreContract('in memory, as the embedded store', {
  open: () => Promise.resolve(asEmbedded),
});

let dataDir: string;

beforeAll(async () => {
  dataDir = await mkdtemp(join(TEMPORARY, 'embedded-contract-'));
});
afterAll(async () => {
  await rm(dataDir, { recursive: true });
});

describeSecretStoreContract('embedded', { open: () => openEmbeddedStore({ dataDir }) });

const local = new MemorySecretStore();
// It has none of the secrets: whatever reached it would fail.
const elsewhere = new MemorySecretStore();

describeSecretStoreContract('with a fallback Region', {
  open: () =>
    Promise.resolve(createFallbackStore(local, [{ region: 'eu-west-1', store: elsewhere }])),
  registerPending: (secretId, versionId) => {
    local.registerPending(secretId, versionId);
    return Promise.resolve();
  },
  rotateByItself: (secretId) => {
    local.configure(secretId, { rotationEnabled: true });
    return Promise.resolve();
  },
});
