import { describe, expect, test } from '@jest/globals';
import {
  displayUrl,
  requireUrl,
  resolveProviderSettings,
} from '../../src/provider/client-credentials.js';
import { isLoopbackHost } from '../../src/tokens/http.js';

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
