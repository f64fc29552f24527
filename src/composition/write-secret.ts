import { randomUUID } from 'node:crypto';
import { versionWithLabel, type SecretStore } from '../secrets/secret-store.js';

/**
 * Writes a secret that people keep, as a new version that is AWSCURRENT.
 *
 * @returns the version's id.
 * @throws {SecretStoreError} `PROMOTE_CONFLICT` when somebody else wrote it in the meantime; theirs stays.
 */
export async function writeSecret(
  store: SecretStore,
  secretId: string,
  value: string,
): Promise<string> {
  const versionId = randomUUID();
  const before = versionWithLabel(await store.describe(secretId), 'AWSCURRENT');
  await store.putPending(secretId, versionId, value);
  const after = versionWithLabel(await store.describe(secretId), 'AWSCURRENT');
  // The first version of a secret may have become current by itself.
  if (after !== versionId) await store.promote(secretId, versionId, before);
  await store.clearPending(secretId, versionId);
  return versionId;
}
