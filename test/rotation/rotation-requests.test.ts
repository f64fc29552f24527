import { afterEach, describe, expect, test } from '@jest/globals';
import { isWithdrawing, slotKey, versionIdOf } from '../../src/rotation/claim.js';
import { isSuccess, RotationOutcomes, type RotationOutcome } from '../../src/rotation/rotation.js';
import { SecretStoreError, versionWithLabel } from '../../src/secrets/secret-store.js';
import { serializeServiceToken } from '../../src/tokens/service-token.js';
import { startTelemetry, stopTelemetry } from '../support/telemetry.js';
import { HOUR, keysDown, rejected, rotationFixture, SECRET, tokenOf } from './rotation-fixture.js';
import { pause } from '../support/pause.js';

const NOW = Date.parse('2026-11-22T12:00:00Z');
const slotStart = Date.parse('2026-11-22T03:00:00Z');
const slot = { trigger: 'schedule', key: slotKey(slotStart), slotStart } as const;
const cli = { trigger: 'cli' } as const;
const forced = { trigger: 'cli', force: true } as const;
const revoking = { trigger: 'cli', revoke: true } as const;

describe('a token is too young for a request to bring another', () => {
  test.each([
    ['just minted', 0, 25 * HOUR, true],
    ['a minute old, nearly', 59_999, 25 * HOUR, true],
    ['a minute old', 60_000, 25 * HOUR, false],
    ['minted by a clock that is ahead', -59_999, 25 * HOUR, true],
    ['minted by a clock that is a minute ahead', -60_000, 25 * HOUR, false],
    ['with life enough', 0, HOUR + 1, true],
    ['with too little life', 0, HOUR, false],
  ])('%s', (_what, age, life, isRecent) => {
    const { rotator } = rotationFixture();
    const current = { versionId: 'v', generatedAt: NOW - age, expiresAt: NOW + life };
    expect(rotator({ manualInterval: 60_000 }).isRecent(current)).toBe(isRecent);
    // By default none is.
    expect(rotator().isRecent(current)).toBe(false);
    expect(rotator({ manualInterval: 60_000 }).isRecent(undefined)).toBe(false);
  });

  test.each([
    ['for one who asks', cli, undefined, 'recent'],
    ['for one who asks, where Secrets Manager rotates', cli, { rotationEnabled: true }, 'recent'],
    ['but not for one who forces it', forced, undefined, 'rotated'],
    ['nor for one who withdraws', revoking, undefined, 'rotated'],
    [
      'nor for a rotation that is for something else',
      { trigger: 'early', key: 'early v' } as const,
      undefined,
      'rotated',
    ],
  ])('%s', async (_who, request, traits, result) => {
    const { rotator, seedCurrent, store, provider } = rotationFixture();
    const current = seedCurrent('young', NOW);
    if (traits) store.configure(SECRET, traits);
    const rotated = await rotator({ manualInterval: 60_000 }).rotate(request);
    expect(rotated.result).toBe(result);
    expect(rotated.versionId === current).toBe(result === 'recent');
    expect([provider.mints, store.calls.requestRotation]).toEqual([result === 'recent' ? 0 : 1, 0]);
  });

  test('of a replica is rotated elsewhere, however young it is', async () => {
    const { rotator, seedCurrent, store } = rotationFixture();
    seedCurrent('young', NOW);
    store.configure(SECRET, { readOnlyReplica: true });
    await expect(rotator({ manualInterval: 60_000 }).rotate(cli)).rejects.toMatchObject({
      code: 'ROTATION_MANAGED_ELSEWHERE',
      kind: 'rejected',
      message: `Secret "${SECRET}" is a replica of another Region's secret: rotate it in its primary Region.`,
    });
  });
});

