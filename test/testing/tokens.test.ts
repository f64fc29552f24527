import { describe, expect, test } from '@jest/globals';
import { decodeJwt } from 'jose';
import {
  createOfflineTestIssuer,
  FakeClock,
  TestKitError,
  TOKEN_FAULTS,
  type TokenFault,
  type TokenOverrides,
} from '../../src/testing/index.js';
import { PROVIDER_SHAPES } from '../../src/testing/provider-shapes.js';
import {
  createTokenVerifier,
  PROFILE_NAMES,
  type Principal,
  type ProfileName,
  type TokenVerifierOptions,
} from '../../src/verification/index.js';

const KINDS = ['service', 'customer'] as const;
const ALL = PROFILE_NAMES.flatMap((profile) => KINDS.map((kind) => [profile, kind] as const));
const WITHOUT_CUSTOMERS: ReadonlySet<ProfileName> = new Set(['kubernetes']);
const WITHOUT_SCOPES: ReadonlySet<ProfileName> = new Set(['kubernetes', 'workos']);
const WITHOUT_CLIENT = 'workos customer';
const MINTED = ALL.filter(
  ([profile, kind]) => kind === 'service' || !WITHOUT_CUSTOMERS.has(profile),
);

const principalOf = async (token: string, options: TokenVerifierOptions): Promise<Principal> =>
  (await createTokenVerifier(options).verify(token)).principal;

describe.each(MINTED)('%s %s token', (profile, kind) => {
  const mint = async (overrides?: TokenOverrides) => {
    const issuer = await createOfflineTestIssuer({ profile });
    const token =
      kind === 'service' ? issuer.serviceToken(overrides) : issuer.customerToken(overrides);
    return { issuer, token };
  };

  test('is what its name says, for the real verifier', async () => {
    const { issuer, token } = await mint();
    const principal = await principalOf(token, issuer.verifierOptions());
    expect(principal).toMatchObject({ kind, issuer: issuer.issuer });
    const named = kind === 'service' ? 'billing-job' : 'web-shop';
    if (`${profile} ${kind}` === WITHOUT_CLIENT) expect(principal.clientId).toBeUndefined();
    else expect(principal.clientId).toContain(named);
    if (kind === 'customer') expect(principal.subject).toContain('customer-1');
  });

  test('has an audience where the provider sends one, and times', async () => {
    const { token } = await mint();
    const claims = decodeJwt(token);
    expect(claims).toMatchObject({ exp: expect.any(Number), iat: expect.any(Number) });
    expect(claims.aud).toBe(profile === 'cognito' ? undefined : 'https://api.example.test');
  });

  test('carries another client, person and scopes', async () => {
    const { issuer, token } = await mint({
      clientId: 'other-client',
      subject: 'other-subject',
      scopes: ['orders:read', 'orders:write'],
    });
    // Where lists decide, the issuer's own name its default clients.
    const isListed = 'serviceClientIds' in (issuer.verifierOptions().issuers[0] ?? {});
    const lists = isListed ? { [`${kind}ClientIds`]: ['other-client'] } : {};
    const principal = await principalOf(token, issuer.verifierOptions(lists));
    expect(principal.kind).toBe(kind);
    if (principal.clientId !== undefined) expect(principal.clientId).toContain('other-client');
    if (kind === 'customer') expect(principal.subject).toContain('other-subject');
    expect(principal.scopes).toEqual(
      WITHOUT_SCOPES.has(profile) ? [] : ['orders:read', 'orders:write'],
    );
  });
});

test('every profile has a shape, and says where it has no customers', async () => {
  expect(Object.keys(PROVIDER_SHAPES)).toEqual([...PROFILE_NAMES]);
  for (const profile of WITHOUT_CUSTOMERS) {
    const issuer = await createOfflineTestIssuer({ profile });
    expect(() => issuer.customerToken()).toThrow(TestKitError);
  }
});

