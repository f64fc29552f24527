import { randomBytes } from 'node:crypto';
import { writeSecret } from '../composition/write-secret.js';
import type { BrokerConfig } from '../config/broker-config.js';
import { parseCredentialsSecret } from '../provider/client-credentials.js';
import { isStoreError } from '../secrets/secret-store-error.js';
import type { SecretStore } from '../secrets/secret-store.js';
import { BrokerError } from '../tokens/errors.js';
import { isLoopbackHost } from '../tokens/loopback.js';
import { parsePastedJson } from '../tokens/pasted-text.js';
import { parseUrl } from '../tokens/parse-url.js';

/** The client that the embedded provider knows the broker by. */
const DEV_CLIENT_ID = 'service-token-broker-dev';

/** What the embedded provider has to know of a client. */
export interface DevCredentials {
  readonly clientId: string;
  readonly clientSecret: string;
}

/**
 * The credentials secret of dev mode, made with a random secret on first start.
 *
 * @throws {BrokerError} `DEV_MODE_DATA_FOLDER` when the folder holds the credentials of a real provider.
 */
export async function ensureDevCredentials(
  store: SecretStore,
  config: BrokerConfig,
): Promise<DevCredentials> {
  const { credentialsSecretId, dataDir } = config.secrets;
  const text = await readIfAny(store, credentialsSecretId);
  if (text === undefined) {
    const made = { clientId: DEV_CLIENT_ID, clientSecret: randomBytes(32).toString('base64url') };
    await writeSecret(
      store,
      credentialsSecretId,
      JSON.stringify({ client_id: made.clientId, client_secret: made.clientSecret }),
    );
    return made;
  }
  const { credentials, settings } = parseCredentialsSecret(text);
  const [clientSecret] = credentials.kind === 'secrets' ? credentials.secrets : [];
  // The client of a real provider may have the same id: then it is the issuer that tells.
  const isReal = credentials.clientId !== DEV_CLIENT_ID || isElsewhere(settings.issuer);
  if (isReal || clientSecret === undefined) {
    throw new BrokerError(
      'DEV_MODE_DATA_FOLDER',
      'misconfigured',
      `The data folder ${dataDir} holds credentials of a real provider, which dev mode leaves alone. Name another folder with BROKER_DATA_DIR.`,
    );
  }
  return { clientId: credentials.clientId, clientSecret };
}

/** Where the embedded provider is, and what its tokens are for. */
export interface DevProvider {
  readonly issuer: string;
  readonly audience: string;
}

/**
 * Writes into the credentials secret of dev mode who the provider is, so that every command works beside it without a
 * setting. The provider's port, and so its issuer, may be another at each start.
 */
export async function rememberDevProvider(
  store: SecretStore,
  config: BrokerConfig,
  { issuer, audience }: DevProvider,
): Promise<void> {
  const { credentialsSecretId } = config.secrets;
  const known = parsePastedJson((await store.read(credentialsSecretId)).value) as object;
  const wanted = JSON.stringify({ ...known, issuer, audience });
  if (wanted === JSON.stringify(known)) return;
  await writeSecret(store, credentialsSecretId, wanted);
}

/** Whether an issuer is not on this machine, where the embedded provider always is. */
function isElsewhere(issuer: string | undefined): boolean {
  return issuer !== undefined && !isLoopbackHost(parseUrl(issuer)?.hostname ?? '');
}

async function readIfAny(store: SecretStore, secretId: string): Promise<string | undefined> {
  try {
    return (await store.read(secretId)).value;
  } catch (error) {
    if (isStoreError(error, 'VERSION_NOT_FOUND')) return undefined;
    throw error;
  }
}
