import { describe, expect, test } from '@jest/globals';
import { decideStep, ROTATION_STEPS, type RotationStep } from '../../src/rotation/rotation.js';
import type { RotatorOptions } from '../../src/rotation/rotator.js';
import type { StepCall } from '../../src/rotation/rotation-steps.js';
import { SecretStoreError, type SecretStore } from '../../src/secrets/secret-store.js';
import { BrokerError } from '../../src/tokens/errors.js';
import { serializeServiceToken } from '../../src/tokens/service-token.js';
import { HOUR, keysDown, rejected, rotationFixture, SECRET, tokenOf } from './rotation-fixture.js';

const ID = 'b1d0b3a2-0000-4000-8000-000000000001';
const managed = { managed: true, rotationToken: 'sensitive' } as const;
const own = { managed: false } as const;

/** The steps over a secret with a token, where Secrets Manager has registered a version if it rotates; with what they report. */
function stepsFixture(call: StepCall = managed, options: Partial<RotatorOptions> = {}) {
  const fixture = rotationFixture();
  const { store, clock } = fixture;
  const current = fixture.seedCurrent('old');
  if (call.managed) {
    store.configure(SECRET, { rotationEnabled: true });
    store.registerPending(SECRET, ID);
  }
  const log: string[] = [];
  const mints: string[] = [];
  const { steps } = fixture.rotator({
    observer: {
      stepEnded: (step, versionId, ended, detail) => {
        expect(versionId).toBe(ID);
        log.push(`${step} ${ended}: ${detail}`);
      },
      mintEnded: (code) => mints.push(code),
    },
    ...options,
  });
  const run = (step: RotationStep, other: StepCall = call): Promise<unknown> =>
    steps[step](ID, other);
  const stage = (name: string, lifetime?: number): Promise<void> =>
    store.putPending(SECRET, ID, serializeServiceToken(tokenOf(name, clock.now(), lifetime)));
  const labels = async (): Promise<readonly string[] | undefined> =>
    (await store.describe(SECRET)).labels.get(ID);
  return { ...fixture, current, steps, log, mints, run, stage, labels };
}

describe('each step says what it did', () => {
  test.each([
    ['Secrets Manager', managed],
    ['the broker', own],
  ])('once, again, and when the version is current, for %s', async (_who, call) => {
    const { run, log, mints } = stepsFixture(call);
    expect(await run('createSecret')).toBe('minted');
    expect(await run('createSecret')).toBe('adopted');
    for (const step of ROTATION_STEPS.slice(1)) await run(step);
    expect(await run('createSecret')).toBe('skipped');
    for (const step of ROTATION_STEPS.slice(1)) await run(step);
    expect(log).toEqual([
      'createSecret done: minted and staged',
      'createSecret done: adopted the version that is staged',
      'setSecret done: the pending value can be read',
      'testSecret done: the pending token is one that receivers accept',
      'finishSecret done: the version is AWSCURRENT',
      ...ROTATION_STEPS.map((step) => `${step} skipped: the version is already AWSCURRENT`),
    ]);
    expect(mints).toEqual(['OK']);
  });

  test('a version without a value is nothing to set or to test, where Secrets Manager tries a rotation', async () => {
    const { run, log } = stepsFixture();
    await run('setSecret');
    await run('testSecret');
    expect(log).toEqual([
      'setSecret skipped: the pending version has no value',
      'testSecret skipped: the pending version has no value',
    ]);
    await expect(run('finishSecret')).rejects.toMatchObject({
      code: 'ROTATION_PENDING_EMPTY',
      message: `The pending version ${ID} has no value to read. Rotate again; if it stays, clear AWSPENDING from it.`,
    });
  });

  test('a copy of what is current is not tested, and left to Secrets Manager', async () => {
    const { run, log, labels, store, provider } = stepsFixture();
    await store.putPending(SECRET, ID, (await store.read(SECRET)).value);
    await run('testSecret');
    expect(log).toEqual(['testSecret skipped: the pending version has the current value']);
    expect([await labels(), provider.verified]).toEqual([['AWSPENDING'], []]);
  });

  test('a copy of what is current that a trial has left is cleared, and nothing is minted', async () => {
    const { run, log, labels, store, provider } = stepsFixture();
    await store.putPending(SECRET, ID, (await store.read(SECRET)).value);
    await expect(run('createSecret')).rejects.toMatchObject({
      code: 'ROTATION_PENDING_INVALID',
      kind: 'retry',
      message: expect.stringMatching(/left over from a test.*the next rotation starts clean/),
    });
    expect([log, await labels(), provider.mints]).toEqual([[], undefined, 0]);
  });

  test('a secret without a current version has none to compare with', async () => {
    const { store, rotator, served, provider } = rotationFixture({
      firstVersionBecomesCurrent: false,
    });
    store.configure(SECRET, { rotationEnabled: true });
    store.registerPending(SECRET, ID);
    const { steps } = rotator();
    for (const step of ROTATION_STEPS) await steps[step](ID, managed);
    expect(await served()).toBe('token-1');
    // As it is minted, tested and promoted: each step may be called by itself.
    expect(provider.verified).toEqual(['token-1', 'token-1', 'token-1']);
  });

  test('what cannot be compared, as the store fails, is not promoted', async () => {
    const { run, stage, store, log } = stepsFixture();
    await stage('staged');
    const failure = new SecretStoreError('STORE_THROTTLED', 'throttled');
    store.before = ({ method, versionId }) => {
      if (method === 'read' && versionId === undefined) throw failure;
    };
    await expect(run('testSecret')).rejects.toBe(failure);
    expect(log).toEqual([]);
  });
});

