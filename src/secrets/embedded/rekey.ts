import { randomBytes } from 'node:crypto';
import { BrokerError } from '../../tokens/errors.js';
import { systemClock, type Clock } from '../../tokens/time.js';
import { blobOf, textOf, type Database, type Sql } from './database.js';
import { databaseFile, keyFile } from './data-folder.js';
import { Envelope, KEY_BYTES, keyIdOf, sameCode } from './envelope.js';
import {
  readKeyFile,
  removeKeyFile,
  replaceKeyFile,
  type KeyRing,
  type WrappedMasterKey,
} from './master-keys.js';
import { openStoreFile } from './open-embedded-store.js';
import { findEnvelope, type MasterKeyOptions } from './store-keys.js';
import { identityOf, setMasterKey, type StoreIdentity } from './store-schema.js';

/** Options of {@link rekeyStore}. */
export interface RekeyOptions extends MasterKeyOptions {
  /** The key to move to, in the key file's place. Default: the first of the ring, or a new one where the ring has no other. */
  readonly newKey?: Uint8Array;
  /** Moves to a key of the environment or of the key file, although there is a key management service. Default: false. */
  readonly leavesKms?: boolean;
  /** Leaves the old keys in the key file. Default: false. */
  readonly keepsOldKeys?: boolean;
  /** Default: the machine's. */
  readonly clock?: Clock;
}

/** Who keeps a master key. */
export type KeyKeeper = 'key file' | 'environment' | 'kms';

/** What an exchange of the master key came to. */
export interface RekeyReport {
  /** `finished`: the store was under the new key already, and an earlier exchange only had to be completed. */
  readonly result: 'exchanged' | 'finished';
  readonly keyId: string;
  readonly keptBy: KeyKeeper;
  /** The ARN of the KMS key that wraps the master key. */
  readonly kmsKeyId?: string;
  /** The key that the store was under. */
  readonly previousKeyId?: string;
  /** How many data keys were wrapped anew. */
  readonly dataKeys: number;
  /** What failed authentication under the old key. It was left as it was, and still does. */
  readonly damaged: readonly string[];
  /** Keys that were removed from the key file. */
  readonly removedKeyIds: readonly string[];
  /** Keys that are left in the ring, and that this store does not need any more. */
  readonly oldKeyIds: readonly string[];
  /** Whether nothing that the old key opens is left in the files. */
  readonly isScrubbed: boolean;
}

/** The key to move to, and what has to be done for it. */
interface RekeyPlan {
  readonly target: Uint8Array;
  /** What the key file must hold before anything is wrapped by the new key; undefined when it does already. */
  readonly ring?: KeyRing;
}

/**
 * What an exchange does with the ring of a key file. A ring that has a key in front of the store's own, or behind it, is
 * that of an exchange that was begun: it is gone on with. Pure.
 *
 * @param ring the keys of the file; undefined where there is none.
 * @param current the key that the store is under; undefined when it is not in the ring.
 * @param newKey what is moved to where the ring has no key for that: a random one, or the operator's.
 */
export function planKeyFile(
  ring: KeyRing | undefined,
  current: Uint8Array | undefined,
  { newKey, isChosen }: { readonly newKey: Uint8Array; readonly isChosen: boolean },
): RekeyPlan {
  const isDone = ring?.length === 1 && current !== undefined && isSame(ring[0], current);
  const target = ring === undefined || isDone || isChosen ? newKey : ring[0];
  if (ring !== undefined && isSame(ring[0], target)) return { target };
  return { target, ring: [target, ...(ring ?? []).filter((key) => !isSame(key, target))] };
}

const isSame = (one: Uint8Array, other: Uint8Array): boolean => Buffer.compare(one, other) === 0;

/**
 * Exchanges the master key of a store: wraps every data key anew, while other processes go on reading and writing. All of
 * it is one transaction; so at each moment the store is under the old key or under the new one, and the ring, which is
 * written before, has both. Whatever interrupts it, calling it again goes on.
 *
 * @throws {BrokerError} `NEW_KEY_MISSING` when the environment names no key to move to.
 * @throws {SecretStoreError} as for opening the store; `STORE_FULL`; what the key management service refuses.
 */
export async function rekeyStore(options: RekeyOptions): Promise<RekeyReport> {
  const { clock = systemClock } = options;
  const { database } = await openStoreFile(options, clock);
  try {
    // Overwrites what it replaces: what the old key has wrapped must not be left in unused parts of the file.
    database.rows('PRAGMA secure_delete = ON');
    const exchange = await exchangeKey(database, options);
    const isScrubbed = await scrub(database, clock);
    const removed = await removeOldKeys(database, options, exchange.identity);
    const oldKeyIds = await oldKeysOf(options, exchange.identity);
    return { ...exchange.report, ...removed, oldKeyIds, isScrubbed };
  } finally {
    database.close();
  }
}

interface Exchange {
  /** The store's identity afterwards. */
  readonly identity: StoreIdentity;
  readonly report: Omit<RekeyReport, 'removedKeyIds' | 'oldKeyIds' | 'isScrubbed'>;
}

