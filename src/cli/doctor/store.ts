import { createCore, type Core } from '../../composition/core.js';
import { openStore, storeIsMissing, storeMissing } from '../../composition/open-store.js';
import type { BrokerConfig } from '../../config/broker-config.js';
import { createOAuthProvider } from '../../provider/oauth-provider.js';
import { ClockWatch } from '../../operations/clock-watch.js';
import type { TokenProvider } from '../../provider/token-provider.js';
import type { AwsIdentity } from '../../secrets/aws/connection.js';
import { systemClock, type Clock } from '../../tokens/clock.js';
import { instant } from '../output.js';
import { failed, failure, ok, type Examined, type Finding } from './examination.js';

/** The broker's core with the provider it uses; somebody has to close it. */
export interface Patient extends Core {
  readonly provider: TokenProvider;
  /** What the answers of Secrets Manager say of this machine's clock. */
  readonly clockWatch: ClockWatch;
}

/**
 * Whether the secret store can be used at all: AWS credentials and a Region, or the embedded store's file and key. An
 * embedded store that is not there is not created, and neither is a secret.
 */
export async function examineStore(config: BrokerConfig): Promise<Examined<Patient>> {
  const clock = systemClock;
  const finding =
    config.secrets.store === 'aws' ? await examineIdentity(clock) : await findEmbedded(config);
  if (finding.state === 'failed') return finding;
  const clockWatch = new ClockWatch(config.verification.clockSkewSeconds * 1000);
  const store = await openStore(config, clock, {
    createsStore: false,
    createsSecrets: false,
    onDate: (reading) => clockWatch.read('store', reading),
  });
  // Once: the whole examination has seven seconds.
  const provider = createOAuthProvider({ clock, attempts: 1 });
  const core = await createCore(config, { store, clock, provider });
  return { ...finding, value: { ...core, provider, clockWatch } };
}

async function findEmbedded(config: BrokerConfig): Promise<Finding> {
  if (await storeIsMissing(config)) return failure(storeMissing(config));
  const { dataDir, masterKey } = config.secrets;
  return ok(
    `The embedded store in "${dataDir}" opens with the key of ${masterKey === undefined ? 'its key file' : 'BROKER_MASTER_KEY'}.`,
  );
}

async function examineIdentity(clock: Clock): Promise<Finding> {
  const { findAwsIdentity } = await import('../../secrets/aws/identity.js');
  return judgeIdentity(await findAwsIdentity(), clock.now());
}

/** The credentials that the AWS SDK found. Pure. */
export function judgeIdentity(identity: AwsIdentity, now: number): Finding {
  const { accessKeyId, accountId, region, expiresAt } = identity;
  const account = accountId === undefined ? '' : ` of account ${accountId}`;
  const found = `Access key …${accessKeyId.slice(-4)}${account}, Region ${region}`;
  if (expiresAt === undefined) return ok(`${found}.`);
  return expiresAt > now
    ? ok(`${found}, until ${instant(expiresAt)}.`)
    : failed(
        `${found}: expired at ${instant(expiresAt)}.`,
        'Renew them: aws sso login, or a new AWS_SESSION_TOKEN.',
      );
}
