import { isProxy } from 'node:util/types';
import { currentBehalf, currentCorrelation } from '../../context/call-context.js';
import { ClientConfigError, readAll } from '../client-errors.js';
import { directDispatcher } from '../proxies.js';
import {
  decideAttachment,
  originOf,
  plainOrigin,
  readAttachmentOptions,
  type ActingAs,
  type AttachmentOptions,
} from './attachment-rules.js';
import {
  fetchTrail,
  type Trail,
  correlationHeaders,
  isRepeatableBody,
  sendAttached,
  type Exchange,
} from './send-attached.js';

/** `fetch`'s options, and on whose behalf the request is made. */
export type AuthorizedRequestInit = RequestInit & {
  /** Default: whom the call context names, the customer or a service; a request outside of one is refused. */
  readonly as?: ActingAs;
};

/** `fetch`, with the right token attached. It can stand wherever a `fetch` is asked for. */
export type AuthorizedFetch = (
  input: string | URL | Request,
  init?: AuthorizedRequestInit,
) => Promise<Response>;

type SendingFetch = (input: string | Request, init?: RequestInit) => Promise<Response>;

/** How {@link createAuthorizedFetch} sends. */
export interface AuthorizedFetchOptions extends AttachmentOptions {
  /**
   * Sends the requests. Default: the global `fetch`, as it is when a request is made. Another one must drop the
   * `Authorization` header on a redirect to another origin, as the Fetch standard demands (HTTP-redirect fetch), and must
   * not send to `http:` origins through a proxy. It shows by `redirected` and `url` of its `Response` where the answer
   * comes from: without them, a refused request is not sent again.
   */
  readonly fetch?: SendingFetch;
}

/**
 * Makes a `fetch` that attaches the customer's token, or the service token, by the call context.
 *
 * Works as the `fetch` that it uses, and leaves its arguments unchanged. In addition:
 * - It rejects with an `AttachmentError` before anything is sent when no token may be sent; with the source's error when
 *   there is none.
 * - An `Authorization` header that the caller sets is left alone.
 * - When the callee answers a service token with 401, and the source has or gets another one, the request is sent once
 *   more. A body that is a stream, or the body of a `Request`, is used up by the first time: then the 401 is returned, as
 *   after any redirect. A customer's token that was refused is never replaced.
 * - A request with a token to an `http:` origin goes through no proxy.
 * - Requests to listed origins carry `traceparent`, `tracestate` and `x-request-id` of the call that is being handled, unless
 *   the caller sets them.
 *
 * @throws {ClientConfigError} naming every option that is missing or wrong.
 *
 * @example
 * ```ts
 * import { createAuthorizedFetch, createServiceTokenClient } from 'service-token-kit/client';
 *
 * const authorizedFetch = createAuthorizedFetch({
 *   tokens: createServiceTokenClient({ brokers: 'https://broker.internal', peer }),
 *   origins: [{ origin: 'https://billing.internal', acceptsCustomers: true }],
 * });
 * const invoices = await authorizedFetch('https://billing.internal/invoices');
 * const report = await authorizedFetch('https://billing.internal/report', { as: 'service' });
 * ```
 */
export function createAuthorizedFetch(options: AuthorizedFetchOptions): AuthorizedFetch {
  const { settings, send } = readAll({
    settings: () => readAttachmentOptions(options),
    send: () => readFetch((options as AuthorizedFetchOptions | undefined)?.fetch),
  });
  return async (input, init) => {
    const call = readFetchCall(input, init);
    const { headers, url } = call;
    const plain = plainOrigin(url, settings.origins);
    const origin = plain ?? originOf(url);
    const attachment = decideAttachment(
      { origin, as: call.as, hasAuthorization: headers.has('authorization') },
      settings,
      currentBehalf(),
    );
    if (attachment.kind === 'refused') throw attachment.error;
    if (origin === undefined || !settings.origins.has(origin)) {
      return send(call.target(), { ...call.init, headers: headers.init });
    }
    const correlation = correlationHeaders(
      currentCorrelation(),
      (name) => headers.has(name),
      () => true,
    );
    for (const [name, value] of correlation) headers.set(name, value);
    return await sendAttached(
      settings,
      attachment,
      new FetchExchange(origin, call, plain !== undefined, send),
    );
  };
}

function readFetch(
  fetch: SendingFetch = (input, init) => globalThis.fetch(input, init),
): SendingFetch {
  if (typeof fetch === 'function') return fetch;
  throw new ClientConfigError('"fetch" must be a function.');
}

/** A request of `fetch` to a listed origin. */
class FetchExchange implements Exchange<Response> {
  /** @param isPlain whether the URL begins with just the origin. */
  constructor(
    readonly origin: string,
    private readonly call: FetchCall,
    private readonly isPlain: boolean,
    private readonly fetch: SendingFetch,
  ) {}

  get cancellation(): FetchCall {
    return this.call;
  }

  send(authorization: string | undefined): Promise<Response> {
    const { call, fetch } = this;
    const init: RequestInit = { ...call.init, headers: call.headers.init };
    if (authorization !== undefined) {
      call.headers.set('authorization', authorization);
      if (this.origin.startsWith('http:')) {
        const dispatcher = directDispatcher(init.dispatcher);
        if (dispatcher !== undefined) init.dispatcher = dispatcher;
      }
    }
    return fetch(this.#target(), init);
  }

  /** In the notation that every URL parser reads in the same way. */
  #target(): string | Request {
    const target = this.call.target();
    return this.isPlain || typeof target !== 'string' ? target : new URL(target).href;
  }

