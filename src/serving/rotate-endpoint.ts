import { BrokerError } from '../tokens/errors.js';
import {
  failureAnswer,
  errorAnswer,
  jsonAnswer,
  methodNotAllowed,
  type Endpoint,
  type EndpointAnswer,
  type EndpointRequest,
  type ServingObserver,
} from './endpoint.js';
import { refuseAccess, type PeerAuthentication } from './peer-login.js';
import type { TokenCache } from './token-cache.js';

/** What rotates the service token: the part of the `Rotator` that `POST /v1/rotate` calls. */
export interface RotateNow {
  /**
   * @returns `versionId`: the version that is current now, or will be. `result`: what was done; `requested` when the
   *   rotation goes on elsewhere, `recent` when the current version is so new that nothing was done.
   * @throws {BrokerError}
   */
  rotate(request: { readonly trigger: 'http' }): Promise<{
    readonly versionId: string;
    readonly result: string;
  }>;
}

/** What the rotation endpoint works with. */
interface RotateEndpointOptions {
  readonly login: PeerAuthentication;
  readonly cache: TokenCache;
  readonly observer: ServingObserver;
  /** Without it the route answers 404: this broker does not rotate. */
  readonly rotator: RotateNow | undefined;
}

/**
 * `POST /v1/rotate`: rotates now, for a peer with the role `admin`. Requests during a rotation join it (outcome
 * `joined`); those shortly after one get its version (outcome `recent`), and nothing is minted. The answer names the new
 * version, never the token; the next `GET /v1/token` serves it. Where Secrets Manager rotates the secret, the answer is
 * 202 (RFC 9110 §15.3.3): the rotation was requested, and the new version is served when it is done.
 */
export class RotateEndpoint implements Endpoint {
  readonly #options: RotateEndpointOptions;
  #running: ReturnType<RotateNow['rotate']> | undefined;

  constructor(options: RotateEndpointOptions) {
    this.#options = options;
  }

  /** Answers a request; takes as long as a rotation takes. */
  async answer(request: EndpointRequest): Promise<EndpointAnswer> {
    const { login, observer, rotator } = this.#options;
    if (rotator === undefined) {
      return errorAnswer(404, 'not_found', 'This broker does not rotate the service token.');
    }
    if (request.method !== 'POST') return methodNotAllowed(['POST']);
    const admitted = await login.withHeader(request);
    if ('refusal' in admitted) return admitted.refusal;
    const refusal = refuseAccess(admitted.peer, { role: 'admin' }, observer);
    if (refusal !== undefined) return refusal;
    try {
      const joins = this.#running !== undefined;
      this.#running ??= this.#rotate(rotator).finally(() => {
        this.#running = undefined;
      });
      const { versionId, result: own } = await this.#running;
      const outcome = joins && own !== 'requested' && own !== 'recent' ? 'joined' : own;
      observer.rotated?.(admitted.peer.id, versionId, outcome);
      const status = outcome === 'requested' ? 202 : 200;
      return jsonAnswer(status, { version_id: versionId, outcome });
    } catch (error) {
      observer.rotationFailed?.(admitted.peer.id, error);
      return rotationFailure(error);
    }
  }

  async #rotate(rotator: RotateNow): ReturnType<RotateNow['rotate']> {
    try {
      return await rotator.rotate({ trigger: 'http' });
    } finally {
      // After a failure too: if only the answer was lost, the token has changed all the same.
      this.#options.cache.invalidate();
    }
  }
}

/** An admin gets the error's own message: those of the broker hold neither tokens nor secrets. */
function rotationFailure(error: unknown): EndpointAnswer {
  const description = error instanceof BrokerError ? `${error.message} (${error.code})` : '';
  return error instanceof BrokerError && error.kind === 'rejected'
    ? errorAnswer(409, 'rotation_refused', description)
    : failureAnswer(error, description);
}
