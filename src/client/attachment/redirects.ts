import { originOf } from './attachment-rules.js';

/**
 * How a request came to its answer.
 *
 * - `direct`: the callee answered, without a redirect.
 * - `within`: by redirects within the origin.
 * - `elsewhere`: by a redirect to another origin.
 * - `unknown`: it cannot be seen. It may have been anywhere.
 */
export type Trail = 'direct' | 'within' | 'elsewhere' | 'unknown';

/** How a request of `fetch` came to its answer. A response that was made by hand has no URL, and says nothing. */
export function fetchTrail(
  origin: string,
  asked: string,
  { redirected, url }: { readonly redirected?: unknown; readonly url?: unknown },
): Trail {
  if (typeof url !== 'string' || url === '') return 'unknown';
  if (originOf(url) !== origin) return 'elsewhere';
  return redirected === false && withoutFragment(url) === withoutFragment(asked)
    ? 'direct'
    : 'unknown';
}

function withoutFragment(url: string): string {
  const parsed = new URL(url);
  parsed.hash = '';
  return parsed.href;
}

/** What adapters of axios show of the request of an answer. */
interface ShownRequest {
  /** `XMLHttpRequest`; by another name the adapters that stand for a server in tests. */
  readonly responseURL?: unknown;
  readonly responseUrl?: unknown;
  /** Node's request: the answer has the URL that follow-redirects came to. */
  readonly res?: { readonly responseUrl?: unknown } | null;
  readonly _redirectable?: { readonly _redirectCount?: unknown };
}

/**
 * How a request of axios came to its answer, for an adapter that is not known, or does not call `beforeRedirect`.
 *
 * A final URL at another origin shows a redirect. The first URL does not show that there was none: the request may have
 * been elsewhere and back.
 */
export function shownTrail(origin: string, request: unknown): Trail {
  if (typeof request !== 'object' || request === null) return 'unknown';
  const { responseURL, responseUrl, res, _redirectable: followed } = request as ShownRequest;
  const url = res?.responseUrl ?? responseURL ?? responseUrl;
  if (typeof url !== 'string' || url === '') return 'unknown';
  if (originOf(url) !== origin) return 'elsewhere';
  return followed?._redirectCount === 0 ? 'direct' : 'unknown';
}

/** axios' `beforeRedirect`, as its http adapter calls it before each redirect. */
type BeforeRedirect = (
  options: { readonly href?: unknown; readonly headers?: Record<string, unknown> },
  response: object,
  request: object,
) => void;

/**
 * Takes our `Authorization` header off before a redirect to another origin. Not every version of axios does, and
 * follow-redirects, which it uses, keeps the header for subdomains.
 *
 * The user's own `beforeRedirect` comes first, since it could put the header back. One that it sets anew is not ours, and
 * stays.
 */
export class RedirectWatch {
  /** How many redirects were followed, as far as the adapter said so. */
  hops = 0;
  /** A redirect led to another origin, from where the answer comes. */
  hasLeft = false;

  constructor(
    private readonly origin: string,
    private readonly authorization: string | undefined,
    private readonly usersOwn: unknown,
  ) {}

  readonly beforeRedirect: BeforeRedirect = (options, response, request) => {
    const { authorization, origin, usersOwn } = this;
    this.hops += 1;
    if (originOf(String(options.href)) !== origin) this.hasLeft = true;
    // It may change the URL: a request that was to leave once counts as one that left.
    if (typeof usersOwn === 'function') (usersOwn as BeforeRedirect)(options, response, request);
    if (originOf(String(options.href)) !== origin) this.hasLeft = true;
    if (!this.hasLeft) return;
    const { headers = {} } = options;
    for (const [name, value] of Object.entries(headers)) {
      if (value === authorization && name.toLowerCase() === 'authorization') {
        Reflect.deleteProperty(headers, name);
      }
    }
  };
}
