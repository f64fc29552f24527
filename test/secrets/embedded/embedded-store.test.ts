import { describe, expect, test } from '@jest/globals';
import { randomBytes, randomUUID } from 'node:crypto';
import { Database } from '../../../src/secrets/embedded/database.js';
import { EmbeddedSecretStore } from '../../../src/secrets/embedded/embedded-store.js';
import { Envelope } from '../../../src/secrets/embedded/envelope.js';
import {
  openEmbeddedStore,
  createSchema,
} from '../../../src/secrets/embedded/open-embedded-store.js';
import type { SecretStore } from '../../../src/secrets/secret-store.js';
import { temporaryFolders } from '../../support/temporary-folder.js';
import { VirtualClock } from '../../support/virtual-clock.js';
import { join } from 'node:path';

const newFolder = temporaryFolders('embedded-store');
const SECRET = 'service-token';
const DAY = 24 * 60 * 60 * 1000;

async function newStore(): Promise<{ store: SecretStore; clock: VirtualClock }> {
  const clock = new VirtualClock();
  const store = await openEmbeddedStore({ dataDir: await newFolder(), clock });
  await store.create(SECRET, 'for the test');
  return { store, clock };
}

async function existing(store: SecretStore, versionIds: readonly string[]): Promise<boolean[]> {
  return Promise.all(
    versionIds.map((versionId) =>
      store.read(SECRET, { versionId }).then(
        () => true,
        () => false,
      ),
    ),
  );
}

describe('what the embedded store promises beyond the contract', () => {
  test('the first version is current only once it is promoted', async () => {
    const { store } = await newStore();
    const versionId = randomUUID();
    await store.putPending(SECRET, versionId, 'value');
    await expect(store.read(SECRET)).rejects.toMatchObject({
      code: 'VERSION_NOT_FOUND',
      // It may be the credentials secret, which no rotation writes.
      message: expect.stringContaining('"credentials set" the credentials secret'),
    });
    await store.promote(SECRET, versionId, undefined);
    expect((await store.read(SECRET)).labels).toEqual(['AWSCURRENT']);
    await store.close();
  });

  test('a version carries the time of the clock it was written by', async () => {
    const { store, clock } = await newStore();
    const versionId = randomUUID();
    const writtenAt = clock.now();
    await store.putPending(SECRET, versionId, 'value');
    clock.advance(DAY);
    expect((await store.read(SECRET, { versionId })).createdAt).toBe(writtenAt);
    await store.close();
  });

  test('versions live on when the store is closed and opened again', async () => {
    const dataDir = await newFolder();
    const versionId = randomUUID();
    const first = await openEmbeddedStore({ dataDir });
    await first.create(SECRET, 'for the test');
    await first.putPending(SECRET, versionId, 'value');
    await first.promote(SECRET, versionId, undefined);
    await first.close();
    const second = await openEmbeddedStore({ dataDir });
    expect(await second.read(SECRET)).toMatchObject({ versionId, value: 'value' });
    await second.close();
  });

  test('a store that was closed refuses every call, with an error of ours', async () => {
    const { store } = await newStore();
    await store.close();
    await store.close();
    const versionId = randomUUID();
    const calls = [
      store.read(SECRET),
      store.describe(SECRET),
      store.create('another', 'x'),
      store.putPending(SECRET, versionId, 'value'),
      store.putClaim(SECRET, versionId, 'value'),
      store.promote(SECRET, versionId, undefined),
      store.clearPending(SECRET, versionId),
      store.releaseClaim(SECRET, versionId),
    ];
    for (const call of calls) {
      await expect(call).rejects.toMatchObject({
        name: 'SecretStoreError',
        code: 'STORE_REQUEST_INVALID',
      });
    }
  });

  test('an id that Secrets Manager would not take is refused when it is created', async () => {
    const { store } = await newStore();
    await expect(store.create('with space', 'x')).rejects.toMatchObject({
      code: 'STORE_REQUEST_INVALID',
    });
    await store.close();
  });
});

describe('versions without a label', () => {
  test('are trimmed above a hundred and after a day; labelled ones stay', async () => {
    const { store, clock } = await newStore();
    const first = randomUUID();
    await store.putPending(SECRET, first, 'current ever after');
    await store.promote(SECRET, first, undefined);
    const superseded: string[] = [];
    for (let index = 0; index < 110; index += 1) {
      const versionId = randomUUID();
      superseded.push(versionId);
      await store.putPending(SECRET, versionId, `value ${index}`);
      clock.advance(1000);
    }
    expect(await existing(store, superseded)).toEqual(superseded.map(() => true));

    clock.advance(DAY);
    await store.putPending(SECRET, randomUUID(), 'one more');
    // 112 versions were there; the twelve oldest without a label are gone.
    const after = await existing(store, superseded);
    expect(after).toEqual(superseded.map((_, index) => index >= 12));
    expect((await store.read(SECRET)).value).toBe('current ever after');
    await store.close();
  });
});

test('a full disk: the write fails as a whole, reading goes on, and writing once there is room', async () => {
  const clock = new VirtualClock();
  const database = new Database(join(await newFolder(), 'secrets.db'), clock);
  const storeId = randomBytes(16);
  const envelope = new Envelope(randomBytes(32), storeId);
  database.rows('PRAGMA journal_mode = WAL');
  await database.write((sql) => {
    createSchema(sql, { storeId, keyCheck: envelope.keyCheck });
  });
  const store = new EmbeddedSecretStore(database, envelope, clock);
  await store.create(SECRET, 'for the test');
  const [kept, refused] = [randomUUID(), randomUUID()];
  await store.putPending(SECRET, kept, 'kept');
  await store.promote(SECRET, kept, undefined);

  database.rows('PRAGMA max_page_count = 12');
  const write = (): Promise<void> => store.putPending(SECRET, refused, 'x'.repeat(60_000));
  await expect(write()).rejects.toMatchObject({ code: 'STORE_FULL', kind: 'retry' });
  expect((await store.read(SECRET)).value).toBe('kept');
  expect((await store.describe(SECRET)).labels).toEqual(new Map([[kept, ['AWSCURRENT']]]));

  database.rows('PRAGMA max_page_count = 100000');
  await write();
  expect((await store.read(SECRET, { label: 'AWSPENDING' })).versionId).toBe(refused);
  await store.close();
});
