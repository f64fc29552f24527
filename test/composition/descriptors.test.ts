import { expect, test } from '@jest/globals';
import { decideConnectionLimit, descriptorLimit } from '../../src/composition/listener.js';

test.each([
  [undefined, undefined, 4_096, false],
  [undefined, 1_048_576, 4_096, false],
  [undefined, 1_024, 928, false],
  [undefined, 256, 160, false],
  [undefined, 64, 1, false],
  [10_000, 1_048_576, 10_000, false],
  [10_000, undefined, 10_000, false],
  [928, 1_024, 928, false],
  [929, 1_024, 928, true],
  [5, 64, 1, true],
])('asked for %s, of %s files: %i connections', (asked, limit, max, hasWarning) => {
  const decided = decideConnectionLimit(asked, limit);
  expect(decided.max).toBe(max);
  expect(decided.warning !== undefined).toBe(hasWarning);
  if (hasWarning) expect(decided.warning).toContain(`at least ${(asked ?? 0) + 96}`);
});

test("the process's own limit is read where there is /proc", () => {
  const limit = descriptorLimit();
  if (process.platform === 'linux') expect(limit).toBeGreaterThan(0);
  else expect(limit).toBeUndefined();
});
