import { originOf, plainOrigin, type AllowedOrigins } from './allowed-origins.js';
import type { AxiosRequest } from './axios-shapes.js';
import { parseUrl } from '../../tokens/parse-url.js';

/** Where a request of axios goes. */
export interface AxiosDestination {
  /** Scheme, host and port; `undefined` when it goes to no such place. */
  readonly origin: string | undefined;
  /** What axios is to send it by, which leads there whatever else the configuration says: `params` are added to it. */
  readonly url: AxiosRequest['url'];
  readonly baseURL: AxiosRequest['baseURL'];
  /** A user name or a password stands in the URL, which axios sends as `Authorization`. */
  readonly hasCredentials: boolean;
}

/**
 * Where a request goes.
 *
 * @param urlOf gives the URL by axios' own rules. It is asked only for what is not plain to see: it costs more than the rest.
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
 * Makes values of what may be getters, so that what is looked at is what is sent. Recent versions of axios do so themselves, and give
 * an object without prototype.
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
