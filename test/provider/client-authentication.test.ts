import { inspect } from 'node:util';
import { describe, expect, test } from '@jest/globals';
import { fc } from '../support/properties.js';
import { exportJWK, generateKeyPair } from 'jose';
import type { AuthorizationServer } from 'oauth4webapi';
import {
  chooseAuthentication,
  clientAuthenticators,
} from '../../src/provider/client-authentication.js';
import type { PrivateJwk } from '../../src/provider/client-credentials.js';

describe('chooseAuthentication', () => {
  test.each([
    [undefined, 'secrets', undefined, 'client_secret_basic'],
    [undefined, 'secrets', ['client_secret_post', 'client_secret_basic'], 'client_secret_basic'],
    [undefined, 'secrets', ['private_key_jwt', 'client_secret_post'], 'client_secret_post'],
    [undefined, 'private-key', undefined, 'private_key_jwt'],
    [undefined, 'private-key', ['client_secret_basic'], 'private_key_jwt'],
    ['client_secret_post', 'secrets', ['client_secret_basic'], 'client_secret_post'],
    ['private_key_jwt', 'private-key', undefined, 'private_key_jwt'],
  ] as const)('%s, %s, supported %j: %s', (configured, kind, supported, expected) => {
    expect(chooseAuthentication(configured, kind, supported)).toBe(expected);
  });

  test.each([
    [undefined, 'secrets', ['private_key_jwt', 'tls_client_auth'], '"private_key"'],
    [undefined, 'secrets', [], '"private_key"'],
    ['private_key_jwt', 'secrets', undefined, 'a client secret'],
    ['client_secret_basic', 'private-key', undefined, 'a private key'],
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
    const text = fc.string({ unit: 'binary', minLength: 1 });
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