describe('what a step refuses', () => {
  const description = (labels: readonly (readonly [string, readonly string[]])[] = []) => ({
    secretId: SECRET,
    labels: new Map(labels),
    rotationEnabled: false,
    readOnlyReplica: false,
  });
  const names = `secret "${SECRET}"`;

  test.each<[string, StepCall, ReturnType<typeof description>, string, string]>([
    [
      'a secret that Secrets Manager does not rotate',
      managed,
      description([[ID, ['AWSPENDING']]]),
      'ROTATION_NOT_ENABLED',
      `Rotation is not enabled for ${names}. Enable it in Secrets Manager before its rotation function runs.`,
    ],
    [
      'a version without labels',
      own,
      description(),
      'ROTATION_VERSION_UNKNOWN',
      `Version ${ID} has no label in ${names}: it was never staged for rotation, or it was given up.`,
    ],
    [
      'a version with other labels',
      own,
      description([[ID, ['AWSPREVIOUS', 'odd']]]),
      'ROTATION_NOT_PENDING',
      `Version ${ID} of ${names} is not AWSPENDING (it has AWSPREVIOUS, odd): another rotation took its place.`,
    ],
  ])('%s, and says which', (_what, call, described, code, message) => {
    expect(decideStep('testSecret', ID, described, call)).toEqual({ due: 'refuse', code, message });
  });

  test('a version that is not described yet is looked for again, for three seconds', async () => {
    const { run, store, clock, served, provider } = stepsFixture(own);
    store.configure(SECRET, { rotationEnabled: true });
    const before = clock.now();
    await expect(run('createSecret', managed)).rejects.toMatchObject({
      code: 'ROTATION_VERSION_UNKNOWN',
    });
    expect([clock.now() - before, store.calls.describe, provider.mints]).toEqual([3_100, 6, 0]);
    store.before = ({ method, nth }) => {
      if (method === 'describe' && nth === 9) store.registerPending(SECRET, ID);
    };
    for (const step of ROTATION_STEPS) await run(step, managed);
    expect(await served()).toBe('token-1');
  });

  test('what is certain is not looked for again', async () => {
    const { run, store, clock } = stepsFixture(own);
    const before = clock.now();
    await expect(run('testSecret', managed)).rejects.toMatchObject({
      code: 'ROTATION_NOT_ENABLED',
    });
    expect([clock.now() - before, store.calls.describe]).toEqual([0, 1]);
  });

  test('a version of its own without a value', async () => {
    const { run, store, log } = stepsFixture(own);
    store.registerPending(SECRET, ID);
    for (const step of ['setSecret', 'testSecret', 'finishSecret'] as const) {
      await expect(run(step)).rejects.toMatchObject({ code: 'ROTATION_PENDING_EMPTY' });
    }
    expect(log).toEqual([]);
  });

  test.each([
    ['no service token', 'nonsense', 'ROTATION_PENDING_INVALID', 'held no service token'],
    ['too little life', HOUR, 'ROTATION_PENDING_AGED', 'had too little life left'],
  ])('a pending version with %s, which is cleared', async (_what, held, code, text) => {
    const { run, stage, store, labels } = stepsFixture();
    if (typeof held === 'number') await stage('aged', held);
    else await store.putPending(SECRET, ID, held);
    await expect(run('createSecret')).rejects.toMatchObject({
      code,
      kind: 'retry',
      message: expect.stringMatching(
        new RegExp(`^The .*pending version ${ID} ${text} and was cleared; the next rotation .*`),
      ),
      ...(code === 'ROTATION_PENDING_INVALID' && {
        cause: expect.objectContaining({ code: 'TOKEN_SECRET_INVALID' }),
      }),
    });
    expect(await labels()).toBeUndefined();
  });

  test('nothing that has a millisecond more of life than is needed', async () => {
    const { run, stage } = stepsFixture();
    await stage('young', HOUR + 1);
    expect(await run('createSecret')).toBe('adopted');
  });
});

