import { expect, test } from '@jest/globals';
import { oneLine } from '../../src/tokens/errors.js';

test.each([
  ['a b  c', 'a b  c'],
  ['a \n  - b', 'a  - b'],
  ['a\r\n\r\nb', 'a b'],
  ['a\u2028b\u2029 c', 'a b c'],
  ['a\u0000\u001b[2Kb\u0085', 'a [2Kb '],
])('%j', (text, line) => {
  expect(oneLine(text)).toBe(line);
});

test('takes no longer for much white space', () => {
  const text = `${' '.repeat(100_000)}x`;
  expect(oneLine(text)).toBe(text);
});
