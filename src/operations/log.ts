import {
  pino,
  type Bindings,
  type ChildLoggerOptions,
  type DestinationStream,
  type Level,
  type LevelWithSilent,
  type Logger,
  type LoggerOptions,
} from 'pino';
import { redactText } from '../tokens/redaction.js';
import { bufferLines, writeToStandardOutput } from './line-buffer.js';
import { describeError, isError, messageOfError, redactFields } from './log-fields.js';

/** The log of the broker. */
export type BrokerLogger = Logger;

/** Options of {@link createLogger}. */
export interface CreateLoggerOptions {
  /** The least important level that is written. */
  readonly level: LevelWithSilent;
  /** `json`: one object per line. `text`: a line for people. Default: `json`. */
  readonly format?: 'json' | 'text';
  /**
   * Where lines go. Default: standard output, without waiting for its reader: when 1 MiB of lines waits, further ones are
   * dropped and counted, and the log says how many as soon as lines flow again.
   */
  readonly destination?: DestinationStream;
}

/** The name of the service in every line. */
const SERVICE_NAME = 'service-token-broker';

const FORM: LoggerOptions = {
  base: { service: SERVICE_NAME, pid: process.pid },
  timestamp: pino.stdTimeFunctions.isoTime,
  messageKey: 'message',
  formatters: { level: (label) => ({ level: label }) },
};

const REDACTION: LoggerOptions = {
  formatters: { ...FORM.formatters, log: redactFields },
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

/** What belongs to a log that {@link createLogger} has made. */
interface LogParts {
  /** Writes to the same destination, at every level, and redacts nothing. */
  readonly plain: Logger;
  readonly dropped: () => number;
  readonly destination: DestinationStream;
}

const partsOf = new WeakMap<BrokerLogger, LogParts>();

/**
 * Makes the log: structured lines with an ISO 8601 time in UTC, the level as a word, and the service's name. Tokens and
 * secrets are redacted in messages, in arguments, in fields at any depth, and in errors with their causes and stacks.
 *
 * @example
 * ```ts
 * import { createLogger } from 'service-token-broker/server';
 *
 * const log = createLogger({ level: 'info' });
 * log.error({ err: error, secretId }, 'The token secret cannot be read');
 * ```
 */
export function createLogger(options: CreateLoggerOptions): BrokerLogger {
  let { destination } = options;
  let dropped = (): number => 0;
  if (destination === undefined) {
    const buffer = bufferLines({
      write: writeToStandardOutput,
      onDropped: (lines) =>
        log.warn({ lines }, 'log lines were dropped, because standard output was not read'),
    });
    destination = buffer;
    dropped = buffer.dropped;
  }
  const output = options.format === 'text' ? asText(destination) : destination;
  const log = redactBindings(pino({ ...FORM, ...REDACTION, level: options.level }, output));
  partsOf.set(log, { plain: pino({ ...FORM, level: 'trace' }, output), dropped, destination });
  return log;
}

/** Writes what is still in memory, for shutdown: resolves when everything is written, or after a second. */
export function flushLogger(log: BrokerLogger): Promise<void> {
  return new Promise((resolve, reject) => {
    log.flush((error) => (error ? reject(error) : resolve()));
  });
}

/** Lines that a log has dropped since the start; 0 for one with a destination of its own. */
export function droppedLines(log: BrokerLogger): number {
  return partsOf.get(log)?.dropped() ?? 0;
}

/**
 * Writes a line of its own form between the log's lines, without waiting.
 *
 * @param line without its line break.
 * @returns false when it was dropped, because the log is not read.
 */
export function writeBetweenLines(log: BrokerLogger, line: string): boolean {
  const { destination, dropped } = partsOf.get(log) ?? {};
  if (destination === undefined || dropped === undefined) return false;
  const before = dropped();
  destination.write(`${line}\n`);
  return dropped() === before;
}

/** Writes one line. */
type WritePlainLine = (level: Level, fields: Readonly<object>, message: string) => void;

/**
 * A short way to the log for the line of every request, at a fraction of the cost. The fields are not redacted: only for
 * those that are safe by construction. A log that {@link createLogger} has not made redacts them.
 */
export function plainLines(log: BrokerLogger): WritePlainLine {
  const { plain } = partsOf.get(log) ?? { plain: log };
  return (level, fields, message) => {
    if (log.isLevelEnabled(level)) plain[level](fields, message);
  };
}

/** pino's formatters do not see the fields that children are made with. Children inherit what is put on the root. */
function redactBindings(log: BrokerLogger): BrokerLogger {
  const prototype = Object.getPrototypeOf(log) as Pick<BrokerLogger, 'setBindings'> & {
    child(bindings: Bindings, options?: ChildLoggerOptions): BrokerLogger;
  };
  return Object.assign(log, {
    child(this: BrokerLogger, bindings: Bindings, options?: ChildLoggerOptions): BrokerLogger {
      return prototype.child.call(this, redactFields(bindings), options);
    },
    setBindings(this: BrokerLogger, bindings: Bindings): void {
      prototype.setBindings.call(this, redactFields(bindings));
    },
  });
}

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
  return error === undefined ? [fields] : [fields, messageOfError(error)];
}

function hasError(fields: unknown): fields is { err: Error } {
  return typeof fields === 'object' && fields !== null && 'err' in fields && isError(fields.err);
}

function redactArgument(value: unknown): unknown {
  if (typeof value === 'string') return redactText(value);
  if (isError(value)) return messageOfError(value);
  return typeof value === 'object' && value !== null ? redactFields(value) : value;
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
function textLine(line: string): string {
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
