import { describe, expect, test } from '@jest/globals';
import { randomBytes, randomUUID } from 'node:crypto';
import { join } from 'node:path';
import { Database, retryDelay } from '../../../src/secrets/embedded/database.js';
import {
  EmbeddedSecretStore,
  KEPT_AGE,
  KEPT_VERSIONS,
  labelsByVersion,
  labelsOf,
  promoted,
  versionsToTrim,
  withLabel,
  withoutLabel,
  type TrimCandidate,
} from '../../../src/secrets/embedded/embedded-store.js';
import { Envelope } from '../../../src/secrets/embedded/envelope.js';
import { openEmbeddedStore } from '../../../src/secrets/embedded/open-embedded-store.js';
import { StoreKeys } from '../../../src/secrets/embedded/store-keys.js';
import { createSchema } from '../../../src/secrets/embedded/store-schema.js';
import type { SecretStore } from '../../../src/secrets/secret-store.js';
import { fc } from '../../support/properties.js';
import { temporaryFolders } from '../../support/temporary-folder.js';
import { VirtualClock } from '../../support/virtual-clock.js';

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
  const dataDir = await newFolder();
  const database = new Database(join(dataDir, 'secrets.db'), clock);
  const storeId = randomBytes(16);
  const masterKey = randomBytes(32);
  const envelope = new Envelope(masterKey, storeId);
  database.rows('PRAGMA journal_mode = WAL');
  await database.write((sql) => {
    createSchema(sql, { storeId, keyCheck: envelope.keyCheck });
  });
  const store = new EmbeddedSecretStore(
    database,
    new StoreKeys({ database, clock, dataDir, masterKeys: [masterKey] }),
    clock,
  );
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

describe('versionsToTrim', () => {
  const now = 1_750_000_000_000;
  const old = (versionId: string, labelled = false, ageBeyond = 1): TrimCandidate => ({
    versionId,
    createdAt: now - KEPT_AGE - ageBeyond,
    labelled,
  });
  const young = (count: number): TrimCandidate[] =>
    Array.from({ length: count }, (_, index) => ({
      versionId: `young ${index}`,
      createdAt: now,
      labelled: false,
    }));

  test('keeps everything up to the limit, however old', () => {
    expect(versionsToTrim([old('a'), ...young(KEPT_VERSIONS - 1)], now)).toEqual([]);
  });

  test('deletes the oldest first, and only as many as are too many', () => {
    const versions = [old('b', false, 2), old('c', false, 1), old('a', false, 3), ...young(99)];
    expect(versionsToTrim(versions, now)).toEqual(['a', 'b']);
  });

  test('deletes none that has a label, nor one of exactly a day or less', () => {
    expect(versionsToTrim([old('labelled', true), ...young(200)], now)).toEqual([]);
    expect(versionsToTrim([old('a day', false, 0), ...young(200)], now)).toEqual([]);
  });

  test('for any versions: deletes no labelled and no young one, and never below the limit', () => {
    const candidate = fc.record({
      versionId: fc.uuid(),
      createdAt: fc.integer({ min: now - 3 * KEPT_AGE, max: now + KEPT_AGE }),
      labelled: fc.boolean(),
    });
    fc.assert(
      fc.property(
        fc.uniqueArray(candidate, { maxLength: 160, selector: (one) => one.versionId }),
        (versions) => {
          const gone = new Set(versionsToTrim(versions, now));
          expect(gone.size).toBeLessThanOrEqual(Math.max(0, versions.length - KEPT_VERSIONS));
          for (const one of versions.filter(({ versionId }) => gone.has(versionId))) {
            expect(one.labelled).toBe(false);
            expect(now - one.createdAt).toBeGreaterThan(KEPT_AGE);
          }
        },
      ),
    );
  });
});

describe('labels', () => {
  const labels = new Map([
    ['AWSCURRENT', 'two'],
    ['AWSPENDING', 'three'],
    ['AWSPREVIOUS', 'one'],
  ]);

  test.each([
    ['the pending one', 'three', { AWSCURRENT: 'three', AWSPREVIOUS: 'two' }],
    ['the previous one', 'one', { AWSCURRENT: 'one', AWSPENDING: 'three', AWSPREVIOUS: 'two' }],
    ['one without a label', 'new', { AWSCURRENT: 'new', AWSPENDING: 'three', AWSPREVIOUS: 'two' }],
    ['the current one', 'two', Object.fromEntries(labels)],
  ])('promoting %s', (_, versionId, expected) => {
    expect(Object.fromEntries(promoted(labels, versionId))).toEqual(expected);
  });

  test('the first promotion makes nothing previous', () => {
    expect(Object.fromEntries(promoted(new Map([['AWSPENDING', 'one']]), 'one'))).toEqual({
      AWSCURRENT: 'one',
    });
  });

  test('a label moves, and is taken off only from its holder', () => {
    expect(withLabel(labels, 'AWSPENDING', 'four').get('AWSPENDING')).toBe('four');
    expect(withoutLabel(labels, 'AWSPENDING', 'three').has('AWSPENDING')).toBe(false);
    expect(withoutLabel(labels, 'AWSPENDING', 'two')).toBe(labels);
    expect(labels.get('AWSPENDING')).toBe('three');
  });

  test('are listed by version', () => {
    const both = withLabel(labels, 'AWSPENDING', 'two');
    expect(labelsOf(both, 'two')).toEqual(['AWSCURRENT', 'AWSPENDING']);
    expect(labelsOf(both, 'unknown')).toEqual([]);
    expect(labelsByVersion(both)).toEqual(
      new Map([
        ['two', ['AWSCURRENT', 'AWSPENDING']],
        ['one', ['AWSPREVIOUS']],
      ]),
    );
  });
});

describe('retryDelay', () => {
  test('is between 2.5 and 70 milliseconds, and about five seconds for all attempts together', () => {
    fc.assert(
      fc.property(fc.nat(1000), fc.double({ min: 0, max: 1, noNaN: true }), (attempt, random) => {
        const delay = retryDelay(attempt, random);
        expect(delay).toBeGreaterThanOrEqual(2.5);
        expect(delay).toBeLessThanOrEqual(70);
      }),
    );
    const total = Array.from({ length: 99 }, (_, index) => retryDelay(index + 1, 0.5));
    expect(total.reduce((sum, delay) => sum + delay, 0)).toBeGreaterThan(4500);
  });
});
