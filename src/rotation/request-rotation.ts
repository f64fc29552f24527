import { isStoreError } from '../secrets/secret-store-error.js';
import type { SecretStore } from '../secrets/secret-store.js';
import { versionIdOf } from './version-id.js';

/**
 * Asks the store to rotate the token secret by its own means. Replicas that ask for the same key ask for one and the
 * same version.
 *
 * @returns the id of the version that the rotation will bring.
 * @throws {SecretStoreError} `STORE_ROTATION_PENDING` while another rotation has not ended, or what the store says.
 */
export async function requestRotation(
  store: SecretStore,
  tokenSecretId: string,
  key: string,
): Promise<string> {
  const versionId = versionIdOf(tokenSecretId, key, 0);
  try {
    await store.requestRotation(tokenSecretId, versionId);
  } catch (error) {
    if (!isStoreError(error, 'STORE_ROTATION_PENDING')) throw error;
    // The rotation that has not ended may be the very one that another replica asked for.
    const { labels } = await store.describe(tokenSecretId);
    if (!labels.has(versionId)) throw error;
  }
  return versionId;
}
