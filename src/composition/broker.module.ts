import {
  Inject,
  Module,
  type BeforeApplicationShutdown,
  type DynamicModule,
  type FactoryProvider,
  type ModuleMetadata,
  type OnApplicationBootstrap,
  type OnApplicationShutdown,
} from '@nestjs/common';
import type { BrokerConfig } from '../config/broker-config.js';
import { type OperationsEndpoints, OperationsModule } from '../operations/operations.module.js';
import { OpenEndpoints } from '../operations/health.js';
import { RotationModule } from '../rotation/rotation-schedule.js';
import { ServingModule } from '../serving/serving.module.js';
import { ManagementServer } from './listener.js';
import { BrokerRuntime, createRuntime, type RuntimeOptions } from './runtime.js';

/** How {@link BrokerModule} is set up. */
export interface BrokerModuleOptions extends RuntimeOptions {
  /** What `loadConfig` returns. */
  readonly config: BrokerConfig;
}

/** How to come by the {@link BrokerModuleOptions} when they depend on other providers. */
export interface BrokerModuleAsyncOptions extends Pick<ModuleMetadata, 'imports'> {
  readonly useFactory: FactoryProvider<BrokerModuleOptions>['useFactory'];
  readonly inject?: FactoryProvider['inject'];
}

/** How often it is looked whether a read is due, in milliseconds. A look costs nothing. */
const LOOK_INTERVAL = 1_000;

/** Makes the runtime, keeps its caches warm, and closes its store when the application has stopped serving. */
@Module({})
class BrokerRuntimeModule
  implements OnApplicationBootstrap, BeforeApplicationShutdown, OnApplicationShutdown
{
  #warming: NodeJS.Timeout | undefined;

  constructor(@Inject(BrokerRuntime) private readonly runtime: BrokerRuntime) {}

  static register(
    provider: Omit<FactoryProvider<BrokerRuntime>, 'provide'>,
    imports: ModuleMetadata['imports'] = [],
  ): DynamicModule {
    return {
      module: BrokerRuntimeModule,
      imports,
      providers: [{ provide: BrokerRuntime, ...provider }],
      exports: [BrokerRuntime],
    };
  }

  /** From here on nobody waits for a read that could have been made before. Does not keep the process alive. */
  onApplicationBootstrap(): void {
    const { serving } = this.runtime;
    serving.keepWarm();
    this.#warming = setInterval(() => serving.keepWarm(), LOOK_INTERVAL).unref();
  }

  beforeApplicationShutdown(): void {
    clearInterval(this.#warming);
  }

  async onApplicationShutdown(): Promise<void> {
    await this.runtime.core.close();
  }
}

/**
 * The broker inside a Nest application: its routes, its schedule, its health and metrics.
 *
 * The routes are at the application's root: `POST /oauth2/token`, `GET /v1/token`, `POST /v1/rotate`,
 * `GET /.well-known/oauth-authorization-server`, `/health/live`, `/health/ready`, `/metrics`. Call
 * `app.enableShutdownHooks()`, so that a running rotation ends and the store is closed when the application goes.
 *
 * On the application's port `/health/ready` says its status alone, and peers with the role `admin` get the details and the
 * metrics; with `BROKER_MANAGEMENT_PORT` all of it is open on a listener of its own as well. `HOST`, `PORT` and the
 * settings of the log of requests are the application's business.
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
    return BrokerModule.forRootAsync({ useFactory: () => options });
  }

  /** With options that other providers give. @throws {BrokerError} at start, when the store cannot be opened. */
  static forRootAsync(options: BrokerModuleAsyncOptions): DynamicModule {
    const { useFactory, inject = [], imports } = options;
    return compose(
      BrokerRuntimeModule.register(
        {
          useFactory: async (...dependencies: unknown[]) => {
            const { config, ...replaced } = await useFactory(...dependencies);
            return createRuntime(config, replaced);
          },
          inject,
        },
        imports,
      ),
    );
  }

  /**
   * Around a runtime that is made already. The application closes its store.
   *
   * @param options `opensDetails`: whether the details of health and the metrics are open to everybody who reaches the
   *   application's port. Default false.
   */
  static forRuntime(
    runtime: BrokerRuntime,
    { opensDetails = false }: { readonly opensDetails?: boolean } = {},
  ): DynamicModule {
    return compose(BrokerRuntimeModule.register({ useFactory: () => runtime }), opensDetails);
  }
}

function compose(runtimeModule: DynamicModule, opensDetails = false): DynamicModule {
  const fromRuntime = { imports: [runtimeModule], inject: [BrokerRuntime] };
  return {
    module: BrokerModule,
    providers: [
      {
        provide: ManagementServer,
        useFactory: ({ core }: BrokerRuntime, endpoints: OperationsEndpoints) =>
          new ManagementServer(core.config.http.management, endpoints),
        inject: [BrokerRuntime, OpenEndpoints],
      },
    ],
    imports: [
      runtimeModule,
      ServingModule.registerAsync({
        ...fromRuntime,
        useFactory: ({ serving }: BrokerRuntime) => serving,
      }),
      OperationsModule.forRootAsync({
        ...fromRuntime,
        useFactory: ({ readiness, metrics, core, serving }: BrokerRuntime) => ({
          readiness,
          metrics,
          clock: core.clock,
          ...(!opensDetails && { login: serving.login }),
        }),
      }),
      RotationModule.registerAsync({
        ...fromRuntime,
        useFactory: ({ core, schedule, watch }: BrokerRuntime) => ({
          rotator: core.rotator,
          watch,
          ...(core.config.rotation.enabled && { schedule }),
        }),
      }),
    ],
    exports: [runtimeModule],
  };
}
