/** What `fetch` was called with: taken down at once, so that nothing the caller changes afterwards changes the request. */
export interface FetchCall {
  /** The absolute URL; or what was given, when it is none. */
  readonly url: string;
  /** The first argument for `fetch`. */
  readonly target: string | Request;
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

/** Reads the arguments of `fetch`, and leaves them unchanged. */
export function readFetchCall(
  input: string | URL | Request,
  init: RequestInit | undefined,
): FetchCall {
  if (init !== undefined && !isPlain(init)) {
    // Its members may be inherited, as those of a Request are, and a spread leaves them out.
    return readFetchCall(new Request(input, init), undefined);
  }
  const { as: _, headers, ...rest } = (init ?? {}) as RequestInit & { readonly as?: unknown };
  const target = isRequest(input) ? input : String(input);
  const request = typeof target === 'string' ? undefined : target;
  return {
    url: typeof target === 'string' ? target : target.url,
    target,
    init: rest,
    headers: copyHeaders(headers ?? request?.headers),
    signal: init?.signal === undefined ? request?.signal : init.signal,
    body: init?.body ?? request?.body,
  };
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

/** Also a Request of another implementation than the global one. */
function isRequest(input: string | URL | Request): input is Request {
  return typeof input === 'object' && 'url' in input && 'headers' in input;
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
