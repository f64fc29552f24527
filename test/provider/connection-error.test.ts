import { describe, expect, test } from '@jest/globals';
import { connectionError } from '../../src/provider/connection-error.js';
import { credentials, failureOf, rig } from './provider-fixture.js';

describe('no connection', () => {
  test('refused', async () => {
    const { server, provider } = await rig();
    const { tokenEndpoint, issuer } = server;
    await server.close();
    const failure = await failureOf(provider.mint({ issuer, tokenEndpoint }, credentials));
    expect(failure).toMatchObject({ code: 'PROVIDER_UNAVAILABLE', kind: 'retry' });
    expect(failure.message).toContain('ECONNREFUSED');
  });

  test('no TLS on the other side', async () => {
    const { server, provider } = await rig();
    const issuer = server.issuer.replace('http:', 'https:');
    const failure = await failureOf(provider.metadata({ issuer }));
    expect(failure).toMatchObject({ code: 'PROVIDER_TLS_FAILED', kind: 'misconfigured' });
    expect(failure.message).toContain('NODE_EXTRA_CA_CERTS');
  });

  test.each([
    ['CERT_HAS_EXPIRED', 'PROVIDER_TLS_FAILED', 'misconfigured'],
    ['SELF_SIGNED_CERT_IN_CHAIN', 'PROVIDER_TLS_FAILED', 'misconfigured'],
    ['DEPTH_ZERO_SELF_SIGNED_CERT', 'PROVIDER_TLS_FAILED', 'misconfigured'],
    ['UNABLE_TO_VERIFY_LEAF_SIGNATURE', 'PROVIDER_TLS_FAILED', 'misconfigured'],
    ['ERR_TLS_CERT_ALTNAME_INVALID', 'PROVIDER_TLS_FAILED', 'misconfigured'],
    ['ENOTFOUND', 'PROVIDER_UNAVAILABLE', 'retry'],
    ['EAI_AGAIN', 'PROVIDER_UNAVAILABLE', 'retry'],
    ['ENETUNREACH', 'PROVIDER_UNAVAILABLE', 'retry'],
    ['ESOMETHINGNEW', 'PROVIDER_UNAVAILABLE', 'retry'],
    [undefined, 'PROVIDER_UNAVAILABLE', 'retry'],
  ])('%s is %s', (code, expected, kind) => {
    const cause = Object.assign(new Error('canary-in-body'), { code, data: 'canary-in-body' });
    const failure = connectionError(new TypeError('fetch failed', { cause }), 'It');
    expect(failure).toMatchObject({ code: expected, kind });
    expect(failure.message).not.toContain('canary');
    expect(failure.cause).toBeUndefined();
  });

  test.each([[new RangeError('canary-in-body')], ['canary-in-body'], [null], [undefined]])(
    '%p is a bug, told without its text',
    (error) => {
      const failure = connectionError(error, 'It');
      expect(failure).toMatchObject({ code: 'PROVIDER_UNEXPECTED', kind: 'bug' });
      const { cause } = failure;
      expect(`${failure.message} ${cause instanceof Error ? cause.stack : ''}`).not.toContain(
        'canary',
      );
    },
  );
});
