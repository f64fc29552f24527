import { expect } from '@jest/globals';
import { inspect } from 'node:util';
import { SecretStoreError } from '../../../src/secrets/secret-store.js';

/** Every planted secret contains this. */
export const CANARY = 'canary';

/** The error a call rejects with, after a search for canaries in everything that can be seen of it. */
export async function failureOf(call: Promise<unknown>): Promise<SecretStoreError> {
  const error = await call.then(
    () => 'the call succeeded',
    (reason: unknown) => reason,
  );
  expectNoCanary(error);
  expect(error).toBeInstanceOf(SecretStoreError);
  return error as SecretStoreError;
}

/** Hidden properties, stacks and causes included. */
export function expectNoCanary(error: unknown): void {
  for (let one: unknown = error; one instanceof Error; one = one.cause) {
    const seen = inspect(one, { depth: 20, showHidden: true, getters: true });
    expect(`${seen}\n${String(one.stack)}\n${JSON.stringify(one)}`.toLowerCase()).not.toContain(
      CANARY,
    );
  }
}
