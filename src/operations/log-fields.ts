import { types } from 'node:util';
import { BrokerError } from '../tokens/errors.js';
import { isRedactedKey, REDACTED, redactText } from '../tokens/redaction.js';

const DEEPEST = 6;
const MOST_ITEMS = 100;
const DEEPEST_CAUSE = 6;
const LONGEST_MESSAGE = 2_000;
const LONGEST_STACK = 8_000;

/**
 * A copy of structured fields that may be logged: values of secret names are replaced, texts pass {@link redactText},
 * errors are described, bytes are counted, and what is too deep, too long or circular is cut.
 */
export function redactFields(fields: object): Record<string, unknown> {
  try {
    return redactMembers(fields, 0, new Set());
  } catch {
    // A member threw when it was read.
    return { fields: '[unreadable]' };
  }
}

function redactMembers(
  value: object,
  depth: number,
  parents: ReadonlySet<object>,
): Record<string, unknown> {
  const within = new Set(parents).add(value);
  const result: Record<string, unknown> = {};
  for (const [name, member] of Object.entries(value).slice(0, MOST_ITEMS)) {
    const safeName = redactText(name);
    // A plain assignment of "__proto__" would set the prototype instead.
    Object.defineProperty(result, safeName, {
      value: isRedactedKey(name, member) ? hide(member) : redactValue(member, depth + 1, within),
      enumerable: true,
      configurable: true,
      writable: true,
    });
  }
  return result;
}

function hide(value: unknown): unknown {
  return value === undefined || value === null ? value : REDACTED;
}

function redactValue(value: unknown, depth: number, parents: ReadonlySet<object>): unknown {
  if (typeof value === 'string') return redactText(value);
  if (typeof value === 'bigint' || typeof value === 'symbol') return String(value);
  if (typeof value === 'function') return undefined;
  if (typeof value !== 'object' || value === null) return value;
  return redactObject(value, depth, parents);
}

function redactObject(value: object, depth: number, parents: ReadonlySet<object>): unknown {
  if (isError(value)) return describeError(value);
  if (parents.has(value)) return '[circular]';
  if (ArrayBuffer.isView(value)) return `[${value.byteLength} bytes]`;
  if (depth > DEEPEST) return '[too deep]';
  if (value instanceof Map) return redactObject(Object.fromEntries(value), depth, parents);
  if (value instanceof Set) return redactObject([...value], depth, parents);
  if (Array.isArray(value)) {
    const within = new Set(parents).add(value);
    return value.slice(0, MOST_ITEMS).map((item) => redactValue(item, depth + 1, within));
  }
  const own = ownText(value);
  return own === undefined
    ? redactMembers(value, depth, parents)
    : redactValue(own, depth, parents);
}

/** An object's own JSON (dates, URLs, hidden values), unless that is made of members. */
function ownText(value: object): unknown {
  if (!('toJSON' in value) || typeof value.toJSON !== 'function') return undefined;
  const text: unknown = value.toJSON();
  return typeof text === 'object' ? undefined : text;
}

/** An error as it is logged. Nothing else is taken from one. */
interface DescribedError {
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

/**
 * Describes any thrown value for the log. Texts pass {@link redactText}; members that libraries add to errors (requests,
 * response bodies, headers) are left out.
 */
export function describeError(error: unknown): DescribedError {
  try {
    return describe(error, 0);
  } catch {
    // A member threw when it was read. What it threw is not to be trusted either.
    return { name: 'Unreadable', message: 'An error was thrown that cannot be read.' };
  }
}

/** Whether a value is an error, from this realm or another. */
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
    message: messageOfError(error),
    ...(depth === 0 && typeof error.stack === 'string' ? { stack: stackOf(error.stack) } : {}),
  };
  if (depth >= DEEPEST_CAUSE) return described;
  return {
    ...described,
    ...(error.cause === undefined ? {} : { cause: describe(error.cause, depth + 1) }),
    ...membersOf(error, depth),
  };
}

/** The message of an error as it may be shown. */
export function messageOfError(error: Error): string {
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

/** An object that was thrown is not shown: it may hold anything. */
function textOf(value: unknown): string {
  if (typeof value === 'object' && value !== null) return 'An object was thrown.';
  if (typeof value === 'function') return 'A function was thrown.';
  return String(value);
}

/** Messages and names of errors are texts by their type alone. */
function plainText(value: unknown): string {
  return typeof value === 'string' ? value : '';
}

function shorten(text: string, longest: number): string {
  return text.length > longest ? `${text.slice(0, longest)}…` : text;
}
