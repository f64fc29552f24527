import type { ServiceTokenSource } from '../../tokens/token-supply.js';
import type { AttachmentOptions } from '../attachment/attachment-options.js';
import type { AuthorizedFetchOptions } from '../attachment/authorized-fetch.js';
import { ClientConfigError } from '../errors.js';
import type { ServiceTokenClientOptions } from '../options.js';
import { createServiceTokenClient } from '../service-token-client.js';

/** How `ServiceClientModule` is set up: where the service token comes from, and where tokens may go. */
export type ServiceClientModuleOptions = Omit<AttachmentOptions, 'tokens'> &
  Pick<AuthorizedFetchOptions, 'fetch'> & {
    /** What axios is created with, such as `{ timeout: 5_000 }`: axios' own `CreateAxiosDefaults`. Default: nothing. */
    readonly axios?: object;
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
}

/** Options that are made by a function, of what Nest injects into it. */
export interface ServiceClientModuleAsyncOptions extends ServiceClientModuleExtras {
  /** Modules whose exports are injected. */
  readonly imports?: readonly unknown[];
  /** Injection tokens, in the order of the function's parameters. */
  readonly inject?: readonly unknown[];
  readonly useFactory: (
    ...injected: never[]
  ) => ServiceClientModuleOptions | Promise<ServiceClientModuleOptions>;
}

/** @throws {ClientConfigError} unless exactly one of `broker` and `tokens` is given. */
export function tokenSourceOf({ broker, tokens }: ServiceClientModuleOptions): ServiceTokenSource {
  if (broker !== undefined && tokens === undefined) return createServiceTokenClient(broker);
  if (tokens !== undefined && broker === undefined) return tokens;
  throw new ClientConfigError('ServiceClientModule needs "broker" or "tokens", and not both.');
}
