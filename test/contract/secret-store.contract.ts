import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { randomUUID } from 'node:crypto';
import { inspect } from 'node:util';
import {
  CLAIM_LABEL,
  SecretStoreError,
  versionWithLabel,
  type SecretStore,
} from '../../src/secrets/secret-store.js';

/** Where a server that stands in for Secrets Manager is known to be laxer than the real one. */
export type ContractDeviation =
  /** moto: the value of a version that is AWSPENDING can be replaced. */
  | 'pending-value-replaceable'
  /** moto: a secret without a rotation function can be rotated; the version is registered, and nobody fills it. */
  | 'rotates-without-function';

/** How the suite gets its stores. */
export interface SecretStoreContract {
  /** Opens a store. All stores of one run share their secrets, as replicas of the broker do. */
  open(): Promise<SecretStore>;
  /** Puts AWSPENDING on a version id that has no value, as RotateSecret does; tested when given. */
  readonly registerPending?: (secretId: string, versionId: string) => Promise<void>;
  /** Makes the store rotate the secret by itself from now on, with a function that never fills the version. */
  readonly rotateByItself?: (secretId: string) => Promise<void>;
  /** Known gaps of the server, not of the adapter. Default: none. */
  readonly deviations?: readonly ContractDeviation[];
}

/**
 * The whole contract of the `SecretStore` port, and nothing that only one adapter promises. Not asserted, because
 * Secrets Manager leaves it open: whether the first version of a secret becomes AWSCURRENT by itself, whether AWSPENDING
 * stays on a promoted version, how long a version without a label lives.
 */
