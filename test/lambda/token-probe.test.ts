import { describe, expect, test } from '@jest/globals';
import { SecretStoreError } from '../../src/secrets/secret-store.js';
import { answers } from '../support/provider-answers.js';
import {
  oldToken,
  rotationScene,
  TOKEN_SECRET,
  type LogLine,
} from './support/rotation-function.js';

const PROBE = { Probe: 'token' };

async function probeScene(options: Parameters<typeof rotationScene>[0] = {}) {
  const scene = await rotationScene(options);
  return {
    ...scene,
    /** Probes once, and gives the lines that this wrote. */
    probe: async (): Promise<readonly LogLine[]> => {
      const before = scene.lines().length;
      await scene.handler(PROBE, {
        awsRequestId: 'request-2',
        getRemainingTimeInMillis: () => 60_000,
      });
      return scene.lines().slice(before);
    },
  };
}

describe('the probe of the current token', () => {
  test('writes its remaining life, and changes nothing', async () => {
    const { rotate, probe, mints, store, output, provider } = await probeScene();
    await rotate();
    const [writes, read] = [store.calls.putPending, await store.read(TOKEN_SECRET)];
    const lines = await probe();
    expect(lines).toMatchObject([
      { level: 'info', message: 'service token probed', requestId: 'request-2' },
    ]);
    const left = Number(lines[0]?.['remainingSeconds']);
    expect(left).toBeGreaterThan(0);
    expect(Number.isInteger(left)).toBe(true);
    expect([mints(), store.calls.putPending]).toEqual([1, writes]);
    expect(await store.read(TOKEN_SECRET)).toEqual(read);
    const { access_token } = JSON.parse(read.value) as { readonly access_token: string };
    expect(output()).not.toContain(access_token);
    expect(provider.received('token')).toHaveLength(1);
  });

  test('says that receivers refuse it, with the code, as often as it is asked', async () => {
    const { probe, store, provider } = await probeScene();
    const access_token = await provider.token({ aud: 'https://other.example' });
    const value = JSON.parse(oldToken()) as Readonly<Record<string, unknown>>;
    store.edit(TOKEN_SECRET, JSON.stringify({ ...value, access_token }));
    for (const _ of [1, 2]) {
      expect(await probe()).toMatchObject([
        {
          level: 'warn',
          message: 'receivers refuse the service token',
          code: 'TOKEN_AUDIENCE_WRONG',
        },
        { level: 'info', message: 'service token probed', remainingSeconds: expect.any(Number) },
      ]);
    }
  });

  test('tells a token that cannot be verified from one that is refused', async () => {
    const { probe, provider, store } = await probeScene();
    const value = JSON.parse(oldToken()) as Readonly<Record<string, unknown>>;
    const access_token = await provider.token({});
    store.edit(TOKEN_SECRET, JSON.stringify({ ...value, access_token }));
    provider.always('jwks', answers.empty(503));
    expect(await probe()).toMatchObject([
      { level: 'warn', message: 'the service token could not be verified' },
      { level: 'info', message: 'service token probed' },
    ]);
  });

  test.each([
    ['nothing yet', undefined],
    ['what the stack writes', '{"rotation_claim":"made by the stack"}'],
    ['something else', 'hunter2'],
  ])('a secret that holds %s has no life left', async (_, value) => {
    const { probe, store, output } = await probeScene({ hasCurrent: false });
    if (value !== undefined) store.edit(TOKEN_SECRET, value);
    expect(await probe()).toMatchObject([
      { level: 'warn', message: 'service token probed', remainingSeconds: 0 },
    ]);
    expect(output()).not.toContain('hunter2');
  });

  test('a token that has expired has none either', async () => {
    const { probe, store } = await probeScene();
    store.edit(TOKEN_SECRET, oldToken({ expiresAt: Date.now() - 60_000 }));
    expect((await probe()).at(-1)).toMatchObject({ remainingSeconds: 0 });
  });

  test('a secret that cannot be read, and a function that cannot start, say so; Lambda repeats nothing', async () => {
    const { probe, store } = await probeScene();
    store.before = () => {
      throw new SecretStoreError('STORE_ACCESS_DENIED', 'not authorized');
    };
    expect(await probe()).toMatchObject([
      { level: 'error', message: 'the service token could not be probed' },
    ]);
    const broken = await probeScene({ env: { BROKER_PROFILE: 'none' } });
    expect(await broken.probe()).toMatchObject([
      { level: 'error', message: 'the service token could not be probed' },
    ]);
  });

  test.each([[{ Probe: 'secret' }], [{ Probe: true }], [['Probe']], [{ probe: 'token' }]])(
    'is not what %j asks for',
    async (event) => {
      const { handler } = await probeScene();
      const context = { awsRequestId: 'request-1', getRemainingTimeInMillis: () => 60_000 };
      await expect(handler(event, context)).rejects.toMatchObject({
        code: 'FUNCTION_EVENT_INVALID',
      });
    },
  );
});
