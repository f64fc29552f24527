import { describe, expect, test } from '@jest/globals';
import { isWithdrawing } from '../../src/rotation/claim.js';
import { SecretStoreError } from '../../src/secrets/secret-store.js';
import { RotateEndpoint } from '../../src/serving/rotate-endpoint.js';
import { createTokenCache } from '../../src/serving/token-cache.js';
import {
  nextWithdrawals,
  parseServiceToken,
  serializeServiceToken,
} from '../../src/tokens/service-token.js';
import { HOUR, rotationFixture, SECRET, tokenOf } from './rotation-fixture.js';

describe('a rotation that withdraws', () => {
  test('names the version before in the new one, and mints however young that is', async () => {
    const { rotator, seedCurrent, store, provider, served } = rotationFixture();
    const old = seedCurrent('stolen', undefined);
    const { versionId, result } = await rotator({ manualInterval: HOUR }).rotate({
      trigger: 'cli',
      revoke: true,
    });
    expect([result, provider.mints, await served()]).toEqual(['rotated', 1, 'token-1']);
    const current = await store.read(SECRET);
    expect(current.versionId).toBe(versionId);
    expect(parseServiceToken(current.value).withdrawn).toEqual([old]);
  });

  test('an ordinary rotation names none', async () => {
    const { rotator, seedCurrent, store } = rotationFixture();
    seedCurrent('old');
    await rotator().rotate({ trigger: 'cli', force: true });
    expect((await store.read(SECRET)).value).not.toContain('withdrawn');
  });

  test('is carried on by later ones until the withdrawn token has expired, and no longer', async () => {
    const { rotator, seedCurrent, store, clock } = rotationFixture();
    const stolen = seedCurrent('stolen');
    const { expiresAt } = parseServiceToken((await store.read(SECRET)).value);
    const one = rotator();
    const current = async () => parseServiceToken((await store.read(SECRET)).value);
    await one.rotate({ trigger: 'cli', revoke: true });
    const second = (await store.read(SECRET)).versionId;
    // By every path: with what was read before, and without.
    for (const request of [
      { trigger: 'cli', force: true },
      { trigger: 'schedule', key: 'slot' },
    ] as const) {
      await one.rotate(request);
      expect(await current()).toMatchObject({ withdrawn: [stolen], withdrawnUntil: expiresAt });
    }
    await one.rotate({ trigger: 'cli', revoke: true });
    const { withdrawn } = await current();
    expect(withdrawn).toHaveLength(2);
    expect(withdrawn).toContain(stolen);
    expect(withdrawn).not.toContain(second);
    clock.advance(((await current()).withdrawnUntil ?? 0) - clock.now());
    await one.rotate({ trigger: 'cli', force: true });
    expect((await store.read(SECRET)).value).not.toContain('withdrawn');
  });

  test('does not join an ordinary one that runs: its token would not be withdrawn', async () => {
    const { rotator, seedCurrent, provider } = rotationFixture();
    seedCurrent('stolen');
    const one = rotator();
    const results = await Promise.allSettled([
      one.rotate({ trigger: 'cli', force: true }),
      one.rotate({ trigger: 'cli', revoke: true }),
    ]);
    expect(provider.mints).toBe(2);
    expect(results.some(({ status }) => status === 'fulfilled')).toBe(true);
  });

  test('is not forgotten by a rotation that had minted before it: that one is given up', async () => {
    const { rotator, seedCurrent, store, served } = rotationFixture();
    const old = seedCurrent('stolen');
    const [slow, quick] = [rotator(), rotator()];
    // The other has minted, and not staged yet, when the token is withdrawn.
    store.before = async ({ method }) => {
      if (method !== 'putPending') return;
      store.before = () => undefined;
      await quick.rotate({ trigger: 'cli', revoke: true });
    };
    await expect(slow.rotate({ trigger: 'schedule', key: 'slot' })).rejects.toMatchObject({
      code: 'ROTATION_SUPERSEDED',
      kind: 'retry',
    });
    expect(await served()).toBe('token-2');
    expect(parseServiceToken((await store.read(SECRET)).value).withdrawn).toEqual([old]);
    expect([...(await store.describe(SECRET)).labels.values()].flat()).not.toContain('AWSPENDING');
  });

  test('is not forgotten by the steps of Secrets Manager, which share no memory', async () => {
    const { rotator, seedCurrent, store, served } = rotationFixture();
    const old = seedCurrent('stolen');
    const managed = { managed: true } as const;
    const [one, other] = ['a'.repeat(32), 'b'.repeat(32)];
    store.configure(SECRET, { rotationEnabled: true });
    store.registerPending(SECRET, one);
    const { steps } = rotator();
    await steps.createSecret(one, managed);
    store.registerPending(SECRET, other);
    await rotator().steps.createSecret(other, { ...managed, withdraws: true });
    await rotator().steps.finishSecret(other, managed);
    // A person puts the label back, as a repair by hand may.
    store.registerPending(SECRET, one);
    await expect(rotator().steps.finishSecret(one, managed)).rejects.toMatchObject({
      code: 'ROTATION_SUPERSEDED',
    });
    expect(await served()).toBe('token-2');
    expect(parseServiceToken((await store.read(SECRET)).value).withdrawn).toEqual([old]);
  });

  test.each(['never staged', 'staged before'])(
    'is not forgotten because a read lags behind the labels (%s)',
    async (when) => {
      const { rotator, seedCurrent, store } = rotationFixture();
      const old = seedCurrent('stolen');
      const managed = { managed: true } as const;
      store.configure(SECRET, { rotationEnabled: true });
      const [one, other] = ['a'.repeat(32), 'b'.repeat(32)];
      const stage = async (): Promise<void> => {
        store.registerPending(SECRET, one);
        await rotator().steps.createSecret(one, managed);
      };
      if (when === 'staged before') await stage();
      store.registerPending(SECRET, other);
      await rotator().steps.createSecret(other, { ...managed, withdraws: true });
      await rotator().steps.finishSecret(other, managed);
      // Its labels are shown, and its value is not yet.
      let lagging = 4;
      store.before = ({ method, versionId }) => {
        if (method !== 'read' || versionId !== other || lagging === 0) return;
        lagging -= 1;
        throw new SecretStoreError('VERSION_NOT_FOUND', 'not yet');
      };
      if (when === 'staged before') {
        store.registerPending(SECRET, one);
        await expect(rotator().steps.finishSecret(one, managed)).rejects.toMatchObject({
          code: 'ROTATION_SUPERSEDED',
        });
      } else {
        await stage();
        await rotator().steps.finishSecret(one, managed);
      }
      expect(lagging).toBe(0);
      expect(parseServiceToken((await store.read(SECRET)).value).withdrawn).toEqual([old]);
    },
  );

  test('goes on when the current version has no value at all', async () => {
    const { rotator, seedCurrent, store, served } = rotationFixture();
    const emptied = seedCurrent('emptied by hand');
    store.before = ({ method, versionId }) => {
      if (method === 'read' && versionId === emptied) {
        throw new SecretStoreError('VERSION_NOT_FOUND', 'it has no value');
      }
    };
    store.configure(SECRET, { rotationEnabled: true });
    const version = 'a'.repeat(32);
    store.registerPending(SECRET, version);
    const { steps } = rotator();
    await steps.createSecret(version, { managed: true });
    await steps.finishSecret(version, { managed: true });
    expect(await served()).toBe('token-1');
  });

  test('withdraws the very version that it replaces, or fails', async () => {
    const { rotator, seedCurrent, store, served } = rotationFixture();
    seedCurrent('stolen');
    const [slow, quick] = [rotator(), rotator()];
    store.before = async ({ method }) => {
      if (method !== 'putPending') return;
      store.before = () => undefined;
      await quick.rotate({ trigger: 'cli', force: true });
    };
    const revocation = slow.rotate({ trigger: 'cli', revoke: true });
    await expect(revocation).rejects.toMatchObject({ code: 'ROTATION_SUPERSEDED' });
    const before = (await store.read(SECRET)).versionId;
    await slow.rotate({ trigger: 'cli', revoke: true });
    expect(await served()).toBe('token-3');
    expect(parseServiceToken((await store.read(SECRET)).value).withdrawn).toEqual([before]);
  });

  test('of a provider that gives the same token again is refused: it would end the service', async () => {
    const { rotator, seedCurrent, served } = rotationFixture();
    seedCurrent('token-1');
    await expect(rotator().rotate({ trigger: 'cli', revoke: true })).rejects.toMatchObject({
      code: 'ROTATION_TOKEN_UNCHANGED',
      kind: 'misconfigured',
    });
    expect(await served()).toBe('token-1');
  });

  test('where Secrets Manager rotates it is asked, by an id that says so', async () => {
    const { rotator, seedCurrent, store } = rotationFixture();
    seedCurrent('stolen');
    store.configure(SECRET, { rotationEnabled: true });
    const asked = await rotator().rotate({ trigger: 'http', revoke: true });
    expect(asked.result).toBe('requested');
    expect(isWithdrawing(asked.versionId)).toBe(true);
    // What Secrets Manager takes as ClientRequestToken.
    expect(asked.versionId).toMatch(/^[!-~]{32,64}$/);
    expect(store.calls.requestRotation).toBe(1);
    const plain = await rotator()
      .rotate({ trigger: 'http', force: true })
      .catch(() => undefined);
    expect(isWithdrawing(plain?.versionId ?? '')).toBe(false);
  });

  test('a schedule asks Secrets Manager for nothing', async () => {
    const { rotator, seedCurrent, store } = rotationFixture();
    seedCurrent('stolen');
    store.configure(SECRET, { rotationEnabled: true });
    await expect(rotator().rotate({ trigger: 'schedule', revoke: true })).rejects.toMatchObject({
      code: 'ROTATION_MANAGED_ELSEWHERE',
      kind: 'rejected',
    });
    expect(store.calls.requestRotation).toBe(0);
  });
});