describe('who asks at the same time', () => {
  test.each([
    ['for the same', cli, cli, 1],
    ['with force', forced, forced, 1],
    ['to withdraw', revoking, revoking, 1],
    ['with force, and without', forced, cli, 2],
    ['with force, and to withdraw', { ...revoking, force: true }, forced, 2],
    ['for a slot, and by hand', slot, cli, 2],
  ] as const)('of one process, %s', async (_how, one, other, mints) => {
    const { rotator, provider, seedCurrent } = rotationFixture();
    seedCurrent('old', NOW - 24 * HOUR);
    const both = rotator();
    const ended = await Promise.allSettled([both.rotate(one), both.rotate(other)]);
    // Of two rotations that run side by side one may take the place of the other, which says so.
    const rotated = ended.flatMap((end) => (end.status === 'fulfilled' ? [end.value] : []));
    expect(rotated[0]?.result).toBe('rotated');
    expect([provider.mints, both.outcomes.list().length]).toEqual([mints, mints]);
    if (mints === 1) expect(rotated[1]).toBe(rotated[0]);
    // Nobody joins one that has ended.
    await both.rotate(forced);
    expect(provider.mints).toBe(mints + 1);
  });

  test.each([
    ['shares one rotation of the first token', false, 60_000, 1],
    ['shares one rotation of the version that is current', true, 60_000, 1],
    ['shares none by default', true, 0, 2],
  ])('of two processes, %s', async (_what, isSeeded, manualInterval, mints) => {
    const { rotator, provider, seedCurrent, clock, store } = rotationFixture();
    if (isSeeded) seedCurrent('old', NOW - 24 * HOUR);
    const processes = [rotator({ manualInterval }), rotator({ manualInterval })];
    await Promise.allSettled(processes.map((one) => one.rotate(cli)));
    expect([provider.mints, store.calls.putClaim > 0]).toEqual([mints, manualInterval > 0]);
    // The version that is current then is another.
    clock.advance(HOUR);
    await processes[0]?.rotate(cli);
    clock.advance(HOUR);
    await processes[1]?.rotate(cli);
    expect(provider.mints).toBe(mints + 2);
  });
});

describe('a rotation for a key', () => {
  test('is done once', async () => {
    const { rotator, provider } = rotationFixture();
    const one = rotator();
    const { versionId } = await one.rotate(slot);
    expect(await one.rotate({ trigger: 'schedule', key: slot.key })).toEqual({
      versionId,
      result: 'already-rotated',
    });
    expect(provider.mints).toBe(1);
  });

  test.each([
    ['minted as the slot began', slotStart, 25 * HOUR, 'already-rotated'],
    ['minted before', slotStart - 1, 25 * HOUR, 'rotated'],
    ['that lasts', NOW, HOUR + 1, 'already-rotated'],
    ['that does not last', NOW, HOUR, 'rotated'],
  ])('finds a token %s', async (_what, generatedAt, lifetime, result) => {
    const { rotator, seedCurrent } = rotationFixture();
    seedCurrent('by another', generatedAt, lifetime);
    expect((await rotator().rotate(slot)).result).toBe(result);
  });
});

test.each([
  // Who rotates, and which version is current; what is current, the slot's version before and after the claim, and the staged value.
  [
    'the slot',
    slot,
    { describe: 2, read: 4, putClaim: 1, putPending: 1, promote: 1 },
    { describe: 2, read: 5, putClaim: 1, putPending: 1, promote: 1 },
  ],
  [
    'itself',
    forced,
    { describe: 2, read: 4, putPending: 1, promote: 1 },
    { describe: 2, read: 3, putPending: 1 },
  ],
])(
  'reads for %s no more than it has to, and verifies once',
  async (_what, request, calls, first) => {
    for (const isFirst of [false, true]) {
      const { rotator, store, seedCurrent, provider } = rotationFixture();
      if (!isFirst) seedCurrent('old', NOW - 24 * HOUR);
      await rotator().rotate(request);
      const made = Object.fromEntries(Object.entries(store.calls).filter(([, count]) => count > 0));
      expect([made, provider.verified]).toEqual([isFirst ? first : calls, ['token-1']]);
    }
  },
);

