import { coreOf, servingOptionsOf, type Core, type GapWatch } from '../composition/core.js';
import { createFilePeers } from '../composition/issuer-keys.js';
import { createTokenReadiness } from '../composition/readiness.js';
import { createReceiverSource } from '../composition/receiver-source.js';
import type { IamPeer } from '../config/values.js';
import type { TokenReadinessSource } from '../operations/health.js';
import { IAM, principalArn, type ConfiguredPeer } from '../peers/identities.js';
import { LoginThrottle } from '../peers/login-throttle.js';
import { createPeerDirectory } from '../peers/peer-directory.js';
import { DEFAULT_TOKEN } from '../peers/peers.js';
import type { CheckBody, ReadinessBody } from '../serving/answers.js';
import {
  SecretStoreError,
  type SecretStore,
  type SecretVersion,
  type VersionSelector,
} from '../secrets/secret-store.js';
import {
  errorAnswer,
  guarded,
  jsonAnswer,
  methodNotAllowed,
  type Endpoint,
  type EndpointAnswer,
  type EndpointRequest,
  type LoginFailure,
  type ServingObserver,
} from '../serving/endpoint.js';
import { parameterOf, type Form } from '../serving/form.js';
import {
  PeerLogin,
  type LoggedInPeer,
  type LoginResult,
  type PeerAuthentication,
} from '../serving/peer-login.js';
import { createServing } from '../serving/serving.js';
import { withSnakeNames } from '../tokens/json.js';
import { redactText } from '../tokens/redaction.js';

/** The paths that the HTTP function serves. */
const HTTP_ROUTES = [
  '/v1/token',
  '/v1/tokens/{name}',
  '/oauth2/token',
  '/v1/rotate',
  '/oauth2/introspect',
  '/v1/authorize',
  '/health/ready',
] as const;

export type HttpRoute = (typeof HTTP_ROUTES)[number];

/** The route of a path; `undefined` when the function does not serve it. */
export function httpRouteOf(path: string): HttpRoute | undefined {
  const route = path
    .replace(/^\/v1\/tokens\/[^/{}]+$/, '/v1/tokens/{name}')
    // A gateway writes its policy, and the path of the request in front, below.
    .replace(/^\/v1\/authorize\/.*$/s, '/v1/authorize');
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
    login: createLogin(core, { callerOf, observer }),
    receivers: createReceiverSource(core),
    authorizes: core.config.http.authorizes,
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
    '/oauth2/introspect': serving.introspect,
    '/v1/authorize': serving.authorize,
    '/health/ready': guarded(new ReadyEndpoint(readiness), observer),
  };
}

interface IamLoginOptions {
  /** Those of `BROKER_HTTP_IAM_PEERS`. */
  readonly peers: readonly IamPeer[];
  /** Those of the configuration file. */
  readonly configured?: readonly ConfiguredPeer[];
  /** The caller's ARN by AWS IAM; `undefined` when there is none. */
  readonly callerOf: (request: EndpointRequest) => string | undefined;
  readonly observer: ServingObserver;
}

/**
 * Accepts peers that AWS IAM has authenticated before the function was invoked. Only what AWS says of the caller counts,
 * never a header or a parameter. A caller that is not on the list is refused, whatever its rights in AWS.
 */
export class IamLogin implements PeerAuthentication {
  readonly #peers = new Map<string, LoggedInPeer & { readonly enabled: boolean }>();
  readonly #callerOf: IamLoginOptions['callerOf'];
  readonly #observer: ServingObserver;

  constructor({ peers, configured = [], callerOf, observer }: IamLoginOptions) {
    // A peer that is named twice has the roles of both.
    for (const { arn, roles } of peers) {
      const id = principalArn(arn);
      const known = this.#peers.get(id)?.roles ?? [];
      const tokens = [DEFAULT_TOKEN];
      const peer = { id, roles: [...known, ...roles], tokens, enabled: true };
      this.#peers.set(id, { ...peer, method: 'iam' });
    }
    for (const peer of configured) {
      for (const { issuer, subject } of peer.identities) {
        if (issuer === IAM) this.#peers.set(subject, { ...peer, method: 'iam' });
      }
    }
    this.#callerOf = callerOf;
    this.#observer = observer;
  }

