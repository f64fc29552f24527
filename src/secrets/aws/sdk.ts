import { SecretStoreError } from '../secret-store-error.js';

const PACKAGE = '@aws-sdk/client-secrets-manager';

/** What the adapter uses of the SDK. */
export type Sdk = typeof import('@aws-sdk/client-secrets-manager');

/**
 * Loads the SDK, which is an optional peer dependency: only who keeps secrets at AWS installs it.
 *
 * @throws {SecretStoreError} `STORE_UNAVAILABLE`, misconfigured, when it is not installed.
 */
export async function loadSdk(): Promise<Sdk> {
  try {
    return await import('@aws-sdk/client-secrets-manager');
  } catch (error) {
    throw new SecretStoreError(
      'STORE_UNAVAILABLE',
      `The AWS SDK cannot be loaded, and the secret store "aws" needs it. Install it with: npm install ${PACKAGE}`,
      { kind: 'misconfigured', cause: error },
    );
  }
}
