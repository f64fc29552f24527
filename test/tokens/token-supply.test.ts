import { inspect } from 'node:util';
import { describe, expect, test } from '@jest/globals';
import { createSuppliedToken, readDemand } from '../../src/tokens/token-supply.js';

test('a supplied token shows when it ends, and nothing else', () => {
  const token = createSuppliedToken('canary', 1_700_000_000_000);
  expect(inspect(token)).toBe('{ expiresAt: 1700000000000 }');
});

describe('a demand', () => {
  const read = (demand: object): unknown => readDemand(demand, (mistake) => new Error(mistake));

  test.each<[object, object]>([
    [{}, { minTtlMs: 0, force: false, patient: false }],
    [
      { minTtlSeconds: undefined, force: undefined },
      { minTtlMs: 0, force: false, patient: false },
    ],
    [{ minTtlSeconds: 0 }, { minTtlMs: 0, force: false, patient: false }],
    [{ minTtlSeconds: 90 }, { minTtlMs: 90_000, force: false, patient: false }],
    [{ minTtlSeconds: 0.0016 }, { minTtlMs: 2, force: false, patient: false }],
    [{ force: true }, { minTtlMs: 0, force: true, patient: false }],
    [
      { force: true, patient: true },
      { minTtlMs: 0, force: true, patient: true },
    ],
  ])('%j', (demand, expected) => {
    expect(read(demand)).toEqual(expected);
  });

  const seconds = '"minTtlSeconds" must be a number of seconds from 0.';
  test.each<[object, string]>([
    [{ minTtlSeconds: -1 }, seconds],
    [{ minTtlSeconds: Number.NaN }, seconds],
    [{ minTtlSeconds: Number.POSITIVE_INFINITY }, seconds],
    [{ minTtlSeconds: '60' }, seconds],
    [{ minTtlSeconds: null }, seconds],
    [{ minTtlMs: 60_000 }, '"minTtlMs" is now "minTtlSeconds", in seconds.'],
    [{ force: 'false' }, '"force" must be true or false.'],
    [{ force: true, patient: 1 }, '"patient" must be true or false.'],
  ])('%j is refused', (demand, mistake) => {
    expect(() => read(demand)).toThrow(new Error(mistake));
  });
});
