import { pino, symbols } from 'pino';
import type {
  Bindings,
  ChildLoggerOptions,
  DestinationStream,
  Level,
  LevelWithSilent,
  Logger,
  LoggerOptions,
} from 'pino';
import { redactText } from '../tokens/redaction.js';
import { describeError, isError, messageOf } from './describe-error.js';
import { isoTime } from './iso-time.js';
import { bufferLines, writeToStandardOutput } from './line-buffer.js';
import { asText } from './log-text.js';
import { redactFields } from './redact-fields.js';

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
export const SERVICE_NAME = 'service-token-broker';

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
