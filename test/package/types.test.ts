import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from '@jest/globals';
import { complaintsAbout, expectedErrors } from '../support/compiler.js';

// Both here, because reading the libraries takes the compiler longer than what it is asked.
describe.each([
  ['guard', '../guard/types/narrowing.ts'],
  ['guard without NestJS', '../guard/types/without-nest.ts'],
  ['client', '../client/attachment/types/usage.ts'],
])('the types of the %s', (_whose, path) => {
  const file = fileURLToPath(new URL(path, import.meta.url));
  const text = readFileSync(file, 'utf8');

  test('what must compile does, and what must not does not', () => {
    expect(complaintsAbout(file, text)).toEqual([]);
  });

  test('each expected error is one that the compiler sees', () => {
    const { expected, seen } = expectedErrors(file, text);
    expect(expected).toBeGreaterThan(0);
    expect(seen).toBe(expected);
  });
});
