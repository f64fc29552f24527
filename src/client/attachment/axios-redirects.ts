import { originOf } from './allowed-origins.js';

/** axios' `beforeRedirect`, as its http adapter calls it before each redirect. */
export type BeforeRedirect = (
  options: { readonly href?: unknown; readonly headers?: Record<string, unknown> },
  response: object,
  request: object,
) => void;

/**
 * Takes our `Authorization` header off before a redirect to another origin. Not every version of axios does, and the
 * library that it follows redirects with keeps the header for subdomains.
 *
 * The user's own `beforeRedirect` comes first, since it could put back what it sees in the redirected request; a header that
 * it sets anew is not ours, and stays.
 */
export class RedirectWatch {
  /** A redirect led to another origin, from where the answer comes. */
  hasLeft = false;

  constructor(
    private readonly origin: string,
    private readonly authorization: string | undefined,
    private readonly usersOwn: unknown,
  ) {}

  readonly beforeRedirect: BeforeRedirect = (options, response, request) => {
    const { authorization, usersOwn } = this;
    if (typeof usersOwn === 'function') (usersOwn as BeforeRedirect)(options, response, request);
    if (originOf(String(options.href)) === this.origin) return;
    this.hasLeft = true;
    const { headers = {} } = options;
    for (const [name, value] of Object.entries(headers)) {
      if (value === authorization && name.toLowerCase() === 'authorization') {
        Reflect.deleteProperty(headers, name);
      }
    }
  };
}
