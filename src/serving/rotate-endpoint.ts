import { BrokerError, errorCode } from '../tokens/errors.js';
import type { RotationBody } from './answers.js';
import {
  failureAnswer,
  errorAnswer,
  jsonAnswer,
  methodNotAllowed,
  queryOf,
  type DecidedRequest,
  type Endpoint,
  type EndpointAnswer,
  type EndpointRequest,
  type ServingObserver,
} from './endpoint.js';
import {
  decide,
  refuseAccess,
  refuseRequest,
  type LoggedInPeer,
  type PeerAuthentication,
} from './peer-login.js';
import { UNNAMED, type KeptToken, type RotateNow } from './kept-token.js';
import type { TokenCache } from './token-cache.js';
import type { WaitingPeers } from './waiting-peers.js';

/** What the rotation endpoint works with. */
interface RotateEndpointOptions {
  readonly login: PeerAuthentication;
  readonly tokens: readonly Pick<KeptToken, 'name' | 'cache' | 'rotator'>[];
  readonly observer: ServingObserver;
  /** Who is held until a token changes. */
  readonly waiting: Pick<WaitingPeers, 'has'>;
}

/**
 * `POST /v1/rotate?token=NAME`: rotates that token, by default `default`, now, for a peer with the role `admin`. With
 * `revoke_cached=true` the version before is marked as withdrawn: no replica that has read the new one serves it. Requests during a rotation join it (outcome
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
    const query = queryOf(request.url);
    const names = query.getAll('token');
    const revocations = query.getAll('revoke_cached');
    const { peer } = admitted;
    if (revocations.length > 1 || !['true', 'false', undefined].includes(revocations[0])) {
      const answer = errorAnswer(400, 'invalid_request', '"revoke_cached" must be true or false.');
      return refuseRequest(observer, peer, answer, request);
    }
    const revoke = revocations[0] === 'true';
    const [name = UNNAMED] = names;
    const token = tokens.find((one) => one.name === name);
    if (token?.rotator === undefined || names.length > 1) {
      const answer = errorAnswer(
        404,
        'invalid_target',
        'There is no token of that name to rotate.',
      );
      return refuseRequest(observer, peer, answer, request);
    }
    try {
      const rotated = await this.#rotateFor(peer, token, token.rotator, revoke, request);
      return jsonAnswer<RotationBody>(rotated.outcome === 'requested' ? 202 : 200, rotated);
    } catch (error) {
      return rotationFailure(error);
    }
  }

  /**
   * Rotates a token for a peer that has proved to have the role `admin`: what {@link answer} does, for other doors.
   *
   * @returns `undefined` when this broker does not rotate a token of that name.
   * @throws {BrokerError} when the rotation fails. The observer is notified either way.
   */
  async rotateNow(
    peer: LoggedInPeer,
    name: string,
    request: DecidedRequest,
  ): Promise<RotationBody | undefined> {
    const token = this.#options.tokens.find((one) => one.name === name);
    if (token?.rotator === undefined) return undefined;
    return this.#rotateFor(peer, token, token.rotator, false, request);
  }

  async #rotateFor(
    peer: LoggedInPeer,
    token: Pick<KeptToken, 'name' | 'cache'>,
    rotator: RotateNow,
    revoke: boolean,
    request: DecidedRequest,
  ): Promise<RotationBody> {
    const { observer } = this.#options;
    const { name } = token;
    try {
      const running = this.#running.get(revoke ? revoking(name) : name);
      const joins = running !== undefined;
      const rotation = running ?? this.#rotate(token, rotator, revoke);
      const { versionId, result: own } = await rotation;
      const outcome = joins && own !== 'requested' && own !== 'recent' ? 'joined' : own;
      observer.rotated?.(peer.id, versionId, outcome, name);
      decide(
        observer,
        peer,
        { outcome: 'rotated', token: name, versionId, reason: outcome },
        request,
      );
      return { version_id: versionId, outcome };
    } catch (error) {
      observer.rotationFailed?.(peer.id, error, name);
      const reason = errorCode(error);
      decide(observer, peer, { outcome: 'rotation_failed', token: name, reason }, request);
      throw error;
    }
  }

  #rotate(
    { name, cache }: Pick<KeptToken, 'name' | 'cache'>,
    rotator: RotateNow,
    revoke: boolean,
  ): ReturnType<RotateNow['rotate']> {
    const key = revoke ? revoking(name) : name;
    const request = { trigger: 'http', ...(revoke && { revoke }) } as const;
    const rotation = this.#withdrawing(rotator.rotate(request), cache, revoke).finally(() => {
      this.#running.delete(key);
      // After a failure too: if only the answer was lost, the token has changed all the same.
      cache.invalidate();
      // Those who wait for it ask no more.
      if (this.#options.waiting.has(name)) cache.refresh();
    });
    this.#running.set(key, rotation);
    return rotation;
  }

  /** Once another version is current, the one before must not be served, even if the store cannot be read. */
  async #withdrawing(
    rotation: ReturnType<RotateNow['rotate']>,
    cache: TokenCache,
    revoke: boolean,
  ): ReturnType<RotateNow['rotate']> {
    const rotated = await rotation;
    // A rotation that was requested has not ended: until it does, the version before is current.
    if (revoke && rotated.result !== 'requested') {
      cache.discard(({ versionId }) => versionId !== rotated.versionId);
    }
    return rotated;
  }
}

/** The key of a rotation that withdraws; no token has such a name. */
function revoking(name: string): string {
  return `${name} revoking`;
}

/** An admin gets the error's own message: those of the broker hold neither tokens nor secrets. */
function rotationFailure(error: unknown): EndpointAnswer {
  const description = error instanceof BrokerError ? `${error.message} (${error.code})` : '';
  return error instanceof BrokerError && error.kind === 'rejected'
    ? errorAnswer(409, 'rotation_refused', description)
    : failureAnswer(error, description);
}
