import { Logger, type Type } from '@nestjs/common';
import type { CallTiming } from '../context/call-context.js';
import { systemClock, type Clock } from '../tokens/time.js';
import type { ChallengeOptions } from '../verification/bearer-access.js';
import type { TokenVerifierOptions } from '../verification/verifier-options.js';
import { createTokenVerifier, type TokenVerifier } from '../verification/verifier.js';
import { checkChallengeOptions } from './access.js';
import type { CredentialsOptions } from './call-credentials.js';
import { GuardConfigError } from './declarations.js';
import { RefusalLog, type RefusedCall } from './refusal-log.js';

/** How the guard answers, and where it looks for a token. */
export interface GuardOptions extends ChallengeOptions, CredentialsOptions {
  /**
   * Classes whose handlers the application's guard ignores, such as the controllers of other libraries: everybody is let in,
   * unless a guard of their own refuses. They run for nobody: calls to other services are refused. Classes that extend
   * these are not included. Controllers, resolvers and gateways alike; default none.
   *
   * The application does not start when one of them has decorators of this package, or `@UseGuards(JwtGuard)`, or is not part of it.
   *
   * @example
   * ```ts
   * import { JwtGuardModule } from 'service-token-kit/guard';
   *
   * JwtGuardModule.forRoot({ issuers, exclude: [PrometheusController] }); // the library's own class
   * ```
   */
  readonly exclude?: readonly Type[];
  /**
   * Notified of each refused call. Default: a debug line for each, and at most one warning each 10 seconds while keys are
   * unavailable.
   */
  readonly onRefused?: (call: RefusedCall) => void;
  /**
   * How long a call context lives after its response, for work that a handler has started and not awaited, in seconds. From 0
   * to 86400, default 60. Later calls to other services are refused, so that a timer or a connection that was made during a
   * customer's request does not act for that customer for hours.
   */
  readonly callContextGraceSeconds?: number;
}

/** How `JwtGuardModule` is set up: how tokens are judged, or a verifier that exists already; and how the guard answers. */
export type JwtGuardModuleOptions = GuardOptions &
  (TokenVerifierOptions | { readonly verifier: TokenVerifier; readonly clock?: Clock });

/** Options that must be known before the others. */
export interface JwtGuardModuleExtras {
  /**
   * Whether the guard stands before every handler of the application, so that one without a decorator is closed. Default
   * `true`. With `false` it stands before those that have a decorator or `@UseGuards(JwtGuard)`, and all others are open.
   */
  readonly guardEveryHandler?: boolean;
}

/** Nest's injection token for {@link GuardSettings}. */
export const GUARD_SETTINGS = Symbol('GuardSettings');

/** The options, checked, and what all instances of the guard share. */
export interface GuardSettings {
  readonly verifier: TokenVerifier;
  readonly timing: CallTiming;
  readonly options: GuardOptions;
  readonly excluded: ReadonlySet<unknown>;
  readonly everyHandler: boolean;
  readonly refusalLog: RefusalLog;
}

/**
 * @throws {VerifierConfigError} when an option of the verifier is missing or wrong.
 * @throws {GuardConfigError} when one of the guard is.
 */
export function readGuardSettings(
  options: JwtGuardModuleOptions,
  everyHandler: boolean,
): GuardSettings {
  refuseGlobal(options);
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
    timing: { clock, graceMs: grace * 1_000 },
    options,
    excluded: new Set(exclude),
    everyHandler,
    refusalLog: new RefusalLog(new Logger('JwtGuard'), clock),
  };
}

/** @throws {GuardConfigError} for a former option: ignored, it would close handlers that were open. */
export function refuseGlobal(options: object): void {
  if (!('global' in options)) return;
  throw new GuardConfigError(
    '"global" of JwtGuardModule is now "guardEveryHandler": whether the guard stands before every handler of the application. The module itself is always global, as Nest means it.',
  );
}
