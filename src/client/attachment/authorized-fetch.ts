import { currentBehalf, currentCorrelation } from '../../context/call-context.js';
import { directDispatcher } from '../proxies.js';
import { ClientConfigError, readAll } from '../errors.js';
import type { ActingAs } from './acting-as.js';
import { originOf, plainOrigin } from './allowed-origins.js';
import { readAttachmentOptions, type AttachmentOptions } from './attachment-options.js';
import { fetchTrail, type Trail } from './axios-redirects.js';
import { correlationHeaders } from './correlation-headers.js';
import { decideAttachment } from './decide-attachment.js';
import { readFetchCall, type FetchCall } from './fetch-call.js';
import { isRepeatableBody } from './repeatable-body.js';
import { sendAttached, type Exchange } from './send-attached.js';

/** `fetch`'s options, and on whose behalf the request is made. */
export type AuthorizedRequestInit = RequestInit & {
  /** Default: the customer in the call context; the service itself when there is none. */
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
   * What sends the requests. Default: the global `fetch`, as it is when a request is made. Another one must drop the
   * `Authorization` header on a redirect to another origin, as the Fetch standard demands (HTTP-redirect fetch), must not send to
   * `http:` origins through a proxy, and tells by `redirected` and `url` of its `Response` where the answer comes from: without
   * them, a refused request is not sent again.
   */
  readonly fetch?: SendingFetch;
}

/**
 * Makes a `fetch` that attaches the customer's token, or the service token, by the call context.
 *
 * Works as the `fetch` that it uses, and leaves what it is given unchanged. In addition:
 * - It rejects with an `AttachmentError` before anything is sent when no token may be sent; with the source's error when
 *   there is none.
 * - An `Authorization` header that the caller sets is left alone.
 * - When the callee answers a service token with 401, and the source has or gets another one, the request is sent once
 *   more. A body that is a stream, or the body of a `Request`, is used up by the first time: then the 401 is the answer, and so
 *   it is after any redirect. A customer's token that was refused is never replaced.
 * - A request with a token to an `http:` origin goes through no proxy.
 * - To listed origins, `traceparent`, `tracestate` and `x-request-id` of the call that is being handled go along, unless the
 *   caller sets them.
 *
 * @throws {ClientConfigError} naming every option that is missing or wrong.
 *
 * @example
 * ```ts
 * import { createAuthorizedFetch, createServiceTokenClient } from 'service-token-broker/client';
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
    const correlation = correlationHeaders(currentCorrelation(), (name) => headers.has(name));
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

function avoidProxies(init: RequestInit): void {
  const dispatcher = directDispatcher(init.dispatcher);
  if (dispatcher !== undefined) init.dispatcher = dispatcher;
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
      if (this.origin.startsWith('http:')) avoidProxies(init);
    }
    return fetch(this.#target(), init);
  }

  /** In the notation that every parser of URLs reads in the same way. */
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
    // A connection that broke while the refusal was on its way is as good as one that is closed.
    await body?.cancel().catch(() => undefined);
  }
}