describe('a rotation that finds its version staged by another, as it would stage its own', () => {
  const versionId = versionIdOf(SECRET, slot.key, 0);
  const stagedBefore = ({ store, clock }: ReturnType<typeof rotationFixture>): void => {
    store.before = async ({ method }) => {
      if (method !== 'putPending') return;
      store.before = () => undefined;
      const theirs = serializeServiceToken(tokenOf('theirs', clock.now()));
      await store.putPending(SECRET, versionId, theirs);
    };
  };

  test('verifies that one, too, before it is served', async () => {
    const fixture = rotationFixture({ firstVersionBecomesCurrent: false });
    stagedBefore(fixture);
    expect((await fixture.rotator().rotate(slot)).result).toBe('adopted');
    expect(fixture.provider.verified).toEqual(['token-1', 'theirs']);
  });

  test('does not serve it when it would bring a withdrawn version back', async () => {
    const fixture = rotationFixture();
    const { store } = fixture;
    const current = {
      ...tokenOf('current', NOW - 24 * HOUR),
      withdrawn: ['stolen'],
      withdrawnUntil: NOW + HOUR,
    };
    store.edit(SECRET, serializeServiceToken(current));
    stagedBefore(fixture);
    await expect(fixture.rotator().rotate(slot)).rejects.toMatchObject({
      code: 'ROTATION_SUPERSEDED',
      message: expect.stringContaining('does not withdraw all that it has to and was cleared'),
    });
    expect(await fixture.served()).toBe('current');
  });
});

describe('a rotation that fails', () => {
  const cases = [
    ['releases its claim', slot, 1],
    ['has none to release that is for itself', forced, 0],
  ] as const;

  test.each(cases)('%s', async (_what, request, released) => {
    const { rotator, provider, store, seedCurrent } = rotationFixture();
    seedCurrent('old', NOW - 24 * HOUR);
    provider.mintFailure = keysDown;
    const kept: unknown[] = [];
    const one = rotator({ observer: { claimKept: (error) => kept.push(error) } });
    await expect(one.rotate(request)).rejects.toBe(keysDown);
    expect([store.calls.putClaim, store.calls.releaseClaim]).toEqual([released, released]);
    expect(kept).toEqual([]);
  });

  test('and cannot release it either fails for what it failed for', async () => {
    const { rotator, provider, store } = rotationFixture();
    provider.mintFailure = keysDown;
    const kept: unknown[] = [];
    const failure = new SecretStoreError('STORE_THROTTLED', 'throttled');
    store.before = ({ method }) => {
      if (method === 'releaseClaim') throw failure;
    };
    await expect(rotator().rotate(slot)).rejects.toBe(keysDown);
    await expect(rotator({ observer: {} }).rotate({ ...slot, key: 'x' })).rejects.toBe(keysDown);
    await expect(
      rotator({ observer: { claimKept: (error) => kept.push(error) } }).rotate({
        ...slot,
        key: 'y',
      }),
    ).rejects.toBe(keysDown);
    expect(kept).toEqual([failure]);
  });

  test.each([
    ['as the keys cannot be had, keeps its token', keysDown, true],
    ['as receivers refuse it, gives it up', rejected, false],
  ])('%s', async (_why, verifyFailure, isKept) => {
    const { rotator, provider, store, seedCurrent } = rotationFixture();
    seedCurrent('old');
    provider.verifyFailure = verifyFailure;
    await expect(rotator().rotate(forced)).rejects.toMatchObject({
      code: isKept ? 'KEYS_UNAVAILABLE' : 'ROTATION_TOKEN_REJECTED',
    });
    const pending = versionWithLabel(await store.describe(SECRET), 'AWSPENDING');
    expect(pending !== undefined).toBe(isKept);
  });
});

