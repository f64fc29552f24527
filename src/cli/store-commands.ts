import { masterKeysOf, storeIsMissing, storeMissing } from '../composition/open-store.js';
import { requireNoFile } from '../composition/secret-file.js';
import {
  entryLines,
  instant,
  minute,
  show,
  warn,
  type Entry,
  type Paint,
} from '../composition/terminal.js';
import type { BrokerConfig } from '../config/broker-config.js';
import { adviseOnKeys, readKeyStatus, type KeyStatus } from '../secrets/embedded/key-status.js';
import { readKeyFile } from '../secrets/embedded/master-keys.js';
import { rekeyStore, type KeyKeeper, type RekeyReport } from '../secrets/embedded/rekey.js';
import {
  backupStore,
  checkBackup,
  checkOpenStore,
  type BackupKeys,
  type CheckedStore,
} from '../secrets/embedded/store-backup.js';
import { shownKeyId, type MasterKeyOptions } from '../secrets/embedded/store-keys.js';
import { restoreStore, type RestoreReport } from '../secrets/embedded/store-restore.js';
import { BrokerError } from '../tokens/errors.js';
import { readConfig, type CommandContext } from './command.js';

/** The embedded store's keys, and the configuration. @throws {BrokerError} `STORE_NOT_EMBEDDED`, `STORE_MISSING`. */
async function storeOf(
  context: CommandContext,
  { mayBeMissing = false } = {},
): Promise<{ readonly config: BrokerConfig; readonly keys: MasterKeyOptions }> {
  const config = readConfig(context);
  if (config.secrets.store !== 'embedded') {
    throw new BrokerError(
      'STORE_NOT_EMBEDDED',
      'misconfigured',
      'The secrets are in AWS Secrets Manager, which has keys and backups of its own. This command is for BROKER_SECRET_STORE=embedded.',
    );
  }
  if (!mayBeMissing && (await storeIsMissing(config))) throw storeMissing(config);
  return { config, keys: await masterKeysOf(config) };
}

/** The keys of a file that a person names. @throws {BrokerError} `FILE_NOT_READ` */
async function keysOfFile(path: string): Promise<readonly Uint8Array[]> {
  const keys = await readKeyFile(path);
  if (keys !== undefined) return keys;
  throw new BrokerError('FILE_NOT_READ', 'rejected', `The file ${path} does not exist.`);
}

const KEEPERS: Readonly<Record<KeyKeeper, string>> = {
  'key file': 'in the key file (master.key) of the data folder',
  environment: 'in BROKER_MASTER_KEY',
  kms: 'wrapped by AWS KMS',
};

/** `store status`: which master key the store is under. @returns false when there is something left to do about keys. */
export async function storeStatusCommand(context: CommandContext): Promise<boolean> {
  const { keys } = await storeOf(context);
  const status = await readKeyStatus(keys);
  const advice = adviseOnKeys(status);
  show(
    context.output,
    { ok: advice === undefined, ...status, ...(advice && { advice }) },
    statusLines(status, context.output.paint),
  );
  return advice === undefined;
}

function statusLines(status: KeyStatus, paint: Paint): readonly string[] {
  const { keyId, keptBy, kmsKeyId, dataKeys } = status;
  const advice = adviseOnKeys(status);
  const entries: readonly (Entry | undefined)[] = [
    [
      'Master key',
      `${keyId}, ${KEEPERS[keptBy]}${kmsKeyId === undefined ? '' : `: ${shownKeyId(kmsKeyId)}`}`,
    ],
    ['Data keys', `${dataKeys}, all of them under it`],
    advice && ['To do', `${paint('warning', advice.found)} ${advice.action}`],
  ];
  return entryLines(entries, paint);
}

/** Options of `store rekey`. */
export interface RekeyCommandOptions {
  /** A file with the new key. Default: the first of the ring, or a new key. */
  readonly newKeyFile?: string;
  readonly leaveKms?: boolean;
  readonly keepOldKey?: boolean;
}

