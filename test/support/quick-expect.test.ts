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

  test.each([
    ['toBe', () => expect(1).toBe(1)],
    ['not.toBe', () => expect(1).not.toBe(2)],
    ['toEqual', () => expect({ a: [1] }).toEqual({ a: [expect.any(Number)] })],
    ['toMatchObject', () => expect({ a: 1, b: 2 }).toMatchObject({ a: 1 })],
    ['toContain', () => expect('abc').toContain('b')],
    ['toHaveLength', () => expect([1, 2]).toHaveLength(2)],
    ['toMatch', () => expect('abc').not.toMatch(/d/)],
  ])('counts what passes: %s', (_, pass) => {
    expect.assertions(1);
    pass();
  });

  test.each([
    ['toMatchObject', () => expect({ a: 1 }).toMatchObject({ a: 2 }), /Expected {2}- 1/],
    ['toContain', () => expect('abc').toContain('d'), /Expected substring/],
    ['toHaveLength', () => expect([1]).toHaveLength(2), /Expected length/],
    ['a value that cannot match', () => expect(5).toMatch('5'), /must be a string/],
  ])('fails with what jest says, also where it looks first: %s', (_, fail, said) => {
    expect(fail).toThrow(said);
  });

  test('fails for what can be looked at only once, as a generator', () => {
    function* values(): Generator<number> {
      yield 1;
    }
    const none = values();
    none.next();
    expect(() => expect(values()).toEqual(none)).toThrow('looked at again');
  });

  test('leaves alone how many frames an error has', () => {
    const before = Error.stackTraceLimit;
    expect(() => expect(1).toBe(2)).toThrow('Expected: ');
    expect(Error.stackTraceLimit).toBe(before);
  });
});
