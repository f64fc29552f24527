import { BrokerError } from './errors.js';

/**
 * The cache has nothing that may be served. All codes are of kind `retry`.
 *
 * `TOKEN_EXPIRED`: what was read has less life left than the skew. `TOKEN_LIFE_TOO_SHORT`: it has less than the
 * caller asked for. `READ_TIMEOUT`: the read did not end in time.
 */
export class CacheError extends BrokerError {
  constructor(
    code: 'TOKEN_EXPIRED' | 'TOKEN_LIFE_TOO_SHORT' | 'READ_TIMEOUT',
    message: string,
    cause?: unknown,
  ) {
    super(code, 'retry', message, { cause });
  }
}

/** What was read is too old to be served. */
export function expired(): CacheError {
  return new CacheError(
    'TOKEN_EXPIRED',
    'The token that was read has expired, or is about to. Rotate to write a new one.',
  );
}

/** A caller asked for more life than there is; both in milliseconds. */
export function lifeTooShort(life: number, asked: number, cause: unknown): CacheError {
  return new CacheError(
    'TOKEN_LIFE_TOO_SHORT',
    `The token has ${Math.floor(life / 1_000)} s left, and ${Math.ceil(asked / 1_000)} s were asked for. ` +
      'Ask for less, or again after the next rotation.',
    cause,
  );
}

/** A read did not end within so many milliseconds. */
export function readTimedOut(limit: number): CacheError {
  const seconds = Math.round(limit / 1_000);
  return new CacheError(
    'READ_TIMEOUT',
    `A read did not end within ${seconds} s, and was given up.`,
  );
}
