import { describe, expect, test } from '@jest/globals';
import { createOfflineTestIssuer } from '../../src/testing/index.js';
import { createReceivers } from '../../src/verification/receivers.js';
import { createStaticKeySet } from '../../src/verification/keys/key-set.js';
import { createTokenVerifier } from '../../src/verification/verifier.js';
import type { IssuerOptions } from '../../src/verification/verifier-options.js';
import { KeysUnavailableError } from '../../src/verification/verification-errors.js';
import { fc } from '../support/properties.js';

const issuer = await createOfflineTestIssuer({ audience: 'https://a.example' });
const keys = createStaticKeySet(issuer.jwks());
const receiver = (
  audiences: IssuerOptions['audiences'],
  change: Partial<IssuerOptions> = {},
): IssuerOptions => ({ issuer: issuer.issuer, profile: 'rfc9068', keys, audiences, ...change });

const [A, B, C] = ['https://a.example', 'https://b.example', 'https://c.example'] as const;
const codeOf = async (verifying: Promise<unknown>): Promise<string> =>
  verifying.then(
    () => 'accepted',
    (error: unknown) => (error as { code: string }).code,
  );

describe('several receivers', () => {
  const receivers = createReceivers({ receivers: [receiver(A), receiver(B)] });

  test('a token for one does not pass at another', async () => {
    const token = issuer.serviceToken({ audience: A });
    expect(receivers.needAudience).toBe(true);
    expect((await receivers.verify(token, A)).claims['aud']).toBe(A);
    expect(receivers.peek(token, A)?.claims['aud']).toBe(A);
    expect(await codeOf(receivers.verify(token, B))).toBe('TOKEN_AUDIENCE_WRONG');
    expect(receivers.peek(token, B)).toBeUndefined();
    expect(await codeOf(receivers.verify(token, C))).toBe('TOKEN_AUDIENCE_WRONG');
    // Whichever receiver it is for.
    expect((await receivers.verify(token)).principal.kind).toBe('service');
  });

  test('a token for both is refused by each, as by a guard without otherAudiences', async () => {
    const token = issuer.serviceToken({ audience: [A, B] });
    for (const audience of [A, B, undefined]) {
      expect(await codeOf(receivers.verify(token, audience))).toBe('TOKEN_AUDIENCE_WRONG');
    }
    const lenient = createReceivers({
      receivers: [receiver(A, { otherAudiences: [B] }), receiver(B)],
    });
    expect(await codeOf(lenient.verify(token, A))).toBe('accepted');
    expect(await codeOf(lenient.verify(token, B))).toBe('TOKEN_AUDIENCE_WRONG');
  });

  test('judges as the guard of that receiver alone, whatever the audiences', async () => {
    const names = [A, B, C];
    await fc.assert(
      fc.asyncProperty(
        fc.array(
          fc.record({
            audiences: fc.oneof(fc.subarray(names, { minLength: 1 }), fc.constant(null)),
            otherAudiences: fc.oneof(fc.subarray(names), fc.constant(null)),
          }),
          { minLength: 1, maxLength: 4 },
        ),
        fc.subarray(names),
        fc.constantFrom(...names),
        async (rules, aud, asked) => {
          const token = issuer.serviceToken({ audience: aud, claims: { aud } });
          const all = rules.map((one) => receiver(one.audiences, one));
          const alone = await Promise.all(
            all.map((one) => codeOf(createTokenVerifier({ issuers: [one] }).verify(token))),
          );
          const together = createReceivers({ receivers: all });
          expect((await codeOf(together.verify(token))) === 'accepted').toBe(
            alone.includes('accepted'),
          );
          const expected = all.some(
            ({ audiences }, index) =>
              alone[index] === 'accepted' &&
              audiences?.includes(asked) === true &&
              aud.includes(asked),
          );
          expect((await codeOf(together.verify(token, asked))) === 'accepted').toBe(expected);
        },
      ),
    );
  });

  test('the same issuer with different rules stays apart', async () => {
    const strict = createReceivers({
      receivers: [receiver(A, { serviceClientIds: ['billing'] }), receiver(B)],
    });
    const forA = issuer.serviceToken({ audience: A, clientId: 'stranger' });
    const forB = issuer.serviceToken({ audience: B, clientId: 'stranger' });
    expect(await codeOf(strict.verify(forA, A))).toBe('TOKEN_CLIENT_NOT_ALLOWED');
    expect(await codeOf(strict.verify(forA))).toBe('TOKEN_CLIENT_NOT_ALLOWED');
    expect(await codeOf(strict.verify(forB, B))).toBe('accepted');
  });

  test('keys that are unavailable are no refusal, and touch no other issuer', async () => {
    const other = await createOfflineTestIssuer({ issuer: 'https://other.example', audience: B });
    const down = {
      ...createStaticKeySet(other.jwks()),
      find: () => Promise.reject(new KeysUnavailableError('down', { retryAfterSeconds: 3 })),
      atHand: () => undefined,
    };
    const mixed = createReceivers({
      receivers: [receiver(A), receiver(B, { issuer: other.issuer, keys: down })],
    });
    expect(await codeOf(mixed.verify(other.serviceToken({ audience: B }), B))).toBe(
      'KEYS_UNAVAILABLE',
    );
    expect(await codeOf(mixed.verify(issuer.serviceToken({ audience: A }), A))).toBe('accepted');
    expect(await codeOf(mixed.verify('nonsense'))).toBe('TOKEN_MALFORMED');
  });
});

