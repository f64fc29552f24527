import { beforeAll, describe, expect, test } from '@jest/globals';
import { createSlots } from '../../src/rotation/coverage.js';
import { RotationSchedule } from '../../src/rotation/rotation-schedule.js';
import { serviceTokenOf } from '../../src/rotation/token-source.js';
import { createTokenCache } from '../../src/serving/token-cache.js';
import {
  createOfflineTestIssuer,
  type OfflineTestIssuer,
  type VerifierChanges,
} from '../../src/testing/index.js';
import { errorCode } from '../../src/tokens/errors.js';
import type { ServiceToken } from '../../src/tokens/service-token.js';
import type { Clock } from '../../src/tokens/time.js';
import { createTokenVerifier, type TokenVerifier } from '../../src/verification/index.js';
import { VirtualClock } from '../support/virtual-clock.js';
import { HOUR, rotationFixture, SECRET } from './rotation-fixture.js';

const MINUTE = 60_000;
const LIFE_SECONDS = 26 * 3_600;

/** Three machines: the broker's clock is right, and the others are ahead of it by so many seconds. */
interface Skew {
  readonly provider: number;
  readonly receiver: number;
}

const START = '2026-11-22T12:00:00Z';
const time = new VirtualClock(START);
let aheadOfProvider = 0;
let issuer: OfflineTestIssuer;
const aheadOf = (clock: Clock, seconds: () => number): Clock => ({
  now: () => clock.now() + seconds() * 1_000,
  sleep: (milliseconds, signal) => clock.sleep(milliseconds, signal),
});

beforeAll(async () => {
  const clock = aheadOf(time, () => aheadOfProvider);
  issuer = await createOfflineTestIssuer({ profile: 'rfc9068', clock });
});

const verifierBy = (clock: Clock, changes: VerifierChanges = {}): TokenVerifier =>
  createTokenVerifier({ ...issuer.verifierOptions(changes), clock });

/** A broker that mints, verifies, stages and serves real tokens, and a receiver that is called with what is served. */
function scene({ provider, receiver }: Skew) {
  time.set(START);
  aheadOfProvider = provider;
  const fixture = rotationFixture({ clock: time });
  const judge = verifierBy(time);
  let isDown = false;
  const mint = async (): Promise<ServiceToken> => {
    fixture.provider.mints += 1;
    if (isDown) throw new Error('down');
    const token = issuer.serviceToken({ expiresInSeconds: LIFE_SECONDS });
    return serviceTokenOf(token, LIFE_SECONDS, time.now());
  };
  const rotator = fixture.rotator({
    clock: time,
    mint,
    verify: async ({ accessToken }) => void (await judge.verify(accessToken)),
  });
  const failures: string[] = [];
  const schedule = new RotationSchedule({
    rotator,
    slots: createSlots('0 3 * * *'),
    minimumRemaining: HOUR,
    clock: time,
    random: () => 0.5,
    observer: { checkFailed: (error) => failures.push(errorCode(error)) },
  });
  const cache = createTokenCache({
    store: fixture.store,
    secretId: SECRET,
    clock: time,
    ttlMs: 5 * MINUTE,
    skewMs: MINUTE,
    random: () => 0.5,
  });
  const receiving = verifierBy(aheadOf(time, () => receiver));
  const token = async (): Promise<string | undefined> =>
    (await cache.get().catch(() => undefined))?.value.token.accessToken;
  /** The code that the receiver refuses the served token with; `undefined` when it accepts it. */
  const refusal = async (accessToken: string): Promise<string | undefined> =>
    receiving.verify(accessToken).then(() => undefined, errorCode);
  return {
    ...fixture,
    schedule,
    failures,
    token,
    refusal,
    failProvider: () => (isDown = true),
  };
}

const SKEWS = [-60, -59, -30, 0, 30, 59, 60];
const accepted = SKEWS.flatMap((provider) =>
  SKEWS.filter((receiver) => provider - receiver <= 60).map((receiver) => ({ provider, receiver })),
);

