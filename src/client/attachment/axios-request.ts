import { parseUrl } from '../../tokens/http.js';
import { originOf, plainOrigin, type AllowedOrigins } from './attachment-rules.js';
import type { Cancellation } from './send-attached.js';

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

/** Where a request of axios goes. */
export interface AxiosDestination {
  /** Scheme, host and port; `undefined` when it goes to no such place. */
  readonly origin: string | undefined;
  /** What axios sends it by, which leads there whatever else the configuration says: `params` are added to it. */
  readonly url: AxiosRequest['url'];
  readonly baseURL: AxiosRequest['baseURL'];
  /** A user name or a password stands in the URL, which axios sends as `Authorization`. */
  readonly hasCredentials: boolean;
}

/**
 * Where a request goes.
 *
 * @param urlOf gives the URL by axios' own rules. Called only for an origin that is not plain to see: it costs more than the rest.
 */
export function destinationOf(
  config: AxiosRequest,
  origins: AllowedOrigins,
  urlOf: (config: AxiosRequest) => string,
): AxiosDestination {
  pin(config);
  const { url, baseURL } = config;
  // A Unix socket leads wherever it leads, whatever the URL says.
  if (config.socketPath) return { origin: undefined, url, baseURL, hasCredentials: false };
  const origin = seenOrigin(config, origins);
  if (origin !== undefined) return { origin, url, baseURL, hasCredentials: false };
  const whole = urlOf(config);
  return {
    origin: originOf(whole),
    url: whole,
    baseURL: undefined,
    hasCredentials: hasCredentials(whole),
  };
}

/** What decides where axios goes. */
const DECISIVE = ['url', 'baseURL', 'allowAbsoluteUrls', 'socketPath'] as const;

/**
 * Makes values of what may be getters, so that the decision is about what is sent. Recent versions of axios do so
 * themselves, and give an object without prototype.
 */
function pin(config: AxiosRequest): void {
  if (Object.getPrototypeOf(config) === null) return;
  for (const name of DECISIVE) {
    const value = config[name];
    if (value === undefined && !(name in config)) continue;
    Object.defineProperty(config, name, {
      value,
      configurable: true,
      enumerable: true,
      writable: true,
    });
  }
}

/** `/orders`, `orders/1`, `orders?open`; nothing that could be an absolute URL. */
const PATH = /^(?:\/(?!\/)|[\w-]+(?:[/?]|$))/;

/** The listed origin that is plain to see in the URL; for a path, in its `baseURL`. */
function seenOrigin({ url, baseURL }: AxiosRequest, origins: AllowedOrigins): string | undefined {
  if (typeof url !== 'string') return undefined;
  if (!baseURL) return plainOrigin(url, origins);
  // Of an object, axios would make a text of its own.
  if (typeof baseURL !== 'string') return undefined;
  return PATH.test(url) ? plainOrigin(`${baseURL}/`, origins) : undefined;
}

function hasCredentials(url: string): boolean {
  const parsed = url.includes('@') ? parseUrl(url) : undefined;
  return parsed !== undefined && `${parsed.username}${parsed.password}` !== '';
}

const NAME = 'Authorization';

/**
 * Puts a value into the headers of a request that has no `Authorization`. `AxiosHeaders` keeps each header as a property of
 * its own, and its `set` would normalize what is normal already, at each request.
 */
export function putAuthorization(headers: AxiosRequestHeaders, value: string): void {
  (headers as unknown as Record<string, unknown>)[NAME] = value;
  if (!headers.has(NAME)) headers.set(NAME, value);
}

/**
 * Takes it out again, whatever an adapter has made of its name. To axios a header that is `undefined` is not there, and an
 * object from which a property was deleted is slow from then on.
 */
export function removeAuthorization(headers: AxiosRequestHeaders): void {
  for (const key of Object.keys(headers)) {
    if (key.length === NAME.length && key.toLowerCase() === NAME.toLowerCase()) {
      (headers as unknown as Record<string, unknown>)[key] = undefined;
    }
  }
  if (headers.has(NAME)) headers.delete(NAME);
}
