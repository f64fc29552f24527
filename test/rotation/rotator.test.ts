import { describe, expect, test } from '@jest/globals';
import { slotKey, versionIdOf } from '../../src/rotation/claim.js';
import { SecretStoreError, versionWithLabel } from '../../src/secrets/secret-store.js';
import { BrokerError } from '../../src/tokens/errors.js';
import { serializeServiceToken } from '../../src/tokens/service-token.js';
import { fc } from '../support/properties.js';
import { HOUR, keysDown, rejected, rotationFixture, SECRET, tokenOf } from './rotation-fixture.js';

const slotStart = Date.parse('2026-11-22T03:00:00.000Z');
const slot = { trigger: 'schedule', key: slotKey(slotStart), slotStart } as const;
const codeOf = (error: unknown): string => (error instanceof BrokerError ? error.code : 'other');
const bothFirstVersions = [true, false].map((firstVersionBecomesCurrent) => ({
  firstVersionBecomesCurrent,
}));

describe.each(bothFirstVersions)('an empty secret %j', (storeOptions) => {
  test('is given its first token', async () => {
    const { rotator, served, provider } = rotationFixture(storeOptions);
    expect(await rotator().rotate(slot)).toMatchObject({ result: 'rotated' });
    expect(await served()).toBe('token-1');
    expect(provider.verified).toContain('token-1');
  });

  test('is given its first token by hand', async () => {
    const { rotator, served, provider } = rotationFixture(storeOptions);
    await rotator().rotate({ trigger: 'cli' });
    expect(await served()).toBe('token-1');
    expect(provider.verified).toContain('token-1');
  });

  test.each([
    ['the schedule', slot, ['AWSPENDING']],
    ['people who share one rotation', { trigger: 'http' } as const, ['AWSPENDING']],
    ['one who forces it', { trigger: 'cli', force: true } as const, []],
    ['one who withdraws', { trigger: 'cli', revoke: true } as const, []],
  ])('keeps a token that is not valid yet for %s', async (_who, request, labels) => {
    const { rotator, store, provider, seedCurrent, served, clock } = rotationFixture(storeOptions);
    seedCurrent('old', clock.now() - 24 * HOUR);
    provider.verifyFailure = new BrokerError(
      'TOKEN_NOT_YET_VALID',
      'rejected',
      'Check the clocks.',
    );
    const one = rotator({ manualInterval: 60_000 });
    await expect(one.rotate(request)).rejects.toMatchObject({
      code: 'ROTATION_TOKEN_NOT_YET_VALID',
      kind: 'retry',
      message: expect.stringContaining('Check the clocks.'),
    });
    const pending = versionWithLabel(await store.describe(SECRET), 'AWSPENDING');
    expect(pending === undefined ? [] : ['AWSPENDING']).toEqual(labels);
    provider.verifyFailure = undefined;
    await rotator({ manualInterval: 60_000 }).rotate(request);
    expect(await served()).toBe(`token-${labels.length === 0 ? 2 : 1}`);
  });

  test('never serves a token that receivers would refuse', async () => {
    const { rotator, store, provider } = rotationFixture(storeOptions);
    provider.verifyFailure = rejected;
    await expect(rotator().rotate({ trigger: 'cli' })).rejects.toMatchObject({
      code: 'ROTATION_TOKEN_REJECTED',
    });
    await expect(rotator().rotate(slot)).rejects.toMatchObject({ code: 'ROTATION_TOKEN_REJECTED' });
    expect(await rotator().current()).toBeUndefined();
    expect(versionWithLabel(await store.describe(SECRET), 'AWSPENDING')).toBeUndefined();
    provider.verifyFailure = undefined;
    await rotator().rotate(slot);
    expect(await rotator().current()).toBeDefined();
  });
});

