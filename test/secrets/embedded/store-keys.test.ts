import { describe, expect, test } from '@jest/globals';
import { randomBytes, randomUUID } from 'node:crypto';
import { existsSync } from 'node:fs';
import { cp, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Database } from '../../../src/secrets/embedded/database.js';
import { readKeyStatus } from '../../../src/secrets/embedded/key-status.js';
import {
  replaceKeyFile,
  type KeyWrapping,
  type WrappedMasterKey,
} from '../../../src/secrets/embedded/master-keys.js';
import { openEmbeddedStore } from '../../../src/secrets/embedded/open-embedded-store.js';
import { rekeyStore } from '../../../src/secrets/embedded/rekey.js';
import { checkOpenStore } from '../../../src/secrets/embedded/store-backup.js';
import { SecretStoreError, type SecretStore } from '../../../src/secrets/secret-store.js';
import { systemClock } from '../../../src/tokens/time.js';
import { collectGarbageUntil } from '../../support/collect-garbage.js';
import { temporaryFolders } from '../../support/temporary-folder.js';
import { VirtualClock } from '../../support/virtual-clock.js';

const newFolder = temporaryFolders('store-keys');
const SECRET = 'service-token';
const [first, second, third] = [randomBytes(32), randomBytes(32), randomBytes(32)];

async function write(store: SecretStore, value: string): Promise<string> {
  const versionId = randomUUID();
  await store.create(SECRET, 'for the test');
  await store.putPending(SECRET, versionId, value);
  return versionId;
}

/** A key management service in memory: what it wraps is a number, which it knows the key of. */
class MemoryWrapping implements KeyWrapping {
  readonly #keys: Map<number, { key: Uint8Array; storeId: string; keyId: string }>;
  calls = 0;
  isDown = false;

  constructor(
    readonly keyIds: readonly string[],
    shared?: MemoryWrapping,
  ) {
    this.#keys = shared ? shared.#keys : new Map();
  }

  async generate(storeId: Uint8Array): Promise<WrappedMasterKey & { readonly key: Uint8Array }> {
    this.calls += 1;
    this.#requireUp();
    const [key, number, keyId = ''] = [randomBytes(32), this.#keys.size, this.keyIds[0]];
    this.#keys.set(number, { key, keyId, storeId: Buffer.from(storeId).toString('hex') });
    return { key, keyId, wrapped: Buffer.from([number]) };
  }

  async unwrap({ wrapped }: WrappedMasterKey, storeId: Uint8Array): Promise<Uint8Array> {
    this.calls += 1;
    this.#requireUp();
    const found = this.#keys.get(wrapped[0] ?? -1);
    const isOurs = found?.storeId === Buffer.from(storeId).toString('hex');
    if (found && isOurs && this.keyIds.includes(found.keyId)) return found.key;
    throw new SecretStoreError('STORE_KEY_WRONG', 'another key');
  }

  #requireUp(): void {
    if (this.isDown) throw new SecretStoreError('STORE_UNAVAILABLE', 'it is down');
  }
}

