import { createRequire } from 'node:module';
import { parseUrl } from '../../tokens/http.js';
import { originOf, plainOrigin, type AllowedOrigins } from './attachment-rules.js';
import { isCancelled, type Cancellation } from './send-attached.js';

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
interface AxiosRequestHeaders {
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

/** Sends the requests of one axios instance, after the token was attached. */
export interface AxiosDispatch {
  /** The URL that a request goes to, by axios' own rules, without its `params`. */
  readonly urlOf: (config: AxiosRequest) => string;
  /** Gives a request, after interceptors and transformations, to the adapter that it names. */
  send(config: AxiosRequest, adapter: unknown): Promise<AxiosAnswer>;
  /** Rejects with axios' own error for a request that was cancelled. */
  endCancelled(config: AxiosRequest): Promise<AxiosAnswer>;
  /** Resolves when adapters can be told from each other. */
  readonly ready: Promise<void>;
  /** What an adapter is; `other` before {@link ready}. */
  adapterKind(adapter: unknown, config: AxiosRequest): AdapterKind;
  /** Whether this axios would give a request to an https: origin to a proxy as it is, instead of through a tunnel. */
  showsProxies(config: ProxyDecision): boolean | Promise<boolean>;
}

/**
 * - `http`: axios' own for Node's http, which announces each redirect before it follows it.
 * - `fetch`: axios' own for `fetch`, with the environment of the request's configuration.
 * - `other`: everything else.
 */
export type AdapterKind = 'http' | 'fetch' | 'other';

/** What decides whether a request goes through a proxy. */
type ProxyDecision = Partial<
  Pick<AxiosRequest, 'url' | 'baseURL' | 'proxy' | 'adapter' | 'allowAbsoluteUrls'>
>;

/** The adapter that axios finds for a name, or for a list of names. */
type AdapterLookup = (adapter: unknown, config: Pick<AxiosRequest, 'env'>) => AxiosAdapter;

export function createAxiosDispatch(instance: AxiosLike): AxiosDispatch {
  // The same axios without interceptors and defaults: it sends what it is given as it is.
  const bare = instance.create();
  for (const name of Object.keys(bare.defaults)) Reflect.deleteProperty(bare.defaults, name);
  const sendBare = (config: AxiosRequest, adapter: unknown): Promise<AxiosAnswer> =>
    bare.request({
      ...config,
      adapter,
      env: observedEnv(config),
      transformRequest: [],
      transformResponse: [],
    }) as Promise<AxiosAnswer>;
  const send = (config: AxiosRequest, adapter: unknown): Promise<AxiosAnswer> => {
    // Adapters rely on axios not to call them for what was cancelled before.
    if (isCancelled(config)) return sendBare(config, adapter);
    if (adapterOf === undefined) {
      return typeof adapter === 'function'
        ? (adapter as AxiosAdapter)(config)
        : sendBare(config, adapter);
    }
    const kind = kindOf(adapterOf, adapter, config);
    if (kind === 'fetch') return sendObserved(adapterOf, config);
    const found = adapterOf(adapter, config);
    // What `axios.getAdapter('fetch')` gives, which knows nothing of the configuration's environment.
    return kind === 'other' && found === own.fetch
      ? sendObserved(adapterOf, config, {})
      : found(config);
  };
  let adapterOf: AdapterLookup | undefined;
  const own: { http?: AxiosAdapter | undefined; fetch?: AxiosAdapter | undefined } = {};
  const kindOf = (lookup: AdapterLookup, adapter: unknown, config: AxiosRequest): AdapterKind => {
    // A look-up costs microseconds, and most requests name their adapter.
    if ((adapter === 'http' || adapter === 'fetch') && own[adapter] !== undefined) return adapter;
    const found = lookup(adapter, config);
    if (found === own.http) return 'http';
    return found === ownAdapter(lookup, 'fetch', config) ? 'fetch' : 'other';
  };
  const lookUp = async (): Promise<void> => {
    const lookup = await findAdapterLookup(instance);
    own.http = lookup && ownAdapter(lookup, 'http', {});
    own.fetch = lookup && ownAdapter(lookup, 'fetch', {});
    adapterOf = lookup;
  };
  const ready = lookUp();
  let tunnels: boolean | undefined;
  return {
    urlOf: ({ url, baseURL, allowAbsoluteUrls }) =>
      bare.getUri({
        url: url === undefined ? '' : String(url),
        baseURL,
        allowAbsoluteUrls,
      }),
    send: (config, adapter) =>
      adapterOf === undefined ? ready.then(() => send(config, adapter)) : send(config, adapter),
    ready,
    endCancelled: (config) => sendBare(config, config.adapter),
    adapterKind: (adapter, config) =>
      adapterOf === undefined ? 'other' : kindOf(adapterOf, adapter, config),
    showsProxies: (config) => {
      if (tunnels === true || config.proxy === false || config.adapter === 'fetch') return false;
      return (async () => {
        tunnels ??= !(await isShownToProxy(bare, { url: 'https://a.invalid/', proxy: A_PROXY }));
        if (tunnels) return false;
        const { url, baseURL, proxy, allowAbsoluteUrls } = config;
        return isShownToProxy(bare, { url, baseURL, proxy, allowAbsoluteUrls });
      })();
    },
  };
}

const A_PROXY = { protocol: 'http', host: '127.0.0.1', port: 9 };

/**
 * Asks axios for the request that it would send, and sends nothing. For a proxy that reads it, the whole URL stands in the
 * place of the path (RFC 9112 §3.2.2); versions before 1.16.1 do so for https: as well.
 */
async function isShownToProxy(bare: AxiosLike, config: object): Promise<boolean> {
  let path: unknown;
  const transport = {
    request: (options: { readonly path?: unknown }): never => {
      ({ path } = options);
      throw new Error('not to be sent');
    },
  };
  await bare
    .request({ ...config, method: 'get', adapter: 'http', transport, transformRequest: [] })
    // It ends with that error; with another one, nothing would be sent either.
    .catch(() => undefined);
  return typeof path === 'string' && !path.startsWith('/');
}

/**
 * axios itself looks up the names of adapters: the very copy that the instance is made of, whose errors the instance's users
 * know. There may be two, since CommonJS loads another build. For instances of a further copy there is no lookup, and
 * `bare` sends, at the cost of a second request through axios.
 */
async function findAdapterLookup(instance: AxiosLike): Promise<AdapterLookup | undefined> {
  for (const load of [importAxios, requireAxios]) {
    const axios = await load();
    if (axios?.interceptors.request.constructor === instance.interceptors.request.constructor) {
      return (adapter, config) =>
        axios.getAdapter(
          adapter as Parameters<typeof axios.getAdapter>[0],
          config as never,
        ) as never;
    }
  }
  return undefined;
}

type Axios = typeof import('axios').default;

function importAxios(): Promise<Axios | undefined> {
  return import('axios').then(
    (module) => module.default,
    // axios is installed where this package cannot resolve it.
    () => undefined,
  );
}

async function requireAxios(): Promise<Axios | undefined> {
  try {
    return createRequire(import.meta.url)('axios') as Axios;
  } catch {
    return undefined;
  }
}

function ownAdapter(
  adapterOf: AdapterLookup,
  name: 'http' | 'fetch',
  config: Pick<AxiosRequest, 'env'>,
): AxiosAdapter | undefined {
  try {
    return adapterOf(name, config);
  } catch {
    // Versions of axios before 1.7 have no fetch adapter, and builds for browsers no http adapter.
    return undefined;
  }
}

/** The configuration is axios' own for this one request, and has the environment only while it is under way. */
async function sendObserved(
  adapterOf: AdapterLookup,
  config: AxiosRequest,
  used: object | undefined = config.env,
): Promise<AxiosAnswer> {
  const { env } = config;
  config.env = observedEnv({ env: used });
  try {
    return await adapterOf('fetch', config)(config);
  } finally {
    config.env = env;
  }
}

type Fetch = typeof globalThis.fetch;

function observedEnv({ env }: Pick<AxiosRequest, 'env'>): object {
  const { fetch } = (env ?? {}) as { readonly fetch?: unknown };
  // Versions of axios take any value but a function for "none".
  const observer = observed(typeof fetch === 'function' ? (fetch as Fetch) : undefined);
  return Object.assign({ fetch: observer }, env, { fetch: observer });
}

/** One for each function: axios keeps what it makes of them. */
const observers = new WeakMap<Fetch, Fetch>();
const observedGlobal = observe((input, init) => globalThis.fetch(input, init));

function observed(fetch: Fetch | undefined): Fetch {
  if (fetch === undefined) return observedGlobal;
  let observer = observers.get(fetch);
  if (observer === undefined) observers.set(fetch, (observer = observe(fetch)));
  return observer;
}

function observe(fetch: Fetch): Fetch {
  return async (input, init) => {
    const response = await fetch(input, init);
    // Only for a refusal it matters which way it came.
    if (response.status === 401 && typeof input === 'object' && 'url' in input) {
      const { redirected, url } = response;
      outcomes.set(input, { asked: input.url, redirected, url });
    }
    return response;
  };
}

/** What `fetch` was asked for, and where its answer came from. */
interface FetchOutcome {
  readonly asked: string;
  readonly redirected: boolean;
  readonly url: string;
}

/** By the request that axios gives to `fetch` and shows as `request`: its own answer does not say. */
const outcomes = new WeakMap<object, FetchOutcome>();

/** What came of the request that an answer of axios shows; `undefined` when it was not sent by `fetch`. */
export function fetchOutcomeOf({ request }: AxiosAnswer): FetchOutcome | undefined {
  return typeof request === 'object' && request !== null ? outcomes.get(request) : undefined;
}