/** `store rekey`: exchanges the master key. @returns false when something in the store failed authentication. */
export async function rekeyCommand(
  context: CommandContext,
  { newKeyFile, leaveKms = false, keepOldKey = false }: RekeyCommandOptions,
): Promise<boolean> {
  const { output } = context;
  const { keys } = await storeOf(context);
  const [newKey, ...others] = newKeyFile === undefined ? [] : await keysOfFile(newKeyFile);
  if (others.length > 0) {
    throw new BrokerError(
      'NEW_KEY_MISSING',
      'rejected',
      `The file ${newKeyFile} must hold one key, the new one. Nothing was changed.`,
    );
  }
  if (leaveKms && keys.wrapping === undefined) {
    throw new BrokerError(
      'NEW_KEY_MISSING',
      'misconfigured',
      'Leaving KMS needs BROKER_MASTER_KEY_KMS_ID, to unwrap the key that the store is under. Nothing was changed.',
    );
  }
  const report = await rekeyStore({
    ...keys,
    ...(newKey && { newKey }),
    leavesKms: leaveKms,
    keepsOldKeys: keepOldKey,
  });
  show(output, report, rekeyLines(report, output.paint));
  for (const what of report.damaged) warn(output, `${what} failed authentication: left as it was.`);
  if (!report.isScrubbed) {
    warn(
      output,
      'Another process kept the log from being emptied: what the old key opens is in it until then. Run this again when no process reads for long.',
    );
  }
  return report.damaged.length === 0;
}

/** An exchange for people. Pure. */
export function rekeyLines(report: RekeyReport, paint: Paint): readonly string[] {
  const { result, keyId, keptBy, kmsKeyId, previousKeyId, dataKeys } = report;
  const where = `${KEEPERS[keptBy]}${kmsKeyId === undefined ? '' : ` (${kmsKeyId})`}`;
  const done =
    result === 'exchanged'
      ? `${paint('good', 'Exchanged')}: the store is under the master key ${keyId} now, ${where}. ${dataKeys} data key${dataKeys === 1 ? ' was' : 's were'} wrapped anew; the old key ${previousKeyId} opens nothing in it any more.`
      : `${paint('good', 'Finished')}: the store was under the master key ${keyId} already, ${where}.`;
  return [done, ...ringLines(report), ...nextSteps(report)];
}

function ringLines({ removedKeyIds, oldKeyIds, keptBy }: RekeyReport): readonly string[] {
  const removed =
    removedKeyIds.length === 0
      ? []
      : [`Removed from the key file: ${removedKeyIds.join(', ')}. Running processes follow.`];
  if (oldKeyIds.length === 0) return removed;
  const place = keptBy === 'key file' ? 'the key file' : 'BROKER_MASTER_KEY or the key file';
  return [
    ...removed,
    `Still in ${place}: ${oldKeyIds.join(', ')}. Remove what no other store needs, for every process.`,
  ];
}

function nextSteps({ keptBy, keyId, previousKeyId }: RekeyReport): readonly string[] {
  const keep =
    keptBy === 'kms' ? [] : [`Keep a copy of the master key ${keyId} apart from the data.`];
  return previousKeyId === undefined
    ? keep
    : [
        ...keep,
        `Backups from before are under ${previousKeyId}: make a new one (service-token-broker store backup FILE), and keep that key as long as you keep them.`,
      ];
}

/** What a check found, for programs. Instants in ISO 8601. */
function checkJson({ file, keyId, secrets, versions, newestAt, identity }: CheckedStore): object {
  return {
    file,
    keyId,
    ...(identity.wrappedKey && { kmsKeyId: identity.wrappedKey.keyId }),
    secrets,
    versions,
    ...(newestAt !== undefined && { newestAt: instant(newestAt) }),
  };
}

function contentsText({ secrets, versions, newestAt }: Omit<RestoreReport, 'keyId'>): string {
  const newest = newestAt === undefined ? '' : `, the newest of ${minute(newestAt)} (UTC)`;
  return `${secrets} secret${secrets === 1 ? '' : 's'} with ${versions} version${versions === 1 ? '' : 's'}${newest}`;
}

/** `store backup`: a checked copy of the store. */
export async function backupCommand(
  context: CommandContext,
  file: string,
  { force = false }: { readonly force?: boolean },
): Promise<void> {
  const { output } = context;
  const { keys } = await storeOf(context);
  // Before the store is copied. It is looked at once more when the copy gets its name.
  if (!force) await requireNoFile(file, 'Name another one, or replace it with --force.');
  const made = await backupStore({ ...keys, file, replaces: force });
  const { wrappedKey } = made.identity;
  const key =
    wrappedKey === undefined
      ? `It opens with the master key ${made.keyId} alone, which is NOT in it: keep that key elsewhere. Without it the backup is worthless.`
      : `It opens by the KMS key ${shownKeyId(wrappedKey.keyId)} alone: as long as that key exists, and may be used.`;
  show(output, checkJson(made), [
    `${output.paint('good', 'Written and checked')}: ${made.file} (mode 0600), ${contentsText(asContents(made))}.`,
    output.paint('warning', key),
  ]);
}

