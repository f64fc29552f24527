import type { AxiosRequestHeaders } from './axios-shapes.js';

const NAME = 'Authorization';

/**
 * Puts a value into the headers of a request that has no `Authorization`. `AxiosHeaders` keeps each header as a property of
 * its own, and its `set` would normalize what is normal already, at each request.
 */
export function putAuthorization(headers: AxiosRequestHeaders, value: string): void {
  (headers as unknown as Record<string, unknown>)[NAME] = value;
  if (!headers.has(NAME)) headers.set(NAME, value);
}

/**
 * Takes it out again, whatever an adapter has made of its name. To axios a header that is `undefined` is not there, and an
 * object from which a property was deleted is slow from then on.
 */
export function removeAuthorization(headers: AxiosRequestHeaders): void {
  for (const key of Object.keys(headers)) {
    if (key.length === NAME.length && key.toLowerCase() === NAME.toLowerCase()) {
      (headers as unknown as Record<string, unknown>)[key] = undefined;
    }
  }
  if (headers.has(NAME)) headers.delete(NAME);
}
