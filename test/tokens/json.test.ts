import { describe, expect, test } from '@jest/globals';
import {
  decodeText,
  parseJsonObject,
  parsePastedJson,
  trimPasted,
  parseStrictJson,
} from '../../src/tokens/json.js';
import { character, fc } from '../support/properties.js';

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
      fc.property(fc.string({ unit: character }), (text) => {
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

describe('refused', () => {
  test.each([
    ['a member twice', '{"a":1,"a":2}', 'twice'],
    ['twice with the same value', '{"a":1,"a":1}', 'twice'],
    ['twice, one escaped', String.raw`{"iss":"x","\u0069ss":"y"}`, 'twice'],
    ['twice, deep inside', '{"a":[{"b":{"c":1,"d":2,"c":3}}]}', 'twice'],
    ['twice, the empty name', '{"":1,"":2}', 'twice'],
    ['three times', '{"a":{},"a":{"b":1},"a":[]}', 'twice'],
    ['__proto__', '{"__proto__":{"admin":true}}', '__proto__'],
    ['__proto__ escaped', String.raw`{"\u005f_proto__":1}`, '__proto__'],
    ['__proto__ in a list', '[{"a":[{"__proto__":null}]}]', '__proto__'],
    ['nested lists', `${'['.repeat(5)}${']'.repeat(5)}`, 'deeply'],
    ['nested objects', '{"a":{"a":{"a":{"a":{}}}}}', 'deeply'],
    ['never closed', '['.repeat(10_000), 'deeply'],
    ['empty', '', 'not JSON'],
    ['a trailing comma', '{"a":1,}', 'not JSON'],
    ['text after the end', '{"a":1}x', 'not JSON'],
    ['two values', '{"a":1}{"b":2}', 'not JSON'],
    ['a byte-order mark', '\u{feff}{"a":1}', 'not JSON'],
    ['a comment', '{"a":1/*:*/}', 'not JSON'],
    ['an open string', '{"a', 'not JSON'],
    ['an open escape', '{"a\\', 'not JSON'],
    ['NaN', '{"a":NaN}', 'not JSON'],
    ['a control character in a string', '"\n"', 'not JSON'],
  ])('%s', (_, text, fault) => {
    const result = parseStrictJson(text, 4);
    expect(result).toEqual({ ok: false, fault: expect.stringContaining(fault) });
  });

  test('says nothing of the text', () => {
    const result = parseStrictJson('{"canary": oops', 4);
    expect(JSON.stringify(result)).not.toContain('canary');
  });
});

describe('accepted', () => {
  test.each([
    ['colons and brackets in strings', '{"a:b":"{[:]}","c":"\\":{\\\\"}'],
    ['the same name in different objects', '{"a":{"a":1},"b":[{"a":2},{"a":3}]}'],
    ['names that objects inherit', '{"constructor":1,"toString":2,"hasOwnProperty":3}'],
    ['numbers as names', '{"1":1,"0":0,"-1":2}'],
    ['exactly the depth', '[[[[1]]]]'],
    ['white space', ' {\n"a" :\t1 } '],
  ])('%s', (_, text) => {
    expect(parseStrictJson(text, 4)).toEqual({ ok: true, value: JSON.parse(text) as unknown });
  });

  test('every value that was written by the platform', () => {
    fc.assert(
      fc.property(fc.jsonValue({ maxDepth: 6 }), (value) => {
        const text = JSON.stringify(value);
        const hasProto = text.includes('"__proto__":');
        const result = parseStrictJson(text, 16);
        if (!hasProto) expect(result).toEqual({ ok: true, value: JSON.parse(text) });
      }),
    );
  });

  test('never a text with a member written once more', () => {
    const name = fc.string().filter((text) => text !== '__proto__');
    fc.assert(
      fc.property(fc.dictionary(name, fc.jsonValue(), { minKeys: 1 }), fc.nat(), (object, pick) => {
        const names = Object.keys(object);
        const again = JSON.stringify(names[pick % names.length]);
        const text = `${JSON.stringify(object).slice(0, -1)},${again}:0}`;
        expect(parseStrictJson(text, 64).ok).toBe(false);
      }),
    );
  });
});

describe('parseJsonObject', () => {
  const invalid = (fault: string): Error => new Error(fault);

  test('gives the object, whatever was pasted around it', () => {
    expect(parseJsonObject('\ufeff {"a": [1]}\n', invalid)).toEqual({ a: [1] });
  });

  test.each([
    ['{"secret": ', 'it is not JSON'],
    ['', 'it is not JSON'],
    ['[1]', 'it is not a JSON object'],
    ['null', 'it is not a JSON object'],
    ['"text"', 'it is not a JSON object'],
  ])('%j: %s, and nothing of the text is kept', (text, fault) => {
    let thrown: unknown;
    try {
      parseJsonObject(text, invalid);
    } catch (error) {
      thrown = error;
    }
    expect(thrown).toEqual(new Error(fault));
    expect((thrown as Error).cause).toBeUndefined();
  });
});
