import { beforeAll, describe, expect, test } from '@jest/globals';
import {
  createRemoteKeySet,
  type RemoteKeySet,
  type RemoteKeySetOptions,
} from '../../../src/verification/keys/remote-key-set.js';
import { KeyFetchError } from '../../../src/verification/verification-errors.js';
import { JwksServer } from '../support/jwks-server.js';
import { find, MINUTE, SECOND } from '../support/key-bench.js';
import { ManualClock } from '../support/manual-clock.js';
import { createSigner, type Signer } from '../support/signer.js';

let first: Signer;
let second: Signer;
beforeAll(async () => {
  first = await createSigner('first');
  second = await createSigner('second');
});

/** A provider in this process: what it answers can be changed, and how often it was asked is counted. */
function provider(options: Partial<RemoteKeySetOptions> = {}) {
  const clock = new ManualClock();
  const state = { requests: 0, keys: [first.jwk] as readonly unknown[], isDown: false };
  const keys = createRemoteKeySet({
    jwksUri: 'https://issuer.example/jwks',
    clock,
    random: () => 0,
    fetch: async () => {
      state.requests += 1;
      return state.isDown
        ? new Response(null, { status: 503 })
        : Response.json({ keys: state.keys });
    },
    ...options,
  });
  return { keys, clock, state };
}
const messageOf = (finding: Promise<unknown>): Promise<string> =>
  finding.then(
    () => 'found',
    (error: Error) => error.message,
  );

describe('options', () => {
  const options = (name: string, value: unknown): unknown => ({
    jwksUri: 'https://issuer.example/jwks',
    [name]: value,
  });
  const create = (name: string, value: unknown): RemoteKeySet =>
    createRemoteKeySet(options(name, value) as RemoteKeySetOptions);

  test.each([
    ['maxAgeSeconds', 1],
    ['staleSeconds', 0],
    ['cooldownSeconds', 1],
    ['timeoutSeconds', 0.001],
    ['maxBytes', 1],
  ])('%s is at least %d', (name, least) => {
    expect(create(name, least).state().status).toBe('empty');
    const message = `"${name}" must be a number, at least ${least}.`;
    for (const wrong of [least - 0.0005, -1, Number.NaN, Infinity, 'x', true]) {
      expect(() => create(name, wrong)).toThrow(
        expect.objectContaining({ code: 'VERIFIER_MISCONFIGURED', message }),
      );
    }
  });

  test('an address is enough: the clock of the machine, and its fetch', async () => {
    const server = await JwksServer.start(first.jwk);
    const keys = createRemoteKeySet({ jwksUri: server.uri });
    const before = Date.now();
    expect((await find(keys)).keyId).toBe('first');
    await server.stop();
    const { fetchedAt = 0 } = keys.state();
    expect(fetchedAt).toBeGreaterThanOrEqual(before);
    expect(fetchedAt).toBeLessThanOrEqual(Date.now());
  });

  test.each([
    [0, 8 * MINUTE],
    [0.5, 9 * MINUTE],
    [0.99, 9 * MINUTE + 58_800],
  ])('a share of %d puts off the refresh to %d', async (random, age) => {
    const { keys, clock } = provider({ random: () => random });
    await find(keys);
    clock.advance(age - 1);
    keys.atHand();
    expect(keys.state().fetches).toBe(1);
    clock.advance(1);
    keys.atHand();
    expect(keys.state().fetches).toBe(2);
  });
});

test('the state before the first fetch, and what it ignores after it', async () => {
  const { keys, clock, state } = provider();
  expect(keys.state()).toEqual({
    status: 'empty',
    fetchedAt: undefined,
    lastAttemptAt: undefined,
    lastError: undefined,
    keyIds: [],
    ignored: [],
    fetches: 0,
    failures: 0,
    changes: 0,
  });
  state.keys = [first.jwk, { ...second.jwk, use: 'enc' }, null];
  await find(keys);
  expect(keys.state()).toEqual({
    status: 'fresh',
    fetchedAt: clock.now(),
    lastAttemptAt: clock.now(),
    lastError: undefined,
    keyIds: ['first'],
    ignored: [
      { keyId: 'second', reason: 'not-for-signatures' },
      { keyId: undefined, reason: 'not-an-object' },
    ],
    fetches: 1,
    failures: 0,
    changes: 1,
  });
});

