import { types } from 'node:util';
import { BrokerError } from '../tokens/errors.js';
import { redactText, isRedactedKey, REDACTED } from '../tokens/redaction.js';
import {
  type DestinationStream,
  pino,
  symbols,
  type Bindings,
  type ChildLoggerOptions,
  type Level,
  type LevelWithSilent,
  type Logger,
  type LoggerOptions,
} from 'pino';
import { bufferLines, writeToStandardOutput } from './line-buffer.js';

/** An error as it is logged. Only what is listed here is ever taken from one. */
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

const DEEPEST_CAUSE = 6;
const LONGEST_MESSAGE = 2_000;
const LONGEST_STACK = 8_000;

/**
 * Describes any thrown value for the log. Texts pass {@link redactText}; members that libraries hang on errors
 * (requests, response bodies, headers) are left out.
 */
function describeError(error: unknown): DescribedError {
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
  if (depth >= DEEPEST_CAUSE) return described;
  return {
    ...described,
    ...(error.cause === undefined ? {} : { cause: describe(error.cause, depth + 1) }),
    ...membersOf(error, depth),
  };
}

/** The message of an error as it may be shown. */
function messageOf(error: Error): string {
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

let millisecond = Number.NaN;
let text = '';

/** ISO 8601 in UTC. Many lines fall into one millisecond, and the text of it is made once. */
export function isoTime(now: number): string {
  if (now !== millisecond) {
    text = new Date(now).toISOString();
    millisecond = now;
  }
  return text;
}

const SHOWN_APART: ReadonlySet<string> = new Set([
  'level',
  'time',
  'service',
  'pid',
  'message',
  'err',
]);

/** A destination that writes each JSON line as a line for people: time, level, message, fields, and an error below. */
function asText(destination: DestinationStream): DestinationStream {
  return Object.assign(Object.create(destination) as DestinationStream, {
    write: (line: string) => destination.write(textLine(line)),
  });
}

/** One JSON line of the log as text for people. */
export function textLine(line: string): string {
  const entry = JSON.parse(line) as Record<string, unknown>;
  const time = lineOf(entry['time']).slice(11, 23);
  const level = lineOf(entry['level']).toUpperCase().padEnd(5);
  const fields = Object.entries(entry)
    .filter(([name]) => !SHOWN_APART.has(name))
    .map(([name, value]) => ` ${name}=${fieldText(value)}`)
    .join('');
  const head = `${time} ${level} ${lineOf(entry['message'])}`.trimEnd();
  return `${head}${fields}\n${errorText(entry['err'])}`;
}

function fieldText(value: unknown): string {
  return typeof value === 'string' && /^[^\s"=]+$/.test(value) ? value : JSON.stringify(value);
}

function errorText(value: unknown): string {
  if (typeof value !== 'object' || value === null) return '';
  const error = value as Record<string, unknown>;
  const code = error['code'] === undefined ? '' : ` [${lineOf(error['code'])}]`;
  const stack = lineOf(error['stack']) || `${lineOf(error['name'])}: ${lineOf(error['message'])}`;
  const cause = errorText(error['cause']);
  const first = `${stack}${code === '' ? '' : `\n  code${code}`}`.replaceAll('\n', '\n    ');
  return `    ${first}\n${cause === '' ? '' : `    caused by:\n${cause}`}`;
}

function lineOf(value: unknown): string {
  return typeof value === 'string' ? value : '';
}

const DEEPEST = 6;
const MOST_ITEMS = 100;

/**
 * A copy of structured fields that may be logged: values of secret names are replaced, texts pass {@link redactText},
 * errors are described, bytes are counted, and what is too deep, too long or circular is cut.
 */
export function redactFields(fields: object): Record<string, unknown> {
  try {
    return redactMembers(fields, 0, new Set());
  } catch {
    // Only a member that throws when it is read gets here. The line is still worth having.
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

/** What an object says it is in JSON (dates, URLs, hidden values), unless it is made of members. */
function ownText(value: object): unknown {
  if (!('toJSON' in value) || typeof value.toJSON !== 'function') return undefined;
  const text: unknown = value.toJSON();
  return typeof text === 'object' ? undefined : text;
}

/** The log of the broker. */
export type BrokerLogger = Logger;

/** Options of {@link createLogger}. */
export interface CreateLoggerOptions {
  /** The least important level that is written. */
  readonly level: LevelWithSilent;
  /** `json`: one object per line. `text`: a line for people. Default: `json`. */
  readonly format?: 'json' | 'text';
  /**
   * Where lines go. Default: standard output. Nothing waits for whoever reads it: when 1 MiB of lines waits, further ones
   * are dropped and counted, and the log says how many as soon as they flow again.
   */
  readonly destination?: DestinationStream;
}

/** The name of the service in every line. */
const SERVICE_NAME = 'service-token-broker';

/**
 * The log: structured lines with an ISO 8601 time in UTC, the level as a word, and the service's name. Tokens and
 * secrets are redacted in messages, in arguments, in fields at any depth, and in errors with their causes and stacks.
 *
 * @example
 * ```ts
 * const log = createLogger({ level: 'info' });
 * log.error({ err: error, secretId }, 'The token secret cannot be read');
 * ```
 */
export function createLogger(options: CreateLoggerOptions): BrokerLogger {
  const { level, format = 'json' } = options;
  const destination =
    options.destination ??
    bufferLines({
      write: writeToStandardOutput,
      onDropped: (lines) =>
        log.warn({ lines }, 'log lines were dropped, because standard output was not read'),
    });
  const log: BrokerLogger = pino(
    { ...COMMON, level, base: { service: SERVICE_NAME, pid: process.pid } },
    format === 'text' ? asText(destination) : destination,
  );
  return redactBindings(log);
}

/** pino's formatters do not see the fields that children are made with. Children inherit what is put on the root. */
function redactBindings(log: BrokerLogger): BrokerLogger {
  const prototype = Object.getPrototypeOf(log) as Bindable;
  return Object.assign(log, {
    child(this: BrokerLogger, bindings: Bindings, options?: ChildLoggerOptions): BrokerLogger {
      return prototype.child.call(this, redactFields(bindings), options);
    },
    setBindings(this: BrokerLogger, bindings: Bindings): void {
      prototype.setBindings.call(this, redactFields(bindings));
    },
  });
}

interface Bindable {
  child(bindings: Bindings, options?: ChildLoggerOptions): BrokerLogger;
  setBindings(bindings: Bindings): void;
}

/** Writes what is still in memory. For shutdown: resolves when everything is written, or after a second. */
export function flushLogger(log: BrokerLogger): Promise<void> {
  return new Promise((resolve, reject) => {
    log.flush((error) => (error ? reject(error) : resolve()));
  });
}

/** Lines that a log has dropped since the start; 0 for one that was given a destination of its own. */
export function droppedLines(log: BrokerLogger): number {
  const { [symbols.streamSym]: stream } = log as BrokerLogger & {
    readonly [symbols.streamSym]: { dropped?(): number };
  };
  return stream.dropped?.() ?? 0;
}

const COMMON: LoggerOptions = {
  timestamp: () => `,"time":"${isoTime(Date.now())}"`,
  messageKey: 'message',
  formatters: {
    level: (label) => ({ level: label }),
    log: redactFields,
  },
  // The formatter has described errors already; pino's own serializer would write every member they have.
  serializers: {
    err: (described: unknown) => (isError(described) ? describeError(described) : described),
  },
  hooks: {
    logMethod(args, method) {
      method.apply(this, redactArguments(args) as typeof args);
    },
  },
};

/**
 * What pino puts into the message, it takes from the arguments as they are: an error's own message when there is no
 * other, and the values of `%s`. So they are redacted before.
 */
function redactArguments(args: readonly unknown[]): unknown[] {
  const [first, ...rest] = args;
  if (typeof first === 'string') return [redactText(first), ...rest.map(redactArgument)];
  const fields = isError(first) ? { err: first } : first;
  if (rest.length > 0) return [fields, ...rest.map(redactArgument)];
  const error = hasError(fields) ? fields.err : undefined;
  return error === undefined ? [fields] : [fields, messageOf(error)];
}

function hasError(fields: unknown): fields is { err: Error } {
  return typeof fields === 'object' && fields !== null && 'err' in fields && isError(fields.err);
}

function redactArgument(value: unknown): unknown {
  if (typeof value === 'string') return redactText(value);
  if (isError(value)) return messageOf(value);
  return typeof value === 'object' && value !== null ? redactFields(value) : value;
}

/** pino's level for each of Nest's. */
export const NEST_LEVELS = {
  verbose: 'trace',
  debug: 'debug',
  log: 'info',
  warn: 'warn',
  error: 'error',
  fatal: 'fatal',
} as const satisfies Record<string, Level>;
