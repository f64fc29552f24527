import { BrokerError, errorCode } from '../tokens/errors.js';
import {
  failureAnswer,
  errorAnswer,
  jsonAnswer,
  methodNotAllowed,
  queryOf,
  type Endpoint,
  type EndpointAnswer,
  type EndpointRequest,
  type ServingObserver,
} from './endpoint.js';
import { refuseAccess, type PeerAuthentication } from './peer-login.js';
import { UNNAMED, type KeptToken, type RotateNow } from './kept-token.js';

/** What the rotation endpoint works with. */
interface RotateEndpointOptions {
  readonly login: PeerAuthentication;
  readonly tokens: readonly Pick<KeptToken, 'name' | 'cache' | 'rotator'>[];
  readonly observer: ServingObserver;
}

/**
 * `POST /v1/rotate?token=NAME`: rotates that token, by default `default`, now, for a peer with the role `admin`. Requests during a rotation join it (outcome
 * `joined`); those shortly after one get its version (outcome `recent`), and nothing is minted. The answer names the new
 * version, never the token; the next `GET /v1/token` serves it. Where Secrets Manager rotates the secret, the answer is
 * 202 (RFC 9110 §15.3.3): the rotation was requested, and the new version is served when it is done.
 */
export class RotateEndpoint implements Endpoint {
  readonly #options: RotateEndpointOptions;
  readonly #running = new Map<string, ReturnType<RotateNow['rotate']>>();

  constructor(options: RotateEndpointOptions) {
    this.#options = options;
  }

  /** Answers a request; takes as long as a rotation takes. */
  async answer(request: EndpointRequest): Promise<EndpointAnswer> {
    const { login, observer, tokens } = this.#options;
    if (tokens.every(({ rotator }) => rotator === undefined)) {
      return errorAnswer(404, 'not_found', 'This broker does not rotate the service token.');
    }
    if (request.method !== 'POST') return methodNotAllowed(['POST']);
    const admitted = await login.withHeader(request);
    if ('refusal' in admitted) return admitted.refusal;
    const refusal = refuseAccess(admitted.peer, { role: 'admin' }, observer, undefined, request);
    if (refusal !== undefined) return refusal;
    const names = queryOf(request.url).getAll('token');
    const [name = UNNAMED] = names;
    const token = tokens.find((one) => one.name === name);
    if (token?.rotator === undefined || names.length > 1) {
      return errorAnswer(404, 'invalid_target', 'There is no token of that name to rotate.');
    }
    try {
      const running = this.#running.get(name);
      const joins = running !== undefined;
      const rotation = running ?? this.#rotate(token, token.rotator);
      const { versionId, result: own } = await rotation;
      const outcome = joins && own !== 'requested' && own !== 'recent' ? 'joined' : own;
      observer.rotated?.(admitted.peer.id, versionId, outcome, name);
      const peer = admitted.peer.id;
      observer.decided?.(
        { outcome: 'rotated', peer, token: name, versionId, reason: outcome },
        request,
      );
      const status = outcome === 'requested' ? 202 : 200;
      return jsonAnswer(status, { version_id: versionId, outcome });
    } catch (error) {
      observer.rotationFailed?.(admitted.peer.id, error, name);
      const [peer, reason] = [admitted.peer.id, errorCode(error)];
      observer.decided?.({ outcome: 'rotation_failed', peer, token: name, reason }, request);
      return rotationFailure(error);
    }
  }

  #rotate(
    { name, cache }: Pick<KeptToken, 'name' | 'cache'>,
    rotator: RotateNow,
  ): ReturnType<RotateNow['rotate']> {
    const rotation = rotator.rotate({ trigger: 'http' }).finally(() => {
      this.#running.delete(name);
      // After a failure too: if only the answer was lost, the token has changed all the same.
      cache.invalidate();
    });
    this.#running.set(name, rotation);
    return rotation;
  }
}

/** An admin gets the error's own message: those of the broker hold neither tokens nor secrets. */
function rotationFailure(error: unknown): EndpointAnswer {
  const description = error instanceof BrokerError ? `${error.message} (${error.code})` : '';
  return error instanceof BrokerError && error.kind === 'rejected'
    ? errorAnswer(409, 'rotation_refused', description)
    : failureAnswer(error, description);
}
