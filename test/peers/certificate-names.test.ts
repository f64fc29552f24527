import { X509Certificate } from 'node:crypto';
import { describe, expect, test } from '@jest/globals';
import {
  alternativeNames,
  certificateIdentity,
  nameOfIdentity,
  proofOfName,
  type NameKind,
} from '../../src/peers/certificate-names.js';
import {
  findConflicts,
  IdentityTable,
  type ConfiguredPeer,
  type WorkloadIdentity,
} from '../../src/peers/identities.js';
import { makeCertificate } from '../support/certificates.js';
import { fc } from '../support/properties.js';

const uri = (value: string) => ({ kind: 'uri', value }) as const;
const dns = (value: string) => ({ kind: 'dns', value }) as const;

function identityOf(kind: NameKind, name: string): WorkloadIdentity {
  const identity = certificateIdentity(kind, name);
  if (typeof identity === 'string') throw new Error(`${name}: ${identity}`);
  return identity;
}

const peer = (id: string, ...identities: readonly WorkloadIdentity[]): ConfiguredPeer => ({
  id,
  roles: ['token'],
  tokens: [id],
  enabled: true,
  identities,
});

function fits(kind: NameKind, pattern: string, value: string): boolean {
  const proof = proofOfName({ kind, value });
  const table = new IdentityTable([peer('one', identityOf(kind, pattern))]);
  return proof !== undefined && table.find(proof.issuer, proof.subject) !== undefined;
}

describe('the alternative names of a certificate', () => {
  test.each([
    [undefined, []],
    ['URI:spiffe://prod.example.com/a', [uri('spiffe://prod.example.com/a')]],
    ['DNS:a.b, URI:x://y, IP Address:10.0.0.1, DNS:c', [dns('a.b'), uri('x://y'), dns('c')]],
    ['DirName:"CN=a, DNS:evil", DNS:a', [dns('a')]],
    ['othername:UPN:"a\\u002c b", othername:<unsupported>, email:a@b, DNS:a', [dns('a')]],
    ['Registered ID:1.2.3, DNS:', [dns('')]],
    ['DNS:"a\\u002c DNS:b"', [dns('a, DNS:b')]],
    ['URI:"a\\u0000b"', [uri('a\0b')]],
    ['URI:"a\\"b\\\\"', [uri('a"b\\')]],
    ['', undefined],
    ['DNS', undefined],
    ['DNS:a,DNS:b', undefined],
    ['DNS:a, ', undefined],
    [', DNS:a', undefined],
    ['DNS:a"b', undefined],
    ['DNS:"a', undefined],
    ['DNS:"a"b', undefined],
    ['DNS:"\\x"', undefined],
  ])('of %j', (text, names) => {
    expect(alternativeNames(text)).toEqual(names);
  });

  test('as Node.js writes them, whatever is in them', () => {
    // IA5String: one byte each.
    const name = fc.string({
      unit: fc.integer({ min: 1, max: 126 }).map((code) => String.fromCharCode(code)),
      minLength: 1,
    });
    const odd = fc.constantFrom(
      'a, DNS:evil',
      '"',
      '\\',
      "'",
      'a\0b',
      ', ',
      'URI:x',
      'a"b, URI:"c',
    );
    const list = fc.array(fc.oneof(name, odd), { minLength: 1, maxLength: 3 });
    fc.assert(
      fc.property(list, list, (uris, names) => {
        const { subjectAltName } = new X509Certificate(makeCertificate({ uris, dns: names }).cert);
        expect(alternativeNames(subjectAltName)).toEqual([...uris.map(uri), ...names.map(dns)]);
      }),
      { numRuns: 100 },
    );
  });

  test('in time proportional to their length', () => {
    for (const part of ['DNS:"', 'DNS:a, ', 'DNS:"\\', 'a ', ':']) {
      const start = performance.now();
      alternativeNames(part.repeat(200_000 / part.length));
      expect(performance.now() - start).toBeLessThan(20_000);
    }
  });
});