export function describeSecretStoreContract(name: string, contract: SecretStoreContract): void {
  describe(`the SecretStore contract: ${name}`, () => {
    let store: SecretStore;
    const opened: SecretStore[] = [];
    const open = async (): Promise<SecretStore> => {
      const one = await contract.open();
      opened.push(one);
      return one;
    };

    beforeAll(async () => {
      store = await open();
    });
    afterAll(async () => {
      for (const one of opened) await one.close();
    });

    const newSecret = async (): Promise<string> => {
      const secretId = `contract/${randomUUID()}`;
      await store.create(secretId, 'made by the contract suite');
      return secretId;
    };
    const currentOf = async (secretId: string): Promise<string | undefined> =>
      versionWithLabel(await store.describe(secretId), 'AWSCURRENT');
    /** Puts a version and makes it current, whether or not the store has done so by itself. */
    const rotate = async (secretId: string, value: string): Promise<string> => {
      const versionId = randomUUID();
      await store.putPending(secretId, versionId, value);
      const current = await currentOf(secretId);
      if (current !== versionId) await store.promote(secretId, versionId, current);
      return versionId;
    };
    const unlessDeviating = (deviation: ContractDeviation): typeof test | typeof test.skip =>
      contract.deviations?.includes(deviation) === true ? test.skip : test;

    describe('a secret', () => {
      test('is not found before it is created, by any method', async () => {
        const unknown = `contract/${randomUUID()}`;
        const versionId = randomUUID();
        const code = 'SECRET_NOT_FOUND';
        await expectError(store.read(unknown), code);
        await expectError(store.read(unknown, { label: 'AWSPENDING' }), code);
        await expectError(store.read(unknown, { versionId }), code);
        await expectError(store.describe(unknown), code);
        await expectError(store.putPending(unknown, versionId, 'value'), code);
        await expectError(store.putClaim(unknown, versionId, 'value'), code);
        await expectError(store.promote(unknown, versionId, undefined), code);
        await expectError(store.clearPending(unknown, versionId), code);
        await expectError(store.releaseClaim(unknown, versionId), code);
        await expectError(store.requestRotation(unknown, versionId), code);
      });

      test('is empty when created: it has no labels, and every read says that there is no version', async () => {
        const secretId = await newSecret();
        const description = await store.describe(secretId);
        expect(description.labels.size).toBe(0);
        expect(description.rotationEnabled).toBe(false);
        expect(description.readOnlyReplica).toBe(false);
        await expectError(store.read(secretId), 'VERSION_NOT_FOUND');
        await expectError(store.read(secretId, { label: 'AWSPENDING' }), 'VERSION_NOT_FOUND');
        await expectError(store.read(secretId, { versionId: randomUUID() }), 'VERSION_NOT_FOUND');
      });

      test('keeps its versions when it is created again', async () => {
        const secretId = await newSecret();
        const versionId = await rotate(secretId, 'kept');
        await store.create(secretId, 'another description');
        expect(await store.read(secretId)).toMatchObject({ versionId, value: 'kept' });
      });

      test('is created once when several replicas create it at the same time', async () => {
        const secretId = `contract/${randomUUID()}`;
        const replicas = await Promise.all([open(), open(), open()]);
        await Promise.all(replicas.map((replica) => replica.create(secretId, 'raced')));
        expect((await store.describe(secretId)).labels.size).toBe(0);
      });

      test('has versions of its own: the same version id in two secrets is two versions', async () => {
        const [one, other] = [await newSecret(), await newSecret()];
        const versionId = randomUUID();
        await store.putPending(one, versionId, 'of one');
        await store.putPending(other, versionId, 'of the other');
        expect((await store.read(one, { versionId })).value).toBe('of one');
        expect((await store.read(other, { versionId })).value).toBe('of the other');
      });
    });

    describe('read', () => {
      test('finds a version by label, by id, by both, and AWSCURRENT without a selector', async () => {
        const secretId = await newSecret();
        const current = await rotate(secretId, 'current');
        const pending = randomUUID();
        await store.putPending(secretId, pending, 'pending');
        expect(await store.read(secretId)).toMatchObject({ versionId: current, value: 'current' });
        expect(await store.read(secretId, { label: 'AWSCURRENT' })).toMatchObject({
          versionId: current,
        });
        expect(await store.read(secretId, { label: 'AWSPENDING' })).toMatchObject({
          versionId: pending,
          value: 'pending',
        });
        const byId = await store.read(secretId, { versionId: pending });
        expect(byId).toMatchObject({ versionId: pending, value: 'pending' });
        expect(byId.labels).toContain('AWSPENDING');
        expect(
          await store.read(secretId, { versionId: pending, label: 'AWSPENDING' }),
        ).toMatchObject({ versionId: pending, value: 'pending' });
      });

      test('finds nothing when id and label name different versions', async () => {
        const secretId = await newSecret();
        const current = await rotate(secretId, 'current');
        const pending = randomUUID();
        await store.putPending(secretId, pending, 'pending');
        const mismatches = [
          { versionId: pending, label: 'AWSCURRENT' },
          { versionId: current, label: 'AWSPREVIOUS' },
          { versionId: randomUUID(), label: 'AWSCURRENT' },
        ] as const;
        for (const selector of mismatches) {
          await expectError(store.read(secretId, selector), 'VERSION_NOT_FOUND');
        }
      });

      test('tells when a version was created, in milliseconds', async () => {
        const secretId = await newSecret();
        const versionId = await rotate(secretId, 'value');
        const { createdAt } = await store.read(secretId, { versionId });
        expect(Number.isFinite(createdAt)).toBe(true);
        // After 2001 in milliseconds; a time in seconds would be far below.
        expect(createdAt).toBeGreaterThan(1_000_000_000_000);
      });

      test('sees what another replica wrote', async () => {
        const secretId = await newSecret();
        const versionId = await rotate(secretId, 'first');
        const replica = await open();
        expect(await replica.read(secretId)).toMatchObject({ versionId, value: 'first' });
        const next = await rotate(secretId, 'second');
        expect(await replica.read(secretId)).toMatchObject({ versionId: next, value: 'second' });
      });
    });

    describe('putPending', () => {
      test('moves AWSPENDING, which is on one version only, and leaves AWSCURRENT alone', async () => {
        const secretId = await newSecret();
        const current = await rotate(secretId, 'current');
        const [first, second] = [randomUUID(), randomUUID()];
        await store.putPending(secretId, first, 'first');
        await store.putPending(secretId, second, 'second');
        const { labels } = await store.describe(secretId);
        expect(holders(labels, 'AWSPENDING')).toEqual([second]);
        expect(holders(labels, 'AWSCURRENT')).toEqual([current]);
        expect((await store.read(secretId)).value).toBe('current');
      });

      test('succeeds again with the same id and value, and changes nothing', async () => {
        const secretId = await newSecret();
        await rotate(secretId, 'current');
        const versionId = randomUUID();
        await store.putPending(secretId, versionId, 'same');
        const before = await store.describe(secretId);
        await store.putPending(secretId, versionId, 'same');
        expect(sortedLabels(await store.describe(secretId))).toEqual(sortedLabels(before));
        expect((await store.read(secretId, { versionId })).value).toBe('same');
      });

      unlessDeviating('pending-value-replaceable')(
        'refuses another value for a version that is pending',
        async () => {
          const secretId = await newSecret();
          const versionId = randomUUID();
          await store.putPending(secretId, versionId, 'mine');
          await expectError(store.putPending(secretId, versionId, 'other'), 'VERSION_CONFLICT');
          expect((await store.read(secretId, { versionId })).value).toBe('mine');
        },
      );

      test('refuses another value for a version that was pending before', async () => {
        const secretId = await newSecret();
        await rotate(secretId, 'current');
        const versionId = randomUUID();
        await store.putPending(secretId, versionId, 'mine');
        await store.putPending(secretId, randomUUID(), 'superseding');
        await expectError(store.putPending(secretId, versionId, 'other'), 'VERSION_CONFLICT');
        expect((await store.read(secretId, { versionId })).value).toBe('mine');
      });

      test('shows neither value when it refuses', async () => {
        const secretId = await newSecret();
        const versionId = randomUUID();
        await store.putClaim(secretId, versionId, 'canary-kept');
        const error = await expectError(
          store.putPending(secretId, versionId, 'canary-refused'),
          'VERSION_CONFLICT',
        );
        expect(inspect(error, { depth: 20, showHidden: true })).not.toContain('canary');
      });

      test('takes version ids of 32 to 64 characters and no others', async () => {
        const secretId = await newSecret();
        for (const length of [32, 64]) {
          await store.putPending(secretId, newVersionId(length), 'value');
        }
        for (const length of [0, 31, 65]) {
          const versionId = newVersionId(length);
          const refused = 'STORE_REQUEST_INVALID';
          await expectError(store.putPending(secretId, versionId, 'value'), refused);
          await expectError(store.putClaim(secretId, versionId, 'value'), refused);
        }
      });
    });

    describe('values', () => {
      test.each([
        ['65,536 bytes', 'x'.repeat(65_536)],
        ['65,536 bytes of three each, and one', `${'\u20ac'.repeat(21_845)}x`],
        ['all of Unicode', 'Grüße, Ελλάδα, 日本語, 👩🏽‍🚀, e\u0301, \u202e, \ufeff, \u0001, \uffff'],
        ['line ends and spaces', ' \r\n\t{ "a":\n1 }\r '],
        ['unknown keys, their order and numbers', '{"z":1,"a":{"k":[1.0,1e400]},"z2":null}'],
      ])('come back as they were written: %s', async (_, value) => {
        const secretId = await newSecret();
        const versionId = randomUUID();
        await store.putPending(secretId, versionId, value);
        // Not toBe on the values: a difference would print 64 KiB.
        const { value: read } = await store.read(secretId, { versionId });
        expect(read.length).toBe(value.length);
        expect(read === value).toBe(true);
      });

      test.each([
        ['65,537 bytes', 'x'.repeat(65_537)],
        ['few characters and too many bytes', '\u20ac'.repeat(21_846)],
        ['empty', ''],
        ['half of a surrogate pair', 'a\ud83d'],
      ])('are refused: %s', async (_, value) => {
        const secretId = await newSecret();
        const versionId = randomUUID();
        await expectError(store.putPending(secretId, versionId, value), 'VALUE_INVALID');
        await expectError(store.putClaim(secretId, versionId, value), 'VALUE_INVALID');
        await expectError(store.read(secretId, { versionId }), 'VERSION_NOT_FOUND');
      });
    });

    describe('putClaim', () => {
      test('lets exactly one of many win, on a secret with a value', async () => {
        const secretId = await newSecret();
        const current = await rotate(secretId, 'current');
        const pending = randomUUID();
        await store.putPending(secretId, pending, 'pending');
        const replicas = await Promise.all(Array.from({ length: 6 }, open));
        const versionId = randomUUID();
        const results = await Promise.allSettled(
          replicas.map((replica, index) => replica.putClaim(secretId, versionId, `by ${index}`)),
        );
        const winner = onlyWinner(results, 'VERSION_CONFLICT');
        const claim = await store.read(secretId, { versionId });
        expect(claim.value).toBe(`by ${winner}`);
        expect(claim.labels).toEqual([CLAIM_LABEL]);
        const { labels } = await store.describe(secretId);
        expect(holders(labels, 'AWSCURRENT')).toEqual([current]);
        expect(holders(labels, 'AWSPENDING')).toEqual([pending]);
      });

      test('lets exactly one of many win, on an empty secret', async () => {
        const secretId = await newSecret();
        const replicas = await Promise.all(Array.from({ length: 4 }, open));
        const versionId = randomUUID();
        const results = await Promise.allSettled(
          replicas.map((replica, index) => replica.putClaim(secretId, versionId, `by ${index}`)),
        );
        const winner = onlyWinner(results, 'VERSION_CONFLICT');
        expect((await store.read(secretId, { versionId })).value).toBe(`by ${winner}`);
        expect(holders((await store.describe(secretId)).labels, 'AWSPENDING')).toEqual([]);
      });

      test('succeeds again for the one who has it', async () => {
        const secretId = await newSecret();
        const versionId = randomUUID();
        await store.putClaim(secretId, versionId, 'mine');
        await store.putClaim(secretId, versionId, 'mine');
        await expectError(store.putClaim(secretId, versionId, 'other'), 'VERSION_CONFLICT');
        expect((await store.read(secretId, { versionId })).value).toBe('mine');
      });

      test('moves its label to the latest claim', async () => {
        const secretId = await newSecret();
        await rotate(secretId, 'current');
        const [first, second] = [randomUUID(), randomUUID()];
        await store.putClaim(secretId, first, 'one');
        await store.putClaim(secretId, second, 'two');
        expect(holders((await store.describe(secretId)).labels, CLAIM_LABEL)).toEqual([second]);
      });
    });

    describe('promote', () => {
      test('moves AWSCURRENT, and puts AWSPREVIOUS on the version that had it', async () => {
        const secretId = await newSecret();
        const first = await rotate(secretId, 'first');
        const second = await rotate(secretId, 'second');
        const third = await rotate(secretId, 'third');
        const { labels } = await store.describe(secretId);
        expect(holders(labels, 'AWSCURRENT')).toEqual([third]);
        expect(holders(labels, 'AWSPREVIOUS')).toEqual([second]);
        expect((await store.read(secretId)).value).toBe('third');
        expect((await store.read(secretId, { label: 'AWSPREVIOUS' })).value).toBe('second');
        expect(labels.get(first) ?? []).not.toContain('AWSPREVIOUS');
      });

      test('goes back to the previous version', async () => {
        const secretId = await newSecret();
        const first = await rotate(secretId, 'first');
        const second = await rotate(secretId, 'second');
        await store.promote(secretId, first, second);
        const { labels } = await store.describe(secretId);
        expect(holders(labels, 'AWSCURRENT')).toEqual([first]);
        expect(holders(labels, 'AWSPREVIOUS')).toEqual([second]);
        expect((await store.read(secretId)).value).toBe('first');
      });

      test('refuses when another version is current than was expected, and changes nothing', async () => {
        const secretId = await newSecret();
        const first = await rotate(secretId, 'first');
        const second = await rotate(secretId, 'second');
        const pending = randomUUID();
        await store.putPending(secretId, pending, 'pending');
        const before = sortedLabels(await store.describe(secretId));
        for (const expected of [first, pending, randomUUID(), undefined]) {
          await expectError(store.promote(secretId, pending, expected), 'PROMOTE_CONFLICT');
        }
        expect(sortedLabels(await store.describe(secretId))).toEqual(before);
        expect(await store.read(secretId)).toMatchObject({ versionId: second, value: 'second' });
      });

      test('refuses a version that does not exist, and changes nothing', async () => {
        const secretId = await newSecret();
        const current = await rotate(secretId, 'current');
        const before = sortedLabels(await store.describe(secretId));
        await expectError(store.promote(secretId, randomUUID(), current), 'VERSION_NOT_FOUND');
        expect(sortedLabels(await store.describe(secretId))).toEqual(before);
        expect((await store.read(secretId)).value).toBe('current');
      });

      test('succeeds and changes nothing for the version that is current', async () => {
        const secretId = await newSecret();
        const first = await rotate(secretId, 'first');
        const second = await rotate(secretId, 'second');
        await store.promote(secretId, second, second);
        const { labels } = await store.describe(secretId);
        expect(holders(labels, 'AWSCURRENT')).toEqual([second]);
        expect(holders(labels, 'AWSPREVIOUS')).toEqual([first]);
      });

      test('lets exactly one of two win that expect the same', async () => {
        const secretId = await newSecret();
        const current = await rotate(secretId, 'current');
        const candidates = [randomUUID(), randomUUID()];
        for (const candidate of candidates) await store.putPending(secretId, candidate, candidate);
        const replicas = await Promise.all([open(), open()]);
        const results = await Promise.allSettled(
          replicas.map((replica, index) =>
            replica.promote(secretId, candidates[index] ?? '', current),
          ),
        );
        const winner = candidates[onlyWinner(results, 'PROMOTE_CONFLICT')];
        const { labels } = await store.describe(secretId);
        expect(holders(labels, 'AWSCURRENT')).toEqual([winner]);
        expect(holders(labels, 'AWSPREVIOUS')).toEqual([current]);
        expect((await store.read(secretId)).versionId).toBe(winner);
      });

      test('succeeds for all when several replicas promote the same version', async () => {
        const secretId = await newSecret();
        const current = await rotate(secretId, 'current');
        const next = randomUUID();
        await store.putPending(secretId, next, 'next');
        const replicas = await Promise.all([open(), open(), open()]);
        // The late ones expect what is no longer so; what counts is that the version is current then.
        const results = await Promise.allSettled(
          replicas.map((replica) => replica.promote(secretId, next, current)),
        );
        expect(results.some((result) => result.status === 'fulfilled')).toBe(true);
        for (const result of results) {
          if (result.status === 'rejected') expect(codeOf(result.reason)).toBe('PROMOTE_CONFLICT');
        }
        const { labels } = await store.describe(secretId);
        expect(holders(labels, 'AWSCURRENT')).toEqual([next]);
        expect(holders(labels, 'AWSPREVIOUS')).toEqual([current]);
      });
    });

    describe('clearPending', () => {
      test('takes AWSPENDING off, so that the next rotation starts clean', async () => {
        const secretId = await newSecret();
        const current = await rotate(secretId, 'current');
        const stuck = randomUUID();
        await store.putPending(secretId, stuck, 'stuck');
        await store.clearPending(secretId, stuck);
        expect(holders((await store.describe(secretId)).labels, 'AWSPENDING')).toEqual([]);
        await expectError(store.read(secretId, { label: 'AWSPENDING' }), 'VERSION_NOT_FOUND');
        expect((await store.read(secretId)).versionId).toBe(current);
        const next = randomUUID();
        await store.putPending(secretId, next, 'next');
        expect(holders((await store.describe(secretId)).labels, 'AWSPENDING')).toEqual([next]);
      });

      test('does nothing for a version that is not pending, was superseded, or does not exist', async () => {
        const secretId = await newSecret();
        const current = await rotate(secretId, 'current');
        const [superseded, pending] = [randomUUID(), randomUUID()];
        await store.putPending(secretId, superseded, 'superseded');
        await store.putPending(secretId, pending, 'pending');
        const before = sortedLabels(await store.describe(secretId));
        for (const versionId of [current, superseded, randomUUID()]) {
          await store.clearPending(secretId, versionId);
        }
        expect(sortedLabels(await store.describe(secretId))).toEqual(before);
      });

      test('does nothing the second time', async () => {
        const secretId = await newSecret();
        await rotate(secretId, 'current');
        const versionId = randomUUID();
        await store.putPending(secretId, versionId, 'pending');
        await store.clearPending(secretId, versionId);
        await store.clearPending(secretId, versionId);
        expect(holders((await store.describe(secretId)).labels, 'AWSPENDING')).toEqual([]);
      });
    });

    describe('releaseClaim', () => {
      test('takes the label off the claim that has it, and off no other version', async () => {
        const secretId = await newSecret();
        const current = await rotate(secretId, 'current');
        const [first, second] = [randomUUID(), randomUUID()];
        await store.putClaim(secretId, first, 'one');
        await store.putClaim(secretId, second, 'two');
        for (const versionId of [current, first, randomUUID()]) {
          await store.releaseClaim(secretId, versionId);
        }
        expect(holders((await store.describe(secretId)).labels, CLAIM_LABEL)).toEqual([second]);
        await store.releaseClaim(secretId, second);
        await store.releaseClaim(secretId, second);
        expect(holders((await store.describe(secretId)).labels, CLAIM_LABEL)).toEqual([]);
        expect((await store.read(secretId)).versionId).toBe(current);
      });

      test('leaves the claim readable, without its label, and its id taken', async () => {
        const secretId = await newSecret();
        await rotate(secretId, 'current');
        const versionId = randomUUID();
        await store.putClaim(secretId, versionId, 'mine');
        expect((await store.read(secretId, { versionId })).labels).toEqual([CLAIM_LABEL]);
        await store.releaseClaim(secretId, versionId);
        expect(await store.read(secretId, { versionId })).toMatchObject({
          value: 'mine',
          labels: [],
        });
        await expectError(store.putClaim(secretId, versionId, 'other'), 'VERSION_CONFLICT');
      });
    });

    describe('requestRotation', () => {
      unlessDeviating('rotates-without-function')(
        'is refused for a secret that the store does not rotate, and changes nothing',
        async () => {
          const secretId = await newSecret();
          await rotate(secretId, 'current');
          const before = sortedLabels(await store.describe(secretId));
          await expectError(
            store.requestRotation(secretId, randomUUID()),
            'STORE_ROTATION_UNSUPPORTED',
          );
          expect(sortedLabels(await store.describe(secretId))).toEqual(before);
        },
      );
    });

    if (contract.rotateByItself) describeOwnRotation(contract.rotateByItself, open, rotate);
    if (contract.registerPending) describeRegistered(contract.registerPending, open, rotate);
  });
}