  async withHeader(request: EndpointRequest): Promise<LoginResult> {
    const caller = this.#callerOf(request);
    if (caller === undefined) {
      this.#failed('missing', undefined, request);
      return refuse('The endpoint does not name the caller. It must be authorized by AWS IAM.');
    }
    const peer = this.#peers.get(principalArn(caller));
    if (peer?.enabled !== true) {
      const reason = peer === undefined ? 'unknown_peer' : 'disabled_peer';
      this.#failed(reason, peer?.id, request);
      return refuse('The IAM role or user that calls is not a peer of this broker.');
    }
    this.#observer.loggedIn?.(peer.id, request.source);
    const { roles, tokens } = peer;
    return { peer: { id: peer.id, roles, tokens, method: 'iam' } };
  }

  /** AWS IAM has authenticated the caller: anything else would be a second method (RFC 6749 §2.3). */
  async withHeaderOrForm(request: EndpointRequest, form: Form): Promise<LoginResult> {
    const second = (['client_secret', 'client_assertion'] as const).find(
      (name) => parameterOf(form, name) !== undefined,
    );
    if (second === undefined) return this.withHeader(request);
    this.#failed('malformed', undefined, request);
    const description = `AWS IAM authenticates the caller here. Send no ${second.replace('_', ' ')}.`;
    return { refusal: errorAnswer(400, 'invalid_request', description) };
  }

  #failed(reason: LoginFailure, peerId: string | undefined, request: EndpointRequest): void {
    const { remoteAddress, source } = request;
    this.#observer.loginFailed?.(reason, peerId, remoteAddress);
    this.#observer.loginRefused?.(reason, peerId, { remoteAddress, source, loginMethod: 'iam' });
  }

  /** No `Authorization` header decides here: AWS has checked it already. */
  now(): undefined {
    return undefined;
  }
}

/** Accepts whom AWS IAM names; behind an endpoint that it does not authorize, the workload tokens of the configured peers. */
function createLogin(
  { config, clock }: Core,
  { callerOf, observer }: Pick<HttpRoutesOptions, 'callerOf' | 'observer'>,
): PeerAuthentication {
  const { iamPeers: peers } = config.http;
  const iam = new IamLogin({ peers, configured: config.identities.peers, callerOf, observer });
  const filePeers = createFilePeers(config, clock);
  if (filePeers.current.workloadTokens === undefined) return iam;
  const workloads = new PeerLogin({
    directory: createPeerDirectory({ store: NO_PEERS_SECRET, secretId: 'none', clock }),
    throttle: new LoginThrottle({ clock }),
    clock,
    observer,
    filePeers,
  });
  const loginOf = (request: EndpointRequest): PeerAuthentication =>
    callerOf(request) === undefined ? workloads : iam;
  return {
    withHeader: async (request) => loginOf(request).withHeader(request),
    withHeaderOrForm: async (request, form) => loginOf(request).withHeaderOrForm(request, form),
    now: () => undefined,
  };
}

/** A function does not read the peers secret: its role need not, and IAM and the platforms say who calls. */
const NO_PEERS_SECRET: Pick<SecretStore, 'read'> = {
  read: () =>
    Promise.reject(
      new SecretStoreError('VERSION_NOT_FOUND', 'The HTTP function has no peers secret.'),
    ),
};

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
    const details: Record<string, CheckBody> = {};
    for (const { name, state } of found) {
      const { ok, reason, ...known } = state;
      // As the broker's own: what cannot be served beside what can be is degraded, not down.
      const status = ok && known.stale !== true ? 'up' : isReady ? 'degraded' : 'down';
      details[found.length === 1 ? 'token' : `token:${name}`] = withSnakeNames({
        ...known,
        ...(reason !== undefined && { reason: redactText(reason) }),
        status,
      }) as CheckBody;
    }
    const isDegraded = Object.values(details).some(({ status }) => status !== 'up');
    return jsonAnswer<ReadinessBody>(isReady ? 200 : 503, {
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
