import { isRepeatableBody } from './repeatable-body.js';

/** What `fetch` was called with: taken down at once, so that nothing the caller changes afterwards changes the request. */
export interface FetchCall {
  /** The absolute URL; or what was given, when it is none. */
  readonly url: string;
  /** The first argument for `fetch`. */
  readonly target: string | Request;
  /** The second one, without what is ours and without headers. */
  readonly init: RequestInit;
  /** A copy of the request's headers. */
  readonly headers: Headers;
  readonly signal: AbortSignal | null | undefined;
  readonly isRepeatable: boolean;
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
    headers: new Headers(headers ?? request?.headers),
    signal: init?.signal === undefined ? request?.signal : init.signal,
    isRepeatable: isRepeatableBody(body),
  };
}

/** Also a Request of another implementation than the global one. */
function isRequest(input: string | URL | Request): input is Request {
  return typeof input === 'object' && 'url' in input && 'headers' in input;
}

function isPlain(value: object): boolean {
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === null || prototype === Object.prototype;
}
