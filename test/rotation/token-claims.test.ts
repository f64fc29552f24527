import { describe, expect, test } from '@jest/globals';
import type { ProviderSettings } from '../../src/provider/client-credentials.js';
import { serviceTokenOf, TokenSource } from '../../src/rotation/token-source.js';
import { SecretStoreError } from '../../src/secrets/secret-store.js';
import { BrokerError } from '../../src/tokens/errors.js';
import type { TokenVerifier } from '../../src/verification/verifier.js';
import { MemorySecretStore } from '../support/memory-store.js';
import { VirtualClock } from '../support/virtual-clock.js';

const NOW = Date.parse('2026-11-22T12:00:00.000Z');
const exp = NOW / 1000 + 3_600;
const ISSUER = 'https://provider.example.test';
const AUDIENCE = 'https://api.example.test';

function jwt(claims: unknown): string {
  const part = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString('base64url');
  return `${part({ alg: 'RS256' })}.${part(claims)}.c2ln`;
}

/** What is wrong with a minted token, in words. */
function faultOf(accessToken: string, expiresIn?: number): string {
  try {
    serviceTokenOf(accessToken, expiresIn, NOW);
  } catch (error) {
    expect(error).toMatchObject({ code: 'MINTED_TOKEN_INVALID', kind: 'misconfigured' });
    return (error as BrokerError).message;
  }
  return 'it was kept';
}

describe('a minted token', () => {
  const format = "Check the token format in the provider's settings for this client.";
  const lifetime =
    "Raise the token lifetime in the provider's settings for this client or this API.";

  test.each([
    ['no issuer', { exp }, `it has no issuer ("iss"). ${format}`],
    ['an empty issuer', { iss: '', exp }, `it has no issuer ("iss"). ${format}`],
    ['an issuer that is no text', { iss: 7, exp }, `it has no issuer ("iss"). ${format}`],
    ['issuers', { iss: [ISSUER], exp }, `it has no issuer ("iss"). ${format}`],
    [
      'an end after the last date',
      { iss: ISSUER, exp: 8_640_000_000_001 },
      `it never expires: its "exp" is missing, or is not a date. ${format}`,
    ],
    [
      'an end that has passed',
      { iss: ISSUER, exp: NOW / 1000 },
      `it has expired already: its "exp" is 2026-11-22T12:00:00.000Z, and it is 2026-11-22T12:00:00.000Z here. Compare this machine's clock with the provider's. ${lifetime}`,
    ],
  ])('with %s is not kept', (_what, claims, fault) => {
    expect(faultOf(jwt(claims))).toBe(`The provider minted a token that cannot be kept: ${fault}`);
  });

  test('that has expired, says the provider, is not kept', () => {
    expect(faultOf(jwt({ iss: ISSUER, exp }), 0)).toBe(
      `The provider minted a token that cannot be kept: the provider says that it has expired already: "expires_in" is 0. ${lifetime}`,
    );
  });

  test.each(['', 'opaque', 'a.b.c', jwt('text'), jwt([1])])(
    'that is no JWT is not kept, nor told: %s',
    (accessToken) => {
      expect(faultOf(accessToken)).toBe(
        `The provider minted a token that cannot be kept: it is not a JWT. ${format}`,
      );
    },
  );

  test('may end at the last date', () => {
    const token = serviceTokenOf(jwt({ iss: ISSUER, exp: 8_640_000_000_000 }), undefined, NOW);
    expect(token.expiresAt).toBe(8_640_000_000_000_000);
  });

  test.each<[unknown, readonly string[]]>([
    [AUDIENCE, [AUDIENCE]],
    [
      ['a', 'b'],
      ['a', 'b'],
    ],
    [
      ['a', '', 7, null, 'b'],
      ['a', 'b'],
    ],
    [[], []],
    ['', []],
    [undefined, []],
    [null, []],
    [7, []],
    [{ a: 'b' }, []],
  ])('for the audience %j', (aud, audience) => {
    const accessToken = jwt({ iss: ISSUER, exp, aud });
    expect(serviceTokenOf(accessToken, undefined, NOW)).toStrictEqual({
      accessToken,
      tokenType: 'Bearer',
      expiresAt: exp * 1000,
      generatedAt: NOW,
      issuer: ISSUER,
      audience,
    });
  });
});

/** A source of tokens; the verifier says of each what a test wants. */
function sourceFixture(
  configured: Partial<ProviderSettings>,
  verify: TokenVerifier['verify'] = () => Promise.reject(new Error('not here')),
) {
  const clock = new VirtualClock();
  const store = new MemorySecretStore({ clock });
  const verifiers: ProviderSettings[] = [];
  const source = new TokenSource({
    store,
    credentialsSecretId: 'broker/credentials',
    provider: {
      mint: async () => ({ accessToken: jwt({ iss: ISSUER, exp }) }),
      metadata: () => Promise.reject(new Error('not here')),
    },
    configured,
    createVerifier: (settings) => {
      verifiers.push(settings);
      return { verify, keyStates: () => new Map() };
    },
    clock,
  });
  const write = (settings: object): string =>
    store.seed(
      'broker/credentials',
      JSON.stringify({ client_id: 'broker', client_secret: 'right-secret', ...settings }),
    );
  return { clock, store, source, verifiers, write };
}

