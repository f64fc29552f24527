import { hash, randomBytes, timingSafeEqual } from 'node:crypto';
import { rm } from 'node:fs/promises';
import { resolve } from 'node:path';
import { writeSecret, writeSecretFile } from '../composition/secret-file.js';
import type { BrokerConfig } from '../config/broker-config.js';
import { addPeer, removePeer } from '../peers/peer-admin.js';
import { readPeers } from '../peers/peer-directory.js';
import { PEER_ROLES, type Peer } from '../peers/peers.js';
import { parseCredentialsSecret } from '../provider/client-credentials.js';
import { readOwn } from '../secrets/embedded/data-folder.js';
import { isStoreError, type SecretStore } from '../secrets/secret-store.js';
import { BrokerError } from '../tokens/errors.js';
import { isLoopbackHost, parseUrl } from '../tokens/http.js';
import { parsePastedJson } from '../tokens/json.js';
import type { Clock } from '../tokens/time.js';

/** The client that the embedded provider knows the broker by. */
const DEV_CLIENT_ID = 'service-token-broker-dev';

/** A client of the embedded provider. */
export interface DevCredentials {
  readonly clientId: string;
  readonly clientSecret: string;
}

/** The broker's own client in a data folder of dev mode, and the provider of its last start. */
interface KnownClient extends DevCredentials {
  readonly issuer?: string;
  readonly audience?: string;
}

/**
 * The broker's own client, from the credentials secret; created with a random secret at the first start.
 *
 * @throws {BrokerError} `DEV_MODE_DATA_FOLDER` when the folder holds the credentials of a real provider.
 */
export async function ensureDevCredentials(
  store: SecretStore,
  config: BrokerConfig,
): Promise<DevCredentials> {
  const known = await readDevCredentials(store, config);
  if (known !== undefined) return { clientId: known.clientId, clientSecret: known.clientSecret };
  const made = { clientId: DEV_CLIENT_ID, clientSecret: randomBytes(32).toString('base64url') };
  await writeSecret(
    store,
    config.tokens[0].credentialsSecretId,
    JSON.stringify({ client_id: made.clientId, client_secret: made.clientSecret }),
  );
  return made;
}

/**
 * The broker's own client, as dev mode has left it in the credentials secret; `undefined` before the first start.
 *
 * @throws {BrokerError} `DEV_MODE_DATA_FOLDER` when the folder holds the credentials of a real provider.
 */
export async function readDevCredentials(
  store: SecretStore,
  config: BrokerConfig,
): Promise<KnownClient | undefined> {
  const text = await readIfAny(store, config.tokens[0].credentialsSecretId);
  if (text === undefined) return undefined;
  const { credentials, settings } = parseCredentialsSecret(text);
  const [clientSecret] = credentials.kind === 'secrets' ? credentials.secrets : [];
  // The client of a real provider may have the same id; its issuer is elsewhere.
  const isReal = credentials.clientId !== DEV_CLIENT_ID || isElsewhere(settings.issuer);
  if (isReal || clientSecret === undefined || !SECRET.test(clientSecret)) {
    throw new BrokerError(
      'DEV_MODE_DATA_FOLDER',
      'misconfigured',
      `The data folder ${config.secrets.dataDir} holds credentials of a real provider, which dev mode leaves alone. Name another folder with BROKER_DATA_DIR.`,
    );
  }
  const { issuer, audience } = settings;
  return {
    clientId: credentials.clientId,
    clientSecret,
    ...(issuer !== undefined && { issuer }),
    ...(audience !== undefined && { audience }),
  };
}

/** Where the embedded provider is, and what its tokens are for. */
interface DevProvider {
  readonly issuer: string;
  readonly audience: string;
}

/**
 * Writes the provider into the credentials secret, so that every command works beside dev mode without a setting. The
 * provider's port, and so its issuer, may differ from start to start.
 */
export async function rememberDevProvider(
  store: SecretStore,
  config: BrokerConfig,
  { issuer, audience }: DevProvider,
): Promise<void> {
  const [{ credentialsSecretId }] = config.tokens;
  const known = parsePastedJson((await store.read(credentialsSecretId)).value) as object;
  const wanted = JSON.stringify({ ...known, issuer, audience });
  if (wanted === JSON.stringify(known)) return;
  await writeSecret(store, credentialsSecretId, wanted);
}

