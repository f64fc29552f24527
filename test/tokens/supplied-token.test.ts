import { inspect } from 'node:util';
import { expect, test } from '@jest/globals';
import { createSuppliedToken } from '../../src/tokens/token-supply.js';

test('a supplied token is there to be sent, and shows itself nowhere', () => {
  const token = createSuppliedToken('canary.canary.canary', 1_700_000_000_000);
  expect(token.accessToken).toBe('canary.canary.canary');
  expect(token.expiresAt).toBe(1_700_000_000_000);
  for (const shown of [
    JSON.stringify(token),
    JSON.stringify({ ...token }),
    JSON.stringify(structuredClone(token)),
    inspect(token),
    inspect({ token }, { showHidden: true, getters: true, depth: 9 }),
    inspect(Promise.resolve(token)),
  ]) {
    expect(shown).not.toContain('canary');
  }
  expect(Object.isFrozen(token)).toBe(true);
});
