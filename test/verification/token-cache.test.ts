import { describe, expect, test } from '@jest/globals';
import {
  createStaticKeySet,
  createTokenVerifier,
  type KeySet,
  type RemoteKeySetOptions,
  type TokenVerifier,
} from '../../src/verification/index.js';
import { character, fc } from '../support/properties.js';
import { codeOf, createVerifier, sign } from './support/cache-bench.js';
import { SwitchedKeySet } from './support/judgements.js';
import { MINUTE, useKeyBench } from './support/key-bench.js';
import { ManualClock } from './support/manual-clock.js';
import { createSigner } from './support/signer.js';
import { AUDIENCE, ISSUER, useTokenBench } from './support/token-bench.js';

const bench = useTokenBench();

/** Every text and number in a value, also the names of members. */
function* contents(value: unknown): Generator {
  if (typeof value !== 'object' || value === null) yield value;
  else for (const [name, inner] of Object.entries(value)) yield* [name, ...contents(inner)];
}

function* objects(value: unknown): Generator<object> {
  if (typeof value !== 'object' || value === null) return;
  yield value;
  for (const inner of Object.values(value)) yield* objects(inner);
}

describe('a token that comes again', () => {
  test('is not judged from the start, whichever string it comes in', async () => {
    const verifier = bench().createVerifier();
    const token = await bench().signer.sign(bench().serviceClaims());
    const first = await verifier.verify(token);
    expect(await verifier.verify(token)).toBe(first);
    expect(await verifier.verify(Buffer.from(token).toString())).toBe(first);
  });

  test('is judged from the start with cache: null', async () => {
    const { signer, clock } = bench();
    const verifier = createTokenVerifier({
      clock,
      cache: null,
      issuers: [
        {
          issuer: ISSUER,
          audiences: AUDIENCE,
          profile: 'rfc9068',
          keys: createStaticKeySet({ keys: [signer.jwk] }),
        },
      ],
    });
    const token = await signer.sign(bench().serviceClaims());
    const first = await verifier.verify(token);
    const second = await verifier.verify(token);
    expect(second).not.toBe(first);
    expect(second).toEqual(first);
  });

  test('is remembered by one verifier only: another may have other rules', async () => {
    const token = await bench().signer.sign(bench().serviceClaims());
    await bench().createVerifier().verify(token);
    const strict = bench().createVerifier({ audiences: 'https://payments.example' });
    expect(await codeOf(strict.verify(token))).toBe('TOKEN_AUDIENCE_WRONG');
  });

  test('asked for by many at once', async () => {
    const verifier = bench().createVerifier();
    const token = await bench().signer.sign(bench().serviceClaims());
    const all = await Promise.all(Array.from({ length: 64 }, () => verifier.verify(token)));
    expect(new Set(all.map(({ principal }) => principal.subject))).toEqual(new Set(['job']));
    expect(all).toContain(await verifier.verify(token));
  });

  test('ends with the signal of its caller, remembered or not', async () => {
    const verifier = bench().createVerifier();
    const token = await bench().signer.sign(bench().serviceClaims());
    const signal = AbortSignal.abort(new Error('gone'));
    await expect(verifier.verify(token, { signal })).rejects.toThrow('gone');
    await verifier.verify(token);
    await expect(verifier.verify(token, { signal })).rejects.toThrow('gone');
  });
});

describe('what is handed out', () => {
  const claims = (): object =>
    bench().serviceClaims({ act: { sub: 'agent' }, list: [{ deep: [1] }], aud: [AUDIENCE] });

  test.each([10_000, null])('cannot be changed by a caller, cache %p', async (cached) => {
    const { signer, clock } = bench();
    const verifier = createTokenVerifier({
      clock,
      cache: cached === null ? null : { maxEntries: cached },
      issuers: [
        {
          issuer: ISSUER,
          audiences: AUDIENCE,
          profile: 'rfc9068',
          keys: createStaticKeySet({ keys: [signer.jwk] }),
        },
      ],
    });
    const verified = await verifier.verify(await signer.sign(claims()));
    const all = [...objects(verified)];
    expect(all.length).toBeGreaterThan(8);
    expect(all.filter((value) => !Object.isFrozen(value))).toEqual([]);
    expect(() => Object.assign(verified.claims, { sub: 'admin' })).toThrow(TypeError);
  });

  test('holds no part of the token', async () => {
    const token = await bench().signer.sign(claims());
    const verified = await bench().createVerifier().verify(token);
    for (const content of contents(verified)) {
      for (const part of token.split('.')) expect(String(content)).not.toContain(part);
    }
  });
});

