import {
  configuredSettings,
  createCore,
  lazyAwsProofs,
  type Core,
  type TokenCore,
} from '../../composition/core.js';
import { networkOf } from '../../composition/network.js';
import { awsAccessOf, masterKeysOf, openStore } from '../../composition/open-store.js';
import type { BrokerConfig } from '../../config/broker-config.js';
import { ClockWatch } from '../../operations/clock-watch.js';
import {
  isNearlyFull,
  readPeersSecrets,
  totalRoom,
  type PeersRoom,
} from '../../peers/peer-directory.js';
import { listMalformed, mergePeers, type Peers } from '../../peers/peers.js';
import {
  configuredCredentials,
  parseCredentialsSecret,
  type ClientCredentials,
} from '../../provider/client-credentials.js';
import type { AwsProofs } from '../../provider/client-proofs.js';
import { createOAuthProvider } from '../../provider/oauth-provider.js';
import type { TokenProvider } from '../../provider/token-provider.js';
import type { AwsIdentity } from '../../secrets/aws/aws-connection.js';
import { idInRegion } from '../../secrets/aws/fallback-store.js';
import type { KeyAdvice, KeyStatus } from '../../secrets/embedded/key-status.js';
import {
  isStoreError,
  type SecretDescription,
  type SecretVersion,
} from '../../secrets/secret-store.js';
import { runsOut } from '../../rotation/due.js';
import { errorCode } from '../../tokens/errors.js';
import { parseServiceToken, remainingLife, type ServiceToken } from '../../tokens/service-token.js';
import { systemClock, type Clock } from '../../tokens/time.js';
import { tokenArgument } from '../command.js';
import { instant, span } from '../../composition/terminal.js';
import {
  failed,
  failure,
  ok,
  skipped,
  warning,
  type Examined,
  type Finding,
} from './examination.js';

/** What the examination of one token works with: its core, with its provider. */
export interface ExaminedBroker extends TokenCore {
  readonly provider: TokenProvider;
  readonly awsProofs: () => Promise<AwsProofs>;
  /** Compares this machine's clock with the `Date` of Secrets Manager's responses. */
  readonly clockWatch: ClockWatch;
}

/** The store that is examined, and every token in it by its name. */
export interface ExaminedStore extends Pick<Core, 'close'> {
  readonly tokens: ReadonlyMap<string, ExaminedBroker>;
}

/**
 * Whether the secret store can be used at all: AWS credentials and a Region, or the embedded store's file and key. A
 * missing embedded store is not created, and neither is a secret.
 *
 * @throws {BrokerError}
 */
export async function examineStore(config: BrokerConfig): Promise<Examined<ExaminedStore>> {
  const clock = systemClock;
  const identity =
    config.secrets.store === 'aws' ? await examineIdentity(config, clock) : undefined;
  if (identity?.state === 'failed') return identity;
  const clockWatch = new ClockWatch(
    Math.min(...config.tokens.map(({ verification }) => verification.clockSkewSeconds)) * 1000,
  );
  const store = await openStore(config, clock, {
    createsStore: false,
    createsSecrets: false,
    onDate: (reading) => clockWatch.read('store', reading),
  });
  const finding = identity ?? (await examineMasterKey(config));
  // One attempt: the whole examination has seven seconds.
  const network = await networkOf(config);
  const awsProofs = lazyAwsProofs(network);
  const provider = createOAuthProvider({ clock, attempts: 1, awsProofs, network });
  const core = await createCore(config, { store, clock, provider });
  const tokens = new Map<string, ExaminedBroker>();
  for (const [name, one] of core.tokens) {
    tokens.set(name, { ...one, provider, awsProofs, clockWatch });
  }
  return { ...finding, value: { tokens, close: core.close } };
}

/** The finding for a store that opens: without a store, or with another key, opening fails. */
async function examineMasterKey(config: BrokerConfig): Promise<Finding> {
  const { adviseOnKeys, readKeyStatus } = await import('../../secrets/embedded/key-status.js');
  const status = await readKeyStatus(await masterKeysOf(config));
  return judgeMasterKey(status, config.secrets.dataDir, adviseOnKeys(status));
}

