import { globalAgent } from 'node:http';
import { currentBehalf, currentCorrelation } from '../../context/call-context.js';
import { isObject } from '../../tokens/json.js';
import { ClientConfigError, readAll } from '../client-errors.js';
import { directAgent, directDispatcher } from '../proxies.js';
import {
  decideAttachment,
  readAttachmentOptions,
  type ActingAs,
  type AttachmentOptions,
  type AttachmentSettings,
} from './attachment-rules.js';
import {
  createAxiosDispatch,
  destinationOf,
  fetchOutcomeOf,
  putAuthorization,
  removeAuthorization,
  type AdapterKind,
  type AxiosAdapter,
  type AxiosAnswer,
  type AxiosDestination,
  type AxiosDispatch,
  type AxiosLike,
  type AxiosRequest,
} from './axios-dispatch.js';
import {
  fetchTrail,
  RedirectWatch,
  shownTrail,
  type Trail,
  correlationHeaders,
  isRepeatableBody,
  sendAttached,
  type Exchange,
} from './send-attached.js';

/** On whose behalf a request of axios is made, whose own types have no `as`. */
export interface Acting<As extends ActingAs> {
  readonly as: As;
  /** Never set. TypeScript rejects an object that has no name in common with axios' options. */
  readonly timeout?: number;
}

/**
 * For the configuration of a request of axios: it is made as the service itself, even when a customer is in the call
 * context. With `fetch`, write `as: 'service'`.
 *
 * `http(url, config)` writes into its argument, and this cannot be written to: spread it there.
 *
 * @example
 * ```ts
 * import { asService } from 'service-token-kit/client';
 *
 * await http.get('https://ledger.internal/entries', asService);
 * await http.post('https://ledger.internal/entries', entry, { ...asService, timeout: 2_000 });
 * ```
 */
export const asService: Acting<'service'> = Object.freeze({ as: 'service' });

/**
 * For the configuration of a request of axios: it is made on behalf of the customer in the call context, and is an error
 * when there is none, instead of a request as the service. With `fetch`, write `as: 'customer'`.
 *
 * @example
 * ```ts
 * import { asCustomer } from 'service-token-kit/client';
 *
 * await http.get('https://billing.internal/invoices', asCustomer);
 * ```
 */
export const asCustomer: Acting<'customer'> = Object.freeze({ as: 'customer' });

/**
 * Lets an axios instance attach the customer's token, or the service token, to its requests by the call context.
 *
 * It acts where a request leaves axios, after all interceptors and transformations, whenever they were added: it decides
 * about what is sent. The token is never in the configuration that errors, responses and interceptors show.
 *
 * - A request rejects with an `AttachmentError` before anything is sent when no token may be sent; with the source's error
 *   when there is none.
 * - An `Authorization` header that the caller sets is left alone, and so are axios' `auth` and a password in the URL.
 *   `Authorization: false` sends none.
 * - `asService` and `asCustomer` set on whose behalf a single request is made.
 * - When the callee answers a service token with 401, and the source has or gets another one, the request is sent once
 *   more; interceptors do not notice. A body that is a stream is used up by the first time: then the 401 is returned, as it
 *   is when a redirect may have led to another origin. A customer's token that was refused is never replaced.
 * - A request with a token to an `http:` origin goes through no proxy, whatever `proxy` and the environment say.
 * - axios' `timeout` counts for each time the request is sent, and does not cover the wait for the token.
 * - Requests to listed origins carry `traceparent`, `tracestate` and `x-request-id` of the call that is being handled, unless
 *   the caller sets them.
 *
 * @param instance made by `axios.create`, or axios itself.
 * @returns a function that takes it off again. Requests that have begun keep it.
 * @throws {ClientConfigError} naming every option that is missing or wrong.
 *
 * @example
 * ```ts
 * import axios from 'axios';
 * import { asService, attachAuthorization, createServiceTokenClient } from 'service-token-kit/client';
 *
 * const http = axios.create({ baseURL: 'https://billing.internal', timeout: 5_000 });
 * attachAuthorization(http, {
 *   tokens: createServiceTokenClient({ brokers: 'https://broker.internal', peer }),
 *   origins: [{ origin: 'https://billing.internal', acceptsCustomers: true }],
 * });
 * await http.get('/invoices');
 * await http.get('/report', asService);
 * ```
 */
export function attachAuthorization(instance: AxiosLike, options: AttachmentOptions): () => void {
  const { settings } = readAll({
    settings: () => readAttachmentOptions(options),
    instance: () => requireAxios(instance),
  });
  const dispatch = createAxiosDispatch(instance);
  const { request: interceptors } = instance.interceptors;
  const id = interceptors.use(
    (config) => {
      const { adapter: own } = config;
      // A request that is sent again, by a retry library for example, has it already.
      if (isAttachedBy(dispatch, own)) return config;
      const adapter: AttachingAdapter = (final) => send(settings, dispatch, final, own);
      adapter[ATTACHED_BY] = dispatch;
      config.adapter = adapter;
      return config;
    },
    null,
    { synchronous: true },
  );
  return () => interceptors.eject(id);
}

