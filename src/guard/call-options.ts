import { IncomingMessage } from 'node:http';
import { Socket } from 'node:net';
import type { CallTiming } from '../context/call-context.js';
import { systemClock, type Clock } from '../tokens/time.js';
import type { ChallengeOptions } from '../verification/bearer-access.js';
import type { TokenVerifierOptions } from '../verification/verifier-options.js';
import { createTokenVerifier, type TokenVerifier } from '../verification/verifier.js';
import { checkChallengeOptions } from './access.js';
import type { CredentialsOptions } from './call-credentials.js';
import { GuardConfigError } from './declarations.js';
import {
  RefusalLog,
  type DeclarationWords,
  type RefusalLogger,
  type RefusedCall,
} from './refusal-log.js';

/** How refused calls are answered and told, and how long a call lasts: the same for every framework. */
export interface CallOptions extends ChallengeOptions {
  /**
   * Notified of each refused call. Default: a debug line for each, and at most one warning each 10 seconds while keys are
   * unavailable, and while a check of claims fails.
   */
  readonly onRefused?: (call: RefusedCall) => void;
  /**
   * How long a call context lives after its response, for work that a handler has started and not awaited, in seconds. From 0
   * to 86400, default 60. Later calls to other services are refused, so that a timer or a connection that was made during a
   * customer's request does not act for that customer for hours.
   */
  readonly callContextGraceSeconds?: number;
  /**
   * The property of an admitted HTTP request (GraphQL over HTTP too) that is set to its {@link Principal}, such as `user` for code
   * that was written for passport. A refused or public request has none. Default for NestJS: none; for Express and Fastify:
   * `principal`.
   */
  readonly requestProperty?: string;
}

/** How tokens are judged: by these options, or by a verifier that exists already. */
export type VerifierChoice =
  TokenVerifierOptions | { readonly verifier: TokenVerifier; readonly clock?: Clock };

/** The options of every framework, checked. */
export interface CallSettings {
  readonly verifier: TokenVerifier;
  readonly timing: CallTiming;
  readonly options: CallOptions & CredentialsOptions;
  readonly refusalLog: RefusalLog;
}

/**
 * Reads what every framework has in common.
 *
 * @throws {VerifierConfigError} when an option of the verifier is missing or wrong.
 * @throws {GuardConfigError} when another one is.
 */
export function readCallSettings(
  options: CallOptions & VerifierChoice,
  logger: RefusalLogger,
  words?: DeclarationWords,
): CallSettings {
  checkChallengeOptions(options);
  requireFunction(options, 'onRefused');
  if (options.requestProperty !== undefined) checkRequestProperty(options.requestProperty);
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
    refusalLog: new RefusalLog(logger, clock, words),
  };
}

/** @throws {GuardConfigError} when the option is there, and no function. */
export function requireFunction<Name extends string>(
  options: { readonly [Key in Name]?: unknown },
  name: Name,
): void {
  if (options[name] !== undefined && typeof options[name] !== 'function') {
    throw new GuardConfigError(`"${name}" must be a function.`);
  }
}

/** What frameworks and their usual middleware set on requests: a principal there would break them. */
const TAKEN_PROPERTIES: ReadonlySet<string> = new Set(
  (
    'app baseUrl body context cookies file files fresh host hostname id ip ips is404 log next originalUrl params path ' +
    'protocol query raw req res route routeOptions secret secure server session signedCookies stale subdomains validationError xhr'
  ).split(' '),
);

function checkRequestProperty(name: unknown): void {
  const isFree =
    typeof name === 'string' &&
    /^[A-Za-z_$][\w$]*$/.test(name) &&
    !(name in new IncomingMessage(new Socket())) &&
    !TAKEN_PROPERTIES.has(name);
  if (isFree) return;
  throw new GuardConfigError(
    '"requestProperty" must be the name of a property that requests do not have already, such as "user".',
  );
}
