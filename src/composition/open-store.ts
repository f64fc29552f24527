import type { BrokerConfig } from '../config/broker-config.js';
import type { SecretStore } from '../secrets/secret-store.js';
import type { Clock } from '../tokens/clock.js';

/**
 * Opens the secret store that the configuration names. Only that store's library is loaded.
 *
 * @throws {SecretStoreError}
 */
export async function openStore(config: BrokerConfig, clock: Clock): Promise<SecretStore> {
  const { store, dataDir, masterKey } = config.secrets;
  if (store === 'aws') {
    const { createAwsStore } = await import('../secrets/aws/aws-store.js');
    return createAwsStore({ clock });
  }
  const { openEmbeddedStore } = await import('../secrets/embedded/open-store.js');
  const opened = await openEmbeddedStore({
    dataDir,
    ...(masterKey && { masterKey: masterKey.reveal() }),
    clock,
  });
  // Nobody but the broker can create secrets here; in Secrets Manager that is a matter of infrastructure.
  for (const [secretId, description] of secretsOf(config)) {
    await opened.create(secretId, description);
  }
  return opened;
}

function secretsOf({ secrets }: BrokerConfig): readonly (readonly [string, string])[] {
  return [
    [secrets.credentialsSecretId, 'Client credentials of the service token broker.'],
    [secrets.tokenSecretId, 'The service token, rotated by the service token broker.'],
    [
      secrets.peersSecretId,
      'Peers of the service token broker: who may ask for the service token.',
    ],
  ];
}
