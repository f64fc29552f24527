import { afterEach, describe, expect, test } from '@jest/globals';
import {
  FakeClock,
  createOfflineTestIssuer,
  startTestIssuer,
  type TestIssuer,
  type TestIssuerOptions,
} from '../../src/testing/index.js';
import { createTokenVerifier, type TokenVerifier } from '../../src/verification/index.js';
import { pause } from '../support/pause.js';

let running: TestIssuer[] = [];

afterEach(async () => {
  await Promise.all(running.map((issuer) => issuer.close()));
  running = [];
});

async function start(
  options: TestIssuerOptions = {},
): Promise<{ issuer: TestIssuer; clock: FakeClock; verifier: TokenVerifier }> {
  const clock = new FakeClock();
  const issuer = await startTestIssuer({ clock, ...options });
  running.push(issuer);
  return { issuer, clock, verifier: createTokenVerifier(issuer.verifierOptions()) };
}

/** Waits until requests have arrived: real connections need real turns of the event loop. */
async function arrived(issuer: TestIssuer, requests: number): Promise<void> {
  while (issuer.requests < requests) await pause();
}

describe('an issuer over HTTP', () => {
  test('serves its keys, and is asked for them once', async () => {
    const { issuer, verifier } = await start();
    for (let count = 0; count < 3; count += 1) {
      expect(await verifier.verify(issuer.customerToken())).toMatchObject({
        principal: { kind: 'customer', subject: 'customer-1' },
        keyId: 'test-key-1',
      });
    }
    expect(issuer.requests).toBe(1);
    const served = (await (await fetch(issuer.jwksUri)).json()) as { keys: object[] };
    expect(served).toEqual(issuer.jwks());
    expect(JSON.stringify(served)).not.toContain('"d"');
  });

  test('can be discovered, also under a name that is not its address', async () => {
    const { issuer, verifier } = await start({ issuer: 'https://tenant.example.test/' });
    const { origin } = new URL(issuer.jwksUri);
    for (const path of ['openid-configuration', 'oauth-authorization-server']) {
      const response = await fetch(`${origin}/.well-known/${path}`);
      expect(await response.json()).toMatchObject({
        issuer: 'https://tenant.example.test/',
        jwks_uri: issuer.jwksUri,
      });
    }
    expect((await fetch(`${origin}/elsewhere`)).status).toBe(404);
    const { principal } = await verifier.verify(issuer.serviceToken());
    expect(principal.issuer).toBe('https://tenant.example.test/');
  });

  test('that is down leaves known keys working, and new verifiers without', async () => {
    const { issuer, verifier } = await start();
    await verifier.verify(issuer.serviceToken());
    issuer.down();
    await expect(verifier.verify(issuer.serviceToken())).resolves.toBeDefined();
    const late = createTokenVerifier(issuer.verifierOptions());
    await expect(late.verify(issuer.serviceToken())).rejects.toMatchObject({
      code: 'KEYS_UNAVAILABLE',
      cause: { code: 'KEYS_UNREACHABLE' },
    });
    issuer.up();
    const later = createTokenVerifier(issuer.verifierOptions());
    await expect(later.verify(issuer.serviceToken())).resolves.toBeDefined();
  });

  test('that hangs is given up after the time-out, and answers what waits when it is up again', async () => {
    const { issuer, clock, verifier } = await start();
    issuer.hang();
    const first = verifier.verify(issuer.serviceToken());
    first.catch(() => undefined);
    await arrived(issuer, 1);
    clock.advance(5_000);
    await expect(first).rejects.toMatchObject({ cause: { code: 'KEYS_TIMEOUT' } });

    const patient = createTokenVerifier(issuer.verifierOptions());
    const second = patient.verify(issuer.serviceToken());
    await arrived(issuer, 2);
    issuer.up();
    await expect(second).resolves.toBeDefined();
  });

  test('that is slow answers by its clock', async () => {
    const { issuer, clock, verifier } = await start();
    issuer.slow(3_000);
    let answered = false;
    const verified = verifier.verify(issuer.serviceToken()).then(() => (answered = true));
    await arrived(issuer, 1);
    clock.advance(2_999);
    // An answer would be here by now: a whole request fits into this one.
    issuer.up();
    await (await fetch(issuer.jwksUri)).text();
    expect(answered).toBe(false);
    clock.advance(1);
    await verified;
    expect(answered).toBe(true);
  });

  test('forgets a slow answer when nobody waits for it', async () => {
    const { issuer, clock } = await start();
    issuer.slow(3_000);
    const leaving = new AbortController();
    const asked = fetch(issuer.jwksUri, { signal: leaving.signal });
    await arrived(issuer, 1);
    expect(clock.sleepers).toBe(1);
    leaving.abort();
    await expect(asked).rejects.toThrow();
    while (clock.sleepers > 0) await pause();
    clock.advance(3_000);
  });

  test('that answers something else is no source of keys', async () => {
    const { issuer, verifier } = await start();
    issuer.answer({ status: 503, headers: { 'retry-after': '5' } });
    await expect(verifier.verify(issuer.serviceToken())).rejects.toMatchObject({
      code: 'KEYS_UNAVAILABLE',
      retryAfterSeconds: 5,
    });
    issuer.answer({ status: 200, body: '<html>sign in</html>' });
    const other = createTokenVerifier(issuer.verifierOptions());
    await expect(other.verify(issuer.serviceToken())).rejects.toMatchObject({
      cause: { code: 'KEYS_INVALID' },
    });
  });

  test('after close the port is free, also with a request that hangs; closing twice is harmless', async () => {
    const { issuer } = await start();
    issuer.hang();
    const asked = fetch(issuer.jwksUri);
    asked.catch(() => undefined);
    await arrived(issuer, 1);
    await issuer.close();
    await issuer.close();
    await expect(asked).rejects.toThrow();
    await expect(fetch(issuer.jwksUri)).rejects.toThrow();
  });
});

