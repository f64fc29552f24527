import { errorCode, notify } from '../tokens/errors.js';
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

/** Where the lines go: Nest's logger, Fastify's, the console, or another one with these levels. */
export interface RefusalLogger {
  warn(line: string): unknown;
  debug?(line: string): unknown;
}

/** Notifies the observer of a refused call, or logs it where there is none. */
export function reportRefusal(
  { options, refusalLog }: { readonly options: RefusalObserver; readonly refusalLog: RefusalLog },
  call: RefusedCall,
): void {
  if (options.onRefused === undefined) refusalLog.refused(call);
  else notify(() => options.onRefused?.(call));
}

interface RefusalObserver {
  readonly onRefused?: (call: RefusedCall) => void;
}

/** How a framework's handlers say who may call them. */
export interface DeclarationWords {
  readonly missing: string;
  readonly remedy: string;
  readonly remedyOfMany: string;
}

const NEST_WORDS: DeclarationWords = {
  missing: 'no decorator',
  remedy: 'Add AllowCustomer(), AllowService() or Public().',
  remedyOfMany:
    'Add AllowCustomer(), AllowService() or Public(), or name the classes of other libraries in "exclude".',
};

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
    private readonly logger: RefusalLogger,
    private readonly clock: Pick<Clock, 'now'>,
    private readonly words: DeclarationWords = NEST_WORDS,
  ) {}

  /** Warns of handlers without a decorator, as the application has them when it starts. */
  undeclared(handlers: readonly string[]): void {
    const news = handlers.filter((handler) => !this.#undeclared.has(handler));
    if (news.length === 0) return;
    for (const handler of news) this.#undeclared.add(handler);
    const shown = news.slice(0, MOST_NAMES).join(', ');
    const others = news.length > MOST_NAMES ? ` and ${news.length - MOST_NAMES} more` : '';
    this.logger.warn(
      `Every call of these handlers is refused, because ${this.words.missing} says who may call them: ${shown}${others}. ${this.words.remedyOfMany}`,
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
        ? `Every call of ${handler} is refused, because ${this.words.missing} says who may call it. ${this.words.remedy}`
        : `Calls of ${handler} are refused: the guard does not know contexts of the kind "${transport}".`,
    );
  }

  /** The error's words may quote a claim. */
  #warnOfCheck({ handler, refusal, error }: RefusedCall): void {
    if (!this.#mayWarn('check')) return;
    const name = error instanceof Error ? error.name : typeof error;
    this.logger.warn(
      `A check of claims failed (${name}), and calls of ${handler} are refused: ${refusal.requirement ?? ''}. "onRefused" gets the error.`,
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
