import { inspect } from 'node:util';
import { describe, expect, test } from '@jest/globals';
import { character, fc } from '../support/properties.js';
import {
  calculateJwkThumbprint,
  decodeJwt,
  decodeProtectedHeader,
  exportJWK,
  generateKeyPair,
  type JWK,
} from 'jose';
import { generateKeyPairSync, sign, constants, type KeyObject } from 'node:crypto';
import type { AuthorizationServer } from 'oauth4webapi';
import {
  chooseAuthentication,
  chooseKmsAlgorithm,
  clientAuthenticators,
  decideClientAuthentication,
  tryKmsKey,
} from '../../src/provider/client-authentication.js';
import type {
  ClientCredentials,
  KmsAlgorithm,
  PrivateJwk,
  ProviderSettings,
} from '../../src/provider/client-credentials.js';
import type { AwsProofs } from '../../src/provider/client-proofs.js';
import type { DiscoveredServer } from '../../src/provider/discovery.js';
import { BrokerError } from '../../src/tokens/errors.js';
import { systemClock } from '../../src/tokens/time.js';
import { answers } from '../support/provider-server.js';
import { rsaKeyPair } from '../support/rsa-key.js';
import { failureOf, rig } from './provider-fixture.js';

describe('chooseAuthentication', () => {
  test.each([
    [undefined, 'secrets', undefined, 'client_secret_basic'],
    [undefined, 'secrets', ['client_secret_post', 'client_secret_basic'], 'client_secret_basic'],
    [undefined, 'secrets', ['private_key_jwt', 'client_secret_post'], 'client_secret_post'],
    [undefined, 'private-key', undefined, 'private_key_jwt'],
    [undefined, 'private-key', ['client_secret_basic'], 'private_key_jwt'],
    ['client_secret_post', 'secrets', ['client_secret_basic'], 'client_secret_post'],
    ['private_key_jwt', 'private-key', undefined, 'private_key_jwt'],
    ['kms', 'kms', ['client_secret_basic'], 'kms'],
    ['workload_token', 'workload-token', undefined, 'workload_token'],
    [undefined, 'certificate', ['client_secret_basic'], 'mtls'],
    ['mtls', 'certificate', ['tls_client_auth'], 'mtls'],
  ] as const)('%s, %s, supported %j: %s', (configured, kind, supported, expected) => {
    expect(chooseAuthentication(configured, kind, supported)).toBe(expected);
  });

  test.each([
    [undefined, 'secrets', ['private_key_jwt', 'tls_client_auth'], '"private_key"'],
    [undefined, 'secrets', [], '"private_key"'],
    ['private_key_jwt', 'secrets', undefined, 'a client secret'],
    ['client_secret_basic', 'private-key', undefined, 'a private key'],
    ['mtls', 'secrets', undefined, 'a client secret'],
    ['kms', 'certificate', undefined, 'a client certificate'],
    ['private_key_jwt', 'certificate', undefined, 'a client certificate'],
  ] as const)('%s, %s, supported %j is refused', (configured, kind, supported, named) => {
    expect(() => chooseAuthentication(configured, kind, supported)).toThrow(
      expect.objectContaining({
        code: 'PROVIDER_AUTHENTICATION_UNSUPPORTED',
        kind: 'misconfigured',
        message: expect.stringContaining(named),
      }),
    );
  });
});

