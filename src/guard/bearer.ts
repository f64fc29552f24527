/** What a call presents. */
export type Credentials =
  | { readonly kind: 'none' }
  | { readonly kind: 'malformed' }
  | { readonly kind: 'token'; readonly token: string };

export const NONE: Credentials = { kind: 'none' };
export const MALFORMED: Credentials = { kind: 'malformed' };

/** RFC 6750 §2.1: `"Bearer" 1*SP b64token`, the scheme in any case (RFC 9110 §11.1). */
const BEARER = /^bearer +([A-Za-z0-9\-._~+/]+=*)$/i;
const BEARER_SCHEME = /^bearer(?![A-Za-z0-9!#$%&'*+\-.^_`|~])/i;

/**
 * Reads the bearer token of a call.
 *
 * @param values every value of its `Authorization`. More than one is malformed, since two parts of a system may choose
 *   different ones; another scheme counts as none.
 */
export function readBearer(values: readonly unknown[]): Credentials {
  const [value] = values;
  if (value === undefined) return NONE;
  if (values.length > 1) return MALFORMED;
  if (typeof value !== 'string') return MALFORMED;
  const token = BEARER.exec(value)?.[1];
  if (token !== undefined) return { kind: 'token', token };
  return BEARER_SCHEME.test(value) ? MALFORMED : NONE;
}

/**
 * What stands behind the scheme of the only `Authorization`, unread: good for one thing, to look it up among the tokens
 * that were accepted before. What is not found there has to be read by {@link readBearer}.
 */
export function unreadBearer(value: unknown): string | undefined {
  return typeof value === 'string' && value.startsWith('Bearer ')
    ? value.slice('Bearer '.length)
    : undefined;
}
