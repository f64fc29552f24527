import { ClientConfigError } from '../errors.js';
import type {
  ServiceClientModuleAsyncOptions,
  ServiceClientModuleExtras,
  ServiceClientModuleOptions,
} from './module-options.js';

/** A dynamic module, as far as the types of this package may know Nest. `imports` of a Nest module takes its promise. */
export interface ServiceClientDynamicModule {
  readonly module: new () => object;
  readonly global: boolean;
}

/**
 * Gives a Nest application what calls other services with the right token: `HttpService` of `@nestjs/axios` and a `fetch`
 * ({@link AUTHORIZED_FETCH}) that act by the call context, and the source of the service token ({@link SERVICE_TOKEN_SOURCE}).
 *
 * Import it once, in the root module. It needs `@nestjs/axios`, `axios` and `rxjs`, which are loaded when one of its
 * functions is called: this is why they return promises, which Nest takes as they are.
 *
 * The application does not start when an option is missing or wrong ({@link ClientConfigError}). Whether the broker can be
 * reached is found out by the first call.
 *
 * @example
 * ```ts
 * import { Injectable, Module } from '@nestjs/common';
 * import { HttpService } from '@nestjs/axios';
 * import { ServiceClientModule } from 'service-token-broker/client';
 *
 * @Injectable()
 * class Invoices {
 *   constructor(private readonly http: HttpService) {}
 *
 *   list() {
 *     return this.http.get('https://billing.internal/invoices');
 *   }
 * }
 *
 * @Module({
 *   imports: [
 *     ServiceClientModule.forRoot({
 *       broker: { brokers: 'https://broker.internal', peer: { id: 'orders', secret: readPeerSecret } },
 *       origins: [{ origin: 'https://billing.internal', acceptsCustomers: true }],
 *       axios: { timeout: 5_000 },
 *     }),
 *   ],
 *   providers: [Invoices],
 * })
 * export class AppModule {}
 * ```
 *
 * `forRootAsync` takes `useFactory`, `inject` and `imports`; `global` stands beside them.
 */
export class ServiceClientModule {
  static forRoot(
    options: ServiceClientModuleOptions & ServiceClientModuleExtras,
  ): Promise<ServiceClientDynamicModule> {
    const { global, ...rest } = options;
    return define({ ...(global !== undefined && { global }), useFactory: () => rest });
  }

  static forRootAsync(
    options: ServiceClientModuleAsyncOptions,
  ): Promise<ServiceClientDynamicModule> {
    return define(options);
  }
}

function define(options: ServiceClientModuleAsyncOptions): Promise<ServiceClientDynamicModule> {
  const definition = load().then(({ defineServiceClientModule }) =>
    defineServiceClientModule(ServiceClientModule, options),
  );
  // Nest sees a failure when it comes to this module. Until then it must not count as unhandled, which ends the process.
  definition.catch(() => undefined);
  return definition;
}

async function load(): Promise<typeof import('./define-module.js')> {
  try {
    return await import('./define-module.js');
  } catch (error) {
    throw new ClientConfigError(
      'ServiceClientModule needs packages that cannot be loaded. Install them with: npm install @nestjs/axios axios rxjs',
      { cause: error },
    );
  }
}
