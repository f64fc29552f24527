import { randomBytes } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { open, unlink } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { BrokerError } from '../../tokens/errors.js';
import { systemClock, type Clock } from '../../tokens/time.js';
import { isStoreError, SecretStoreError } from '../secret-store.js';
import { Database, type Sql } from './database.js';
import { databaseFile, errnoOf, explained, prepareDataFolder } from './data-folder.js';
import { keyIdOf } from './envelope.js';
import { createWhereMissing, openStoreFile } from './open-embedded-store.js';
import { labelledSecrets, rewrapAll } from './rekey.js';
import {
  checkBackup,
  copyStore,
  invalidBackup,
  readOnly,
  type BackupKeys,
  type CheckedStore,
} from './store-backup.js';
import { findEnvelope } from './store-keys.js';
import { identityOf } from './store-schema.js';

/** Options of {@link restoreStore}. */
export interface RestoreOptions extends BackupKeys {
  /** The backup's file. */
  readonly file: string;
  /** Restores the backup of another store, too. Default: false. */
  readonly fromOtherStore?: boolean;
}

/** What restoring came to. */
export interface RestoreReport extends Pick<CheckedStore, 'secrets' | 'versions' | 'newestAt'> {
  /** The key that the backup is under. */
  readonly backupKeyId: string;
  /** The key that the store is under. */
  readonly keyId: string;
  /** Where the store that was replaced is; undefined when there was none. */
  readonly replacedIn?: string;
  /** The secrets whose current version was another one before. */
  readonly changedSecrets: readonly string[];
}

/**
 * Puts what a backup holds in the place of what a store holds. It is one transaction in the store's own file: processes
 * that use it see the whole of the one or the whole of the other, and whatever interrupts it, calling it again goes on. The
 * store keeps its master key; what comes from the backup is wrapped by that one. What is replaced is kept beside it.
 *
 * @throws {BrokerError} `BACKUP_INVALID`, `BACKUP_NOT_READ`, `BACKUP_OF_OTHER_STORE`, `STORE_DAMAGED`.
 * @throws {SecretStoreError} `STORE_KEY_WRONG` when no key opens the backup; as for opening a store. Nothing was changed.
 */
export async function restoreStore(options: RestoreOptions): Promise<RestoreReport> {
  const { dataDir, clock = systemClock } = options;
  await prepareDataFolder(dataDir);
  // A copy of its own: what was checked is what is restored, whatever happens to the file.
  const copy = `${databaseFile(dataDir)}.${randomBytes(8).toString('hex')}.restored`;
  try {
    // Before it is copied, for errors that name the file.
    await checkBackup(options.file, options);
    await copyFile(resolve(options.file), copy);
    const backup = await checkBackup(copy, options);
    return await replaceContents(backup, options, clock);
  } finally {
    await unlink(copy).catch((error: unknown) => {
      if (errnoOf(error) !== 'ENOENT') throw error;
    });
  }
}

async function copyFile(from: string, to: string): Promise<void> {
  await explained(to, async () => {
    const handle = await open(to, 'wx', 0o600);
    try {
      for await (const chunk of createReadStream(from)) await handle.writeFile(chunk as Buffer);
      await handle.sync();
    } finally {
      await handle.close();
    }
  });
}

