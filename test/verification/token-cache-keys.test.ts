import { describe, expect, test } from '@jest/globals';
import type { KeySet, RemoteKeySetOptions } from '../../src/verification/index.js';
import { codeOf, createVerifier, sign } from './support/cache-bench.js';
import { MINUTE, useKeyBench } from './support/key-bench.js';
import { createSigner } from './support/signer.js';
import { AUDIENCE, ISSUER } from './support/token-bench.js';
import type { ManualClock } from './support/manual-clock.js';

const bench = useKeyBench();

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
  const { first, second, server, clock } = bench();
  server.keys = [first.jwk, second.jwk];
  const keys = bench().create(options);
  const verifier = createVerifier(keys, clock);
  const [one, two] = [await sign(first, clock), await sign(second, clock)];
  const verified = [await verifier.verify(one), await verifier.verify(two)] as const;
  return { server, clock, keys, verifier, one, two, verified };
}

describe('keys that change', () => {
  test('a removed key is distrusted at once after the refresh, and no other key', async () => {
    const { server, keys, verifier, one, two, verified } = await warm();
    server.keys = [bench().second.jwk];
    await keys.refresh();
    expect(await codeOf(verifier.verify(one))).toBe('TOKEN_KEY_UNKNOWN');
    expect(await verifier.verify(two)).toBe(verified[1]);
  });

  test('a key that comes back is trusted again', async () => {
    const { server, keys, verifier, one, verified } = await warm();
    server.keys = [];
    await keys.refresh();
    expect(await codeOf(verifier.verify(one))).toBe('TOKEN_KEY_UNKNOWN');
    server.keys = [bench().first.jwk];
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
    server.keys = [{ ...bench().first.jwk, kid: 'renamed' }];
    await keys.refresh();
    expect(await codeOf(verifier.verify(one))).toBe('TOKEN_KEY_UNKNOWN');
    const token = await sign(bench().first, clock, { kid: 'renamed' });
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
    server.keys = [{ ...bench().first.jwk, alg: 'ES384' }];
    await keys.refresh();
    expect(await codeOf(verifier.verify(one))).toBe('TOKEN_KEY_UNKNOWN');
  });

  test('a token without a key id, once two keys would fit', async () => {
    const { first, second, server, clock } = bench();
    const { kid: _, ...nameless } = first.jwk;
    server.keys = [nameless];
    const keys = bench().create();
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
    server.keys = [bench().second.jwk];
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
  test('10,000 invented key ids with the provider down: one fetch per cooldown', async () => {
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
    // Two minutes, four cooldowns.
    expect(server.requests).toBe(4);
    expect(await verifier.verify(one)).toBe(verified[0]);
  });

  test('invented key ids disturb no token of a known key, and only put off one of a new key', async () => {
    const { server, clock, verifier, one, two, verified } = await warm();
    const fresh = await sign(bench().first, clock);
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