describe('one slot', () => {
  test('is rotated once, however often it is asked for', async () => {
    const { rotator, provider, seedCurrent, clock } = rotationFixture();
    seedCurrent('old', clock.now() - 24 * HOUR);
    const first = await rotator().rotate(slot);
    const again = await rotator().rotate(slot);
    expect(again).toEqual({ versionId: first.versionId, result: 'already-rotated' });
    expect(provider.mints).toBe(1);
  });

  test.each(bothFirstVersions)(
    'is minted once by eight replicas at the same time, and all succeed %j',
    async (storeOptions) => {
      const { rotator, provider, store, served } = rotationFixture(storeOptions);
      const results = await Promise.all(Array.from({ length: 8 }, () => rotator().rotate(slot)));
      expect(provider.mints).toBe(1);
      expect(new Set(results.map(({ versionId }) => versionId)).size).toBe(1);
      expect(await served()).toBe('token-1');
      expect(results.filter(({ result }) => result === 'rotated')).toHaveLength(1);
      const labels = [...(await store.describe(SECRET)).labels.values()].flat();
      expect(labels.filter((label) => label === 'AWSCURRENT')).toHaveLength(1);
    },
  );

  test('is satisfied by a token that somebody rotated by hand since it began', async () => {
    const { rotator, provider, seedCurrent, clock } = rotationFixture();
    const versionId = seedCurrent('by-hand', clock.now() - HOUR);
    expect(await rotator().rotate(slot)).toEqual({ versionId, result: 'already-rotated' });
    expect(provider.mints).toBe(0);
  });

  test('goes on after the replica that claimed it died while it minted', async () => {
    const { rotator, provider, store, clock, served } = rotationFixture();
    const dying = rotator({ mint: () => new Promise(() => undefined) });
    void dying.rotate(slot);
    await clock.sleep(1_000);
    const before = clock.now();
    expect(await rotator({ claimLease: 45_000 }).rotate(slot)).toMatchObject({ result: 'rotated' });
    expect(await served()).toBe('token-1');
    expect(provider.mints).toBe(1);
    expect(clock.now() - before).toBeLessThan(50_000);
    expect(store.calls.putClaim).toBe(3);
  });

  test('is minted once by five replicas when the token is rejected, and again when they are told to', async () => {
    const { rotator, provider, seedCurrent, served, clock } = rotationFixture();
    seedCurrent('old', clock.now() - 24 * HOUR);
    const replicas = Array.from({ length: 5 }, () => rotator());
    provider.verifyFailure = rejected;
    const failed = await Promise.allSettled(replicas.map((replica) => replica.rotate(slot)));
    expect(provider.mints).toBe(1);
    const codes = failed.map((end) => (end.status === 'rejected' ? codeOf(end.reason) : 'ok'));
    expect(codes.sort()).toEqual([
      ...Array.from({ length: 4 }, () => 'ROTATION_NOT_PENDING'),
      'ROTATION_TOKEN_REJECTED',
    ]);
    expect(await served()).toBe('old');

    provider.verifyFailure = undefined;
    const mended = await Promise.all(replicas.map((replica) => replica.rotate(slot)));
    expect(new Set(mended.map(({ versionId }) => versionId))).toEqual(
      new Set([versionIdOf(SECRET, slot.key, 1)]),
    );
    expect(await served()).toBe('token-2');
    expect(provider.mints).toBe(2);
  });

  test('can be rotated however many mints have failed in it', async () => {
    const { rotator, provider, store, clock, served } = rotationFixture();
    provider.mintFailure = new BrokerError('PROVIDER_UNAVAILABLE', 'retry', 'down');
    for (let attempt = 0; attempt < 200; attempt += 1) {
      await expect(rotator().rotate(slot)).rejects.toBe(provider.mintFailure);
      await clock.sleep(60_000);
    }
    provider.mintFailure = undefined;
    const { putClaim, read } = store.calls;
    expect(await rotator().rotate(slot)).toMatchObject({ result: 'rotated' });
    expect(await served()).toBe('token-201');
    expect(store.calls.putClaim - putClaim).toBe(1);
    expect(store.calls.read - read).toBeLessThan(80);
  });

  test('waits no longer for a replica that died when the clock is set back meanwhile', async () => {
    const { rotator, provider, clock: real, store, served } = rotationFixture();
    void rotator({ mint: () => new Promise(() => undefined) }).rotate(slot);
    await real.sleep(1_000);
    let setBack = 0;
    const clock = {
      now: () => real.now() - setBack,
      sleep: (milliseconds: number) => {
        setBack = 3 * HOUR;
        return real.sleep(milliseconds);
      },
    };
    const before = real.now();
    await rotator({ clock, claimLease: 45_000 }).rotate(slot);
    expect(real.now() - before).toBeLessThan(60_000);
    expect(provider.mints).toBe(1);
    expect(await served()).toBe('token-1');
    expect(store.calls.putClaim).toBe(3);
  });

  test('waits no whole lease after a restart, when the claim is old', async () => {
    const { rotator, clock } = rotationFixture();
    void rotator({ mint: () => new Promise(() => undefined) }).rotate(slot);
    await clock.sleep(60_000);
    const before = clock.now();
    await rotator().rotate(slot);
    expect(clock.now() - before).toBeLessThan(5_000);
  });
});