async function replaceContents(
  backup: CheckedStore,
  options: RestoreOptions,
  clock: Clock,
): Promise<RestoreReport> {
  const { database, file } = await openTarget(options, backup.identity.storeId, clock);
  // Holds the lock; what is replaced is copied through the other one meanwhile.
  const writer = new Database(file, clock);
  try {
    writer.exec('PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; PRAGMA secure_delete = ON');
    writer.run('ATTACH ? AS backup', readOnly(backup.file));
    const before = await database.read((sql) => identityOf(sql, file));
    const envelope = await findEnvelope(options, before);
    return await writer.hold(async (sql) => {
      const identity = identityOf(sql, file);
      if (!identity.keyCheck.equals(before.keyCheck)) throw exchanged();
      const held = currentVersions(sql);
      const [found] = sql.rows('SELECT count(*) AS versions FROM version');
      const hasContents = found?.['versions'] !== 0;
      if (hasContents && options.fromOtherStore !== true) {
        requireSameStore(identity.storeId, backup, options.file);
      }
      const replacedIn = `${resolve(file)}.replaced-${stamp(clock)}`;
      if (hasContents) await copyStore(database, replacedIn, options);
      for (const table of ['label', 'version', 'secret']) sql.run(`DELETE FROM ${table}`);
      for (const table of ['secret', 'version', 'label']) {
        sql.run(`INSERT INTO ${table} SELECT * FROM backup.${table}`);
      }
      const { damaged } = rewrapAll(sql, backup.envelope, envelope);
      if (damaged.length > 0) throw invalidBackup(options.file, damaged.join(', '));
      return {
        secrets: backup.secrets,
        versions: backup.versions,
        newestAt: backup.newestAt,
        backupKeyId: backup.keyId,
        keyId: keyIdOf(identity.keyCheck),
        ...(hasContents && { replacedIn }),
        changedSecrets: changedSecrets(held, currentVersions(sql)),
      };
    });
  } finally {
    writer.close();
    database.close();
  }
}

function exchanged(): SecretStoreError {
  return new SecretStoreError(
    'STORE_BUSY',
    'The master key was exchanged a moment ago. Run it again; nothing was changed.',
  );
}

function requireSameStore(storeId: Buffer, backup: CheckedStore, file: string): void {
  if (storeId.equals(backup.identity.storeId)) return;
  throw new BrokerError(
    'BACKUP_OF_OTHER_STORE',
    'rejected',
    `The backup ${file} is of another store than the one in the data folder, which holds secrets of its own. If it is the one that you want here, add --from-other-store. Nothing was changed.`,
  );
}

/** The current version of every secret that has one. The labels are compared, not believed. */
function currentVersions(sql: Sql): ReadonlyMap<string, string> {
  return new Map(
    labelledSecrets(sql).flatMap(({ secretId, labels }): readonly (readonly [string, string])[] => {
      const current = labels.get('AWSCURRENT');
      return current === undefined ? [] : [[secretId, current]];
    }),
  );
}

/** Which secrets have another current version after than before, or only one of the two. Pure. */
export function changedSecrets(
  before: ReadonlyMap<string, string>,
  after: ReadonlyMap<string, string>,
): readonly string[] {
  return [...new Set([...before.keys(), ...after.keys()])]
    .filter((secretId) => before.get(secretId) !== after.get(secretId))
    .sort();
}

/** An instant as part of a file's name: `20261129T091646123Z`. */
function stamp(clock: Clock): string {
  return new Date(clock.now()).toISOString().replaceAll(/[-:.]/g, '');
}

/** What says that a store cannot be used as it is, while its file is there. */
const DAMAGED = ['STORE_CORRUPT', 'STORE_TAMPERED', 'STORE_KEY_WRONG'] as const;

/** Opens the store that is there; creates an empty one where there is none. */
async function openTarget(
  options: RestoreOptions,
  storeId: Buffer,
  clock: Clock,
): Promise<Awaited<ReturnType<typeof openStoreFile>>> {
  try {
    await createWhereMissing(options, clock, storeId);
    return await openStoreFile(options, clock);
  } catch (error) {
    throw isStoreError(error, ...DAMAGED) ? damagedStore(options.dataDir, error) : error;
  }
}

/**
 * Its files are not moved from here: a broker that has them open would delete the log of the one that takes their place.
 */
function damagedStore(dataDir: string, cause: SecretStoreError): BrokerError {
  const aside = join(dataDir, 'replaced');
  return new BrokerError(
    'STORE_DAMAGED',
    'misconfigured',
    `The store that is in the data folder cannot be opened (${cause.code}), and so not be replaced while it is used. Stop every broker that uses it, put its files aside (mkdir -m 700 ${aside} && mv ${databaseFile(dataDir)}* ${aside}/), and run this again. Nothing was changed. It says: ${cause.message}`,
    { cause },
  );
}