describe('decideClientAuthentication', () => {
  const issuer = 'https://provider.example.test';
  const found = {
    issuer,
    token_endpoint: `${issuer}/token`,
    mtls_token_endpoint: 'https://mtls.example.test/token',
    token_endpoint_auth_methods_supported: ['client_secret_post', 'tls_client_auth'],
  };
  const EXPLICIT = 'https://explicit.example.test/token';

  test.each<
    [string, Partial<ProviderSettings>, ClientCredentials['kind'], DiscoveredServer, object]
  >([
    [
      'a secret',
      {},
      'secrets',
      found,
      { method: 'client_secret_post', tokenEndpoint: found.token_endpoint },
    ],
    [
      'a private key',
      {},
      'private-key',
      found,
      { method: 'private_key_jwt', assertionAudience: issuer },
    ],
    [
      'KMS, for the token endpoint',
      { clientAuthentication: 'kms', clientAssertionAudience: 'token_endpoint' },
      'kms',
      found,
      {
        method: 'kms',
        tokenEndpoint: found.token_endpoint,
        assertionAudience: found.token_endpoint,
      },
    ],
    [
      'KMS, for a URL',
      { clientAssertionAudience: 'https://aud.example.test' },
      'kms',
      found,
      { assertionAudience: 'https://aud.example.test' },
    ],
    [
      'a workload token',
      {},
      'workload-token',
      found,
      { method: 'workload_token', tokenEndpoint: found.token_endpoint },
    ],
    [
      'mutual TLS at its alias',
      {},
      'certificate',
      found,
      { method: 'mtls', tokenEndpoint: found.mtls_token_endpoint },
    ],
    [
      'mutual TLS without an alias',
      {},
      'certificate',
      { issuer, token_endpoint: found.token_endpoint },
      { tokenEndpoint: found.token_endpoint },
    ],
    [
      'mutual TLS at an explicit endpoint',
      { tokenEndpoint: EXPLICIT },
      'certificate',
      { issuer },
      { tokenEndpoint: EXPLICIT },
    ],
    [
      'no endpoint at all',
      {},
      'kms',
      { issuer },
      { tokenEndpoint: undefined, assertionAudience: issuer },
    ],
  ])('%s', (_what, settings, kind, server, expected) => {
    expect(decideClientAuthentication({ issuer, ...settings }, kind, server)).toMatchObject(
      expected,
    );
  });

  test('a certificate is not shown where nobody sees it', () => {
    const plain = { issuer, token_endpoint: 'http://127.0.0.1/token' };
    expect(() => decideClientAuthentication({ issuer }, 'certificate', plain)).toThrow(
      expect.objectContaining({ code: 'PROVIDER_INSECURE', kind: 'misconfigured' }),
    );
  });
});

/** AWS with one key, which signs by node:crypto. */
class PlayedAws implements AwsProofs {
  readonly calls: string[] = [];
  readonly #key: KeyObject;
  readonly #algorithms: readonly KmsAlgorithm[];
  /** What `sts:GetWebIdentityToken` returns. */
  token = '';
  fails: BrokerError | undefined;

  constructor(key: KeyObject, ...algorithms: readonly KmsAlgorithm[]) {
    this.#key = key;
    this.#algorithms = algorithms;
  }

  get jwk(): JWK {
    const { kty = '', n, e, crv, x, y } = this.#key.export({ format: 'jwk' });
    return JSON.parse(JSON.stringify({ kty, n, e, crv, x, y })) as JWK;
  }