describe('times', () => {
  const SECOND = 1000;
  test.each<[string, (now: number) => object, number, string]>([
    ['the last moment with skew', (now) => ({ exp: now + 100 }), 160 * SECOND - 1, 'accepted'],
    ['the moment after', (now) => ({ exp: now + 100 }), 160 * SECOND, 'TOKEN_EXPIRED'],
    ['set back before iat', (now) => ({ iat: now }), -61 * SECOND, 'TOKEN_NOT_YET_VALID'],
    ['set back within the skew', (now) => ({ iat: now }), -60 * SECOND, 'accepted'],
    [
      'set back before nbf',
      (now) => ({ iat: now - 999, nbf: now }),
      -61 * SECOND,
      'TOKEN_NOT_YET_VALID',
    ],
    [
      'set back so that a token without iat lives too long',
      (now) => ({ iat: undefined, exp: now + 7200 }),
      -SECOND,
      'TOKEN_LIFETIME_TOO_LONG',
    ],
  ])('%s', async (_, change, move, outcome) => {
    const verifier = bench().createVerifier({ maxTokenLifetimeSeconds: 7200 });
    const { clock, signer } = bench();
    const token = await signer.sign(bench().serviceClaims(change(clock.seconds)));
    const first = await verifier.verify(token);
    clock.advance(move);
    expect(await codeOf(verifier.verify(token))).toBe(outcome);
    // And it is only the clock's doing: back where it was, the token is as good as before.
    clock.advance(-move);
    expect(await verifier.verify(token)).toEqual(first);
  });

  test('being asked for does not lengthen a life', async () => {
    const { clock, signer } = bench();
    const verifier = bench().createVerifier();
    const token = await signer.sign(bench().serviceClaims({ exp: clock.seconds + 600 }));
    const outcomes: string[] = [];
    for (let minute = 0; minute < 12; minute += 1) {
      outcomes.push(await codeOf(verifier.verify(token)));
      clock.advance(60 * SECOND);
    }
    // Ten minutes of life and one of skew.
    const good = Array.from({ length: 11 }, () => 'accepted');
    expect(outcomes).toEqual([...good, 'TOKEN_EXPIRED']);
  });
});

describe('another text', () => {
  test('a token with any one character changed is not taken for the one that is remembered', async () => {
    const verifier = bench().createVerifier();
    const token = await bench().signer.sign(bench().serviceClaims());
    await verifier.verify(token);
    for (let at = 0; at < token.length; at += 1) {
      for (const other of ['A', 'B', '\u{c4}', '\ud800', '\u0000']) {
        if (token[at] === other) continue;
        const changed = `${token.slice(0, at)}${other}${token.slice(at + 1)}`;
        expect(await codeOf(verifier.verify(changed))).toMatch(/^TOKEN_/);
      }
    }
    expect(await codeOf(verifier.verify(token))).toBe('accepted');
  });

  test('nor is one with characters added, taken away or swapped', async () => {
    const verifier = bench().createVerifier();
    const token = await bench().signer.sign(bench().serviceClaims());
    await verifier.verify(token);
    const at = fc.nat({ max: token.length - 1 });
    await fc.assert(
      fc.asyncProperty(
        at,
        at,
        fc.string({ unit: character, maxLength: 4 }),
        async (from, to, text) => {
          const changed = `${token.slice(0, from)}${text}${token.slice(to)}`;
          fc.pre(changed !== token);
          expect(await codeOf(verifier.verify(changed))).toMatch(/^TOKEN_/);
        },
      ),
      { numRuns: 500 },
    );
  });

  test('what is no string, or too long to be a token, has the answer it always has', async () => {
    const verifier = bench().createVerifier();
    for (const bad of [undefined, null, 7, {}, [], Buffer.from('a.b.c'), 'a'.repeat(16_385)]) {
      expect(await codeOf(verifier.verify(bad))).toBe('TOKEN_MALFORMED');
    }
  });
});

