import { Module } from '@nestjs/common';
import { ConfigurableModuleClass } from './service-client.module-definition.js';

/**
 * Gives a Nest application what calls other services with the right token: `HttpService` of `@nestjs/axios` and a `fetch`
 * (`AUTHORIZED_FETCH`) that act by the call context, and the source of the service token (`SERVICE_TOKEN_SOURCE`).
 *
 * Import it once, in the root module. It needs `@nestjs/axios`, `axios` and `rxjs`.
 *
 * A module that imports `HttpModule` of `@nestjs/axios` gets a plain `HttpService` from there, which sends no token. The
 * application does not start then, unless `plainHttpIn` names the module.
 *
 * Whether the broker can be reached is shown by the first call. A handler that cannot call another service is answered by
 * {@link AttachmentErrorFilter}.
 *
 * @throws {ClientConfigError} at the start of the application, naming every option that is missing or wrong, and every
 *   module with a plain `HttpService`.
 *
 * @example
 * ```ts
 * import { Injectable, Module } from '@nestjs/common';
 * import { HttpService } from '@nestjs/axios';
 * import { ServiceClientModule } from 'service-token-broker/client/nest';
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
 * `forRootAsync` takes `useFactory`, `inject` and `imports`; `global` and `plainHttpIn` stand beside them.
 */
@Module({})
export class ServiceClientModule extends ConfigurableModuleClass {}
