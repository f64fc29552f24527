import { systemClock, type Clock } from '../../tokens/time.js';
import { Envelope, keyIdOf, sameCode } from './envelope.js';
import { openStoreFile } from './open-embedded-store.js';
import type { KeyKeeper } from './rekey.js';
import { keysAtHand, shownKeyId, type MasterKeyOptions } from './store-keys.js';
import { identityOf } from './store-schema.js';

/** Which master key a store is under, and what the ring has beside it. Keys are named by their ids. */
export interface KeyStatus {
  readonly keyId: string;
  readonly keptBy: KeyKeeper;
  /** The ARN of the KMS key that wraps the master key. */
  readonly kmsKeyId?: string;
  /** How many data keys there are; all of them are under the one master key. */
  readonly dataKeys: number;
  /** What the configuration says to move the store to, while it is under another key: a key's id, or `kms`. */
  readonly nextKey?: string;
  /** Keys of the ring that open nothing in this store. */
  readonly oldKeyIds: readonly string[];
}

/** What is left to do about the keys, in whole sentences. */
export interface KeyAdvice {
  readonly found: string;
  readonly action: string;
}

/** Looks at a store and at the keys at hand. Changes nothing. @throws {SecretStoreError} as for opening the store. */
export async function readKeyStatus(
  options: MasterKeyOptions,
  clock: Clock = systemClock,
): Promise<KeyStatus> {
  const { database, file } = await openStoreFile(options, clock);
  try {
    const { identity, dataKeys } = await database.read((sql) => ({
      identity: identityOf(sql, file),
      dataKeys: Number(sql.rows('SELECT count(*) AS count FROM version')[0]?.['count']),
    }));
    const { storeId, keyCheck, wrappedKey } = identity;
    const ring = (await keysAtHand(options)).map((key) => new Envelope(key, storeId).keyCheck);
    const keeper = options.masterKeys === undefined ? 'key file' : 'environment';
    const next = nextKey(ring, keyCheck, options.wrapping !== undefined, wrappedKey !== undefined);
    return {
      keyId: keyIdOf(keyCheck),
      keptBy: wrappedKey === undefined ? keeper : 'kms',
      ...(wrappedKey && { kmsKeyId: shownKeyId(wrappedKey.keyId) }),
      dataKeys,
      ...(next !== undefined && { nextKey: next }),
      oldKeyIds: ring
        .filter((check) => !sameCode(check, keyCheck))
        .map(keyIdOf)
        .filter((keyId) => keyId !== next),
    };
  } finally {
    database.close();
  }
}

/** What a configuration moves a store to, when it is not there yet. Pure. @param ring key checks, the first one first. */
export function nextKey(
  ring: readonly Uint8Array[],
  current: Uint8Array,
  hasKms: boolean,
  isUnderKms: boolean,
): string | undefined {
  if (hasKms) return isUnderKms ? undefined : 'kms';
  const [first] = ring;
  return first === undefined || sameCode(first, current) ? undefined : keyIdOf(first);
}

/** Undefined when the configuration and the store agree. Pure. */
export function adviseOnKeys({
  keyId,
  keptBy,
  dataKeys,
  nextKey: next,
  oldKeyIds,
}: KeyStatus): KeyAdvice | undefined {
  if (next !== undefined) {
    const to = next === 'kms' ? 'a key that KMS keeps' : `the key ${next}`;
    return {
      found: `The configuration names ${to}, and ${dataKeys === 1 ? 'the data key is' : `all ${dataKeys} data keys are`} still under the old key ${keyId}.`,
      action:
        'When every process that uses the store has the new key: service-token-broker store rekey',
    };
  }
  if (oldKeyIds.length === 0) return undefined;
  const several = oldKeyIds.length > 1;
  const found = `The key${several ? 's' : ''} ${oldKeyIds.join(', ')} ${several ? 'open' : 'opens'} nothing in this store, and ${several ? 'are' : 'is'} still given to the broker.`;
  return {
    found,
    action:
      keptBy === 'key file'
        ? 'Remove the old key from the key file: service-token-broker store rekey'
        : 'Remove the old key from BROKER_MASTER_KEY, or the file master.key, for every process.',
  };
}
