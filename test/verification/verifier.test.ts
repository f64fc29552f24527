import { afterEach, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { generateKeyPair, exportJWK, SignJWT } from 'jose';
import {
  createRemoteKeySet,
  createStaticKeySet,
  createTokenVerifier,
  KeysUnavailableError,
  SIGNATURE_ALGORITHMS,
  type IssuerOptions,
  type Principal,
  type TokenVerifier,
} from '../../src/verification/index.js';
import { JwksServer } from './support/jwks-server.js';
import { ManualClock } from './support/manual-clock.js';
import { createSigner, type Signer } from './support/signer.js';

const ISSUER = 'https://issuer.example/';
const OTHER = 'https://other.example/';
const AUDIENCE = 'https://orders.example';

let signer: Signer;
let otherSigner: Signer;
let clock: ManualClock;

beforeAll(async () => {
  [signer, otherSigner] = [await createSigner('k1'), await createSigner('k1')];
});
beforeEach(() => {
  clock = new ManualClock();
});

const serviceClaims = (change: object = {}): Record<string, unknown> => ({
  iss: ISSUER,
  aud: AUDIENCE,
  sub: 'job',
  client_id: 'job',
  scope: 'read write',
  iat: clock.seconds,
  exp: clock.seconds + 3600,
  ...change,
});
const customerClaims = (change: object = {}): Record<string, unknown> =>
  serviceClaims({ sub: 'ann', client_id: 'web', auth_time: clock.seconds, ...change });

function createVerifier(change: Partial<IssuerOptions> = {}, clockSkewSeconds = 60): TokenVerifier {
  const keys = createStaticKeySet({ keys: [signer.jwk] });
  const issuer: IssuerOptions = { issuer: ISSUER, audiences: AUDIENCE, profile: 'rfc9068', keys };
  return createTokenVerifier({ clock, clockSkewSeconds, issuers: [{ ...issuer, ...change }] });
}

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
    const claims = serviceClaims({ act: { sub: 'agent' } });
    const verified = await createVerifier().verify(await signer.sign(claims));
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
      expiresAt: (clock.seconds + 3600) * 1000,
      keyId: 'k1',
    });
    expect(describePrincipal(verified.principal)).toBe('service job');
  });

  test('a customer token', async () => {
    const { principal } = await createVerifier().verify(await signer.sign(customerClaims()));
    expect(describePrincipal(principal)).toBe('customer ann with web');
  });

  test.each(SIGNATURE_ALGORITHMS)('%s', async (alg) => {
    const own = await createSigner('own', alg);
    const verifier = createVerifier({
      algorithms: [alg],
      keys: createStaticKeySet({ keys: [own.jwk] }),
    });
    const token = await own.sign(serviceClaims());
    expect((await verifier.verify(token)).keyId).toBe('own');
    const other = await createSigner('own', alg);
    await expect(verifier.verify(await other.sign(serviceClaims()))).rejects.toMatchObject({
      code: 'TOKEN_SIGNATURE_INVALID',
    });
  });

  test('one RSA key without an algorithm of its own, for each algorithm that fits', async () => {
    const { publicKey, privateKey } = await generateKeyPair('RS256', { extractable: true });
    const jwk = { ...(await exportJWK(publicKey)), kid: 'rsa' };
    const verifier = createVerifier({ keys: createStaticKeySet({ keys: [jwk] }) });
    const token = await new SignJWT(serviceClaims())
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
    const { kid: _, ...jwk } = signer.jwk;
    const verifier = createVerifier({ keys: createStaticKeySet({ keys: [jwk] }) });
    const token = await signer.sign(serviceClaims(), { kid: undefined, typ: undefined });
    expect((await verifier.verify(token)).keyId).toBeUndefined();
  });
});

