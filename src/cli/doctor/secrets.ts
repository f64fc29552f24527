import { parseCredentialsSecret } from '../../provider/client-credentials.js';
import { isStoreError } from '../../secrets/secret-store-error.js';
import type { SecretDescription, SecretVersion } from '../../secrets/secret-store.js';
import { readPeers } from '../../serving/peer-directory.js';
import { listMalformed, type Peers } from '../../serving/peers.js';
import { parseServiceToken, remainingLife, type ServiceToken } from '../../tokens/service-token.js';
import { instant, span } from '../output.js';
import { failed, failure, ok, warning, type Examined, type Finding } from './examination.js';
import type { Patient } from './store.js';

/** A secret that exists. */
export interface ExaminedSecret {
  readonly description: SecretDescription;
  /** Whether a value was read, and so decrypted. */
  readonly wasRead: boolean;
}

/** The token secret, which may be there before its first token is. */
export interface ExaminedTokenSecret extends ExaminedSecret {
  readonly current: { readonly token: ServiceToken; readonly versionId: string } | undefined;
}

/** Existence, readability and shape of the credentials secret. @throws {BrokerError} */
export async function examineCredentials({
  store,
  config,
}: Patient): Promise<Examined<ExaminedSecret>> {
  const { credentialsSecretId } = config.secrets;
  const description = await store.describe(credentialsSecretId);
  let version: SecretVersion;
  try {
    version = await store.read(credentialsSecretId);
  } catch (error) {
    if (!isStoreError(error, 'VERSION_NOT_FOUND')) throw error;
    return failed(
      `The credentials secret "${credentialsSecretId}" has no value.`,
      'Write the client credentials into it: service-token-broker credentials set',
    );
  }
  const { credentials } = parseCredentialsSecret(version.value);
  const kind =
    credentials.kind === 'private-key'
      ? 'a private key'
      : `${credentials.secrets.length} client secret${credentials.secrets.length === 1 ? '' : 's'}`;
  return {
    ...ok(`"${credentialsSecretId}" holds client ${credentials.clientId} with ${kind}.`),
    value: { description, wasRead: true },
  };
}

/** Existence, readability and shape of the token secret, and the life of the token in it. @throws {BrokerError} */
export async function examineTokenSecret({
  store,
  config,
  clock,
}: Patient): Promise<Examined<ExaminedTokenSecret>> {
  const { tokenSecretId } = config.secrets;
  const description = await store.describe(tokenSecretId);
  const value = { description, wasRead: false, current: undefined };
  try {
    const version = await store.read(tokenSecretId);
    const current = { token: parseServiceToken(version.value), versionId: version.versionId };
    const limits = {
      minimumRemaining: config.rotation.minRemainingSeconds * 1000,
      skew: config.verification.clockSkewSeconds * 1000,
    };
    return {
      ...judgeTokenLife(current.token, clock.now(), limits),
      value: { description, wasRead: true, current },
    };
  } catch (error) {
    if (!isStoreError(error, 'VERSION_NOT_FOUND')) return { ...failure(error), value };
    return {
      ...failed(
        `The token secret "${tokenSecretId}" holds no service token yet.`,
        'Rotate, and see what it says: service-token-broker rotate',
      ),
      value,
    };
  }
}

/** Whether the token can be served, and for how long. Spans in milliseconds. Pure. */
export function judgeTokenLife(
  token: Pick<ServiceToken, 'expiresAt' | 'generatedAt'>,
  now: number,
  limits: { readonly minimumRemaining: number; readonly skew: number },
): Finding {
  const life = remainingLife(token, now);
  const minted = `minted ${instant(token.generatedAt)}`;
  if (life <= limits.skew) {
    return failed(
      life <= 0
        ? `The service token, ${minted}, ${span(life)}.`
        : `The service token, ${minted}, has ${span(life)} left: too little to be served.`,
      'Rotate, and see what it says: service-token-broker rotate',
    );
  }
  const left = `The service token, ${minted}, has ${span(life)} left`;
  return life < limits.minimumRemaining
    ? warning(
        `${left}: less than BROKER_MIN_REMAINING_SECONDS, so that a rotation is due.`,
        'If none comes within minutes, see "rotation" and "pending version" below.',
      )
    : ok(`${left}.`);
}

/** Existence, readability and shape of the peers secret. @throws {BrokerError} */
export async function examinePeers({ store, config }: Patient): Promise<Examined<ExaminedSecret>> {
  const { peersSecretId } = config.secrets;
  const description = await store.describe(peersSecretId);
  const peers = await readPeers(store, peersSecretId);
  return {
    ...judgePeers(peers, peersSecretId),
    value: { description, wasRead: peers.byId.size + peers.malformed.size > 0 },
  };
}

/** Whether anybody may have the token, and nobody is refused by a slip of the hand. Pure. */
export function judgePeers(peers: Peers, secretId: string): Finding {
  const malformed = listMalformed(peers);
  if (malformed.length > 0) {
    const entries = malformed.map(({ id, reason }) => `${id ?? '(no id)'}: ${reason}`);
    return failed(
      `"${secretId}" has malformed entries, with which nobody can log in (${entries.join('; ')}).`,
      'Correct them in the secret store, or: service-token-broker peers remove ID, and add the peer again.',
    );
  }
  const all = [...peers.byId.values()];
  const enabled = all.filter((peer) => peer.enabled);
  if (enabled.length > 0) {
    const disabled = all.length - enabled.length;
    return ok(
      `"${secretId}" lets ${enabled.length} in${disabled === 0 ? '' : `; ${disabled} disabled`}.`,
    );
  }
  return warning(
    `"${secretId}" lets nobody have the service token.`,
    'Add a peer: service-token-broker peers add ID',
  );
}