/** Whether an issuer is another one than the embedded provider, which has no path. Another provider may be on this machine too. */
function isElsewhere(issuer: string | undefined): boolean {
  if (issuer === undefined) return false;
  return !/^http:\/\/[^/]+$/.test(issuer) || !isLoopbackHost(parseUrl(issuer)?.hostname ?? '');
}

async function readIfAny(store: SecretStore, secretId: string): Promise<string | undefined> {
  try {
    return (await store.read(secretId)).value;
  } catch (error) {
    if (isStoreError(error, 'VERSION_NOT_FOUND')) return undefined;
    throw error;
  }
}

/** The client that gets customer tokens, as the application does that people use. */
const CUSTOMER_APP = 'dev-customer-app';
/** 32 bytes in base64url, as created here; anything else was edited. */
const SECRET = /^[\w-]{43}$/;

/** The client for customer tokens, and the file of its login. */
interface DevCustomerApp extends DevCredentials {
  /** Absolute path: `{"id","secret"}`, mode 0600. */
  readonly file: string;
}

/** Makes sure that the client for customer tokens has a login, and that its file says so. */
export async function ensureDevCustomerApp(dataDir: string): Promise<DevCustomerApp> {
  const file = resolve(dataDir, `${CUSTOMER_APP}.json`);
  const known = await readLogin(file);
  if (known?.id === CUSTOMER_APP && SECRET.test(known.secret)) {
    return { clientId: known.id, clientSecret: known.secret, file };
  }
  const made = { id: CUSTOMER_APP, secret: randomBytes(32).toString('base64url') };
  await replaceLogin(file, made);
  return { clientId: made.id, clientSecret: made.secret, file };
}

/** The peer that tries everything. */
export const DEMO_PEER = 'demo';

/**
 * Makes sure that there is a peer `demo` with every role, and that its file has its login.
 *
 * @returns the absolute path of the file: `{"id","secret"}`, mode 0600.
 */
export async function ensureDemoPeer(
  store: SecretStore,
  config: BrokerConfig,
  clock: Clock,
): Promise<string> {
  const { dataDir, peersSecretId, morePeersSecretIds } = config.secrets;
  const file = resolve(dataDir, 'demo-peer.json');
  const known = (await readPeers(store, peersSecretId, morePeersSecretIds)).byId.get(DEMO_PEER);
  if (known !== undefined && opens((await readLogin(file))?.secret, known)) return file;
  // The peer or its file was lost or replaced: neither is of use without the other.
  const admin = { store, secretId: peersSecretId, moreSecretIds: morePeersSecretIds, clock };
  if (known !== undefined) await removePeer(admin, DEMO_PEER);
  const added = await addPeer(admin, DEMO_PEER, PEER_ROLES);
  await replaceLogin(file, added);
  return file;
}

function opens(secret: string | undefined, peer: Peer): boolean {
  if (secret === undefined || !peer.enabled) return false;
  return timingSafeEqual(Buffer.from(hash('sha256', secret, 'hex'), 'hex'), peer.secretSha256);
}

/** An id and a secret to log in with, kept in a file for the developer. */
interface Login {
  readonly id: string;
  readonly secret: string;
}

/** The login in a file; `undefined` when the file is missing or damaged, and has to be written again. */
async function readLogin(file: string): Promise<Login | undefined> {
  try {
    const { id, secret } = JSON.parse((await readOwn(file)).toString('utf8')) as Record<
      string,
      unknown
    >;
    return typeof id === 'string' && typeof secret === 'string' ? { id, secret } : undefined;
  } catch {
    return undefined;
  }
}

/** Writes a login in place of another: `{"id","secret"}`, mode 0600. */
async function replaceLogin(file: string, { id, secret }: Login): Promise<void> {
  await rm(file, { force: true });
  await writeSecretFile(file, `${JSON.stringify({ id, secret })}\n`);
}
