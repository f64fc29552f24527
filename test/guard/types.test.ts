import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from '@jest/globals';
import { complaintsAbout, expectedErrors } from '../support/compiler.js';

const file = fileURLToPath(new URL('./types/narrowing.ts', import.meta.url));

describe('the types of the guard', () => {
  const text = readFileSync(file, 'utf8');

  test('what must compile does, and what must not does not', () => {
    expect(complaintsAbout(file, text)).toEqual([]);
  });

  test('each expected error is one that the compiler sees', () => {
    const { expected, seen } = expectedErrors(file, text);
    expect(seen).toBe(expected);
  });
});
