import { describe, expect, test } from '@jest/globals';
import { introspectionOf } from '../../src/serving/introspect-endpoint.js';
import { createOfflineTestIssuer, type TokenOverrides } from '../../src/testing/index.js';
import {
  createStaticKeySet,
  createTokenVerifier,
  explainToken,
  PROFILE_NAMES,
  type IssuerOptions,
  type ProfileName,
} from '../../src/verification/index.js';
import { createReceivers } from '../../src/verification/receivers.js';

const AUDIENCE = 'https://orders.example';

async function scene(profile: ProfileName, change: Partial<IssuerOptions> = {}) {
  const issuer = await createOfflineTestIssuer({ profile, audience: AUDIENCE });
  const [trusted] = issuer.verifierOptions().issuers;
  if (trusted === undefined) throw new Error('The issuer has options.');
  const options = { issuers: [{ ...trusted, ...change }] };
  const verifier = createTokenVerifier(options);
  const scopesOf = async (kind: 'customer' | 'service', overrides: TokenOverrides) => {
    const token = issuer[`${kind}Token`](overrides);
    return verifier.verify(token).then(
      ({ principal }) => principal.scopes,
      (error: unknown) => (error as { code: string }).code,
    );
  };
  return { issuer, options, verifier, scopesOf };
}

describe('Auth0', () => {
  const claims = { permissions: ['orders:write', 'orders:read'] };
  const overrides: TokenOverrides = { scopes: ['orders:read'], claims };

  test('permissions are no scopes by default', async () => {
    const { scopesOf } = await scene('auth0');
    await expect(scopesOf('customer', overrides)).resolves.toEqual(['orders:read']);
    await expect(scopesOf('service', overrides)).resolves.toEqual(['orders:read']);
  });

  test('they are where the issuer says so, once each', async () => {
    const { scopesOf } = await scene('auth0', { scopeClaims: ['scope', 'permissions'] });
    const all = ['orders:read', 'orders:write'];
    await expect(scopesOf('customer', overrides)).resolves.toEqual(all);
    await expect(scopesOf('service', overrides)).resolves.toEqual(all);
  });

  test('the list replaces that of the profile', async () => {
    const { scopesOf } = await scene('auth0', { scopeClaims: ['permissions'] });
    const change = { scopes: ['admin'], claims };
    await expect(scopesOf('customer', change)).resolves.toEqual(['orders:write', 'orders:read']);
  });

  test.each<[string, unknown, unknown]>([
    ['missing', undefined, ['orders:read']],
    ['null', null, ['orders:read']],
    ['empty', [], ['orders:read']],
    ['a text with spaces', 'a b', ['orders:read', 'a', 'b']],
    ['an entry with a space is one scope', ['a b'], ['orders:read', 'a b']],
    ['names of Object', ['constructor', '__proto__'], ['orders:read', 'constructor', '__proto__']],
    ['an object', { 'orders:write': true }, 'TOKEN_CLAIM_INVALID'],
    ['a number', 7, 'TOKEN_CLAIM_INVALID'],
    ['a list with an object', ['a', { b: 1 }], 'TOKEN_CLAIM_INVALID'],
    ['a list with a number', ['a', 1], 'TOKEN_CLAIM_INVALID'],
    ['a list in a list', [['orders:write']], 'TOKEN_CLAIM_INVALID'],
  ])('permissions that are %s', async (_, permissions, scopes) => {
    const { scopesOf } = await scene('auth0', { scopeClaims: ['scope', 'permissions'] });
    const change = { scopes: ['orders:read'], claims: { permissions } };
    await expect(scopesOf('customer', change)).resolves.toEqual(scopes);
  });

  test('hundreds of permissions', async () => {
    const permissions = Array.from({ length: 400 }, (_, index) => `resource-${index}:read`);
    const { scopesOf } = await scene('auth0', { scopeClaims: ['permissions'] });
    await expect(scopesOf('customer', { claims: { permissions } })).resolves.toEqual(permissions);
  });

  test('the explanation says where scopes are read, where the issuer has a list of its own', async () => {
    const { issuer, options } = await scene('auth0', { scopeClaims: ['scope', 'permissions'] });
    const token = issuer.customerToken(overrides);
    const { rules } = await explainToken(token, options);
    expect(rules).toContain('scopes: read from "scope" and "permissions"');
    const { scopeClaims: _, ...plain } = options.issuers[0] as IssuerOptions;
    const usual = await explainToken(token, { issuers: [plain] });
    expect(usual.accepted).toBe(true);
    expect(usual.rules.filter((rule) => rule.startsWith('scopes:'))).toEqual([]);
  });

  test('introspection answers with them', async () => {
    const { issuer, verifier } = await scene('auth0', { scopeClaims: ['scope', 'permissions'] });
    const verified = await verifier.verify(issuer.customerToken(overrides));
    expect(introspectionOf(verified)).toMatchObject({ scope: 'orders:read orders:write' });
  });
});

test('Entra ID: app roles of customers, where the issuer says so', async () => {
  const claims = { roles: ['Orders.Approve'] };
  const overrides: TokenOverrides = { scopes: ['Orders.Read'], claims };
  const usual = await scene('entra');
  await expect(usual.scopesOf('customer', overrides)).resolves.toEqual(['Orders.Read']);
  const { scopesOf } = await scene('entra', { scopeClaims: ['scp', 'roles'] });
  await expect(scopesOf('customer', overrides)).resolves.toEqual(['Orders.Read', 'Orders.Approve']);
  // A service's roles are its scopes in any case.
  await expect(scopesOf('service', { scopes: ['Orders.Read'] })).resolves.toEqual(['Orders.Read']);
});

test.each(PROFILE_NAMES)('%s: a list of its own does not change the kind', async (profile) => {
  const { scopesOf } = await scene(profile, { scopeClaims: ['permissions'] });
  const change = { claims: { permissions: ['orders:read'] } };
  await expect(scopesOf('service', change)).resolves.toEqual(['orders:read']);
  // Kubernetes has no people.
  if (profile === 'kubernetes') return;
  await expect(scopesOf('customer', change)).resolves.toEqual(['orders:read']);
});

test('receivers that read scopes differently stay apart', async () => {
  const issuer = await createOfflineTestIssuer({ audience: AUDIENCE, profile: 'auth0' });
  const keys = createStaticKeySet(issuer.jwks());
  const receiver = (audiences: string, scopeClaims?: readonly string[]): IssuerOptions => ({
    issuer: issuer.issuer,
    profile: 'auth0',
    keys,
    audiences,
    otherAudiences: null,
    ...(scopeClaims && { scopeClaims }),
  });
  const [a, b] = ['https://a.example', 'https://b.example'] as const;
  const receivers = createReceivers({ receivers: [receiver(a, ['permissions']), receiver(b)] });
  const token = issuer.customerToken({
    audience: [a, b],
    scopes: ['x'],
    claims: { permissions: ['y'] },
  });
  expect((await receivers.verify(token, a)).principal.scopes).toEqual(['y']);
  expect((await receivers.verify(token, b)).principal.scopes).toEqual(['x']);
});

test.each([[[]], ['scope'], [['']], [[7]], [null]])('scopeClaims %j is refused', async (value) => {
  const change = { scopeClaims: value } as unknown as Partial<IssuerOptions>;
  await expect(scene('auth0', change)).rejects.toThrow(/issuers\[0\]\.scopeClaims/);
});
