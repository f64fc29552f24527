import type { Cancellation } from './cancellation.js';

// The parts of axios that are used here, by shape: axios is an optional peer, and the types of those who do not use it
// must not need it.

/** What `attachAuthorization` needs of an axios instance. Every instance made by `axios.create` has it, and axios itself. */
export interface AxiosLike {
  readonly defaults: object;
  readonly interceptors: {
    readonly request: {
      use(
        onFulfilled: <Config extends AxiosRequest>(config: Config) => Config,
        onRejected: null,
        options: { synchronous: boolean },
      ): number;
      eject(id: number): void;
    };
  };
  create(): AxiosLike;
  request(config: object): Promise<object>;
  getUri(config: object): string;
}

/** A request's configuration, as interceptors and adapters get it: axios makes one for each request. */
export interface AxiosRequest extends Cancellation {
  readonly headers: AxiosRequestHeaders;
  adapter?: unknown;
  url?: string | URL | undefined;
  baseURL?: string | undefined;
  beforeRedirect?: unknown;
  proxy?: unknown;
  httpAgent?: unknown;
  fetchOptions?: unknown;
  env?: object | undefined;
  readonly method?: string;
  readonly transport?: unknown;
  readonly allowAbsoluteUrls?: boolean | undefined;
  readonly socketPath?: unknown;
  readonly auth?: unknown;
  readonly data?: unknown;
  readonly as?: unknown;
}

/** `AxiosHeaders`: names in any case. */
export interface AxiosRequestHeaders {
  has(name: string): boolean;
  set(name: string, value: string): unknown;
  delete(name: string): unknown;
}

/** `AxiosResponse`. */
export interface AxiosAnswer {
  readonly status: number;
  readonly data: unknown;
  config: unknown;
  request?: unknown;
}

export type AxiosAdapter = (config: AxiosRequest) => Promise<AxiosAnswer>;
