import { coreOf, servingOptionsOf, type Core, type GapWatch } from '../composition/core.js';
import { createTokenReadiness } from '../composition/readiness.js';
import type { IamPeer } from '../config/values.js';
import type { TokenReadinessSource } from '../operations/health.js';
import { DEFAULT_TOKEN } from '../peers/peers.js';
import type { SecretStore, SecretVersion, VersionSelector } from '../secrets/secret-store.js';
import {
  errorAnswer,
  guarded,
  jsonAnswer,
  methodNotAllowed,
  type Endpoint,
  type EndpointAnswer,
  type EndpointRequest,
  type ServingObserver,
} from '../serving/endpoint.js';
import { parameterOf, type Form } from '../serving/form.js';
import type { LoggedInPeer, LoginResult, PeerAuthentication } from '../serving/peer-login.js';
import { createServing } from '../serving/serving.js';
import { withSnakeNames } from '../tokens/json.js';
import { redactText } from '../tokens/redaction.js';

/** The paths that the HTTP function serves. */
const HTTP_ROUTES = [
  '/v1/token',
  '/v1/tokens/{name}',
  '/oauth2/token',
  '/v1/rotate',
  '/health/ready',
] as const;

export type HttpRoute = (typeof HTTP_ROUTES)[number];

/** The route of a path; `undefined` when the function does not serve it. */
export function httpRouteOf(path: string): HttpRoute | undefined {
  const route = path.replace(/^\/v1\/tokens\/[^/{}]+$/, '/v1/tokens/{name}');
  return HTTP_ROUTES.find((known) => known === route);
}

interface HttpRoutesOptions {
  readonly core: Core;
  readonly reads: AwaitedReads;
  /** The caller's ARN by AWS IAM. */
  readonly callerOf: (request: EndpointRequest) => string | undefined;
  readonly observer: ServingObserver;
}

/** A function runs no schedule. */
const NO_SCHEDULE: GapWatch = {
  ownSlotsCount: () => false,
  current: () => undefined,
  learn: () => undefined,
};

/** The endpoints of the HTTP function: those of the broker, for peers that AWS IAM knows. */
export function createHttpRoutes({
  core,
  reads,
  callerOf,
  observer,
}: HttpRoutesOptions): Readonly<Record<HttpRoute, Endpoint>> {
  const serving = createServing({
    ...servingOptionsOf(core),
    store: reads,
    login: new IamLogin({ peers: core.config.http.iamPeers, callerOf, observer }),
    observer,
  });
  const readiness = new Map(
    [...serving.tokenCaches].map(([name, cache]): [string, TokenReadinessSource] => [
      name,
      createTokenReadiness(coreOf(core, name), cache, NO_SCHEDULE),
    ]),
  );
  return {
    '/v1/token': serving.token,
    '/v1/tokens/{name}': serving.token,
    '/oauth2/token': serving.oauth,
    '/v1/rotate': serving.rotate,
    '/health/ready': guarded(new ReadyEndpoint(readiness), observer),
  };
}

const ASSUMED_ROLE = /^(arn:aws[a-z-]*):sts::(\d{12}):assumed-role\/([^/]+)\/[^/]+$/;
const ROLE = /^(arn:aws[a-z-]*:iam::\d{12}:role)\/(?:.*\/)?([^/]+)$/;

/**
 * The principal of an ARN: the role of a session; a role without its path, which a session's ARN does not have and by
 * which no two roles of an account differ. Any other ARN is returned as it is. Pure.
 *
 * @example
 * ```ts
 * principalArn('arn:aws:sts::123456789012:assumed-role/orders/i-0abc'); // 'arn:aws:iam::123456789012:role/orders'
 * principalArn('arn:aws:iam::123456789012:role/services/orders'); // 'arn:aws:iam::123456789012:role/orders'
 * ```
 */
export function principalArn(arn: string): string {
  const [, partition, account, role] = ASSUMED_ROLE.exec(arn) ?? [];
  if (role !== undefined) return `${partition}:iam::${account}:role/${role}`;
  return arn.replace(ROLE, '$1/$2');
}

interface IamLoginOptions {
  readonly peers: readonly IamPeer[];
  /** The caller's ARN by AWS IAM; `undefined` when there is none. */
  readonly callerOf: (request: EndpointRequest) => string | undefined;
  readonly observer: ServingObserver;
}

/**
 * Accepts peers that AWS IAM has authenticated before the function was invoked. Only what AWS says of the caller counts,
 * never a header or a parameter. A caller that is not on the list is refused, whatever its rights in AWS.
 */
