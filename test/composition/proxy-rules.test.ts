import { describe, expect, test } from '@jest/globals';
import { decideRoute, isExcepted } from '../../src/composition/proxy-rules.js';
import { fc } from '../support/properties.js';

describe('NO_PROXY', () => {
  test.each<[noProxy: string, host: string, port: string, excepted: boolean]>([
    ['', 'example.com', '443', false],
    ['*', 'example.com', '443', true],
    ['example.com', 'example.com', '443', true],
    ['example.com', 'login.example.com', '443', true],
    ['example.com', 'notexample.com', '443', false],
    ['example.com', 'example.com.evil.test', '443', false],
    ['.example.com', 'login.example.com', '443', true],
    ['.example.com', 'example.com', '443', true],
    ['*.example.com', 'login.example.com', '443', true],
    ['*.example.com', 'loginexample.com', '443', false],
    ['EXAMPLE.com', 'example.com', '443', true],
    ['example.com.', 'example.com', '443', true],
    ['example.com:8443', 'example.com', '8443', true],
    ['example.com:8443', 'example.com', '443', false],
    ['.example.com:8443', 'a.example.com', '8443', true],
    ['example.com:8443x', 'example.com', '8443', false],
    ['other.test, example.com', 'example.com', '443', true],
    ['other.test example.com', 'example.com', '443', true],
    ['müller.example', 'xn--mller-kva.example', '443', true],
    ['.MÜLLER.example:8443', 'a.xn--mller-kva.example', '8443', true],
    ['b%2eexample', 'b.example', '443', false],
    ['10.1', '10.0.0.1', '443', false],
    ['::ffff:10.1.2.3', '10.1.2.3', '443', true],
    ['10.0.0.0/8', '::ffff:a01:203', '443', true],
    ['::/0', '10.1.2.3', '443', false],
    ['::/0', 'fd00::1', '443', true],
    ['0.0.0.0/0', 'fd00::1', '443', false],
    ['::ffff:10.0.0.0/104', '10.1.2.3', '443', true],
    ['fe80::1%eth0', 'example.com', '443', false],
    [',,,', 'example.com', '443', false],
    ['.', 'example.com', '443', false],
    ['*.', 'example.com', '443', false],
    ['com', 'example.com', '443', true],
    ['10.1.2.3', '10.1.2.3', '443', true],
    ['10.1.2.3', '10.1.2.30', '443', false],
    ['10.1.2.3:8443', '10.1.2.3', '8443', true],
    ['10.1.2.3:8443', '10.1.2.3', '443', false],
    ['10.0.0.0/8', '10.1.2.3', '443', true],
    ['10.0.0.0/8', '11.1.2.3', '443', false],
    ['10.0.0.0/33', '10.0.0.0', '443', false],
    ['10.0.0.0/8', '10.example.com', '443', false],
    ['3.example.com', '10.1.2.3', '443', false],
    // Part of an address is no domain.
    ['2.3', '10.1.2.3', '443', false],
    ['fd00::/8', 'fd12::1', '443', true],
    ['[fd12::1]', 'fd12::1', '443', true],
    ['[fd12::1]:8443', 'fd12::1', '8443', true],
    ['[fd12::1]:8443', 'fd12::1', '443', false],
    ['fd12:0:0:0::1', 'fd12::1', '443', true],
    ['http://example.com', 'example.com', '443', false],
  ])('%j and %s:%s: %s', (noProxy, host, port, excepted) => {
    expect(isExcepted(host, port, noProxy)).toBe(excepted);
  });

  test('never throws, and a further entry never takes an exception away', () => {
    const entry = fc.oneof(
      fc.string(),
      fc.domain(),
      fc.ipV4(),
      fc.ipV6(),
      fc.tuple(fc.ipV4(), fc.nat(40)).map(([ip, bits]) => `${ip}/${bits}`),
    );
    fc.assert(
      fc.property(fc.oneof(fc.domain(), fc.ipV4(), fc.ipV6()), entry, entry, (host, one, other) => {
        const before = isExcepted(host, '443', one);
        return !before || isExcepted(host, '443', `${other},${one}`);
      }),
    );
  });

  test('every domain excepts itself and what is below it', () => {
    fc.assert(
      fc.property(fc.domain(), fc.constantFrom('', '.', '*.'), (domain, prefix) => {
        const host = domain.toLowerCase();
        return (
          isExcepted(host, '443', `${prefix}${domain}`) &&
          isExcepted(`a.${host}`, '443', `${prefix}${domain}`) &&
          !isExcepted(`a${host}`, '443', `${prefix}${domain}`)
        );
      }),
    );
  });
});

describe('the route to', () => {
  const httpsProxy = { url: 'http://proxy.test:3128', login: undefined };
  const httpProxy = { url: 'http://other.test:3129', login: undefined };
  const rules = { httpsProxy, httpProxy, noProxy: 'direct.test' };

  test.each<[url: string, expected: object]>([
    ['https://login.test/token', { proxy: httpsProxy, setting: 'HTTPS_PROXY' }],
    ['http://login.test/token', { proxy: httpProxy, setting: 'HTTP_PROXY' }],
    ['https://a.direct.test/', { proxy: undefined, because: 'NO_PROXY' }],
    ['https://DIRECT.test/', { proxy: undefined, because: 'NO_PROXY' }],
    ['https://localhost:8443/', { proxy: undefined, because: 'this machine' }],
    ['http://127.0.0.1:4000/', { proxy: undefined, because: 'this machine' }],
    ['http://127.9.9.9/', { proxy: undefined, because: 'this machine' }],
    ['https://[::1]/', { proxy: undefined, because: 'this machine' }],
    // Machines, containers and pods of AWS get their credentials there.
    ['http://169.254.169.254/latest/meta-data', { proxy: undefined, because: 'this machine' }],
    ['http://169.254.170.2/v2/credentials', { proxy: undefined, because: 'this machine' }],
    ['http://169.254.170.23/v1/credentials', { proxy: undefined, because: 'this machine' }],
    ['http://[fd00:ec2::254]/', { proxy: undefined, because: 'this machine' }],
    ['http://[fd00:ec2::23]/v1/credentials', { proxy: undefined, because: 'this machine' }],
    ['https://[fd00:ec3::1]/', { proxy: httpsProxy, setting: 'HTTPS_PROXY' }],
    ['https://localhost.evil.test/', { proxy: httpsProxy, setting: 'HTTPS_PROXY' }],
  ])('%s', (url, expected) => {
    expect(decideRoute(new URL(url), rules)).toEqual(expected);
  });

  test('an address of a scheme without a proxy is direct', () => {
    const only = { ...rules, httpsProxy: undefined };
    expect(decideRoute(new URL('https://login.test/'), only)).toEqual({
      proxy: undefined,
      because: 'no proxy',
    });
  });
});
