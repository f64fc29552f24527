import { describe, expect, test } from '@jest/globals';
import { withdrawingIdOf } from '../../src/rotation/claim.js';
import { SecretStoreError } from '../../src/secrets/secret-store.js';
import { parseServiceToken } from '../../src/tokens/service-token.js';
import { answers } from '../support/provider-answers.js';
import {
  HOUR,
  hurriedClock,
  oldToken,
  rotationScene,
  STEPS,
  TOKEN_SECRET,
  TOKEN_SECRET_ARN,
  VERSION,
} from './support/rotation-function.js';

const OTHER_VERSION = 'b1d0b3a2-0000-4000-8000-000000000002';

describe('a rotation', () => {
  test('is four steps; the new version is current, and the one before is AWSPREVIOUS', async () => {
    const { rotate, current, labels, old, mints, store, provider } = await rotationScene();
    await rotate();
    expect(await current()).toBe(VERSION);
    expect(await labels(old)).toEqual(['AWSPREVIOUS']);
    expect(mints()).toBe(1);
    const { value } = await store.read(TOKEN_SECRET);
    expect(parseServiceToken(value)).toMatchObject({ issuer: provider.issuer });
  });

  test('may repeat each step', async () => {
    const { invoke, current, mints } = await rotationScene();
    for (const step of STEPS) {
      await invoke(step);
      await invoke(step);
    }
    for (const step of STEPS) await invoke(step);
    expect(await current()).toBe(VERSION);
    expect(mints()).toBe(1);
  });

  test.each([true, false])(
    'works for a secret that never had a value (AWSPENDING stays: %s)',
    async (pendingStaysAfterPromote) => {
      const { rotate, current, mints } = await rotationScene({
        hasCurrent: false,
        pendingStaysAfterPromote,
      });
      await rotate();
      await rotate();
      expect(await current()).toBe(VERSION);
      expect(mints()).toBe(1);
    },
  );

  test('keeps configuration, metadata and keys from one invocation to the next', async () => {
    const { rotate, provider, store } = await rotationScene();
    await rotate();
    store.registerPending(TOKEN_SECRET, OTHER_VERSION);
    await rotate({ ClientRequestToken: OTHER_VERSION });
    expect(provider.received('jwks')).toHaveLength(1);
    expect([...provider.received('openid'), ...provider.received('oauth')]).toHaveLength(1);
    expect(provider.received('token')).toHaveLength(2);
  });

  test('is done by several environments at once: one value, and all succeed or say why', async () => {
    const one = await rotationScene();
    await Promise.all([one.invoke('createSecret'), one.invoke('createSecret')]);
    const { value } = await one.store.read(TOKEN_SECRET, { label: 'AWSPENDING' });
    await Promise.all([one.invoke('finishSecret'), one.invoke('finishSecret')]);
    expect((await one.store.read(TOKEN_SECRET)).value).toBe(value);
  });
});

describe('every step first', () => {
  test.each(STEPS)('%s refuses a secret whose rotation is not enabled', async (step) => {
    const { invoke, store, current, old } = await rotationScene();
    store.configure(TOKEN_SECRET, { rotationEnabled: false });
    await expect(invoke(step)).rejects.toMatchObject({ code: 'ROTATION_NOT_ENABLED' });
    expect(await current()).toBe(old);
  });

  test.each(STEPS)('%s refuses a version that is not known', async (step) => {
    const { invoke, mints } = await rotationScene();
    await expect(invoke(step, { ClientRequestToken: OTHER_VERSION })).rejects.toMatchObject({
      code: 'ROTATION_VERSION_UNKNOWN',
    });
    expect(mints()).toBe(0);
  });

  test.each(STEPS)('%s does nothing for a version that is current', async (step) => {
    const { invoke, old, mints, store, lines } = await rotationScene();
    await invoke(step, { ClientRequestToken: old });
    expect(mints()).toBe(0);
    expect(store.calls).toMatchObject({ putPending: 0, promote: 0, clearPending: 0 });
    expect(lines()).toMatchObject([
      { message: 'rotation step ended', step, ended: 'skipped', versionId: old },
    ]);
  });

  test.each(STEPS)('%s refuses a version that is not pending', async (step) => {
    const { invoke, old, store, mints } = await rotationScene();
    store.edit(TOKEN_SECRET, oldToken());
    await expect(invoke(step, { ClientRequestToken: old })).rejects.toMatchObject({
      code: 'ROTATION_NOT_PENDING',
    });
    expect(mints()).toBe(0);
  });

  test.each([
    ['broker/token', undefined],
    [TOKEN_SECRET_ARN, undefined],
    [TOKEN_SECRET_ARN.replace('token', 'other'), 'FUNCTION_SECRET_UNEXPECTED'],
    ['broker/credentials', 'FUNCTION_SECRET_UNEXPECTED'],
  ])('the secret %s: %s', async (SecretId, code) => {
    const { invoke, store } = await rotationScene();
    const invoked = invoke('createSecret', { SecretId });
    if (code === undefined) return expect(invoked).resolves.toBeUndefined();
    await expect(invoked).rejects.toMatchObject({ code, kind: 'misconfigured' });
    return expect(store.calls.describe).toBe(0);
  });
});

