import { describe, expect, test } from '@jest/globals';
import { bareError, connectionFailure, systemCode } from '../../src/tokens/http.js';

const withCode = (code: unknown): Error => Object.assign(new Error('canary'), { code });
const withCauses = (count: number, innermost: unknown): unknown =>
  count === 0 ? innermost : new Error('canary', { cause: withCauses(count - 1, innermost) });

describe('a connection that failed is explained by its code', () => {
  const closed = 'the connection was closed';
  const timedOut = 'the connection timed out';
  const cutOff = 'the answer was cut off before its end';
  test.each([
    ['ECONNREFUSED', 'the connection is refused'],
    ['ECONNRESET', 'the connection was reset'],
    ['ECONNABORTED', closed],
    ['EPIPE', closed],
    ['UND_ERR_SOCKET', closed],
    ['ENOTFOUND', 'the host name does not resolve; is it spelled right?'],
    ['EAI_AGAIN', 'the host name cannot be resolved at the moment'],
    ['ETIMEDOUT', timedOut],
    ['UND_ERR_CONNECT_TIMEOUT', timedOut],
    ['UND_ERR_HEADERS_TIMEOUT', 'the answer did not come'],
    ['UND_ERR_BODY_TIMEOUT', 'the answer stopped in the middle'],
    ['EHOSTUNREACH', 'the host cannot be reached'],
    ['EHOSTDOWN', 'the host cannot be reached'],
    ['ENETUNREACH', 'the network cannot be reached'],
    ['ENETDOWN', 'the network cannot be reached'],
    ['ENETRESET', 'the network was reset'],
    ['EADDRNOTAVAIL', 'this machine has no free address or port for another connection'],
    ['EACCES', 'this machine does not allow the connection'],
    ['EPERM', 'this machine does not allow the connection'],
    ['EMFILE', 'this process may open no more files and connections'],
    ['ENFILE', 'this machine can open no more files and connections'],
    ['ENOBUFS', 'this machine has no memory for another connection'],
    ['ENOMEM', 'this machine has no memory for another connection'],
    ['UND_ERR_RES_CONTENT_LENGTH_MISMATCH', cutOff],
    ['ERR_STREAM_PREMATURE_CLOSE', cutOff],
    ['HPE_INVALID_EOF_STATE', cutOff],
    ['Z_BUF_ERROR', cutOff],
    ['Z_DATA_ERROR', 'the compressed answer is damaged'],
    ['UND_ERR_HEADERS_OVERFLOW', 'the head of the answer is too large'],
    ['HPE_HEADER_OVERFLOW', 'the head of the answer is too large'],
    ['HPE_INVALID_CONSTANT', 'what answers there does not speak HTTP'],
    ['EUNHEARDOF', 'the connection failed'],
    // Like codes of TLS, and none.
    ['EPROTO_X', 'the connection failed'],
    ['INVALID_CA_X', 'the connection failed'],
    ['X_CERT_HAS_EXPIRED', 'the connection failed'],
  ])('%s: %s', (code, meaning) => {
    const why = `${meaning} (${code})`;
    expect(connectionFailure(withCode(code))).toEqual({ kind: 'network', why });
    expect(connectionFailure(withCauses(2, withCode(code)))).toEqual({ kind: 'network', why });
  });
});