/** Which key management service keeps the key from now on, if any. */
const wrappingOf = ({ wrapping, leavesKms }: RekeyOptions) =>
  leavesKms === true ? undefined : wrapping;

function keeperOf(options: RekeyOptions): KeyKeeper {
  if (wrappingOf(options) !== undefined) return 'kms';
  return options.masterKeys === undefined ? 'key file' : 'environment';
}

async function exchangeKey(database: Database, options: RekeyOptions): Promise<Exchange> {
  const file = databaseFile(options.dataDir);
  for (;;) {
    // The network is asked before the lock is taken: other processes wait for that one.
    const before = await database.read((sql) => identityOf(sql, file));
    const from = await findEnvelope(options, before);
    const made = await wrappingOf(options)?.generate(before.storeId);
    const done = await database.hold(async (sql) => {
      // Another exchange came first.
      if (!sameCode(identityOf(sql, file).keyCheck, before.keyCheck)) return undefined;
      const target = made?.key ?? (await prepareRing(options, before, from));
      const to = new Envelope(target, before.storeId);
      return moveTo(sql, { before, from, to, ...(made && { made }) }, keeperOf(options));
    });
    if (done !== undefined) return done;
  }
}

function moveTo(
  sql: Sql,
  {
    before,
    from,
    to,
    made,
  }: { before: StoreIdentity; from: Envelope; to: Envelope; made?: WrappedMasterKey },
  keptBy: KeyKeeper,
): Exchange {
  const keyId = keyIdOf(to.keyCheck);
  const kms = made && { kmsKeyId: made.keyId };
  if (sameCode(before.keyCheck, to.keyCheck)) {
    const report = { result: 'finished', keyId, keptBy, dataKeys: 0, damaged: [] } as const;
    return { identity: before, report };
  }
  const wrappedKey = made && { keyId: made.keyId, wrapped: made.wrapped };
  const identity = {
    storeId: before.storeId,
    keyCheck: to.keyCheck,
    ...(wrappedKey && { wrappedKey }),
  };
  const { dataKeys, damaged } = rewrapAll(sql, from, to);
  setMasterKey(sql, identity);
  const previousKeyId = keyIdOf(before.keyCheck);
  const report = { result: 'exchanged', keyId, previousKeyId, keptBy, dataKeys, damaged } as const;
  return { identity, report: { ...report, ...kms } };
}

/** The key to move to, which the ring has from now on: the environment's, or the key file's. */
async function prepareRing(
  { masterKeys, newKey, dataDir, leavesKms }: RekeyOptions,
  { storeId }: StoreIdentity,
  from: Envelope,
): Promise<Uint8Array> {
  const isCurrent = (key: Uint8Array): boolean =>
    sameCode(new Envelope(key, storeId).keyCheck, from.keyCheck);
  if (masterKeys !== undefined) {
    const [target, ...others] = masterKeys;
    const isMove = others.length > 0 || leavesKms === true || !isCurrent(target);
    if (newKey === undefined && isMove) return target;
    throw new BrokerError(
      'NEW_KEY_MISSING',
      'misconfigured',
      `BROKER_MASTER_KEY ${others.length === 0 ? `holds one key, ${keyIdOf(from.keyCheck)}, and the store is under it` : 'is set, and a file names another key'}. Put the new key in front of it, with a comma between them, for every process that uses the store; restart them, and run this again. Nothing was changed.`,
    );
  }
  const path = keyFile(dataDir);
  // Read under the lock: another exchange may have written it a moment ago, and its key must not be lost.
  const ring = await readKeyFile(path);
  const plan = planKeyFile(ring, ring?.find(isCurrent), {
    newKey: newKey ?? randomBytes(KEY_BYTES),
    isChosen: newKey !== undefined,
  });
  if (plan.ring !== undefined) await replaceKeyFile(path, plan.ring);
  return plan.target;
}

/**
 * Wraps every data key of a store anew, and authenticates its labels anew. What fails authentication under the old key is
 * left as it is, so that it fails ever after: nothing that was changed by hand becomes genuine.
 *
 * @returns how many data keys were wrapped, and what failed.
 */
export function rewrapAll(
  sql: Sql,
  from: Envelope,
  to: Envelope,
): { readonly dataKeys: number; readonly damaged: readonly string[] } {
  const damaged: string[] = [];
  for (const { secretId, revision, labels, code } of labelledSecrets(sql)) {
    if (!sameCode(from.labelCode(secretId, revision, labels), code)) {
      damaged.push(labelsInWords(secretId));
      continue;
    }
    const anew = to.labelCode(secretId, revision, labels);
    sql.run('UPDATE secret SET label_code = ? WHERE secret_id = ?', anew, secretId);
  }
  let dataKeys = 0;
  const versions = sql.rows(
    'SELECT rowid AS place, CAST(secret_id AS BLOB) AS secret_id, CAST(version_id AS BLOB) AS version_id, created_at, format, wrapped_key FROM version',
  );
  for (const row of versions) {
    const [secretId, versionId] = [textOf(row, 'secret_id'), textOf(row, 'version_id')];
    const wrappedKey = from.rewrap(
      { secretId, versionId, createdAt: Number(row['created_at']) },
      { format: Number(row['format']), wrappedKey: blobOf(row, 'wrapped_key') },
      to,
    );
    if (wrappedKey === undefined) {
      damaged.push(versionInWords(secretId, versionId));
      continue;
    }
    sql.run('UPDATE version SET wrapped_key = ? WHERE rowid = ?', wrappedKey, Number(row['place']));
    dataKeys += 1;
  }
  return { dataKeys, damaged };
}

