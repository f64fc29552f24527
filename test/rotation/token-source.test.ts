import { afterEach, describe, expect, test } from '@jest/globals';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { decodeJwt } from 'jose';
import { createOAuthProvider } from '../../src/provider/oauth-provider.js';
import { serviceTokenOf, TokenSource } from '../../src/rotation/token-source.js';
import { BrokerError } from '../../src/tokens/errors.js';
import {
  parseServiceToken,
  serializeServiceToken,
  type ServiceToken,
} from '../../src/tokens/service-token.js';
import { systemClock } from '../../src/tokens/time.js';
import { MemorySecretStore } from '../support/memory-store.js';
import { fc } from '../support/properties.js';
import { answers, startProviderServer, type ProviderServer } from '../support/provider-server.js';
import { temporaryFolders } from '../support/temporary-folder.js';
import { createRemoteKeySet, createTokenVerifier } from '../../src/verification/index.js';
import { VirtualClock } from '../support/virtual-clock.js';

const makeFolder = temporaryFolders('token-source');
const NOW = Date.parse('2026-11-22T12:00:00.000Z');
const SECOND = NOW / 1000;

function jwt(claims: object): string {
  const part = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url');
  return `${part({ alg: 'RS256' })}.${part({ iss: 'https://provider.example.test', ...claims })}.c2ln`;
}

function failureOf(run: () => unknown): BrokerError {
  try {
    run();
  } catch (error) {
    if (error instanceof BrokerError) return error;
    throw error;
  }
  throw new Error('it was kept');
}

describe('when a minted token ends', () => {
  test.each<[string, unknown, number | undefined, number]>([
    ['by exp', SECOND + 3_600, undefined, 3_600_000],
    ['by exp with a fraction', SECOND + 3_600.75, undefined, 3_600_750],
    ['by exp, when expires_in is later', SECOND + 3_600, 86_400, 3_600_000],
    ['by expires_in, when exp is later', SECOND + 86_400, 3_600, 3_600_000],
    ['by expires_in with a fraction', SECOND + 86_400, 59.5, 59_500],
    ['by exp, when expires_in has no end', SECOND + 60, Infinity, 60_000],
  ])('%s', (_by, exp, expiresIn, life) => {
    expect(serviceTokenOf(jwt({ exp }), expiresIn, NOW).expiresAt).toBe(NOW + life);
  });

  test.each([[0], [-1]])('expires_in %d says that it has ended', (expiresIn) => {
    const failure = failureOf(() => serviceTokenOf(jwt({ exp: SECOND + 3_600 }), expiresIn, NOW));
    expect(failure).toMatchObject({ code: 'MINTED_TOKEN_INVALID', kind: 'misconfigured' });
    expect(failure.message).toContain(
      `the provider says that it has expired already: "expires_in" is ${expiresIn}.`,
    );
  });

  test('an exp that has passed says so, and by which clock', () => {
    for (const exp of [SECOND, SECOND - 60, SECOND - 0.5, 0, -5]) {
      const { code, message } = failureOf(() => serviceTokenOf(jwt({ exp }), undefined, NOW));
      expect(code).toBe('MINTED_TOKEN_INVALID');
      expect(message).toContain(`its "exp" is ${new Date(Math.floor(exp * 1000)).toISOString()}`);
      expect(message).toContain('it is 2026-11-22T12:00:00.000Z here');
    }
  });

  test.each([[undefined], [null], ['1e9'], [true], [[SECOND + 60]], [{}], [1e15], [1e300]])(
    'exp %j is no date',
    (exp) => {
      const { message } = failureOf(() => serviceTokenOf(jwt({ exp }), 60, NOW));
      expect(message).toContain('its "exp" is missing, or is not a date');
    },
  );

  test('what is kept can be written and read again, whatever the numbers are', () => {
    const number = fc.oneof(
      fc.double({ noNaN: true }),
      fc.maxSafeInteger(),
      fc.constant(SECOND + 9),
    );
    fc.assert(
      fc.property(number, fc.option(number, { nil: undefined }), (exp, expiresIn) => {
        let token: ServiceToken;
        try {
          token = serviceTokenOf(jwt({ exp }), expiresIn, NOW);
        } catch (error) {
          expect(error).toMatchObject({ code: 'MINTED_TOKEN_INVALID' });
          return;
        }
        expect(parseServiceToken(serializeServiceToken(token))).toEqual(token);
      }),
    );
  });
});

