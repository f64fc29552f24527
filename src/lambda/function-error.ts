import { BrokerError, type BrokerErrorOptions, type ErrorKind } from '../tokens/errors.js';

const KINDS = {
  /** The event is not one that this function is for. */
  FUNCTION_EVENT_INVALID: 'rejected',
  /** The event names another secret than the configured token secret. */
  FUNCTION_SECRET_UNEXPECTED: 'misconfigured',
  /** The provider had not answered when the function's time was nearly up. */
  FUNCTION_OUT_OF_TIME: 'retry',
  /** What nobody foresaw; the log line before says more. */
  FUNCTION_FAILED: 'bug',
} as const satisfies Record<string, ErrorKind>;

/** The stable codes of {@link FunctionError}. */
export type FunctionErrorCode = keyof typeof KINDS;

/** A function on AWS Lambda could not do what it was invoked for. Messages name what is wrong, never a value of the event. */
export class FunctionError extends BrokerError {
  declare readonly code: FunctionErrorCode;

  constructor(code: FunctionErrorCode, message: string, options: BrokerErrorOptions = {}) {
    super(code, KINDS[code], message, options);
  }
}

/**
 * What a function rejects with. Lambda logs that as it is, redacted by nobody: only the broker's own errors, whose texts
 * are free of tokens and secrets, are let through.
 */
export function shownError(error: unknown): BrokerError {
  return error instanceof BrokerError
    ? error
    : new FunctionError(
        'FUNCTION_FAILED',
        'An unexpected error ended the invocation. The log line before this one says more.',
      );
}
