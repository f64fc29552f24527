import { LoginThrottle } from '../peers/login-throttle.js';
import { createPeerDirectory, type PeerDirectory } from '../peers/peer-directory.js';
import { isStoreError, type SecretStore } from '../secrets/secret-store.js';
import type { CacheObserver } from '../tokens/refreshing-cache.js';
import type { Clock } from '../tokens/time.js';
import { guarded, type Endpoint, type ServingObserver } from './endpoint.js';
import { MetadataEndpoint, OauthEndpoint } from './oauth-endpoint.js';
import { PeerLogin, type PeerAuthentication } from './peer-login.js';
import { RotateEndpoint, type RotateNow } from './rotate-endpoint.js';
import { createTokenCache, type TokenCache } from './token-cache.js';
import { TokenEndpoint } from './token-endpoint.js';

/** Options of {@link createServing}. Spans in milliseconds. */
export interface ServingOptions {
  readonly store: Pick<SecretStore, 'read'>;
  readonly tokenSecretId: string;
  readonly peersSecretId: string;
  readonly clock: Clock;
  /** How long a read of either secret is served. Default: 300 000. */
  readonly ttlMs?: number;
  /** Remaining life under which a token is not served. Default: 60 000. */
  readonly skewMs?: number;
  /** From 0 up to, but not including, 1. Default: `Math.random`. */
  readonly random?: () => number;
  /** The scopes of a service token that does not name its own, separated by spaces. */
  readonly scope?: string;
  /** The URL under which peers reach the broker; see `MetadataOptions`. */
  readonly publicUrl?: string;
  /** What `POST /v1/rotate` calls. Without it the route answers 404. */
  readonly rotator?: RotateNow;
  /** How peers are authenticated. Default: by the peers secret. */
  readonly login?: PeerAuthentication;
  /** Default: a throttle with its own defaults. */
  readonly throttle?: LoginThrottle;
  readonly observer?: ServingObserver;
  /** Notified of the reads of the token secret. */
  readonly tokenReads?: CacheObserver;
  /** Notified of the reads of the peers secret. */
  readonly peerReads?: CacheObserver;
}

/** The endpoints, ready to answer, and the caches behind them. */
export interface Serving {
  readonly tokenCache: TokenCache;
  readonly peerDirectory: PeerDirectory;
  /** How peers are authenticated. */
  readonly login: PeerAuthentication;
  /** `GET /v1/token`; its `answerNow` is for the hot lane. */
  readonly token: Endpoint & Pick<TokenEndpoint, 'answerNow'>;
  /** `POST /oauth2/token` */
  readonly oauth: Endpoint;
  /** `POST /v1/rotate` */
  readonly rotate: Endpoint;
  /** `GET /.well-known/oauth-authorization-server` */
  readonly metadata: Endpoint;
  /**
   * Starts the reads that are due, so that no peer waits for them. Called every second, it keeps both caches warm at one
   * read each 4 minutes, and finds out when the store works again. Never blocks, never throws.
   */
  keepWarm(): void;
}

/** The least time between two reads without a caller, in milliseconds: 15 an hour for each secret. */
const WARM_INTERVAL = 240_000;

/** Nest's injection token for {@link Serving}. */
export const Serving = Symbol('Serving');

/** Makes the endpoints of the broker's peers. Reads start on demand, or with `keepWarm`. */
export function createServing(options: ServingOptions): Serving {
  const { store, clock, ttlMs, skewMs, random, scope, publicUrl, rotator } = options;
  const observer = options.observer ?? {};
  const cache = createTokenCache({
    store,
    secretId: options.tokenSecretId,
    clock,
    ttlMs,
    skewMs,
    random,
    scope,
    observer: withRecovery(options.tokenReads, () => directory.retry()),
  });
  const directory = createPeerDirectory({
    store,
    secretId: options.peersSecretId,
    clock,
    ttlMs,
    random,
    observer: withRecovery(options.peerReads, () => cache.retry()),
    onMalformed: (malformed) => observer.peersMalformed?.(malformed),
  });
  const throttle = options.throttle ?? new LoginThrottle({ clock });
  const login = options.login ?? new PeerLogin({ directory, throttle, clock, observer });
  const token = new TokenEndpoint({ login, cache, clock, observer });
  return {
    tokenCache: cache,
    peerDirectory: directory,
    login,
    token: { ...guarded(token, observer), answerNow: token.answerNow },
    oauth: guarded(new OauthEndpoint({ login, cache, clock, observer }), observer),
    rotate: guarded(new RotateEndpoint({ login, cache, observer, rotator }), observer),
    metadata: guarded(new MetadataEndpoint({ publicUrl, cache, scope }), observer),
    keepWarm: () => {
      cache.refresh(WARM_INTERVAL);
      // With another login nobody needs the list; before the first peer is added there is none.
      const isMissing = isStoreError(directory.status().lastError, 'SECRET_NOT_FOUND');
      if (options.login === undefined && !isMissing) directory.refresh(WARM_INTERVAL);
    },
  };
}

/** An observer that also reports successful reads: then the other secret can be read again, too. */
function withRecovery(observer: CacheObserver = {}, recovered: () => void): CacheObserver {
  return {
    readSucceeded: (durationMs) => {
      recovered();
      observer.readSucceeded?.(durationMs);
    },
    readFailed: (error, count) => observer.readFailed?.(error, count),
  };
}
