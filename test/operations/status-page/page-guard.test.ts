import { describe, expect, test } from '@jest/globals';
import {
  FormTokens,
  isForwarded,
  isLoopbackName,
  isOwnForm,
  isOwnHost,
} from '../../../src/operations/status-page/page-guard.js';
import { fc } from '../../support/properties.js';
import { NOW } from './page-scene.js';

const NAMES = ['Status.example.com', 'broker'];

describe('the host', () => {
  test.each<[string | undefined, boolean]>([
    ['localhost', true],
    ['localhost:8081', true],
    ['LOCALHOST:8081', true],
    ['broker.localhost:3000', true],
    ['127.0.0.1:8081', true],
    ['10.1.2.3:8081', true],
    ['[::1]:8081', true],
    ['[2001:db8::7]', true],
    ['status.example.com', true],
    ['STATUS.EXAMPLE.COM:8443', true],
    ['status.example.com.', true],
    ['broker:8081', true],
    [undefined, false],
    ['', false],
    ['evil.example', false],
    ['evil.example:8081', false],
    ['status.example.com.evil.example', false],
    ['evilstatus.example.com', false],
    ['localhost.evil.example', false],
    ['127.0.0.1.evil.example', false],
    ['127.0.0.1.nip.io', false],
    ['evil.example@localhost', false],
    ['localhost/evil', false],
    ['localhost#', false],
    ['localhost\\@evil.example', false],
    ['[::1', false],
    [':8081', false],
  ])('%j: %s', (host, isOwn) => {
    expect(isOwnHost(host, NAMES)).toBe(isOwn);
  });

  test('no other name passes, whatever it looks like', () => {
    fc.assert(
      fc.property(fc.domain(), (name) => {
        expect(isOwnHost(name, [])).toBe(false);
        expect(isOwnHost(`${name}:80`, NAMES)).toBe(false);
        expect(isLoopbackName(name)).toBe(false);
      }),
    );
  });

  test.each([
    ['localhost:1', true],
    ['127.9.9.9', true],
    ['[::1]:1', true],
    ['10.0.0.1', false],
    ['broker', false],
    [undefined, false],
  ])('%j is this machine: %s', (host, isLoopback) => {
    expect(isLoopbackName(host)).toBe(isLoopback);
  });
});

test.each([
  ['forwarded', true],
  ['via', true],
  ['x-forwarded-for', true],
  ['x-forwarded-host', true],
  ['x-forwarded-proto', true],
  ['x-forwarded-port', true],
  ['x-real-ip', true],
  ['x-client-ip', true],
  ['x-original-host', true],
  ['true-client-ip', true],
  ['cf-connecting-ip', true],
  ['fly-client-ip', true],
  ['accept', false],
  ['x-requested-with', false],
  ['sec-fetch-site', false],
])('a request with %s is passed on: %s', (name, expected) => {
  const headers = { host: ['localhost'], [name]: ['203.0.113.7'] };
  expect(isForwarded({ headers })).toBe(expected);
});

describe('a form', () => {
  const HOST = { host: ['localhost:8081'] };
  const ORIGIN = { ...HOST, origin: ['http://localhost:8081'] };
  test.each<[string, NodeJS.Dict<string[]>, boolean]>([
    ['of the page', { ...ORIGIN, 'sec-fetch-site': ['same-origin'] }, true],
    ['of a browser without fetch metadata', ORIGIN, true],
    ['without an origin, by the same site', { ...HOST, 'sec-fetch-site': ['same-origin'] }, true],
    ['behind a proxy with TLS', { host: ['a.example'], origin: ['https://a.example'] }, true],
    [
      'behind one at a port',
      { host: ['a.example:8443'], origin: ['https://a.example:8443'] },
      true,
    ],
    ['of a program', HOST, false],
    ['of another site', { ...HOST, origin: ['http://evil.example'] }, false],
    ['of another port', { ...HOST, origin: ['http://localhost:9999'] }, false],
    ['of a frame without an origin', { ...HOST, origin: ['null'] }, false],
    ['of a sibling', { ...ORIGIN, 'sec-fetch-site': ['same-site'] }, false],
    ['of another site, says the browser', { ...ORIGIN, 'sec-fetch-site': ['cross-site'] }, false],
    ['typed into the address bar', { ...ORIGIN, 'sec-fetch-site': ['none'] }, false],
    ['with two origins', { ...HOST, origin: ['http://localhost:8081', 'http://evil'] }, false],
    ['with two sites', { ...ORIGIN, 'sec-fetch-site': ['same-origin', 'same-origin'] }, false],
    ['with a path in its origin', { ...HOST, origin: ['http://localhost:8081/'] }, false],
    ['with a user in its origin', { ...HOST, origin: ['http://a@localhost:8081'] }, false],
    ['without a host', { origin: ['http://localhost:8081'] }, false],
    ['of an origin that shows no pages', { ...HOST, origin: ['ftp://localhost:8081'] }, false],
    ['with an empty origin', { ...HOST, origin: [''] }, false],
  ])('%s: %j: %s', (_what, headers, isOwn) => {
    expect(isOwnForm({ headers })).toBe(isOwn);
  });
});

describe('a token of a form', () => {
  const forms = new FormTokens(Buffer.alloc(32, 7));
  const what = ['rotate', 'default'];
  const token = forms.issue('admin', what, NOW);

  test('is good for its peer and its action, for ten minutes', () => {
    expect(forms.accepts(token, 'admin', what, NOW)).toBe(true);
    expect(forms.accepts(token, 'admin', what, NOW + 599_999)).toBe(true);
    expect(forms.accepts(token, 'admin', what, NOW + 600_000)).toBe(false);
    // A clock that was set back does not make it live longer.
    expect(forms.accepts(token, 'admin', what, NOW - 1)).toBe(false);
    expect(forms.accepts(token, 'other', what, NOW)).toBe(false);
    expect(forms.accepts(token, 'admin', ['rotate', 'ledger'], NOW)).toBe(false);
    expect(forms.accepts(token, 'admin', ['rotate'], NOW)).toBe(false);
    expect(forms.accepts(token, 'admin', ['repair', 'default'], NOW)).toBe(false);
    const others = new FormTokens(Buffer.alloc(32, 8));
    expect(others.accepts(token, 'admin', what, NOW)).toBe(false);
  });

  test('that differs in anything is refused', () => {
    const change = fc.tuple(
      fc.integer({ min: 0, max: token.length - 1 }),
      fc.stringMatching(/^[\w.-]$/),
    );
    fc.assert(
      fc.property(change, ([index, character]) => {
        const forged = token.slice(0, index) + character + token.slice(index + 1);
        expect(forms.accepts(forged, 'admin', what, NOW)).toBe(forged === token);
      }),
    );
    for (const text of ['', '.', token.slice(0, -1), `${token}.`, `${token}A`, `.${token}`]) {
      expect(forms.accepts(text, 'admin', what, NOW)).toBe(false);
    }
  });
});