describe('the token that a provider mints', () => {
  test.each([
    ['refused', rejected, 'ROTATION_TOKEN_REJECTED', /TOKEN_AUDIENCE_WRONG\): the audience is/],
    [
      'not valid yet',
      new BrokerError('TOKEN_NOT_YET_VALID', 'rejected', 'Check the clocks.'),
      'ROTATION_TOKEN_NOT_YET_VALID',
      /cannot be used yet: Check the clocks\. .*rotate again once the clocks agree/,
    ],
  ])('and receivers would find %s', async (_what, verifyFailure, code, message) => {
    const { run, provider } = stepsFixture();
    await run('createSecret');
    provider.verifyFailure = verifyFailure;
    await expect(run('testSecret')).rejects.toMatchObject({
      code,
      message: expect.stringMatching(message),
      cause: verifyFailure,
    });
  });

  test.each([
    ['without its keys', keysDown],
    ['because of a bug', new Error('a bug')],
  ])('cannot be verified %s', async (_why, failure) => {
    const { run } = stepsFixture(managed, { verify: () => Promise.reject(failure) });
    await run('createSecret');
    await expect(run('testSecret')).rejects.toBe(failure);
  });

  test.each([
    ['exactly as long as is needed', HOUR, 3_600],
    ['not at all', -HOUR, 0],
  ])('lives %s: that is too short', async (_what, lifetime, seconds) => {
    const { run, provider, mints, store } = stepsFixture();
    provider.lifetime = lifetime;
    await expect(run('createSecret')).rejects.toMatchObject({
      code: 'ROTATION_TOKEN_TOO_SHORT',
      kind: 'misconfigured',
      message:
        `The provider minted a token with ${seconds} s of life, and more than 3600 s are needed. ` +
        "Raise the token lifetime in the provider's settings for this audience, or lower BROKER_MIN_REMAINING_SECONDS.",
    });
    expect([mints, store.calls.putPending]).toEqual([['OK'], 0]);
    provider.lifetime = HOUR + 1;
    expect(await run('createSecret')).toBe('minted');
  });

  test.each([
    ['PROVIDER_TIMEOUT', new BrokerError('PROVIDER_TIMEOUT', 'retry', 'late')],
    ['UNEXPECTED', new Error('a bug')],
  ])('does not come, which is counted as %s', async (code, failure) => {
    const { run, mints } = stepsFixture(managed, { mint: () => Promise.reject(failure) });
    await expect(run('createSecret')).rejects.toBe(failure);
    expect(mints).toEqual([code]);
  });

  test('is the same as before, and is to be withdrawn: that would end the service', async () => {
    const { run, store, clock } = stepsFixture(managed, {
      mint: () => Promise.resolve(tokenOf('old', clock.now())),
    });
    await expect(run('createSecret', { ...managed, withdraws: true })).rejects.toMatchObject({
      code: 'ROTATION_TOKEN_UNCHANGED',
      kind: 'misconfigured',
      message: expect.stringMatching(/^The provider gave the same token.*rotate its client cred/),
    });
    expect(store.calls.putPending).toBe(0);
    // Where nothing is withdrawn, it does.
    expect(await run('createSecret')).toBe('minted');
  });
});