describe('broker, provider and receivers up to a minute apart', () => {
  test.each(accepted)(
    'provider $provider s, receiver $receiver s ahead: what is served is accepted, from the first second to the last',
    async (skew) => {
      const { schedule, token, refusal, failures, provider, failProvider } = scene(skew);
      let served = 0;
      const serve = async (): Promise<boolean> => {
        const accessToken = await token();
        if (accessToken === undefined) return false;
        served += 1;
        expect(await refusal(accessToken)).toBeUndefined();
        return true;
      };
      await schedule.check();
      const rotating = Date.parse('2026-11-23T03:00:00Z');
      for (const at of [0, 1, 6 * HOUR, rotating - time.now() - 1]) {
        time.set(Date.parse(START) + at);
        expect(await serve()).toBe(true);
      }
      // The new token is served at once, and accepted by the clocks of all three.
      time.set(rotating);
      await schedule.check();
      time.advance(5 * MINUTE);
      expect(await serve()).toBe(true);
      expect([provider.mints, failures]).toEqual([2, []]);
      // The provider is down: the token is served until a minute before its end.
      failProvider();
      time.set(rotating + 26 * HOUR - 5 * MINUTE);
      while (await serve()) time.advance(1_000);
      expect(served).toBeGreaterThan(60);
      expect(time.now()).toBeLessThanOrEqual(rotating + 26 * HOUR - MINUTE);
    },
  );
});

describe('further apart', () => {
  test.each([
    [61, 0],
    [90, 30],
    [300, 270],
    [3_600, 3_600],
  ])(
    'a provider %d s ahead of the broker: its token is kept, and served once it is valid, for one mint',
    async (provider, receiver) => {
      const fixture = scene({ provider: 0, receiver });
      const { schedule, token, refusal, failures } = fixture;
      await schedule.check();
      const old = await token();
      time.set('2026-11-23T03:00:00Z');
      const begun = time.now();
      aheadOfProvider = provider;
      await schedule.check();
      expect(failures).toEqual(['ROTATION_TOKEN_NOT_YET_VALID']);
      expect(await token()).toBe(old);
      while ((await token()) === old) {
        time.advance(5_000);
        await schedule.check();
      }
      const late = (time.now() - begun) / 1_000 - (provider - 60);
      // A pause of the schedule, and the life of the cache.
      expect(late).toBeGreaterThanOrEqual(0);
      expect(late).toBeLessThan(10 + 300);
      expect(await refusal((await token()) ?? '')).toBeUndefined();
      expect(fixture.provider.mints).toBe(2);
      expect(new Set(failures)).toEqual(new Set(['ROTATION_TOKEN_NOT_YET_VALID']));
    },
  );

  test('the first token of all is minted every five minutes at most until it is valid', async () => {
    const { schedule, token, provider } = scene({ provider: 1_200, receiver: 1_200 });
    await schedule.check();
    while ((await token()) === undefined) {
      time.advance(5_000);
      await schedule.check();
    }
    expect(time.now() - Date.parse(START)).toBeLessThan((1_200 + 300) * 1_000);
    expect(provider.mints).toBeLessThanOrEqual(5);
  });

  test.each([
    [0, -61, 1],
    [30, -60, 30],
    [60, -300, 300],
  ])(
    'a provider %d s ahead, a receiver %d s: it refuses a new token for %d s, and accepts it then',
    async (provider, receiver, seconds) => {
      const { schedule, token, refusal } = scene({ provider, receiver });
      await schedule.check();
      const accessToken = (await token()) ?? '';
      for (let passed = 0; passed < seconds; passed += 1) {
        expect(await refusal(accessToken)).toBe('TOKEN_NOT_YET_VALID');
        time.advance(1_000);
      }
      expect(await refusal(accessToken)).toBeUndefined();
    },
  );

  test('a receiver more than two minutes ahead refuses a token that is served in its last minutes', async () => {
    const { schedule, token, refusal, failProvider } = scene({ provider: 0, receiver: 121 });
    await schedule.check();
    failProvider();
    time.set(Date.parse(START) + 26 * HOUR - 61_000);
    expect(await refusal((await token()) ?? '')).toBe('TOKEN_EXPIRED');
    time.advance(-1_000);
    expect(await refusal((await token()) ?? '')).toBeUndefined();
  });
});
