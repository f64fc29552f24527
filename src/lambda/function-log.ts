import { LOG_LEVELS } from '../config/settings.js';
import { redactFields } from '../operations/redact-fields.js';
import type { Clock } from '../tokens/clock.js';
import { redactText } from '../tokens/redaction.js';
import { currentInvocation } from './invocation.js';

type Level = (typeof LOG_LEVELS)[number];

/** The levels that a function writes. */
export type FunctionLogLevel = Extract<Level, 'debug' | 'info' | 'warn' | 'error'>;

/** Options of {@link createFunctionLog}. */
export interface FunctionLogOptions {
  readonly clock: Clock;
  /** The least important level that is written. */
  readonly level: Level;
  /** Takes each line, with its line feed. Default: standard output. */
  readonly write?: (line: string) => void;
}

/**
 * Writes one line.
 *
 * @param fields what is redacted before.
 * @param plain what is written as it is: only what is safe by construction, such as an ARN that redaction would take
 *   for a secret.
 */
export type FunctionLog = (
  level: FunctionLogLevel,
  message: string,
  fields?: object,
  plain?: Readonly<Record<string, string | number | undefined>>,
) => void;

/**
 * The log of a function: one JSON object per line, with the members that Lambda's own JSON lines have (`timestamp`,
 * `level`, `requestId`, `message`), so that one query finds both and Lambda's log levels apply. Tokens and secrets are
 * redacted in the message, in fields at any depth, and in errors with their causes.
 */
export function createFunctionLog(options: FunctionLogOptions): FunctionLog {
  const { clock, level: least, write = writeToStandardOutput } = options;
  const threshold = LOG_LEVELS.indexOf(least);
  return (level, message, fields = {}, plain = {}) => {
    if (LOG_LEVELS.indexOf(level) < threshold) return;
    const line = {
      timestamp: new Date(clock.now()).toISOString(),
      level,
      service: 'service-token-broker',
      requestId: currentInvocation()?.requestId,
      ...redactFields(fields),
      ...plain,
      message: redactText(message),
    };
    write(`${JSON.stringify(line)}\n`);
  };
}

/** A pipe there, and so written at once: the process may be frozen, or ended, as soon as the handler has answered. */
function writeToStandardOutput(line: string): void {
  process.stdout.write(line);
}