describe('times', () => {
  const at = (claims: object, skew?: number): Promise<string> =>
    signer.sign(serviceClaims(claims)).then((token) =>
      createVerifier({ maxTokenLifetimeSeconds: 7200 }, skew)
        .verify(token)
        .then(() => 'accepted')
        .catch((error: { code: string }) => error.code),
    );
  test.each<[string, (now: number) => object, string, number?]>([
    ['the last second with skew', (now) => ({ iat: now - 99, exp: now - 59 }), 'accepted'],
    ['the first second without', (now) => ({ iat: now - 99, exp: now - 60 }), 'TOKEN_EXPIRED'],
    ['no skew, last second', (now) => ({ exp: now + 1 }), 'accepted', 0],
    ['no skew, expired', (now) => ({ iat: now - 9, exp: now }), 'TOKEN_EXPIRED', 0],
    ['nbf within skew', (now) => ({ nbf: now + 60 }), 'accepted'],
    ['nbf beyond', (now) => ({ nbf: now + 61 }), 'TOKEN_NOT_YET_VALID'],
    ['iat within skew', (now) => ({ iat: now + 60 }), 'accepted'],
    ['iat beyond', (now) => ({ iat: now + 61 }), 'TOKEN_NOT_YET_VALID'],
    ['exp is iat', (now) => ({ iat: now, exp: now }), 'TOKEN_CLAIM_INVALID'],
    ['the longest life', (now) => ({ iat: now, exp: now + 7200 }), 'accepted'],
    ['longer', (now) => ({ iat: now, exp: now + 7201 }), 'TOKEN_LIFETIME_TOO_LONG'],
    ['without iat', (now) => ({ iat: undefined, exp: now + 7200 }), 'accepted'],
    [
      'longer, without iat',
      (now) => ({ iat: undefined, exp: now + 7201 }),
      'TOKEN_LIFETIME_TOO_LONG',
    ],
  ])('%s', async (_, claims, outcome, skew) => {
    expect(await at(claims(clock.seconds), skew)).toBe(outcome);
  });

  test('a life of any length only by an explicit null; the default is 30 days', async () => {
    const year = await signer.sign(serviceClaims({ exp: clock.seconds + 31_536_000 }));
    await expect(createVerifier().verify(year)).rejects.toMatchObject({
      code: 'TOKEN_LIFETIME_TOO_LONG',
    });
    await expect(
      createVerifier({ maxTokenLifetimeSeconds: null }).verify(year),
    ).resolves.toBeDefined();
  });

  test('a token that was good expires', async () => {
    const verifier = createVerifier();
    const token = await signer.sign(serviceClaims());
    await verifier.verify(token);
    clock.advance(3_660_000);
    await expect(verifier.verify(token)).rejects.toMatchObject({ code: 'TOKEN_EXPIRED' });
  });
});