describe('createSecret', () => {
  test('mints nothing when the pending version cannot be read', async () => {
    const { invoke, store, mints } = await rotationScene();
    for (const code of ['STORE_THROTTLED', 'STORE_ACCESS_DENIED', 'STORE_TIMEOUT'] as const) {
      store.before = ({ method, versionId }) => {
        if (method === 'read' && versionId === VERSION) throw new SecretStoreError(code, code);
      };
      await expect(invoke('createSecret')).rejects.toMatchObject({ code });
    }
    expect(mints()).toBe(0);
  });

  test('adopts what an attempt has staged whose answer was lost', async () => {
    const { invoke, rotate, store, mints, current } = await rotationScene();
    store.after = ({ method }) => {
      if (method !== 'putPending') return;
      store.after = () => undefined;
      throw new SecretStoreError('STORE_TIMEOUT', 'the answer was lost');
    };
    await expect(invoke('createSecret')).rejects.toMatchObject({ code: 'STORE_TIMEOUT' });
    await rotate();
    expect(mints()).toBe(1);
    expect(await current()).toBe(VERSION);
  });

  test('adopts what another attempt has staged in the meantime', async () => {
    const { invoke, rotate, store, provider, mints, current } = await rotationScene();
    const theirs = JSON.stringify({
      access_token: await provider.token(),
      expires_at: new Date(Date.now() + 24 * HOUR).toISOString(),
      generated_at: new Date().toISOString(),
      issuer: provider.issuer,
      audience: 'https://services.example.test',
    });
    store.before = async ({ method }) => {
      if (method !== 'putPending') return;
      store.before = () => undefined;
      await store.putPending(TOKEN_SECRET, VERSION, theirs);
    };
    await invoke('createSecret');
    await rotate();
    expect(mints()).toBe(1);
    expect((await store.read(TOKEN_SECRET)).value).toBe(theirs);
    expect(await current()).toBe(VERSION);
  });

  test('clears a pending token that has aged, and says so', async () => {
    const { invoke, store, labels, current, old, mints } = await rotationScene();
    await store.putPending(TOKEN_SECRET, VERSION, oldToken({ expiresAt: Date.now() + HOUR / 2 }));
    await expect(invoke('createSecret')).rejects.toMatchObject({ code: 'ROTATION_PENDING_AGED' });
    expect(await labels()).toEqual([]);
    expect(await current()).toBe(old);
    expect(mints()).toBe(0);
  });

  test('stages nothing that is too short-lived', async () => {
    const { invoke, store } = await rotationScene({ provider: { tokenLifeSeconds: 1_800 } });
    await expect(invoke('createSecret')).rejects.toMatchObject({
      code: 'ROTATION_TOKEN_TOO_SHORT',
    });
    expect(store.calls.putPending).toBe(0);
  });
});