describe('a URI', () => {
  const SETTLE = 'spiffe://prod.example.com/settle';
  test.each([
    [SETTLE, SETTLE, true],
    [SETTLE, `${SETTLE}/`, false],
    [SETTLE, `${SETTLE}2`, false],
    [SETTLE, `${SETTLE}/admin`, false],
    [SETTLE, `x${SETTLE}`, false],
    [SETTLE, ` ${SETTLE}`, false],
    [SETTLE, `${SETTLE}\0`, false],
    [SETTLE, `${SETTLE}\n`, false],
    [SETTLE, `${SETTLE}?a`, false],
    [SETTLE, `${SETTLE}#a`, false],
    [SETTLE, 'spiffe://prod.example.com/Settle', false],
    [SETTLE, 'spiffe://PROD.example.com/settle', false],
    [SETTLE, 'SPIFFE://prod.example.com/settle', false],
    [SETTLE, 'spiffe://prod.example.com./settle', false],
    [SETTLE, 'spiffe://prod.example.com:443/settle', false],
    [SETTLE, 'spiffe://prod.example.com//settle', false],
    [SETTLE, 'spiffe://prod.example.com/x/../settle', false],
    [SETTLE, 'spiffe://prod.example.com/./settle', false],
    [SETTLE, 'spiffe://prod.example.com/%73ettle', false],
    [SETTLE, 'spiffe://prod.example.com/settle, URI:spiffe://prod.example.com/x', false],
    [SETTLE, 'spiffe://evil@prod.example.com/settle', false],
    ['spiffe://prod.example.com/*', SETTLE, true],
    ['spiffe://prod.example.com/*', 'spiffe://prod.example.com/a/b', false],
    ['spiffe://prod.example.com/*', 'spiffe://prod.example.com/', false],
    ['spiffe://prod.example.com/*', 'spiffe://prod.example.com', false],
    ['spiffe://prod.example.com/*', 'spiffe://prod.example.com/a%2Fb', false],
    ['spiffe://prod.example.com/*', 'spiffe://prod.example.com/..', false],
    ['spiffe://prod.example.com/*', 'spiffe://prod.example.com.evil/a', false],
    ['spiffe://prod.example.com/*', 'spiffe://prod.example.com/*', false],
    ['spiffe://prod.example.com/ns/*/sa/a', 'spiffe://prod.example.com/ns/x/sa/a', true],
    ['spiffe://prod.example.com/ns/*/sa/a', 'spiffe://prod.example.com/ns/x/y/sa/a', false],
    ['spiffe://prod.example.com/ns/*/sa/a', 'spiffe://prod.example.com/ns//sa/a', false],
    ['spiffe://prod.example.com:443/settle', 'spiffe://prod.example.com:443/settle', true],
    ['spiffe://prod.example.com:443/settle', 'spiffe://prod.example.com:44/settle', false],
    ['spiffe://prod.example.com:443/*', 'spiffe://prod.example.com:abc/settle', false],
    // A DNS name is another kind of name.
    ['x://settle.shop.svc', 'settle.shop.svc', false],
  ])('%s for %j: %p', (pattern, value, isFit) => {
    expect(fits('uri', pattern, value)).toBe(isFit);
  });

  test.each([
    'spiffe://*/settle',
    'spiffe://*.example.com/settle',
    'spiffe://prod*.example.com/settle',
    'spiffe://a*/settle',
    'spiffe://prod.example.com:*/settle',
    '*://prod.example.com/settle',
    '*',
    'spiffe://prod.example.com/set*',
    'spiffe://prod.example.com/**',
    'spiffe://prod.example.com/',
    'spiffe://prod.example.com//a',
    'spiffe://prod.example.com/a/..',
    'spiffe://prod.example.com/%73',
    'spiffe://prod.example.com/a?b',
    'spiffe://Prod.example.com/a',
    'spiffe:/prod.example.com/a',
    'CN=settle',
    'settle.shop.svc',
    '',
    `spiffe://prod.example.com/${'a'.repeat(2_100)}`,
  ])('%s cannot be configured', (name) => {
    expect(typeof certificateIdentity('uri', name)).toBe('string');
  });
});

describe('a DNS name', () => {
  test.each([
    ['settle.shop.svc', 'settle.shop.svc', true],
    ['settle.shop.svc', 'SETTLE.Shop.svc', true],
    ['Settle.shop.svc', 'settle.shop.svc', true],
    ['settle.shop.svc', 'settle.shop.svc.', false],
    ['settle.shop.svc', 'settle.shop.svc.evil', false],
    ['settle.shop.svc', 'evil.settle.shop.svc', false],
    ['settle.shop.svc', 'settle.shop', false],
    ['settle.shop.svc', 'settle-shop.svc', false],
    ['settle.shop.svc', 'settle/shop.svc', false],
    ['settle.shop.svc', '*.shop.svc', false],
    ['settle.shop.svc', 'settle.shop.svc\0.evil', false],
    ['settle.shop.svc', 'settle.shop.svc, DNS:a', false],
    // The sign of Kelvin, which lower case makes a "k", and the long s.
    ['kiosk.shop.svc', '\u212Aiosk.shop.svc', false],
    ['settle.shop.svc', '\u017Fettle.shop.svc', false],
    ['*.shop.svc', 'settle.shop.svc', true],
    ['*.shop.svc', 'shop.svc', false],
    ['*.shop.svc', '.shop.svc', false],
    ['*.shop.svc', 'a.b.shop.svc', false],
    ['*.shop.svc', '*.shop.svc', false],
    ['*.shop.svc', 'settle.shop.svc.evil', false],
    ['localhost', 'localhost', true],
  ])('%s for %j: %p', (pattern, value, isFit) => {
    expect(fits('dns', pattern, value)).toBe(isFit);
  });

  test.each([
    '*',
    '*.svc',
    'a.*.svc',
    'set*.shop.svc',
    '*.*.svc',
    'a..b',
    '.a',
    'a.',
    'a b',
    'a/b',
    '',
  ])('%s cannot be configured', (name) => {
    expect(typeof certificateIdentity('dns', name)).toBe('string');
  });
});

