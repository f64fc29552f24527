import { describe, expect, test } from '@jest/globals';
import { exportJWK, SignJWT } from 'jose';
import {
  createStaticKeySet,
  SIGNATURE_ALGORITHMS,
  type IssuerOptions,
  type Principal,
} from '../../src/verification/index.js';
import { rsaKeyPair } from '../support/rsa-key.js';
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
    const own = await createSigner('own', alg, 'one');
    const verifier = bench().createVerifier({
      algorithms: [alg],
      keys: createStaticKeySet({ keys: [own.jwk] }),
    });
    const token = await own.sign(bench().serviceClaims());
    expect((await verifier.verify(token)).keyId).toBe('own');
    const other = await createSigner('own', alg, 'other');
    await expect(verifier.verify(await other.sign(bench().serviceClaims()))).rejects.toMatchObject({
      code: 'TOKEN_SIGNATURE_INVALID',
    });
  });

  test('one RSA key without an algorithm of its own, for each algorithm that fits', async () => {
    const { publicKey, privateKey } = rsaKeyPair();
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
    ['a fraction before the end', (now) => ({ exp: now + 0.5 }), 'accepted', 0],
    ['a fraction after it', (now) => ({ iat: now - 9, exp: now - 0.5 }), 'TOKEN_EXPIRED', 0],
    ['nbf a fraction beyond', (now) => ({ nbf: now + 60.5 }), 'TOKEN_NOT_YET_VALID', 60],
    ['a fraction too long', (now) => ({ exp: now + 7200.5 }), 'TOKEN_LIFETIME_TOO_LONG', 60],
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

  test('a fraction of a second ends a remembered token, too, and never later than it says', async () => {
    const { clock, signer } = bench();
    const start = clock.seconds;
    const verifier = bench().createVerifier({}, 0);
    const token = await signer.sign(bench().serviceClaims({ iat: start, exp: start + 10.0005 }));
    // Half a millisecond is cut off.
    expect((await verifier.verify(token)).expiresAt).toBe(start * 1000 + 10_000);
    clock.advance(10_000);
    expect(verifier.peek?.(token)).toBeDefined();
    clock.advance(1);
    expect(verifier.peek?.(token)).toBeUndefined();
    await expect(verifier.verify(token)).rejects.toMatchObject({ code: 'TOKEN_EXPIRED' });
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
    [[], { audiences: ['a'] }, WRONG],
    [[], { audiences: null }, 'accepted'],
    [null, { audiences: ['a'] }, WRONG],
    [null, { audiences: null }, 'accepted'],
    [[''], { audiences: null }, 'TOKEN_CLAIM_INVALID'],
    [['a', null], { audiences: 'a' }, 'TOKEN_CLAIM_INVALID'],
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

/** The kind, or the code of the refusal. */
const outcomeOf = async (
  claims: object,
  change: Partial<IssuerOptions> = {},
  header: Readonly<Record<string, unknown>> = {},
): Promise<string> =>
  bench()
    .createVerifier(change)
    .verify(await bench().signer.sign(claims, header))
    .then(({ principal }) => principal.kind)
    .catch((error: { code: string }) => error.code);

describe('claims', () => {
  test('what is optional and null is absent', async () => {
    const nothing = { nbf: null, azp: null, act: null, email: null, auth_time: null, cnf: null };
    expect(await outcomeOf(bench().serviceClaims(nothing))).toBe('service');
    expect(await outcomeOf(bench().customerClaims({ ...nothing, auth_time: 1 }))).toBe('customer');
    const unscoped = bench().createVerifier();
    const token = await bench().signer.sign(bench().serviceClaims({ scope: null, jti: null }));
    expect((await unscoped.verify(token)).principal.scopes).toEqual([]);
  });

  test('what is required and null is missing', async () => {
    expect(await outcomeOf(bench().serviceClaims({ exp: null }))).toBe('TOKEN_CLAIM_INVALID');
    expect(await outcomeOf(bench().serviceClaims({ iss: null }))).toBe('TOKEN_CLAIM_INVALID');
    for (const name of ['sub', 'client_id']) {
      for (const claims of [bench().serviceClaims(), bench().customerClaims()]) {
        expect(await outcomeOf({ ...claims, [name]: null })).toBe('TOKEN_KIND_UNDECIDED');
      }
    }
    // A mark that is null is none.
    expect(await outcomeOf(bench().customerClaims({ auth_time: null }))).toBe(
      'TOKEN_KIND_UNDECIDED',
    );
  });

  test('RFC 9068: what it requires is enough, of a token that says that it follows it', async () => {
    const claims = bench().customerClaims({ auth_time: undefined, jti: 'j' });
    expect(await outcomeOf(claims, {}, { typ: 'at+jwt' })).toBe('customer');
    expect(await outcomeOf(claims, {}, { typ: 'application/AT+JWT' })).toBe('customer');
    expect(await outcomeOf(claims, { typ: 'at+jwt' }, { typ: 'at+jwt' })).toBe('customer');
    for (const typ of ['JWT', undefined]) {
      expect(await outcomeOf(claims, {}, { typ })).toBe('TOKEN_KIND_UNDECIDED');
    }
    for (const name of ['jti', 'iat', 'client_id', 'sub']) {
      const less = { ...claims, [name]: undefined };
      expect(await outcomeOf(less, {}, { typ: 'at+jwt' })).toBe('TOKEN_KIND_UNDECIDED');
    }
  });
});

describe('tokens that are bound to a key', () => {
  const bound = [
    { cnf: { jkt: 'x' } },
    { cnf: { 'x5t#S256': 'x' } },
    { cnf: { jwk: {} } },
    { cnf: {} },
    { cnf: [] },
    { cnf: 'x' },
    { cnf: false },
    { typ: 'DPoP' },
    { typ: 'dpop' },
  ];
  test.each(bound)('%j: only by an explicit null', async (mark) => {
    for (const kind of ['service', 'customer'] as const) {
      const claims = bench()[`${kind}Claims`](mark);
      expect(await outcomeOf(claims)).toBe('TOKEN_SENDER_CONSTRAINED');
      expect(await outcomeOf(claims, { senderConstraint: null })).toBe(kind);
    }
  });

  test('the option opens nothing else', async () => {
    const open = { senderConstraint: null };
    const id = bench().customerClaims({ cnf: { jkt: 'x' }, at_hash: 'h' });
    expect(await outcomeOf(id, open)).toBe('TOKEN_TYPE_WRONG');
    const machine = bench().customerClaims({ cnf: { jkt: 'x' }, clientHost: 'h' });
    expect(await outcomeOf(machine, open)).toBe('TOKEN_KIND_UNDECIDED');
  });
});

describe('lists of clients', () => {
  const NOT_ALLOWED = 'TOKEN_CLIENT_NOT_ALLOWED';
  test.each<[Partial<IssuerOptions>, service: string, customer: string]>([
    [{}, 'service', 'customer'],
    [{ serviceClientIds: ['job'] }, 'service', 'customer'],
    [{ customerClientIds: ['web'] }, 'service', 'customer'],
    [{ serviceClientIds: ['web'] }, NOT_ALLOWED, NOT_ALLOWED],
    [{ customerClientIds: ['job'] }, NOT_ALLOWED, NOT_ALLOWED],
    [{ serviceClientIds: ['job', 'web'] }, 'service', NOT_ALLOWED],
    [{ customerClientIds: ['job', 'web'] }, NOT_ALLOWED, 'customer'],
    [{ serviceClientIds: ['job', 'web'], customerClientIds: ['web'] }, 'service', 'customer'],
    [{ serviceClientIds: [], customerClientIds: ['web'] }, NOT_ALLOWED, 'customer'],
    [{ serviceClientIds: ['job'], customerClientIds: [] }, 'service', NOT_ALLOWED],
  ])('%j: service %s, customer %s', async (lists, service, customer) => {
    expect(await outcomeOf(bench().serviceClaims(), lists)).toBe(service);
    expect(await outcomeOf(bench().customerClaims(), lists)).toBe(customer);
  });

  test('a person called like the client is no service where only people use it', async () => {
    const claims = bench().serviceClaims({ sub: 'web', client_id: 'web', scp: ['a'], ext: {} });
    for (const profile of ['hydra', 'rfc9068', 'spring'] as const) {
      const lists = { profile, customerClientIds: ['web'] };
      expect(await outcomeOf(claims, lists)).toBe(NOT_ALLOWED);
      expect(await outcomeOf(claims, { ...lists, serviceClientIds: ['job'] })).toBe(NOT_ALLOWED);
      const login = { ...claims, scp: ['openid'] };
      expect(await outcomeOf(login, { profile })).toBe('TOKEN_KIND_UNDECIDED');
    }
  });

  test("a service's token that another client exchanged is not a customer's", async () => {
    const claims = bench().customerClaims({ sub: 'job' });
    expect(await outcomeOf(claims, { serviceClientIds: ['job'] })).toBe('TOKEN_KIND_UNDECIDED');
    expect(await outcomeOf({ ...claims, sub: 'ann' }, { serviceClientIds: ['job'] })).toBe(
      'customer',
    );
  });
});
