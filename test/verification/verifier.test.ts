import { describe, expect, test } from '@jest/globals';
import { exportJWK, generateKeyPair, SignJWT } from 'jose';
import {
  createStaticKeySet,
  SIGNATURE_ALGORITHMS,
  type IssuerOptions,
  type Principal,
} from '../../src/verification/index.js';
import { createSigner } from './support/signer.js';
import { ISSUER, useTokenBench } from './support/token-bench.js';

const bench = useTokenBench();

/** Compiles only as long as `kind` narrows the union. */
const describePrincipal = (principal: Principal): string => {
  if (principal.kind === 'service') {
    const clientId: string = principal.clientId;
    return `service ${clientId}`;
  }
  const clientId: string | undefined = principal.clientId;
  return `customer ${principal.subject} with ${clientId ?? 'nothing'}`;
};

describe('accepted', () => {
  test('a service token', async () => {
    const claims = bench().serviceClaims({ act: { sub: 'agent' } });
    const verified = await bench()
      .createVerifier()
      .verify(await bench().signer.sign(claims));
    expect(verified).toEqual({
      principal: {
        kind: 'service',
        subject: 'job',
        clientId: 'job',
        issuer: ISSUER,
        scopes: ['read', 'write'],
        actor: { subject: 'agent', issuer: undefined, actor: undefined },
        claims,
      },
      claims,
      issuer: ISSUER,
      expiresAt: (bench().clock.seconds + 3600) * 1000,
      keyId: 'k1',
    });
    expect(describePrincipal(verified.principal)).toBe('service job');
  });

  test('a customer token', async () => {
    const { principal } = await bench()
      .createVerifier()
      .verify(await bench().signer.sign(bench().customerClaims()));
    expect(describePrincipal(principal)).toBe('customer ann with web');
  });

  test.each(SIGNATURE_ALGORITHMS)('%s', async (alg) => {
    const own = await createSigner('own', alg);
    const verifier = bench().createVerifier({
      algorithms: [alg],
      keys: createStaticKeySet({ keys: [own.jwk] }),
    });
    const token = await own.sign(bench().serviceClaims());
    expect((await verifier.verify(token)).keyId).toBe('own');
    const other = await createSigner('own', alg);
    await expect(verifier.verify(await other.sign(bench().serviceClaims()))).rejects.toMatchObject({
      code: 'TOKEN_SIGNATURE_INVALID',
    });
  });

  test('one RSA key without an algorithm of its own, for each algorithm that fits', async () => {
    const { publicKey, privateKey } = await generateKeyPair('RS256', { extractable: true });
    const jwk = { ...(await exportJWK(publicKey)), kid: 'rsa' };
    const verifier = bench().createVerifier({ keys: createStaticKeySet({ keys: [jwk] }) });
    const token = await new SignJWT(bench().serviceClaims())
      .setProtectedHeader({ alg: 'RS256', kid: 'rsa' })
      .sign(privateKey);
    expect((await verifier.verify(token)).keyId).toBe('rsa');
    // The signature of one algorithm does not count under the name of another.
    const [, payload, signature] = token.split('.');
    const header = Buffer.from('{"alg":"PS256","kid":"rsa"}').toString('base64url');
    await expect(verifier.verify(`${header}.${payload}.${signature}`)).rejects.toMatchObject({
      code: 'TOKEN_SIGNATURE_INVALID',
    });
  });

  test('without key ids', async () => {
    const { kid: _, ...jwk } = bench().signer.jwk;
    const verifier = bench().createVerifier({ keys: createStaticKeySet({ keys: [jwk] }) });
    const token = await bench().signer.sign(bench().serviceClaims(), {
      kid: undefined,
      typ: undefined,
    });
    expect((await verifier.verify(token)).keyId).toBeUndefined();
  });
});

