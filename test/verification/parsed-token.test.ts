import { describe, expect, test } from '@jest/globals';
import { isCanonicalBase64url, parseToken } from '../../src/verification/parsed-token.js';
import { TokenRejectedError } from '../../src/verification/verification-errors.js';
import { fc } from '../support/properties.js';

const encode = (value: unknown): string =>
  Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)).toString('base64url');
const GOOD_HEADER = { alg: 'ES256', kid: 'k1', typ: 'JWT' };
const GOOD_CLAIMS = { iss: 'https://issuer.example/', sub: 'a', exp: 2_000_000_000 };
const make = (header: unknown = GOOD_HEADER, claims: unknown = GOOD_CLAIMS): string =>
  `${encode(header)}.${encode(claims)}.AAAA`;

function refusal(token: unknown, maxLength?: number): TokenRejectedError {
  try {
    parseToken(token, maxLength);
  } catch (error) {
    if (error instanceof TokenRejectedError) return error;
    throw error;
  }
  throw new Error('The token was accepted.');
}

test('reads header and claims', () => {
  const token = make({ ...GOOD_HEADER, typ: 'application/AT+JWT', x5t: 'thumb' });
  const parsed = parseToken(token);
  expect(parsed.header).toEqual({ alg: 'ES256', kid: 'k1', typ: 'at+jwt' });
  expect(parsed.claims).toEqual({
    iss: 'https://issuer.example/',
    exp: 2_000_000_000,
    nbf: undefined,
    iat: undefined,
    aud: undefined,
  });
  expect(parsed.payload).toEqual(GOOD_CLAIMS);
  expect(`${parsed.signingInput}.${parsed.signature}`).toBe(token);
});

test('an audience becomes a list', () => {
  expect(parseToken(make(GOOD_HEADER, { ...GOOD_CLAIMS, aud: 'one' })).claims.aud).toEqual(['one']);
  const two = { ...GOOD_CLAIMS, aud: ['one', 'two'] };
  expect(parseToken(make(GOOD_HEADER, two)).claims.aud).toEqual(['one', 'two']);
});

test('the length is bounded exactly', () => {
  const token = make();
  expect(parseToken(token, token.length).header.alg).toBe('ES256');
  expect(refusal(token, token.length - 1).code).toBe('TOKEN_MALFORMED');
});

describe('header', () => {
  test.each<[string, object, string]>([
    ['no alg', { kid: 'k' }, 'TOKEN_HEADER_REFUSED'],
    ['alg a number', { alg: 256 }, 'TOKEN_HEADER_REFUSED'],
    ['alg a list', { alg: ['ES256'] }, 'TOKEN_HEADER_REFUSED'],
    ['kid a number', { alg: 'ES256', kid: 1 }, 'TOKEN_HEADER_REFUSED'],
    ['kid null', { alg: 'ES256', kid: null }, 'TOKEN_HEADER_REFUSED'],
    ['kid empty', { alg: 'ES256', kid: '' }, 'TOKEN_HEADER_REFUSED'],
    ['kid too long', { alg: 'ES256', kid: 'k'.repeat(257) }, 'TOKEN_HEADER_REFUSED'],
    ['typ a number', { alg: 'ES256', typ: 1 }, 'TOKEN_TYPE_WRONG'],
    ['typ null', { alg: 'ES256', typ: null }, 'TOKEN_TYPE_WRONG'],
    ['typ of a logout token', { alg: 'ES256', typ: 'logout+jwt' }, 'TOKEN_TYPE_WRONG'],
    ['typ of a proof', { alg: 'ES256', typ: 'dpop+jwt' }, 'TOKEN_TYPE_WRONG'],
    ['another media type', { alg: 'ES256', typ: 'text/jwt' }, 'TOKEN_TYPE_WRONG'],
    ...(['jwk', 'jku', 'x5u', 'x5c', 'crit', 'b64'] as const).map(
      (name): [string, object, string] => [
        name,
        { alg: 'ES256', [name]: null },
        'TOKEN_HEADER_REFUSED',
      ],
    ),
  ])('%s', (_, header, code) => {
    expect(refusal(make(header)).code).toBe(code);
  });

  test.each(['JWT', 'jwt', 'at+jwt', 'AT+JWT', 'application/jwt', 'Application/at+JWT'])(
    'typ %s is accepted',
    (typ) => {
      expect(parseToken(make({ alg: 'ES256', typ })).header.typ).toMatch(/^(at\+)?jwt$/);
    },
  );
});