  async publicKey(keyId: string): Promise<Awaited<ReturnType<AwsProofs['publicKey']>>> {
    this.calls.push(`public ${keyId}`);
    if (this.fails !== undefined) throw this.fails;
    return { keyId: 'arn:key', jwk: { kty: '', ...this.jwk }, algorithms: this.#algorithms };
  }

  async sign(keyId: string, algorithm: KmsAlgorithm, input: Uint8Array): Promise<Uint8Array> {
    this.calls.push(`sign ${keyId} ${algorithm}`);
    if (this.fails !== undefined) throw this.fails;
    return sign('sha256', input, {
      key: this.#key,
      dsaEncoding: 'ieee-p1363',
      ...(algorithm === 'PS256' && { padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: 32 }),
    });
  }

  async identityToken(audience: string, algorithm: string): Promise<string> {
    this.calls.push(`token ${audience} ${algorithm}`);
    return this.token;
  }
}

const RSA = rsaKeyPair().privateKey;
const P256 = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey;

describe('a KMS key', () => {
  const kms = { kind: 'kms', clientId: 'broker', keyId: 'alias/broker' } as const;

  test.each<[KmsAlgorithm, KeyObject, readonly KmsAlgorithm[], KmsAlgorithm | undefined]>([
    ['RS256', RSA, ['RS256', 'PS256'], undefined],
    ['PS256', RSA, ['RS256', 'PS256'], 'PS256'],
    ['ES256', P256, ['ES256'], undefined],
  ])('signs an assertion that a provider accepts: %s', async (expected, key, has, algorithm) => {
    const aws = new PlayedAws(key, ...has);
    const { server, provider } = await rig(
      { clientKey: { ...aws.jwk, alg: expected } },
      { awsProofs: async () => aws },
    );
    await provider.mint(
      { issuer: server.issuer, clientAuthentication: 'kms' },
      { ...kms, ...(algorithm && { algorithm }) },
    );
    const [request] = server.received('token');
    const form = request?.form ?? new URLSearchParams();
    expect(Object.fromEntries(form)).toEqual({
      grant_type: 'client_credentials',
      client_id: 'broker',
      client_assertion_type: 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer',
      client_assertion: expect.stringMatching(/^eyJ/),
    });
    expect(request?.headers.authorization).toBeUndefined();
    const assertion = form.get('client_assertion') ?? '';
    expect(decodeProtectedHeader(assertion)).toEqual({
      alg: expected,
      kid: await calculateJwkThumbprint(aws.jwk),
    });
    const { iat = 0, exp = 0, aud } = decodeJwt(assertion);
    expect({ life: exp - iat, aud }).toEqual({ life: 60, aud: server.issuer });
    // By the ARN: the alias may move between the two calls.
    expect(aws.calls).toEqual(['public alias/broker', `sign arn:key ${expected}`]);
  });

  test('every attempt has an assertion of its own, and the key is asked once', async () => {
    const aws = new PlayedAws(P256, 'ES256');
    const { server, provider } = await rig(
      { clientKey: { ...aws.jwk, alg: 'ES256' } },
      { awsProofs: async () => aws },
    );
    server.next('token', answers.text(503, 'later'));
    await provider.mint({ issuer: server.issuer }, kms);
    const [first, second] = server
      .received('token')
      .map(({ form }) => decodeJwt(form.get('client_assertion') ?? '').jti);
    expect(first).not.toBe(second);
    expect(aws.calls.filter((call) => call.startsWith('public'))).toHaveLength(1);
  });

  test('with a known algorithm and kid its public half is not asked for', async () => {
    const aws = new PlayedAws(P256, 'ES256');
    const { server, provider } = await rig(
      { clientKey: { ...aws.jwk, alg: 'ES256' } },
      { awsProofs: async () => aws },
    );
    await provider.mint(
      { issuer: server.issuer },
      { ...kms, algorithm: 'ES256', assertionKeyId: 'key-1' },
    );
    const assertion = server.received('token')[0]?.form.get('client_assertion') ?? '';
    expect(decodeProtectedHeader(assertion)).toEqual({ alg: 'ES256', kid: 'key-1' });
    expect(aws.calls).toEqual(['sign alias/broker ES256']);
  });

  test('that fails: the failure is passed on, and the provider is not asked', async () => {
    const aws = new PlayedAws(P256, 'ES256');
    aws.fails = new BrokerError('CLIENT_PROOF_UNAVAILABLE', 'retry', 'later');
    const { server, provider } = await rig({}, { awsProofs: async () => aws });
    expect(await failureOf(provider.mint({ issuer: server.issuer }, kms))).toBe(aws.fails);
    expect(server.received('token')).toEqual([]);
  });

  test('without AWS is refused', async () => {
    const { server, provider } = await rig();
    const failure = await failureOf(provider.mint({ issuer: server.issuer }, kms));
    expect(failure.code).toBe('PROVIDER_AUTHENTICATION_UNSUPPORTED');
  });

  test('that the provider does not know: what to do', async () => {
    const aws = new PlayedAws(P256, 'ES256');
    const { server, provider } = await rig({}, { awsProofs: async () => aws });
    const failure = await failureOf(provider.mint({ issuer: server.issuer }, kms));
    expect(failure).toMatchObject({
      code: 'PROVIDER_INVALID_CLIENT',
      message: expect.stringContaining('public half of the KMS key'),
    });
  });

  test('is tried by doctor: what it signs has to verify', async () => {
    const aws = new PlayedAws(RSA, 'RS256');
    const tools = { clock: systemClock, aws: async () => aws };
    expect(await tryKmsKey(kms, tools)).toMatchObject({ algorithm: 'RS256' });
    const other = new PlayedAws(rsaKeyPair('other').privateKey);
    const mixed: AwsProofs = {
      publicKey: (id) => aws.publicKey(id),
      sign: (keyId, algorithm, input) => other.sign(keyId, algorithm, input),
      identityToken: () => Promise.reject(new Error('not asked')),
    };
    expect(await tryKmsKey(kms, { clock: systemClock, aws: async () => mixed })).toBe(false);
  });

  test.each<[KmsAlgorithm | undefined, readonly KmsAlgorithm[], KmsAlgorithm | RegExp]>([
    [undefined, ['RS256', 'PS256'], 'RS256'],
    ['PS256', ['RS256', 'PS256'], 'PS256'],
    [undefined, ['ES256'], 'ES256'],
    ['ES256', ['RS256', 'PS256'], /does not sign with ES256.*RS256 and PS256/],
    [undefined, [], /SIGN_VERIFY/],
  ])('of %s, that can %j: %s', (configured, algorithms, expected) => {
    const choose = (): KmsAlgorithm => chooseKmsAlgorithm(configured, { keyId: 'key', algorithms });
    if (typeof expected === 'string') expect(choose()).toBe(expected);
    else
      expect(choose).toThrow(
        expect.objectContaining({
          code: 'CLIENT_PROOF_INVALID',
          message: expect.stringMatching(expected),
        }),
      );
  });
});

describe('an identity token of AWS', () => {
  test('is the client assertion, for the audience that is configured', async () => {
    const aws = new PlayedAws(P256, 'ES256');
    const input = [{ alg: 'ES256' }, { iss: 'https://sts.example.test', sub: 'role', aud: 'idp' }]
      .map((part) => Buffer.from(JSON.stringify(part)).toString('base64url'))
      .join('.');
    const signature = await aws.sign('', 'ES256', Buffer.from(input));
    aws.token = `${input}.${Buffer.from(signature).toString('base64url')}`;
    aws.calls.length = 0;
    const { server, provider } = await rig({}, { awsProofs: async () => aws });
    server.always('token', answers.token());
    await provider.mint(
      { issuer: server.issuer },
      {
        kind: 'workload-token',
        clientId: 'broker',
        source: { awsAudience: 'api://AzureADTokenExchange', algorithm: 'RS256' },
      },
    );
    const form = server.received('token')[0]?.form;
    expect(form?.get('client_assertion')).toBe(aws.token);
    expect(form?.get('client_id')).toBe('broker');
    expect(aws.calls).toEqual(['token api://AzureADTokenExchange RS256']);
  });
});

const server: AuthorizationServer = { issuer: 'https://provider.example.test' };

async function basicHeader(clientId: string, secret: string): Promise<string> {
  const [authenticate] = await clientAuthenticators('client_secret_basic', {
    kind: 'secrets',
    clientId,
    secrets: [secret],
  });
  const headers = new Headers();
  await authenticate?.(server, { client_id: clientId }, new URLSearchParams(), headers);
  const [scheme, encoded] = (headers.get('authorization') ?? '').split(' ');
  expect(scheme).toBe('Basic');
  return Buffer.from(encoded ?? '', 'base64').toString('utf8');
}

describe('client_secret_basic', () => {
  test('sends what most providers generate as it is, for those that do not decode', async () => {
    await expect(basicHeader('svc-broker_1.0', 'aZ09-_.*~x')).resolves.toBe(
      'svc-broker_1.0:aZ09-_.*%7Ex',
    );
  });

  test('is undone by form decoding, whatever the id and the secret (RFC 6749 §2.3.1)', async () => {
    const text = fc.string({ unit: character, minLength: 1 });
    await fc.assert(
      fc.asyncProperty(text, text, async (clientId, secret) => {
        const pair = await basicHeader(clientId, secret);
        expect(pair).toMatch(/^[\x21-\x7e]+$/);
        const decoded = pair.split(':').map((half) => new URLSearchParams(`v=${half}`).get('v'));
        expect(decoded).toEqual([clientId, secret]);
      }),
    );
  });
});

describe('a private key', () => {
  const assertionWith = async (privateKey: PrivateJwk): Promise<Record<string, unknown>> => {
    const [authenticate] = await clientAuthenticators('private_key_jwt', {
      kind: 'private-key',
      clientId: 'broker',
      privateKey,
    });
    const body = new URLSearchParams();
    await authenticate?.(server, { client_id: 'broker' }, body, new Headers());
    const [header] = (body.get('client_assertion') ?? '').split('.');
    return JSON.parse(Buffer.from(header ?? '', 'base64url').toString('utf8')) as Record<
      string,
      unknown
    >;
  };
  const makeJwk = async (algorithm: string): Promise<PrivateJwk> => {
    const { privateKey } = await generateKeyPair(algorithm, { extractable: true });
    return { kty: '', ...(await exportJWK(privateKey)) };
  };

  test.each([
    ['RS256', {}, 'RS256'],
    ['PS384', { alg: 'PS384' }, 'PS384'],
    ['ES256', {}, 'ES256'],
    ['ES384', {}, 'ES384'],
    ['ES512', {}, 'ES512'],
    ['EdDSA', {}, 'EdDSA'],
    ['EdDSA', { alg: 'Ed25519' }, 'Ed25519'],
    ['ES256', { kid: 'key-1', use: 'sig', key_ops: ['verify'], ext: false }, 'ES256'],
  ])('of %s with %j signs with %s', async (algorithm, members, expected) => {
    const header = await assertionWith({ ...(await makeJwk(algorithm)), ...members });
    expect(header['alg']).toBe(expected);
    expect(header['kid']).toBe('kid' in members ? members.kid : undefined);
  });

  test.each([
    ['another algorithm than its own', 'ES256', { alg: 'RS256' }, '"alg"'],
    ['an algorithm for secrets', 'RS256', { alg: 'HS256' }, '"alg"'],
    ['a broken member', 'ES256', { x: 'AAAA' }, 'do not fit'],
    ['an unknown curve', 'ES256', { crv: 'secp256k1' }, 'must be an RSA'],
    ['a curve from the prototype', 'ES256', { crv: 'constructor' }, 'must be an RSA'],
  ])('with %s is refused', async (_what, algorithm, members, named) => {
    const jwk: PrivateJwk = { ...(await makeJwk(algorithm)), ...members };
    const failure: unknown = await assertionWith(jwk).catch((error: unknown) => error);
    expect(failure).toMatchObject({
      code: 'CREDENTIALS_SECRET_INVALID',
      message: expect.stringContaining(named),
    });
    expect(inspect(failure, { depth: 20 })).not.toContain(String(jwk['d']));
  });

  test('of RSA under 2048 bits is refused', async () => {
    const { generateKeyPairSync } = await import('node:crypto');
    const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 1024 });
    const jwk = privateKey.export({ format: 'jwk' }) as PrivateJwk;
    await expect(assertionWith(jwk)).rejects.toMatchObject({
      code: 'CREDENTIALS_SECRET_INVALID',
      message: expect.stringContaining('2048'),
    });
  });
});
