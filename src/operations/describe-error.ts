import { types } from 'node:util';
import { BrokerError } from '../tokens/errors.js';
import { redactText } from '../tokens/redaction.js';

/** An error as it is logged. Only what is listed here is ever taken from one. */
export interface DescribedError {
  readonly name: string;
  /** Our stable code, or the code of Node.js and libraries when it has the form of one. */
  readonly code?: string;
  /** Who has to act; only for our own errors. */
  readonly kind?: string;
  readonly message: string;
  readonly retryAfterSeconds?: number;
  /** Where it was made; only for the outermost error. */
  readonly stack?: string;
  readonly cause?: DescribedError;
  /** The members of an AggregateError, ten at most. */
  readonly errors?: readonly DescribedError[];
}

const DEEPEST = 6;
const LONGEST_MESSAGE = 2_000;
const LONGEST_STACK = 8_000;

/**
 * Describes any thrown value for the log. Texts pass {@link redactText}; members that libraries hang on errors
 * (requests, response bodies, headers) are left out.
 */
export function describeError(error: unknown): DescribedError {
  try {
    return describe(error, 0);
  } catch {
    // Only a member that throws when it is read gets here. The log must go on, and its text is not to be trusted.
    return { name: 'Unreadable', message: 'An error was thrown that cannot be read.' };
  }
}

/** True for every error, also one that was made in another realm. */
export function isError(value: unknown): value is Error {
  return value instanceof Error || types.isNativeError(value);
}

function describe(error: unknown, depth: number): DescribedError {
  if (!isError(error)) {
    return { name: 'NotAnError', message: shorten(redactText(textOf(error)), LONGEST_MESSAGE) };
  }
  const described = {
    name: redactText(shorten(plainText(error.name), 100)),
    ...codeOf(error),
    message: messageOf(error),
    ...(depth === 0 && typeof error.stack === 'string' ? { stack: stackOf(error.stack) } : {}),
  };
  if (depth >= DEEPEST) return described;
  return {
    ...described,
    ...(error.cause === undefined ? {} : { cause: describe(error.cause, depth + 1) }),
    ...membersOf(error, depth),
  };
}

/** The message of an error as it may be shown. */
export function messageOf(error: Error): string {
  return shorten(redactText(shorten(plainText(error.message), LONGEST_MESSAGE)), LONGEST_MESSAGE);
}

function stackOf(stack: string): string {
  return redactText(shorten(stack, LONGEST_STACK));
}

function codeOf(error: Error): Partial<DescribedError> {
  if (error instanceof BrokerError) {
    const { code, kind, retryAfterSeconds } = error;
    return { code, kind, ...(retryAfterSeconds === undefined ? {} : { retryAfterSeconds }) };
  }
  const code: unknown = 'code' in error ? error.code : undefined;
  return typeof code === 'string' && /^[A-Z][A-Z0-9_]{1,63}$/.test(code) ? { code } : {};
}

function membersOf(error: Error, depth: number): Partial<DescribedError> {
  const members: unknown = 'errors' in error ? error.errors : undefined;
  if (!Array.isArray(members)) return {};
  return { errors: members.slice(0, 10).map((member) => describe(member, depth + 1)) };
}

/** A thrown value that is no error is shown only when it is plain: an object may hold anything. */
function textOf(value: unknown): string {
  if (typeof value === 'object' && value !== null) return 'An object was thrown.';
  if (typeof value === 'function') return 'A function was thrown.';
  return String(value);
}

/** Nothing keeps an error from having a message that is no text, whatever its type says. */
function plainText(value: unknown): string {
  return typeof value === 'string' ? value : '';
}

function shorten(text: string, longest: number): string {
  return text.length > longest ? `${text.slice(0, longest)}…` : text;
}
