import { originOf } from './allowed-origins.js';

/** axios' `beforeRedirect`, as its http adapter calls it before each redirect. */
export type BeforeRedirect = (
  options: { readonly href?: unknown; readonly headers?: Record<string, unknown> },
  response: object,
  request: object,
) => void;

/** A watch over where a request's redirects lead to. */
export interface RedirectWatch {
  readonly beforeRedirect: BeforeRedirect;
  /** A redirect led to another origin, from where the answer comes. */
  hasLeft(): boolean;
}

/**
 * Takes our `Authorization` header off before a redirect to another origin. Not every version of axios does, and the
 * library that it follows redirects with keeps the header for subdomains. The user's own `beforeRedirect` comes first, since
 * it could put back what it sees in the redirected request; one that it sets anew is not ours, and stays.
 */
export function watchRedirects(
  origin: string,
  authorization: string | undefined,
  usersOwn: unknown,
): RedirectWatch {
  let left = false;
  return {
    hasLeft: () => left,
    beforeRedirect: (options, response, request) => {
      if (typeof usersOwn === 'function') (usersOwn as BeforeRedirect)(options, response, request);
      if (originOf(String(options.href)) === origin) return;
      left = true;
      const { headers = {} } = options;
      for (const [name, value] of Object.entries(headers)) {
        if (value === authorization && name.toLowerCase() === 'authorization') {
          Reflect.deleteProperty(headers, name);
        }
      }
    },
  };
}
