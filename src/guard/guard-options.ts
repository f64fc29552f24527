import type { Type, LoggerService } from '@nestjs/common';
import type { CallTiming } from '../context/call-context.js';
import { systemClock, type Clock } from '../tokens/time.js';
import type { TokenVerifierOptions } from '../verification/verifier-options.js';
import { createTokenVerifier, type TokenVerifier } from '../verification/verifier.js';
import { checkChallengeOptions, type ChallengeOptions, type Refusal } from './access.js';
import type { CredentialsOptions } from './call-credentials.js';
import { GuardConfigError } from './declarations.js';
import { errorCode } from '../tokens/errors.js';

/** A call that was refused, for logs and metrics. Holds nothing of the token. */
export interface RefusedCall {
  /** Class and method, such as `OrdersController.list`. */
  readonly handler: string;
  /** `http`, `graphql`, `ws`, `rpc`, or the name of a kind of context that the guard does not know. */
  readonly transport: string;
  readonly refusal: Refusal;
  /** What the verifier threw, when the token was refused by it or could not be verified. */
  readonly error: unknown;
}

/** How the guard answers, and where it looks for a token. */
export interface GuardOptions extends ChallengeOptions, CredentialsOptions {
  /**
   * Classes whose handlers the application's guard leaves alone, such as the controllers of other libraries: whoever reaches
   * them is let in, unless a guard of their own says otherwise. They run for nobody: calls to other services are
   * refused. A class that extends one of these is not meant. Controllers, resolvers and gateways alike; default none.
   *
   * The application does not start when one of them has decorators of this package, or `@UseGuards(JwtGuard)`, or is nowhere in it.
   *
   * @example
   * ```ts
   * import { JwtGuardModule } from 'service-token-broker/guard';
   *
   * JwtGuardModule.forRoot({ issuers, exclude: [PrometheusController] }); // the library's own class
   * ```
   */
  readonly exclude?: readonly Type[];
  /** Is told of each refused call. Default: a debug line for each, and a warning at most each 10 seconds while keys cannot be had. */
  readonly onRefused?: (call: RefusedCall) => void;
  /**
   * How long after its response a call context lives on, for what a handler has started and not awaited, in seconds. From 0
   * to 86400, default 60. Later calls to other services are refused, so that a timer or a connection that was made during a
   * customer's request does not act for that customer for hours.
   */
  readonly callContextGraceSeconds?: number;
}

/** How `JwtGuardModule` is set up: how tokens are judged, or a verifier that exists already; and how the guard answers. */
export type JwtGuardModuleOptions = GuardOptions &
  (TokenVerifierOptions | { readonly verifier: TokenVerifier; readonly clock?: Clock });

/** Options, checked. */
export interface GuardSettings {
  readonly verifier: TokenVerifier;
  readonly clock: Clock;
  readonly timing: CallTiming;
  readonly options: GuardOptions;
  readonly excluded: ReadonlySet<unknown>;
}

/**
 * @throws {VerifierConfigError} when an option of the verifier is missing or wrong.
 * @throws {GuardConfigError} when one of the guard is.
 */
export function readGuardSettings(options: JwtGuardModuleOptions): GuardSettings {
  checkChallengeOptions(options);
  for (const name of ['tokenFromRpc', 'tokenFromWs', 'onRefused'] as const) {
    if (options[name] !== undefined && typeof options[name] !== 'function') {
      throw new GuardConfigError(`"${name}" must be a function.`);
    }
  }
  const { exclude = [] } = options;
  // An application's own list may come from anywhere.
  if (!Array.isArray(exclude) || !exclude.every((one) => typeof one === 'function')) {
    throw new GuardConfigError('"exclude" must be a list of classes.');
  }
  const verifier = 'verifier' in options ? options.verifier : createTokenVerifier(options);
  if (typeof (verifier as Partial<TokenVerifier> | undefined)?.verify !== 'function') {
    throw new GuardConfigError('"verifier" must be made by createTokenVerifier.');
  }
  const { clock = systemClock, callContextGraceSeconds: grace = 60 } = options;
  if (typeof grace !== 'number' || !(grace >= 0 && grace <= 86_400)) {
    throw new GuardConfigError('"callContextGraceSeconds" must be a number from 0 to 86400.');
  }
  return {
    verifier,
    clock,
    timing: { clock, graceMs: grace * 1_000 },
    options,
    excluded: new Set(exclude),
  };
}

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
