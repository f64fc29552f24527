import { describe, expect, test } from '@jest/globals';
import { fc } from '../support/properties.js';
import { safeText } from '../../src/provider/provider-http.js';

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