describe('what receivers would say of a token', () => {
  const complete = { issuer: ISSUER, audience: AUDIENCE };
  const token = (claims: object = {}) =>
    serviceTokenOf(jwt({ iss: ISSUER, exp, ...claims }), undefined, NOW);
  type Verified = Awaited<ReturnType<TokenVerifier['verify']>>;
  const speaksFor = (kind: string) => async () =>
    ({ principal: { kind, id: 'x' } }) as unknown as Verified;
  const constrained = new BrokerError('TOKEN_SENDER_CONSTRAINED', 'rejected', 'without DPoP');

  test('one that speaks for a service is accepted', async () => {
    const { source } = sourceFixture(complete, speaksFor('service'));
    await expect(source.verify(token())).resolves.toBeUndefined();
  });

  test('one that speaks for a customer is not', async () => {
    const { source } = sourceFixture(complete, speaksFor('customer'));
    await expect(source.verify(token())).rejects.toMatchObject({
      code: 'TOKEN_NOT_A_SERVICE',
      kind: 'rejected',
      message:
        'the token speaks for a customer, not for a service. Check BROKER_PROFILE, and which client the provider minted it for.',
    });
  });

  test("one that is bound to the broker's certificate is useless for peers", async () => {
    const { source } = sourceFixture(complete, () => Promise.reject(constrained));
    await expect(source.verify(token({ cnf: { 'x5t#S256': 'abc' } }))).rejects.toMatchObject({
      code: 'TOKEN_SENDER_CONSTRAINED',
      kind: 'rejected',
      message: expect.stringContaining("bound to the broker's client certificate"),
      cause: constrained,
    });
  });

  test.each<[string, object, BrokerError]>([
    ['bound to another key', { cnf: { jkt: 'abc' } }, constrained],
    ['bound in an odd way', { cnf: 'abc' }, constrained],
    ['bound, as far as the verifier knows', {}, constrained],
    [
      'that has expired besides',
      { cnf: { 'x5t#S256': 'abc' } },
      new BrokerError('TOKEN_EXPIRED', 'rejected', 'expired'),
    ],
  ])('one %s keeps the words of the verifier', async (_what, claims, failure) => {
    const { source } = sourceFixture(complete, () => Promise.reject(failure));
    await expect(source.verify(token(claims))).rejects.toBe(failure);
  });
});

describe('the settings that tokens are judged by', () => {
  test.each<[string, Partial<ProviderSettings>, number]>([
    ['issuer and audience', { issuer: ISSUER, audience: AUDIENCE }, 0],
    ['the issuer alone', { issuer: ISSUER }, 1],
    ['the audience alone', { audience: AUDIENCE }, 1],
    [
      "the keys' address without the token endpoint",
      { issuer: ISSUER, audience: AUDIENCE, jwksUri: `${ISSUER}/keys` },
      1,
    ],
    [
      'both addresses',
      {
        issuer: ISSUER,
        audience: AUDIENCE,
        jwksUri: `${ISSUER}/keys`,
        tokenEndpoint: `${ISSUER}/token`,
      },
      0,
    ],
  ])('with %s configured', async (_what, configured, reads) => {
    const { source, store, write } = sourceFixture(configured);
    write({ issuer: ISSUER, audience: AUDIENCE, token_endpoint: `${ISSUER}/token` });
    const settings = await source.settings();
    expect([settings.issuer, settings.audience]).toEqual([ISSUER, AUDIENCE]);
    expect(store.calls.read).toBe(reads);
  });

  test('are those of a mint at the same instant', async () => {
    const { source, store, write } = sourceFixture({});
    write({ issuer: ISSUER, audience: AUDIENCE });
    await source.mint();
    await source.settings();
    expect(store.calls.read).toBe(1);
  });

  test('keep their verifier, which holds the keys, while they stay the same', async () => {
    const { source, verifiers, write } = sourceFixture({});
    write({ issuer: ISSUER, audience: AUDIENCE });
    const first = source.verifierFor(await source.settings());
    expect(source.verifierFor({ ...(await source.settings()) })).toBe(first);
    write({ issuer: ISSUER, audience: 'other' });
    expect(source.verifierFor(await source.settings())).not.toBe(first);
    expect(verifiers.map(({ audience }) => audience)).toEqual([AUDIENCE, 'other']);
  });
});

describe('a credentials secret', () => {
  const told =
    'The credentials secret "broker/credentials" does not exist or has no value. Write the provider\'s client credentials into it, as JSON with "client_id" and "client_secret", with service-token-broker credentials set.';

  test.each<[string, Partial<ProviderSettings>, string]>([
    ['a client secret', {}, ''],
    ['a client secret in a header', { clientAuthentication: 'client_secret_basic' }, ''],
    [
      'a key in KMS',
      { clientAuthentication: 'kms' },
      ' With BROKER_CLIENT_ID, kms needs no such secret.',
    ],
    [
      'a certificate',
      { clientAuthentication: 'mtls' },
      ' With BROKER_CLIENT_ID, mtls needs no such secret.',
    ],
  ])('that is missing, for %s', async (_method, configured, wayOut) => {
    const { source, store } = sourceFixture(configured);
    for (const code of ['SECRET_NOT_FOUND', 'VERSION_NOT_FOUND']) {
      await expect(source.access()).rejects.toMatchObject({
        code: 'CREDENTIALS_SECRET_EMPTY',
        kind: 'misconfigured',
        message: told + wayOut,
        cause: expect.objectContaining({ code }),
      });
      store.seed('broker/credentials');
    }
  });

  test('that cannot be read is not missing', async () => {
    const { source, store } = sourceFixture({});
    const failure = new SecretStoreError('STORE_ACCESS_DENIED', 'no rights');
    store.before = () => {
      throw failure;
    };
    await expect(source.access()).rejects.toBe(failure);
  });
});
