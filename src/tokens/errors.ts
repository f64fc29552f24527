/**
 * Who has to act on an error, which decides what every door does with it.
 *
 * - `retry`: nobody; the cause is expected to pass (throttling, a provider that is down). HTTP 503 with `Retry-After`.
 * - `misconfigured`: the operator; the same call fails again until something is changed. HTTP 503, and an alarm.
 * - `rejected`: the caller; what was sent is wrong. HTTP 400, 401 or 403.
 * - `bug`: us; an assumption of the code does not hold. HTTP 500.
 */
export type ErrorKind = 'retry' | 'misconfigured' | 'rejected' | 'bug';

/** What an error carries besides its message. */
export interface BrokerErrorOptions {
  /** The error that led to this one. Its text must be free of tokens and secrets too. */
  cause?: unknown;
  /** Seconds after which a new attempt makes sense, when the other side named them. */
  retryAfterSeconds?: number;
}

/** On every copy of {@link BrokerError} in the process. */
const MARK: unique symbol = Symbol.for('service-token-broker/error/1') as never;

/**
 * The base of every error this package throws.
 *
 * `code` is stable and meant for programs; `message` says what was wrong and what to do, for people. Neither
 * ever contains the text of a token or a secret.
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
  /** Seconds after which a new attempt makes sense, when known. */
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

/** The stable code of any thrown value: ours where it is ours, `UNEXPECTED` for everything else. */
export function errorCode(error: unknown): string {
  return error instanceof BrokerError ? error.code : 'UNEXPECTED';
}

/** Calls an observer. Its own mistake must neither break what is observed nor go unseen: it becomes a process warning. */
export function tell(notify: () => unknown): void {
  try {
    const told = notify();
    // An async function where a plain one is wanted: unhandled, its rejection would end the process.
    if (told instanceof Promise) told.catch(warn);
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

/** A text on one line: line ends and control characters, with the white space behind them, become a space. Pure. */
export function oneLine(text: string): string {
  return text.replaceAll(/[\p{Cc}\u2028\u2029][\p{Cc}\s]*/gu, ' ');
}