describe('a token that was withdrawn', () => {
  test('is not served any more by a replica that has read the new one, whatever the store gives', async () => {
    const { rotator, seedCurrent, store, clock } = rotationFixture();
    const old = seedCurrent('stolen');
    const stale = await store.read(SECRET);
    const cache = createTokenCache({ store, secretId: SECRET, clock });
    await cache.get();
    await rotator().rotate({ trigger: 'cli', revoke: true });
    clock.advance(1_000);
    expect((await cache.get({ force: true })).value.token.accessToken).toBe('token-1');
    // A replica of the secret in another Region lags behind.
    store.read = async () => stale;
    clock.advance(1_000);
    const answer = await cache.get({ force: true });
    expect([answer.state, answer.value.token.accessToken]).toEqual(['STALE', 'token-1']);
    expect(cache.status().lastError).toMatchObject({ code: 'TOKEN_WITHDRAWN', kind: 'retry' });
    expect(stale.versionId).toBe(old);
  });

  test('is not served any more once a read knows of it that was given up, because it took too long', async () => {
    const { rotator, seedCurrent, store, clock } = rotationFixture();
    seedCurrent('stolen');
    const stale = await store.read(SECRET);
    const read = store.read.bind(store);
    const cache = createTokenCache({ store, secretId: SECRET, clock });
    let answer: (version: typeof stale) => void = () => undefined;
    store.read = () => new Promise((resolve) => (answer = resolve));
    const slow = expect(cache.get()).rejects.toMatchObject({ code: 'READ_TIMEOUT' });
    clock.advance(10_000);
    cache.refresh();
    clock.advance(1_000);
    store.read = async () => stale;
    expect((await cache.get()).value.token.accessToken).toBe('stolen');
    store.read = read;
    await rotator().rotate({ trigger: 'cli', revoke: true });
    expect(cache.peek()?.value.token.accessToken).toBe('stolen');
    answer(await store.read(SECRET));
    await slow;
    await new Promise(setImmediate);
    expect(cache.peek()).toBeUndefined();
    expect((await cache.get()).value.token.accessToken).toBe('token-1');
  });

  test('is not even served as STALE by the one that has withdrawn it', async () => {
    const { rotator, seedCurrent, store, clock } = rotationFixture();
    seedCurrent('stolen');
    const cache = createTokenCache({ store, secretId: SECRET, clock });
    await cache.get();
    const one = rotator();
    const endpoint = new RotateEndpoint({
      waiting: { has: () => false },
      login: {
        withHeader: async () => ({ peer: { id: 'ops', roles: ['admin'], tokens: [] } }),
        withHeaderOrForm: () => Promise.reject(new Error('not used')),
        now: () => undefined,
      },
      tokens: [{ name: 'default', cache, rotator: one }],
      observer: {},
    });
    const ask = (query: string) =>
      endpoint.answer({
        method: 'POST',
        url: `/v1/rotate${query}`,
        headers: {},
        remoteAddress: '',
        encrypted: false,
      });
    expect((await ask('?revoke_cached=yes')).status).toBe(400);
    expect((await ask('?revoke_cached=true')).status).toBe(200);
    store.read = () => Promise.reject(new Error('the store is down'));
    await expect(cache.get()).rejects.toThrow('the store is down');
    expect(cache.peek()).toBeUndefined();
  });
});

