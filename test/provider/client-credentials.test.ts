import { describe, expect, test } from '@jest/globals';
import {
  configuredCredentials,
  CredentialsSecretError,
  parseCredentialsSecret,
  displayUrl,
  requireUrl,
  resolveProviderSettings,
} from '../../src/provider/client-credentials.js';
import { isLoopbackHost } from '../../src/tokens/http.js';
import { fc } from '../support/properties.js';

const JWK = { kty: 'EC', crv: 'P-256', x: 'x', y: 'y', d: 'canary-private-half' };

describe('a credentials secret', () => {
  test.each([
    [
      'one secret',
      { client_id: 'broker', client_secret: 's3cret' },
      { kind: 'secrets', clientId: 'broker', secrets: ['s3cret'] },
    ],
    [
      'an ordered list of secrets',
      { client_id: 'broker', client_secrets: ['new', 'old'] },
      { kind: 'secrets', clientId: 'broker', secrets: ['new', 'old'] },
    ],
    [
      'a list that the key/value editor made a text of',
      { client_id: 'broker', client_secrets: '["new","old"]' },
      { kind: 'secrets', clientId: 'broker', secrets: ['new', 'old'] },
    ],
    [
      'a private key',
      { client_id: 'broker', private_key: JWK },
      { kind: 'private-key', clientId: 'broker', privateKey: JWK },
    ],
    [
      'a private key that the key/value editor made a text of',
      { client_id: 'broker', private_key: JSON.stringify(JWK) },
      { kind: 'private-key', clientId: 'broker', privateKey: JWK },
    ],
    [
      'a secret that is itself JSON',
      { client_id: 'broker', client_secret: '{"a":1}' },
      { kind: 'secrets', clientId: 'broker', secrets: ['{"a":1}'] },
    ],
  ])('with %s is read', (_what, content, expected) => {
    expect(parseCredentialsSecret(JSON.stringify(content))).toEqual({
      credentials: expected,
      settings: {},
    });
  });

  test('may bring settings; unknown members are ignored', () => {
    const text = JSON.stringify({
      client_id: 'broker',
      client_secret: 's3cret',
      issuer: 'https://provider.example.test/',
      token_endpoint: 'https://provider.example.test/token',
      audience: 'https://services.example.test',
      scope: 'a b',
      client_assertion_audience: 'token_endpoint',
      owner: { team: 'payments' },
    });
    expect(parseCredentialsSecret(text).settings).toEqual({
      issuer: 'https://provider.example.test/',
      tokenEndpoint: 'https://provider.example.test/token',
      audience: 'https://services.example.test',
      scope: 'a b',
      clientAssertionAudience: 'token_endpoint',
    });
  });

  test.each(['issuer', 'token_endpoint', 'https://provider.example.test/', 'urn:provider'])(
    'may name the audience of assertions: %s',
    (audience) => {
      const text = JSON.stringify({ ...good, client_assertion_audience: audience });
      expect(parseCredentialsSecret(text).settings).toEqual({ clientAssertionAudience: audience });
    },
  );

  test('takes what is around pasted texts off', () => {
    const pasted = {
      client_id: ' broker\n',
      client_secret: '\ufeffsecret\r\n',
      issuer: 'https://provider.example.test/\n',
      audience: '\u00a0https://services.example.test\t',
      scope: ' a b ',
    };
    const clean = {
      client_id: 'broker',
      client_secret: 'secret',
      issuer: 'https://provider.example.test/',
      audience: 'https://services.example.test',
      scope: 'a b',
    };
    const read = parseCredentialsSecret(JSON.stringify(clean));
    expect(parseCredentialsSecret(JSON.stringify(pasted))).toEqual(read);
    expect(parseCredentialsSecret(`\ufeff${JSON.stringify(clean)}\r\n`)).toEqual(read);
    const nested = JSON.stringify({ client_id: 'broker', client_secrets: '\ufeff["a\\n","b"]\n' });
    expect(parseCredentialsSecret(nested).credentials).toMatchObject({ secrets: ['a', 'b'] });
    const key = JSON.stringify({
      client_id: 'broker',
      private_key: `\ufeff${JSON.stringify(JWK)}\n`,
    });
    expect(parseCredentialsSecret(key).credentials).toMatchObject({ privateKey: JWK });
  });

  const good = { client_id: 'broker', client_secret: 'canary-secret' };
  test.each([
    ['not JSON', 'canary-secret {', 'not JSON'],
    ['a list', '["canary-secret"]', 'not a JSON object'],
    ['null', 'null', 'not a JSON object'],
    [
      'an audience of assertions that is none',
      { ...good, client_assertion_audience: 'tokenEndpoint' },
      '"client_assertion_audience" must be "issuer", "token_endpoint" or an absolute URI',
    ],
    ['no client id', { client_secret: 'canary-secret' }, '"client_id"'],
    ['a client id that is a number', { ...good, client_id: 7 }, '"client_id"'],
    [
      'no secret at all',
      { client_id: 'broker' },
      '"client_secret", "client_secrets" and "private_key"',
    ],
    ['an empty secret', { ...good, client_secret: '' }, '"client_secret"'],
    ['a secret that is null', { ...good, client_secret: null }, '"client_secret"'],
    ['a secret with a space before', { ...good, client_secret: ' canary-secret' }, 'a space'],
    ['a secret with a space behind', { ...good, client_secret: 'canary-secret \n' }, 'a space'],
    ['a secret that is white space', { ...good, client_secret: '\n' }, '"client_secret"'],
    ['a secret of two lines', { ...good, client_secret: 'canary\nsecret' }, '"client_secret"'],
    [
      'a secret with a zero byte',
      { ...good, client_secret: 'canary-\u0000secret' },
      '"client_secret"',
    ],
    ['two kinds of secret', { ...good, client_secrets: ['canary-secret'] }, 'exclude each other'],
    ['an empty list', { client_id: 'broker', client_secrets: [] }, '"client_secrets"'],
    [
      'a list that is a text',
      { client_id: 'broker', client_secrets: 'canary-secret' },
      '"client_secrets"',
    ],
    [
      'a bad entry',
      { client_id: 'broker', client_secrets: ['a', ' canary-secret'] },
      '"client_secrets"[1]',
    ],
    ['a PEM key', { client_id: 'broker', private_key: '-----BEGIN canary-secret' }, 'PEM'],
    [
      'a public key',
      { client_id: 'broker', private_key: { ...JWK, d: undefined } },
      'private one has "d"',
    ],
    [
      'a symmetric key',
      { client_id: 'broker', private_key: { kty: 'oct', k: 'canary-secret' } },
      '"d"',
    ],
    ['an issuer that is no text', { ...good, issuer: { a: 'canary-secret' } }, '"issuer"'],
    ['an empty scope', { ...good, scope: '' }, '"scope"'],
    ['an audience that is a list', { ...good, audience: ['canary-secret'] }, '"audience"'],
  ])('with %s is refused by the name of the member', (_what, content, named) => {
    const text = typeof content === 'string' ? content : JSON.stringify(content);
    const failure = thrownBy(() => parseCredentialsSecret(text));
    expect(failure).toMatchObject({ code: 'CREDENTIALS_SECRET_INVALID', kind: 'misconfigured' });
    expect(failure.message).toContain(named);
    expect(failure.message).not.toContain('canary');
    expect(failure.cause).toBeUndefined();
  });

  test('is read or refused, whatever it is, and never quoted', () => {
    const member = fc.oneof(fc.string(), fc.jsonValue());
    const record = fc.record(
      { client_id: member, client_secret: member, client_secrets: member, private_key: member },
      { requiredKeys: [] },
    );
    fc.assert(
      fc.property(
        fc.oneof(
          record.map((value) => JSON.stringify(value)),
          fc.string(),
        ),
        (text) => {
          try {
            const { credentials } = parseCredentialsSecret(text);
            expect(credentials.clientId).not.toBe('');
          } catch (error) {
            expect(error).toBeInstanceOf(CredentialsSecretError);
            expect((error as CredentialsSecretError).cause).toBeUndefined();
          }
        },
      ),
    );
  });
});

