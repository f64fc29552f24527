import {
  errorAnswer,
  jsonAnswer,
  methodNotAllowed,
  notFound,
  plainPath,
  type Endpoint,
  type EndpointAnswer,
  type EndpointRequest,
} from './http.js';
import type { TokenCache } from './token-cache.js';

/** What the metadata says about the broker. */
export interface MetadataOptions {
  /**
   * The URL under which peers reach the broker, without query or fragment: the issuer. When it is not given it is made of
   * the request: the `Host` header, `https` only if the connection that reached this process is encrypted, and what
   * stands before `/.well-known/` in the path, such as the global prefix of a Nest application.
   */
  readonly publicUrl?: string;
  /** Where the service token is, whose scopes are published. */
  readonly cache: TokenCache;
  /** The scopes to publish while there is no token, separated by spaces. */
  readonly scope?: string;
}

/** A host name, an IPv4 address or an IPv6 address in brackets, with an optional port. */
const HOST =
  /^(?:[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?$/;

/** Where RFC 8414 §3 has the metadata of an issuer without a path. */
export const WELL_KNOWN = '/.well-known/oauth-authorization-server';

/**
 * `GET /.well-known/oauth-authorization-server`: the metadata of RFC 8414. The metadata of an issuer with a path is also
 * where RFC 8414 §3.1 has it: for `https://example.com/broker` at `/.well-known/oauth-authorization-server/broker`.
 *
 * A client must only believe an issuer that is the URL it asked (RFC 8414 §3.3), so an issuer made of `Host` tells it
 * nothing that it did not say itself, and the answer is kept by no cache. Forwarded headers are never used. Behind a
 * proxy that ends TLS, or that changes the host or the path, set `publicUrl`.
 */
export class MetadataEndpoint implements Endpoint {
  readonly #publicUrl: string | undefined;
  readonly #publicPath: string;
  readonly #cache: TokenCache;
  readonly #fallback: string;

  constructor(options: MetadataOptions) {
    this.#publicUrl = options.publicUrl?.replace(/\/+$/, '');
    this.#publicPath = pathWithin(this.#publicUrl);
    this.#cache = options.cache;
    this.#fallback = options.scope ?? '';
  }

  /** Answers a metadata request. No credentials are needed. */
  async answer(request: EndpointRequest): Promise<EndpointAnswer> {
    const [before, after] = aroundWellKnown(plainPath(request.url));
    if (after !== '' && after !== this.#publicPath) return notFound();
    if (request.method !== 'GET' && request.method !== 'HEAD') {
      return methodNotAllowed(['GET', 'HEAD']);
    }
    const issuer = this.#publicUrl ?? issuerOf(request, before);
    if (issuer === undefined) {
      return errorAnswer(400, 'invalid_request', 'The Host header must name a host.');
    }
    const scopes = (await this.#scope()).split(' ').filter((name) => name !== '');
    return jsonAnswer(200, {
      issuer,
      token_endpoint: `${issuer}/oauth2/token`,
      token_endpoint_auth_methods_supported: ['client_secret_basic', 'client_secret_post'],
      grant_types_supported: ['client_credentials'],
      // Required by RFC 8414 §2, and empty: there is no authorization endpoint.
      response_types_supported: [],
      ...(scopes.length > 0 && { scopes_supported: scopes }),
    });
  }

  /** The scopes of the token that was read last. Nobody waits for a newer one here: no credentials were shown. */
  async #scope(): Promise<string> {
    const last = this.#cache.status().value;
    if (last !== undefined) return last.token.scope ?? '';
    try {
      return (await this.#cache.get()).value.token.scope ?? '';
    } catch {
      // The cache's observer logs why; it must not keep a client from the metadata.
      return this.#fallback;
    }
  }
}

/** What stands in a path before and after the well-known part of it. */
function aroundWellKnown(path: string): readonly [before: string, after: string] {
  const at = path.indexOf(WELL_KNOWN);
  return at < 0 ? ['', ''] : [path.slice(0, at), path.slice(at + WELL_KNOWN.length)];
}

function pathWithin(url: string | undefined): string {
  return url === undefined ? '' : new URL(url).pathname.replace(/\/+$/, '');
}

function issuerOf(request: EndpointRequest, path: string): string | undefined {
  const hosts = request.headers['host'] ?? [];
  const [host] = hosts;
  if (host === undefined || hosts.length > 1 || !HOST.test(host)) return undefined;
  return `${request.encrypted ? 'https' : 'http'}://${host.toLowerCase()}${path}`;
}