describe('rotated keys', () => {
  test('are picked up, and the key before is distrusted once it is gone', async () => {
    const { issuer, clock, verifier } = await start();
    const before = issuer.serviceToken({ expiresInSeconds: 7_200 });
    await verifier.verify(before);

    await issuer.rotateKeys({ keepPrevious: true });
    clock.advance(31_000);
    await expect(verifier.verify(issuer.serviceToken())).resolves.toMatchObject({
      keyId: 'test-key-2',
    });
    await expect(verifier.verify(before)).resolves.toMatchObject({ keyId: 'test-key-1' });

    await issuer.rotateKeys();
    clock.advance(31_000);
    expect(issuer.keyId).toBe('test-key-3');
    await verifier.verify(issuer.serviceToken());
    expect(issuer.jwks().keys).toHaveLength(1);
    await expect(verifier.verify(before)).rejects.toMatchObject({ code: 'TOKEN_KEY_UNKNOWN' });
  });

  test('offline concern the options that are made afterwards', async () => {
    const issuer = await createOfflineTestIssuer();
    const before = createTokenVerifier(issuer.verifierOptions());
    await issuer.rotateKeys();
    const after = createTokenVerifier(issuer.verifierOptions());
    const token = issuer.customerToken();
    await expect(before.verify(token)).rejects.toMatchObject({ code: 'TOKEN_KEY_UNKNOWN' });
    await expect(after.verify(token)).resolves.toMatchObject({ keyId: issuer.keyId });
  });
});

test('two issuers have different keys under the same id, and are kept apart', async () => {
  const one = await createOfflineTestIssuer({ issuer: 'https://one.example.test' });
  const other = await createOfflineTestIssuer({ issuer: 'https://other.example.test' });
  const verifier = createTokenVerifier({
    issuers: [one, other].flatMap((issuer) => issuer.verifierOptions().issuers),
  });
  await verifier.verify(one.serviceToken());
  await verifier.verify(other.serviceToken());
  const borrowed = one.serviceToken({ claims: { iss: other.issuer } });
  await expect(verifier.verify(borrowed)).rejects.toMatchObject({
    code: 'TOKEN_SIGNATURE_INVALID',
  });
});