describe('claims', () => {
  test.each<[string, object]>([
    ['no iss', { iss: undefined }],
    ['iss a list', { iss: ['https://issuer.example/'] }],
    ['iss empty', { iss: '' }],
    ['no exp', { exp: undefined }],
    ['exp null', { exp: null }],
    ['exp a string', { exp: '2000000000' }],
    ['exp negative', { exp: -1 }],
    ['exp a fraction under zero', { exp: -0.5 }],
    ['exp a fraction too far', { exp: 253_402_300_799.5 }],
    ['iss null', { iss: null }],
    ['exp beyond the year 9999', { exp: 253_402_300_800 }],
    ['nbf a string', { nbf: '0' }],
    ['iat true', { iat: true }],
    ['sub a number', { sub: 1 }],
    ['sub a list', { sub: ['a'] }],
    ['sub empty', { sub: '' }],
    ['azp a list', { azp: ['a'] }],
    ['client_id an object', { client_id: {} }],
    ['jti a number', { jti: 1 }],
    ['aud a number', { aud: 1 }],
    ['aud empty', { aud: '' }],
    ['aud with null in it', { aud: ['ours', null] }],
    ['aud with a number in it', { aud: ['ours', 1] }],
    ['aud a nested list', { aud: [['ours']] }],
    ['aud an object', { aud: { 0: 'ours' } }],
  ])('%s', (_, change) => {
    const error = refusal(make(GOOD_HEADER, { ...GOOD_CLAIMS, ...change }));
    expect(error.code).toBe('TOKEN_CLAIM_INVALID');
  });

  test.each<[string, object, object]>([
    ['dates with fractions', { exp: 2.5, nbf: 1.25, iat: 0.5 }, { exp: 2.5, nbf: 1.25, iat: 0.5 }],
    ['dates that are null', { nbf: null, iat: null }, { nbf: undefined, iat: undefined }],
    ['no audience, as an empty list', { aud: [] }, { aud: undefined }],
    ['no audience, as null', { aud: null }, { aud: undefined }],
    ['names that are null', { sub: null, azp: null, client_id: null, cid: null, jti: null }, {}],
  ])('are read: %s', (_, change, read) => {
    const { claims, payload } = parseToken(make(GOOD_HEADER, { ...GOOD_CLAIMS, ...change }));
    expect(claims).toMatchObject(read);
    // All claims are handed on as they came.
    expect(payload).toMatchObject(change);
  });

  test('an infinite date, which is valid JSON', () => {
    const text = '{"iss":"https://issuer.example/","exp":1e400}';
    expect(refusal(make(GOOD_HEADER, text)).code).toBe('TOKEN_CLAIM_INVALID');
  });
});

describe('what is wrong is said, without the value', () => {
  const claim = "The token's claims are refused:";
  const header = "The token's header is refused:";
  test.each<[object, object, string]>([
    [{ alg: '' }, {}, `${header} "alg" must be a non-empty string.`],
    [{ kid: 'k'.repeat(257) }, {}, `${header} "kid" must be a string of 1 to 256 characters.`],
    [{ jku: 1 }, {}, `${header} it has the member "jku", which an access token has no use for.`],
    [
      { typ: 'logout+jwt' },
      {},
      'This is not an access token: the header\'s "typ" must be "JWT" or "at+jwt", or absent.',
    ],
    [{}, { iss: '' }, `${claim} "iss" must be a non-empty string.`],
    [{}, { appid: 1 }, `${claim} "appid" must be a non-empty string.`],
    [{}, { cid: '' }, `${claim} "cid" must be a non-empty string.`],
    [{}, { exp: undefined }, `${claim} "exp" is missing: a token without an end is not accepted.`],
    [{}, { nbf: -1 }, `${claim} "nbf" must be a number of seconds from 0 to 253402300799.`],
    [{}, { aud: [''] }, `${claim} "aud" must be a non-empty string or a list of them.`],
  ])('%j %j', (headerChange, change, message) => {
    const token = make({ ...GOOD_HEADER, ...headerChange }, { ...GOOD_CLAIMS, ...change });
    expect(refusal(token).message).toBe(message);
  });
});

test('the longest key id, and the first and the last date, are accepted', () => {
  const kid = 'k'.repeat(256);
  const dates = { exp: 253_402_300_799, nbf: 0, iat: 0 };
  const { header, claims } = parseToken(make({ alg: 'ES256', kid }, { ...GOOD_CLAIMS, ...dates }));
  expect(header.kid).toBe(kid);
  expect(claims).toMatchObject(dates);
  expect(parseToken(make(GOOD_HEADER, { ...GOOD_CLAIMS, exp: 0 })).claims.exp).toBe(0);
});

