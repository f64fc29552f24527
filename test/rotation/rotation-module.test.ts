import { afterEach, beforeEach, expect, jest, test } from '@jest/globals';
import { Test, type TestingModule } from '@nestjs/testing';
import { createSlots } from '../../src/rotation/coverage.js';
import { RotationModule, RotationSchedule } from '../../src/rotation/rotation-schedule.js';
import { TokenWatch } from '../../src/rotation/token-watch.js';
import { parseServiceToken, type ServiceToken } from '../../src/tokens/service-token.js';
import type { Clock } from '../../src/tokens/time.js';
import { HOUR, keysDown, rejected, rotationFixture, SECRET } from './rotation-fixture.js';

beforeEach(() => {
  // The interval alone: what is asynchronous goes on by itself.
  jest.useFakeTimers({
    doNotFake: ['setImmediate', 'clearImmediate', 'nextTick', 'queueMicrotask', 'performance'],
  });
});
afterEach(() => {
  jest.useRealTimers();
});

/** Until whoever is ready has run, and nobody sleeps by the virtual clock. */
async function settled(): Promise<void> {
  for (let turns = 0; turns < 60; turns += 1) await new Promise((resolve) => setImmediate(resolve));
}

function tokenFixture(verify?: (token: ServiceToken) => Promise<void>) {
  const fixture = rotationFixture();
  const { clock, provider, store } = fixture;
  const rotator = fixture.rotator();
  const watch = new TokenWatch({
    current: async () => {
      const { versionId, value } = await store.read(SECRET);
      return { versionId, token: parseServiceToken(value) };
    },
    knownVersionId: () => undefined,
    verify: verify ?? provider.verify,
    clock,
    observer: {},
  });
  const schedule = new RotationSchedule({
    rotator,
    slots: createSlots('0 3 * * *'),
    minimumRemaining: HOUR,
    clock,
    refusal: () => watch.refusal(),
  });
  return { ...fixture, newRotator: fixture.rotator, rotator, watch, schedule };
}

type Options = Awaited<
  ReturnType<Parameters<typeof RotationModule.registerAsync>[0]['useFactory']>
>;

async function start(options: Options): Promise<TestingModule> {
  const app = await Test.createTestingModule({
    imports: [RotationModule.registerAsync({ useFactory: () => options })],
  }).compile();
  await app.init();
  await settled();
  return app;
}

test.each([
  ['each second', {}, 1_000],
  ['as often as it is told', { checkInterval: 5_000 }, 5_000],
])('checks at start, and %s until the application closes', async (_how, options, period) => {
  const { schedule, rotator, clock, served } = tokenFixture();
  const app = await start({ tokens: [{ schedule, rotator }], ...options });
  expect(await served()).toBe('token-1');
  clock.advance(24 * HOUR);
  jest.advanceTimersByTime(period - 1);
  await settled();
  expect(await served()).toBe('token-1');
  jest.advanceTimersByTime(1);
  await settled();
  expect(await served()).toBe('token-2');
  await app.close();
  clock.advance(24 * HOUR);
  jest.advanceTimersByTime(2 * period);
  await settled();
  expect(await served()).toBe('token-2');
  expect(jest.getTimerCount()).toBe(0);
});

test('checks each of its tokens, also one that only its watch looks after', async () => {
  const [one, other] = [tokenFixture(), tokenFixture()];
  other.seedCurrent('served', other.clock.now());
  const app = await start({
    tokens: [
      { schedule: one.schedule, rotator: one.rotator },
      { rotator: other.rotator, watch: other.watch },
    ],
  });
  expect([await one.served(), other.provider.verified]).toEqual(['token-1', ['served']]);
  await app.close();
  // A watch that was stopped looks no more.
  other.watch.expire();
  await other.watch.check();
  expect(other.provider.verified).toEqual(['served']);
});

test('replaces a token that the watch finds refused, before the next check', async () => {
  const { schedule, rotator, watch, served, seedCurrent, clock } = tokenFixture(
    async ({ accessToken }) => {
      // The schedule has found nothing to do by then.
      await clock.sleep(1_000);
      if (accessToken === 'refused') throw rejected;
    },
  );
  seedCurrent('refused', clock.now());
  const app = await start({ tokens: [{ schedule, rotator, watch }] });
  expect(await served()).toBe('token-1');
  expect(watch.refusal()?.code).toBe('TOKEN_AUDIENCE_WRONG');
  watch.expire();
  jest.advanceTimersByTime(1_000);
  await settled();
  expect(watch.refusal()).toBeUndefined();
  await app.close();
});

test('checks no more while it closes, which waits for the rotation that runs', async () => {
  const { store, clock, newRotator, schedule, served } = tokenFixture();
  // Nothing but the rotation ends the wait.
  const patient: Clock = {
    now: () => clock.now(),
    sleep: (milliseconds, signal) =>
      milliseconds < 1_000 ? clock.sleep(milliseconds, signal) : new Promise(() => undefined),
  };
  const rotator = newRotator({ clock: patient });
  let answer = (): void => undefined;
  const answered = new Promise<void>((resolve) => (answer = resolve));
  const app = await start({ tokens: [{ schedule, rotator }] });
  store.before = ({ method }) => (method === 'putPending' ? answered : undefined);
  const running = rotator.rotate({ trigger: 'cli' });
  await settled();
  let isClosed = false;
  const closing = app.close().then(() => (isClosed = true));
  await settled();
  expect([jest.getTimerCount(), isClosed]).toEqual([0, false]);
  answer();
  await closing;
  expect([(await running).result, await served()]).toEqual(['rotated', 'token-2']);
  await expect(rotator.rotate({ trigger: 'cli' })).rejects.toMatchObject({
    code: 'ROTATION_STOPPED',
  });
});

test('a watch that nobody listens to goes on without the keys', async () => {
  const { watch, provider, seedCurrent, clock } = tokenFixture();
  seedCurrent('served', clock.now());
  provider.verifyFailure = keysDown;
  await watch.check();
  provider.verifyFailure = undefined;
  clock.advance(60_000);
  await watch.check();
  expect(provider.verified).toEqual(['served']);
});

test('closes when the rotation that runs has ended, and none begins any more', async () => {
  const { store, provider, clock, rotator, served } = tokenFixture();
  let begin = (_turn: { hasWaited: boolean; end(): void }): void => undefined;
  const turn = new Promise<{ hasWaited: boolean; end(): void }>((resolve) => (begin = resolve));
  const schedule = new RotationSchedule({
    rotator,
    slots: createSlots('0 3 * * *'),
    minimumRemaining: HOUR,
    clock,
    enter: () => turn,
  });
  let answer = (): void => undefined;
  const answered = new Promise<void>((resolve) => (answer = resolve));
  store.before = ({ method }) => (method === 'putPending' ? answered : undefined);
  const app = await start({ tokens: [{ schedule, rotator }] });
  const running = rotator.rotate({ trigger: 'cli' });
  await settled();
  const closed = app.close();
  answer();
  await closed;
  expect(await served()).toBe('token-1');
  expect((await running).result).toBe('rotated');
  begin({ hasWaited: false, end: () => undefined });
  await settled();
  expect(provider.mints).toBe(1);
});

test('an application that was never started closes as well', async () => {
  const { schedule, rotator } = tokenFixture();
  const app = await Test.createTestingModule({
    imports: [
      RotationModule.registerAsync({ useFactory: () => ({ tokens: [{ schedule, rotator }] }) }),
    ],
  }).compile();
  await expect(app.close()).resolves.toBeUndefined();
  expect(schedule.standing()).toBeUndefined();
});