describe('audiences', () => {
  const judge = async (aud: unknown, change: Partial<IssuerOptions>): Promise<string> =>
    createVerifier(change)
      .verify(await signer.sign(serviceClaims({ aud })))
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

describe('issuers', () => {
  test('each is judged by its own rules only', async () => {
    const verifier = createTokenVerifier({
      clock,
      issuers: [
        {
          issuer: ISSUER,
          audiences: AUDIENCE,
          profile: 'rfc9068',
          keys: createStaticKeySet({ keys: [signer.jwk] }),
          algorithms: ['ES256'],
          typ: 'at+jwt',
        },
        {
          issuer: OTHER,
          audiences: 'other',
          profile: 'auth0',
          keys: createStaticKeySet({ keys: [otherSigner.jwk] }),
          serviceClientIds: ['job'],
        },
      ],
    });
    const codeOf = async (token: Promise<string>): Promise<string> =>
      verifier
        .verify(await token)
        .then(({ issuer }) => issuer)
        .catch((error: { code: string }) => error.code);
    const auth0 = (change: object = {}): Record<string, unknown> => ({
      ...serviceClaims({ iss: OTHER, aud: 'other', sub: 'job@clients', azp: 'job' }),
      gty: 'client-credentials',
      ...change,
    });
    const typ = { typ: 'at+jwt' };
    expect(await codeOf(signer.sign(serviceClaims(), typ))).toBe(ISSUER);
    expect(await codeOf(signer.sign(serviceClaims()))).toBe('TOKEN_TYPE_WRONG');
    expect(await codeOf(otherSigner.sign(auth0()))).toBe(OTHER);
    // The key, the audience, the marks and the clients of one issuer count nothing for the other.
    expect(await codeOf(signer.sign(auth0()))).toBe('TOKEN_SIGNATURE_INVALID');
    expect(await codeOf(otherSigner.sign(serviceClaims(), typ))).toBe('TOKEN_SIGNATURE_INVALID');
    expect(await codeOf(otherSigner.sign(auth0({ aud: AUDIENCE })))).toBe('TOKEN_AUDIENCE_WRONG');
    const likeOther = {
      sub: 'job@clients',
      client_id: 'job',
      azp: 'job',
      gty: 'client-credentials',
    };
    expect(await codeOf(signer.sign(serviceClaims(likeOther), typ))).toBe('TOKEN_KIND_UNDECIDED');
    const stranger = { azp: 'x', client_id: 'x', sub: 'x@clients' };
    expect(await codeOf(otherSigner.sign(auth0(stranger)))).toBe('TOKEN_CLIENT_NOT_ALLOWED');
    expect(await codeOf(otherSigner.sign(auth0({ iss: `${OTHER}x` })))).toBe(
      'TOKEN_ISSUER_UNKNOWN',
    );
  });

  test('an algorithm that the issuer does not use is refused before its keys are asked', async () => {
    const verifier = createVerifier({ algorithms: ['RS256'] });
    await expect(verifier.verify(await signer.sign(serviceClaims()))).rejects.toMatchObject({
      code: 'TOKEN_ALGORITHM_REFUSED',
    });
  });
});

describe('keys over HTTP', () => {
  let server: JwksServer;
  let hanging: JwksServer;
  beforeEach(async () => {
    [server, hanging] = [await JwksServer.start(signer.jwk), await JwksServer.start(signer.jwk)];
    hanging.behaviour = { kind: 'hang' };
  });
  afterEach(() => Promise.all([server.stop(), hanging.stop()]));

  const createBoth = (): TokenVerifier =>
    createTokenVerifier({
      clock,
      issuers: [ISSUER, OTHER].map((issuer) => ({
        issuer,
        audiences: AUDIENCE,
        profile: 'rfc9068',
        keys: createRemoteKeySet({
          jwksUri: issuer === ISSUER ? server.uri : hanging.uri,
          clock,
          random: () => 0,
        }),
      })),
    });

  test('a provider that hangs delays no other, and is no fault of the token', async () => {
    const verifier = createBoth();
    const stuck = verifier.verify(await signer.sign(serviceClaims({ iss: OTHER })));
    await hanging.requestArrived(1);
    expect((await verifier.verify(await signer.sign(serviceClaims()))).issuer).toBe(ISSUER);
    clock.advance(5000);
    const error = await stuck.catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(KeysUnavailableError);
    expect(error).toMatchObject({ kind: 'retry', retryAfterSeconds: 1 });
    expect([...verifier.keyStates()].map(([issuer, { status }]) => [issuer, status])).toEqual([
      [ISSUER, 'fresh'],
      [OTHER, 'empty'],
    ]);
  });

  test('a token that can be refused without keys causes no fetch', async () => {
    const verifier = createBoth();
    const expired = serviceClaims({ iat: 0, exp: 1 });
    const foreign = serviceClaims({ aud: 'somebody' });
    for (const claims of [expired, foreign, serviceClaims({ iss: 'https://unknown.example/' })]) {
      await expect(verifier.verify(await signer.sign(claims))).rejects.toMatchObject({
        kind: 'rejected',
      });
    }
    expect(server.requests).toBe(0);
  });

  test('tokens of a withdrawn key are refused after the refresh', async () => {
    const verifier = createBoth();
    const token = await signer.sign(serviceClaims());
    await verifier.verify(token);
    server.keys = [];
    clock.advance(600_000);
    await expect(verifier.verify(token)).rejects.toMatchObject({ code: 'TOKEN_KEY_UNKNOWN' });
  });

  test('the signal of a caller ends its wait', async () => {
    const verifier = createBoth();
    const token = await signer.sign(serviceClaims({ iss: OTHER }));
    const controller = new AbortController();
    const waiting = verifier.verify(token, { signal: controller.signal });
    await hanging.requestArrived(1);
    controller.abort(new Error('the request was closed'));
    await expect(waiting).rejects.toThrow('the request was closed');
  });
});

describe('configuration', () => {
  const keys = { find: () => Promise.reject(new Error('not asked')), state: () => undefined };
  const good = { issuer: ISSUER, audiences: AUDIENCE, profile: 'auth0', keys };
  const { audiences: _a, ...noAudiences } = good;
  const { profile: _p, ...noProfile } = good;
  const { keys: _k, ...noKeys } = good;
  test.each<[string, unknown, string]>([
    ['no issuers', { issuers: [] }, '"issuers"'],
    ['issuers missing', {}, '"issuers"'],
    ['audiences missing', { issuers: [noAudiences] }, 'issuers[0].audiences is missing'],
    ['audiences empty', { issuers: [{ ...good, audiences: [] }] }, 'issuers[0].audiences'],
    ['an empty audience', { issuers: [{ ...good, audiences: '' }] }, 'issuers[0].audiences'],
    ['profile missing', { issuers: [noProfile] }, 'issuers[0].profile is missing'],
    ['profile unknown', { issuers: [{ ...good, profile: 'auth1' }] }, '"auth1" is none of'],
    ['profile inherited', { issuers: [{ ...good, profile: 'constructor' }] }, 'is none of'],
    ['keys missing', { issuers: [noKeys] }, 'issuers[0].keys'],
    ['issuer empty', { issuers: [{ ...good, issuer: '' }] }, 'issuers[0].issuer'],
    ['issuer twice', { issuers: [good, good] }, 'configured twice'],
    ['HMAC', { issuers: [{ ...good, algorithms: ['HS256'] }] }, '"HS256" is not allowed'],
    ['none', { issuers: [{ ...good, algorithms: ['none'] }] }, '"none" is not allowed'],
    ['no algorithms', { issuers: [{ ...good, algorithms: [] }] }, 'issuers[0].algorithms'],
    ['typ', { issuers: [{ ...good, typ: 'JWT' }] }, 'issuers[0].typ'],
    ['a life of zero', { issuers: [{ ...good, maxTokenLifetimeSeconds: 0 }] }, 'Lifetime'],
    [
      'a list missing',
      { issuers: [{ ...good, profile: 'zitadel' }] },
      'serviceClientIds is required',
    ],
    [
      'a list of something else',
      { issuers: [{ ...good, serviceClientIds: 'job' }] },
      'serviceClientIds',
    ],
    ['a bad profile', { issuers: [{ ...good, profile: { name: 'x' } }] }, 'x'],
    ['negative skew', { issuers: [good], clockSkewSeconds: -1 }, '"clockSkewSeconds"'],
    ['skew of an hour', { issuers: [good], clockSkewSeconds: 3600 }, '"clockSkewSeconds"'],
    ['skew NaN', { issuers: [good], clockSkewSeconds: Number.NaN }, '"clockSkewSeconds"'],
  ])('%s', (_, options, words) => {
    const make = (): unknown =>
      createTokenVerifier(options as Parameters<typeof createTokenVerifier>[0]);
    expect(make).toThrow(
      expect.objectContaining({
        code: 'VERIFIER_MISCONFIGURED',
        kind: 'misconfigured',
        message: expect.stringContaining(words) as string,
      }) as Error,
    );
  });

  test('a custom profile is copied when it is configured', async () => {
    const service: { claim: string; equals: string }[] = [{ claim: 'kind', equals: 'machine' }];
    const verifier = createVerifier({
      profile: {
        name: 'ours',
        clientId: ['client_id'],
        service,
        customer: 'never',
        scopes: { service: [], customer: [] },
      },
    });
    service.length = 0;
    await expect(verifier.verify(await signer.sign(customerClaims()))).rejects.toMatchObject({
      code: 'TOKEN_KIND_UNDECIDED',
    });
    const token = await signer.sign(serviceClaims({ kind: 'machine' }));
    expect((await verifier.verify(token)).principal.kind).toBe('service');
  });
});
