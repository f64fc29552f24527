import { BrokerError, errorCode } from '../tokens/errors.js';
import { refusalOf } from '../verification/bearer-access.js';
import type { VerifiedToken } from '../verification/judge.js';
import type { IntrospectionBody } from './answers.js';
import type { ReceiverSource } from './authorize-endpoint.js';
import {
  errorAnswer,
  failureAnswer,
  jsonAnswer,
  notFound,
  READ_AGAIN,
  unavailableAnswer,
  type Endpoint,
  type EndpointAnswer,
  type EndpointRequest,
  type ServingObserver,
} from './endpoint.js';
import { namesOther, parameterOf, readForm } from './form.js';
import { refuseAccess, refuseRequest, type PeerAuthentication } from './peer-login.js';

/** What the endpoint works with. */
interface IntrospectOptions {
  readonly login: PeerAuthentication;
  /** Without it the route answers 404. */
  readonly receivers: ReceiverSource | undefined;
  readonly observer: ServingObserver;
}

/**
 * `POST /oauth2/introspect` (RFC 7662), for peers with the role `introspect`: what a token is, by the rules of the guard. The
 * form has `token`; `token_type_hint` is allowed and makes no difference (§2.1). `audience`, which the RFC does not have,
 * requires that the token is for it.
 *
 * The answer to an accepted token has `active: true`, every claim, and over the claims `kind` (`customer` or `service`),
 * `sub`, `client_id`, `iss`, `scope`, `exp` and `token_type`. Every other token gets exactly `{"active":false}` (§2.2): why
 * is only in the log and the metrics.
 */
export class IntrospectEndpoint implements Endpoint {
  readonly #options: IntrospectOptions;

  constructor(options: IntrospectOptions) {
    this.#options = options;
  }

  async answer(request: EndpointRequest): Promise<EndpointAnswer> {
    const { login, receivers, observer } = this.#options;
    if (receivers === undefined) return notFound();
    const form = readForm(request);
    if ('status' in form) return form;
    const admitted = await login.withHeaderOrForm(request, form);
    if ('refusal' in admitted) return admitted.refusal;
    const denied = refuseAccess(
      admitted.peer,
      { role: 'introspect' },
      observer,
      undefined,
      request,
    );
    if (denied !== undefined) return denied;
    const { id: peer, method } = admitted.peer;
    const { remoteAddress, source } = request;
    const attempt = { remoteAddress, source, ...(method && { loginMethod: method }) };
    const refuse = (description: string): EndpointAnswer =>
      refuseRequest(
        observer,
        admitted.peer,
        errorAnswer(400, 'invalid_request', description),
        request,
      );
    const other = namesOther(form, peer);
    if (other !== undefined) return refuseRequest(observer, admitted.peer, other, request);
    const token = parameterOf(form, 'token');
    if (token === undefined) return refuse('"token" is missing.');
    const [audience, ...further] = form.get('audience') ?? [];
    if (further.length > 0) return refuse('"audience" may be given once.');
    try {
      const verified = await (await receivers.get()).verify(token, audience);
      const outcome = verified.principal.kind;
      observer.introspected?.(peer, { outcome, verified }, attempt);
      return jsonAnswer<IntrospectionBody>(200, introspectionOf(verified));
    } catch (error) {
      const refusal = refusalOf(error);
      const reason = errorCode(error);
      if (refusal?.status === 401) {
        observer.introspected?.(peer, { outcome: 'refused', reason }, attempt);
        return jsonAnswer<IntrospectionBody>(200, { active: false });
      }
      if (!(error instanceof BrokerError)) throw error;
      observer.introspected?.(peer, { outcome: 'unavailable', reason }, attempt);
      return refusal === undefined
        ? failureAnswer(
            error,
            `The token cannot be verified at the moment (${reason}).`,
            READ_AGAIN,
          )
        : unavailableAnswer(refusal.description, refusal.retryAfterSeconds ?? 1);
    }
  }
}

/** The introspection response of an accepted token: RFC 7662 §2.2. */
export function introspectionOf({ principal, claims }: VerifiedToken): IntrospectionBody {
  const { kind, subject, clientId, issuer, scopes } = principal;
  // The token's own members of these names must not stand where the broker's judgement is expected.
  const { active: _, kind: __, client_id: ___, scope: ____, token_type: _____, ...rest } = claims;
  return {
    ...rest,
    active: true,
    kind,
    token_type: 'Bearer',
    sub: subject,
    iss: issuer,
    ...(clientId !== undefined && { client_id: clientId }),
    ...(scopes.length > 0 && { scope: scopes.join(' ') }),
  };
}