const keyBench = useKeyBench();

/** Resolves when a fetch that was started since the clock was moved, if there is one, has ended. */
async function settled(keys: KeySet, clock: ManualClock, fetchesBefore: number): Promise<void> {
  while (keys.state().fetches > fetchesBefore && keys.state().lastAttemptAt !== clock.now()) {
    await new Promise((resolve) => {
      setImmediate(resolve);
    });
  }
}

/** Both signers' tokens verified once, with keys over HTTP. */
async function warm(options: Partial<RemoteKeySetOptions> = {}) {
  const { first, second, server, clock } = keyBench();
  server.keys = [first.jwk, second.jwk];
  const keys = keyBench().create(options);
  const verifier = createVerifier(keys, clock);
  const [one, two] = [await sign(first, clock), await sign(second, clock)];
  const verified = [await verifier.verify(one), await verifier.verify(two)] as const;
  return { server, clock, keys, verifier, one, two, verified };
}

describe('keys that change', () => {
  test('a removed key is distrusted at once after the refresh, and no other key', async () => {
    const { server, keys, verifier, one, two, verified } = await warm();
    server.keys = [keyBench().second.jwk];
    await keys.refresh();
    expect(await codeOf(verifier.verify(one))).toBe('TOKEN_KEY_UNKNOWN');
    expect(await verifier.verify(two)).toBe(verified[1]);
  });

  test('a key that comes back is trusted again', async () => {
    const { server, keys, verifier, one, verified } = await warm();
    server.keys = [];
    await keys.refresh();
    expect(await codeOf(verifier.verify(one))).toBe('TOKEN_KEY_UNKNOWN');
    server.keys = [keyBench().first.jwk];
    await keys.refresh();
    expect(await verifier.verify(one)).toEqual(verified[0]);
  });

  test('another key under the same id does not stand in for the old one', async () => {
    const { server, keys, verifier, one } = await warm();
    server.keys = [(await createSigner('first')).jwk];
    await keys.refresh();
    expect(await codeOf(verifier.verify(one))).toBe('TOKEN_SIGNATURE_INVALID');
  });

  test('a key that has another id now has it for every token', async () => {
    const { server, clock, keys, verifier, one } = await warm();
    server.keys = [{ ...keyBench().first.jwk, kid: 'renamed' }];
    await keys.refresh();
    expect(await codeOf(verifier.verify(one))).toBe('TOKEN_KEY_UNKNOWN');
    const token = await sign(keyBench().first, clock, { kid: 'renamed' });
    expect((await verifier.verify(token)).keyId).toBe('renamed');
  });

  test('the same keys, fetched again and in another order, keep what was verified', async () => {
    const { server, keys, verifier, one, two, verified } = await warm();
    await keys.refresh();
    expect(await verifier.verify(one)).toBe(verified[0]);
    server.keys = server.keys.toReversed();
    await keys.refresh();
    expect(await verifier.verify(one)).toBe(verified[0]);
    expect(await verifier.verify(two)).toBe(verified[1]);
  });

  test('a key that may no longer be used with the algorithm', async () => {
    const { server, keys, verifier, one } = await warm();
    server.keys = [{ ...keyBench().first.jwk, alg: 'ES384' }];
    await keys.refresh();
    expect(await codeOf(verifier.verify(one))).toBe('TOKEN_KEY_UNKNOWN');
  });

  test('a token without a key id, once two keys would fit', async () => {
    const { first, second, server, clock } = keyBench();
    const { kid: _, ...nameless } = first.jwk;
    server.keys = [nameless];
    const keys = keyBench().create();
    const verifier = createVerifier(keys, clock);
    const token = await sign(first, clock, { kid: undefined });
    await verifier.verify(token);
    server.keys = [nameless, second.jwk];
    await keys.refresh();
    expect(await codeOf(verifier.verify(token))).toBe('TOKEN_KEY_UNKNOWN');
  });
});

