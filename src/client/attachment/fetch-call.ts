import { isRepeatableBody } from './repeatable-body.js';

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
  readonly isRepeatable: boolean;
}

/** A copy of the request's headers, that can be added to. */
export interface FetchHeaders {
  /** @param name in lower case. */
  has(name: string): boolean;
  /** @param name in lower case; a header that is not there in another case. */
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
  const body = init?.body ?? request?.body;
  return {
    url: typeof target === 'string' ? target : target.url,
    target,
    init: rest,
    headers: copyHeaders(headers ?? request?.headers),
    signal: init?.signal === undefined ? request?.signal : init.signal,
    isRepeatable: isRepeatableBody(body),
  };
}

/** Most calls have few headers, in a plain object, or none: `Headers` would check and sort them twice. */
function copyHeaders(headers: RequestInit['headers']): FetchHeaders {
  if (headers === undefined || isPlainRecord(headers)) {
    const copy = { ...headers };
    const names = new Set(Object.keys(copy).map((name) => name.toLowerCase()));
    return {
      has: (name) => names.has(name),
      set: (name, value) => {
        names.add(name);
        copy[name] = value;
      },
      init: copy,
    };
  }
  const copy = new Headers(headers);
  return {
    has: (name) => copy.has(name),
    set: (name, value) => copy.set(name, value),
    init: copy,
  };
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