describe('setSecret and testSecret', () => {
  test.each(['setSecret', 'testSecret'] as const)(
    '%s alone on an empty pending version is no failure',
    async (step) => {
      const { invoke, current, old, lines } = await rotationScene();
      await invoke(step);
      expect(await current()).toBe(old);
      expect(lines()).toMatchObject([{ level: 'info', step, ended: 'skipped' }]);
    },
  );

  const HOLDING = {
    'a token': oldToken(),
    'a token that is about to expire': oldToken({ expiresAt: Date.now() + 60_000 }),
    'a token that has expired': oldToken({ expiresAt: Date.now() - 60_000 }),
    'what the stack writes': '{"rotation_claim":"made by the stack"}',
  };
  test.each(Object.entries(HOLDING))(
    'a trial on a copy of the current value, %s, is no failure, and leaves the label to Secrets Manager',
    async (_, value) => {
      const { invoke, rotate, store, current, labels, lines, mints } = await rotationScene({
        hasCurrent: false,
      });
      const before = store.edit(TOKEN_SECRET, value);
      await store.putPending(TOKEN_SECRET, VERSION, value);
      await invoke('testSecret');
      expect(lines()).toMatchObject([
        { level: 'info', step: 'testSecret', ended: 'skipped', versionId: VERSION },
      ]);
      expect(await labels()).toEqual(['AWSPENDING']);
      expect([await current(), mints()]).toEqual([before, 0]);

      // Secrets Manager has removed the version, and the first rotation comes.
      store.registerPending(TOKEN_SECRET, OTHER_VERSION);
      await rotate({ ClientRequestToken: OTHER_VERSION });
      expect([await current(), mints()]).toEqual([OTHER_VERSION, 1]);
    },
  );

  test.each(Object.entries(HOLDING))(
    'a rotation that begins on what a trial left behind, %s, promotes no old token, and leaves a clean start',
    async (_, value) => {
      const { rotate, store, current, labels } = await rotationScene({ hasCurrent: false });
      const before = store.edit(TOKEN_SECRET, value);
      await store.putPending(TOKEN_SECRET, VERSION, value);
      await expect(rotate()).rejects.toMatchObject({ code: 'ROTATION_PENDING_INVALID' });
      expect(await labels()).toEqual([]);
      expect(await current()).toBe(before);
      store.registerPending(TOKEN_SECRET, OTHER_VERSION);
      await rotate({ ClientRequestToken: OTHER_VERSION });
      expect(await current()).toBe(OTHER_VERSION);
    },
  );

  test.each([
    ['is for another audience', { aud: 'https://other.example' }],
    ['is from another issuer', { iss: 'https://other.example' }],
    ['speaks for a customer', { sub: 'a-person' }],
  ])('give up a token that %s: the next rotation starts clean', async (_what, claims) => {
    const { invoke, rotate, store, provider, labels, current, old } = await rotationScene();
    const access_token = await provider.token(claims);
    provider.next('token', answers.token({ access_token }));
    await invoke('createSecret');
    await invoke('setSecret');
    await expect(invoke('testSecret')).rejects.toMatchObject({ code: 'ROTATION_TOKEN_REJECTED' });
    expect(await labels()).toEqual([]);
    expect(await current()).toBe(old);
    await expect(invoke('finishSecret')).rejects.toMatchObject({
      code: 'ROTATION_VERSION_UNKNOWN',
    });
    store.registerPending(TOKEN_SECRET, OTHER_VERSION);
    await rotate({ ClientRequestToken: OTHER_VERSION });
    expect(await current()).toBe(OTHER_VERSION);
  });

  test('keep a token whose keys cannot be had: the retry promotes it', async () => {
    let ahead = 0;
    const clock = { ...hurriedClock, now: () => Date.now() + ahead };
    const { invoke, rotate, provider, labels, current, mints } = await rotationScene({
      function: { clock },
    });
    await invoke('createSecret');
    provider.always('jwks', answers.empty(503));
    await expect(invoke('testSecret')).rejects.toMatchObject({ kind: 'retry' });
    expect(await labels()).toEqual(['AWSPENDING']);
    provider.always('jwks', undefined);
    ahead = 60_000;
    await rotate();
    expect(await current()).toBe(VERSION);
    expect(mints()).toBe(1);
  });

  test('keep a token that is not valid yet, as the clocks differ: the retry promotes it', async () => {
    let ahead = 0;
    const clock = { ...hurriedClock, now: () => Date.now() + ahead };
    const { invoke, rotate, provider, labels, current, old, mints } = await rotationScene({
      function: { clock },
    });
    const iat = Math.floor(Date.now() / 1000) + 300;
    provider.next('token', answers.token({ access_token: await provider.token({ iat }) }));
    await invoke('createSecret');
    const tooEarly = { code: 'ROTATION_TOKEN_NOT_YET_VALID', kind: 'retry' };
    await expect(invoke('testSecret')).rejects.toMatchObject(tooEarly);
    await expect(invoke('finishSecret')).rejects.toMatchObject(tooEarly);
    expect(await labels()).toEqual(['AWSPENDING']);
    expect(await current()).toBe(old);
    ahead = 300_000;
    await rotate();
    expect(await current()).toBe(VERSION);
    expect(mints()).toBe(1);
  });

  test('wait for a read that lags behind the write', async () => {
    const { invoke, store, lines } = await rotationScene();
    await invoke('createSecret');
    let lagging = 3;
    store.before = ({ method, versionId }) => {
      if (method !== 'read' || versionId !== VERSION || lagging === 0) return;
      lagging -= 1;
      throw new SecretStoreError('VERSION_NOT_FOUND', 'not yet');
    };
    await invoke('setSecret');
    expect(lagging).toBe(0);
    expect(lines().at(-1)).toMatchObject({ step: 'setSecret', ended: 'done' });
  });
});