describe('a version that is staged already', () => {
  test('is adopted, not minted again', async () => {
    const { rotator, provider, store, served, clock } = rotationFixture();
    const versionId = versionIdOf(SECRET, slot.key, 0);
    store.edit(SECRET, serializeServiceToken(tokenOf('old', clock.now() - 30 * HOUR)));
    await store.putPending(
      SECRET,
      versionId,
      serializeServiceToken(tokenOf('staged', clock.now())),
    );
    expect(await rotator().rotate(slot)).toEqual({ versionId, result: 'adopted' });
    expect(await served()).toBe('staged');
    expect(provider.mints).toBe(0);
  });

  test.each([
    ['too old', 'ROTATION_PENDING_AGED', serializeServiceToken(tokenOf('aged', 0, HOUR))],
    ['no token', 'ROTATION_PENDING_INVALID', '{"access_token":7}'],
  ])('and is %s is cleared, and the next attempt starts clean', async (_name, code, value) => {
    const { rotator, provider, store, served, seedCurrent, clock } = rotationFixture();
    seedCurrent('old', clock.now() - 20 * HOUR);
    await store.putPending(SECRET, versionIdOf(SECRET, slot.key, 0), value);
    await expect(rotator().rotate(slot)).rejects.toMatchObject({ code, kind: 'retry' });
    expect(await served()).toBe('old');
    expect(await rotator().rotate(slot)).toEqual({
      versionId: versionIdOf(SECRET, slot.key, 1),
      result: 'rotated',
    });
    expect(await served()).toBe('token-1');
    expect(provider.mints).toBe(1);
  });

  test('stays staged while the keys cannot be had, and is promoted later without a new mint', async () => {
    const { rotator, provider, served, seedCurrent, clock } = rotationFixture();
    seedCurrent('old', clock.now() - 20 * HOUR);
    provider.verifyFailure = keysDown;
    await expect(rotator().rotate(slot)).rejects.toBe(keysDown);
    expect(await served()).toBe('old');
    provider.verifyFailure = undefined;
    expect(await rotator().rotate(slot)).toMatchObject({ result: 'adopted' });
    expect(provider.mints).toBe(1);
  });
});

describe('createSecret', () => {
  test('does not mint when the store fails in any other way than "not found"', async () => {
    const { rotator, provider, store, seedCurrent } = rotationFixture();
    seedCurrent('old');
    store.before = ({ method, versionId }) => {
      if (method === 'read' && versionId !== undefined) {
        throw new SecretStoreError('STORE_THROTTLED', 'too many requests');
      }
    };
    await expect(
      rotator().steps.createSecret('0'.repeat(32), { managed: false }),
    ).rejects.toMatchObject({ code: 'STORE_THROTTLED' });
    expect(provider.mints).toBe(0);
  });

  test('adopts what is there when its own answer was lost and the value differs', async () => {
    const { rotator, store, seedCurrent, served, provider } = rotationFixture();
    seedCurrent('old');
    store.before = async ({ method, versionId }) => {
      if (method !== 'putPending' || versionId === undefined) return;
      store.before = () => undefined;
      await store.putPending(
        SECRET,
        versionId,
        serializeServiceToken(tokenOf('other', Date.now())),
      );
    };
    expect(await rotator().rotate({ trigger: 'cli' })).toMatchObject({ result: 'adopted' });
    expect(await served()).toBe('other');
    expect(provider.mints).toBe(1);
  });

  test('refuses a token with too short a life, and stages nothing', async () => {
    const { rotator, provider, store, seedCurrent, served } = rotationFixture();
    seedCurrent('old');
    provider.lifetime = HOUR / 2;
    await expect(rotator().rotate({ trigger: 'cli' })).rejects.toMatchObject({
      code: 'ROTATION_TOKEN_TOO_SHORT',
      kind: 'misconfigured',
      message: expect.stringContaining('1800 s'),
    });
    expect(store.calls.putPending).toBe(0);
    expect(await served()).toBe('old');
  });
});

