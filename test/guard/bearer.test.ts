import { describe, expect, test } from '@jest/globals';
import { fc } from '../support/properties.js';
import {
  headerValues,
  authorizationOfRequest,
  readBearer,
} from '../../src/guard/call-credentials.js';

describe('readBearer', () => {
  test.each([
    ['Bearer abc.def-_~+/==', 'abc.def-_~+/=='],
    ['bearer abc', 'abc'],
    ['BEARER abc', 'abc'],
    ['Bearer    abc', 'abc'],
  ])('%j is a token', (value, token) => {
    expect(readBearer([value])).toEqual({ kind: 'token', token });
  });

  test.each([
    [[]],
    [['Basic YWRtaW46YWRtaW4=']],
    [['Bearerabc']],
    [['Bearer2 abc']],
    [['DPoP abc']],
    [['abc']],
    [[' Bearer abc']],
  ])('%j is none', (values) => {
    expect(readBearer(values)).toEqual({ kind: 'none' });
  });

  test.each([
    [['Bearer']],
    [['Bearer ']],
    [['Bearer a b']],
    [['Bearer a,b']],
    [['Bearer a, Bearer b']],
    [['Bearer a=b']],
    [['Bearer\ta']],
    [['Bearer a\t']],
    [['Bearer "a"']],
    [['Bearer é']],
    [['Bearer: a']],
    [['Bearer a', 'Bearer a']],
    [['Basic a', 'Bearer a']],
    [[7]],
    [[{ toString: () => 'Bearer a' }]],
  ])('%j is malformed', (values) => {
    expect(readBearer(values)).toEqual({ kind: 'malformed' });
  });

  test('whatever is taken is a b64token', () => {
    const values = fc.oneof(
      fc.string({ unit: 'binary' }),
      fc.string().map((text) => `Bearer ${text}`),
      fc.stringMatching(/^[Bb]earer {0,3}[\w.~+/= ,-]{0,40}$/),
    );
    fc.assert(
      fc.property(values, (value) => {
        const read = readBearer([value]);
        if (read.kind === 'token') expect(read.token).toMatch(/^[\w.~+/-]+=*$/);
        expect(read.kind === 'token').toBe(/^bearer +[A-Za-z0-9._~+/-]+=*$/i.test(value));
      }),
    );
  });

  test('takes time in proportion to the length', () => {
    const started = process.cpuUsage().user;
    readBearer([`Bearer ${'='.repeat(1_000_000)}`]);
    readBearer([`Bearer ${' '.repeat(1_000_000)}`]);
    readBearer([`Bearer ${'a'.repeat(1_000_000)} `]);
    // Quadratic work would take minutes.
    expect(process.cpuUsage().user - started).toBeLessThan(5_000_000);
  });
});

describe('authorizationOfRequest', () => {
  const headers = { authorization: 'Bearer first' };

  test.each<[string, unknown, readonly unknown[]]>([
    ['nothing', undefined, []],
    ['no request', 'text', []],
    ['no headers', {}, []],
    ['Node', { headers, rawHeaders: ['Authorization', 'Bearer first'] }, ['Bearer first']],
    [
      'Node, twice',
      { headers, rawHeaders: ['Authorization', 'Bearer first', 'AUTHORIZATION', 'Bearer second'] },
      ['Bearer first', 'Bearer second'],
    ],
    [
      'Fastify, twice',
      { headers, raw: { headers, rawHeaders: ['authorization', 'a', 'authorization', 'b'] } },
      ['a', 'b'],
    ],
    [
      'a header’s value that looks like its name',
      { headers: {}, rawHeaders: ['X', 'authorization'] },
      [],
    ],
    ['an adapter without raw headers', { headers, rawHeaders: [] }, ['Bearer first']],
    ['an adapter that keeps the case', { headers: { Authorization: 'Bearer a' } }, ['Bearer a']],
    [
      'an adapter with two spellings',
      { headers: { Authorization: 'Bearer a', authorization: 'Bearer b' } },
      ['Bearer a', 'Bearer b'],
    ],
    ['a list', { headers: { authorization: ['a', 'b'] } }, ['a', 'b']],
    ['the Fetch API', new Request('http://a.example', { headers }), ['Bearer first']],
    ['query and body', { headers: {}, query: headers, body: headers, url: '/?access_token=a' }, []],
  ])('%s', (_, request, values) => {
    expect(authorizationOfRequest(request)).toEqual(values);
  });

  test('two headers of the Fetch API arrive as one value that is malformed', () => {
    const both = new Headers([
      ['authorization', 'Bearer a'],
      ['authorization', 'Bearer b'],
    ]);
    expect(readBearer(headerValues(both, 'authorization'))).toEqual({ kind: 'malformed' });
  });

  test('the name may be inherited from nowhere', () => {
    expect(headerValues(Object.create({ authorization: 'Bearer a' }), 'authorization')).toEqual([]);
  });
});
