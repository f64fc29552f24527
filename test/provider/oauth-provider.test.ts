import { describe, expect, test } from '@jest/globals';
import {
  createLocalJWKSet,
  decodeJwt,
  exportJWK,
  generateKeyPair,
  type JSONWebKeySet,
  jwtVerify,
} from 'jose';
import { clientSecretBasic } from '../../src/tokens/http.js';
import type { PrivateJwk, PrivateKeyCredentials } from '../../src/provider/client-credentials.js';
import { answers, type ProviderServer } from '../support/provider-server.js';
import { credentials, failureOf, rig } from './provider-fixture.js';

describe('a minted token', () => {
  test('is the provider’s own, with its life', async () => {
    const { server, provider, clock } = await rig({ tokenLifeSeconds: 3_600 });
    server.next('token', answers.token({ expires_in: 3_600 }));
    const minted = await provider.mint({ issuer: server.issuer }, credentials);
    expect(minted).toEqual({
      accessToken: expect.any(String),
      expiresInSeconds: 3_600,
    });
    const { jwksUri } = await provider.metadata({ issuer: server.issuer });
    const keys = createLocalJWKSet((await (await fetch(jwksUri)).json()) as JSONWebKeySet);
    await expect(
      jwtVerify(minted.accessToken, keys, {
        issuer: server.issuer,
        currentDate: new Date(clock.now()),
      }),
    ).resolves.toBeDefined();
  });

  test.each([
    ['a number in text', { expires_in: '3600' }, 3_600],
    ['nothing', { expires_in: undefined }, undefined],
    ['zero', { expires_in: 0 }, 0],
  ])('whose life is given as %s', async (_what, members, expected) => {
    const { server, provider } = await rig();
    server.next('token', answers.token(members));
    const minted = await provider.mint({ issuer: server.issuer }, credentials);
    expect(minted.expiresInSeconds).toBe(expected);
  });

  test.each(['bearer', 'BEARER'])('of type %s is a bearer token', async (token_type) => {
    const { server, provider } = await rig();
    server.next('token', answers.token({ token_type }));
    await expect(provider.mint({ issuer: server.issuer }, credentials)).resolves.toBeDefined();
  });
});

describe('the request', () => {
  test('carries audience, scope and resources, and nothing that was not asked for', async () => {
    const { server, provider } = await rig();
    const { issuer } = server;
    await provider.mint({ issuer }, credentials);
    await provider.mint(
      {
        issuer,
        audience: 'https://services.example.test/?a=1&b',
        scope: 'orders:read orders:write',
        resource: ['https://a.example.test', 'https://b.example.test'],
      },
      credentials,
    );
    const [plain, full] = server.received('token').map(({ form }) => Array.from(form));
    expect(plain).toEqual([['grant_type', 'client_credentials']]);
    expect(new Set(full?.map((pair) => pair.join('=')))).toEqual(
      new Set([
        'grant_type=client_credentials',
        'audience=https://services.example.test/?a=1&b',
        'scope=orders:read orders:write',
        'resource=https://a.example.test',
        'resource=https://b.example.test',
      ]),
    );
  });

  test.each([
    [undefined, undefined, 'basic'],
    [['client_secret_post', 'client_secret_basic'], undefined, 'basic'],
    [['client_secret_post'], undefined, 'post'],
    [['client_secret_basic'], 'client_secret_post', 'post'],
    [['client_secret_post'], 'client_secret_basic', 'basic'],
  ] as const)(
    'authenticates as the provider (%j) or the setting (%s) says: %s',
    async (methods, setting, expected) => {
      const { server, provider } = await rig({
        metadata: { token_endpoint_auth_methods_supported: methods },
      });
      await provider.mint(
        {
          issuer: server.issuer,
          ...(setting === undefined ? {} : { clientAuthentication: setting }),
        },
        credentials,
      );
      const [request] = server.received('token');
      expect(request?.headers.authorization?.startsWith('Basic ') ?? false).toBe(
        expected === 'basic',
      );
      expect(request?.form.has('client_secret')).toBe(expected === 'post');
    },
  );

  test.each(['client_secret_basic', 'client_secret_post'] as const)(
    'by %s brings ids and secrets with any character',
    async (clientAuthentication) => {
      const clientId = 'svc:broker+ü%';
      const secret = 'p ss:+&=%2F"\\ö€';
      const { server, provider } = await rig({ clientId, clientSecrets: [secret] });
      const settings = { issuer: server.issuer, clientAuthentication };
      await expect(
        provider.mint(settings, { kind: 'secrets', clientId, secrets: [secret] }),
      ).resolves.toMatchObject({ accessToken: expect.any(String) });
    },
  );
});

