import { hasRole } from '../peers/peers.js';
import { decideAccess } from '../peers/policy.js';
import { errorCode } from '../tokens/errors.js';
import type { CacheRequest } from '../tokens/refreshing-cache.js';
import type { ServiceToken } from '../tokens/service-token.js';
import type { MetadataBody, TokenBody } from './answers.js';
import {
  asksForRead,
  errorAnswer,
  failureAnswer,
  jsonAnswer,
  methodNotAllowed,
  notFound,
  plainPath,
  READ_AGAIN,
  type Endpoint,
  type EndpointAnswer,
  type EndpointRequest,
} from './endpoint.js';
import { namesOther, parameterOf, readForm, type Form } from './form.js';
import { chooseToken, scopesOf, UNNAMED, words, type KeptToken } from './kept-token.js';
import {
  decide,
  refuseAccess,
  refuseRequest,
  targetUnknownAnswer,
  type LoggedInPeer,
} from './peer-login.js';
import {
  servedDecision,
  tokenMembers,
  TOKENS_PATH,
  type TokenEndpointOptions,
} from './token-endpoint.js';
import { MAX_WAIT_SECONDS } from './waiting-peers.js';

/**
 * `POST /oauth2/token`: the token endpoint of RFC 6749 for the client-credentials grant, so that any OAuth client
 * library gets the service token. A peer authenticates with `client_secret_basic` or `client_secret_post`, not both.
 *
 * `resource` (RFC 8707) and `audience` choose among the tokens that the peer may have, see {@link chooseToken}; without
 * them it is `default`. They must be among the token's audiences, and `scope` among its scopes. The answer names every scope (RFC 6749 §5.1), also when fewer were requested.
 * Errors are those of RFC 6749 §5.2 and RFC 8707 §2.
 *
 * As at `GET /v1/token`, the request header `Cache-Control: no-cache` reads the store first, at most once a second.
 */
export class OauthEndpoint implements Endpoint {
  readonly #options: TokenEndpointOptions;

  constructor(options: TokenEndpointOptions) {
    this.#options = options;
  }

  /** Answers a token request. */
  async answer(request: EndpointRequest): Promise<EndpointAnswer> {
    const form = readForm(request);
    if ('status' in form) return form;
    const { login: logins, tokens } = this.#options;
    const choice = { targets: targetsIn(form), scopes: words(parameterOf(form, 'scope')) };
    // Before anybody has logged in, only what is most often meant.
    const likely = chooseToken(tokens, () => true, choice);
    const since = logins.waits?.() === true ? likely?.cache.prepare() : undefined;
    const login = await logins.withHeaderOrForm(request, form);
    if ('refusal' in login) return login.refusal;
    const { peer } = login;
    const chosen = chooseToken(
      tokens,
      ({ need }) => decideAccess(peer, need) === 'granted',
      choice,
    );
    if (chosen === undefined) return this.#refuse(peer, request);
    const refusal = namesOther(form, peer.id) ?? refuseGrant(form);
    if (refusal !== undefined) {
      return refuseRequest(this.#options.observer, peer, refusal, request, chosen.name);
    }
    const wanted = { force: asksForRead(request), since: chosen === likely ? since : undefined };
    return this.#issue(form, peer, chosen, wanted, request);
  }

  /** A peer without the role learns that; any other, that there is no such token for it. */
  #refuse(peer: LoggedInPeer, request: EndpointRequest): EndpointAnswer {
    const { observer } = this.#options;
    if (!hasRole(peer, 'token')) {
      const refusal = refuseAccess(peer, { token: UNNAMED }, observer, undefined, request);
      if (refusal !== undefined) return refusal;
    }
    observer.tokenNotGranted?.(peer.id);
    decide(observer, peer, { outcome: 'denied', reason: 'TOKEN_NOT_GRANTED' }, request);
    return targetUnknownAnswer();
  }

  async #issue(
    form: Form,
    peer: LoggedInPeer,
    { name, cache }: KeptToken,
    wanted: CacheRequest,
    request: EndpointRequest,
  ): Promise<EndpointAnswer> {
    const { clock, observer, tokens } = this.#options;
    try {
      const { value, state } = await cache.get(wanted);
      if (!isFor(value.token, form)) {
        const answer =
          tokens.length > 1
            ? targetUnknownAnswer()
            : errorAnswer(400, 'invalid_target', 'The service token is not for that audience.');
        return refuseRequest(observer, peer, answer, request, name);
      }
      const missing = lackOfScope(value.token, form);
      if (missing !== undefined) return refuseRequest(observer, peer, missing, request, name);
      observer.tokenServed?.(peer.id, state, 200, name);
      observer.decided?.(servedDecision(peer, name, value), request);
      // RFC 9110 §8.7: where a peer that chose the token by its audience finds the same one.
      const location = targetsIn(form).length === 0 ? [] : ['Content-Location', pathOf(name)];
      return jsonAnswer<TokenBody>(200, tokenMembers(value.token, clock.now()), location);
    } catch (error) {
      observer.tokenUnavailable?.(peer.id, error, name);
      const reason = errorCode(error);
      decide(observer, peer, { outcome: 'unavailable', token: name, reason }, request);
      return failureAnswer(
        error,
        `The service token cannot be served at the moment (${reason}).`,
        READ_AGAIN,
      );
    }
  }
}

