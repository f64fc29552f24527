/**
 * Who has to act on an error. It decides the response and the exit code.
 *
 * - `retry`: nobody; the cause is expected to pass (throttling, a provider that is down). HTTP 503 with `Retry-After`.
 * - `misconfigured`: the operator; the call fails again until something is changed. HTTP 503, and an alarm.
 * - `rejected`: the caller; the request is wrong. HTTP 400, 401 or 403.
 * - `bug`: the maintainers of this package; an assumption of the code does not hold. HTTP 500.
 */
export type ErrorKind = 'retry' | 'misconfigured' | 'rejected' | 'bug';

/** What an error has besides its message. */
export interface BrokerErrorOptions {
  /** The error that led to this one. Must be free of tokens and secrets too. */
  cause?: unknown;
  /** Seconds until a new attempt makes sense, when the other side named them. */
  retryAfterSeconds?: number;
}

/** On every copy of {@link BrokerError} in the process. */
const MARK: unique symbol = Symbol.for('service-token-broker/error/1') as never;

/**
 * The base of every error this package throws.
 *
 * `code` is stable, for programs; `message` says what was wrong and what to do, for people. Neither contains the text of a
 * token or a secret.
 *
 * @example
 * ```ts
 * import { BrokerError } from 'service-token-kit';
 *
 * try {
 *   await rotator.rotate();
 * } catch (error) {
 *   if (error instanceof BrokerError && error.kind === 'retry') scheduleAnotherAttempt();
 *   else throw error;
 * }
 * ```
 */
export class BrokerError extends Error {
  /** Stable, upper-case identifier, for example `STORE_THROTTLED`. */
  readonly code: string;
  /** Who has to act. */
  readonly kind: ErrorKind;
  /** Seconds until a new attempt makes sense, when known. */
  readonly retryAfterSeconds: number | undefined;

  /** Both packages have a copy of this class, and the kit one for each module format: `instanceof` holds across them. */
  static override [Symbol.hasInstance](value: unknown): boolean {
    if (Function.prototype[Symbol.hasInstance].call(this, value)) return true;
    if (typeof value !== 'object' || value === null || !('constructor' in value)) return false;
    for (let type: unknown = value.constructor; typeof type === 'function';) {
      if (MARK in type && type.name === this.name) return true;
      type = Object.getPrototypeOf(type);
    }
    return false;
  }

  static readonly [MARK] = true;

  constructor(code: string, kind: ErrorKind, message: string, options: BrokerErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = new.target.name;
    this.code = code;
    this.kind = kind;
    this.retryAfterSeconds = options.retryAfterSeconds;
  }
}

/** The `code` of a {@link BrokerError}; `UNEXPECTED` for any other thrown value. */
export function errorCode(error: unknown): string {
  return error instanceof BrokerError ? error.code : 'UNEXPECTED';
}

/** Notifies an observer. Its own error must neither break what is observed nor be hidden: it becomes a process warning. */
export function notify(call: () => unknown): void {
  try {
    const returned = call();
    // An async observer: unhandled, its rejection would end the process.
    if (returned instanceof Promise) returned.catch(warn);
  } catch (error) {
    warn(error);
  }
}

function warn(error: unknown): void {
  // As text: an Error of another realm, such as a test runner's, is refused.
  const detail = error instanceof Error ? error.stack : undefined;
  process.emitWarning(String(error), {
    type: 'ObserverWarning',
    ...(detail !== undefined && { detail }),
  });
}

/** A text on one line: line ends and control characters, with the white space after them, become a space. Pure. */
export function oneLine(text: string): string {
  return text.replaceAll(/[\p{Cc}\u2028\u2029][\p{Cc}\s]*/gu, ' ');
}
