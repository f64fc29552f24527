import {
  ConfigurableModuleBuilder,
  Injectable,
  type DynamicModule,
  type OnApplicationShutdown,
} from '@nestjs/common';
import { APP_GUARD, APP_INTERCEPTOR, DiscoveryModule, DiscoveryService } from '@nestjs/core';
import { switchOffCallContext } from '../context/call-context-off.js';
import { CallContextInterceptor } from './call-context.interceptor.js';
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
  /**
   * Whether handlers run in a call context, which `currentCallContext()` and the client of this package need to act on
   * behalf of whoever calls. Default `true`. It costs an interceptor and Node's asynchronous context tracking on every
   * request, which before Node 24 is more than all else that the guard does. With `false` asking for the call context is an
   * error, and `CurrentPrincipal()` works over HTTP alone.
   */
  readonly callContext?: boolean;
}

/** Nest's injection token for the verifier that the guard uses, for health and metrics of its keys. */
export const TOKEN_VERIFIER = Symbol('TOKEN_VERIFIER');

const SETTINGS = Symbol('GuardSettings');
const REVIEW = Symbol('GuardReview');
const OPTIONS = Symbol('JwtGuardModuleOptions');

export const { ConfigurableModuleClass } = new ConfigurableModuleBuilder<JwtGuardModuleOptions>({
  optionsInjectionToken: OPTIONS,
})
  .setClassMethodName('forRoot')
  .setExtras<JwtGuardModuleExtras>({ global: true, callContext: true }, withGuard)
  .build();

/** Keeps the call context off as long as the application is there. */
@Injectable()
class CallContextSwitch implements OnApplicationShutdown {
  readonly #switchOn = switchOffCallContext();

  onApplicationShutdown(): void {
    this.#switchOn();
  }
}

function withGuard(definition: DynamicModule, extras: JwtGuardModuleExtras): DynamicModule {
  const isGlobal = extras.global !== false;
  const keepsCallContext = extras.callContext !== false;
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
        useFactory: (discovery: DiscoveryService) =>
          reviewHandlers(discovery, { isGlobal, keepsCallContext }),
        inject: [DiscoveryService],
      },
      ...(isGlobal ? [{ provide: APP_GUARD, useExisting: JwtGuard }] : []),
      keepsCallContext
        ? { provide: APP_INTERCEPTOR, useClass: CallContextInterceptor }
        : CallContextSwitch,
    ],
    exports: [...(definition.exports ?? []), Gatekeeper, JwtGuard, TOKEN_VERIFIER],
  };
}
