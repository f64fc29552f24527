import type { LoggerService } from '@nestjs/common';
import { errorCode } from '../tokens/errors.js';
import type { Clock } from '../tokens/clock.js';
import type { RefusedCall } from './settings.js';

/** So many handlers are named in one line. */
const MOST_NAMES = 50;

const WARNING_PAUSE_MILLISECONDS = 10_000;

/**
 * The log lines of refused calls, when the application does not watch them itself. Anybody can cause a refusal, so that
 * what is loud is bounded: one warning at start of all handlers without a decorator, one for each that is found later, one
 * each 10 seconds while keys cannot be had.
 */
export class RefusalLog {
  readonly #undeclared = new Set<string>();
  #nextWarningAt = Number.NEGATIVE_INFINITY;

  constructor(
    private readonly logger: Pick<LoggerService, 'warn' | 'debug'>,
    private readonly clock: Pick<Clock, 'now'>,
  ) {}

  /** The handlers that no decorator says who may call, as the application has them when it starts. */
  undeclared(handlers: readonly string[]): void {
    const news = handlers.filter((handler) => !this.#undeclared.has(handler));
    if (news.length === 0) return;
    for (const handler of news) this.#undeclared.add(handler);
    const shown = news.slice(0, MOST_NAMES).join(', ');
    const others = news.length > MOST_NAMES ? ` and ${news.length - MOST_NAMES} more` : '';
    this.logger.warn(
      `Every call of these handlers is refused, because no decorator says who may call them: ${shown}${others}. Add AllowCustomer(), AllowService() or Public(), or name the classes of other libraries in "exclude".`,
    );
  }

  refused(call: RefusedCall): void {
    const { handler, transport, refusal, error } = call;
    if (refusal.reason === 'NOT_DECLARED' || refusal.reason === 'UNKNOWN_CONTEXT') {
      this.#warnOnce(call);
    } else if (refusal.status === 503) {
      this.#warnSometimes(error);
    }
    this.logger.debug?.(`Refused ${handler} (${transport}): ${refusal.status} ${refusal.reason}`);
  }

  #warnOnce({ handler, transport, refusal }: RefusedCall): void {
    if (this.#undeclared.has(handler)) return;
    this.#undeclared.add(handler);
    this.logger.warn(
      refusal.reason === 'NOT_DECLARED'
        ? `Every call of ${handler} is refused, because no decorator says who may call it. Add AllowCustomer(), AllowService() or Public().`
        : `Calls of ${handler} are refused: the guard does not know contexts of the kind "${transport}".`,
    );
  }

  #warnSometimes(error: unknown): void {
    const now = this.clock.now();
    if (now < this.#nextWarningAt) return;
    this.#nextWarningAt = now + WARNING_PAUSE_MILLISECONDS;
    const cause: unknown = error instanceof Error ? error.cause : undefined;
    const why = cause === undefined ? '' : ` The cause is ${errorCode(cause)}.`;
    this.logger.warn(
      `Calls are answered with 503: the keys of an issuer cannot be had.${why} Tokens whose keys are known go on working.`,
    );
  }
}