describe('an open store', () => {
  test('follows an exchange by the key file, and reads the file only for that', async () => {
    const dataDir = await newFolder();
    const store = await openEmbeddedStore({ dataDir });
    const before = await write(store, 'before');
    const { result, keyId, previousKeyId, dataKeys } = await rekeyStore({ dataDir });
    expect({ result, dataKeys }).toEqual({ result: 'exchanged', dataKeys: 1 });
    expect(keyId).toMatch(/^[0-9a-f]{8}$/);
    expect(keyId).not.toBe(previousKeyId);
    expect((await store.read(SECRET, { versionId: before })).value).toBe('before');
    const after = await write(store, 'after');
    // Nothing is read any more: the file may be anything now.
    await replaceKeyFile(join(dataDir, 'master.key'), [third]);
    expect((await store.read(SECRET, { versionId: after })).value).toBe('after');
    await store.close();
  });

  test('with the old key alone is refused, says so, and looks again after a pause', async () => {
    const dataDir = await newFolder();
    const clock = new VirtualClock();
    const store = await openEmbeddedStore({ dataDir, clock });
    const versionId = await write(store, 'kept');
    const masterKeys = [
      second,
      Buffer.from(await readFile(join(dataDir, 'master.key'), 'utf8'), 'base64'),
    ] as const;
    const { keyId } = await rekeyStore({ dataDir, masterKeys });
    const read = (): Promise<unknown> => store.read(SECRET, { versionId });
    const refusal = {
      code: 'STORE_KEY_WRONG',
      message: expect.stringMatching(
        new RegExp(
          `that is the key ${keyId}, and .*master\\.key holds .*give this process the new one`,
        ),
      ),
    };
    await expect(read()).rejects.toMatchObject(refusal);
    await expect(write(store, 'not written')).rejects.toMatchObject(refusal);
    await replaceKeyFile(join(dataDir, 'master.key'), [second]);
    // Not on each read.
    await expect(read()).rejects.toMatchObject(refusal);
    clock.advance(5_000);
    expect(await read()).toMatchObject({ value: 'kept' });
    await store.close();
  });

  test('keeps the key that it is under only: what somebody puts back under the old one is refused', async () => {
    const dataDir = await newFolder();
    const store = await openEmbeddedStore({ dataDir });
    const versionId = await write(store, 'kept');
    await store.close();
    await collectGarbageUntil(() => !existsSync(join(dataDir, 'secrets.db-wal')));
    const old = await newFolder();
    await cp(dataDir, old, { recursive: true });
    const running = await openEmbeddedStore({ dataDir });
    await rekeyStore({ dataDir });
    expect((await running.read(SECRET, { versionId })).value).toBe('kept');
    const attacker = new Database(join(dataDir, 'secrets.db'), systemClock);
    attacker.run('ATTACH ? AS old', join(old, 'secrets.db'));
    await attacker.write((sql) => {
      sql.exec('UPDATE main.store SET key_check = (SELECT key_check FROM old.store)');
      sql.exec(
        'UPDATE main.version SET wrapped_key = (SELECT wrapped_key FROM old.version WHERE old.version.version_id = main.version.version_id)',
      );
      sql.exec('UPDATE main.secret SET label_code = (SELECT label_code FROM old.secret)');
    });
    await expect(running.read(SECRET, { versionId })).rejects.toMatchObject({
      code: 'STORE_KEY_WRONG',
    });
    attacker.close();
    await running.close();
  });
});

describe('the ring of the environment', () => {
  test('any key of it opens the store; an exchange moves to the first', async () => {
    const dataDir = await newFolder();
    const store = await openEmbeddedStore({ dataDir, masterKey: first });
    const versionId = await write(store, 'kept');
    const ring = [second, first] as const;
    const options = { dataDir, masterKey: second, olderMasterKeys: [first] };
    const beside = await openEmbeddedStore(options);
    expect((await beside.read(SECRET, { versionId })).value).toBe('kept');
    const before = await readKeyStatus({ dataDir, masterKeys: ring });
    expect(before).toMatchObject({ keptBy: 'environment', dataKeys: 1, oldKeyIds: [] });
    const report = await rekeyStore({ dataDir, masterKeys: ring });
    expect(report).toMatchObject({
      keyId: before.nextKey,
      previousKeyId: before.keyId,
      oldKeyIds: [before.keyId],
      removedKeyIds: [],
    });
    expect(await rekeyStore({ dataDir, masterKeys: ring })).toMatchObject({ result: 'finished' });
    expect(await readKeyStatus({ dataDir, masterKeys: ring })).toMatchObject({
      keyId: report.keyId,
      oldKeyIds: [before.keyId],
    });
    expect((await beside.read(SECRET, { versionId })).value).toBe('kept');
    await expect(store.read(SECRET, { versionId })).rejects.toMatchObject({
      code: 'STORE_KEY_WRONG',
    });
    for (const one of [store, beside]) await one.close();
  });

  test('with one key there is nothing to move to', async () => {
    const dataDir = await newFolder();
    await (await openEmbeddedStore({ dataDir, masterKey: first })).close();
    await expect(rekeyStore({ dataDir, masterKeys: [first] })).rejects.toMatchObject({
      code: 'NEW_KEY_MISSING',
      message: expect.stringMatching(/Put the new key in front of it/),
    });
    await expect(
      rekeyStore({ dataDir, masterKeys: [second, first], newKey: third }),
    ).rejects.toMatchObject({ code: 'NEW_KEY_MISSING' });
    await expect(rekeyStore({ dataDir, masterKeys: [second] })).rejects.toMatchObject({
      code: 'STORE_KEY_WRONG',
    });
  });

  test('a key of 31 bytes in it is refused', async () => {
    const options = { masterKey: first, olderMasterKeys: [randomBytes(31)] };
    await expect(
      openEmbeddedStore({ dataDir: await newFolder(), ...options }),
    ).rejects.toMatchObject({ message: expect.stringMatching(/must have 32 bytes.* 31/) });
  });
});

