import { describe, expect, test } from '@jest/globals';
import { loadConfig } from '../../src/config/load-config.js';

describe('the settings of TLS', () => {
  const cert = { BROKER_TLS_CERT_FILE: '/tls.crt', BROKER_TLS_KEY_FILE: '/tls.key' };

  test('by default there is none', () => {
    expect(loadConfig({ env: {} }).http).toMatchObject({ tls: undefined, trustedProxies: [] });
  });

  test('as given', () => {
    const env = {
      ...cert,
      BROKER_TLS_CLIENT_CA_FILE: '/ca.crt',
      BROKER_TRUSTED_PROXIES: '10.0.0.7, 10.1.0.0/16, fd00::/8, ::1',
    };
    expect(loadConfig({ env }).http).toMatchObject({
      tls: { certFile: '/tls.crt', keyFile: '/tls.key', clientCaFile: '/ca.crt' },
      trustedProxies: [
        { address: '10.0.0.7', family: 'ipv4', prefix: 32 },
        { address: '10.1.0.0', family: 'ipv4', prefix: 16 },
        { address: 'fd00::', family: 'ipv6', prefix: 8 },
        { address: '::1', family: 'ipv6', prefix: 128 },
      ],
    });
  });

  test.each<[NodeJS.ProcessEnv, RegExp]>([
    [{ BROKER_TLS_CERT_FILE: '/tls.crt' }, /BROKER_TLS_KEY_FILE.*belong together/s],
    [{ BROKER_TLS_KEY_FILE: '/tls.key' }, /BROKER_TLS_KEY_FILE.*belong together/s],
    [{ BROKER_TLS_CLIENT_CA_FILE: '/ca.crt' }, /BROKER_TLS_CERT_FILE is missing/],
    ...[
      '',
      ' ',
      'proxy',
      '10.0.0.0/0',
      '10.0.0.0/33',
      '10.0.0.0/x',
      '10.0.0.0/8/8',
      '10.0.0.0/',
      '::/0',
      '::/129',
      '10.0.0.1,',
      'fe80::1%eth0',
    ]
      .filter((value) => value.trim() !== '')
      .map((value): [NodeJS.ProcessEnv, RegExp] => [
        { BROKER_TRUSTED_PROXIES: value },
        /BROKER_TRUSTED_PROXIES/,
      ]),
  ])('%j is a mistake', (env, says) => {
    expect(() => loadConfig({ env })).toThrow(says);
  });

  test('a peer with a certificate that nobody can present is warned of', () => {
    const text = `peers: { a: { identities: [{ certificate: { dns: a.b } }], tokens: [default] } }`;
    const read = (env: NodeJS.ProcessEnv) =>
      loadConfig({ env: { BROKER_CONFIG: 'x.yaml', ...env }, readFile: () => text }).warnings;
    expect(read({})).toEqual([expect.stringContaining('"a" is known by a client certificate')]);
    expect(read({ ...cert, BROKER_TLS_CLIENT_CA_FILE: '/ca.crt' })).toEqual([]);
    expect(read({ BROKER_TRUSTED_PROXIES: '127.0.0.1' })).toEqual([]);
  });
});