function thrownBy(call: () => unknown): CredentialsSecretError {
  try {
    call();
  } catch (error) {
    if (error instanceof CredentialsSecretError) return error;
    throw error;
  }
  throw new Error('nothing was thrown');
}

describe('resolveProviderSettings', () => {
  test('takes the configuration first, then the secret, member by member', () => {
    expect(
      resolveProviderSettings(
        { issuer: 'https://config.example.test', scope: undefined, audience: 'config' },
        { issuer: 'https://secret.example.test', scope: 'secret', audience: 'secret' },
      ),
    ).toEqual({ issuer: 'https://config.example.test', scope: 'secret', audience: 'config' });
  });

  test('needs an issuer from one of them, even with explicit endpoints', () => {
    const endpoints = { tokenEndpoint: 'https://a.test/t', jwksUri: 'https://a.test/k' };
    expect(() => resolveProviderSettings(endpoints, {})).toThrow(
      expect.objectContaining({
        code: 'PROVIDER_ISSUER_MISSING',
        kind: 'misconfigured',
        message: expect.stringMatching(/BROKER_ISSUER.*"issuer"/),
      }),
    );
    expect(resolveProviderSettings(endpoints, { issuer: 'https://a.test' })).toMatchObject(
      endpoints,
    );
  });
});

