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
import type { PeerAuthentication } from './peer-login.js';
import type { TokenCache } from './token-endpoint.js';

/** What a rotation came to. */
interface RotateNowResult {
  /** The version that is current now, or will be. */
  readonly versionId: string;
  /**
   * What the rotator says was done, in its own word; `requested` when the rotation goes on elsewhere, `recent` when the
   * current version is of a moment ago and nothing was done.
   */
  readonly outcome: string;
}

/** Rotates the service token now: the port behind `POST /v1/rotate`. It rejects with a `BrokerError`. */
export interface RotateNow {
  rotate(): Promise<RotateNowResult>;
}

/** What the rotation endpoint works with. */
interface RotateEndpointOptions {
  readonly login: PeerAuthentication;
  readonly cache: TokenCache;
  readonly observer: ServingObserver;
  /** Without it the route answers 404: this broker does not rotate. */
  readonly rotateNow: RotateNow | undefined;
}

/**
 * `POST /v1/rotate`: rotates now, for a peer with the role `admin`. Requests that come while a rotation runs join it
 * (outcome `joined`); those that come a moment after one get its version (outcome `recent`), and nothing is minted.
 * The answer names the new version, never the token; the next `GET /v1/token` serves it. Where Secrets Manager rotates
 * the secret, the answer is 202 (RFC 9110 §15.3.3): it was asked to, and serves the new version when it is done.
 */
export class RotateEndpoint implements Endpoint {
  readonly #options: RotateEndpointOptions;
  #running: Promise<RotateNowResult> | undefined;

  constructor(options: RotateEndpointOptions) {
    this.#options = options;
  }

  /** Answers a request; takes as long as a rotation takes. */
  async answer(request: EndpointRequest): Promise<EndpointAnswer> {
    const { login, observer, rotateNow } = this.#options;
    if (rotateNow === undefined) {
      return errorAnswer(404, 'not_found', 'This broker does not rotate the service token.');
    }
    if (request.method !== 'POST') return methodNotAllowed(['POST']);
    const result = await login.withHeader(request, 'admin');
    if ('refusal' in result) return result.refusal;
    try {
      const joins = this.#running !== undefined;
      this.#running ??= this.#rotate(rotateNow).finally(() => {
        this.#running = undefined;
      });
      const { versionId, outcome: own } = await this.#running;
      const outcome = joins && own !== 'requested' && own !== 'recent' ? 'joined' : own;
      observer.rotated?.(result.peer.id, versionId, outcome);
      const status = outcome === 'requested' ? 202 : 200;
      return jsonAnswer(status, { version_id: versionId, outcome });
    } catch (error) {
      observer.rotationFailed?.(result.peer.id, error);
      return rotationFailure(error);
    }
  }

  async #rotate(rotateNow: RotateNow): Promise<RotateNowResult> {
    try {
      return await rotateNow.rotate();
    } finally {
      // After a failure too: the token may have changed all the same, if only the answer was lost.
      this.#options.cache.invalidate();
    }
  }
}

/** An admin is told what happened: messages of the broker's errors hold neither tokens nor secrets. */
function rotationFailure(error: unknown): EndpointAnswer {
  const description = error instanceof BrokerError ? `${error.message} (${error.code})` : '';
  return error instanceof BrokerError && error.kind === 'rejected'
    ? errorAnswer(409, 'rotation_refused', description)
    : failureAnswer(error, description);
}
