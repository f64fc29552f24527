import { createFallbackStore } from '../../src/secrets/aws/fallback-store.js';
import { MemorySecretStore } from '../support/memory-store.js';
import { describeSecretStoreContract } from './secret-store.contract.js';

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
