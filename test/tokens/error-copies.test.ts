import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import { BrokerError, errorCode, notify } from '../../src/tokens/errors.js';
import { TokenSecretError } from '../../src/tokens/service-token.js';

/** The classes as another copy of the package in the same process has them. */
function otherCopy(mark = Symbol.for('service-token-broker/error/1')) {
  class BrokerError extends Error {
    readonly code = 'STORE_DOWN';
    static readonly [mark] = true;
  }
  class TokenSecretError extends BrokerError {}
  return { BrokerError, TokenSecretError };
}

describe('instanceof', () => {
  const other = otherCopy();
  const stranger = otherCopy(Symbol('of another package'));

  test('holds for what this copy throws', () => {
    const error = new TokenSecretError('TOKEN_SECRET_EMPTY', 'retry', 'There is none.');
    expect(error instanceof TokenSecretError).toBe(true);
    expect(error instanceof BrokerError).toBe(true);
    expect(new BrokerError('A', 'retry', 'a') instanceof TokenSecretError).toBe(false);
  });

  test('holds for what another copy throws, by the names of its classes', () => {
    expect(new other.TokenSecretError() instanceof BrokerError).toBe(true);
    expect(new other.TokenSecretError() instanceof TokenSecretError).toBe(true);
    expect(new other.BrokerError() instanceof BrokerError).toBe(true);
    expect(new other.BrokerError() instanceof TokenSecretError).toBe(false);
    expect(errorCode(new other.TokenSecretError())).toBe('STORE_DOWN');
  });

  test('is marked for every other copy', () => {
    expect(Reflect.get(BrokerError, Symbol.for('service-token-broker/error/1'))).toBe(true);
  });

  test.each<[string, unknown]>([
    ['a class of the same name', new stranger.TokenSecretError()],
    ['a common error', new Error('x')],
    ['a text', 'x'],
    ['a function', () => undefined],
    ['a class', BrokerError],
    ['null', null],
    ['nothing', undefined],
    ['an object without a class', Object.create(null)],
    ['an object whose class is none', { constructor: 'BrokerError' }],
  ])('does not hold for %s', (_what, value) => {
    expect(value instanceof BrokerError).toBe(false);
    expect(errorCode(value)).toBe('UNEXPECTED');
  });
});

test('an error has a cause only if there is one', () => {
  const cause = new Error('why');
  const error = new BrokerError('A', 'retry', 'a', { cause, retryAfterSeconds: 7 });
  expect(error).toMatchObject({ name: 'BrokerError', code: 'A', kind: 'retry', cause });
  expect(error.retryAfterSeconds).toBe(7);
  expect(Object.hasOwn(new BrokerError('A', 'retry', 'a'), 'cause')).toBe(false);
});

describe('an observer that fails', () => {
  let warn: jest.SpiedFunction<typeof process.emitWarning>;
  beforeEach(() => {
    warn = jest.spyOn(process, 'emitWarning').mockImplementation(() => undefined);
  });
  afterEach(() => warn.mockRestore());

  test('is told of by a warning, also when it fails later', async () => {
    const mistake = new Error('late');
    notify(() => Promise.reject(mistake));
    expect(warn).not.toHaveBeenCalled();
    await new Promise(setImmediate);
    const expected = { type: 'ObserverWarning', detail: mistake.stack };
    expect(warn.mock.calls).toEqual([['Error: late', expected]]);
  });

  test('with what is no error is told of without a detail', () => {
    const words: unknown = 'words';
    notify(() => {
      throw words;
    });
    expect(warn.mock.calls).toStrictEqual([['words', { type: 'ObserverWarning' }]]);
  });

  test('is left alone when it works', async () => {
    notify(() => 7);
    notify(() => Promise.resolve(7));
    await new Promise(setImmediate);
    expect(warn).not.toHaveBeenCalled();
  });
});