/** Which master key opens the store, and whether an exchange of it is finished. Pure. */
export function judgeMasterKey(
  { keptBy, kmsKeyId = '' }: KeyStatus,
  dataDir: string,
  advice?: KeyAdvice,
): Finding {
  const key = {
    'key file': 'the key of its key file',
    environment: 'the key of BROKER_MASTER_KEY',
    kms: `a key that KMS wraps (${kmsKeyId})`,
  }[keptBy];
  const opens = `The embedded store in "${dataDir}" opens with ${key}.`;
  return advice === undefined ? ok(opens) : warning(`${opens} ${advice.found}`, advice.action);
}

async function examineIdentity(config: BrokerConfig, clock: Clock): Promise<Finding> {
  const { findAwsIdentity } = await import('../../secrets/aws/aws-connection.js');
  const identity = await findAwsIdentity(await awsAccessOf(config));
  return judgeIdentity(identity, clock.now(), config.secrets.awsRole?.arn);
}

/** The credentials that the AWS SDK found. Pure. @param role the ARN of the role that was assumed, if one was. */
export function judgeIdentity(identity: AwsIdentity, now: number, role?: string): Finding {
  const { accessKeyId, accountId, region, expiresAt } = identity;
  const account = accountId === undefined ? '' : ` of account ${accountId}`;
  const assumed = role === undefined ? '' : `, in the role ${role}`;
  const found = `Access key …${accessKeyId.slice(-4)}${account}${assumed}, Region ${region}`;
  if (expiresAt === undefined) return ok(`${found}.`);
  return expiresAt > now
    ? ok(`${found}, until ${instant(expiresAt)}.`)
    : failed(
        `${found}: expired at ${instant(expiresAt)}.`,
        'Renew them: aws sso login, or a new AWS_SESSION_TOKEN.',
      );
}

/** A secret that exists. */
interface ExaminedSecret {
  readonly description: SecretDescription;
  /** Whether a value was read, and so decrypted. */
  readonly wasRead: boolean;
}

/** The token secret, which may exist before its first token. */
export interface ExaminedTokenSecret extends ExaminedSecret {
  readonly current: { readonly token: ServiceToken; readonly versionId: string } | undefined;
}

/** The client credentials, and the secret that they are in; without one where none is needed. */
export interface ExaminedCredentials {
  readonly credentials: ClientCredentials;
  readonly secret?: ExaminedSecret;
}

/** Existence, readability and shape of the credentials secret, where it is needed. @throws {BrokerError} */
export async function examineCredentials({
  store,
  token,
  config,
}: ExaminedBroker): Promise<Examined<ExaminedCredentials>> {
  const { credentialsSecretId } = token;
  const configured = configuredSettings(token);
  const whole = configuredCredentials(configured);
  if (whole !== undefined) {
    return {
      ...ok(
        `Not needed, and not read: client ${whole.clientId} has ${kindOf(whole)}, by the configuration.`,
      ),
      value: { credentials: whole },
    };
  }
  const description = await store.describe(credentialsSecretId);
  let version: SecretVersion;
  try {
    version = await store.read(credentialsSecretId);
  } catch (error) {
    if (!isStoreError(error, 'VERSION_NOT_FOUND')) throw error;
    const several = new Set(config.tokens.map(({ providerName }) => providerName)).size > 1;
    const provider = several ? ` --provider ${token.providerName}` : '';
    return failed(
      `The credentials secret "${credentialsSecretId}" has no value.`,
      `Write the client credentials into it: service-token-broker credentials set${provider}`,
    );
  }
  const { credentials, unused = [] } = parseCredentialsSecret(version.value, configured);
  const value = { credentials, secret: { description, wasRead: true } };
  const held = `"${credentialsSecretId}" holds client ${credentials.clientId}`;
  if (unused.length > 0) {
    const names = unused.map((name) => `"${name}"`).join(' and ');
    return {
      ...warning(
        `${held}, which has ${kindOf(credentials)} by the configuration, and ${names}, which nothing uses.`,
        `Take ${names} out of the secret, and revoke it at the provider.`,
      ),
      value,
    };
  }
  return { ...ok(`${held} with ${kindOf(credentials)}.`), value };
}

