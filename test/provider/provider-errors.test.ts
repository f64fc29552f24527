import { describe, expect, test } from '@jest/globals';
import { connectionError, safeText } from '../../src/provider/provider-errors.js';
import { fc } from '../support/properties.js';
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
    expect(failure.message).toMatch(
      /does not speak TLS \(ERR_SSL_\w+\)\. Check the scheme and the port/,
    );
    expect(failure.message).not.toContain('NODE_EXTRA_CA_CERTS');
  });

  const TRUST = /NODE_EXTRA_CA_CERTS/;
  test.each([
    ['CERT_HAS_EXPIRED', /its certificate has expired \(CERT_HAS_EXPIRED\)\. Renew .* clock/],
    ['CERT_NOT_YET_VALID', /not valid yet .* clock/],
    [
      'ERR_TLS_CERT_ALTNAME_INVALID',
      /for another host name .* Use a host name that the certificate has/,
    ],
    ['ERR_TLS_CERT_ALTNAME_FORMAT', /for another host name/],
    ['HOSTNAME_MISMATCH', /for another host name/],
    ['CERT_REVOKED', /was revoked/],
    ['DEPTH_ZERO_SELF_SIGNED_CERT', TRUST],
    ['SELF_SIGNED_CERT_IN_CHAIN', TRUST],
    ['UNABLE_TO_GET_ISSUER_CERT', TRUST],
    ['UNABLE_TO_GET_ISSUER_CERT_LOCALLY', TRUST],
    ['CERT_UNTRUSTED', TRUST],
    ['INVALID_CA', TRUST],
    ['UNABLE_TO_VERIFY_LEAF_SIGNATURE', /intermediate certificates.*NODE_EXTRA_CA_CERTS/],
    ['EPROTO', /does not speak TLS/],
    ['ERR_SSL_WRONG_VERSION_NUMBER', /does not speak TLS/],
    ['ERR_SSL_PACKET_LENGTH_TOO_LONG', /does not speak TLS/],
    ['ERR_SSL_TLSV1_ALERT_PROTOCOL_VERSION', /TLS 1\.2 or later/],
    ['ERR_SSL_SSLV3_ALERT_HANDSHAKE_FAILURE', /TLS 1\.2 or later/],
    ['ERR_SSL_UNSUPPORTED_PROTOCOL', /TLS 1\.2 or later/],
    ['ERR_SSL_EE_KEY_TOO_SMALL', /TLS 1\.2 or later/],
    ['ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED', /demands a client certificate/],
    ['ERR_SSL_TLSV1_ALERT_UNKNOWN_CA', /demands a client certificate/],
    ['ERR_SSL_TLSV1_UNRECOGNIZED_NAME', /Check the host name/],
    ['ERR_SSL_SOMETHING_NEW', /the TLS connection failed .*Check the host name and the port/],
  ])('%s has advice of its own', (code, advice) => {
    const cause = Object.assign(new Error('canary'), { code });
    const failure = connectionError(new TypeError('fetch failed', { cause }), 'It');
    expect(failure).toMatchObject({ code: 'PROVIDER_TLS_FAILED', kind: 'misconfigured' });
    expect(failure.message).toMatch(advice);
    expect(failure.message).toContain(code);
    // To trust another authority helps with nothing else than an authority that is not trusted.
    expect(TRUST.test(failure.message)).toBe(TRUST.test(advice.source));
  });

  test.each([
    ['ECONNREFUSED', /refused/],
    ['ENOTFOUND', /does not resolve; is it spelled right/],
    ['EAI_AGAIN', /cannot be resolved at the moment/],
    ['ETIMEDOUT', /timed out/],
    ['HPE_INVALID_CONSTANT', /does not speak HTTP/],
  ])('%s says what is meant', (code, words) => {
    const cause = Object.assign(new Error('canary'), { code });
    const failure = connectionError(new TypeError('fetch failed', { cause }), 'It');
    expect(failure).toMatchObject({ code: 'PROVIDER_UNAVAILABLE', kind: 'retry' });
    expect(failure.message).toMatch(words);
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

const UUID = '1b4e28ba-2fa1-11d2-883f-0016d3cca427';

describe('safeText', () => {
  test.each([
    ['a sentence', 'Client is not allowed.', 'Client is not allowed.'],
    ['line breaks', 'one\r\n{"level":"fatal"}\ttwo', 'one {"level":"fatal"} two'],
    ['escape sequences', '\u001b[31mred\u001b[0m', '[31mred [0m'],
    ['other scripts', 'Zugriff für Ünïcode', 'Zugriff f r n code'],
    [
      'a trace id',
      `AADSTS7000215: Invalid client secret. Trace ID: ${UUID}`,
      `AADSTS7000215: Invalid client secret. Trace ID: ${UUID}`,
    ],
    ['nothing', ' \n ', undefined],
    ['a number', 7, undefined],
    ['an object', { a: 1 }, undefined],
    ['undefined', undefined, undefined],
    ['a JWT', 'bad token eyJhbGciOiJub25lIn0.e30.', undefined],
    ['128 bits in hexadecimal', 'bad 0123456789abcdef0123456789abcdef', undefined],
    ['256 bits in base64url', `bad ${'aB3_-'.repeat(9)}`, undefined],
    ['a secret by its name', 'sent client_secret=short', undefined],
    ['a part of a known secret', 'starts with known-se', undefined],
    ['a short known secret', 'was abc, really', undefined],
  ])('%s', (_what, text, expected) => {
    expect(safeText(text, ['known-secret', 'abc'])).toBe(expected);
  });

  test('lets a client id through that looks like a secret', () => {
    const clientId = 'aBcDeFgHiJkLmNoPqRsTuVwXyZ012345';
    const text = `Client ${clientId} is not authorized`;
    expect(safeText(text)).toBeUndefined();
    expect(safeText(text, [], [clientId, ''])).toBe(text);
  });

  test('is bounded', () => {
    expect(safeText('word '.repeat(1_000))?.length).toBeLessThanOrEqual(303);
  });

  test('never holds 8 characters of a secret in a row, and never a control character', () => {
    const letters = fc.string({ minLength: 8, maxLength: 60 });
    fc.assert(
      fc.property(letters, fc.string(), fc.string(), fc.nat(), (secret, before, after, from) => {
        const start = from % (secret.length - 7);
        const text = safeText(`${before}${secret.slice(start, start + 8)}${after}`, [secret]);
        expect(text).toBeUndefined();
        expect(safeText(before) ?? '').toMatch(/^[\x20-\x7e]*$/);
      }),
    );
  });
});

test('an address that is made of words does not hide what it stands in', () => {
  const said =
    'Review https://docs.example.test/azure/active-directory/develop/active-directory-certificate-credentials .';
  expect(safeText(said)).toBe(said);
  expect(safeText(`https://docs.example.test/a/${'Ab1'.repeat(14)}`)).toBeUndefined();
  expect(safeText(said, ['certificate-credentials'])).toBeUndefined();
});
