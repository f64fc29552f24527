// Loaded only for applications that import the module: nothing else of the client needs Nest or axios.
import { HttpService } from '@nestjs/axios';
import type { DynamicModule, FactoryProvider, ModuleMetadata } from '@nestjs/common';
import axios from 'axios';
import type { ServiceTokenSource } from '../../tokens/token-supply.js';
import { attachAuthorization } from '../attachment/attach-authorization.js';
import { createAuthorizedFetch } from '../attachment/authorized-fetch.js';
import { AUTHORIZED_FETCH, SERVICE_TOKEN_SOURCE } from './injection-tokens.js';
import {
  tokenSourceOf,
  type ServiceClientModuleAsyncOptions,
  type ServiceClientModuleOptions,
} from './module-options.js';

const OPTIONS = Symbol('ServiceClientModuleOptions');

/** @param module the class that stands for the module in Nest. */
export function defineServiceClientModule(
  module: new () => object,
  { global = true, imports = [], inject = [], useFactory }: ServiceClientModuleAsyncOptions,
): DynamicModule & { global: boolean } {
  return {
    module,
    global,
    imports: [...imports] as NonNullable<ModuleMetadata['imports']>,
    providers: [
      { provide: OPTIONS, useFactory, inject: [...inject] } as FactoryProvider,
      { provide: SERVICE_TOKEN_SOURCE, useFactory: tokenSourceOf, inject: [OPTIONS] },
      {
        provide: HttpService,
        useFactory: createHttpService,
        inject: [OPTIONS, SERVICE_TOKEN_SOURCE],
      },
      {
        provide: AUTHORIZED_FETCH,
        useFactory: (options: ServiceClientModuleOptions, tokens: ServiceTokenSource) =>
          createAuthorizedFetch({ ...options, tokens }),
        inject: [OPTIONS, SERVICE_TOKEN_SOURCE],
      },
    ],
    exports: [SERVICE_TOKEN_SOURCE, HttpService, AUTHORIZED_FETCH],
  };
}

function createHttpService(
  options: ServiceClientModuleOptions,
  tokens: ServiceTokenSource,
): HttpService {
  const instance = axios.create(options.axios);
  attachAuthorization(instance, { ...options, tokens });
  return new HttpService(instance);
}