/** What the broker proves its identity with, in words. */
function kindOf(credentials: ClientCredentials): string {
  if (credentials.kind !== 'secrets') return KINDS[credentials.kind];
  const { length } = credentials.secrets;
  return `${length} client secret${length === 1 ? '' : 's'}`;
}

const KINDS = {
  'private-key': 'a private key',
  kms: 'a KMS key',
  'workload-token': 'a workload token',
  certificate: 'a client certificate',
} as const;

/** Existence, readability and shape of the token secret, and the life of the token in it. @throws {BrokerError} */
export async function examineTokenSecret({
  store,
  token,
  config,
  clock,
}: ExaminedBroker): Promise<Examined<ExaminedTokenSecret>> {
  const tokenSecretId = token.secretId;
  const description = await store.describe(tokenSecretId);
  const value = { description, wasRead: false, current: undefined };
  try {
    const version = await store.read(tokenSecretId);
    const current = { token: parseServiceToken(version.value), versionId: version.versionId };
    const limits = {
      minimumRemaining: token.rotation.minRemainingSeconds * 1000,
      skew: token.verification.clockSkewSeconds * 1000,
    };
    return {
      ...judgeTokenLife(current.token, clock.now(), limits, tokenArgument(token.name, config)),
      value: { description, wasRead: true, current },
    };
  } catch (error) {
    if (!isStoreError(error, 'VERSION_NOT_FOUND')) return { ...failure(error), value };
    return {
      ...failed(
        `The token secret "${tokenSecretId}" holds no service token yet.`,
        `Rotate, and see what it says: service-token-broker rotate${tokenArgument(token.name, config)}`,
      ),
      value,
    };
  }
}

/** Whether the token can be served, and for how long. Spans in milliseconds. Pure. @param argument of `rotate`. */
export function judgeTokenLife(
  token: Pick<ServiceToken, 'expiresAt' | 'generatedAt'>,
  now: number,
  limits: { readonly minimumRemaining: number; readonly skew: number },
  argument = '',
): Finding {
  const life = remainingLife(token, now);
  const minted = `minted ${instant(token.generatedAt)}`;
  if (life <= limits.skew) {
    return failed(
      life <= 0
        ? `The service token, ${minted}, ${span(life)}.`
        : `The service token, ${minted}, has ${span(life)} left: too little to be served.`,
      `Rotate, and see what it says: service-token-broker rotate${argument}`,
    );
  }
  const left = `The service token, ${minted}, has ${span(life)} left`;
  return runsOut(token, limits.minimumRemaining, now)
    ? warning(
        `${left}: less than BROKER_MIN_REMAINING_SECONDS, so that a rotation is due.`,
        'If none comes within minutes, see "rotation" and "pending version" below.',
      )
    : ok(`${left}.`);
}

/** Existence, readability and shape of the peers secret. @throws {BrokerError} */
export async function examinePeers({
  store,
  config,
}: ExaminedBroker): Promise<Examined<ExaminedSecret>> {
  const { peersSecretId, morePeersSecretIds } = config.secrets;
  const description = await store.describe(peersSecretId);
  const secrets = await readPeersSecrets(store, [peersSecretId, ...morePeersSecretIds]);
  const peers = mergePeers(secrets.map((secret) => secret.peers));
  return {
    ...judgePeers(peers, [peersSecretId, ...morePeersSecretIds].join('", "'), totalRoom(secrets)),
    value: { description, wasRead: peers.byId.size + peers.malformed.size > 0 },
  };
}