/** A secret that the store rotates by itself. */
function describeOwnRotation(
  rotateByItself: (secretId: string) => Promise<void>,
  open: () => Promise<SecretStore>,
  rotate: (secretId: string, value: string) => Promise<string>,
): void {
  describe('requestRotation, for a secret that the store rotates', () => {
    test('registers the version, and takes no other request until it is done or given up', async () => {
      const store = await open();
      const secretId = `contract/${randomUUID()}`;
      await store.create(secretId, 'made by the contract suite');
      const current = await rotate(secretId, 'current');
      await store.clearPending(secretId, current);
      await rotateByItself(secretId);
      expect((await store.describe(secretId)).rotationEnabled).toBe(true);
      const [first, second] = [randomUUID(), randomUUID()];
      await store.requestRotation(secretId, first);
      await expectError(store.requestRotation(secretId, second), 'STORE_ROTATION_PENDING');
      const { labels } = await store.describe(secretId);
      expect(holders(labels, 'AWSPENDING')).toEqual([first]);
      expect(holders(labels, 'AWSCURRENT')).toEqual([current]);
      await expectError(store.read(secretId, { versionId: first }), 'VERSION_NOT_FOUND');
      await store.clearPending(secretId, first);
      await store.requestRotation(secretId, second);
      expect(holders((await store.describe(secretId)).labels, 'AWSPENDING')).toEqual([second]);
    });
  });
}

