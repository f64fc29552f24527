import { describe, expect, test } from '@jest/globals';
import { versionIdOf } from '../../src/rotation/claim.js';
import { LONGEST_REST, nextAttempt, restUntil } from '../../src/rotation/due.js';
import { retryWait } from '../../src/rotation/retry-wait.js';
import { BrokerError } from '../../src/tokens/errors.js';
import { rotationFixture, SECRET } from './rotation-fixture.js';

const NOW = Date.parse('2026-11-22T12:00:00Z');
const KEY = 'slot of a test';
const idOf = (attempt: number): string => versionIdOf(SECRET, KEY, attempt);

/** A secret whose key has so many attempts behind it, a minute apart, all given up. */
async function afterAttempts(count: number) {
  const fixture = rotationFixture();
  const { store, clock, seedCurrent } = fixture;
  seedCurrent('old');
  for (let attempt = 0; attempt < count; attempt += 1) {
    clock.advance(60_000);
    await store.putPending(SECRET, idOf(attempt), `value ${attempt}`);
    await store.clearPending(SECRET, idOf(attempt));
  }
  const next = () => nextAttempt(store, SECRET, KEY);
  return { ...fixture, next };
}

describe('the version that a rotation has to work on', () => {
  test.each([
    [0, undefined],
    [1, { count: 1, lastAt: NOW + 60_000 }],
    [5, { count: 5, lastAt: NOW + 300_000 }],
  ])('after %d attempts that were given up', async (count, givenUp) => {
    const { next, store, clock } = await afterAttempts(count);
    const versionId = idOf(count);
    expect(await next()).toStrictEqual({ versionId, state: 'new', givenUp });
    clock.advance(1_000);
    await store.putPending(SECRET, versionId, 'staged');
    // The attempts before this one, as of its own beginning.
    const before = count === 0 ? undefined : { count, lastAt: clock.now() };
    expect(await next()).toStrictEqual({ versionId, state: 'staged', givenUp: before });
    await store.promote(SECRET, versionId, (await store.read(SECRET)).versionId);
    expect(await next()).toStrictEqual({ versionId, state: 'done', givenUp: before });
  });
});

test('a store whose clock is ahead by the longest pause keeps it, and by more does not', () => {
  const after = (ahead: number) =>
    restUntil({ versionId: 'v', state: 'new', givenUp: { count: 1, lastAt: NOW + ahead } }, NOW);
  expect(after(LONGEST_REST)).toBe(NOW + LONGEST_REST + 10_000);
  expect(after(LONGEST_REST + 1)).toBeUndefined();
});

describe('a failure of the provider is tried again', () => {
  const seconds = (code: string): number[] =>
    [12, 119, 200].map(
      (failures) => retryWait(new BrokerError(code, 'misconfigured', ''), failures, 1) / 1_000,
    );

  test.each([
    'ROTATION_TOKEN_REJECTED',
    'ROTATION_TOKEN_TOO_SHORT',
    'MINTED_TOKEN_INVALID',
    'PROVIDER_TOKEN_NOT_JWT',
  ])('each half an hour in the end, where each try costs a token: %s', (code) => {
    expect(seconds(code)).toEqual([320, 1_800, 1_800]);
  });

  test.each([
    'PROVIDER_NOT_JSON',
    'PROVIDER_RESPONSE_INVALID',
    'PROVIDER_REDIRECTED',
    'PROVIDER_TLS_FAILED',
    'PROVIDER_PROXY_REFUSED',
    'PROVIDER_DISCOVERY_FAILED',
    'PROVIDER_ISSUER_MISMATCH',
    'PROVIDER_UNEXPECTED',
  ])('for ten minutes at once, where a proxy may be the cause: %s', (code) => {
    expect(seconds(code)).toEqual([10, 10, 300]);
  });
});