function requireAxios(instance: AxiosLike | undefined): void {
  if (typeof instance?.create === 'function') return;
  throw new ClientConfigError('attachAuthorization needs an instance made by axios.create.');
}

/** Marks an adapter of ours; a set of all of them would cost each request more. */
const ATTACHED_BY: unique symbol = Symbol('attachedBy');
type AttachingAdapter = AxiosAdapter & { [ATTACHED_BY]?: AxiosDispatch };

function isAttachedBy(dispatch: AxiosDispatch, adapter: unknown): boolean {
  return typeof adapter === 'function' && (adapter as AttachingAdapter)[ATTACHED_BY] === dispatch;
}

async function send(
  settings: AttachmentSettings,
  dispatch: AxiosDispatch,
  config: AxiosRequest,
  adapter: unknown,
): Promise<AxiosAnswer> {
  const destination = destinationOf(config, settings.origins, dispatch.urlOf);
  const { origin } = destination;
  const { as, auth, headers } = config;
  const hasAuthorization =
    destination.hasCredentials || Boolean(auth) || headers.has('authorization');
  const attachment = decideAttachment({ origin, as, hasAuthorization }, settings, currentBehalf());
  if (attachment.kind === 'refused') throw attachment.error;
  if (origin === undefined || !settings.origins.has(origin)) return dispatch.send(config, adapter);

  const correlation = correlationHeaders(
    currentCorrelation(),
    (name) => headers.has(name),
    () => dispatch.adapterKind(adapter, config) === 'fetch',
  );
  const exchange = new AxiosExchange(origin, config, destination, correlation, adapter, dispatch);
  const { answer, error } = await sendAttached(settings, attachment, exchange);
  if (error !== undefined) throw error.reason;
  return answer as AxiosAnswer;
}

/** What came of sending a request: by the request's `validateStatus` a 401 is an answer or an error. */
interface AxiosOutcome {
  readonly answer: AxiosAnswer | undefined;
  /** What axios rejected with; `undefined` when it did not. */
  readonly error: { readonly reason: unknown } | undefined;
  readonly trail: Trail;
}

/** A request of axios to a listed origin. */
class AxiosExchange implements Exchange<AxiosOutcome> {
  /**
   * @param destination what leads to the origin, as it was decided on.
   * @param correlation headers that the request gets as well.
   * @param adapter what the request names as its adapter.
   */
  constructor(
    readonly origin: string,
    private readonly config: AxiosRequest,
    private readonly destination: Pick<AxiosDestination, 'url' | 'baseURL'>,
    private readonly correlation: readonly (readonly [name: string, value: string])[],
    private readonly adapter: unknown,
    private readonly dispatch: AxiosDispatch,
  ) {}

  get cancellation(): AxiosRequest {
    return this.config;
  }

  /**
   * The configuration is axios' own for this one request, and holds what is sent only while the request is under way: a
   * copy of it would cost more than all else here.
   */
  async send(authorization: string | undefined): Promise<AxiosOutcome> {
    const { config, correlation, destination } = this;
    const { headers, url, baseURL, beforeRedirect } = config;
    const isPlain = this.origin.startsWith('http:');
    const hasToken = authorization !== undefined;
    if (hasToken && !isPlain) await this.#requireTunnel();
    if (hasToken && isPlain && this.#adapterKind() === 'other') await this.dispatch.ready;
    const restore = hasToken && isPlain ? this.#avoidProxies() : undefined;
    const watch = new RedirectWatch(this.origin, authorization, beforeRedirect);
    config.beforeRedirect = watch.beforeRedirect;
    config.url = destination.url;
    config.baseURL = destination.baseURL;
    for (const [name, value] of correlation) headers.set(name, value);
    if (authorization !== undefined) putAuthorization(headers, authorization);
    let answer: AxiosAnswer | undefined;
    let error: AxiosOutcome['error'];
    try {
      answer = await this.dispatch.send(config, this.adapter);
    } catch (reason) {
      error = { reason };
      answer = (reason as { response?: AxiosAnswer } | undefined)?.response;
    }
    // Before the configuration is restored: the adapter that it names may depend on it.
    const trail = answer?.status === 401 ? this.#trail(answer, watch) : 'unknown';
    if (restore !== undefined) Object.assign(config, restore);
    config.beforeRedirect = beforeRedirect;
    config.url = url;
    config.baseURL = baseURL;
    for (const [name] of correlation) headers.delete(name);
    if (authorization !== undefined) removeAuthorization(headers);
    conceal(answer, config);
    if (error !== undefined) conceal(error.reason, config);
    return { answer, error, trail };
  }

  /** A token to an https: origin goes through a proxy in a tunnel, or not at all. */
  async #requireTunnel(): Promise<void> {
    const { adapter, config, destination, dispatch, origin } = this;
    const { url, baseURL } = destination;
    const { proxy, allowAbsoluteUrls } = config;
    if (await dispatch.showsProxies({ adapter, url, baseURL, proxy, allowAbsoluteUrls })) {
      throw new ClientConfigError(
        `A request to ${origin} would go through a proxy that can read its token: this version of axios makes no tunnel. ` +
          'Update axios to 1.16.1 or later, or set proxy: false.',
      );
    }
  }