describe('a request to Secrets Manager', () => {
  const managed = () => {
    const fixture = rotationFixture();
    fixture.seedCurrent('old');
    fixture.store.configure(SECRET, { rotationEnabled: true });
    return fixture;
  };

  test.each([
    [cli, false],
    [revoking, true],
  ])('%j says by its id whether it withdraws: %s', async (request, withdraws) => {
    const { versionId, result } = await managed().rotator().rotate(request);
    expect([isWithdrawing(versionId), result]).toEqual([withdraws, 'requested']);
  });

  test('whose answer is lost is a failure, though it was heard', async () => {
    const { rotator, store } = managed();
    const lost = new SecretStoreError('STORE_TIMEOUT', 'no answer');
    store.after = ({ method }) => {
      if (method === 'requestRotation') throw lost;
    };
    await expect(rotator().rotate({ trigger: 'watchdog', key: 'k' })).rejects.toBe(lost);
    // Asked again, it is the very rotation that has not ended.
    store.after = () => undefined;
    expect(await rotator().rotate({ trigger: 'watchdog', key: 'k' })).toMatchObject({
      result: 'requested',
    });
  });

  test.each(['schedule', 'early', 'secrets-manager'] as const)(
    'is not up to %s',
    async (trigger) => {
      const { rotator, store } = managed();
      await expect(rotator().rotate({ trigger, key: 'k' })).rejects.toMatchObject({
        code: 'ROTATION_MANAGED_ELSEWHERE',
        message: `Secrets Manager rotates secret "${SECRET}" by its own schedule: this one leaves it alone.`,
      });
      expect(store.calls.requestRotation).toBe(0);
    },
  );
});

describe('what is current', () => {
  test('is known with what it withdraws', async () => {
    const { rotator, store, clock } = rotationFixture();
    const token = { ...tokenOf('new', NOW), withdrawn: ['v'], withdrawnUntil: NOW + HOUR };
    const versionId = store.edit(SECRET, serializeServiceToken(token));
    const { generatedAt, expiresAt, withdrawn, withdrawnUntil } = token;
    expect(await rotator().current()).toEqual({
      versionId,
      generatedAt,
      expiresAt,
      withdrawn,
      withdrawnUntil,
    });
    const plain = store.edit(SECRET, serializeServiceToken(tokenOf('plain', clock.now())));
    expect(Object.keys((await rotator().current()) ?? {})).toEqual([
      'versionId',
      'generatedAt',
      'expiresAt',
    ]);
    expect((await rotator().current())?.versionId).toBe(plain);
  });

  test('is nothing that is no token, and not known while the store fails', async () => {
    const { rotator, store } = rotationFixture();
    expect(await rotator().current()).toBeUndefined();
    store.edit(SECRET, 'nonsense');
    expect(await rotator().current()).toBeUndefined();
    const failure = new SecretStoreError('STORE_THROTTLED', 'throttled');
    store.before = () => {
      throw failure;
    };
    await expect(rotator().current()).rejects.toBe(failure);
  });
});

describe('a process that stops', () => {
  test('begins no rotation any more, and says who does', async () => {
    const { rotator, provider } = rotationFixture();
    const one = rotator();
    await one.stop();
    await expect(one.rotate(slot)).rejects.toMatchObject({
      code: 'ROTATION_STOPPED',
      kind: 'retry',
      message:
        'The rotation was ended, because this process stops: it had not minted yet. Another replica, or the next start, rotates.',
    });
    expect(provider.mints).toBe(0);
  });

  test('lets a mint end that takes less than four seconds', async () => {
    const { rotator, clock, served } = rotationFixture();
    const one = rotator({
      mint: async (signal) => {
        await clock.sleep(3_900, signal);
        return tokenOf('slow', clock.now());
      },
    });
    const running = one.rotate(slot);
    while (clock.now() === NOW) await pause();
    await one.stop();
    expect(await served()).toBe('slow');
    expect((await running).result).toBe('rotated');
  });

  test.each([
    ['that can be ended', true, 4_000],
    ['that hangs', false, 6_000],
  ])('abandons a mint %s', async (_what, isHeard, takes) => {
    const { rotator, clock } = rotationFixture();
    let begun = (): void => undefined;
    const minting = new Promise<void>((resolve) => (begun = resolve));
    const one = rotator({
      mint: (signal) =>
        new Promise((_resolve, reject) => {
          begun();
          if (isHeard) signal?.addEventListener('abort', () => reject(new Error('aborted')));
        }),
    });
    const running = one.rotate(slot).catch((error: unknown) => error);
    await minting;
    const before = clock.now();
    await one.stop();
    expect(clock.now() - before).toBe(takes);
    if (!isHeard) return;
    expect(await running).toMatchObject({
      code: 'ROTATION_STOPPED',
      message:
        'The rotation was ended, because this process stops: its mint took too long, and was abandoned. Another replica, or the next start, rotates.',
    });
  });
});