export class IamLogin implements PeerAuthentication {
  readonly #peers = new Map<string, LoggedInPeer>();
  readonly #callerOf: IamLoginOptions['callerOf'];
  readonly #observer: ServingObserver;

  constructor({ peers, callerOf, observer }: IamLoginOptions) {
    // A peer that is named twice has the roles of both.
    for (const { arn, roles } of peers) {
      const id = principalArn(arn);
      const known = this.#peers.get(id)?.roles ?? [];
      this.#peers.set(id, {
        id,
        roles: [...known, ...roles],
        tokens: [DEFAULT_TOKEN],
        method: 'iam',
      });
    }
    this.#callerOf = callerOf;
    this.#observer = observer;
  }

  async withHeader(request: EndpointRequest): Promise<LoginResult> {
    const caller = this.#callerOf(request);
    if (caller === undefined) {
      this.#observer.loginFailed?.('missing', undefined, request.remoteAddress);
      return refuse('The endpoint does not name the caller. It must be authorized by AWS IAM.');
    }
    const id = principalArn(caller);
    const peer = this.#peers.get(id);
    if (peer === undefined) {
      this.#observer.loginFailed?.('unknown_peer', undefined, request.remoteAddress);
      return refuse('The IAM role or user that calls is not a peer of this broker.');
    }
    this.#observer.loggedIn?.(id, request.source);
    return { peer };
  }

  /** AWS IAM has authenticated the caller: a client secret would be a second method (RFC 6749 §2.3). */
  async withHeaderOrForm(request: EndpointRequest, form: Form): Promise<LoginResult> {
    if (parameterOf(form, 'client_secret') === undefined) return this.withHeader(request);
    return {
      refusal: errorAnswer(
        400,
        'invalid_request',
        'AWS IAM authenticates the caller here. Send no client secret.',
      ),
    };
  }

  /** No `Authorization` header decides here: AWS has checked it already. */
  now(): undefined {
    return undefined;
  }
}

function refuse(description: string): { readonly refusal: EndpointAnswer } {
  return { refusal: errorAnswer(403, 'unauthorized_client', description) };
}

/**
 * `GET /health/ready`: 200 when a token with remaining life can be served, else 503 with the reason, in the form of the
 * broker's own health endpoint, without rotation, which this function does not run. It waits for the store as long as a
 * peer would: a cold start takes longer than the probes of containers wait.
 */
class ReadyEndpoint implements Endpoint {
  constructor(private readonly tokens: ReadonlyMap<string, TokenReadinessSource>) {}

  async answer({ method }: EndpointRequest): Promise<EndpointAnswer> {
    if (method !== 'GET' && method !== 'HEAD') return methodNotAllowed(['GET', 'HEAD']);
    const found = await Promise.all(
      [...this.tokens].map(async ([name, token]) => ({ name, state: await token.tokenState() })),
    );
    const isReady = found.some(({ state }) => state.ok);
    const details: Record<string, { readonly status: string }> = {};
    for (const { name, state } of found) {
      const { ok, reason, ...known } = state;
      // As the broker's own: what cannot be served beside what can be is degraded, not down.
      const status = ok && known.stale !== true ? 'up' : isReady ? 'degraded' : 'down';
      details[found.length === 1 ? 'token' : `token:${name}`] = withSnakeNames({
        ...known,
        ...(reason !== undefined && { reason: redactText(reason) }),
        status,
      }) as { readonly status: string };
    }
    const isDegraded = Object.values(details).some(({ status }) => status !== 'up');
    return jsonAnswer(isReady ? 200 : 503, {
      status: !isReady ? 'error' : isDegraded ? 'degraded' : 'ok',
      info: isReady ? details : {},
      error: isReady ? {} : details,
      details,
    });
  }
}

/**
 * The reads of a secret store, and when they have ended. A cache reads in the background, but a function is frozen as
 * soon as it has answered, and a read under way would break off at some later time.
 */
export class AwaitedReads implements Pick<SecretStore, 'read'> {
  readonly #running = new Set<Promise<unknown>>();

  constructor(private readonly store: Pick<SecretStore, 'read'>) {}

  read(secretId: string, selector?: VersionSelector): Promise<SecretVersion> {
    const read = this.store.read(secretId, selector);
    // The caller gets the error.
    const forget = (): boolean => this.#running.delete(ended);
    const ended: Promise<unknown> = read.then(forget, forget);
    this.#running.add(ended);
    return read;
  }

  /** Resolves when no read is under way. Never rejects. */
  async settled(): Promise<void> {
    await Promise.all(this.#running);
  }
}
