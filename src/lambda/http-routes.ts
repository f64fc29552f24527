import type { Core } from '../composition/core.js';
import type { GapWatch } from '../composition/coverage.js';
import { createReadiness } from '../composition/readiness.js';
import { guarded } from '../serving/failure-answer.js';
import type { Endpoint, EndpointRequest } from '../serving/http.js';
import { createServing } from '../serving/serving.js';
import type { ServingObserver } from '../serving/serving-observer.js';
import type { AwaitedReads } from './awaited-reads.js';
import { ReadyEndpoint } from './function-health.js';
import { IamLogin } from './iam-login.js';

/** The paths that the HTTP function serves. */
const HTTP_ROUTES = ['/v1/token', '/oauth2/token', '/v1/rotate', '/health/ready'] as const;

/** One of the paths that the HTTP function serves. */
export type HttpRoute = (typeof HTTP_ROUTES)[number];

/** Whether the function serves a path. */
export function isHttpRoute(path: string): path is HttpRoute {
  return (HTTP_ROUTES as readonly string[]).includes(path);
}

/** What {@link createHttpRoutes} works with. */
export interface HttpRoutesOptions {
  readonly core: Core;
  readonly reads: AwaitedReads;
  /** The ARN that AWS IAM says the caller of a request has. */
  readonly callerOf: (request: EndpointRequest) => string | undefined;
  readonly observer: ServingObserver;
}

/** A function runs no schedule, and knows none. */
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
  const { config, clock, rotator } = core;
  const { scope } = config.provider;
  const serving = createServing({
    store: reads,
    tokenSecretId: config.secrets.tokenSecretId,
    peersSecretId: config.secrets.peersSecretId,
    clock,
    ttlMs: config.cache.ttlSeconds * 1000,
    skewMs: config.verification.clockSkewSeconds * 1000,
    ...(scope !== undefined && { scope }),
    login: new IamLogin({ peers: config.http.iamPeers, callerOf, observer }),
    rotateNow: {
      rotate: async () => {
        const { versionId, result } = await rotator.rotate({ trigger: 'http' });
        return { versionId, outcome: result };
      },
    },
    observer,
  });
  const readiness = createReadiness(core, serving.tokenCache, NO_SCHEDULE);
  return {
    '/v1/token': serving.token,
    '/oauth2/token': serving.oauth,
    '/v1/rotate': serving.rotate,
    '/health/ready': guarded(new ReadyEndpoint(readiness), observer),
  };
}