describe('what is kept of rotations', () => {
  test('when each ended, what it took and what it was for', async () => {
    const { rotator, clock } = rotationFixture();
    const told: unknown[] = [];
    const one = rotator({ observer: { rotationEnded: (...all) => told.push(all) } });
    const { versionId } = await one.rotate(slot);
    const at = clock.now();
    const first = { at, durationMilliseconds: at - NOW, trigger: 'schedule', key: slot.key };
    expect(at - NOW).toBeGreaterThanOrEqual(500);
    expect(one.outcomes.list()).toEqual([{ ...first, versionId, result: 'rotated' }]);
    expect(told).toEqual([[one.outcomes.latest(), undefined]]);
  });

  test('of an error that is not expected, nothing but that', async () => {
    const bug = new Error('with a secret in it');
    const { rotator, clock } = rotationFixture();
    const told: (readonly [RotationOutcome, unknown])[] = [];
    const one = rotator({
      mint: () => {
        // And the clock is set back meanwhile.
        clock.advance(-HOUR);
        return Promise.reject(bug);
      },
      observer: { rotationEnded: (outcome, error) => told.push([outcome, error]) },
    });
    await expect(one.rotate(forced)).rejects.toBe(bug);
    expect(one.outcomes.list()).toEqual([
      {
        at: NOW - HOUR,
        durationMilliseconds: 0,
        trigger: 'cli',
        key: expect.stringMatching(/^manual [\da-f-]{36}$/),
        result: 'failed',
        code: 'UNEXPECTED',
        message: 'An unexpected error; see the log.',
      },
    ]);
    expect(told).toEqual([[one.outcomes.latest(), bug]]);
  });

  test.each([
    ['rotated', true],
    ['adopted', true],
    ['already-rotated', true],
    ['recent', false],
    ['requested', false],
    ['failed', false],
  ] as const)('%s counts as a success: %s', (result, counts) => {
    const outcomes = new RotationOutcomes();
    const outcome: RotationOutcome = {
      at: NOW,
      durationMilliseconds: 1,
      trigger: 'cli',
      key: 'k',
      result,
    };
    outcomes.add(outcome);
    expect(isSuccess(result)).toBe(counts);
    expect(outcomes.latestSuccess()).toBe(counts ? outcome : undefined);
    for (let count = 0; count < 30; count += 1) outcomes.add({ ...outcome, at: NOW + count });
    expect(outcomes.list().map(({ at }) => at - NOW)).toEqual(
      Array.from({ length: 20 }, (_, index) => 29 - index),
    );
  });
});

describe('the trace of a rotation', () => {
  afterEach(() => stopTelemetry());

  test.each([undefined, 'billing'])('of the token %s', async (tokenName) => {
    const telemetry = startTelemetry();
    const { rotator } = rotationFixture();
    await rotator({ ...(tokenName !== undefined && { tokenName }) }).rotate(slot);
    const name = { 'service_token.name': tokenName ?? 'default' };
    const step = (which: string) => ({
      name: `service_token.rotation.${which}`,
      attributes: {
        ...name,
        'service_token.rotation.step': which,
        'service_token.rotation.outcome': 'done',
      },
    });
    expect(telemetry.spans()).toMatchObject([
      { name: 'service_token.mint', attributes: name },
      step('createSecret'),
      step('setSecret'),
      step('testSecret'),
      {
        name: 'service_token.rotation.finishSecret',
        attributes: { ...name, 'service_token.rotation.step': 'finishSecret' },
      },
      {
        name: 'service_token.rotate',
        attributes: {
          ...name,
          'service_token.rotation.trigger': 'schedule',
          'service_token.rotation.result': 'rotated',
        },
      },
    ]);
    const durations = await telemetry.durations();
    expect(durations.map((one) => [one.name, one.attributes['service_token.name']])).toEqual(
      expect.arrayContaining([
        ['service_token.mint.duration', tokenName ?? 'default'],
        ['service_token.rotation.step.duration', tokenName ?? 'default'],
        ['service_token.rotate.duration', tokenName ?? 'default'],
      ]),
    );
  });
});