describe('keys that age', () => {
  test('remembered tokens alone keep the keys fresh, without waiting', async () => {
    const { server, clock, keys, verifier, one, verified } = await warm();
    for (let minute = 0; minute < 60; minute += 1) {
      const { fetches } = keys.state();
      clock.advance(MINUTE);
      expect(await verifier.verify(one)).toBe(verified[0]);
      await settled(keys, clock, fetches);
    }
    // Every eight minutes, 80 % of their age.
    expect(server.requests).toBe(1 + 7);
    expect(keys.state()).toMatchObject({ status: 'fresh', failures: 0 });
  });

  test("a removed key is distrusted within the keys' age, by calls for its token alone", async () => {
    const { server, clock, keys, verifier, one } = await warm();
    server.keys = [keyBench().second.jwk];
    clock.advance(8 * MINUTE);
    // This call finds the keys due, and the next one finds them changed.
    await verifier.verify(one);
    await settled(keys, clock, 1);
    expect(await codeOf(verifier.verify(one))).toBe('TOKEN_KEY_UNKNOWN');
  });

  test('while the provider is down, until the stale time is over and not longer', async () => {
    const { server, clock, verifier, one, verified } = await warm({ staleSeconds: 3600 });
    server.behaviour = { kind: 'break' };
    clock.advance(70 * MINUTE - 1);
    expect(await codeOf(verifier.verify(one))).toBe('accepted');
    clock.advance(1);
    expect(await codeOf(verifier.verify(one))).toBe('KEYS_UNAVAILABLE');
    server.behaviour = { kind: 'keys' };
    clock.advance(MINUTE);
    expect(await verifier.verify(one)).toEqual(verified[0]);
  });

  test('a clock that is set back behind the token refuses it, and costs no fetch', async () => {
    const { server, clock, verifier, one } = await warm();
    clock.advance(-MINUTE);
    expect(await codeOf(verifier.verify(one))).toBe('TOKEN_NOT_YET_VALID');
    clock.advance(MINUTE);
    expect(await codeOf(verifier.verify(one))).toBe('accepted');
    expect(server.requests).toBe(1);
  });
});

describe('a flood', () => {
  test('10,000 invented key ids with the provider down: four fetches, then one per cooldown', async () => {
    const { server, clock, verifier, one, verified } = await warm({ cooldownSeconds: 30 });
    clock.advance(MINUTE);
    server.behaviour = { kind: 'break' };
    server.requests = 0;
    const [, payload, signature] = one.split('.');
    const codes = new Set<string>();
    for (let count = 0; count < 10_000; count += 1) {
      const header = { alg: 'ES256', kid: `invented ${count}` };
      const text = Buffer.from(JSON.stringify(header)).toString('base64url');
      codes.add(await codeOf(verifier.verify(`${text}.${payload}.${signature}`)));
      clock.advance(12);
    }
    expect([...codes]).toEqual(['KEYS_UNAVAILABLE']);
    // Four with growing pauses, and three of the cooldowns of two minutes.
    expect(server.requests).toBe(7);
    expect(await verifier.verify(one)).toBe(verified[0]);
  });

  test('invented key ids disturb no token of a known key, and only put off one of a new key', async () => {
    const { server, clock, verifier, one, two, verified } = await warm();
    const fresh = await sign(keyBench().first, clock);
    const [, payload, signature] = one.split('.');
    const invent = (count: number): Promise<string> => {
      const header = { alg: 'ES256', kid: `invented ${count}` };
      const text = Buffer.from(JSON.stringify(header)).toString('base64url');
      return codeOf(verifier.verify(`${text}.${payload}.${signature}`));
    };
    const codes: string[] = [];
    for (let count = 0; count < 100; count += 1) codes.push(await invent(count));
    expect(codes.filter((code) => code === 'TOKEN_KEY_UNKNOWN').length).toBe(4);
    expect(codes.filter((code) => code === 'KEYS_UNAVAILABLE').length).toBe(96);

    const third = await createSigner('third');
    server.keys = [...server.keys, third.jwk];
    const newToken = await sign(third, clock);
    expect(await codeOf(verifier.verify(newToken))).toBe('KEYS_UNAVAILABLE');
    // Remembered or not: keys that are known need no look.
    expect(await codeOf(verifier.verify(fresh))).toBe('accepted');
    expect(verifier.peek?.(one)).toBe(verified[0]);
    expect(await verifier.verify(two)).toBe(verified[1]);
    expect(server.requests).toBe(1 + 4);
    clock.advance(30_000);
    // Whoever comes first pays for the look; it serves everybody.
    expect(await invent(100)).toBe('TOKEN_KEY_UNKNOWN');
    expect(await codeOf(verifier.verify(newToken))).toBe('accepted');
    expect(server.requests).toBe(1 + 5);
  });

  test('bad tokens do not push out good ones', async () => {
    const { clock, verifier, one, two, verified } = await warm();
    const [header, , signature] = one.split('.');
    for (let count = 0; count < 1000; count += 1) {
      const claims = { iss: ISSUER, aud: AUDIENCE, sub: 'job', client_id: 'job', jti: `${count}` };
      const text = JSON.stringify({ ...claims, exp: clock.seconds + 60 });
      const bad = `${header}.${Buffer.from(text).toString('base64url')}.${signature}`;
      expect(await codeOf(verifier.verify(bad))).toBe('TOKEN_SIGNATURE_INVALID');
    }
    expect(await verifier.verify(one)).toBe(verified[0]);
    expect(await verifier.verify(two)).toBe(verified[1]);
  });
});

