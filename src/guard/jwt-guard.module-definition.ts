import { ConfigurableModuleBuilder, type DynamicModule } from '@nestjs/common';
import { APP_GUARD, DiscoveryModule, DiscoveryService } from '@nestjs/core';
import { Gatekeeper } from './gatekeeper.js';
import { JwtGuard } from './jwt.guard.js';
import { reviewHandlers } from './review.js';
import { readGuardSettings, type GuardSettings, type JwtGuardModuleOptions } from './settings.js';

/** What has to be known before the options are. */
export interface JwtGuardModuleExtras {
  /**
   * Whether the guard stands before every handler of the application, so that one without a decorator is closed. Default
   * `true`. With `false` it stands before those that have a decorator or `@UseGuards(JwtGuard)`, and all others are open.
   */
  readonly global?: boolean;
}

/** Nest's injection token for the verifier that the guard uses, for health and metrics of its keys. */
export const TOKEN_VERIFIER = Symbol('TOKEN_VERIFIER');

export const SETTINGS = Symbol('GuardSettings');
export const IS_GLOBAL = Symbol('GuardIsGlobal');
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
