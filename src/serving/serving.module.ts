import {
  Module,
  type DynamicModule,
  type FactoryProvider,
  type ModuleMetadata,
} from '@nestjs/common';
import { MetadataController } from './metadata.controller.js';
import { OauthController } from './oauth.controller.js';
import { RotateController } from './rotate.controller.js';
import { Serving } from './serving.js';
import { TokenController } from './token.controller.js';

/** How to come by the {@link Serving} when it depends on other providers. */
export interface ServingModuleAsyncOptions extends Pick<ModuleMetadata, 'imports'> {
  readonly useFactory: FactoryProvider<Serving>['useFactory'];
  readonly inject?: FactoryProvider['inject'];
}

/** The routes of the broker's peers, for Fastify and Express. Exports {@link Serving}. */
@Module({})
export class ServingModule {
  /** The routes over endpoints that are made already. */
  static register(serving: Serving): DynamicModule {
    return ServingModule.registerAsync({ useFactory: () => serving });
  }

  /** The routes over endpoints that Nest makes. */
  static registerAsync(options: ServingModuleAsyncOptions): DynamicModule {
    return {
      module: ServingModule,
      imports: options.imports ?? [],
      controllers: [TokenController, OauthController, RotateController, MetadataController],
      providers: [
        { provide: Serving, useFactory: options.useFactory, inject: options.inject ?? [] },
      ],
      exports: [Serving],
    };
  }
}
