import { describe, expect, test } from '@jest/globals';
import { UnstagedToken } from '../../src/rotation/unstaged-token.js';
import { SecretStoreError } from '../../src/secrets/secret-store.js';
import { parseServiceToken, serializeServiceToken } from '../../src/tokens/service-token.js';
import type { StoreCall } from '../../src/testing/memory-secret-store.js';
import { HOUR, rotationFixture, SECRET, tokenOf } from './rotation-fixture.js';

const MINUTE = 60_000;
const ID = 'b1d0b3a2-0000-4000-8000-000000000001';
const slot = { trigger: 'schedule', key: 'slot of a test' } as const;
const revoking = { trigger: 'http', revoke: true } as const;
const forced = { trigger: 'http', force: true } as const;

describe('a token that was minted and could not be staged', () => {
  function keeping() {
    const fixture = rotationFixture();
    const { store, clock, seedCurrent } = fixture;
    seedCurrent('old');
    const unstaged = new UnstagedToken({ store, tokenSecretId: SECRET, minimumLife: HOUR, clock });
    const token = tokenOf('kept', clock.now());
    unstaged.keep(token, ID);
    const stage = (value = token) => store.putPending(SECRET, ID, serializeServiceToken(value));
    const name = async (currentId?: string) => (await unstaged.take(currentId))?.accessToken;
    return { ...fixture, unstaged, token, stage, name };
  }

  test('is taken once', async () => {
    const { name } = keeping();
    expect([await name(), await name()]).toEqual(['kept', undefined]);
  });

  test('is taken by one of two attempts', async () => {
    const { name } = keeping();
    expect(await Promise.all([name(), name()])).toEqual(['kept', undefined]);
  });

  test.each<[string, (fixture: ReturnType<typeof keeping>) => unknown, string | undefined]>([
    ['it was staged, and only the answer was lost', ({ stage }) => stage(), undefined],
    [
      'it was staged and given up',
      async ({ stage, store }) => {
        await stage();
        await store.clearPending(SECRET, ID);
      },
      undefined,
    ],
    [
      'another staged its own as that version',
      ({ stage, clock }) => stage(tokenOf('other', clock.now())),
      'kept',
    ],
    [
      'another wrote no token as that version',
      ({ store }) => store.putPending(SECRET, ID, 'nonsense'),
      'kept',
    ],
    ['it is five minutes old', ({ clock }) => clock.advance(5 * MINUTE), undefined],
    ['the clock was set back', ({ clock }) => clock.advance(-1), undefined],
  ])('where %s', async (_what, happens, expected) => {
    const fixture = keeping();
    await happens(fixture);
    expect(await fixture.name('another')).toBe(expected);
  });

  test('is not taken where its version is current, though a read does not show it yet', async () => {
    const { name } = keeping();
    expect(await name(ID)).toBeUndefined();
  });

  test('is kept while the store does not say whether it was staged', async () => {
    const { name, store } = keeping();
    const down = new SecretStoreError('STORE_UNAVAILABLE', 'down');
    store.before = () => {
      throw down;
    };
    await expect(name()).rejects.toBe(down);
    store.before = () => undefined;
    expect(await name()).toBe('kept');
  });
});

describe('after the answer to putPending was lost, and the retry has adopted the version', () => {
  async function adopted() {
    const fixture = rotationFixture();
    const { store, clock, rotator, seedCurrent, served } = fixture;
    seedCurrent('old', clock.now() - 12 * HOUR);
    const one = rotator();
    store.after = ({ method }) => {
      if (method !== 'putPending') return;
      store.after = () => undefined;
      throw new SecretStoreError('STORE_TIMEOUT', 'no answer');
    };
    await expect(one.rotate(slot)).rejects.toMatchObject({ code: 'STORE_TIMEOUT' });
    clock.advance(7_000);
    return { ...fixture, one, served };
  }

  test.each([
    ['a forced rotation', forced],
    ['one that withdraws', revoking],
  ])('%s brings another token', async (_what, request) => {
    const { one, clock, served } = await adopted();
    expect((await one.rotate(slot)).result).toBe('adopted');
    expect(await served()).toBe('token-1');
    clock.advance(MINUTE);
    expect((await one.rotate(request)).result).toBe('rotated');
    expect(await served()).toBe('token-2');
  });

  test('by another replica, which withdrew it then: it does not come back', async () => {
    const { one, clock, rotator, served, store } = await adopted();
    const other = rotator();
    const { versionId } = await other.rotate(slot);
    await other.rotate(revoking);
    clock.advance(MINUTE);
    await one.rotate(forced);
    expect(await served()).toBe('token-3');
    expect(parseServiceToken((await store.read(SECRET)).value).withdrawn).toContain(versionId);
  });
});

describe('a rotation that withdraws', () => {
  /** The second read of the version that is current fails: the one after the mint. */
  const failAfterMint = ({ store, provider }: ReturnType<typeof rotationFixture>): void => {
    store.before = ({ method }: StoreCall) => {
      if (method !== 'read' || provider.mints === 0) return;
      store.before = () => undefined;
      throw new SecretStoreError('STORE_THROTTLED', 'throttled');
    };
  };

  test('keeps the token that it has minted, when the one before cannot be read', async () => {
    const fixture = rotationFixture();
    const { clock, provider, rotator, seedCurrent, served } = fixture;
    seedCurrent('old', clock.now() - HOUR);
    failAfterMint(fixture);
    const one = rotator();
    await expect(one.rotate(revoking)).rejects.toMatchObject({ code: 'STORE_THROTTLED' });
    expect(provider.mints).toBe(1);
    expect((await one.rotate(revoking)).result).toBe('rotated');
    expect([provider.mints, await served()]).toEqual([1, 'token-1']);
  });

  test('does not keep one that is the same as before', async () => {
    const { clock, provider, rotator, seedCurrent, served } = rotationFixture();
    seedCurrent('token-1', clock.now() - HOUR);
    const one = rotator();
    await expect(one.rotate(revoking)).rejects.toMatchObject({ code: 'ROTATION_TOKEN_UNCHANGED' });
    expect((await one.rotate(revoking)).result).toBe('rotated');
    expect([provider.mints, await served()]).toEqual([2, 'token-2']);
  });
});