  /** A token to an http: origin is sent without a proxy. @returns what to restore. */
  #avoidProxies(): Partial<AxiosRequest> {
    const { config } = this;
    const { proxy, httpAgent, fetchOptions } = config;
    const kind = this.#adapterKind();
    const restore: Partial<AxiosRequest> = {};
    if (kind !== 'fetch') {
      restore.proxy = proxy;
      config.proxy = false;
      const agent = directAgent(httpAgent, globalAgent);
      if (agent !== undefined) {
        restore.httpAgent = httpAgent;
        config.httpAgent = agent;
      }
    }
    if (kind !== 'http') {
      const options = fetchOptions as { readonly dispatcher?: unknown } | undefined;
      const dispatcher = directDispatcher(options?.dispatcher);
      if (dispatcher !== undefined) {
        restore.fetchOptions = fetchOptions;
        config.fetchOptions = { ...options, dispatcher };
      }
    }
    return restore;
  }

  #adapterKind(): AdapterKind {
    return this.dispatch.adapterKind(this.adapter, this.config);
  }

  #trail(answer: AxiosAnswer, { hasLeft, hops }: RedirectWatch): Trail {
    const { config, origin } = this;
    if (hasLeft) return 'elsewhere';
    if (hops > 0) return 'within';
    const outcome = fetchOutcomeOf(answer);
    if (outcome !== undefined) return fetchTrail(origin, outcome.asked, outcome);
    // A transport of the caller's own may follow redirects unseen.
    if (!config.transport && this.#adapterKind() === 'http') return 'direct';
    return shownTrail(origin, answer.request);
  }

  async endCancelled(): Promise<AxiosOutcome> {
    const answer = await this.dispatch.endCancelled(this.config);
    return { answer, error: undefined, trail: 'unknown' };
  }

  isRefused({ answer, trail }: AxiosOutcome): boolean {
    return answer?.status === 401 && trail !== 'elsewhere';
  }

  mayRepeat({ trail }: AxiosOutcome): boolean {
    if (!isRepeatableBody(this.config.data)) return false;
    // A redirected request may have been done before.
    return trail === 'direct' || (trail === 'within' && isSafe(this.config.method));
  }

  async discard({ answer }: AxiosOutcome): Promise<void> {
    const data = answer?.data;
    if (!isObject(data)) return;
    if (data instanceof ReadableStream) {
      // A connection that broke on the way is as good as one that is closed.
      await data.cancel().catch(() => undefined);
    } else if (typeof data['destroy'] === 'function') {
      data['destroy']();
    }
  }
}

/** RFC 9110 §9.2.1: asks for no change. */
function isSafe(method = 'get'): boolean {
  return ['get', 'head', 'options', 'query'].includes(method.toLowerCase());
}

const HIDDEN: PropertyDescriptor = { enumerable: false };

/** By which Node's incoming message, the data of a streamed answer, leads to the request that was sent. */
const TO_THE_REQUEST = ['req', 'socket', 'client', 'connection'] as const;

/**
 * Hides what holds the header as it was sent from `console.log` and loggers. It can be read as before. And
 * puts the caller's own configuration where there is a copy of what was sent.
 */
function conceal(shown: unknown, config: AxiosRequest): void {
  if (!isObject(shown)) return;
  if (shown['config'] !== undefined) (shown as { config?: unknown }).config = config;
  if (shown['request'] !== undefined) Object.defineProperty(shown, 'request', HIDDEN);
  // Only a stream: an adapter of the caller's own may answer with data, whose members are not ours to hide.
  const { data } = shown;
  if (isObject(data) && typeof data['pipe'] === 'function') hide(data, TO_THE_REQUEST);
}

function hide(target: object, keys: readonly string[]): void {
  for (const key of keys) {
    const { configurable } = Object.getOwnPropertyDescriptor(target, key) ?? {};
    if (configurable === true) Object.defineProperty(target, key, HIDDEN);
  }
}