type Step =
  | { readonly do: 'verify'; readonly token: number }
  | { readonly do: 'move'; readonly seconds: number }
  | { readonly do: 'publish'; readonly which: readonly number[] }
  | { readonly do: 'outage' };

const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 8, arbitrary: fc.record({ do: fc.constant('verify'), token: fc.nat({ max: 5 }) }) },
  {
    weight: 3,
    arbitrary: fc.record({ do: fc.constant('move'), seconds: fc.integer({ min: -90, max: 90 }) }),
  },
  {
    weight: 2,
    arbitrary: fc.record({ do: fc.constant('publish'), which: fc.subarray([0, 1, 2]) }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('outage') }) },
);

test('whatever happens, a verifier that remembers says what one without a memory says', async () => {
  const [first, second] = [await createSigner('first'), await createSigner('second')];
  const { kid: _, ...nameless } = second.jwk;
  // The third has the first one's id, and is another key.
  const jwks = [first.jwk, nameless, (await createSigner('first')).jwk];
  const start = new ManualClock();
  const tokens = await Promise.all([
    sign(first, start, {}, 60),
    sign(first, start, {}, 120),
    sign(first, start, { kid: undefined }, 90),
    sign(second, start, { kid: undefined }, 90),
    sign(second, start, {}, 90),
    sign(second, start, { kid: undefined }, 2_592_000),
  ]);
  const outcomes = new Set<string>();
  await fc.assert(
    fc.asyncProperty(
      fc.array(step, { minLength: 10, maxLength: 60 }),
      fc.integer({ min: 1, max: 4 }),
      async (steps, maxEntries) => {
        const clock = new ManualClock();
        const keys = new SwitchedKeySet();
        await keys.publish(first.jwk, nameless);
        const remembering = createVerifier(keys, clock, { maxEntries });
        const forgetful = createVerifier(keys, clock, null);
        const judge = (verifier: TokenVerifier, token: string): Promise<unknown> =>
          verifier.verify(token).catch((error: { code?: string; message: string }) => {
            outcomes.add(error.code ?? error.message);
            return { code: error.code, message: error.message };
          });
        for (const one of steps) {
          if (one.do === 'verify') {
            const token = tokens[one.token] ?? '';
            expect(await judge(remembering, token)).toEqual(await judge(forgetful, token));
          } else if (one.do === 'move') {
            clock.advance(one.seconds * 1000);
          } else if (one.do === 'publish') {
            await keys.publish(...one.which.map((index) => jwks[index] ?? {}));
          } else {
            keys.keys = undefined;
          }
        }
      },
    ),
    { numRuns: 200 },
  );
  // The steps have led to each of these, so that the comparison was one.
  expect([...outcomes]).toEqual(
    expect.arrayContaining([
      'TOKEN_EXPIRED',
      'TOKEN_NOT_YET_VALID',
      'TOKEN_KEY_UNKNOWN',
      'TOKEN_SIGNATURE_INVALID',
      'no keys',
    ]),
  );
});
