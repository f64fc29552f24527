import {
  ConfigurableModuleBuilder,
  Inject,
  Module,
  type BeforeApplicationShutdown,
  type ConfigurableModuleAsyncOptions,
  type ConfigurableModuleOptionsFactory,
  type DynamicModule,
  type OnApplicationBootstrap,
  type OnApplicationShutdown,
} from '@nestjs/common';
import type { BrokerConfig } from '../config/broker-config.js';
import {
  OpenApiController,
  OpenEndpoints,
  OperationsModule,
  StatusPageController,
  type OpenOperationsEndpoints,
} from '../operations/operations.module.js';
import { RotationModule } from '../rotation/rotation-schedule.js';
import { ServingModule } from '../serving/serving.module.js';
import { ManagementServer } from './listener.js';
import { BrokerRuntime, createRuntime, type RuntimeOptions } from './runtime.js';

/** Options of {@link BrokerModule}. */
export interface BrokerModuleOptions extends RuntimeOptions {
  /** What `loadConfig` returns. */
  readonly config: BrokerConfig;
}

/** What a class for `useClass` and `useExisting` implements: `createBrokerOptions()`. */
export type BrokerOptionsFactory = ConfigurableModuleOptionsFactory<
  BrokerModuleOptions,
  'createBrokerOptions'
>;

/** Options of `BrokerModule.forRootAsync`: `useFactory` with `inject`, `useClass` or `useExisting`, and `imports`. */
export type BrokerModuleAsyncOptions = ConfigurableModuleAsyncOptions<
  BrokerModuleOptions,
  'createBrokerOptions'
>;

/**
 * The broker inside a Nest application: its routes, its schedule, its health and metrics.
 *
 * The routes are at the application's root: `POST /oauth2/token`, `GET /v1/token`, `POST /v1/rotate`,
 * `GET /.well-known/oauth-authorization-server`, `/health/live`, `/health/ready`, `/metrics`. Call
 * `app.enableShutdownHooks()`, so that a running rotation ends and the store is closed when the application stops.
 *
 * On the application's port `/health/ready` shows its status alone, and peers with the role `admin` get the details and
 * the metrics; with `BROKER_MANAGEMENT_PORT` everything is also open on a listener of its own. `HOST`, `PORT` and the
 * settings of the request log have no effect: they are the application's. So is TLS: the files of `BROKER_TLS_*` are not
 * read, and a client certificate (RFC 8705) of a connection to the application's server proves nothing; those that
 * `BROKER_TRUSTED_PROXIES` forward do.
 *
 * @example
 * ```ts
 * import { Module } from '@nestjs/common';
 * import { BrokerModule, loadConfig } from 'service-token-broker/server';
 *
 * @Module({ imports: [BrokerModule.forRoot({ config: loadConfig({ env: process.env }) })] })
 * export class AppModule {}
 * ```
 */
@Module({})
export class BrokerModule {
  /** With options that are known now. @throws {BrokerError} at start, when the store cannot be opened. */
  static forRoot(options: BrokerModuleOptions): DynamicModule {
    return compose(BrokerRuntimeModule.forRoot(options));
  }

  /**
   * With options that other providers give.
   *
   * @throws {BrokerError} at start, when the store cannot be opened.
   * @example
   * ```ts
   * import { BrokerModule, loadConfig, type BrokerOptionsFactory } from 'service-token-broker/server';
   *
   * class BrokerOptions implements BrokerOptionsFactory {
   *   createBrokerOptions = () => ({ config: loadConfig({ env: process.env }) });
   * }
   *
   * BrokerModule.forRootAsync({ useClass: BrokerOptions });
   * ```
   */
  static forRootAsync(options: BrokerModuleAsyncOptions): DynamicModule {
    return compose(BrokerRuntimeModule.forRootAsync(options));
  }

  /**
   * Around a runtime that exists already. The application closes its store.
   *
   * @param options `opensDetails`: whether everybody who reaches the application's port sees the details of health, the
   *   metrics and `/openapi.json`. Default: false.
   */
  static forRuntime(
    runtime: BrokerRuntime,
    { opensDetails = false }: { readonly opensDetails?: boolean } = {},
  ): DynamicModule {
    return compose(BrokerRuntimeModule.forRoot(runtime), opensDetails);
  }
}

function compose(runtimeModule: DynamicModule, opensDetails = false): DynamicModule {
  const fromRuntime = { imports: [runtimeModule], inject: [BrokerRuntime] };
  return {
    module: BrokerModule,
    imports: [
      runtimeModule,
      ServingModule.registerAsync({
        ...fromRuntime,
        useFactory: ({ serving }: BrokerRuntime) => serving,
      }),
      OperationsModule.forRootAsync({
        ...fromRuntime,
        useFactory: ({
          readiness,
          metrics,
          core,
          serving,
          servingObserver,
          page,
        }: BrokerRuntime) => ({
          readiness,
          metrics,
          clock: core.clock,
          publicUrl: core.config.http.publicUrl,
          page,
          ...(!opensDetails && { login: serving.login, observer: servingObserver }),
        }),
      }),
      RotationModule.registerAsync({
        ...fromRuntime,
        useFactory: ({ core: { config }, each }: BrokerRuntime) => ({
          tokens: [...each.values()].map(({ core, schedule, watch }) => ({
            rotator: core.rotator,
            watch,
            schedule: config.rotation.enabled ? schedule : undefined,
          })),
        }),
      }),
    ],
    controllers: opensDetails ? [OpenApiController, StatusPageController] : [],
    providers: [
      {
        provide: ManagementServer,
        inject: [BrokerRuntime, OpenEndpoints],
        useFactory: ({ core }: BrokerRuntime, endpoints: OpenOperationsEndpoints) =>
          new ManagementServer(core.config.http.management, endpoints),
      },
    ],
    exports: [runtimeModule],
  };
}

const { ConfigurableModuleClass, MODULE_OPTIONS_TOKEN } = new ConfigurableModuleBuilder<
  BrokerModuleOptions | BrokerRuntime
>()
  .setClassMethodName('forRoot')
  .setFactoryMethodName('createBrokerOptions')
  .build();

/** How often it is checked whether a read is due, in milliseconds. A check costs nothing. */
const WARMING_INTERVAL = 1_000;

/** Makes the runtime, keeps its caches warm, and closes its store when the application has stopped serving. */
@Module({
  providers: [
    {
      provide: BrokerRuntime,
      inject: [MODULE_OPTIONS_TOKEN],
      useFactory: (given: BrokerModuleOptions | BrokerRuntime) =>
        'core' in given ? given : createRuntime(given.config, given),
    },
  ],
  exports: [BrokerRuntime],
})
class BrokerRuntimeModule
  extends ConfigurableModuleClass
  implements OnApplicationBootstrap, BeforeApplicationShutdown, OnApplicationShutdown
{
  #warming: NodeJS.Timeout | undefined;

  constructor(@Inject(BrokerRuntime) private readonly runtime: BrokerRuntime) {
    super();
  }

  /** From here on reads are made before anybody waits for them. Does not keep the process alive. */
  onApplicationBootstrap(): void {
    const { serving } = this.runtime;
    serving.keepWarm();
    this.#warming = setInterval(() => serving.keepWarm(), WARMING_INTERVAL).unref();
  }

  beforeApplicationShutdown(): void {
    // Otherwise the server would wait for them before it closes.
    this.runtime.serving.stopWaiting();
    clearInterval(this.#warming);
  }

  async onApplicationShutdown(): Promise<void> {
    await this.runtime.audit?.close();
    await this.runtime.core.close();
  }
}
