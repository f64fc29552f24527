import { randomBytes } from 'node:crypto';
import { constants } from 'node:fs';
import { access, link, lstat, open, realpath, rename, stat, unlink } from 'node:fs/promises';
import { basename, dirname, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { BrokerError } from '../../tokens/errors.js';
import { systemClock, type Clock } from '../../tokens/time.js';
import { isStoreError, MAX_VALUE_BYTES, SecretStoreError } from '../secret-store.js';
import { blobOf, Database, textOf, type Sql } from './database.js';
import {
  errnoOf,
  explainFileFailure,
  hasNoHardLinks,
  otherThanFile,
  syncFile,
  syncFolder,
} from './data-folder.js';
import { keyIdOf, sameCode, type Envelope } from './envelope.js';
import { openStoreFile } from './open-embedded-store.js';
import { labelledSecrets, labelsInWords, versionInWords } from './rekey.js';
import { envelopeAmong, findEnvelope, shownKeyId, type MasterKeyOptions } from './store-keys.js';
import { inspectStore, type StoreIdentity } from './store-schema.js';

/** What a store holds, every part of which was opened. */
export interface StoreCheck {
  readonly secrets: number;
  readonly versions: number;
  /** When the newest version was written, in milliseconds since the Unix epoch; undefined when there is none. */
  readonly newestAt: number | undefined;
  /** What failed authentication, in words. */
  readonly damaged: readonly string[];
}

/** Opens every version of a store, and authenticates the labels of every secret. Reads only. */
export function checkStore(sql: Sql, envelope: Envelope): StoreCheck {
  const damaged: string[] = [];
  const [check] = sql.rows("SELECT integrity_check = 'ok' AS sound FROM pragma_integrity_check(1)");
  if (check?.['sound'] !== 1) damaged.push('the pages of the file');
  const versions = sql.rows(
    'SELECT rowid AS place, CAST(secret_id AS BLOB) AS secret_id, CAST(version_id AS BLOB) AS version_id, created_at, format, wrapped_key FROM version',
  );
  const known = new Set<string>();
  for (const row of versions) {
    const [secretId, versionId] = [textOf(row, 'secret_id'), textOf(row, 'version_id')];
    known.add(JSON.stringify([secretId, versionId]));
    // One value at a time: all of them together may be large.
    const [value] = sql.rows(
      'SELECT sealed_value FROM version WHERE rowid = ?',
      Number(row['place']),
    );
    const opened = envelope.open(
      { secretId, versionId, createdAt: Number(row['created_at']) },
      {
        format: Number(row['format']),
        wrappedKey: blobOf(row, 'wrapped_key'),
        sealedValue: blobOf(value ?? {}, 'sealed_value'),
      },
    );
    if (opened === undefined) damaged.push(versionInWords(secretId, versionId));
    opened?.fill(0);
  }
  const secrets = labelledSecrets(sql);
  for (const { secretId, revision, labels, code } of secrets) {
    const isGenuine = sameCode(envelope.labelCode(secretId, revision, labels), code);
    const isWhole = [...labels.values()].every((id) => known.has(JSON.stringify([secretId, id])));
    if (!isGenuine || !isWhole) damaged.push(labelsInWords(secretId));
  }
  const newestAt = Math.max(...versions.map((row) => Number(row['created_at'])));
  return {
    secrets: secrets.length,
    versions: versions.length,
    newestAt: versions.length === 0 ? undefined : newestAt,
    damaged,
  };
}

/** A store, or a backup of one, that was checked. */
export interface CheckedStore extends StoreCheck {
  readonly file: string;
  readonly identity: StoreIdentity;
  /** The master key that everything in it is under. */
  readonly keyId: string;
  readonly envelope: Envelope;
}

/** Options of {@link checkBackup}. */
export interface BackupKeys extends MasterKeyOptions {
  /** Further keys that may open a backup, such as one from before an exchange. */
  readonly backupKeys?: readonly Uint8Array[];
  /** Default: the machine's. */
  readonly clock?: Clock;
}

/** Checks the store of the data folder while it is used. @throws {SecretStoreError} as for opening it. */
export async function checkOpenStore(options: BackupKeys): Promise<CheckedStore> {
  const { database, file } = await openStoreFile(options, options.clock ?? systemClock);
  try {
    const identity = await database.read((sql) => inspectStore(sql, file));
    const envelope = await findEnvelope(options, identity);
    return await database.read((sql) => checkedStore(sql, { file, identity, envelope }));
  } finally {
    database.close();
  }
}

function checkedStore(
  sql: Sql,
  { file, identity, envelope }: Pick<CheckedStore, 'file' | 'identity' | 'envelope'>,
): CheckedStore {
  const keyId = keyIdOf(envelope.keyCheck);
  return { file, identity, keyId, envelope, ...checkStore(sql, envelope) };
}

/**
 * Checks a backup: whether it is whole, and a key at hand opens every version in it. It is only read.
 *
 * @throws {BrokerError} `BACKUP_INVALID` with what is wrong with it; `BACKUP_NOT_READ` when there is no such file.
 * @throws {SecretStoreError} `STORE_KEY_WRONG` when no key opens it.
 */
export async function checkBackup(file: string, options: BackupKeys): Promise<CheckedStore> {
  const path = resolve(file);
  await requireBackupFile(path);
  const database = new Database(readOnly(path), options.clock ?? systemClock);
  try {
    const identity = inspectStore(database, path);
    refuseOversized(database, path);
    const envelope =
      envelopeAmong(options.backupKeys ?? [], identity) ??
      (await findEnvelope(options, identity).catch((error: unknown) => {
        throw backupKeyMissing(path, identity, error);
      }));
    const checked = checkedStore(database, { file: path, identity, envelope });
    if (checked.damaged.length === 0) return checked;
    throw invalidBackup(path, `${inWords(checked.damaged)} failed authentication`);
  } catch (error) {
    throw backupErrorOf(error, path);
  } finally {
    database.close();
  }
}

/** The most that is named in one message. */
const MOST_NAMED = 20;

/** What failed, for one message. Pure. */
function inWords(damaged: readonly string[]): string {
  const more = damaged.length - MOST_NAMED;
  return `${damaged.slice(0, MOST_NAMED).join(', ')}${more > 0 ? ` and ${more} more` : ''}`;
}

/** More than a value, its seal or an id has: whoever made the backup wants it to be read into memory. */
const MOST_BYTES = 2 * MAX_VALUE_BYTES;

/** Looks at the lengths alone. */
function refuseOversized(sql: Sql, path: string): void {
  const oversized = ['secret', 'version', 'label'].some((table) => {
    const columns = sql.rows(`SELECT name FROM pragma_table_info('${table}')`);
    const lengths = columns.map((row) => `octet_length(${String(row['name'])})`).join(' + ');
    return sql.rows(`SELECT 1 FROM ${table} WHERE ${lengths} > ? LIMIT 1`, MOST_BYTES).length > 0;
  });
  if (oversized) throw invalidBackup(path, 'something in it is larger than any secret is');
}

/** A name for SQLite that opens the file without writing it, or a log beside it. */
export function readOnly(path: string): string {
  return `${pathToFileURL(path).href}?mode=ro&immutable=1`;
}

async function requireBackupFile(path: string): Promise<void> {
  try {
    const instead = otherThanFile(await stat(path));
    if (instead !== undefined) throw invalidBackup(path, `it is ${instead}`);
    await access(path, constants.R_OK);
  } catch (error) {
    const errno = errnoOf(error);
    if (error instanceof BrokerError || errno === undefined) throw error;
    throw new BrokerError(
      'BACKUP_NOT_READ',
      'misconfigured',
      `The backup ${path} cannot be read (${errno}).`,
      { cause: error },
    );
  }
  for (const suffix of ['-wal', '-journal']) {
    const size = await lstat(path + suffix).then(
      (stats) => stats.size,
      () => 0,
    );
    if (size > 0) {
      throw invalidBackup(
        path,
        `it is a store in use, or a copy of one: ${path}${suffix} belongs to it. Make a backup with "store backup"`,
      );
    }
  }
}

/** The error of a file that cannot be restored. @param what half a sentence. */
export function invalidBackup(path: string, what: string, cause?: unknown): BrokerError {
  return new BrokerError(
    'BACKUP_INVALID',
    'rejected',
    `The backup ${path} cannot be used: ${what}. Take another one. Nothing was changed.`,
    { cause },
  );
}

/** What an error about a store means for a backup. */
function backupErrorOf(error: unknown, path: string): unknown {
  if (isStoreError(error, 'STORE_CORRUPT', 'STORE_ACCESS_DENIED')) {
    return invalidBackup(path, 'it is damaged, truncated, or no backup of a secret store', error);
  }
  if (isStoreError(error, 'STORE_TAMPERED')) {
    return invalidBackup(path, 'its tables or its master key were changed by hand', error);
  }
  if (isStoreError(error, 'STORE_VERSION_UNSUPPORTED')) {
    return invalidBackup(path, 'a newer release wrote it; run that one', error);
  }
  return error;
}

/** The message about the data folder's own store would mislead. */
function backupKeyMissing(
  path: string,
  { keyCheck, wrappedKey }: StoreIdentity,
  error: unknown,
): unknown {
  if (!isStoreError(error, 'STORE_KEY_WRONG')) return error;
  const message =
    wrappedKey === undefined
      ? `No key at hand opens the backup ${path}, which is under the master key ${keyIdOf(keyCheck)}. If that key was exchanged since, name a file that holds it: --key-file FILE. Nothing was changed.`
      : `The backup ${path} needs the KMS key ${shownKeyId(wrappedKey.keyId)}. ${error.message}`;
  return new SecretStoreError('STORE_KEY_WRONG', message, { cause: error });
}

/** Options of {@link backupStore}. */
export interface BackupOptions extends MasterKeyOptions {
  /** The backup's file. */
  readonly file: string;
  /** Replaces a file that exists. Default: false. */
  readonly replaces?: boolean;
  /** Default: the machine's. */
  readonly clock?: Clock;
}

/**
 * Writes a copy of the store as it is at one moment, while other processes go on reading and writing. The copy is encrypted
 * as the store is, gets mode 0600, and its name only when it was checked.
 *
 * @throws {BrokerError} `FILE_EXISTS`; what {@link checkBackup} throws.
 * @throws {SecretStoreError} as for opening the store; `STORE_FULL`, `STORE_ACCESS_DENIED` for the backup's folder.
 */
export async function backupStore(options: BackupOptions): Promise<CheckedStore> {
  const path = resolve(options.file);
  await refuseOwnFile(path, options.dataDir);
  const { database } = await openStoreFile(options, options.clock ?? systemClock);
  try {
    return await copyStore(database, path, options);
  } finally {
    database.close();
  }
}

/** A backup in the place of the store itself, of its log or of its key would destroy what it is a backup of. */
async function refuseOwnFile(path: string, dataDir: string): Promise<void> {
  const [folder, own] = await Promise.all(
    [dirname(path), dataDir].map((place) => realpath(place).catch(() => undefined)),
  );
  const isOwn = /^(?:secrets\.db(?:-wal|-shm|-journal)?|master\.key)$/i.test(basename(path));
  if (folder === own && own !== undefined && isOwn) throw fileExists(path);
}

/** {@link backupStore} of an open store. */
export async function copyStore(
  database: Database,
  path: string,
  options: Omit<BackupOptions, 'file'>,
): Promise<CheckedStore> {
  const temporary = `${path}.${randomBytes(8).toString('hex')}.part`;
  // SQLite fills an empty file, and leaves its mode.
  await writing(path, async () => (await open(temporary, 'wx', 0o600)).close());
  try {
    await database.patiently(() => database.run('VACUUM INTO ?', temporary)).catch(noRoom(path));
    await writing(path, () => syncFile(temporary));
    const checked = await checkBackup(temporary, options);
    await giveName(temporary, path, options.replaces === true);
    return { ...checked, file: path };
  } finally {
    await unlink(temporary).catch(ignoreMissing);
  }
}

function noRoom(path: string): (error: unknown) => never {
  return (error) => {
    if (!(error instanceof SecretStoreError) || error.code !== 'STORE_FULL') throw error;
    throw new SecretStoreError(
      'STORE_FULL',
      `The disk with ${path} is full. Free some space, or name another place; nothing was changed.`,
      { cause: error },
    );
  };
}

function ignoreMissing(error: unknown): void {
  if (errnoOf(error) !== 'ENOENT') throw error;
}

/** Runs an operation on the backup's file, which need not be in the data folder, and explains what goes wrong. */
async function writing<T>(path: string, act: () => Promise<T>): Promise<T> {
  try {
    return await act();
  } catch (error) {
    const errno = errnoOf(error);
    if (error instanceof BrokerError || errno === undefined) throw error;
    if (errno === 'ENOSPC' || errno === 'EDQUOT') noRoom(path)(explainFileFailure({ errno, path }));
    throw new BrokerError(
      'FILE_NOT_WRITTEN',
      'misconfigured',
      `The file ${path} cannot be written (${errno}). Does its folder exist, and may this user write there?`,
      { cause: error },
    );
  }
}

async function giveName(temporary: string, path: string, replaces: boolean): Promise<void> {
  await writing(path, async () => {
    if (replaces) {
      await rename(temporary, path);
    } else {
      try {
        await link(temporary, path);
      } catch (error) {
        if (errnoOf(error) === 'EEXIST') throw fileExists(path);
        if (!hasNoHardLinks(error)) throw error;
        await requireNothingAt(path);
        await rename(temporary, path);
      }
    }
    await syncFolder(dirname(path));
  });
}

/** @throws {BrokerError} `FILE_EXISTS` */
async function requireNothingAt(path: string): Promise<void> {
  const found = await lstat(path).catch((error: unknown) => {
    if (errnoOf(error) !== 'ENOENT') throw error;
  });
  if (found !== undefined) throw fileExists(path);
}

function fileExists(path: string): BrokerError {
  return new BrokerError(
    'FILE_EXISTS',
    'rejected',
    `The file ${path} exists already and was left as it is. Name another one; --force replaces a file that is not the store's own.`,
  );
}