describe('driven by Secrets Manager', () => {
  const managed = { managed: true, rotationToken: 'sensitive' } as const;
  const versionId = 'b1d0b3a2-0000-4000-8000-000000000001';
  const registered = () => {
    const fixture = rotationFixture();
    fixture.seedCurrent('old');
    fixture.store.configure(SECRET, { rotationEnabled: true });
    fixture.store.registerPending(SECRET, versionId);
    return { ...fixture, steps: fixture.rotator().steps };
  };

  test('the four steps rotate, and each may be repeated', async () => {
    const { steps, served, provider } = registered();
    for (const step of ['createSecret', 'setSecret', 'testSecret', 'finishSecret'] as const) {
      await steps[step](versionId, managed);
      await steps[step](versionId, managed);
    }
    expect(await served()).toBe('token-1');
    expect(provider.mints).toBe(1);
  });

  test('testSecret alone on an empty pending version is no failure', async () => {
    const { steps, served } = registered();
    await steps.testSecret(versionId, managed);
    expect(await served()).toBe('old');
  });

  test('finishSecret promotes nothing that is empty or refused', async () => {
    const { steps, served, provider } = registered();
    await expect(steps.finishSecret(versionId, managed)).rejects.toMatchObject({
      code: 'ROTATION_PENDING_EMPTY',
    });
    await steps.createSecret(versionId, managed);
    provider.verifyFailure = rejected;
    await expect(steps.finishSecret(versionId, managed)).rejects.toMatchObject({
      code: 'ROTATION_TOKEN_REJECTED',
    });
    expect(await served()).toBe('old');
  });

  test('the broker does not rotate by itself, nor in a replica Region', async () => {
    const { rotator, store, provider } = registered();
    await expect(rotator().rotate(slot)).rejects.toMatchObject({
      code: 'ROTATION_MANAGED_ELSEWHERE',
      message: expect.stringContaining('by its own schedule'),
    });
    expect(store.calls.requestRotation).toBe(0);
    store.configure(SECRET, { rotationEnabled: false, readOnlyReplica: true });
    await expect(rotator().rotate(slot)).rejects.toMatchObject({
      code: 'ROTATION_MANAGED_ELSEWHERE',
      message: expect.stringContaining('primary Region'),
    });
    expect(provider.mints).toBe(0);
  });
});

describe('a replica that is overtaken', () => {
  const bothAfterPromote = [true, false].map((pendingStaysAfterPromote) => ({
    pendingStaysAfterPromote,
  }));

  /** Another replica promotes the version as soon as this one has made so many calls. */
  const overtake = async (calls: number, pendingStaysAfterPromote: boolean) => {
    const { rotator, store, provider, seedCurrent, served, clock } = rotationFixture({
      pendingStaysAfterPromote,
    });
    seedCurrent('old', clock.now() - 24 * HOUR);
    const versionId = versionIdOf(SECRET, slot.key, 0);
    await store.putPending(
      SECRET,
      versionId,
      serializeServiceToken(tokenOf('theirs', clock.now())),
    );
    let made = 0;
    store.after = async () => {
      made += 1;
      if (made !== calls) return;
      store.after = () => undefined;
      const current = versionWithLabel(await store.describe(SECRET), 'AWSCURRENT');
      if (current !== versionId) await store.promote(SECRET, versionId, current);
    };
    const before = clock.now();
    const rotated = await rotator().rotate(slot);
    expect(rotated.versionId).toBe(versionId);
    expect(clock.now() - before).toBeLessThan(1_000);
    expect(await served()).toBe('theirs');
    expect(provider.mints).toBe(0);
    return made >= calls;
  };

  test.each(bothAfterPromote)('succeeds at every call, and mints nothing %j', async (options) => {
    let calls = 1;
    while (await overtake(calls, options.pendingStaysAfterPromote)) calls += 1;
    // A rotation that adopts what is staged makes seven.
    expect(calls - 1).toBe(7);
  });

  test.each(bothAfterPromote)(
    'by a whole rotation at any call: both succeed %j',
    async (options) => {
      for (let calls = 1; calls < 20; calls += 1) {
        const { rotator, store, provider, seedCurrent, clock } = rotationFixture(options);
        seedCurrent('old', clock.now() - 24 * HOUR);
        let made = 0;
        store.after = async () => {
          made += 1;
          if (made !== calls) return;
          store.after = () => undefined;
          await rotator().rotate(slot);
        };
        const { versionId } = await rotator().rotate(slot);
        expect((await store.read(SECRET)).versionId).toBe(versionId);
        // Whoever holds the claim and stands still for as long as this is taken for dead, and minted for once.
        expect(provider.mints).toBeLessThanOrEqual(2);
      }
    },
  );
});