describe('requireUrl', () => {
  test.each([
    ['https://provider.example.test/oauth/token?x=1', {}],
    ['http://127.0.0.1:3001', {}],
    ['http://127.1:3001', {}],
    ['http://[::1]:3001', {}],
    ['http://localhost:3001', {}],
    ['http://provider.internal', { allowInsecureHttp: true }],
  ])('accepts %s', (text, settings) => {
    expect(requireUrl(text, 'issuer', settings).href).toBe(new URL(text).href);
  });

  test.each([
    ['http://provider.internal/token?secret=canary', 'PROVIDER_INSECURE'],
    ['http://localhost.evil.test', 'PROVIDER_INSECURE'],
    ['http://127.0.0.1.evil.test', 'PROVIDER_INSECURE'],
    ['http://0.0.0.0', 'PROVIDER_INSECURE'],
    ['http://169.254.169.254', 'PROVIDER_INSECURE'],
    ['https://user:canary@provider.example.test', 'PROVIDER_SETTINGS_INVALID'],
    ['https://canary@provider.example.test', 'PROVIDER_SETTINGS_INVALID'],
    ['https://provider.example.test#canary', 'PROVIDER_SETTINGS_INVALID'],
    ['provider.example.test/canary', 'PROVIDER_SETTINGS_INVALID'],
    ['file:///etc/canary', 'PROVIDER_SETTINGS_INVALID'],
    ['javascript:canary', 'PROVIDER_SETTINGS_INVALID'],
    ['', 'PROVIDER_SETTINGS_INVALID'],
  ])('refuses %s', (text, code) => {
    expect(() => requireUrl(text, 'token endpoint', {})).toThrow(
      expect.objectContaining({
        code,
        kind: 'misconfigured',
        message: expect.stringMatching(/^(?!.*canary).*token endpoint/),
      }),
    );
  });

  test.each(['127.0.0.1', '127.255.0.3', 'localhost', '[::1]', '::1'])('%s is loopback', (host) => {
    expect(isLoopbackHost(host)).toBe(true);
  });

  test('displayUrl shows neither query nor an endless path', () => {
    const url = new URL(`https://a.test/${'x'.repeat(1_000)}?canary`);
    expect(displayUrl(url)).toHaveLength(200);
    expect(displayUrl(url)).not.toContain('canary');
  });
});

