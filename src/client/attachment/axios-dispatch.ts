import { isCancelled } from './cancellation.js';
import type { AxiosAdapter, AxiosAnswer, AxiosLike, AxiosRequest } from './axios-shapes.js';

/** How the requests of one axios instance go on, behind what attaches tokens to them. */
export interface AxiosDispatch {
  /** The URL that a request goes to, by axios' own rules; its `params` are left out. */
  readonly urlOf: (config: AxiosRequest) => string;
  /** Hands a request, which has gone through interceptors and transformations, to the adapter that it names. */
  send(config: AxiosRequest, adapter: unknown): Promise<AxiosAnswer>;
  /** Rejects with axios' own error for a request that was cancelled. */
  endCancelled(config: AxiosRequest): Promise<AxiosAnswer>;
}

/** What axios makes of the name of an adapter, or of a list of names. */
type AdapterLookup = (adapter: unknown, config: AxiosRequest) => AxiosAdapter;

export function createAxiosDispatch(instance: AxiosLike): AxiosDispatch {
  // The same axios without interceptors and defaults: it sends what it is given as it is.
  const bare = instance.create();
  for (const name of Object.keys(bare.defaults)) Reflect.deleteProperty(bare.defaults, name);
  const sendBare = (config: AxiosRequest, adapter: unknown): Promise<AxiosAnswer> =>
    bare.request({
      ...config,
      adapter,
      transformRequest: [],
      transformResponse: [],
    }) as Promise<AxiosAnswer>;
  const send = (config: AxiosRequest, adapter: unknown): Promise<AxiosAnswer> => {
    // Adapters count on axios not to call them for what was cancelled before.
    if (isCancelled(config)) return sendBare(config, adapter);
    if (typeof adapter === 'function') return (adapter as AxiosAdapter)(config);
    return adapterOf === undefined ? sendBare(config, adapter) : adapterOf(adapter, config)(config);
  };
  let adapterOf: AdapterLookup | undefined;
  const looked = findAdapterLookup(instance).then((lookup) => (adapterOf = lookup));
  return {
    urlOf: ({ url, baseURL, allowAbsoluteUrls }) =>
      bare.getUri({
        url: url === undefined ? '' : String(url),
        baseURL,
        allowAbsoluteUrls,
      }),
    send: (config, adapter) =>
      adapterOf === undefined ? looked.then(() => send(config, adapter)) : send(config, adapter),
    endCancelled: (config) => sendBare(config, config.adapter),
  };
}

/**
 * Names of adapters are looked up by axios itself: by the very copy that the instance is made of, whose errors the
 * instance's users know. There may be others, such as the build that CommonJS loads; for their instances there is no lookup,
 * and `bare` does the work, with what a request through axios costs once more.
 */
async function findAdapterLookup(instance: AxiosLike): Promise<AdapterLookup | undefined> {
  const axios = await import('axios').then(
    (module) => module.default,
    // Where axios is installed out of this package's sight.
    () => undefined,
  );
  if (axios?.interceptors.request.constructor !== instance.interceptors.request.constructor) {
    return undefined;
  }
  return (adapter, config) =>
    axios.getAdapter(adapter as Parameters<typeof axios.getAdapter>[0], config as never) as never;
}