describe('the scopes of a token', () => {
  const exp = SECOND + 3_600;
  test.each<[string, object, string | undefined, string | undefined]>([
    ['the claim scope', { scope: 'read write' }, 'asked', 'read write'],
    ['the claim scope as a list', { scope: ['read', 'write'] }, 'asked', 'read write'],
    ['the claim scp', { scp: ['read', 'write'] }, 'asked', 'read write'],
    ['the claim scp as a text', { scp: 'read' }, 'asked', 'read'],
    ['an empty claim: none', { scope: '' }, 'asked', ''],
    ['an empty list: none', { scp: [] }, 'asked', ''],
    ['a claim that is null: what was asked for', { scope: null }, 'asked', 'asked'],
    ['a claim of another type', { scope: { a: 1 } }, 'asked', 'asked'],
    ['no claim', {}, 'asked  twice asked', 'asked twice'],
    ['no claim, and nothing asked for', {}, undefined, undefined],
    [
      'names that cannot be scopes are left out',
      { scope: ['a"b', 'r\u00e9ad', 'ok'] },
      undefined,
      'ok',
    ],
  ])('%s', (_what, claims, asked, expected) => {
    const token = serviceTokenOf(jwt({ exp, ...claims }), undefined, NOW, asked);
    expect(token.scope).toBe(expected);
    const written = serializeServiceToken(token);
    expect(parseServiceToken(written)).toEqual(token);
    expect('scope' in (JSON.parse(written) as object)).toBe(expected !== undefined);
  });

  test.each<[unknown, string | undefined]>([
    [undefined, 'from the claim'],
    [null, 'from the claim'],
    [7, 'from the claim'],
    ['written', 'written'],
    [['written', 'twice'], 'written twice'],
    ['', ''],
  ])('in a token secret: %j, else the claim of the token', (scope, expected) => {
    const token = serviceTokenOf(jwt({ exp, scope: 'from the claim' }), undefined, NOW);
    const { scope: _scope, ...older } = token;
    const text = serializeServiceToken(older, { scope });
    expect(parseServiceToken(text).scope).toBe(expected);
  });

  test('a token that is no JWT has none that are known', () => {
    for (const accessToken of ['opaque', 'a.b.c', 'a.bnVsbA.c', 'a.W10.c']) {
      const token: ServiceToken = {
        ...serviceTokenOf(jwt({ exp }), undefined, NOW),
        accessToken,
      };
      expect(parseServiceToken(serializeServiceToken(token)).scope).toBeUndefined();
    }
  });
});