describe('credentials that the configuration has', () => {
  const KMS = { clientAuthentication: 'kms', kmsKeyId: 'alias/broker' } as const;
  const FILE = { clientAuthentication: 'workload_token', workloadTokenFile: '/run/token' } as const;
  const AWS = { clientAuthentication: 'workload_token', awsTokenAudience: 'idp' } as const;
  const TLS = {
    clientAuthentication: 'mtls',
    clientCertificateFile: '/tls.crt',
    clientKeyFile: '/tls.key',
  } as const;

  test.each([
    ['a KMS key', KMS, { kind: 'kms', keyId: 'alias/broker' }],
    [
      'a KMS key with its algorithm and kid',
      { ...KMS, kmsAlgorithm: 'PS256', clientAssertionKeyId: 'k' },
      { kind: 'kms', keyId: 'alias/broker', algorithm: 'PS256', assertionKeyId: 'k' },
    ],
    ['a file', FILE, { kind: 'workload-token', source: { file: '/run/token' } }],
    ['AWS', AWS, { kind: 'workload-token', source: { awsAudience: 'idp', algorithm: 'RS256' } }],
    [
      'a certificate',
      TLS,
      { kind: 'certificate', from: 'files', certificate: '/tls.crt', key: '/tls.key' },
    ],
  ] as const)('%s: the secret gives the client id, or nothing', (_what, configured, expected) => {
    const parsed = parseCredentialsSecret('{"client_id":"broker"}', configured);
    expect(parsed).toEqual({ credentials: { clientId: 'broker', ...expected }, settings: {} });
    expect(configuredCredentials(configured)).toBeUndefined();
    const withId = { ...configured, clientId: 'ours' };
    expect(configuredCredentials(withId)).toEqual({ clientId: 'ours', ...expected });
    // A secret that is there all the same gives settings, and what it holds in vain is named.
    const text = '{"client_id":"broker","client_secret":"canary","audience":"a"}';
    expect(parseCredentialsSecret(text, withId)).toEqual({
      credentials: { clientId: 'ours', ...expected },
      settings: { audience: 'a' },
      unused: ['client_secret'],
    });
  });

  test.each([
    ['a client id alone', { clientId: 'ours' }],
    ['a method without its key', { clientId: 'ours', clientAuthentication: 'kms' }],
    ['a key of another method', { ...KMS, clientId: 'ours', clientAuthentication: 'mtls' }],
    ['a certificate in the secret', { clientId: 'ours', clientAuthentication: 'mtls' }],
  ] as const)('%s is not whole', (_what, configured) => {
    expect(configuredCredentials(configured)).toBeUndefined();
    expect(() => parseCredentialsSecret('{"client_id":"broker"}', configured)).toThrow(
      expect.objectContaining({ code: 'CREDENTIALS_SECRET_INVALID' }),
    );
  });

  test('a certificate in the secret, with its key, is read', () => {
    const [certificate, certificate_key] = ['CERTIFICATE', 'PRIVATE KEY'].map(
      (name) => `-----BEGIN ${name}-----\nMIIB\n-----END ${name}-----\n`,
    );
    const members = { client_id: 'broker', certificate, certificate_key };
    expect(parseCredentialsSecret(JSON.stringify(members)).credentials).toEqual({
      kind: 'certificate',
      clientId: 'broker',
      from: 'credentials secret',
      certificate,
      key: certificate_key,
    });
    for (const [wrong, named] of [
      [{ ...members, certificate: 'canary' }, '"certificate" must be PEM'],
      [{ ...members, certificate_key: undefined }, '"certificate_key" must be PEM'],
      [{ ...members, client_secret: 'canary' }, 'exclude each other'],
    ] as const) {
      expect(() => parseCredentialsSecret(JSON.stringify(wrong))).toThrow(
        expect.objectContaining({ message: expect.stringContaining(named) }),
      );
    }
  });
});
