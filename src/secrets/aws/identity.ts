import { AwsConnection, type AwsIdentity, type ConnectionOptions } from './connection.js';

/**
 * Finds credentials and a Region by the SDK's standard chain, as the store does. Whether AWS accepts them, and what they
 * may do, only a call to AWS shows.
 *
 * @throws {SecretStoreError} `STORE_CREDENTIALS` when the chain finds none.
 */
export async function findAwsIdentity(options: ConnectionOptions = {}): Promise<AwsIdentity> {
  const connection = new AwsConnection(options);
  try {
    return await connection.identity();
  } finally {
    await connection.close();
  }
}