test.each([
  ['', true],
  ['A', false],
  ['AA', true],
  ['AB', false],
  ['AE', false],
  ['BA', true],
  ['AAA', true],
  ['AAB', false],
  ['BBE', true],
  ['AAAA', true],
  ['AAAB', true],
  ['AAAAA', false],
  ['AAAAAB', false],
  ['AAAAAAB', false],
])('%j is the only encoding of its bytes: %p', (text, isOnly) => {
  expect(isCanonicalBase64url(text)).toBe(isOnly);
});

describe('encoding', () => {
  const token = make();
  test.each<[string, unknown, string]>([
    ['not a string', { toString: () => token }, 'not a string'],
    ['undefined', undefined, 'not a string'],
    ['empty', '', 'no dots'],
    ['opaque', 'a1b2c3', 'no dots'],
    ['two parts', 'a.b', '2 parts'],
    ['five parts', `${token}.AAAA.AAAA`, 'JWE'],
    ['no signature', token.slice(0, -4), 'no signature'],
    ['an empty header', `.${token.split('.', 2)[1]}.AAAA`, 'empty part'],
    ['padding', `${token}=`, 'it is base64 where base64url'],
    ['plus', `${token}+AAA`, 'it is base64 where base64url'],
    ['slash', `${token}/AAA`, 'it is base64 where base64url'],
    ['a line break at the end', `${token}\n`, 'white space'],
    ['a space before', ` ${token}`, 'white space'],
    ['a NUL at the end', `${token}\0`, 'not base64url'],
    ['a letter that is not ASCII', `${token}é`, 'not base64url'],
    ['a full-width letter', `${token}Ａ`, 'not base64url'],
    ['an impossible length', `${token}A`, 'signature is not canonical'],
    ['stray bits', `${token.slice(0, -4)}AAB`, 'signature is not canonical'],
    [
      'stray bits in the header',
      `${encode('{}').slice(0, -1)}1.AAAA.AAAA`,
      'header is not canonical',
    ],
    [
      'stray bits in the payload',
      `${encode(GOOD_HEADER)}.${encode('{}').slice(0, -1)}1.AAAA`,
      'payload is not canonical',
    ],
    ['a payload that is a list', make(GOOD_HEADER, '[]'), 'payload is not a JSON object'],
    ['a payload that is null', make(GOOD_HEADER, 'null'), 'payload is not a JSON object'],
    ['a byte-order mark', make(`\u{feff}${JSON.stringify(GOOD_HEADER)}`), 'not JSON'],
    [
      'bytes that are not UTF-8',
      `${encode(GOOD_HEADER)}.${Buffer.from([0x22, 0xc3, 0x28, 0x22]).toString('base64url')}.AAAA`,
      'not UTF-8',
    ],
    [
      'an overlong encoding',
      `${encode(GOOD_HEADER)}.${Buffer.from([0x22, 0xc0, 0xaf, 0x22]).toString('base64url')}.AAAA`,
      'not UTF-8',
    ],
  ])('%s', (_, value, words) => {
    const error = refusal(value);
    expect(error.code).toBe('TOKEN_MALFORMED');
    expect(error.message).toContain(words);
  });

  test('canonical means that the bytes encode to the same text', () => {
    const text = fc.stringMatching(/^[A-Za-z0-9_-]{1,12}$/);
    fc.assert(
      fc.property(text, (encoded) => {
        const again = Buffer.from(encoded, 'base64url').toString('base64url');
        expect(isCanonicalBase64url(encoded)).toBe(again === encoded);
      }),
      { numRuns: 2000 },
    );
  });
});

test('whatever comes is read or refused, and a refusal quotes nothing of it', () => {
  const part = fc.oneof(fc.string(), fc.json().map(encode), fc.base64String());
  const tokens = fc.oneof(
    fc.anything(),
    fc.tuple(part, part, part).map((parts) => parts.join('.')),
    fc
      .tuple(fc.jsonValue(), fc.jsonValue())
      .map(([header, payload]) => `${encode(header)}.${encode(payload)}.AAAA`),
  );
  fc.assert(
    fc.property(tokens, (token) => {
      try {
        parseToken(token);
      } catch (error) {
        expect(error).toBeInstanceOf(TokenRejectedError);
        expect((error as TokenRejectedError).cause).toBeUndefined();
      }
    }),
    { numRuns: 2000 },
  );
  expect(refusal(make('{"canary"')).message).not.toContain('canary');
});