test('a list that is none is ignored, and the ids survive being written', () => {
  const token = tokenOf('token', 0);
  const text = serializeServiceToken({ ...token, withdrawn: ['one', 'two'] });
  expect(parseServiceToken(text).withdrawn).toEqual(['one', 'two']);
  const until = serializeServiceToken({ ...token, withdrawn: ['one'], withdrawnUntil: 5_000 });
  expect(parseServiceToken(until).withdrawnUntil).toBe(5_000);
  for (const withdrawn_until of ['soon', 7, null, {}]) {
    const edited = JSON.stringify({ ...JSON.parse(until), withdrawn_until });
    expect(parseServiceToken(edited)).toMatchObject({ withdrawn: ['one'] });
    expect(parseServiceToken(edited).withdrawnUntil).toBeUndefined();
  }
  for (const withdrawn of ['one', 7, null, {}, []]) {
    const edited = JSON.stringify({ ...JSON.parse(text), withdrawn });
    expect(parseServiceToken(edited).withdrawn).toBeUndefined();
  }
});

describe('nextWithdrawals', () => {
  const before = { versionId: 'now', expiresAt: 100 };
  test.each([
    ['nothing was, nothing is', before, false, {}],
    ['the version before', before, true, { withdrawn: ['now'], withdrawnUntil: 100 }],
    ['one that holds no token', { versionId: 'now' }, true, { withdrawn: ['now'] }],
    [
      'what was, while it lives',
      { ...before, withdrawn: ['a'], withdrawnUntil: 51 },
      false,
      { withdrawn: ['a'], withdrawnUntil: 51 },
    ],
    [
      'what was, once it has expired',
      { ...before, withdrawn: ['a'], withdrawnUntil: 50 },
      false,
      {},
    ],
    [
      'what was, without its end',
      { ...before, withdrawn: ['a'] },
      false,
      { withdrawn: ['a'], withdrawnUntil: 100 },
    ],
    [
      'both',
      { ...before, withdrawn: ['a'], withdrawnUntil: 200 },
      true,
      { withdrawn: ['now', 'a'], withdrawnUntil: 200 },
    ],
    [
      'one again',
      { ...before, withdrawn: ['now'], withdrawnUntil: 200 },
      true,
      { withdrawn: ['now'], withdrawnUntil: 200 },
    ],
  ])('%s', (_what, known, withdraws, expected) => {
    expect(nextWithdrawals(known, withdraws, 50)).toEqual(expected);
  });

  test('the list stays short, and the newest is on it', () => {
    const withdrawn = Array.from({ length: 500 }, (_, index) => `v${index}`);
    const next = nextWithdrawals({ ...before, withdrawn }, true, 50);
    expect(next.withdrawn).toHaveLength(100);
    expect(next.withdrawn?.[0]).toBe('now');
  });
});
