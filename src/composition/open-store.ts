import type { BrokerConfig } from '../config/broker-config.js';
import type { FallbackObserver } from '../secrets/aws/fallback-store.js';
import type { SecretStore } from '../secrets/secret-store.js';
import type { Clock } from '../tokens/clock.js';

/** How {@link openStore} opens. */
export interface OpenStoreOptions {
  /** Told when another Region had to answer. */
  readonly observer?: FallbackObserver;
  /** Creates the embedded store's secrets where they are missing. Default: true. */
  readonly createsSecrets?: boolean;
}

/**
 * Opens the secret store that the configuration names. Only that store's library is loaded.
 *
 * @throws {SecretStoreError}
 */
export async function openStore(
  config: BrokerConfig,
  clock: Clock,
  options: OpenStoreOptions = {},
): Promise<SecretStore> {
  const { store, dataDir, masterKey } = config.secrets;
  if (store === 'aws') return openAwsStore(config, clock, options.observer);
  const { openEmbeddedStore } = await import('../secrets/embedded/open-store.js');
  const opened = await openEmbeddedStore({
    dataDir,
    ...(masterKey && { masterKey: masterKey.reveal() }),
    clock,
  });
  if (options.createsSecrets === false) return opened;
  // Nobody but the broker can create secrets here; in Secrets Manager that is a matter of infrastructure.
  for (const [secretId, description] of secretsOf(config)) {
    await opened.create(secretId, description);
  }
  return opened;
}

async function openAwsStore(
  { secrets }: BrokerConfig,
  clock: Clock,
  observer: FallbackObserver | undefined,
): Promise<SecretStore> {
  const { createAwsStore } = await import('../secrets/aws/aws-store.js');
  const local = createAwsStore({ clock });
  if (secrets.awsFallbackRegions.length === 0) return local;
  const { createFallbackStore } = await import('../secrets/aws/fallback-store.js');
  const fallbacks = secrets.awsFallbackRegions.map((region) => ({
    region,
    store: createAwsStore({ region, clock }),
  }));
  return createFallbackStore(local, fallbacks, { clock, ...(observer && { observer }) });
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
