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
