import type { LoggerService } from '@nestjs/common';
import { errorCode } from '../tokens/errors.js';
import type { Clock } from '../tokens/time.js';
import type { Refusal } from '../verification/bearer-access.js';

/** A call that was refused, for logs and metrics. Holds nothing of the token. */
export interface RefusedCall {
  /** Class and method, such as `OrdersController.list`. */
  readonly handler: string;
  /** `http`, `graphql`, `ws`, `rpc`, or the name of a kind of context that the guard does not know. */
  readonly transport: string;
  readonly refusal: Refusal;
  /** What the verifier threw, when it rejected the token or could not verify it; what a check of the claims threw. */
  readonly error: unknown;
}

/** So many handlers are named in one line. */
const MOST_NAMES = 50;

const WARNING_PAUSE_MILLISECONDS = 10_000;

/**
 * Logs refused calls, unless the application has `onRefused`. Anybody can cause a refusal, so that warnings are bounded:
 * one at start for all handlers without a decorator, one for each that is found later, and one each 10 seconds while keys
 * are unavailable or a check of claims fails.
 */
export class RefusalLog {
  readonly #undeclared = new Set<string>();
  readonly #nextWarningAt = { keys: Number.NEGATIVE_INFINITY, check: Number.NEGATIVE_INFINITY };

  constructor(
    private readonly logger: Pick<LoggerService, 'warn' | 'debug'>,
    private readonly clock: Pick<Clock, 'now'>,
  ) {}

  /** Warns of handlers without a decorator, as the application has them when it starts. */
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
    const { reason, status, requirement } = refusal;
    if (reason === 'NOT_DECLARED' || reason === 'UNKNOWN_CONTEXT') this.#warnOnce(call);
    else if (reason === 'CLAIM_CHECK_FAILED') this.#warnOfCheck(call);
    else if (status === 503) this.#warnOfKeys(error);
    const unmet = requirement === undefined ? '' : ` (${requirement})`;
    this.logger.debug?.(`Refused ${handler} (${transport}): ${status} ${reason}${unmet}`);
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

  /** The error's words may quote a claim. */
  #warnOfCheck({ handler, refusal, error }: RefusedCall): void {
    if (!this.#mayWarn('check')) return;
    this.logger.warn(
      `A check of claims failed, and calls of ${handler} are refused: ${refusal.requirement ?? ''}. The error is ${errorCode(error)}; "onRefused" gets it whole.`,
    );
  }

  #mayWarn(about: 'keys' | 'check'): boolean {
    const now = this.clock.now();
    if (now < this.#nextWarningAt[about]) return false;
    this.#nextWarningAt[about] = now + WARNING_PAUSE_MILLISECONDS;
    return true;
  }

  #warnOfKeys(error: unknown): void {
    if (!this.#mayWarn('keys')) return;
    const cause: unknown = error instanceof Error ? error.cause : undefined;
    const why = cause === undefined ? '' : ` The cause is ${errorCode(cause)}.`;
    this.logger.warn(
      `Calls are answered with 503: the keys of an issuer are unavailable.${why} Tokens whose keys are known still work.`,
    );
  }
}