describe('how long a caller has to wait after failures in a row', () => {
  const pauses = async ({ keys }: ReturnType<typeof provider>): Promise<number[]> => {
    const seconds: number[] = [];
    for (let count = 0; count < 6; count += 1) {
      const failure = await keys.refresh().catch((error: unknown) => error);
      seconds.push((failure as { retryAfterSeconds: number }).retryAfterSeconds);
    }
    return seconds;
  };

  test.each([
    [0, [1, 2, 4, 8, 16, 30]],
    [10 * MINUTE - 1, [1, 2, 4, 8, 16, 30]],
    // From here on there are no keys to verify with.
    [10 * MINUTE, [1, 2, 4, 8, 15, 15]],
  ])('with keys of %d milliseconds that may be used for ten minutes', async (age, seconds) => {
    const bench = provider({ staleSeconds: 0 });
    await find(bench.keys);
    bench.clock.advance(age);
    bench.state.isDown = true;
    expect(await pauses(bench)).toEqual(seconds);
  });

  test('without keys', async () => {
    const bench = provider();
    bench.state.isDown = true;
    expect(await pauses(bench)).toEqual([1, 2, 4, 8, 15, 15]);
  });

  test('no time at all when the clock was set back to before the failure', async () => {
    const { keys, clock, state } = provider();
    await find(keys);
    clock.advance(MINUTE);
    state.isDown = true;
    await expect(keys.refresh()).rejects.toThrow('503');
    state.isDown = false;
    state.keys = [second.jwk];
    clock.advance(-30 * SECOND);
    expect((await find(keys, 'second')).keyId).toBe('second');
  });

  test('callers with usable keys cause no fetch before it is due again', async () => {
    const { keys, clock, state } = provider();
    await find(keys);
    clock.advance(9 * MINUTE);
    state.isDown = true;
    for (let count = 0; count < 3; count += 1) await keys.refresh().catch(() => undefined);
    clock.advance(4 * SECOND - 1);
    expect(keys.atHand()).toBeDefined();
    expect(keys.state().fetches).toBe(4);
    clock.advance(1);
    expect(keys.atHand()).toBeDefined();
    expect(keys.state().fetches).toBe(5);
  });
});

describe('what a caller is told', () => {
  test('of a key that is published and not used', async () => {
    const { keys, state } = provider();
    state.keys = [first.jwk, { ...second.jwk, use: 'enc' }];
    expect(await messageOf(find(keys, 'second'))).toBe(
      "The issuer publishes the token's key, and it is not used: not-for-signatures.",
    );
    expect(await messageOf(find(keys, 'third'))).toBe(
      'The issuer publishes no key that fits the token\'s "kid" and "alg".',
    );
    expect(await messageOf(keys.find({ kid: 'first', alg: 'RS256' }))).toBe(
      'The issuer publishes the token\'s key for another algorithm than the token\'s "alg".',
    );
  });

  test('of a token without an id, when several keys would fit', async () => {
    const { keys, state } = provider();
    state.keys = [first.jwk, second.jwk];
    expect(await messageOf(keys.find({ kid: undefined, alg: 'ES256' }))).toBe(
      'The token names no key ("kid"), and the issuer publishes several that would fit.',
    );
    expect(state.requests).toBe(1);
  });

  test('of too many unknown keys', async () => {
    const { keys } = provider();
    await find(keys);
    for (let count = 0; count < 4; count += 1) await messageOf(find(keys, `invented-${count}`));
    // An id that has a key of another type may be new as well, but is no reason to wait.
    await expect(keys.find({ kid: 'first', alg: 'RS256' })).rejects.toMatchObject({
      code: 'TOKEN_ALGORITHM_REFUSED',
    });
    expect(await messageOf(find(keys, 'invented'))).toBe(
      'The issuer published no key for the token when its keys were last fetched. They are fetched again in 30 s at the earliest: too many unknown keys were asked for.',
    );
  });

  test('of an outage', async () => {
    const { keys, state } = provider();
    state.isDown = true;
    const failure = await find(keys).catch((error: unknown) => error);
    expect(failure).toMatchObject({
      message:
        "The issuer's keys are not available at the moment. The issuer's keys were answered with HTTP status 503 instead of 200 (GET https://issuer.example/jwks).",
      cause: expect.any(KeyFetchError),
      retryAfterSeconds: 1,
    });
  });

  test('of an answer that is late', async () => {
    const { keys, clock } = provider({ fetch: () => new Promise(() => undefined) });
    const waiting = messageOf(find(keys));
    clock.advance(5 * SECOND);
    expect(await waiting).toBe(
      "The issuer's keys are not available at the moment. The issuer's keys did not arrive in time.",
    );
  });

  test('of an address that is not found out', async () => {
    const bug = new Error('canary');
    const { keys } = provider({ jwksUri: () => Promise.reject(bug) });
    const failure = await find(keys).catch((error: unknown) => error);
    expect(failure).toMatchObject({
      message:
        "The issuer's keys are not available at the moment. The address of the issuer's keys is unknown: it failed in an unforeseen way.",
      cause: expect.objectContaining({ code: 'KEYS_URI_UNKNOWN', cause: bug }),
    });
  });
});

