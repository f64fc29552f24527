import { inspect } from 'node:util';
import type { LoggerService } from '@nestjs/common';
import type { Level } from 'pino';
import type { BrokerLogger } from './log.js';
import { isError } from './log-fields.js';

/** pino's level for each of Nest's. */
const NEST_LEVELS = {
  verbose: 'trace',
  debug: 'debug',
  log: 'info',
  warn: 'warn',
  error: 'error',
  fatal: 'fatal',
} as const satisfies Record<string, Level>;

/** Contexts in which Nest logs every route and module that it starts. */
const WIRING: ReadonlySet<string> = new Set([
  'InstanceLoader',
  'NestApplication',
  'NestFactory',
  'RouterExplorer',
  'RoutesResolver',
]);

/**
 * Sends Nest's own lines, and those of its `Logger`, through the broker's log. Lines about routes and modules that start
 * are logged as `debug`.
 *
 * @example
 * ```ts
 * const app = await NestFactory.create(AppModule, new FastifyAdapter(), { logger: new NestLogger(log) });
 * ```
 */
export class NestLogger implements LoggerService {
  constructor(private readonly target: BrokerLogger) {}

  log(message: unknown, ...rest: unknown[]): void {
    this.#write('log', message, rest);
  }

  error(message: unknown, ...rest: unknown[]): void {
    this.#write('error', message, rest);
  }

  warn(message: unknown, ...rest: unknown[]): void {
    this.#write('warn', message, rest);
  }

  debug(message: unknown, ...rest: unknown[]): void {
    this.#write('debug', message, rest);
  }

  verbose(message: unknown, ...rest: unknown[]): void {
    this.#write('verbose', message, rest);
  }

  fatal(message: unknown, ...rest: unknown[]): void {
    this.#write('fatal', message, rest);
  }

  #write(nestLevel: keyof typeof NEST_LEVELS, message: unknown, rest: readonly unknown[]): void {
    const { context, others } = splitContext(rest);
    const wiring = nestLevel === 'log' && context !== undefined && WIRING.has(context);
    const level = wiring ? 'debug' : NEST_LEVELS[nestLevel];
    if (!this.target.isLevelEnabled(level)) return;
    const value = resolve(message);
    const error = [value, ...others].find(isError);
    const stack = others.find(isStack);
    const details = others.filter((other) => !isError(other) && !isStack(other));
    this.target[level](
      {
        ...(context === undefined ? {} : { context }),
        ...(isFields(value) ? { details: [value, ...details] } : {}),
        ...(!isFields(value) && details.length > 0 ? { details } : {}),
        ...(error === undefined ? {} : { err: error }),
        ...(error === undefined && stack !== undefined ? { stack } : {}),
      },
      messageOf(value),
    );
  }
}

/** Nest passes the context as the last argument. */
function splitContext(rest: readonly unknown[]): {
  context: string | undefined;
  others: readonly unknown[];
} {
  const present = rest.filter((value) => value !== undefined);
  const last = present.at(-1);
  return typeof last === 'string' && !isStack(last)
    ? { context: last, others: present.slice(0, -1) }
    : { context: undefined, others: present };
}

/** Nest takes a function as a message that is made only when it is needed, and a class as its name. */
function resolve(message: unknown): unknown {
  if (typeof message !== 'function') return message;
  const isClass = Function.prototype.toString.call(message).startsWith('class ');
  return isClass ? message.name : resolve((message as () => unknown)());
}

function messageOf(value: unknown): string {
  if (typeof value === 'string') return value;
  if (isError(value)) return value.message;
  return typeof value === 'object' && value !== null ? '' : inspect(value);
}

function isFields(value: unknown): value is object {
  return typeof value === 'object' && value !== null && !isError(value);
}

function isStack(value: unknown): value is string {
  return typeof value === 'string' && /\n\s+at /.test(value);
}