describe('a mint', () => {
  let server: ProviderServer | undefined;
  afterEach(() => server?.close());

  /** Mints by the token source from a real server that answers with these members. */
  async function mint(
    members: Readonly<Record<string, unknown>>,
    secret: object = {},
    setting: { readonly scope?: string } = {},
  ): Promise<ServiceToken> {
    server = await startProviderServer();
    server.always('token', answers.token(members));
    const store = new MemorySecretStore({ clock: systemClock });
    store.seed(
      'credentials',
      JSON.stringify({ client_id: 'broker', client_secret: 'right-secret', ...secret }),
    );
    const source = new TokenSource({
      store,
      credentialsSecretId: 'credentials',
      provider: createOAuthProvider({ clock: systemClock }),
      configured: { issuer: server.issuer, ...setting },
      createVerifier: () => {
        throw new Error('nothing is verified here');
      },
      clock: systemClock,
    });
    return source.mint();
  }

  test.each<[string, unknown, object, { readonly scope?: string }, string | undefined]>([
    ['what the provider says', 'issued', { scope: 'a' }, { scope: 'b' }, 'issued'],
    ['a list of the provider', ['one', 'two'], {}, {}, 'one two'],
    ['nothing, says the provider', '', { scope: 'a' }, {}, ''],
    ['the setting, where it says nothing', undefined, { scope: 'a' }, { scope: 'b' }, 'b'],
    ['the secret, where nobody else does', null, { scope: 'a' }, {}, 'a'],
    ['not known', undefined, {}, {}, undefined],
  ])('keeps the scopes: %s', async (_what, scope, secret, setting, expected) => {
    expect((await mint({ scope }, secret, setting)).scope).toBe(expected);
  });

  test('a token that is bound to the certificate of the broker is useless for peers, and says so', async () => {
    server = await startProviderServer();
    const { issuer, jwksUri } = server;
    const source = new TokenSource({
      store: new MemorySecretStore({ clock: systemClock }),
      credentialsSecretId: 'credentials',
      provider: createOAuthProvider({ clock: systemClock }),
      configured: { issuer, audience: 'https://services.example.test' },
      createVerifier: () =>
        createTokenVerifier({
          issuers: [
            {
              issuer,
              audiences: 'https://services.example.test',
              keys: createRemoteKeySet({ jwksUri }),
              profile: 'rfc9068',
            },
          ],
        }),
      clock: systemClock,
    });
    const judged = async (cnf: object | undefined): Promise<unknown> => {
      const token = await server?.token({ cnf });
      return source.verify(serviceTokenOf(token ?? '', undefined, Date.now())).catch(String);
    };
    expect(await judged(undefined)).toBeUndefined();
    const thumbprint = 'bwcK0esc3ACC3DB2Y5_lESsXE8o9ltc05O89jdN-dg2';
    expect(await judged({ 'x5t#S256': thumbprint })).toMatch(
      /bound to the broker's client certificate.*Switch certificate-bound access tokens off/,
    );
    // Another binding keeps the words of the verifier.
    expect(await judged({ jkt: thumbprint })).toMatch(/without DPoP/);
  });

  test('without a stored secret: the credentials secret is not read', async () => {
    server = await startProviderServer();
    server.always('token', answers.token());
    const folder = await makeFolder();
    const file = join(folder, 'token');
    const [header, claims] = jwt({ exp: 99_999_999_999 }).split('.');
    const signature = Buffer.alloc(256, 7).toString('base64url');
    await writeFile(file, `${header}.${claims}.${signature}\n`);
    const store = new MemorySecretStore({ clock: systemClock });
    const source = (clientId?: string): TokenSource =>
      new TokenSource({
        store,
        credentialsSecretId: 'credentials',
        provider: createOAuthProvider({ clock: systemClock }),
        configured: {
          issuer: server?.issuer ?? '',
          clientAuthentication: 'workload_token',
          workloadTokenFile: file,
          ...(clientId !== undefined && { clientId }),
        },
        createVerifier: () => {
          throw new Error('nothing is verified here');
        },
        clock: systemClock,
      });
    expect((await source('broker').access()).credentials).toEqual({
      kind: 'workload-token',
      clientId: 'broker',
      source: { file },
    });
    await source('broker').mint();
    expect(server.received('token').map(({ form }) => form.get('client_id'))).toEqual(['broker']);
    await expect(source().mint()).rejects.toMatchObject({
      code: 'CREDENTIALS_SECRET_EMPTY',
      message: expect.stringContaining(
        'service-token-broker credentials set. With BROKER_CLIENT_ID, workload_token needs no such secret',
      ),
    });
  });

  test('keeps the end that comes first: expires_in before exp', async () => {
    const before = Date.now();
    const token = await mint({ expires_in: 60 });
    expect(token.expiresAt).toBeGreaterThanOrEqual(before + 60_000);
    expect(token.expiresAt).toBeLessThanOrEqual(Date.now() + 60_000);
    const { exp = 0 } = decodeJwt(token.accessToken);
    expect(exp * 1000).toBeGreaterThan(token.expiresAt + 60_000);
    // What is kept says the same when it is read again, and so does whoever serves it.
    expect(parseServiceToken(serializeServiceToken(token)).expiresAt).toBe(token.expiresAt);
  });

  test('of a token that has expired already says so, not "-1 s of life"', async () => {
    await expect(mint({ expires_in: 0 })).rejects.toMatchObject({
      code: 'MINTED_TOKEN_INVALID',
      message: expect.stringContaining('"expires_in" is 0'),
    });
  });
});

test('the settings of a mint judge tokens for ten seconds, and then the secret as it stands', async () => {
  const clock = new VirtualClock();
  const store = new MemorySecretStore({ clock });
  const audienceIs = (audience: string): string =>
    JSON.stringify({
      client_id: 'broker',
      client_secret: 'right-secret',
      issuer: 'https://provider.example.test',
      audience,
    });
  store.seed('credentials', audienceIs('first'));
  const judgedBy: (string | undefined)[] = [];
  const source = new TokenSource({
    store,
    credentialsSecretId: 'credentials',
    provider: {
      mint: async () => ({ accessToken: jwt({ exp: clock.now() / 1000 + 3_600 }) }),
      metadata: () => Promise.reject(new Error('no endpoint is needed here')),
    },
    configured: {},
    createVerifier: ({ audience }) => ({
      verify: () => {
        judgedBy.push(audience);
        return Promise.reject(new BrokerError('TOKEN_EXPIRED', 'rejected', 'expired'));
      },
      keyStates: () => new Map(),
    }),
    clock,
  });
  const token = await source.mint();
  const judge = () => expect(source.verify(token)).rejects.toMatchObject({ code: 'TOKEN_EXPIRED' });
  store.edit('credentials', audienceIs('second'));
  clock.advance(9_999);
  await judge();
  clock.advance(1);
  await judge();
  // Neither does a clock that was set back keep them.
  clock.advance(-20_000);
  store.edit('credentials', audienceIs('third'));
  await judge();
  expect(judgedBy).toEqual(['first', 'second', 'third']);
  expect(store.calls.read).toBe(3);
});