/** Whether any peer may get the token, no entry is malformed, and there is room for more. Pure. */
export function judgePeers(peers: Peers, secretId: string, room?: PeersRoom): Finding {
  const malformed = listMalformed(peers);
  if (malformed.length > 0) {
    const entries = malformed.map(({ id, reason }) => `${id ?? '(no id)'}: ${reason}`);
    return failed(
      `"${secretId}" has malformed entries, which cannot log in (${entries.join('; ')}).`,
      'Correct them in the secret store, or: service-token-broker peers remove ID, and add the peer again.',
    );
  }
  const all = [...peers.byId.values()];
  const enabled = all.filter((peer) => peer.enabled);
  if (room !== undefined && isNearlyFull(room)) {
    return warning(
      `"${secretId}" is nearly full: ${room.bytes} of ${room.limit} bytes, ${room.entries} peers.`,
      'Name another secret in BROKER_PEERS_SECRET_ID, after a comma; "peers add" creates it when it is needed.',
    );
  }
  if (enabled.length > 0) {
    const disabled = all.length - enabled.length;
    return ok(
      `"${secretId}" has ${enabled.length} enabled peer${enabled.length === 1 ? '' : 's'}${disabled === 0 ? '' : `, ${disabled} disabled`}.`,
    );
  }
  return warning(
    `"${secretId}" has no enabled peer: nobody can get the service token.`,
    'Add a peer: service-token-broker peers add ID',
  );
}

/**
 * Which keys protect the secrets, and whether this identity may decrypt with them: a value that was read is proof. Pure.
 *
 * @param secrets by their names in the report.
 */
export function judgeEncryption(secrets: Readonly<Record<string, ExaminedSecret>>): Finding {
  const entries = Object.entries(secrets);
  if (entries.every(([, { description }]) => description.encryptionKeyId === undefined)) {
    return ok("The embedded store's own envelope encryption; AWS KMS is not used.");
  }
  const parts = entries.map(([name, { description, wasRead }]) => {
    const key = description.encryptionKeyId ?? 'an unknown key';
    return `${name} by ${key}${wasRead ? '' : ' (nothing to decrypt yet)'}`;
  });
  return ok(`Decrypted: ${parts.join(', ')}.`);
}

/** A Region's answer for its replica of the token secret. */
interface RegionAnswer {
  readonly region: string;
  /** The version that is current there, or the code of the error. */
  readonly answer: { readonly versionId: string } | { readonly code: string };
}

/** Reads the token secret's replica in every fallback Region. */
export async function examineFallbackRegions(
  { config, token: { secretId } }: ExaminedBroker,
  { current }: ExaminedTokenSecret,
): Promise<Finding> {
  const { awsFallbackRegions } = config.secrets;
  if (awsFallbackRegions.length === 0) return skipped('None is configured.');
  const { createAwsStore } = await import('../../secrets/aws/aws-store.js');
  const access = await awsAccessOf(config);
  const answers: RegionAnswer[] = [];
  for (const region of awsFallbackRegions) {
    const store = createAwsStore({ ...access, region });
    try {
      const { versionId } = await store.read(idInRegion(secretId, region));
      answers.push({ region, answer: { versionId } });
    } catch (error) {
      answers.push({ region, answer: { code: errorCode(error) } });
    } finally {
      await store.close();
    }
  }
  return judgeFallbackRegions(answers, current?.versionId);
}

/** Whether the replicas can stand in. Pure. @param currentId the current version in the home Region, if any. */
export function judgeFallbackRegions(
  answers: readonly RegionAnswer[],
  currentId: string | undefined,
): Finding {
  const broken = answers.flatMap(({ region, answer }) =>
    'code' in answer ? [`${region} (${answer.code})`] : [],
  );
  if (broken.length > 0) {
    return failed(
      `The token secret cannot be read in ${broken.join(', ')}.`,
      'Replicate the secrets there (aws secretsmanager replicate-secret-to-regions), and allow reading them.',
    );
  }
  const behind = answers.flatMap(({ region, answer }) =>
    'versionId' in answer && answer.versionId !== currentId ? [region] : [],
  );
  if (behind.length > 0) {
    return warning(
      `Another version is current in ${behind.join(', ')}.`,
      'After a rotation that passes within seconds; if it lasts, see "aws secretsmanager describe-secret".',
    );
  }
  return ok(`The same version is current in ${answers.map(({ region }) => region).join(', ')}.`);
}
