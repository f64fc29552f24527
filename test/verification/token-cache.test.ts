import { describe, expect, test } from '@jest/globals';
import { fc } from '../support/properties.js';
import { createStaticKeySet, createTokenVerifier } from '../../src/verification/index.js';
import { codeOf } from './support/cache-bench.js';
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
        fc.string({ unit: 'binary', maxLength: 4 }),
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
