import {
  ConfigurableModuleBuilder,
  type DynamicModule,
  Inject,
  Module,
  type NestModule,
  type OnApplicationBootstrap,
} from '@nestjs/common';
import { APP_GUARD, DiscoveryModule, DiscoveryService, HttpAdapterHost } from '@nestjs/core';
import { Gatekeeper, JwtGuard } from './jwt.guard.js';
import { reviewHandlers, bringCallContexts, undeclaredHandlers } from './review.js';
import {
  readGuardSettings,
  type GuardSettings,
  type JwtGuardModuleOptions,
} from './guard-options.js';
import { openHttpFrames } from './http-call.js';

/** What has to be known before the options are. */
export interface JwtGuardModuleExtras {
  /**
   * Whether the guard stands before every handler of the application, so that one without a decorator is closed. Default
   * `true`. With `false` it stands before those that have a decorator or `@UseGuards(JwtGuard)`, and all others are open.
   */
  readonly global?: boolean;
}

/** Nest's injection token for the verifier that the guard uses, for health and metrics of its keys. */
export const TOKEN_VERIFIER = Symbol.for('service-token-broker/token-verifier');

const SETTINGS = Symbol('GuardSettings');
const IS_GLOBAL = Symbol('GuardIsGlobal');
const REVIEW = Symbol('GuardReview');
const OPTIONS = Symbol('JwtGuardModuleOptions');

export const { ConfigurableModuleClass } = new ConfigurableModuleBuilder<JwtGuardModuleOptions>({
  optionsInjectionToken: OPTIONS,
})
  .setClassMethodName('forRoot')
  .setExtras<JwtGuardModuleExtras>({ global: true }, withGuard)
  .build();

function withGuard(definition: DynamicModule, extras: JwtGuardModuleExtras): DynamicModule {
  const isGlobal = extras.global !== false;
  return {
    ...definition,
    // The decorators name the guard in every module of the application.
    global: true,
    imports: [...(definition.imports ?? []), DiscoveryModule],
    providers: [
      ...(definition.providers ?? []),
      { provide: SETTINGS, useFactory: readGuardSettings, inject: [OPTIONS] },
      {
        provide: TOKEN_VERIFIER,
        useFactory: ({ verifier }: GuardSettings) => verifier,
        inject: [SETTINGS],
      },
      {
        provide: Gatekeeper,
        useFactory: (settings: GuardSettings) => new Gatekeeper(settings),
        inject: [SETTINGS],
      },
      JwtGuard,
      {
        provide: REVIEW,
        useFactory: (discovery: DiscoveryService, { excluded }: GuardSettings) =>
          reviewHandlers(discovery, { isGlobal, excluded, guard: JwtGuard }),
        inject: [DiscoveryService, SETTINGS],
      },
      { provide: IS_GLOBAL, useValue: isGlobal },
      ...(isGlobal ? [{ provide: APP_GUARD, useExisting: JwtGuard }] : []),
    ],
    exports: [...(definition.exports ?? []), Gatekeeper, JwtGuard, TOKEN_VERIFIER],
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
