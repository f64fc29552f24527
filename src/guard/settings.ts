import type { Type } from '@nestjs/common';
import type { CallTiming } from '../context/call-context.js';
import { systemClock, type Clock } from '../tokens/clock.js';
import type { TokenVerifierOptions } from '../verification/options.js';
import { createTokenVerifier, type TokenVerifier } from '../verification/verifier.js';
import { checkChallengeOptions, type ChallengeOptions } from './challenge.js';
import type { CredentialsOptions } from './credentials.js';
import { GuardConfigError } from './errors.js';
import type { Refusal } from './refusal.js';

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