describe('finishSecret', () => {
  test('promotes nothing that is empty', async () => {
    const { invoke, current, old } = await rotationScene();
    await expect(invoke('finishSecret')).rejects.toMatchObject({ code: 'ROTATION_PENDING_EMPTY' });
    expect(await current()).toBe(old);
  });

  test('promotes nothing that receivers refuse, whatever ran before', async () => {
    const { invoke, provider, current, old, labels } = await rotationScene();
    const access_token = await provider.token({ aud: 'https://other.example' });
    provider.next('token', answers.token({ access_token }));
    await invoke('createSecret');
    await expect(invoke('finishSecret')).rejects.toMatchObject({ code: 'ROTATION_TOKEN_REJECTED' });
    expect(await current()).toBe(old);
    expect(await labels()).toEqual([]);
  });

  test('succeeds when the answer to an earlier attempt was lost', async () => {
    const { invoke, store, current } = await rotationScene();
    await invoke('createSecret');
    store.after = ({ method }) => {
      if (method !== 'promote') return;
      store.after = () => undefined;
      throw new SecretStoreError('STORE_TIMEOUT', 'the answer was lost');
    };
    await expect(invoke('finishSecret')).rejects.toMatchObject({ code: 'STORE_TIMEOUT' });
    await invoke('finishSecret');
    expect(await current()).toBe(VERSION);
  });

  test('succeeds when another environment promoted the version first', async () => {
    const { invoke, store, old, current } = await rotationScene();
    await invoke('createSecret');
    store.before = async ({ method }) => {
      if (method !== 'promote') return;
      store.before = () => undefined;
      await store.promote(TOKEN_SECRET, VERSION, old);
    };
    await invoke('finishSecret');
    expect(await current()).toBe(VERSION);
  });

  test('leaves a newer version alone that somebody else made current', async () => {
    const { invoke, store, current } = await rotationScene();
    await invoke('createSecret');
    let newer: string | undefined;
    store.before = ({ method }) => {
      if (method === 'promote') newer ??= store.edit(TOKEN_SECRET, oldToken());
    };
    await expect(invoke('finishSecret')).rejects.toMatchObject({ code: 'ROTATION_SUPERSEDED' });
    expect(await current()).toBe(newer);
  });
});

test('the id of the version says that the one before is withdrawn, for good and only then', async () => {
  const { rotate, store, old, current } = await rotationScene();
  const id = withdrawingIdOf(VERSION);
  store.registerPending(TOKEN_SECRET, id);
  await rotate({ ClientRequestToken: id });
  expect(await current()).toBe(id);
  const promoted = parseServiceToken((await store.read(TOKEN_SECRET)).value);
  expect(promoted.withdrawn).toEqual([old]);
  const other = await rotationScene();
  await other.rotate();
  expect((await other.store.read(TOKEN_SECRET)).value).not.toContain('withdrawn');
});
