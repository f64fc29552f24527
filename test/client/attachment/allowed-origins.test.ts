import { describe, expect, test } from '@jest/globals';
import { originOf, readAllowedOrigins } from '../../../src/client/attachment/attachment-rules.js';
import type { AllowedOrigin } from '../../../src/client/index.js';

const read = (...entries: readonly unknown[]) =>
  [...readAllowedOrigins(entries as readonly AllowedOrigin[])].map(
    ([origin, { acceptsCustomers }]) => `${origin}${acceptsCustomers ? ' +customers' : ''}`,
  );

describe('the allow-list', () => {
  test.each<[unknown, string]>([
    [{ origin: 'https://billing.internal' }, 'https://billing.internal'],
    [{ origin: 'https://billing.internal/' }, 'https://billing.internal'],
    [{ origin: 'HTTPS://Billing.Internal:443' }, 'https://billing.internal'],
    [{ origin: 'https://billing.internal:8443' }, 'https://billing.internal:8443'],
    [{ origin: 'https://bücher.example' }, 'https://xn--bcher-kva.example'],
    [{ origin: 'https://a.internal', acceptsCustomers: true }, 'https://a.internal +customers'],
    [{ origin: 'https://a.internal', acceptsCustomers: false }, 'https://a.internal'],
    [{ origin: 'http://localhost:3000' }, 'http://localhost:3000'],
    [{ origin: 'http://127.0.0.1:3000' }, 'http://127.0.0.1:3000'],
    [{ origin: 'http://[::1]:3000' }, 'http://[::1]:3000'],
    [{ origin: 'http://billing', allowInsecureHttp: true }, 'http://billing'],
  ])('takes %j', (entry, expected) => {
    expect(read(entry)).toEqual([expected]);
  });

  test.each<[string, readonly unknown[], RegExp]>([
    ['no entry', [], /"origins" must list/],
    ['text', ['https://a.internal'], /origins\[0\]\.origin" must be an https origin/],
    ['nothing', [undefined], /origins\[0\]\.origin/],
    ['no URL', [{ origin: 'a.internal' }], /must be an https origin/],
    ['another scheme', [{ origin: 'ftp://a.internal' }], /must be an https origin/],
    [
      'a path',
      [{ origin: 'https://a.internal/v1' }],
      /must end after the port: https:\/\/a\.internal\./,
    ],
    ['a query', [{ origin: 'https://a.internal?' }], /must end after the port/],
    ['a fragment', [{ origin: 'https://a.internal/#' }], /must end after the port/],
    ['a password', [{ origin: 'https://u:hunter2@a.internal' }], /user name or a password/],
    ['a wildcard', [{ origin: 'https://*.internal' }], /no wildcards/],
    ['plain http', [{ origin: 'http://billing' }], /use https, or set allowInsecureHttp/],
    ['http to what looks local', [{ origin: 'http://localhost.evil.example' }], /use https/],
    [
      'a flag that is text',
      [{ origin: 'https://a.internal', acceptsCustomers: 'no' }],
      /acceptsCustomers" must be true or false/,
    ],
    [
      'a flag that is a number',
      [{ origin: 'http://billing', allowInsecureHttp: 1 }],
      /allowInsecureHttp" must be true or false/,
    ],
    [
      'the same twice',
      [{ origin: 'https://a.internal' }, { origin: 'https://A.internal:443/' }],
      /origins\[1\]" repeats https:\/\/a\.internal/,
    ],
  ])('refuses %s', (_name, entries, message) => {
    let refusal: unknown;
    try {
      read(...entries);
    } catch (error) {
      refusal = error;
    }
    expect(refusal).toMatchObject({
      code: 'CLIENT_MISCONFIGURED',
      kind: 'misconfigured',
      message: expect.stringMatching(message),
    });
    expect(String(refusal)).not.toContain('hunter2');
  });

  test.each([undefined, null, {}, 'https://a.internal'])('refuses %j for a list', (list) => {
    expect(() => readAllowedOrigins(list as never)).toThrow('"origins" must list');
  });
});

describe('the origin of a URL', () => {
  test.each([
    ['https://a.internal/path?q=1#f', 'https://a.internal'],
    ['https://A.internal:443', 'https://a.internal'],
    ['https://user:word@a.internal', 'https://a.internal'],
    ['https://a.internal@evil.example/', 'https://evil.example'],
    ['https://a.internal\\@evil.example/', 'https://a.internal'],
    ['https:\\\\evil.example\\a.internal', 'https://evil.example'],
    ['http:evil.example', 'http://evil.example'],
    [' https://a.internal', 'https://a.internal'],
    ['https://a.internal.', 'https://a.internal.'],
    ['//a.internal/', undefined],
    ['/path', undefined],
    ['', undefined],
    ['data:text/plain,x', undefined],
    ['file:///etc/passwd', undefined],
    ['blob:https://a.internal/1', undefined],
    ['ws://a.internal', undefined],
  ])('%s', (url, origin) => {
    expect(originOf(url)).toBe(origin);
  });
});