/** The path of a token, from that of the token endpoint. */
function pathOf(name: string): string {
  return `..${TOKENS_PATH}${name}`;
}

function refuseGrant(form: Form): EndpointAnswer | undefined {
  const grant = parameterOf(form, 'grant_type');
  if (grant === undefined) return errorAnswer(400, 'invalid_request', '"grant_type" is missing.');
  if (grant === 'client_credentials') return undefined;
  return errorAnswer(400, 'unsupported_grant_type', 'The only grant is client_credentials.');
}

/** Refuses scopes that the token does not have (RFC 6749 §5.2). Without known scopes it has none. */
function lackOfScope(token: ServiceToken, form: Form): EndpointAnswer | undefined {
  const scopes = words(token.scope);
  const asked = words(parameterOf(form, 'scope'));
  if (asked.every((scope) => scopes.includes(scope))) return undefined;
  const has =
    scopes.length === 0 ? 'no scopes: leave "scope" out' : `these scopes: ${scopes.join(' ')}`;
  return errorAnswer(400, 'invalid_scope', `The service token has ${has}.`);
}

function isFor(token: ServiceToken, form: Form): boolean {
  return targetsIn(form).every((target) => token.audience.includes(target));
}

function targetsIn(form: Form): readonly string[] {
  return [...(form.get('resource') ?? []), ...(form.get('audience') ?? [])];
}

/** What the metadata says about the broker. */
interface MetadataOptions {
  /**
   * The URL under which peers reach the broker, without query or fragment: the issuer. Default: from the request, by the
   * `Host` header, `https` if the connection to this process is encrypted, and the path before `/.well-known/`, such as
   * the global prefix of a Nest application.
   */
  readonly publicUrl?: string;
  /** The service tokens, whose scopes are published. */
  readonly tokens: readonly Pick<KeptToken, 'cache' | 'scope'>[];
  /** Whether requests may wait for a token to change. */
  readonly offersWait: boolean;
  /** Whether peers may log in with client certificates. Default: no. */
  readonly takesCertificates?: () => boolean;
  /** Whether tokens are introspected. Default: no. */
  readonly introspects?: boolean;
}

/** A host name, an IPv4 address or an IPv6 address in brackets, with an optional port. */
const HOST =
  /^(?:[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?$/;

/** The path of the metadata of an issuer without a path: RFC 8414 §3. */
export const WELL_KNOWN = '/.well-known/oauth-authorization-server';

/**
 * `GET /.well-known/oauth-authorization-server`: the metadata of RFC 8414. With an issuer that has a path it is also at the
 * path of RFC 8414 §3.1: for `https://example.com/broker` at `/.well-known/oauth-authorization-server/broker`.
 *
 * A client only accepts an issuer that matches the URL it asked (RFC 8414 §3.3), so an issuer from its own `Host` header
 * is safe: the answer is not cached, and forwarded headers are never used. Behind a proxy that ends TLS, or changes the
 * host or the path, set `publicUrl`.
 */
export class MetadataEndpoint implements Endpoint {
  readonly #publicUrl: string | undefined;
  readonly #publicPath: string;
  readonly #tokens: MetadataOptions['tokens'];
  readonly #offersWait: boolean;
  readonly #takesCertificates: () => boolean;
  readonly #introspects: boolean;

  constructor(options: MetadataOptions) {
    this.#offersWait = options.offersWait;
    this.#takesCertificates = options.takesCertificates ?? (() => false);
    this.#introspects = options.introspects === true;
    this.#publicUrl = options.publicUrl?.replace(/\/+$/, '');
    this.#publicPath = pathWithin(this.#publicUrl);
    this.#tokens = options.tokens;
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
    const scopes = await this.#scopes();
    return jsonAnswer<MetadataBody>(200, {
      issuer,
      token_endpoint: `${issuer}/oauth2/token`,
      token_endpoint_auth_methods_supported: [
        'client_secret_basic',
        'client_secret_post',
        // RFC 8705 §2.1.1.
        ...(this.#takesCertificates() ? ['tls_client_auth'] : []),
      ],
      grant_types_supported: ['client_credentials'],
      // Required by RFC 8414 §2, and empty: there is no authorization endpoint.
      response_types_supported: [],
      ...(this.#introspects && { introspection_endpoint: `${issuer}/oauth2/introspect` }),
      ...(scopes.length > 0 && { scopes_supported: [...scopes] }),
      ...(this.#offersWait && { service_token_broker_max_wait_seconds: MAX_WAIT_SECONDS }),
    });
  }

  /** The scopes of the versions that were read last. A request without credentials does not cause another read. */
  async #scopes(): Promise<readonly string[]> {
    const [only] = this.#tokens;
    if (this.#tokens.length === 1 && only?.cache.status().value === undefined) {
      try {
        await only?.cache.get();
      } catch {
        // The cache's observer logs why. Clients get the metadata all the same.
      }
    }
    return [...new Set(this.#tokens.flatMap((token) => scopesOf(token)))];
  }
}

/** A path before and after its well-known part. */
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
