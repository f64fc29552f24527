import type { Clock } from '../../tokens/time.js';
import { SecretStoreError } from '../secret-store.js';
import { blobOf, type Database, type Sql } from './database.js';
import { databaseFile, keyFile } from './data-folder.js';
import { Envelope, keyIdOf, sameCode } from './envelope.js';
import { keyMissing, readKeyFile, type KeyRing, type KeyWrapping } from './master-keys.js';
import { identityOf, inspectStore, type StoreIdentity } from './store-schema.js';

/** Which master keys a process has for the store of a data folder. */
export interface MasterKeyOptions {
  readonly dataDir: string;
  /**
   * The ring of the environment, 32 bytes each: the first key is the one that `store rekey` moves to, each of them opens the
   * store. Default: that of the key file.
   */
  readonly masterKeys?: KeyRing | undefined;
  /** Unwraps a master key that a key management service has wrapped. Default: none can be unwrapped. */
  readonly wrapping?: KeyWrapping | undefined;
}

/** The keys that are at hand without a key management service; none when there is no key file either. */
export async function keysAtHand(options: MasterKeyOptions): Promise<readonly Uint8Array[]> {
  return options.masterKeys ?? (await readKeyFile(keyFile(options.dataDir))) ?? [];
}

/**
 * The envelope of the master key that a store is under.
 *
 * @throws {SecretStoreError} `STORE_KEY_WRONG` when none of the keys is that one; what the key file and the key management
 *   service refuse.
 */
export async function findEnvelope(
  options: MasterKeyOptions,
  identity: StoreIdentity,
): Promise<Envelope> {
  const { storeId, keyCheck, wrappedKey } = identity;
  const keys = await keysAtHand(options);
  const found = envelopeAmong(keys, identity);
  if (found !== undefined) return found;
  if (wrappedKey === undefined || options.wrapping === undefined) {
    throw keyWrong(options, identity, keys);
  }
  const key = await options.wrapping.unwrap(wrappedKey, storeId);
  const envelope = new Envelope(key, storeId);
  if (sameCode(envelope.keyCheck, keyCheck)) return envelope;
  throw new SecretStoreError(
    'STORE_TAMPERED',
    `The wrapped master key in the secret store ${databaseFile(options.dataDir)} is another one than the store is under: somebody put it there. Find out who can write to the data folder, and restore the store from a backup.`,
  );
}

/** The envelope of the one of these keys that a store is under, if any. Pure. */
export function envelopeAmong(
  keys: readonly Uint8Array[],
  { storeId, keyCheck }: StoreIdentity,
): Envelope | undefined {
  return keys
    .map((key) => new Envelope(key, storeId))
    .find((envelope) => sameCode(envelope.keyCheck, keyCheck));
}

/** The error for a store that no key at hand opens. Names keys by their ids. */
function keyWrong(
  { dataDir, masterKeys, wrapping }: MasterKeyOptions,
  { storeId, keyCheck, wrappedKey }: StoreIdentity,
  keys: readonly Uint8Array[],
): SecretStoreError {
  const file = databaseFile(dataDir);
  if (wrappedKey !== undefined && wrapping === undefined) {
    return new SecretStoreError(
      'STORE_KEY_WRONG',
      `The master key ${keyIdOf(keyCheck)} of the secret store ${file} is wrapped by the KMS key ${shownKeyId(wrappedKey.keyId)}: set BROKER_MASTER_KEY_KMS_ID to it. Nothing was changed.`,
    );
  }
  if (keys.length === 0) return keyMissing(dataDir);
  const given = keys.map((key) => keyIdOf(new Envelope(key, storeId).keyCheck)).join(', ');
  const source = masterKeys === undefined ? keyFile(dataDir) : 'BROKER_MASTER_KEY';
  return new SecretStoreError(
    'STORE_KEY_WRONG',
    `The master key is not the one that the secret store ${file} is under: that is the key ${keyIdOf(keyCheck)}, and ${source} holds ${given}. If "store rekey" has exchanged it, the old key opens nothing any more: give this process the new one. Otherwise give it the key as it was. Nothing was changed. Without that key nobody can read the store; to start anew, move it away.`,
  );
}

/** The name of a KMS key comes from the file: only what looks like one is repeated. */
export function shownKeyId(keyId: string): string {
  return /^[\w:/.-]{1,300}$/.test(keyId) ? keyId : '(not the name of a key)';
}

/** How long a search for a key that failed is not made again, in milliseconds. */
const RENEWAL_PAUSE = 5_000;

/** The store is under a master key that this process has not looked for yet; `StoreKeys.renew` does. */
class UnknownKey extends SecretStoreError {
  constructor() {
    super('STORE_KEY_WRONG', 'The secret store is under another master key by now.');
  }
}

/** What {@link StoreKeys} works with. */
interface StoreKeysOptions extends MasterKeyOptions {
  readonly database: Database;
  readonly clock: Clock;
}

/**
 * The master key of one open store. When another process has exchanged it, the new one is looked for: in the key file, or
 * by the key management service. Only the key that the store is under is kept: an old one opens nothing any more.
 */
export class StoreKeys {
  readonly #options: StoreKeysOptions;
  #current: { readonly identity: StoreIdentity; readonly envelope: Envelope } | undefined;
  #renewal: Promise<void> | undefined;
  #failed: { readonly at: number; readonly error: unknown } | undefined;

  constructor(options: StoreKeysOptions) {
    this.#options = options;
  }

  /** Makes sure that the file is a sound store, and that a key opens it. Changes nothing. @throws {SecretStoreError} */
  async unlock(): Promise<void> {
    const { database, dataDir } = this.#options;
    const identity = await database.read((sql) => inspectStore(sql, databaseFile(dataDir)));
    await this.#find(identity);
  }

  /**
   * Runs `act` in a transaction with the envelope that the store is under at that moment.
   *
   * @param kind as the methods of the database.
   */
  async within<T>(kind: 'read' | 'write', act: (sql: Sql, envelope: Envelope) => T): Promise<T> {
    for (;;) {
      try {
        return await this.#options.database[kind]((sql) => act(sql, this.#envelope(sql)));
      } catch (error) {
        if (!(error instanceof UnknownKey)) throw error;
        // Each turn needs a key that was found; so it ends, unless keys are exchanged faster than they are found.
        await this.#renew();
      }
    }
  }

  #envelope(sql: Sql): Envelope {
    const row = sql.rows('SELECT store_id, key_check FROM store')[0] ?? {};
    const { identity, envelope } = this.#current ?? {};
    const isSame =
      identity?.storeId.equals(blobOf(row, 'store_id')) === true &&
      identity.keyCheck.equals(blobOf(row, 'key_check'));
    if (envelope === undefined || !isSame) throw new UnknownKey();
    return envelope;
  }

  async #find(identity: StoreIdentity): Promise<void> {
    this.#current = { identity, envelope: await findEnvelope(this.#options, identity) };
  }

  #renew(): Promise<void> {
    this.#renewal ??= this.#search().finally(() => {
      this.#renewal = undefined;
    });
    return this.#renewal;
  }

  async #search(): Promise<void> {
    const { database, dataDir, clock } = this.#options;
    const since = clock.now() - (this.#failed?.at ?? -Infinity);
    if (since >= 0 && since < RENEWAL_PAUSE) throw this.#failed?.error;
    this.#failed = undefined;
    try {
      await this.#find(await database.read((sql) => identityOf(sql, databaseFile(dataDir))));
    } catch (error) {
      this.#failed = { at: clock.now(), error };
      throw error;
    }
  }
}