test('an own key, and the old one kept: the second run removes it', async () => {
  const dataDir = await newFolder();
  const store = await openEmbeddedStore({ dataDir });
  await write(store, 'kept');
  const kept = await rekeyStore({ dataDir, newKey: second, keepsOldKeys: true });
  expect(kept).toMatchObject({ removedKeyIds: [], oldKeyIds: [kept.previousKeyId] });
  const last = await rekeyStore({ dataDir });
  expect(last).toMatchObject({
    result: 'finished',
    keyId: kept.keyId,
    removedKeyIds: [kept.previousKeyId],
    oldKeyIds: [],
  });
  expect(await readFile(join(dataDir, 'master.key'), 'utf8')).toBe(
    `${second.toString('base64')}\n`,
  );
  await store.close();
});

test('what was tampered with is not made genuine: it is reported, and fails ever after', async () => {
  const dataDir = await newFolder();
  const store = await openEmbeddedStore({ dataDir });
  const [changed, sound] = [await write(store, 'changed'), await write(store, 'sound')];
  await store.create('other', 'for the test');
  const database = new Database(join(dataDir, 'secrets.db'), systemClock);
  await database.write((sql) => {
    sql.run('UPDATE version SET wrapped_key = ? WHERE version_id = ?', randomBytes(60), changed);
    sql.run("UPDATE secret SET revision = 9 WHERE secret_id = 'other'");
  });
  database.close();
  const { damaged, dataKeys } = await rekeyStore({ dataDir });
  expect({ damaged, dataKeys }).toEqual({
    dataKeys: 1,
    damaged: [
      'the labels of the secret "other"',
      `the version ${changed} of the secret "${SECRET}"`,
    ],
  });
  expect((await store.read(SECRET, { versionId: sound })).value).toBe('sound');
  for (const call of [store.read(SECRET, { versionId: changed }), store.describe('other')]) {
    await expect(call).rejects.toMatchObject({ code: 'STORE_TAMPERED' });
  }
  expect((await checkOpenStore({ dataDir })).damaged).toHaveLength(2);
  await store.close();
});