test.each<[NameKind, string]>([
  ['uri', ' spiffe://prod.example.com/settle'],
  ['uri', 'a spiffe://prod.example.com/settle'],
  ['uri', 'spiffe://prod.example.com:abc/settle'],
  ['uri', 'spiffe://prod.example.com:123456/settle'],
  ['uri', `spiffe://${'a'.repeat(2_040)}`],
  ['dns', `${'a.'.repeat(126)}ab`],
])('no peer can have the %s %j', (kind, value) => {
  expect(proofOfName({ kind, value })).toBeUndefined();
});

test.each<[NameKind, string]>([
  ['uri', `spiffe://${'a'.repeat(2_039)}`],
  ['dns', `${'a.'.repeat(126)}a`],
])('a peer can have a %s of the greatest length', (kind, value) => {
  expect(fits(kind, value, value)).toBe(true);
});

describe('what is wrong with a name is said of', () => {
  const segment = '"*" stands only for a whole segment of the path';
  const uriForm =
    'it is not a URI such as spiffe://TRUST_DOMAIN/PATH, without escapes, query and empty segments';
  test.each<[NameKind, string, string]>([
    ['uri', 'spiffe://*/settle', segment],
    ['uri', '*://prod.example.com/settle', segment],
    ['uri', 'spiffe://prod.example.com/set*', segment],
    ['uri', 'spiffe://prod.example.com//a', uriForm],
    ['dns', 'a.*.svc', '"*" stands only for the whole first label'],
    ['dns', '*.svc', 'it would fit every host of a top-level domain'],
    ['dns', 'a..b', 'it is not a DNS name such as settle.shop.svc'],
  ])('%s %s', (kind, name, fault) => {
    expect(certificateIdentity(kind, name)).toBe(fault);
  });
});

describe('of two peers', () => {
  test.each<[NameKind, string, string, boolean]>([
    ['uri', 'spiffe://a.b/x', 'spiffe://a.b/x', true],
    ['uri', 'spiffe://a.b/x', 'spiffe://a.b/X', false],
    ['uri', 'spiffe://a.b/*', 'spiffe://a.b/x', true],
    ['uri', 'spiffe://a.b/*', 'spiffe://a.b/x/y', false],
    ['uri', 'spiffe://a.b/*/y', 'spiffe://a.b/x/*', true],
    ['dns', 'a.shop.svc', 'A.shop.svc', true],
    ['dns', '*.shop.svc', 'a.shop.svc', true],
    ['dns', '*.shop.svc', 'a.b.shop.svc', false],
    ['dns', '*.shop.svc', '*.svc.shop', false],
  ])('%s %s and %s: the same name would fit both is %p', (kind, one, other, isConflict) => {
    const peers = [peer('one', identityOf(kind, one)), peer('other', identityOf(kind, other))];
    expect(findConflicts(peers)).toHaveLength(isConflict ? 1 : 0);
  });

  test('a URI and a DNS name, and the subject of an issuer, are never the same', () => {
    const peers = [
      peer('one', identityOf('dns', 'shop.svc')),
      peer('two', { issuer: 'cluster', subject: 'shop/svc' }),
      peer('three', { issuer: 'cluster', subject: 'spiffe://a.b/x' }),
      peer('four', identityOf('uri', 'spiffe://a.b/x')),
    ];
    expect(findConflicts(peers)).toEqual([]);
    const proof = proofOfName(uri('spiffe://a.b/x'));
    expect(new IdentityTable(peers).find(proof?.issuer ?? '', proof?.subject ?? '')?.id).toBe(
      'four',
    );
  });

  test('a name that fits one exactly fits no other without a conflict', () => {
    const label = fc.constantFrom('a', 'b', '*', 'A', 'ab');
    const name = fc.array(label, { minLength: 2, maxLength: 4 }).map((labels) => labels.join('.'));
    fc.assert(
      fc.property(name, name, name, (one, other, given) => {
        const [first, second] = [
          certificateIdentity('dns', one),
          certificateIdentity('dns', other),
        ];
        if (typeof first === 'string' || typeof second === 'string') return;
        const peers = [peer('one', first), peer('other', second)];
        const both = fits('dns', one, given) && fits('dns', other, given);
        if (findConflicts(peers).length === 0) expect(both).toBe(false);
      }),
      { numRuns: 1_000 },
    );
  });
});

test('an identity tells its name', () => {
  expect(nameOfIdentity(identityOf('uri', 'spiffe://a.b/*'))).toEqual(uri('spiffe://a.b/*'));
  expect(nameOfIdentity(identityOf('dns', '*.Shop.svc'))).toEqual(dns('*.shop.svc'));
  expect(nameOfIdentity({ issuer: 'cluster', subject: 'a' })).toBeUndefined();
});
