import { isProxy } from 'node:util/types';

/**
 * What `fetch` was called with: read once, so that what is decided on is what is sent, whatever the caller changes afterwards,
 * and whatever its objects give when they are read a second time or in another way.
 */
export interface FetchCall {
  /** On whose behalf the caller says it is made, as it was given. */
  readonly as: unknown;
  /** The absolute URL; or what was given, when it is none. */
  readonly url: string;
  /** The first argument for `fetch`, which has no other URL than that. */
  target(): string | Request;
  /** The second one, without what is ours and without headers. */
  readonly init: RequestInit;
  readonly headers: FetchHeaders;
  readonly signal: AbortSignal | null | undefined;
  readonly body: unknown;
}

/** A copy of the request's headers, that can be added to. Names are in lower case. */
export interface FetchHeaders {
  has(name: string): boolean;
  /** @param name of a header that is not there, unless it was set here. */
  set(name: string, value: string): void;
  /** What `fetch` takes. */
  readonly init: Headers | Record<string, string>;
}

type FetchInit = RequestInit & { readonly as?: unknown };

/** Reads the arguments of `fetch`, and leaves them unchanged. */
export function readFetchCall(
  input: string | URL | Request,
  init: FetchInit | undefined,
): FetchCall {
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

/** As options, which every implementation takes: its own Request is nothing to another one. */
function initOf(request: Request): RequestInit {
  const { method, headers, body, redirect, signal } = request;
  const own: object = Object.assign({}, request);
  return { ...own, method, headers, body, redirect, signal, ...(body && { duplex: 'half' }) };
}

function copyHeaders(headers: RequestInit['headers']): FetchHeaders {
  return headers === undefined || isPlainRecord(headers)
    ? new PlainHeaders({ ...headers })
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

function isPlainRecord(
  headers: NonNullable<RequestInit['headers']>,
): headers is Record<string, string> {
  return isPlain(headers);
}

function isPlain(value: object): boolean {
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === null || prototype === Object.prototype;
}