describe('ordered client secrets', () => {
  const rolling = { ...credentials, secrets: ['new-secret-1', 'right-secret', 'never-tried'] };
  const RIGHT = clientSecretBasic('broker', 'right-secret');

  test('the next one is tried when the provider refuses one', async () => {
    const { server, provider, clock } = await rig();
    await provider.mint({ issuer: server.issuer }, rolling);
    expect(server.received('token').at(-1)?.headers.authorization).toBe(RIGHT);
    expect(server.received('token')).toHaveLength(2);
    expect(clock.pauses).toEqual([]);
  });

  test.each([
    ['400 invalid_client', answers.oauthError(400, 'invalid_client')],
    ['401 with another code', answers.oauthError(401, 'access_denied', 'Unauthorized')],
    ['401 without a body', answers.empty(401, { 'www-authenticate': 'Basic realm="x"' })],
  ])('%s counts as refused', async (_what, answer) => {
    const { server, provider } = await rig();
    server.next('token', answer);
    await provider.mint({ issuer: server.issuer }, rolling);
    expect(server.received('token').at(-1)?.headers.authorization).toBe(RIGHT);
  });

  test.each([
    ['another refusal', answers.oauthError(400, 'invalid_scope'), 'PROVIDER_REFUSED', 1],
    ['a web page with 401', answers.html(401), 'PROVIDER_NOT_JSON', 1],
    ['trouble', answers.text(503, ''), 'PROVIDER_UNAVAILABLE', 3],
  ])('%s does not give the next one away', async (_what, answer, code, requests) => {
    const { server, provider } = await rig();
    server.always('token', answer);
    await expect(
      failureOf(provider.mint({ issuer: server.issuer }, rolling)),
    ).resolves.toMatchObject({ code });
    const sent = new Set(server.received('token').map(({ headers }) => headers.authorization));
    expect(sent.size).toBe(1);
    expect(server.received('token')).toHaveLength(requests);
  });

  test('all refused: each was tried once', async () => {
    const { server, provider } = await rig();
    const wrong = { ...credentials, secrets: ['wrong-secret-1', 'wrong-secret-2'] };
    const failure = await failureOf(provider.mint({ issuer: server.issuer }, wrong));
    expect(failure).toMatchObject({ code: 'PROVIDER_INVALID_CLIENT', kind: 'misconfigured' });
    expect(failure.message).toContain('invalid_client: unknown client');
    expect(failure.message).not.toContain('wrong-secret');
    expect(server.received('token')).toHaveLength(2);
  });
});

describe('private_key_jwt', () => {
  test.each(['RS256', 'PS256', 'ES256', 'EdDSA'])('authenticates with %s', async (algorithm) => {
    const pair = await generateKeyPair(algorithm, { extractable: true });
    const clientKey = { ...(await exportJWK(pair.publicKey)), alg: algorithm };
    const privateKey = { ...(await exportJWK(pair.privateKey)), alg: algorithm } as PrivateJwk;
    const { server, provider } = await rig({ clientKey });
    const keyed: PrivateKeyCredentials = { kind: 'private-key', clientId: 'broker', privateKey };
    const minted = await provider.mint({ issuer: server.issuer }, keyed);
    expect(minted.accessToken).toEqual(expect.any(String));
    const [request] = server.received('token');
    expect(request?.headers.authorization).toBeUndefined();
    expect(request?.body).not.toContain(String(privateKey['d']));
  });

  test.each<[string, string | undefined, (server: ProviderServer) => string]>([
    ['the issuer', undefined, ({ issuer }) => issuer],
    ['the issuer', 'issuer', ({ issuer }) => issuer],
    ['the token endpoint', 'token_endpoint', ({ tokenEndpoint }) => tokenEndpoint],
    ['another URL', 'https://login.example.test/', () => 'https://login.example.test/'],
  ])('is for %s with the setting %j, and never for a list', async (_whom, setting, expected) => {
    const pair = await generateKeyPair('ES256', { extractable: true });
    const privateKey = (await exportJWK(pair.privateKey)) as PrivateJwk;
    const { server, provider } = await rig();
    server.always('token', answers.token());
    const keyed: PrivateKeyCredentials = { kind: 'private-key', clientId: 'broker', privateKey };
    const clientAssertionAudience =
      setting === undefined ? {} : { clientAssertionAudience: setting };
    for (const tokenEndpoint of [undefined, server.tokenEndpoint]) {
      await provider.mint(
        {
          issuer: server.issuer,
          ...clientAssertionAudience,
          ...(tokenEndpoint !== undefined && { tokenEndpoint }),
        },
        keyed,
      );
    }
    const sent = server.received('token').map(({ form }) => form.get('client_assertion') ?? '');
    expect(sent).toHaveLength(2);
    for (const assertion of sent) expect(decodeJwt(assertion).aud).toBe(expected(server));
  });

  test('with another key is refused, and says what to check', async () => {
    const [known, other] = await Promise.all([
      generateKeyPair('ES256', { extractable: true }),
      generateKeyPair('ES256', { extractable: true }),
    ]);
    const { server, provider } = await rig({
      clientKey: { ...(await exportJWK(known.publicKey)), alg: 'ES256' },
    });
    const privateKey = (await exportJWK(other.privateKey)) as PrivateJwk;
    const keyed: PrivateKeyCredentials = { kind: 'private-key', clientId: 'broker', privateKey };
    const failure = await failureOf(provider.mint({ issuer: server.issuer }, keyed));
    expect(failure.code).toBe('PROVIDER_INVALID_CLIENT');
    expect(failure.message).toContain('public half');
  });
});

describe('a caller that gives up', () => {
  test('before the call: nothing is sent', async () => {
    const { server, provider } = await rig();
    const signal = AbortSignal.abort(new Error('shutting down'));
    await expect(provider.mint({ issuer: server.issuer }, credentials, signal)).rejects.toThrow(
      'shutting down',
    );
    await expect(provider.metadata({ issuer: server.issuer }, signal)).rejects.toThrow(
      'shutting down',
    );
    expect(server.requests).toEqual([]);
  });

  test('during the request: it ends at once, and is not repeated', async () => {
    const { server, provider, clock } = await rig();
    server.always('token', answers.hang());
    const caller = new AbortController();
    const call = provider.mint({ issuer: server.issuer }, credentials, caller.signal);
    await server.reached('token', 1);
    caller.abort(new Error('shutting down'));
    await expect(call).rejects.toThrow('shutting down');
    expect(server.received('token')).toHaveLength(1);
    expect(clock.held).toBe(0);
  });

  test('leaves no pause behind after a good call either', async () => {
    const { server, provider, clock } = await rig();
    await provider.mint({ issuer: server.issuer }, credentials, new AbortController().signal);
    expect(clock.held).toBe(0);
  });
});