const REFUSED_ELSEWHERE =
  'The token is meant for another audience ("aud") than the one that was asked for.';
const REFUSED_MORE =
  'The token is also meant for audiences we do not know, which could use it against us (allow them with otherAudiences).';
const messageOf = (verifying: Promise<unknown>): Promise<string> =>
  verifying.then(
    () => 'accepted',
    (error: Error) => error.message,
  );
/** The same keys, with a count of how often a token was judged by them. */
const counted = () => {
  const asked = { count: 0 };
  const find: typeof keys.find = (...wanted) => {
    asked.count += 1;
    return keys.find(...wanted);
  };
  return { asked, keys: { ...keys, find } };
};

test.each([
  [[A], false],
  [[A, A], false],
  [[null], false],
  [[null, A], true],
  [[A, B], true],
])('of %j the audience has to be named: %p', (audiences, needAudience) => {
  const receivers = audiences.map((audience) => receiver(audience));
  expect(createReceivers({ receivers }).needAudience).toBe(needAudience);
});

test('there has to be a receiver', () => {
  expect(() => createReceivers({ receivers: [] })).toThrow('"issuers" must name at least one');
});

test('why an audience does not fit', async () => {
  const receivers = createReceivers({ receivers: [receiver(A), receiver(B)] });
  const forA = issuer.serviceToken({ audience: A });
  expect(await messageOf(receivers.verify(forA, B))).toBe(REFUSED_ELSEWHERE);
  const forBoth = issuer.serviceToken({ audience: [A, B] });
  expect(await messageOf(receivers.verify(forBoth))).toBe(REFUSED_MORE);
  expect(receivers.peek(forBoth)).toBeUndefined();
});

test('receivers that judge alike, in whatever order their options stand, judge a token once', async () => {
  const { asked, keys: own } = counted();
  const alike = { profile: 'rfc9068', senderConstraint: null, typ: undefined } as const;
  const [one, ...others] = [A, B, C].map((audiences) =>
    receiver(audiences, { ...alike, keys: own, otherAudiences: audiences === C ? [A, B] : null }),
  );
  const reversed = others.map((other) => Object.fromEntries(Object.entries(other).toReversed()));
  const receivers = createReceivers({ receivers: [one, ...reversed] as IssuerOptions[] });
  const token = issuer.serviceToken({ audience: [A, B, C] });
  for (const audience of [A, B, C]) {
    expect(await codeOf(receivers.verify(token, audience))).toBe('accepted');
  }
  expect(asked.count).toBe(1);
});

test('receivers whose keys differ stay apart', async () => {
  const other = await createOfflineTestIssuer({ issuer: issuer.issuer, audience: B });
  const receivers = createReceivers({
    receivers: [receiver(A), receiver(B, { keys: createStaticKeySet(other.jwks()) })],
  });
  expect(await codeOf(receivers.verify(other.serviceToken({ audience: B }), B))).toBe('accepted');
  expect(await codeOf(receivers.verify(other.serviceToken({ audience: A }), A))).toBe(
    'TOKEN_SIGNATURE_INVALID',
  );
});

describe('of several refusals the most telling is given, whatever the order', () => {
  const down = {
    ...keys,
    find: () => Promise.reject(new KeysUnavailableError('down', { retryAfterSeconds: 3 })),
  };
  const stranger = issuer.serviceToken({ audience: A, clientId: 'stranger' });
  const strict = receiver(A, { serviceClientIds: ['billing'] });
  test.each<[string, IssuerOptions, IssuerOptions]>([
    ['TOKEN_CLIENT_NOT_ALLOWED', strict, receiver(B)],
    ['KEYS_UNAVAILABLE', strict, receiver(A, { keys: down })],
    ['KEYS_UNAVAILABLE', receiver(B), receiver(A, { keys: down })],
  ])('%s', async (code, one, other) => {
    for (const receivers of [
      [one, other],
      [other, one],
    ]) {
      expect(await codeOf(createReceivers({ receivers }).verify(stranger))).toBe(code);
    }
  });

  test('a group that does not know the issuer says nothing', async () => {
    const other = await createOfflineTestIssuer({ issuer: 'https://other.example', audience: C });
    const trusted = { issuer: other.issuer, keys: createStaticKeySet(other.jwks()) };
    const receivers = [receiver(A), receiver(B, { serviceClientIds: [] }), receiver(C, trusted)];
    const token = other.serviceToken({ audience: A });
    expect(await codeOf(createReceivers({ receivers }).verify(token))).toBe('TOKEN_AUDIENCE_WRONG');
    expect(await codeOf(createReceivers({ receivers }).verify(token, A))).toBe(
      'TOKEN_AUDIENCE_WRONG',
    );
  });
});

test('where no audience is checked, a token without one passes, and one that is asked for has to be named', async () => {
  const receivers = createReceivers({ receivers: [receiver(null), receiver(A)] });
  const nobody = issuer.serviceToken({ claims: { aud: undefined } });
  expect(await codeOf(receivers.verify(nobody))).toBe('accepted');
  expect(await codeOf(receivers.verify(nobody, A))).toBe('TOKEN_AUDIENCE_WRONG');
  expect(receivers.peek(nobody)).toBeDefined();
  expect(receivers.peek(nobody, A)).toBeUndefined();
  const unchecked = createReceivers({ receivers: [receiver(A)], cache: null });
  const token = issuer.serviceToken({ audience: A });
  await unchecked.verify(token, A);
  expect(unchecked.peek(token, A)).toBeUndefined();
});