/** A version id that the store has registered before its value exists. */
function describeRegistered(
  registerPending: (secretId: string, versionId: string) => Promise<void>,
  open: () => Promise<SecretStore>,
  rotate: (secretId: string, value: string) => Promise<string>,
): void {
  describe('a version that is registered as AWSPENDING before it has a value', () => {
    test('is listed, cannot be read, and takes its first value', async () => {
      const store = await open();
      const secretId = `contract/${randomUUID()}`;
      await store.create(secretId, 'made by the contract suite');
      await rotate(secretId, 'current');
      const versionId = randomUUID();
      await registerPending(secretId, versionId);
      expect(holders((await store.describe(secretId)).labels, 'AWSPENDING')).toEqual([versionId]);
      await expectError(store.read(secretId, { label: 'AWSPENDING' }), 'VERSION_NOT_FOUND');
      await expectError(store.read(secretId, { versionId }), 'VERSION_NOT_FOUND');
      await store.putPending(secretId, versionId, 'minted');
      expect(await store.read(secretId, { label: 'AWSPENDING' })).toMatchObject({
        versionId,
        value: 'minted',
      });
    });
  });
}

async function expectError(call: Promise<unknown>, code: string): Promise<SecretStoreError> {
  const outcome = await call.then(
    () => 'no error',
    (error: unknown) => error,
  );
  expect(codeOf(outcome)).toBe(code);
  return outcome as SecretStoreError;
}

function codeOf(error: unknown): string {
  return error instanceof SecretStoreError
    ? error.code
    : `not a SecretStoreError: ${inspect(error)}`;
}

/** The index of the only call that succeeded; every other one must have failed with `code`. */
function onlyWinner(results: readonly PromiseSettledResult<unknown>[], code: string): number {
  const codes = results.map((result) =>
    result.status === 'fulfilled' ? 'won' : codeOf(result.reason),
  );
  expect(codes.toSorted()).toEqual(['won', ...codes.slice(1).map(() => code)].toSorted());
  return codes.indexOf('won');
}

function holders(labels: ReadonlyMap<string, readonly string[]>, label: string): string[] {
  return [...labels].filter(([, held]) => held.includes(label)).map(([versionId]) => versionId);
}

function sortedLabels(description: {
  readonly labels: ReadonlyMap<string, readonly string[]>;
}): Record<string, string[]> {
  return Object.fromEntries(
    [...description.labels]
      .filter(([, labels]) => labels.length > 0)
      .map(([id, labels]) => [id, labels.toSorted()]),
  );
}

function newVersionId(length: number): string {
  return `${randomUUID()}${randomUUID()}`.slice(0, length);
}