describe('times', () => {
  const at = (claims: object, skew: number): Promise<string> =>
    bench()
      .signer.sign(bench().serviceClaims(claims))
      .then((token) =>
        bench()
          .createVerifier({ maxTokenLifetimeSeconds: 7200 }, skew)
          .verify(token)
          .then(() => 'accepted')
          .catch((error: { code: string }) => error.code),
      );
  test.each<[string, (now: number) => object, string, number]>([
    ['the last second with skew', (now) => ({ iat: now - 99, exp: now - 59 }), 'accepted', 60],
    ['the first second without', (now) => ({ iat: now - 99, exp: now - 60 }), 'TOKEN_EXPIRED', 60],
    ['no skew, last second', (now) => ({ exp: now + 1 }), 'accepted', 0],
    ['no skew, expired', (now) => ({ iat: now - 9, exp: now }), 'TOKEN_EXPIRED', 0],
    ['nbf within skew', (now) => ({ nbf: now + 60 }), 'accepted', 60],
    ['nbf beyond', (now) => ({ nbf: now + 61 }), 'TOKEN_NOT_YET_VALID', 60],
    ['iat within skew', (now) => ({ iat: now + 60 }), 'accepted', 60],
    ['iat beyond', (now) => ({ iat: now + 61 }), 'TOKEN_NOT_YET_VALID', 60],
    ['exp is iat', (now) => ({ iat: now, exp: now }), 'TOKEN_CLAIM_INVALID', 60],
    ['the longest life', (now) => ({ iat: now, exp: now + 7200 }), 'accepted', 60],
    ['longer', (now) => ({ iat: now, exp: now + 7201 }), 'TOKEN_LIFETIME_TOO_LONG', 60],
    ['without iat', (now) => ({ iat: undefined, exp: now + 7200 }), 'accepted', 60],
    [
      'longer, without iat',
      (now) => ({ iat: undefined, exp: now + 7201 }),
      'TOKEN_LIFETIME_TOO_LONG',
      60,
    ],
  ])('%s', async (_, claims, outcome, skew) => {
    expect(await at(claims(bench().clock.seconds), skew)).toBe(outcome);
  });

  test('a life of any length only by an explicit null; the default is 30 days', async () => {
    const year = await bench().signer.sign(
      bench().serviceClaims({ exp: bench().clock.seconds + 31_536_000 }),
    );
    await expect(bench().createVerifier().verify(year)).rejects.toMatchObject({
      code: 'TOKEN_LIFETIME_TOO_LONG',
    });
    await expect(
      bench().createVerifier({ maxTokenLifetimeSeconds: null }).verify(year),
    ).resolves.toBeDefined();
  });

  test('a token that was good expires', async () => {
    const verifier = bench().createVerifier();
    const token = await bench().signer.sign(bench().serviceClaims());
    await verifier.verify(token);
    bench().clock.advance(3_660_000);
    await expect(verifier.verify(token)).rejects.toMatchObject({ code: 'TOKEN_EXPIRED' });
  });
});

describe('audiences', () => {
  const judge = async (aud: unknown, change: Partial<IssuerOptions>): Promise<string> =>
    bench()
      .createVerifier(change)
      .verify(await bench().signer.sign(bench().serviceClaims({ aud })))
      .then(() => 'accepted')
      .catch((error: { code: string }) => error.code);
  const WRONG = 'TOKEN_AUDIENCE_WRONG';
  test.each<[unknown, Partial<IssuerOptions>, string]>([
    ['a', { audiences: ['a', 'b'] }, 'accepted'],
    [['b', 'a'], { audiences: ['a', 'b'] }, 'accepted'],
    ['c', { audiences: ['a', 'b'] }, WRONG],
    [undefined, { audiences: ['a'] }, WRONG],
    [undefined, { audiences: null }, 'accepted'],
    ['anything', { audiences: null }, 'accepted'],
    [7, { audiences: null }, 'TOKEN_CLAIM_INVALID'],
    [['a', 'userinfo'], { audiences: 'a' }, WRONG],
    [['a', 'userinfo'], { audiences: 'a', otherAudiences: ['userinfo'] }, 'accepted'],
    [['a', 'x'], { audiences: 'a', otherAudiences: ['userinfo'] }, WRONG],
    [['a', 'x'], { audiences: 'a', otherAudiences: null }, 'accepted'],
    ['userinfo', { audiences: 'a', otherAudiences: ['userinfo'] }, WRONG],
    ['x', { audiences: 'a', otherAudiences: null }, WRONG],
  ])('%p with %p: %s', async (aud, change, outcome) => {
    expect(await judge(aud, change)).toBe(outcome);
  });
});
