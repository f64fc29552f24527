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
  const verifier = 'verifier' in options ? options.verifier : createTokenVerifier(options);
  if (typeof (verifier as Partial<TokenVerifier> | undefined)?.verify !== 'function') {
    throw new GuardConfigError('"verifier" must be made by createTokenVerifier.');
  }
  const { clock = systemClock, callContextGraceSeconds: grace = 60 } = options;
  if (typeof grace !== 'number' || !(grace >= 0 && grace <= 86_400)) {
    throw new GuardConfigError('"callContextGraceSeconds" must be a number from 0 to 86400.');
  }
  return { verifier, clock, timing: { clock, graceMs: grace * 1_000 }, options };
}
