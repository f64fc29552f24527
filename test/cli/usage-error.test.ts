import { expect, test } from '@jest/globals';
import { asksForJson } from '../../src/cli/program.js';

test.each([
  [['node', 'cli', '--json', 'status'], true],
  [['node', 'cli', 'status', '--json'], true],
  [['node', 'cli', 'verify', '--', '--json'], false],
  [['node', 'cli', 'status'], false],
])('%j asks for JSON: %s', (argv, expected) => {
  expect(asksForJson(argv)).toBe(expected);
});