describe('a TLS connection that failed', () => {
  const untrusted =
    'For a private certificate authority, or a proxy that inspects TLS, point NODE_EXTRA_CA_CERTS to the certificate of the authority, a PEM file; in a broker BROKER_CA_FILE does as well.';
  const meanings: readonly (readonly [string, string, readonly string[]])[] = [
    [
      'its certificate has expired',
      "Renew the certificate, or set this machine's clock if that is wrong.",
      ['CERT_HAS_EXPIRED'],
    ],
    [
      'its certificate is not valid yet',
      "Set this machine's clock, or wait until the certificate is valid.",
      ['CERT_NOT_YET_VALID'],
    ],
    [
      'its certificate is for another host name',
      'Use a host name that the certificate has, or give the server a certificate for this one.',
      ['ERR_TLS_CERT_ALTNAME_INVALID', 'ERR_TLS_CERT_ALTNAME_FORMAT', 'HOSTNAME_MISMATCH'],
    ],
    ['its certificate was revoked', 'The server needs a new certificate.', ['CERT_REVOKED']],
    [
      'the authority of its certificate is not known here',
      'If the certificate is of a public authority, the server leaves out the intermediate certificates: configure it to send them. For a private authority, point NODE_EXTRA_CA_CERTS to its certificate, a PEM file; in a broker BROKER_CA_FILE does as well.',
      ['UNABLE_TO_VERIFY_LEAF_SIGNATURE'],
    ],
    [
      'its certificate is of an authority that is not trusted here',
      untrusted,
      [
        'DEPTH_ZERO_SELF_SIGNED_CERT',
        'SELF_SIGNED_CERT_IN_CHAIN',
        'UNABLE_TO_GET_ISSUER_CERT',
        'UNABLE_TO_GET_ISSUER_CERT_LOCALLY',
        'CERT_UNTRUSTED',
        'INVALID_CA',
        'CERT_REJECTED',
      ],
    ],
    [
      'what answers there does not speak TLS',
      'Check the scheme and the port of the URL: is it a port for plain HTTP?',
      [
        'EPROTO',
        'ERR_SSL_WRONG_VERSION_NUMBER',
        'ERR_SSL_PACKET_LENGTH_TOO_LONG',
        'ERR_SSL_HTTP_REQUEST',
        'ERR_SSL_UNKNOWN_PROTOCOL',
      ],
    ],
    [
      'it demands a client certificate',
      'Mutual TLS is not spoken here: use an address that does not demand it.',
      [
        'ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED',
        'ERR_SSL_SSLV3_ALERT_BAD_CERTIFICATE',
        'ERR_SSL_TLSV1_ALERT_UNKNOWN_CA',
      ],
    ],
    [
      'it does not know the host name',
      'Check the host name in the URL.',
      ['ERR_SSL_TLSV1_UNRECOGNIZED_NAME', 'ERR_SSL_UNRECOGNIZED_NAME'],
    ],
    [
      'no version of TLS, key or cipher is agreed on',
      'The server must offer TLS 1.2 or later with keys and ciphers that Node.js takes.',
      [
        'ERR_SSL_TLSV1_ALERT_PROTOCOL_VERSION',
        'ERR_SSL_UNSUPPORTED_PROTOCOL',
        'ERR_SSL_SSLV3_ALERT_HANDSHAKE_FAILURE',
        'ERR_SSL_VERSION_TOO_LOW',
        'ERR_SSL_NO_CIPHER_MATCH',
        'ERR_SSL_NO_CIPHERS_AVAILABLE',
        'ERR_SSL_EE_KEY_TOO_SMALL',
        'ERR_SSL_CA_MD_TOO_WEAK',
      ],
    ],
    [
      'the TLS connection failed',
      'Check the host name and the port, and the certificate that is offered there.',
      [
        'CERT_SIGNATURE_FAILURE',
        'ERR_TLS_HANDSHAKE_TIMEOUT',
        'ERR_SSL_TLSV1_ALERT_DECODE_ERROR',
        // Like a code that is known, and none.
        'CERT_HAS_EXPIRED_X',
        'CERT_NOT_YET_VALID_X',
        'HOSTNAME_MISMATCH_X',
        'CERT_REVOKED_X',
        'UNABLE_TO_VERIFY_LEAF_SIGNATURE_X',
        'CERT_UNTRUSTED_X',
        'ERR_SSL_HTTP_REQUEST_X',
        'ERR_SSL_ALERT_UNKNOWN_CA_X',
        'ERR_SSL_UNRECOGNIZED_NAME_X',
        'ERR_SSL_UNSUPPORTED_PROTOCOL_X',
        'CERT_CERT_HAS_EXPIRED',
        'CERT_CERT_NOT_YET_VALID',
        'CERT_HOSTNAME_MISMATCH',
        'CERT_CERT_REVOKED',
        'CERT_UNABLE_TO_VERIFY_LEAF_SIGNATURE',
        'CERT_INVALID_CA',
        'CERT_EPROTO',
        'CERT_ERR_SSL_ALERT_UNKNOWN_CA',
        'CERT_ERR_SSL_UNRECOGNIZED_NAME',
        'CERT_ERR_SSL_UNSUPPORTED_PROTOCOL',
      ],
    ],
  ];
  const rows = meanings.flatMap(([why, advice, codes]) =>
    codes.map((code) => [code, why, advice] as const),
  );
  test.each(rows)('%s: %s', (code, why, advice) => {
    const expected = { kind: 'tls', code, why: `${why} (${code})`, advice };
    expect(connectionFailure(withCauses(1, withCode(code)))).toEqual(expected);
  });
});

