import { resolve } from 'node:path';
import type { BrokerConfig } from '../config/broker-config.js';
import type { ConnectionOptions } from '../secrets/aws/aws-connection.js';
import type { FallbackObserver } from '../secrets/aws/fallback-store.js';
import type { MasterKeyOptions } from '../secrets/embedded/store-keys.js';
import { SecretStoreError, type SecretStore } from '../secrets/secret-store.js';
import type { Clock, DateReading } from '../tokens/time.js';
import { BrokerError } from '../tokens/errors.js';
import { networkOf } from './network.js';

/** Options of {@link openStore}. */
interface OpenStoreOptions {
  /** Notified when another Region had to answer. */
  readonly observer?: FallbackObserver;
  /** Creates the embedded store where there is none. Default: true; when false, it must exist. */
  readonly createsStore?: boolean;
  /** Creates the embedded store's secrets where they are missing. Default: true. */
  readonly createsSecrets?: boolean;
  /** Called with the absolute path of the data folder when a store was created in it. */
  readonly onNewStore?: (dataDir: string) => void;
  /**
   * Called before each further attempt to get the embedded store's master key from a key management service that cannot be
   * reached. Default: the first failure is thrown.
   */
  readonly onKeyDelay?: (error: SecretStoreError) => void;
  /** Notified of the `Date` of each answer of Secrets Manager in the home Region. */
  readonly onDate?: (reading: DateReading) => void;
}

/**
 * Opens the secret store that the configuration names. Only that store's library is loaded.
 *
 * @throws {SecretStoreError}
 * @throws {BrokerError} `STORE_MISSING` when there is no embedded store, and none may be created.
 */
export async function openStore(
  config: BrokerConfig,
  clock: Clock,
  options: OpenStoreOptions = {},
): Promise<SecretStore> {
  const { store, dataDir } = config.secrets;
  if (store === 'aws') return openAwsStore(config, clock, options);
  const isMissing = await storeIsMissing(config);
  if (isMissing && options.createsStore === false) throw storeMissing(config);
  const { openEmbeddedStore } = await import('../secrets/embedded/open-embedded-store.js');
  const { masterKeys: [masterKey, ...olderMasterKeys] = [], wrapping } = await masterKeysOf(config);
  const open = (): Promise<SecretStore> =>
    openEmbeddedStore({
      dataDir,
      ...(masterKey && { masterKey, olderMasterKeys }),
      ...(wrapping && { wrapping }),
      clock,
    });
  const { onKeyDelay } = options;
  const opened = await (wrapping && onKeyDelay ? patiently(open, clock, onKeyDelay) : open());
  if (isMissing) options.onNewStore?.(resolve(dataDir));
  if (options.createsSecrets === false) return opened;
  // Only the broker can create secrets here; in Secrets Manager the infrastructure does.
  for (const [secretId, description] of secretsOf(config)) {
    await opened.create(secretId, description);
  }
  return opened;
}

/** How long a broker that starts waits for its master key before it asks again, in milliseconds. */
const KEY_PAUSE = 5_000;

/** Opens a store whose key management service may be out of reach, which passes. */
async function patiently(
  open: () => Promise<SecretStore>,
  clock: Clock,
  onKeyDelay: (error: SecretStoreError) => void,
): Promise<SecretStore> {
  for (;;) {
    try {
      return await open();
    } catch (error) {
      if (!(error instanceof SecretStoreError) || error.kind !== 'retry') throw error;
      onKeyDelay(error);
      await clock.sleep(Math.max(KEY_PAUSE, (error.retryAfterSeconds ?? 0) * 1000));
    }
  }
}

/** The master keys that the configuration gives the embedded store. */
export async function masterKeysOf(config: BrokerConfig): Promise<MasterKeyOptions> {
  const { dataDir, masterKey, olderMasterKeys, masterKeyKmsIds } = config.secrets;
  const [first, ...others] = masterKeyKmsIds;
  const given: MasterKeyOptions = {
    dataDir,
    ...(masterKey && {
      masterKeys: [masterKey.reveal(), ...olderMasterKeys.map((key) => key.reveal())],
    }),
  };
  if (first === undefined) return given;
  const { KmsKeyWrapping } = await import('../secrets/aws/kms-key-wrapping.js');
  // Not in the role: that one is for secrets at AWS.
  const { agents } = await awsAccessOf(config);
  const wrapping = new KmsKeyWrapping({ keyIds: [first, ...others], ...(agents && { agents }) });
  return { ...given, wrapping };
}

/** Whether the configuration names an embedded store, and the data folder holds none. */
export async function storeIsMissing({ secrets }: BrokerConfig): Promise<boolean> {
  if (secrets.store !== 'embedded') return false;
  const { databaseFile, sizeOf } = await import('../secrets/embedded/data-folder.js');
  const file = databaseFile(secrets.dataDir);
  if ((await sizeOf(file)) !== undefined) return false;
  // A log without its database is a damaged store; opening it explains that.
  return (await sizeOf(`${file}-wal`)) === undefined;
}

/** The error of a data folder without a store. Its path is absolute, since it is usually the wrong folder. */
export function storeMissing({ secrets }: BrokerConfig): BrokerError {
  return new BrokerError(
    'STORE_MISSING',
    'misconfigured',
    `The data folder "${resolve(secrets.dataDir)}" holds no embedded store. Check BROKER_DATA_DIR; to set up a new one: service-token-broker credentials set`,
  );
}

/** How a configuration reaches AWS: by which proxies and authorities, and in which role. */
export async function awsAccessOf(
  config: BrokerConfig,
): Promise<Pick<ConnectionOptions, 'agents' | 'role'>> {
  const network = await networkOf(config);
  const { awsRole: role } = config.secrets;
  return { ...(network && { agents: network.awsAgents }), ...(role && { role }) };
}

async function openAwsStore(
  config: BrokerConfig,
  clock: Clock,
  { observer, onDate }: OpenStoreOptions,
): Promise<SecretStore> {
  const { secrets } = config;
  const { createAwsStore } = await import('../secrets/aws/aws-store.js');
  const access = await awsAccessOf(config);
  const local = createAwsStore({ ...access, clock, ...(onDate && { onDate }) });
  if (secrets.awsFallbackRegions.length === 0) return local;
  const { createFallbackStore } = await import('../secrets/aws/fallback-store.js');
  const fallbacks = secrets.awsFallbackRegions.map((region) => ({
    region,
    store: createAwsStore({ ...access, region, clock }),
  }));
  return createFallbackStore(local, fallbacks, { clock, ...(observer && { observer }) });
}

function secretsOf({ secrets, tokens }: BrokerConfig): ReadonlyMap<string, string> {
  return new Map([
    ...tokens.map(({ credentialsSecretId }): [string, string] => [
      credentialsSecretId,
      'Client credentials of the service token broker.',
    ]),
    ...tokens.map(({ secretId }): [string, string] => [
      secretId,
      'The service token, rotated by the service token broker.',
    ]),
    [
      secrets.peersSecretId,
      // Further ones are created when they are needed.
      'Peers of the service token broker: who may ask for the service token.',
    ],
  ]);
}
