import type { Type } from '@nestjs/common';
import type { CredentialsOptions } from './call-credentials.js';
import {
  readCallSettings,
  requireFunction,
  type CallOptions,
  type CallSettings,
  type VerifierChoice,
} from './call-options.js';
import { GuardConfigError } from './declarations.js';
import type { RefusalLogger } from './refusal-log.js';

/** How the guard answers, and where it looks for a token. */
export interface GuardOptions extends CallOptions, CredentialsOptions {
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
}

/** How `JwtGuardModule` is set up: how tokens are judged, or a verifier that exists already; and how the guard answers. */
export type JwtGuardModuleOptions = GuardOptions & VerifierChoice;

/** Options that must be known before the others. */
export interface JwtGuardModuleExtras {
  /**
   * Whether the guard stands before every handler of the application, so that one without a decorator is closed. Default
   * `true`. With `false` it stands before those that have a decorator or `@UseGuards(JwtGuard)`, and all others are open.
   */
  readonly guardEveryHandler?: boolean;
}

/** Nest's injection token for {@link GuardSettings}. Nest names it where an application has decorators and no module. */
export const GUARD_SETTINGS = Symbol('GuardSettings of JwtGuardModule.forRoot');

/** The options, checked, and what all instances of the guard share. */
export interface GuardSettings extends CallSettings {
  readonly options: GuardOptions;
  readonly excluded: ReadonlySet<unknown>;
  readonly everyHandler: boolean;
}

/**
 * @throws {VerifierConfigError} when an option of the verifier is missing or wrong.
 * @throws {GuardConfigError} when one of the guard is.
 */
export function readGuardSettings(
  options: JwtGuardModuleOptions,
  everyHandler: boolean,
  logger: RefusalLogger,
): GuardSettings {
  refuseGlobal(options);
  for (const name of ['tokenFromRpc', 'tokenFromWs'] as const) requireFunction(options, name);
  const { exclude = [] } = options;
  // An application's own list may come from anywhere.
  if (!Array.isArray(exclude) || !exclude.every((one) => typeof one === 'function')) {
    throw new GuardConfigError('"exclude" must be a list of classes.');
  }
  return {
    ...readCallSettings(options, logger),
    options,
    excluded: new Set(exclude),
    everyHandler,
  };
}

/** @throws {GuardConfigError} for a former option: ignored, it would close handlers that were open. */
export function refuseGlobal(options: object): void {
  if (!('global' in options)) return;
  throw new GuardConfigError(
    '"global" of JwtGuardModule is now "guardEveryHandler": whether the guard stands before every handler of the application. The module itself is always global, as Nest means it.',
  );
}
