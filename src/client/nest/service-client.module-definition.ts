import { HttpService } from '@nestjs/axios';
import { ConfigurableModuleBuilder, type DynamicModule, type Type } from '@nestjs/common';
import { APP_FILTER, ModulesContainer } from '@nestjs/core';
import axios, { type AxiosInstance, type CreateAxiosDefaults } from 'axios';
import type { ServiceTokenSource } from '../../tokens/token-supply.js';
import { attachAuthorization } from '../attachment/attach-authorization.js';
import type { AttachmentOptions } from '../attachment/attachment-options.js';
import {
  createAuthorizedFetch,
  type AuthorizedFetch,
  type AuthorizedFetchOptions,
} from '../attachment/authorized-fetch.js';
import { ClientConfigError, readAll } from '../errors.js';
import type { ServiceTokenClientOptions } from '../options.js';
import { createServiceTokenClient } from '../service-token-client.js';
import { AttachmentErrorFilter } from './attachment-error.filter.js';
import { requireNoPlainHttpService } from './plain-http-service.js';

/** Nest's injection token for the `ServiceTokenSource` of `ServiceClientModule`, for health and metrics. */
export const SERVICE_TOKEN_SOURCE = Symbol('SERVICE_TOKEN_SOURCE');

/** Nest's injection token for the `AuthorizedFetch` of `ServiceClientModule`. */
export const AUTHORIZED_FETCH = Symbol('AUTHORIZED_FETCH');

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

/** What has to be known before the options are. */
export interface ServiceClientModuleExtras {
  /** Whether every module of the application may inject what this one provides. Default `true`. */
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
        useFactory: ({ instance }: ServiceClient) => new HttpService(instance),
        inject: [CLIENT],
      },
      {
        provide: AUTHORIZED_FETCH,
        useFactory: ({ fetch }: ServiceClient) => fetch,
        inject: [CLIENT],
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

/** What the module provides. */
interface ServiceClient {
  readonly tokens: ServiceTokenSource;
  readonly instance: AxiosInstance;
  readonly fetch: AuthorizedFetch;
}

/** Checked in the place of a source that cannot be made: its mistake is reported already. */
const NO_SOURCE: ServiceTokenSource = { getToken: () => new Promise(() => undefined) };

/** @throws {ClientConfigError} naming every option that is missing or wrong. */
function createServiceClient(options: ServiceClientModuleOptions): ServiceClient {
  let tokens = NO_SOURCE;
  return readAll({
    tokens: () => (tokens = tokenSourceOf(options)),
    fetch: () => createAuthorizedFetch({ ...options, tokens }),
    instance: () => {
      const instance = axios.create(options.axios);
      attachAuthorization(instance, { ...options, tokens });
      return instance;
    },
  });
}

function tokenSourceOf({ broker, tokens }: ServiceClientModuleOptions): ServiceTokenSource {
  if (broker !== undefined && tokens === undefined) return createServiceTokenClient(broker);
  if (tokens !== undefined && broker === undefined) return tokens;
  throw new ClientConfigError('ServiceClientModule needs "broker" or "tokens", and not both.');
}