describe('a master key that a key management service wraps', () => {
  test('is made for a new store, is in no file, and opens by the service alone', async () => {
    const dataDir = await newFolder();
    const wrapping = new MemoryWrapping(['kms-a']);
    const store = await openEmbeddedStore({ dataDir, wrapping });
    const versionId = await write(store, 'kept');
    await store.close();
    expect(existsSync(join(dataDir, 'master.key'))).toBe(false);
    const again = await openEmbeddedStore({ dataDir, wrapping });
    expect((await again.read(SECRET, { versionId })).value).toBe('kept');
    await again.read(SECRET, { versionId });
    // Made once, unwrapped once by each process.
    expect(wrapping.calls).toBe(3);
    await again.close();
    for (const masterKey of [undefined, first]) {
      const options = { dataDir, ...(masterKey && { masterKey }) };
      await expect(openEmbeddedStore(options)).rejects.toMatchObject({ code: 'STORE_KEY_WRONG' });
    }
    await expect(openEmbeddedStore({ dataDir, masterKey: first })).rejects.toThrow(
      /wrapped by the KMS key kms-a: set BROKER_MASTER_KEY_KMS_ID/,
    );
    const other = new MemoryWrapping(['kms-b'], wrapping);
    await expect(openEmbeddedStore({ dataDir, wrapping: other })).rejects.toThrow('another key');
  });

  test('key file to KMS, to another KMS key, to a key file: running stores follow each time', async () => {
    const dataDir = await newFolder();
    const file = join(dataDir, 'master.key');
    const plain = await openEmbeddedStore({ dataDir });
    const versionId = await write(plain, 'kept');
    const a = new MemoryWrapping(['kms-a', 'kms-b']);
    const b = new MemoryWrapping(['kms-b', 'kms-a'], a);
    const running = await openEmbeddedStore({ dataDir, wrapping: a });
    expect(a.calls).toBe(0);
    expect(await readKeyStatus({ dataDir, wrapping: a })).toMatchObject({ nextKey: 'kms' });
    const expectKept = async (...stores: readonly SecretStore[]): Promise<void> => {
      for (const store of stores) {
        expect((await store.read(SECRET, { versionId })).value).toBe('kept');
      }
      expect((await checkOpenStore({ dataDir, wrapping: a })).damaged).toEqual([]);
    };

    const toKms = await rekeyStore({ dataDir, wrapping: a });
    expect(toKms).toMatchObject({ keptBy: 'kms', kmsKeyId: 'kms-a', oldKeyIds: [] });
    expect(toKms.removedKeyIds).toEqual([toKms.previousKeyId]);
    expect(existsSync(file)).toBe(false);
    await expectKept(running);
    await expect(plain.read(SECRET, { versionId })).rejects.toThrow(/BROKER_MASTER_KEY_KMS_ID/);

    const toOther = await rekeyStore({ dataDir, wrapping: b });
    expect(toOther).toMatchObject({ kmsKeyId: 'kms-b', previousKeyId: toKms.keyId });
    await expectKept(running);
    const onlyA = new MemoryWrapping(['kms-a'], a);
    await expect(openEmbeddedStore({ dataDir, wrapping: onlyA })).rejects.toThrow('another key');

    const toFile = await rekeyStore({ dataDir, wrapping: b, leavesKms: true });
    expect(toFile).toMatchObject({ keptBy: 'key file', previousKeyId: toOther.keyId });
    await expectKept(running);
    const withoutKms = await openEmbeddedStore({ dataDir });
    await expectKept(withoutKms);
    // Schema 1 again, which older releases read.
    const database = new Database(join(dataDir, 'secrets.db'), systemClock);
    expect(database.rows('PRAGMA user_version')).toEqual([{ user_version: 1 }]);
    database.close();
    for (const store of [plain, running, withoutKms]) await store.close();
  });

  test('KMS to the environment and back, both given meanwhile', async () => {
    const dataDir = await newFolder();
    const wrapping = new MemoryWrapping(['kms-a']);
    const store = await openEmbeddedStore({ dataDir, wrapping, masterKey: first });
    const versionId = await write(store, 'kept');
    const both = { dataDir, wrapping, masterKeys: [first] } as const;
    expect(await rekeyStore({ ...both, leavesKms: true })).toMatchObject({ keptBy: 'environment' });
    expect(await rekeyStore({ ...both, leavesKms: true })).toMatchObject({ result: 'finished' });
    const plain = await openEmbeddedStore({ dataDir, masterKey: first });
    expect(await rekeyStore(both)).toMatchObject({
      keptBy: 'kms',
      oldKeyIds: [expect.any(String)],
    });
    expect((await store.read(SECRET, { versionId })).value).toBe('kept');
    for (const one of [store, plain]) await one.close();
  });

  test('while the service is down nothing is changed, and a running store is not asked for it', async () => {
    const dataDir = await newFolder();
    const clock = new VirtualClock();
    const wrapping = new MemoryWrapping(['kms-a']);
    wrapping.isDown = true;
    const down = { code: 'STORE_UNAVAILABLE', kind: 'retry' };
    await expect(openEmbeddedStore({ dataDir, wrapping })).rejects.toMatchObject(down);
    expect(existsSync(join(dataDir, 'secrets.db'))).toBe(false);
    wrapping.isDown = false;
    const store = await openEmbeddedStore({ dataDir, wrapping, clock });
    const versionId = await write(store, 'kept');
    wrapping.isDown = true;
    expect((await store.read(SECRET, { versionId })).value).toBe('kept');
    await expect(rekeyStore({ dataDir, wrapping })).rejects.toMatchObject(down);
    wrapping.isDown = false;
    await rekeyStore({ dataDir, wrapping });
    wrapping.isDown = true;
    const read = (): Promise<unknown> => store.read(SECRET, { versionId });
    await expect(read()).rejects.toMatchObject(down);
    const { calls } = wrapping;
    await expect(read()).rejects.toMatchObject(down);
    expect(wrapping.calls).toBe(calls);
    wrapping.isDown = false;
    clock.advance(5_000);
    expect(await read()).toMatchObject({ value: 'kept' });
    await store.close();
  });

  test('that somebody exchanged in the file is refused', async () => {
    const dataDir = await newFolder();
    const wrapping = new MemoryWrapping(['kms-a']);
    await (await openEmbeddedStore({ dataDir, wrapping })).close();
    const database = new Database(join(dataDir, 'secrets.db'), systemClock);
    const [row] = database.rows('SELECT store_id FROM store');
    const forged = await wrapping.generate(row?.['store_id'] as Buffer);
    database.run('UPDATE wrapped_master_key SET wrapped = ?', Buffer.from(forged.wrapped));
    await expect(openEmbeddedStore({ dataDir, wrapping })).rejects.toMatchObject({
      code: 'STORE_TAMPERED',
    });
    database.run('DELETE FROM wrapped_master_key');
    await expect(openEmbeddedStore({ dataDir, wrapping })).rejects.toMatchObject({
      code: 'STORE_TAMPERED',
      message: expect.stringContaining('lost its wrapped master key'),
    });
    database.close();
  });
});