/** The labels of a secret, for messages. */
export function labelsInWords(secretId: string): string {
  return `the labels of the secret "${shownId(secretId)}"`;
}

/** A version, for messages. */
export function versionInWords(secretId: string, versionId: string): string {
  return `the version ${shownId(versionId)} of the secret "${shownId(secretId)}"`;
}

/** An id as it is in the file. One that no store takes is not repeated: a terminal may obey what is in it. */
function shownId(id: string): string {
  return /^[\w/+=.@-]{1,512}$/.test(id) ? id : '(not an id)';
}

/** Every secret with its labels, and the code that authenticates them. */
export function labelledSecrets(sql: Sql): readonly {
  readonly secretId: string;
  readonly revision: number;
  readonly labels: ReadonlyMap<string, string>;
  readonly code: Buffer;
}[] {
  const labels = new Map<string, Map<string, string>>();
  const rows = sql.rows(
    'SELECT CAST(secret_id AS BLOB) AS secret_id, CAST(label AS BLOB) AS label, CAST(version_id AS BLOB) AS version_id FROM label',
  );
  for (const row of rows) {
    const secretId = textOf(row, 'secret_id');
    const ofSecret = labels.get(secretId) ?? new Map<string, string>();
    labels.set(secretId, ofSecret.set(textOf(row, 'label'), textOf(row, 'version_id')));
  }
  return sql
    .rows('SELECT CAST(secret_id AS BLOB) AS secret_id, revision, label_code FROM secret')
    .map((row) => {
      const secretId = textOf(row, 'secret_id');
      return {
        secretId,
        revision: Number(row['revision']),
        labels: labels.get(secretId) ?? new Map<string, string>(),
        code: blobOf(row, 'label_code'),
      };
    });
}

/** How often the log is tried to be emptied while other processes read. */
const CHECKPOINTS = 50;

/** Removes what is left of the old key's work: unused pages, and the log. @returns false when a reader held the log. */
async function scrub(database: Database, clock: Clock): Promise<boolean> {
  await database.patiently(() => database.exec('VACUUM'));
  for (let attempt = 1; attempt <= CHECKPOINTS; attempt += 1) {
    const [row] = await database.patiently(() => database.rows('PRAGMA wal_checkpoint(TRUNCATE)'));
    if (row?.['busy'] === 0) return true;
    await clock.sleep(100);
  }
  return false;
}

/** Takes every key but the store's own out of the key file; the file itself, when a service keeps the key. */
async function removeOldKeys(
  database: Database,
  options: RekeyOptions,
  identity: StoreIdentity,
): Promise<Pick<RekeyReport, 'removedKeyIds'>> {
  const { dataDir, masterKeys, keepsOldKeys } = options;
  if (masterKeys !== undefined || keepsOldKeys === true) return { removedKeyIds: [] };
  return database.hold(async (sql) => {
    const { storeId, keyCheck } = identityOf(sql, databaseFile(dataDir));
    const ring = await readKeyFile(keyFile(dataDir));
    // A further exchange has begun: that one removes them.
    if (ring === undefined || !sameCode(keyCheck, identity.keyCheck)) return { removedKeyIds: [] };
    const envelopes = ring.map((key) => ({ key, check: new Envelope(key, storeId).keyCheck }));
    const own = envelopes.find(({ check }) => sameCode(check, keyCheck));
    const old = envelopes.filter(({ check }) => !sameCode(check, keyCheck));
    if (own === undefined && identity.wrappedKey !== undefined) {
      await removeKeyFile(keyFile(dataDir));
    } else if (own !== undefined && old.length > 0) {
      await replaceKeyFile(keyFile(dataDir), [own.key]);
    }
    return { removedKeyIds: old.map(({ check }) => keyIdOf(check)) };
  });
}

/** The keys of the ring that the store is not under. */
async function oldKeysOf(
  { masterKeys, dataDir }: RekeyOptions,
  { storeId, keyCheck }: StoreIdentity,
): Promise<readonly string[]> {
  const ring = masterKeys ?? (await readKeyFile(keyFile(dataDir))) ?? [];
  return ring
    .map((key) => new Envelope(key, storeId).keyCheck)
    .filter((check) => !sameCode(check, keyCheck))
    .map(keyIdOf);
}
