import { describe, expect, test } from '@jest/globals';
import {
  DECIDES_ACCESS_ITSELF,
  isLoopbackHost,
  isTemporaryStatus,
  lostBody,
  readBoundedBody,
  retryAfterOf,
} from '../../src/tokens/http.js';

describe('a body', () => {
  const tooLarge = (): Error => new Error('too large');
  /** A response whose body comes in parts, and what became of it. */
  function inParts(...parts: string[]): {
    response: Response;
    taken: () => number;
    isEnded: () => boolean;
  } {
    let taken = 0;
    let isEnded = false;
    const body = new ReadableStream<Uint8Array>(
      {
        pull(controller) {
          const part = parts[taken];
          if (part === undefined) return controller.close();
          taken += 1;
          controller.enqueue(new TextEncoder().encode(part));
        },
        cancel() {
          isEnded = true;
        },
      },
      { highWaterMark: 0 },
    );
    return { response: new Response(body), taken: () => taken, isEnded: () => isEnded };
  }

  test('of just the size is read whole', async () => {
    const { response } = inParts('ab', 'cd', 'e');
    expect(String(await readBoundedBody(response, 5, tooLarge))).toBe('abcde');
    expect(String(await readBoundedBody(new Response('ü'), 2, tooLarge))).toBe('ü');
  });

  test('that is none is empty', async () => {
    for (const body of [null, '']) {
      expect(await readBoundedBody(new Response(body), 0, tooLarge)).toHaveLength(0);
    }
  });

  test('that is larger is refused, and its rest is not read', async () => {
    const { response, taken, isEnded } = inParts('ab', 'cd', 'ef', 'gh');
    await expect(readBoundedBody(response, 3, tooLarge)).rejects.toThrow('too large');
    expect([taken(), isEnded()]).toEqual([2, true]);
  });
});

test.each<[string, 'empty' | 'cut short' | undefined]>([
  ['', 'empty'],
  [' \r\n', 'empty'],
  ['\ufeff', 'empty'],
  ['null', 'empty'],
  ['\ufeff null\n', 'empty'],
  ['nullable', undefined],
  ['x', undefined],
  ['<html>{', undefined],
  ['"text', undefined],
  ['{}', undefined],
  [' [] ', undefined],
  ['{"a":[1,{"b":2}]}', undefined],
  ['{"a":"}"}', undefined],
  ['{"a":"{"}', undefined],
  ['{"a":"["}', undefined],
  [String.raw`{"a":"\"{","b":"\\"}`, undefined],
  ['{"a":""}', undefined],
  ['{"a":"line\n\\\nend"}', undefined],
  // Not cut short, though no JSON.
  ['{"a":1}}', undefined],
  ['[1]]', undefined],
  ['{a:oops}', undefined],
  ['{', 'cut short'],
  ['[', 'cut short'],
  ['{"a":1', 'cut short'],
  ['[1,[2]', 'cut short'],
  ['[{"a":[1]}', 'cut short'],
  ['{"a":{"b":1}', 'cut short'],
  ['{"a', 'cut short'],
  ['["a', 'cut short'],
  ['{"a":"b}', 'cut short'],
  ['{"a":"}', 'cut short'],
  ['{"', 'cut short'],
  [String.raw`{"a":"\"}`, 'cut short'],
  // The end of a text that stops within an escape.
  ['{"a":"b\\', 'cut short'],
  // The text is what is cut, whatever closed before it.
  ['{}"a', 'cut short'],
])('the body %j is %s', (text, expected) => {
  expect(lostBody(text)).toBe(expected);
});

test.each([
  ['localhost', true],
  ['127.0.0.1', true],
  ['127.255.10.200', true],
  ['::1', true],
  ['[::1]', true],
  ['', false],
  ['localhost.example.com', false],
  ['my-localhost', false],
  ['127.0.0.1.example.com', false],
  ['x127.0.0.1', false],
  ['1.127.0.0.1', false],
  ['127.0.0', false],
  ['127.0.0.0.1', false],
  ['127.0.0.1000', false],
  ['127.a.b.c', false],
  ['127001', false],
  ['128.0.0.1', false],
  ['10.0.0.1', false],
  ['0.0.0.0', false],
  ['[::]', false],
  ['::2', false],
  ['broker', false],
])('secrets may go to %j by plain HTTP: %s', (host, allowed) => {
  expect(isLoopbackHost(host)).toBe(allowed);
});

test.each([
  [408, true],
  [425, true],
  [429, true],
  [500, true],
  [501, true],
  [503, true],
  [599, true],
  [200, false],
  [400, false],
  [401, false],
  [403, false],
  [407, false],
  [409, false],
  [424, false],
  [426, false],
  [428, false],
  [430, false],
  [499, false],
])('the same request may succeed after a status %d: %s', (status, expected) => {
  expect(isTemporaryStatus(status)).toBe(expected);
});

describe('when to ask again', () => {
  const NOW = Date.parse('2026-11-22T12:00:00.250Z');
  const HOUR_LATER = 'Sun, 22 Nov 2026 13:00:00 GMT';
  const asked = (header: string, date?: string): number | undefined =>
    retryAfterOf(new Headers({ 'retry-after': header, ...(date && { date }) }), NOW);

  test.each([
    ['seconds', '120', HOUR_LATER, 120],
    ['no seconds', '0', HOUR_LATER, 0],
    ['a date by their clock', 'Sun, 22 Nov 2026 13:00:30 GMT', HOUR_LATER, 30],
    ['a date that is past there, and not here', 'Sun, 22 Nov 2026 12:00:10 GMT', HOUR_LATER, 10],
    ['a date that is past everywhere', 'Sun, 22 Nov 2026 11:00:10 GMT', HOUR_LATER, 0],
    ['a date, with a Date that is none', 'Sun, 22 Nov 2026 12:00:10 GMT', 'soon', 10],
    ['what is no date', 'soon', HOUR_LATER, undefined],
  ])('%s', (_what, header, date, expected) => {
    expect(asked(header, date)).toBe(expected);
  });

  test.each([
    ['Sun Nov 22 12:00:10 2026', 10],
    ['Sun, 22 Nov 2026 07:00:10 EST', 10],
    ['Sun, 22 Nov 2026 13:00:10 +0100', 10],
    ['Sun, 22 Nov 2026 11:00:10-0100', 10],
    ['on Sun, 22 Nov 2026 12:00:10 GMT', undefined],
    ['Sun, 22 Nov 2026 9:00:10 GMT', undefined],
    ['Sun, 22 Nov 2026 12:00:1 GMT', undefined],
    ['Sun, 22 Nov 2026 12:0:10 GMT', undefined],
  ])('the date %s', (header, expected) => {
    expect(asked(header)).toBe(expected);
  });
});

test('every copy of the package marks its own controllers alike', () => {
  expect(Symbol.keyFor(DECIDES_ACCESS_ITSELF)).toMatch(/^service-token-broker\//);
});
