import { describe, expect, test } from '@jest/globals';
import { parseRetryAfter } from '../../src/tokens/retry-after.js';

const NOW = Date.parse('2026-11-22T12:00:00.250Z');

describe('parseRetryAfter', () => {
  test.each([
    [null, undefined],
    ['', undefined],
    ['0', 0],
    ['120', 120],
    [' 120 ', 120],
    ['99999999999', undefined],
    ['-1', undefined],
    ['1.5', undefined],
    ['1e3', undefined],
    ['soon', undefined],
    ['2026', 2026],
    ['Sun, 22 Nov 2026 12:00:10 GMT', 10],
    ['Sunday, 22-Nov-26 12:00:10 GMT', 10],
    ['Sun Nov 22 12:00:10 2026 GMT', 10],
    ['Sun, 22 Nov 2026 11:00:00 GMT', 0],
    ['Sun, 99 Nov 2026 11:00:00 GMT', undefined],
  ])('%j is %j seconds', (header, expected) => {
    expect(parseRetryAfter(header, NOW)).toBe(expected);
  });
});
