import { describe, expect, test } from '@jest/globals';
import { forwardedNames } from '../../src/peers/forwarded-certificate.js';
import { fc } from '../support/properties.js';

const uri = (value: string) => ({ kind: 'uri', value }) as const;
const dns = (value: string) => ({ kind: 'dns', value }) as const;

describe('X-Forwarded-Client-Cert', () => {
  test.each([
    [
      'By=spiffe://a/proxy;Hash=468ed33be74eee6556d90c0149c1309e9ba61d6425303443c0748a02dd8de688;Subject="/C=US/CN=Test, Client";URI=spiffe://a/settle;DNS=a.b;DNS=c.d',
      [uri('spiffe://a/settle'), dns('a.b'), dns('c.d')],
    ],
    ['By=x;Hash=1;URI=', []],
    ['Hash=1', []],
    ['uri=a;Dns=b', [uri('a'), dns('b')]],
    ['URI="a,b;c=d";DNS=e', [uri('a,b;c=d'), dns('e')]],
    ['URI="a\\"b\\\\c"', [uri('a"b\\c')]],
    ['URI=a=b', [uri('a=b')]],
    // Only the nearest proxy's element counts.
    ['URI=spiffe://a/admin,By=x;URI=spiffe://a/settle', [uri('spiffe://a/settle')]],
    ['URI=spiffe://a/admin, Hash=1', []],
    ['Subject="CN=a,URI=spiffe://a/admin";URI=b', [uri('b')]],
    ['Subject="CN=\\",URI=spiffe://a/admin";URI=b', [uri('b')]],
    ['URI="a" ; DNS="b" , URI=c ', [uri('c')]],
    ['Cert="-----BEGIN%20CERTIFICATE-----%0A";Chain="x";URI=a', [uri('a')]],
    // Malformed.
    ['', undefined],
    [',', undefined],
    ['URI', undefined],
    ['URI=a,', undefined],
    ['URI=a;', undefined],
    [',URI=a', undefined],
    ['=a', undefined],
    ['URI="a', undefined],
    ['URI="a"b', undefined],
    ['URI=a"b"', undefined],
    ['URI="a\\', undefined],
    ['URI=a\0b', undefined],
    ['URI=a\tb', undefined],
    ['URI=a;;DNS=b', undefined],
    ['U RI=a', undefined],
    ['URI =a', undefined],
    ['__proto__=a', undefined],
    ['URI=a\r\nURI=b', undefined],
  ])('%j', (header, names) => {
    expect(forwardedNames(header)).toEqual(names);
  });

  test('a key that every object has is none of ours', () => {
    expect(forwardedNames('constructor=a;toString=b;URI=c')).toEqual([uri('c')]);
  });

  const value = fc.string({
    unit: fc.integer({ min: 0x20, max: 0x7e }).map((code) => String.fromCharCode(code)),
    minLength: 1,
  });
  const quoted = (text: string): string => `"${text.replaceAll(/["\\]/g, '\\$&')}"`;

  test('what a proxy quotes is read as it was, and never as something else', () => {
    const element = fc.array(fc.tuple(fc.constantFrom('URI', 'DNS', 'Subject', 'By'), value), {
      minLength: 1,
    });
    fc.assert(
      fc.property(fc.array(element, { minLength: 1, maxLength: 3 }), (elements) => {
        const header = elements
          .map((pairs) => pairs.map(([key, text]) => `${key}=${quoted(text)}`).join(';'))
          .join(',');
        const last = elements.at(-1) ?? [];
        expect(forwardedNames(header)).toEqual(
          last.flatMap(([key, text]) =>
            key === 'URI' ? uri(text) : key === 'DNS' ? dns(text) : [],
          ),
        );
      }),
    );
  });

  test('whatever stands before the last element changes nothing, unless it makes the header malformed', () => {
    fc.assert(
      fc.property(value, (text) => {
        const names = forwardedNames(`${text},By=proxy;URI=spiffe://a/settle`);
        expect([undefined, JSON.stringify([uri('spiffe://a/settle')])]).toContain(
          names && JSON.stringify(names),
        );
      }),
      { numRuns: 1_000 },
    );
  });

  test('any bytes are read or refused, in time proportional to their number', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
        const names = forwardedNames(Buffer.from(bytes).toString('latin1'));
        for (const name of names ?? []) expect(name.value).toMatch(/^[^\p{Cc}]+$/u);
      }),
    );
    for (const part of [
      'URI=',
      'URI="',
      'a=,',
      'a="\\',
      'URI=a;',
      ' ',
      'URI= ',
      'URI="a" ',
      '\\"',
    ]) {
      const start = performance.now();
      forwardedNames(part.repeat(200_000 / part.length));
      forwardedNames(`URI=${part.repeat(200_000 / part.length)}`);
      expect(performance.now() - start).toBeLessThan(20_000);
    }
  });
});
