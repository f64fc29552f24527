import { describe, expect, test } from '@jest/globals';

// The `expect` of these tests is the one that is tested, as in every other file.
describe('an expectation', () => {
  test.each([
    ['a matcher', () => expect(1).toBe(2), /toBe.*Expected: .*2.*Received: .*1/s],
    ['not', () => expect({ a: 1 }).not.toEqual({ a: 1 }), /not.*toEqual/s],
    ['what is thrown', () => expect(() => undefined).toThrow('x'), /toThrow.*did not throw/s],
    ['two values', () => (expect as (...values: unknown[]) => void)(1, 2), /at most one argument/],
  ])('fails with what jest says: %s', (_, fail, said) => {
    expect(fail).toThrow(said);
  });

  test.each([
    ['resolves', () => expect(Promise.resolve(1)).resolves.toBe(2), /resolves.*Expected: .*2/s],
    ['resolves.not', () => expect(Promise.resolve(1)).resolves.not.toBe(1), /resolves.*not/s],
    ['rejects', () => expect(Promise.resolve(1)).rejects.toThrow(), /resolved instead of rejected/],
    ['a rejection', () => expect(Promise.reject(1)).resolves.toBe(1), /rejected instead of reso/],
  ])('fails with what jest says of a promise: %s', async (_, fail, said) => {
    await expect(fail()).rejects.toThrow(said);
  });

  test('has every matcher, also those that a test brings, and no other', () => {
    const odd = (value: number): { pass: boolean; message: () => string } => ({
      pass: value % 2 === 1,
      message: () => `${value} is not odd`,
    });
    expect.extend({ toBeOdd: odd });
    const matchers = expect(2) as unknown as Record<string, () => void>;
    expect(() => matchers['toBeOdd']?.()).toThrow('2 is not odd');
    expect(matchers['toBeNothing']).toBeUndefined();
  });

  test('leaves alone how many frames an error has', () => {
    const before = Error.stackTraceLimit;
    expect(() => expect(1).toBe(2)).toThrow();
    expect(Error.stackTraceLimit).toBe(before);
  });
});