describe('within the pause after a failure, whoever asks waits for a fetch that is in flight all the same', () => {
  /** Keys of the given age, a failure just now, and a fetch in flight that will bring the second key. */
  const inFlight = async (age: number | undefined) => {
    const bench = provider();
    const { keys, clock, state } = bench;
    if (age !== undefined) {
      await find(keys);
      clock.advance(age);
    }
    state.isDown = true;
    await expect(keys.refresh()).rejects.toThrow('503');
    state.isDown = false;
    state.keys = [{ ...second.jwk, kid: 'first' }, second.jwk];
    void keys.refresh();
    return bench;
  };

  test.each([undefined, MINUTE, 9 * MINUTE])('for a key, keys at hand since %p', async (age) => {
    const { keys, state } = await inFlight(age);
    expect((await find(keys, 'second')).keyId).toBe('second');
    expect(keys.state()).toMatchObject({ status: 'fresh', failures: 1, lastError: undefined });
    expect(state.requests).toBe(age === undefined ? 2 : 3);
  });

  test('after a signature that did not fit', async () => {
    const { keys } = await inFlight(MINUTE);
    const wanted = { kid: 'first', alg: 'ES256' } as const;
    const old = keys.atHand()?.match(wanted);
    if (typeof old !== 'object') throw new Error('no key');
    const replacement = await keys.findReplacement?.(wanted, old);
    expect(replacement).toBe(keys.atHand()?.match(wanted));
    expect(replacement).not.toBe(old);
  });

  test('to keep keys fresh', async () => {
    const { keys, clock } = await inFlight(9 * MINUTE);
    await keys.refreshWhenDue();
    expect(keys.state().fetchedAt).toBe(clock.now());
  });
});

describe('after a signature that did not fit', () => {
  const wanted = { kid: 'first', alg: 'ES256' } as const;

  test.each([
    [0, 1],
    [30 * SECOND - 1, 1],
    [30 * SECOND, 2],
    // A clock that was set back says nothing about their age.
    [-1, 2],
  ])('keys of %d milliseconds: fetched %d times', async (age, requests) => {
    const { keys, clock, state } = provider();
    const key = await find(keys);
    clock.advance(age);
    expect(await keys.findReplacement?.(wanted, key)).toBeUndefined();
    expect(state.requests).toBe(requests);
  });

  test('a key that is gone has no replacement, and neither has one of another algorithm', async () => {
    const { keys, clock, state } = provider();
    const key = await find(keys);
    state.keys = [second.jwk];
    clock.advance(MINUTE);
    expect(await keys.findReplacement?.(wanted, key)).toBeUndefined();
    expect(state.requests).toBe(2);
  });

  test('while there are no keys there is none', async () => {
    const key = await find(provider().keys);
    const { keys, state } = provider();
    state.isDown = true;
    expect(await keys.findReplacement?.(wanted, key)).toBeUndefined();
  });
});
