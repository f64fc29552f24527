import {
  Catch,
  ConfigurableModuleBuilder,
  HttpException,
  HttpStatus,
  Logger,
  Module,
  type ArgumentsHost,
  type DynamicModule,
  type ExceptionFilter,
  type Type,
} from '@nestjs/common';
import { APP_FILTER, BaseExceptionFilter, ModulesContainer } from '@nestjs/core';
import { HttpService } from '@nestjs/axios';
import axios, { type AxiosInstance, type CreateAxiosDefaults } from 'axios';
import { throwError } from 'rxjs';
import { BrokerError } from '../../tokens/errors.js';
import type { ServiceTokenSource } from '../../tokens/token-supply.js';
import { attachAuthorization } from '../attachment/attach-authorization.js';
import {
  AttachmentError,
  type AttachmentErrorCode,
  type AttachmentOptions,
} from '../attachment/attachment-rules.js';
import {
  createAuthorizedFetch,
  type AuthorizedFetchOptions,
} from '../attachment/authorized-fetch.js';
import { isSourceFailure } from '../attachment/send-attached.js';
import { ClientConfigError, readAll } from '../client-errors.js';
import type { ServiceTokenClientOptions } from '../client-options.js';
import { createServiceTokenClient } from '../service-token-client.js';

/** Nest's injection token for the `ServiceTokenSource` of `ServiceClientModule`, for health and metrics; a test may override it. */
export const SERVICE_TOKEN_SOURCE = Symbol.for('service-token-broker/service-token-source');

/** Nest's injection token for the `AuthorizedFetch` of `ServiceClientModule`. */
export const AUTHORIZED_FETCH = Symbol.for('service-token-broker/authorized-fetch');

/** How `ServiceClientModule` is set up: where the service token comes from, and where tokens may go. */
export type ServiceClientModuleOptions = Omit<AttachmentOptions, 'tokens'> &
  Pick<AuthorizedFetchOptions, 'fetch'> & {
    /** What axios is created with, such as `{ timeout: 5_000 }`. Default: nothing. */
    readonly axios?: CreateAxiosDefaults;
  } & (
    | {
        /** How to ask a broker over HTTP, as for `createServiceTokenClient`. */
        readonly broker: ServiceTokenClientOptions;
        readonly tokens?: undefined;
      }
    | {
        /** A source that exists already, such as a broker in the same process. */
        readonly tokens: ServiceTokenSource;
        readonly broker?: undefined;
      }
  );

/** Options that must be known before the others. */
export interface ServiceClientModuleExtras {
  /** Whether every module of the application can inject what this one provides. Default `true`. */
  readonly global?: boolean;
  /**
   * Modules that have an `HttpService` of their own on purpose, for calls that get no token: they import `HttpModule` of
   * `@nestjs/axios`, or provide `HttpService` themselves. Default: none, and the application does not start with one.
   */
  readonly plainHttpIn?: readonly Type[];
}

const OPTIONS = Symbol('ServiceClientModuleOptions');
const CLIENT = Symbol('ServiceClient');
const REVIEW = Symbol('ServiceClientReview');

export const { ConfigurableModuleClass } =
  new ConfigurableModuleBuilder<ServiceClientModuleOptions>({ optionsInjectionToken: OPTIONS })
    .setClassMethodName('forRoot')
    .setExtras<ServiceClientModuleExtras>({ global: true, plainHttpIn: [] }, withClient)
    .build();

function withClient(definition: DynamicModule, extras: ServiceClientModuleExtras): DynamicModule {
  const { global = true, plainHttpIn = [] } = extras;
  return {
    ...definition,
    global,
    providers: [
      ...(definition.providers ?? []),
      { provide: CLIENT, useFactory: createServiceClient, inject: [OPTIONS] },
      {
        provide: SERVICE_TOKEN_SOURCE,
        useFactory: ({ tokens }: ServiceClient) => tokens,
        inject: [CLIENT],
      },
      {
        provide: HttpService,
        useFactory: (options: ServiceClientModuleOptions, tokens: ServiceTokenSource) =>
          new HttpService(createInstance(options, tokens)),
        inject: [OPTIONS, SERVICE_TOKEN_SOURCE],
      },
      {
        provide: AUTHORIZED_FETCH,
        useFactory: (options: ServiceClientModuleOptions, tokens: ServiceTokenSource) =>
          createAuthorizedFetch({ ...options, tokens }),
        inject: [OPTIONS, SERVICE_TOKEN_SOURCE],
      },
      { provide: APP_FILTER, useClass: AttachmentErrorFilter },
      {
        provide: REVIEW,
        useFactory: (modules: ModulesContainer) =>
          requireNoPlainHttpService(modules, definition.module, { global, plainHttpIn }),
        inject: [ModulesContainer],
      },
    ],
    exports: [...(definition.exports ?? []), SERVICE_TOKEN_SOURCE, HttpService, AUTHORIZED_FETCH],
  };
}