function asContents({ secrets, versions, newestAt }: CheckedStore): Omit<RestoreReport, 'keyId'> {
  return { secrets, versions, newestAt, backupKeyId: '', changedSecrets: [] };
}

/** Options of `store restore` and `store check`. */
export interface RestoreCommandOptions {
  /** A file with keys that may open the backup. */
  readonly keyFile?: string;
  readonly fromOtherStore?: boolean;
}

async function backupKeysOf(
  keys: MasterKeyOptions,
  { keyFile }: RestoreCommandOptions,
): Promise<BackupKeys> {
  return keyFile === undefined ? keys : { ...keys, backupKeys: await keysOfFile(keyFile) };
}

/** `store restore`: puts what a backup holds in the place of what the store holds. */
export async function restoreCommand(
  context: CommandContext,
  file: string,
  options: RestoreCommandOptions,
): Promise<void> {
  const { output } = context;
  const { keys, config } = await storeOf(context, { mayBeMissing: true });
  const restored = await restoreStore({
    ...(await backupKeysOf(keys, options)),
    file,
    fromOtherStore: options.fromOtherStore === true,
  });
  const { newestAt, ...report } = restored;
  show(output, { ...report, ...(newestAt !== undefined && { newestAt: instant(newestAt) }) }, [
    `${output.paint('good', 'Restored')}: ${contentsText(restored)}. The store is under the master key ${restored.keyId}.`,
    ...(restored.replacedIn === undefined
      ? []
      : [`What was there before is in ${restored.replacedIn}, a backup like any other.`]),
    `Running brokers follow within ${config.cache.ttlSeconds} seconds.`,
  ]);
  for (const warning of restoreWarnings(restored, config)) warn(output, warning);
}

/** What a restored state may bring with it. Pure. */
export function restoreWarnings(
  { changedSecrets }: Pick<RestoreReport, 'changedSecrets'>,
  { secrets, tokens }: Pick<BrokerConfig, 'secrets' | 'tokens'>,
): readonly string[] {
  const changed = new Set(changedSecrets);
  const peers = [secrets.peersSecretId, ...secrets.morePeersSecretIds].some((id) =>
    changed.has(id),
  );
  return [
    ...(tokens.some(({ secretId }) => changed.has(secretId))
      ? [
          'The service token is an older one, and may have expired: a broker that runs rotates it then; "service-token-broker rotate" does so now.',
        ]
      : []),
    ...(tokens.some(({ credentialsSecretId }) => changed.has(credentialsSecretId))
      ? [
          'The client credentials are those of the backup: if they were changed since, set them again (service-token-broker credentials set).',
        ]
      : []),
    ...(peers
      ? [
          'The peers are those of the backup: who was added since is unknown, and who was removed or disabled since is let in. See "service-token-broker peers list".',
        ]
      : []),
  ];
}

/**
 * `store check`: opens every version of the store, or of a backup.
 *
 * @returns false when something failed authentication.
 */
export async function checkCommand(
  context: CommandContext,
  file: string | undefined,
  options: RestoreCommandOptions,
): Promise<boolean> {
  const { output } = context;
  const { keys } = await storeOf(context, { mayBeMissing: file !== undefined });
  const given = await backupKeysOf(keys, options);
  const checked = await (file === undefined ? checkOpenStore(given) : checkBackup(file, given));
  const { damaged } = checked;
  const sound = damaged.length === 0;
  const verdict = sound ? output.paint('good', 'sound') : output.paint('bad', 'DAMAGED');
  show(output, { sound, ...checkJson(checked), damaged }, [
    `${verdict}: ${checked.file}, ${contentsText(asContents(checked))}, under the master key ${checked.keyId}.`,
    ...damaged.map((what) => `${output.paint('bad', 'Failed authentication:')} ${what}`),
  ]);
  return sound;
}