  endCancelled(): Promise<Response> {
    return Promise.reject(this.call.signal?.reason as Error);
  }

  isRefused(response: Response): boolean {
    return response.status === 401 && this.#trail(response) !== 'elsewhere';
  }

  mayRepeat(response: Response): boolean {
    return isRepeatableBody(this.call.body) && this.#trail(response) === 'direct';
  }

  #trail(response: Response): Trail {
    return fetchTrail(this.origin, this.call.url, response);
  }

  async discard({ body }: Response): Promise<void> {
    // A connection that broke on the way is as good as one that is closed.
    await body?.cancel().catch(() => undefined);
  }
}

/**
 * What `fetch` was called with: read once, so that the decision is about what is sent, even if the caller's objects change
 * or return something else when they are read a second time.
 */
interface FetchCall {
  /** `as` as the caller gave it. */
  readonly as: unknown;
  /** The absolute URL; or what was given, when it is not one. */
  readonly url: string;
  /** The first argument for `fetch`, which has no other URL than that. */
  target(): string | Request;
  /** The second one, without what is ours and without headers. */
  readonly init: RequestInit;
  readonly headers: FetchHeaders;
  readonly signal: AbortSignal | null | undefined;
  readonly body: unknown;
}

type FetchInit = RequestInit & { readonly as?: unknown };

/** Reads the arguments of `fetch`, and leaves them unchanged. */
function readFetchCall(input: string | URL | Request, init: FetchInit | undefined): FetchCall {
  if (init !== undefined && !isPlain(init)) {
    // Its members may be inherited, as those of a Request are, and a spread leaves them out.
    return readFetchCall(new Request(input, init), { as: init.as });
  }
  const url = urlOfRequest(input);
  if (url === undefined && isForeignRequest(input)) {
    return readFetchCall(textOf(input.url), { ...initOf(input), ...init });
  }
  const { as, headers, ...rest } = init ?? {};
  if (url === undefined) {
    const text = textOf(input);
    return {
      as,
      url: text,
      target: () => text,
      init: rest,
      headers: copyHeaders(headers),
      signal: rest.signal,
      body: rest.body,
    };
  }
  const request = input as Request;
  return {
    as,
    url,
    // Copied when it is sent, which uses its body up.
    target: () => (isBare(request) ? request : new Request(request)),
    init: rest,
    headers: copyHeaders(headers ?? request.headers),
    signal: rest.signal === undefined ? request.signal : rest.signal,
    body: rest.body ?? request.body,
  };
}

function isPlain(value: object): boolean {
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === null || prototype === Object.prototype;
}

/** As text, once: an object may show another one the next time. */
function textOf(input: unknown): string {
  return String(input);
}

/** The URL that the platform's `fetch` would go to, whatever the object says itself; `undefined` for what is not its Request. */
function urlOfRequest(input: string | URL | Request): string | undefined {
  if (typeof input === 'string' || !(input instanceof Request)) return undefined;
  const own = Object.getOwnPropertyDescriptor(Request.prototype, 'url');
  try {
    return own?.get?.call(input) as string | undefined;
  } catch {
    // It has the prototype alone.
    return undefined;
  }
}

/** A Request without anything that could show another URL to a `fetch` of the caller's own. */
function isBare(request: Request): boolean {
  return (
    Object.getPrototypeOf(request) === Request.prototype &&
    Object.getOwnPropertyNames(request).length === 0 &&
    !isProxy(request)
  );
}

/** A Request of another implementation than the global one. */
function isForeignRequest(input: string | URL | Request): input is Request {
  return typeof input === 'object' && 'url' in input && 'headers' in input;
}

/** As options, which every implementation takes: it does not know the Request of another one. */
function initOf(request: Request): RequestInit {
  const { method, headers, body, redirect, signal } = request;
  const own: object = Object.assign({}, request);
  return { ...own, method, headers, body, redirect, signal, ...(body && { duplex: 'half' }) };
}

/** A copy of the request's headers, that can be added to. Names are in lower case. */
interface FetchHeaders {
  has(name: string): boolean;
  /** @param name of a header that is not there, unless it was set here. */
  set(name: string, value: string): void;
  /** What `fetch` takes. */
  readonly init: Headers | Record<string, string>;
}

function copyHeaders(headers: RequestInit['headers']): FetchHeaders {
  return headers === undefined || isPlain(headers)
    ? new PlainHeaders({ ...(headers as Record<string, string> | undefined) })
    : new CheckedHeaders(new Headers(headers));
}

/** Most calls have few headers, in a plain object, or none: `Headers` would check and sort them twice. */
class PlainHeaders implements FetchHeaders {
  constructor(readonly init: Record<string, string>) {}

  has(name: string): boolean {
    return Object.keys(this.init).some((key) => key.toLowerCase() === name);
  }

  set(name: string, value: string): void {
    this.init[name] = value;
  }
}

class CheckedHeaders implements FetchHeaders {
  constructor(readonly init: Headers) {}

  has(name: string): boolean {
    return this.init.has(name);
  }

  set(name: string, value: string): void {
    this.init.set(name, value);
  }
}