describe('a token that could not be staged', () => {
  test.each([
    ['within five minutes', 299_999, 1],
    ['at once', 0, 1],
    ['after five minutes', 300_000, 2],
    ['after the clock was set back', -1, 2],
  ])('%s', async (_when, later, mints) => {
    const { run, store, clock, provider } = stepsFixture(managed, {
      mint: async () => {
        provider.mints += 1;
        return tokenOf(`token-${provider.mints}`, clock.now());
      },
    });
    store.before = ({ method }) => {
      if (method === 'putPending') throw new SecretStoreError('STORE_THROTTLED', 'throttled');
    };
    await expect(run('createSecret')).rejects.toMatchObject({ code: 'STORE_THROTTLED' });
    store.before = () => undefined;
    clock.advance(later);
    expect(await run('createSecret')).toBe('minted');
    expect(provider.mints).toBe(mints);
  });

  test.each([
    ['a third', 60_000, 1],
    ['less than a third', 60_001, 2],
  ])('with %s of its life left', async (_what, later, mints) => {
    const { run, store, clock, provider } = stepsFixture(managed, {
      minimumLife: 80_000,
      mint: async () => {
        provider.mints += 1;
        return tokenOf(`token-${provider.mints}`, clock.now(), 90_000);
      },
    });
    store.before = ({ method }) => {
      if (method === 'putPending') throw new SecretStoreError('STORE_THROTTLED', 'throttled');
    };
    await expect(run('createSecret')).rejects.toMatchObject({ code: 'STORE_THROTTLED' });
    store.before = () => undefined;
    clock.advance(later);
    expect(await run('createSecret')).toBe('minted');
    expect(provider.mints).toBe(mints);
  });
});

