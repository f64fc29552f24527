import {
  ConfigurableModuleBuilder,
  Inject,
  Logger,
  Module,
  type DynamicModule,
  type NestModule,
  type OnApplicationBootstrap,
} from '@nestjs/common';
import { APP_GUARD, DiscoveryModule, DiscoveryService, HttpAdapterHost } from '@nestjs/core';
import type { TokenVerifier } from '../verification/index.js';
import {
  GUARD_SETTINGS,
  readGuardSettings,
  refuseGlobal,
  type GuardSettings,
  type JwtGuardModuleExtras,
  type JwtGuardModuleOptions,
} from './guard-options.js';
import { openHttpFrames } from './http-call.js';
import { JwtGuard } from './jwt.guard.js';
import { bringCallContexts, reviewHandlers, undeclaredHandlers } from './review.js';

/** Nest's injection token for the verifier that the guard uses, for health and metrics of its keys; a test may override it. */
export const TOKEN_VERIFIER = Symbol.for('service-token-broker/token-verifier');

const OPTIONS = Symbol('JwtGuardModuleOptions');
const CONFIGURED = Symbol('ConfiguredGuardSettings');

export const { ConfigurableModuleClass } = new ConfigurableModuleBuilder<JwtGuardModuleOptions>({
  optionsInjectionToken: OPTIONS,
})
  .setClassMethodName('forRoot')
  .setExtras<JwtGuardModuleExtras>({ guardEveryHandler: true }, withGuard)
  .build();

function withGuard(definition: DynamicModule, extras: JwtGuardModuleExtras): DynamicModule {
  refuseGlobal(extras);
  const everyHandler = extras.guardEveryHandler !== false;
  return {
    ...definition,
    // The decorators name the guard in every module of the application.
    global: true,
    imports: [...(definition.imports ?? []), DiscoveryModule],
    providers: [
      ...(definition.providers ?? []),
      {
        provide: CONFIGURED,
        useFactory: (options: JwtGuardModuleOptions) =>
          readGuardSettings(options, everyHandler, new Logger('JwtGuard')),
        inject: [OPTIONS],
      },
      {
        provide: TOKEN_VERIFIER,
        useFactory: ({ verifier }: GuardSettings) => verifier,
        inject: [CONFIGURED],
      },
      {
        // By way of its token, so that a test that overrides the verifier replaces the guard's.
        provide: GUARD_SETTINGS,
        useFactory: (settings: GuardSettings, verifier: TokenVerifier) => ({
          ...settings,
          verifier,
        }),
        inject: [CONFIGURED, TOKEN_VERIFIER],
      },
      JwtGuard,
      ...(everyHandler ? [{ provide: APP_GUARD, useExisting: JwtGuard }] : []),
    ],
    exports: [...(definition.exports ?? []), GUARD_SETTINGS, JwtGuard, TOKEN_VERIFIER],
  };
}

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
 * import { createRemoteKeySet, JwtGuardModule } from 'service-token-kit/guard';
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
 * `forRootAsync` takes `useFactory`, `inject` and `imports`, or `useClass` or `useExisting`; `guardEveryHandler` stands
 * beside them.
 */
@Module({})
export class JwtGuardModule
  extends ConfigurableModuleClass
  implements NestModule, OnApplicationBootstrap
{
  constructor(
    @Inject(HttpAdapterHost) private readonly host: HttpAdapterHost,
    @Inject(DiscoveryService) private readonly discovery: DiscoveryService,
    @Inject(GUARD_SETTINGS) private readonly settings: GuardSettings,
  ) {
    super();
    reviewHandlers(discovery, settings, JwtGuard);
  }

  /** Called by Nest when the HTTP adapter is there and has no routes yet. */
  configure(): void {
    const hasFrames = openHttpFrames(this.host.httpAdapter, this.settings.timing);
    if (!hasFrames) bringCallContexts(this.discovery);
  }

  /** Called by Nest when every provider is made. Better now than at somebody's first call. */
  onApplicationBootstrap(): void {
    const { everyHandler, excluded, refusalLog } = this.settings;
    if (everyHandler) refusalLog.undeclared(undeclaredHandlers(this.discovery, excluded));
  }
}