describe('a faulty token', () => {
  const faults = Object.entries(TOKEN_FAULTS) as [TokenFault, string][];

  test.each(faults.flatMap(([fault, code]) => KINDS.map((kind) => [fault, kind, code] as const)))(
    '"%s" (%s) is refused as %s',
    async (fault, kind, code) => {
      const issuer = await createOfflineTestIssuer({ profile: 'auth0', clock: new FakeClock() });
      const token =
        kind === 'service' ? issuer.serviceToken({ fault }) : issuer.customerToken({ fault });
      await expect(principalOf(token, issuer.verifierOptions())).rejects.toMatchObject({ code });
    },
  );

  test('of every provider is refused', async () => {
    for (const profile of PROFILE_NAMES) {
      const issuer = await createOfflineTestIssuer({ profile });
      const verifier = createTokenVerifier(issuer.verifierOptions());
      for (const [fault, code] of faults) {
        if (profile === 'cognito' && fault.endsWith('audience')) {
          expect(() => issuer.serviceToken({ fault })).toThrow(/clientId/);
          continue;
        }
        await expect(verifier.verify(issuer.serviceToken({ fault }))).rejects.toMatchObject({
          code,
        });
      }
    }
  }, 60_000);

  test('is refused with RS256, too: the algorithm of the key is not what decides', async () => {
    const issuer = await createOfflineTestIssuer({ algorithm: 'RS256' });
    const verifier = createTokenVerifier(issuer.verifierOptions());
    await expect(verifier.verify(issuer.serviceToken())).resolves.toBeDefined();
    for (const [fault, code] of faults) {
      await expect(verifier.verify(issuer.serviceToken({ fault }))).rejects.toMatchObject({ code });
    }
  });
});

describe('overrides', () => {
  test('replace, add and remove claims and members of the header', async () => {
    const issuer = await createOfflineTestIssuer({ profile: 'okta' });
    const verifier = createTokenVerifier(issuer.verifierOptions());
    const accepted = await verifier.verify(
      issuer.customerToken({
        claims: { tenant: 'acme', auth_time: undefined },
        header: { typ: 'at+jwt', kid: undefined },
      }),
    );
    expect(accepted.claims).toMatchObject({ tenant: 'acme' });
    expect(accepted.claims).not.toHaveProperty('auth_time');
    expect(accepted.keyId).toBe(issuer.keyId);
    await expect(
      verifier.verify(issuer.customerToken({ claims: { uid: undefined } })),
    ).rejects.toMatchObject({ code: 'TOKEN_KIND_UNDECIDED' });
    await expect(
      verifier.verify(issuer.customerToken({ header: { crit: ['exp'] } })),
    ).rejects.toMatchObject({ code: 'TOKEN_HEADER_REFUSED' });
  });

  test('make a token that expires when the clock says so', async () => {
    const clock = new FakeClock('2026-03-01T12:00:00Z');
    const issuer = await createOfflineTestIssuer({ clock });
    const verifier = createTokenVerifier(issuer.verifierOptions({ clockSkewSeconds: 0 }));
    const token = issuer.serviceToken({ expiresInSeconds: 60 });
    const { expiresAt } = await verifier.verify(token);
    expect(expiresAt).toBe(Date.parse('2026-03-01T12:01:00Z'));
    clock.advance(59_999);
    await verifier.verify(token);
    clock.advance(1);
    await expect(verifier.verify(token)).rejects.toMatchObject({ code: 'TOKEN_EXPIRED' });
  });

  test('that are no JSON are refused rather than written as null', async () => {
    const issuer = await createOfflineTestIssuer();
    expect(() => issuer.serviceToken({ claims: { exp: Infinity } })).toThrow(/"exp"/);
  });

  test('an audience of the service under test, on both sides', async () => {
    const issuer = await createOfflineTestIssuer();
    const audience = 'https://orders.example.com';
    const options = issuer.verifierOptions({ audience });
    expect(await principalOf(issuer.serviceToken({ audience }), options)).toBeDefined();
    await expect(principalOf(issuer.serviceToken(), options)).rejects.toMatchObject({
      code: 'TOKEN_AUDIENCE_WRONG',
    });
  });
});

describe('sign', () => {
  test('signs claims as they are, and a text as it stands', async () => {
    const issuer = await createOfflineTestIssuer();
    const verifier = createTokenVerifier(issuer.verifierOptions());
    const claims = { iss: issuer.issuer, sub: 'job', client_id: 'job', aud: issuer.audience };
    await expect(verifier.verify(issuer.sign(claims))).rejects.toMatchObject({
      code: 'TOKEN_CLAIM_INVALID',
    });
    const whole = JSON.stringify({ ...claims, exp: Math.floor(Date.now() / 1000) + 60 });
    await expect(verifier.verify(issuer.sign(whole))).resolves.toMatchObject({
      principal: { kind: 'service', clientId: 'job' },
    });
    await expect(
      verifier.verify(issuer.sign(whole.replace('{', '{"sub":"ann",'))),
    ).rejects.toMatchObject({ code: 'TOKEN_MALFORMED' });
  });
});

test('an unknown profile is named, for callers without TypeScript', async () => {
  await expect(createOfflineTestIssuer({ profile: 'nobody' as ProfileName })).rejects.toThrow(
    /"profile" must be one of rfc9068/,
  );
});