/** Where the configured token comes from. What calls with it asks `SERVICE_TOKEN_SOURCE`, which a test may override. */
interface ServiceClient {
  readonly tokens: ServiceTokenSource;
  /** Ends what the module itself has begun. */
  readonly onModuleDestroy: () => void;
}

/** Stands in for a source that cannot be made, whose mistake is reported already. */
const NO_SOURCE: ServiceTokenSource = { getToken: () => new Promise(() => undefined) };

/** @throws {ClientConfigError} naming every option that is missing or wrong. */
function createServiceClient(options: ServiceClientModuleOptions): ServiceClient {
  let tokens = NO_SOURCE;
  let onModuleDestroy = (): void => undefined;
  readAll({
    tokens: () => {
      const { broker } = options;
      if (broker === undefined || options.tokens !== undefined)
        return (tokens = givenSource(options));
      const own = createServiceTokenClient(broker);
      onModuleDestroy = () => own.close();
      return (tokens = own);
    },
    fetch: () => createAuthorizedFetch({ ...options, tokens }),
    instance: () => createInstance(options, tokens),
  });
  return { tokens, onModuleDestroy };
}

function createInstance(
  options: ServiceClientModuleOptions,
  tokens: ServiceTokenSource,
): AxiosInstance {
  const instance = axios.create(options.axios);
  attachAuthorization(instance, { ...options, tokens });
  return instance;
}

function givenSource({ broker, tokens }: ServiceClientModuleOptions): ServiceTokenSource {
  if (tokens !== undefined && broker === undefined) return tokens;
  throw new ClientConfigError('ServiceClientModule needs "broker" or "tokens", and not both.');
}

/**
 * Gives a Nest application what calls other services with the right token: `HttpService` of `@nestjs/axios` and a `fetch`
 * (`AUTHORIZED_FETCH`) that act by the call context, and the source of the service token (`SERVICE_TOKEN_SOURCE`).
 *
 * Import it once, in the root module. It needs `@nestjs/axios`, `axios` and `rxjs`.
 *
 * A module that imports `HttpModule` of `@nestjs/axios` gets a plain `HttpService` from there, which sends no token. The
 * application does not start then, unless `plainHttpIn` names the module.
 *
 * The first call shows whether the broker can be reached. {@link AttachmentErrorFilter} answers for a handler that cannot call
 * another service.
 *
 * @throws {ClientConfigError} at the start of the application, naming every option that is missing or wrong, and every
 *   module with a plain `HttpService`.
 *
 * @example
 * ```ts
 * import { Injectable, Module } from '@nestjs/common';
 * import { HttpService } from '@nestjs/axios';
 * import { ServiceClientModule } from 'service-token-kit/client/nest';
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
 * `forRootAsync` takes `useFactory`, `inject` and `imports`, or `useClass` or `useExisting`; `global` and `plainHttpIn` stand
 * beside them.
 */
@Module({})
export class ServiceClientModule extends ConfigurableModuleClass {}

/**
 * Looks for modules that have an `HttpService` other than that of `ServiceClientModule`. Nest prefers what a module
 * imports or provides itself to what is global: such a module would call without a token, unnoticed.
 *
 * @param modules all modules of the application.
 * @param ours the class of `ServiceClientModule`.
 * @throws {ClientConfigError} naming every such module.
 */
