import { errorCode } from '../tokens/errors.js';
import type { CacheRequest } from '../tokens/refreshing-cache.js';
import type { ServiceToken } from '../tokens/service-token.js';
import { failureAnswer } from './failure-answer.js';
import { parameterOf, readForm, type Form } from './form.js';
import {
  asksForRead,
  errorAnswer,
  jsonAnswer,
  methodNotAllowed,
  type Endpoint,
  type EndpointAnswer,
  type EndpointRequest,
} from './http.js';
import { tokenMembers } from './token-answer.js';
import type { TokenEndpointOptions } from './token-endpoint.js';

/**
 * `POST /oauth2/token`: the token endpoint of RFC 6749 for the client-credentials grant, so that any OAuth client
 * library gets the service token. A peer authenticates with `client_secret_basic` or `client_secret_post`, not both.
 *
 * There is one service token, so a request can only ask for what it is: `scope` must be among its scopes, `resource`
 * (RFC 8707) and `audience` among its audiences. The answer names all its scopes (RFC 6749 §5.1), also when fewer were asked
 * for. Errors are those of RFC 6749 §5.2 and RFC 8707 §2.
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
    if (request.method !== 'POST') return methodNotAllowed(['POST']);
    if (request.url.includes('?')) {
      return errorAnswer(
        400,
        'invalid_request',
        'Parameters go into the body, never into the URL.',
      );
    }
    const form = readForm(request);
    if ('status' in form) return form;
    const since =
      this.#options.login.waits?.() === true ? this.#options.cache.prepare() : undefined;
    const login = await this.#options.login.withHeaderOrForm(request, form, 'token');
    if ('refusal' in login) return login.refusal;
    const refusal = namesOther(form, login.peer.id) ?? refuseGrant(form);
    if (refusal !== undefined) return refusal;
    return this.#issue(form, login.peer.id, { force: asksForRead(request), since });
  }

  async #issue(form: Form, peerId: string, wanted: CacheRequest): Promise<EndpointAnswer> {
    const { cache, clock, observer } = this.#options;
    try {
      const { value, state } = await cache.get(wanted);
      if (!isFor(value.token, form)) {
        return errorAnswer(400, 'invalid_target', 'The service token is not for that audience.');
      }
      const missing = lackOfScope(value.token, form);
      if (missing !== undefined) return missing;
      observer.tokenServed?.(peerId, state, 200);
      return jsonAnswer(200, tokenMembers(value.token, clock.now()));
    } catch (error) {
      observer.tokenUnavailable?.(peerId, error);
      return failureAnswer(
        error,
        `The service token cannot be served at the moment (${errorCode(error)}).`,
      );
    }
  }
}

/** RFC 6749 §2.3: one client, one way of authentication. */
function namesOther(form: Form, peerId: string): EndpointAnswer | undefined {
  const id = parameterOf(form, 'client_id');
  if (id === undefined || id === peerId) return undefined;
  return errorAnswer(400, 'invalid_request', '"client_id" names another client than the header.');
}

function refuseGrant(form: Form): EndpointAnswer | undefined {
  const grant = parameterOf(form, 'grant_type');
  if (grant === undefined) return errorAnswer(400, 'invalid_request', '"grant_type" is missing.');
  if (grant === 'client_credentials') return undefined;
  return errorAnswer(400, 'unsupported_grant_type', 'The only grant is client_credentials.');
}

/** RFC 6749 §5.2: the refusal of a scope that the token does not have. Where nobody has told its scopes, it has none. */
function lackOfScope(token: ServiceToken, form: Form): EndpointAnswer | undefined {
  const scopes = words(token.scope ?? '');
  const asked = words(parameterOf(form, 'scope') ?? '');
  if (asked.every((scope) => scopes.includes(scope))) return undefined;
  const has =
    scopes.length === 0 ? 'no scopes: leave "scope" out' : `these scopes: ${scopes.join(' ')}`;
  return errorAnswer(400, 'invalid_scope', `The service token has ${has}.`);
}

function isFor(token: ServiceToken, form: Form): boolean {
  const targets = [...(form.get('resource') ?? []), ...(form.get('audience') ?? [])];
  return targets.every((target) => token.audience.includes(target));
}

function words(text: string): readonly string[] {
  return text.split(' ').filter((word) => word !== '');
}
