import { describe, expect, test } from '@jest/globals';
import { decodeText, parsePastedJson, trimPasted } from '../../src/tokens/json.js';
import { fc } from '../support/properties.js';

describe('what is pasted', () => {
  test.each([
    ['a\n', 'a'],
    ['a\r\n', 'a'],
    ['\ufeffa', 'a'],
    ['\ufeff \ta\u00a0\u200b', 'a'],
    ['\u2060a b\u200d\n\n', 'a b'],
    ['a\n b', 'a\n b'],
    ['', ''],
    [' \ufeff\n', ''],
  ])('%j is %j', (text, trimmed) => {
    expect(trimPasted(text)).toBe(trimmed);
  });

  test('loses nothing but its ends, and is trimmed once and for all', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (text) => {
        const trimmed = trimPasted(text);
        expect(text).toContain(trimmed);
        expect(trimPasted(`\ufeff${trimmed}\r\n`)).toBe(trimmed);
      }),
    );
  });

  test('is trimmed in linear time', () => {
    const text = `a${' '.repeat(1_000_000)}b`;
    const startedAt = performance.now();
    expect(trimPasted(text)).toBe(text);
    // An expression that backtracks would need minutes.
    expect(performance.now() - startedAt).toBeLessThan(5_000);
  });

  test.each(['{"a":1}', '\ufeff{"a":1}', '{"a":1}\r\n', '\ufeff\n {"a":1} \n'])(
    'JSON: %j',
    (text) => {
      expect(parsePastedJson(text)).toEqual({ a: 1 });
    },
  );
});

describe('bytes', () => {
  test.each([
    ['UTF-8', Buffer.from('ü'), 'ü'],
    ['UTF-8 with a mark', Buffer.from('\ufeffü'), '\ufeffü'],
    ['UTF-16, little endian', Buffer.from('\ufeffü', 'utf16le'), '\ufeffü'],
    ['UTF-16, big endian', Buffer.from('\ufeffü', 'utf16le').swap16(), '\ufeffü'],
    ['nothing', Buffer.alloc(0), ''],
    ['Latin-1', Buffer.from('ü', 'latin1'), undefined],
    ['half of a character', Buffer.from([0xff, 0xfe, 0x41]), undefined],
  ])('of %s', (_what, bytes, text) => {
    expect(decodeText(bytes)).toBe(text);
  });
});