describe('another process was quicker', () => {
  /** Something happens before the first call of a method. */
  const before = (
    { store }: ReturnType<typeof stepsFixture>,
    wanted: string,
    happens: () => unknown,
  ): void => {
    store.before = async ({ method }) => {
      if (method !== wanted) return;
      store.before = () => undefined;
      await happens();
    };
  };

  test('to stage the version: that one is adopted', async () => {
    const fixture = stepsFixture(own);
    before(fixture, 'putPending', () => fixture.stage('theirs'));
    expect(await fixture.run('createSecret')).toBe('adopted');
    expect(fixture.log).toEqual(['createSecret done: adopted what another had staged']);
  });

  test('to stage and promote it: nothing is left to do', async () => {
    const fixture = stepsFixture(own);
    before(fixture, 'putPending', async () => {
      await fixture.stage('theirs');
      await fixture.store.promote(SECRET, ID, fixture.current);
      await fixture.store.clearPending(SECRET, ID);
    });
    expect(await fixture.run('createSecret')).toBe('skipped');
    expect(fixture.log).toEqual(['createSecret skipped: the version is already AWSCURRENT']);
    expect(await fixture.served()).toBe('theirs');
  });

  test('to stage it, and gave it up', async () => {
    const fixture = stepsFixture(own);
    before(fixture, 'putPending', async () => {
      await fixture.stage('theirs');
      await fixture.store.clearPending(SECRET, ID);
    });
    const givenUp = {
      code: 'ROTATION_NOT_PENDING',
      kind: 'retry',
      message: `Version ${ID} of secret "${SECRET}" was given up by another attempt; rotate again.`,
    };
    await expect(fixture.run('createSecret')).rejects.toMatchObject({
      ...givenUp,
      cause: expect.objectContaining({ code: 'VERSION_CONFLICT' }),
    });
    await expect(fixture.run('createSecret')).rejects.toMatchObject(givenUp);
    expect(fixture.provider.mints).toBe(1);
  });

  test('to stage and promote it, while this one looks for it: nothing is minted', async () => {
    const fixture = stepsFixture();
    before(fixture, 'read', async () => {
      before(fixture, 'describe', async () => {
        await fixture.stage('theirs');
        await fixture.store.promote(SECRET, ID, fixture.current);
      });
    });
    expect(await fixture.run('createSecret')).toBe('skipped');
    expect([fixture.provider.mints, await fixture.served()]).toEqual([0, 'theirs']);
  });

  test('to promote it, before this one could read it', async () => {
    const fixture = stepsFixture();
    await fixture.stage('theirs');
    before(fixture, 'read', async () => {
      await fixture.store.promote(SECRET, ID, fixture.current);
      await fixture.store.clearPending(SECRET, ID);
    });
    await fixture.run('finishSecret');
    expect(fixture.log).toEqual(['finishSecret skipped: the version is already AWSCURRENT']);
    expect(fixture.store.calls.promote).toBe(1);
  });

  test('to promote it, by what the run had read before', async () => {
    const fixture = stepsFixture(own);
    const description = await fixture.store.describe(SECRET);
    await fixture.stage('theirs');
    await fixture.store.promote(SECRET, ID, fixture.current);
    const run = { description, current: undefined };
    expect(await fixture.run('createSecret', { ...own, run })).toBe('skipped');
    expect(fixture.log).toEqual(['createSecret skipped: the version is already AWSCURRENT']);
    expect(fixture.provider.mints).toBe(0);
  });

  test('to promote it, after this one had read it', async () => {
    const fixture = stepsFixture();
    await fixture.stage('staged');
    before(fixture, 'promote', () => fixture.store.promote(SECRET, ID, fixture.current));
    await fixture.run('finishSecret');
    expect(fixture.log).toEqual(['finishSecret skipped: another process had promoted the version']);
  });

  test('to promote another version: that one is served', async () => {
    const fixture = stepsFixture();
    await fixture.stage('staged');
    before(fixture, 'promote', () => fixture.seedCurrent('newer'));
    await expect(fixture.run('finishSecret')).rejects.toMatchObject({
      code: 'ROTATION_SUPERSEDED',
      kind: 'retry',
      message: `Another rotation of secret "${SECRET}" was promoted before version ${ID}; that one is served.`,
      cause: expect.objectContaining({ code: 'PROMOTE_CONFLICT' }),
    });
    expect(await fixture.served()).toBe('newer');
  });

  test('to withdraw a version: what was minted before does not know, and is cleared', async () => {
    const fixture = stepsFixture();
    await fixture.stage('staged');
    const { clock, store } = fixture;
    const newer = { ...tokenOf('newer', clock.now()), withdrawn: [fixture.current] };
    store.edit(SECRET, serializeServiceToken(newer));
    await expect(fixture.run('finishSecret')).rejects.toMatchObject({
      code: 'ROTATION_SUPERSEDED',
      message: `Another rotation of secret "${SECRET}" was promoted after version ${ID} was minted, which does not withdraw all that it has to and was cleared; rotate again.`,
    });
    expect([await fixture.served(), await fixture.labels()]).toEqual(['newer', undefined]);
  });

  test('a store that fails to promote is no conflict', async () => {
    const fixture = stepsFixture();
    await fixture.stage('staged');
    const failure = new SecretStoreError('STORE_TIMEOUT', 'no answer');
    before(fixture, 'promote', () => Promise.reject(failure));
    await expect(fixture.run('finishSecret')).rejects.toBe(failure);
  });
});

test.each([
  ['passed on', managed, { rotationToken: 'sensitive' }],
  ['left out where there is none', { managed: true } as const, {}],
])("Secrets Manager's rotation token is %s", async (_what, call, options) => {
  const { store, run } = stepsFixture(call);
  const passed: unknown[] = [];
  const putPending = store.putPending.bind(store);
  Object.assign(store, {
    putPending: (...[secretId, versionId, value, given]: Parameters<SecretStore['putPending']>) => {
      passed.push(given);
      return putPending(secretId, versionId, value);
    },
  });
  await run('createSecret');
  expect(passed).toStrictEqual([options]);
});