function requireNoPlainHttpService(
  modules: ModulesContainer,
  ours: Type,
  { global, plainHttpIn }: { readonly global: boolean; readonly plainHttpIn: readonly Type[] },
): void {
  const all = [...modules.values()].filter(({ metatype }) => metatype !== ours);
  // By its name: another copy of `@nestjs/axios` has another class.
  const plain = all.filter(({ providers }) =>
    [...providers.keys()].some(
      (token) => typeof token === 'function' && token.name === 'HttpService',
    ),
  );
  const everywhere = plain.filter(({ isGlobal }) => isGlobal);
  const mistakes = everywhere.map(
    ({ name }) =>
      `${name} is global and provides an HttpService that sends no token, to every module. Remove "global" from it, and import it where such calls are made.`,
  );
  const concerned = plain
    .filter(({ isGlobal }) => !isGlobal)
    .flatMap((module) =>
      // The module of `@nestjs/axios` itself: its importers are responsible.
      module.name === 'HttpModule' ? all.filter(({ imports }) => imports.has(module)) : [module],
    )
    .filter(({ metatype }) => !plainHttpIn.includes(metatype))
    .filter(({ imports }) => global || [...imports].some(({ metatype }) => metatype === ours));
  for (const name of new Set(concerned.map((module) => module.name))) {
    mistakes.push(
      `${name} has an HttpService that sends no token: it imports HttpModule of @nestjs/axios, or provides HttpService itself. ` +
        `Remove that, and it gets the HttpService of ServiceClientModule; or name it if its calls need no token: plainHttpIn: [${name}].`,
    );
  }
  if (mistakes.length > 0) throw new ClientConfigError(mistakes);
}

/** The status for the handler's caller. Every other code is a mistake of the application: 500. */
const STATUS: Partial<Record<AttachmentErrorCode, HttpStatus>> = {
  CUSTOMER_NOT_ACCEPTED: HttpStatus.FORBIDDEN,
  CUSTOMER_REQUIRED: HttpStatus.FORBIDDEN,
  TOKEN_NOT_SENDABLE: HttpStatus.SERVICE_UNAVAILABLE,
};

const MESSAGE: Partial<Record<HttpStatus, string>> = {
  [HttpStatus.FORBIDDEN]: 'The caller may not do this.',
  [HttpStatus.SERVICE_UNAVAILABLE]: 'The service is not available at the moment.',
};

/**
 * Answers a call whose handler could not call another service: 403 where a customer's token may not go or a customer is
 * needed, 503 with `Retry-After` where no service token is available, and 500 for a mistake of the application, such as an
 * origin that is not listed. The log has one line with the code and what to do; the caller gets neither.
 *
 * `ServiceClientModule` provides it for the whole application, over HTTP, GraphQL and microservices. Nest runs no such filter
 * for WebSockets: there, name it in `UseFilters`.
 */
@Catch(BrokerError)
export class AttachmentErrorFilter
  extends BaseExceptionFilter
  implements ExceptionFilter<BrokerError>
{
  readonly #log = new Logger('ServiceClientModule');

  override catch(error: BrokerError, host: ArgumentsHost): unknown {
    const status = statusOf(error);
    // oxlint-disable-next-line promise/valid-params -- it is the filter's method, not a promise's.
    if (status === undefined) return super.catch(error, host);
    this.#log.error(`${status}: ${error.code}: ${error.message}`);
    const exception = new HttpException(MESSAGE[status] ?? 'Internal server error', status);
    const body = { status: 'error', statusCode: status, message: exception.message };
    switch (host.getType<string>()) {
      case 'graphql':
        return exception;
      case 'rpc':
        return throwError(() => body);
      default:
        if (status === HttpStatus.SERVICE_UNAVAILABLE) {
          const seconds = Math.max(1, Math.ceil(error.retryAfterSeconds ?? 1));
          const adapter = this.applicationRef ?? this.httpAdapterHost?.httpAdapter;
          adapter?.setHeader(host.getArgByIndex(1), 'Retry-After', String(seconds));
        }
        // oxlint-disable-next-line promise/valid-params -- it is the filter's method, not a promise's.
        return super.catch(exception, host);
    }
  }
}

function statusOf(error: BrokerError): HttpStatus | undefined {
  if (error instanceof AttachmentError) {
    return STATUS[error.code] ?? HttpStatus.INTERNAL_SERVER_ERROR;
  }
  return isSourceFailure(error) ? HttpStatus.SERVICE_UNAVAILABLE : undefined;
}
