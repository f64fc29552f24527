import { Inject, Module, type NestModule, type OnApplicationBootstrap } from '@nestjs/common';
import { DiscoveryService, HttpAdapterHost } from '@nestjs/core';
import { Gatekeeper } from './gatekeeper.js';
import { openHttpFrames } from './http-call.js';
import { ConfigurableModuleClass, IS_GLOBAL, SETTINGS } from './jwt-guard.module-definition.js';
import { bringCallContexts, undeclaredHandlers } from './review.js';
import type { GuardSettings } from './settings.js';

/**
 * Guards an application: every handler is closed until a decorator says who may call it.
 *
 * Import it once, in the root module. Decorators are checked before the application starts.
 *
 * @throws {VerifierConfigError} when an option of the verifier is missing or wrong.
 * @throws {GuardConfigError} when one of the guard is, and when decorators contradict one another.
 *
 * @example
 * ```ts
 * import { Module } from '@nestjs/common';
 * import { createRemoteKeySet, JwtGuardModule } from 'service-token-broker/guard';
 *
 * @Module({
 *   imports: [
 *     JwtGuardModule.forRoot({
 *       issuers: [
 *         {
 *           issuer: 'https://tenant.eu.auth0.com/',
 *           audiences: 'https://orders.example.com',
 *           profile: 'auth0',
 *           keys: createRemoteKeySet({ jwksUri: 'https://tenant.eu.auth0.com/.well-known/jwks.json' }),
 *         },
 *       ],
 *     }),
 *   ],
 * })
 * export class AppModule {}
 * ```
 *
 * `forRootAsync` takes `useFactory`, `inject` and `imports`; `global` stands beside them.
 */
@Module({})
export class JwtGuardModule
  extends ConfigurableModuleClass
  implements NestModule, OnApplicationBootstrap
{
  constructor(
    @Inject(HttpAdapterHost) private readonly host: HttpAdapterHost,
    @Inject(DiscoveryService) private readonly discovery: DiscoveryService,
    @Inject(SETTINGS) private readonly settings: GuardSettings,
    @Inject(Gatekeeper) private readonly gatekeeper: Gatekeeper,
    @Inject(IS_GLOBAL) private readonly isGlobal: boolean,
  ) {
    super();
  }

  /** Called by Nest when the HTTP adapter is there and has no routes yet. */
  configure(): void {
    const hasFrames = openHttpFrames(this.host.httpAdapter, this.settings.timing);
    if (!hasFrames) bringCallContexts(this.discovery);
  }

  /** Called by Nest when every provider is made. Better now than at somebody's first call. */
  onApplicationBootstrap(): void {
    if (!this.isGlobal) return;
    this.gatekeeper.announce(undeclaredHandlers(this.discovery, this.settings.excluded));
  }
}