describe('finishSecret', () => {
  test('succeeds when another process promoted the same version first', async () => {
    const { rotator, store, seedCurrent, served } = rotationFixture();
    const old = seedCurrent('old');
    store.before = async ({ method, versionId }) => {
      if (method !== 'promote' || versionId === undefined) return;
      store.before = () => undefined;
      await store.promote(SECRET, versionId, old);
    };
    await rotator().rotate({ trigger: 'cli' });
    expect(await served()).toBe('token-1');
  });

  test('leaves a newer version alone that another rotation promoted', async () => {
    const { rotator, store, seedCurrent, served, clock } = rotationFixture();
    seedCurrent('old');
    store.before = ({ method }) => {
      if (method !== 'promote') return;
      store.before = () => undefined;
      store.edit(SECRET, serializeServiceToken(tokenOf('newer', clock.now())));
    };
    await expect(rotator().rotate({ trigger: 'cli' })).rejects.toMatchObject({
      code: 'ROTATION_SUPERSEDED',
    });
    expect(await served()).toBe('newer');
  });
});

test('any fault at any store call: AWSCURRENT stays a verified token, and the next rotation succeeds', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.integer({ min: 1, max: 16 }),
      fc.constantFrom('before', 'after'),
      fc.constantFrom('STORE_THROTTLED', 'STORE_UNAVAILABLE', 'STORE_TIMEOUT'),
      fc.boolean(),
      fc.boolean(),
      async (failAt, when, code, empty, pendingStaysAfterPromote) => {
        const { rotator, store, provider, seedCurrent, clock } = rotationFixture({
          pendingStaysAfterPromote,
        });
        if (!empty) seedCurrent('old', clock.now() - 24 * HOUR);
        let calls = 0;
        store[when] = () => {
          calls += 1;
          if (calls === failAt) throw new SecretStoreError(code, 'injected');
        };
        await rotator()
          .rotate(slot)
          .catch((error: unknown) => expect(error).toBeInstanceOf(BrokerError));
        store.before = () => undefined;
        store.after = () => undefined;
        const between = await rotator().current();
        if (!empty) expect(between).toBeDefined();
        await rotator().rotate(slot);
        const after = JSON.parse((await store.read(SECRET)).value) as { access_token: string };
        expect(provider.verified).toContain(after.access_token);
        expect(provider.mints).toBeLessThanOrEqual(2);
      },
    ),
    { numRuns: 150 },
  );
});

test('outcomes are kept, the newest first, and a failure says what to do', async () => {
  const { rotator, provider } = rotationFixture();
  const one = rotator();
  await one.rotate(slot);
  provider.mintFailure = new BrokerError(
    'PROVIDER_INVALID_CLIENT',
    'misconfigured',
    'check the id',
  );
  await expect(one.rotate({ trigger: 'http' })).rejects.toBe(provider.mintFailure);
  expect(one.outcomes.list()).toMatchObject([
    { trigger: 'http', result: 'failed', code: 'PROVIDER_INVALID_CLIENT', message: 'check the id' },
    { trigger: 'schedule', result: 'rotated', key: slot.key },
  ]);
  expect(one.outcomes.latestSuccess()).toMatchObject({ result: 'rotated' });
});