describe('an error without a code', () => {
  test.each<[string, unknown, boolean]>([
    ['of fetch, with a cause', new TypeError('fetch failed', { cause: new Error('canary') }), true],
    ['of fetch in another realm', { name: 'TypeError', cause: 'canary' }, true],
    ['of type, without a cause', new TypeError('fetch failed'), false],
    ['of another kind, with a cause', new Error('x', { cause: new Error('canary') }), false],
    ['that is a text', 'ECONNREFUSED', false],
    ['that is nothing', undefined, false],
    ['that is null', null, false],
  ])('%s', (_what, error, failed) => {
    const expected = failed ? { kind: 'network', why: 'the connection failed' } : undefined;
    expect(connectionFailure(error)).toEqual(expected);
  });
});

describe('the code of an error', () => {
  test('is the first of the error and three causes, and no deeper', () => {
    for (const depth of [0, 1, 2, 3]) {
      expect(systemCode(withCauses(depth, withCode('EPIPE')))).toBe('EPIPE');
    }
    expect(systemCode(withCauses(4, withCode('EPIPE')))).toBeUndefined();
    const both = Object.assign(new Error('outer', { cause: withCode('EPIPE') }), { code: 'EPERM' });
    expect(systemCode(both)).toBe('EPERM');
  });

  test.each<[unknown]>([
    [7],
    [['EPIPE']],
    [''],
    ['E'],
    ['epipe'],
    ['xEPIPE'],
    ['EPIPE!'],
    ['7UP'],
    ['E pipe'],
    ['E'.repeat(62)],
    [undefined],
  ])('is none of the system when it is %j', (code) => {
    expect(systemCode(withCode(code))).toBeUndefined();
    const outer = Object.assign(new Error('x', { cause: withCode('EPIPE') }), { code });
    expect(systemCode(outer)).toBe('EPIPE');
  });

  test.each(['EIO', 'E2', 'E_A2', 'E'.repeat(61)])('may be %s', (code) => {
    expect(systemCode(withCode(code))).toBe(code);
  });
});

describe('what is kept of an error of other code', () => {
  const error = Object.assign(
    new TypeError('canary\n    not at once\nand    at canary', { cause: 'canary' }),
    { body: 'canary' },
  );

  test('is its name and its frames', () => {
    const bare = bareError(error);
    expect(bare.message).toBe('TypeError');
    const lines = (bare.stack ?? '').split('\n');
    expect(lines[0]).toBe('TypeError');
    expect(lines.length).toBeGreaterThan(1);
    expect(lines.slice(1).filter((line) => !line.startsWith('    at '))).toEqual([]);
    expect(bare.stack).toContain('connection-failure.test.ts');
    expect(bare.stack).not.toContain('canary');
    expect(bare.cause).toBeUndefined();
    expect(Object.keys(bare)).not.toContain('body');
  });

  test.each<[unknown, string]>([
    ['canary', 'string'],
    [7, 'number'],
    [undefined, 'undefined'],
    [null, 'object'],
    [{ name: 'AbortError' }, 'AbortError'],
    [{ name: 'N'.repeat(60) }, 'N'.repeat(60)],
    [{ name: 'N'.repeat(61) }, 'object'],
    [{ name: 'a canary' }, 'object'],
    [{ name: 'canary!' }, 'object'],
    [{ name: '!canary' }, 'object'],
    [{ name: '' }, 'object'],
    [{ name: 7 }, 'object'],
    [{ name: 'Odd', stack: 7 }, 'Odd'],
    [{ name: 'Odd', stack: 'canary' }, 'Odd'],
  ])('of %j is %s', (thrown, kind) => {
    const bare = bareError(thrown);
    expect([bare.message, bare.stack]).toEqual([kind, kind]);
  });
});
