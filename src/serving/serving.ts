import { LoginThrottle } from '../peers/login-throttle.js';
import { createPeerDirectory, type PeerDirectory } from '../peers/peer-directory.js';
import type { FilePeersSource } from '../peers/file-peers.js';
import { decideAccess } from '../peers/policy.js';
import { isStoreError, type SecretStore } from '../secrets/secret-store.js';
import type { CacheObserver } from '../tokens/refreshing-cache.js';
import type { Clock } from '../tokens/time.js';
import type { CertificateLogin } from './certificate-login.js';
import { AUTHORIZE_OFF, AuthorizeEndpoint, type ReceiverSource } from './authorize-endpoint.js';
import { guarded, type Endpoint, type ServingObserver } from './endpoint.js';
import { IntrospectEndpoint } from './introspect-endpoint.js';
import { MetadataEndpoint, OauthEndpoint } from './oauth-endpoint.js';
import { PeerLogin, type PeerAuthentication } from './peer-login.js';
import type { KeptToken, RotateNow } from './kept-token.js';
import { RotateEndpoint } from './rotate-endpoint.js';
import { createTokenCache, type TokenCache } from './token-cache.js';
import { TokenEndpoint } from './token-endpoint.js';
import { followInterval, WaitingPeers } from './waiting-peers.js';

/** A service token that is served. */
export interface ServedTokenOptions {
  readonly name: string;
  /** The id of its token secret. */
  readonly secretId: string;
  /** Remaining life in milliseconds under which it is not served. Default: 60 000. */
  readonly skewMs?: number;
  /** The audience and the resources that it is configured for. Default: those of the token itself. */
  readonly targets?: readonly string[];
  /** The scopes of a version that does not name its own, separated by spaces. */
  readonly scope?: string;
  /** What `POST /v1/rotate` calls. Without it the route answers 404. */
  readonly rotator?: RotateNow;
}

/** Options of {@link createServing}. Spans in milliseconds. */
export interface ServingOptions {
  readonly store: Pick<SecretStore, 'read'>;
  readonly tokens: readonly ServedTokenOptions[];
  readonly peersSecretId: string;
  /** Further secrets that the list of peers spans. */
  readonly morePeersSecretIds?: readonly string[];
  readonly clock: Clock;
  /** How long a read of a secret is served. Default: 300 000. */
  readonly ttlMs?: number;
  /** From 0 up to, but not including, 1. Default: `Math.random`. */
  readonly random?: () => number;
  /** The URL under which peers reach the broker; see `MetadataOptions`. */
  readonly publicUrl?: string;
  /** How peers are authenticated. Default: by the peers secret. */
  readonly login?: PeerAuthentication;
  /** The peers of the configuration file. Default: none. */
  readonly filePeers?: FilePeersSource;
  /** Accepts the client certificates of peers of the file. Default: none is accepted. */
  readonly certificates?: CertificateLogin;
  /** What `POST /oauth2/introspect` and `/v1/authorize` judge tokens by. Without it both answer 404. */
  readonly receivers?: ReceiverSource;
  /** Whether `/v1/authorize` answers. Default: 404. */
  readonly authorizes?: boolean;
  /** Default: a throttle with its own defaults. */
  readonly throttle?: LoginThrottle;
  readonly observer?: ServingObserver;
  /** Makes what is notified of the reads of a token's secret. */
  readonly tokenReads?: (token: string) => CacheObserver;
  /** Notified of the reads of the peers secret. */
  readonly peerReads?: CacheObserver;
  /** How many requests may wait for a token to change at the same time (`Prefer: wait`). Default: 0, none. */
  readonly maxWaiting?: number;
}

/** The endpoints, ready to answer, and the caches behind them. */
export interface Serving {
  /** The cache of each token, by its name. */
  readonly tokenCaches: ReadonlyMap<string, TokenCache>;
  readonly peerDirectory: PeerDirectory;
  /** How peers are authenticated. */
  readonly login: PeerAuthentication;
  /** `GET /v1/token` and `GET /v1/tokens/{name}`; its `answerNow` is for the hot lane. */
  readonly token: Endpoint & Pick<TokenEndpoint, 'answerNow'>;
  /** `POST /oauth2/token` */
  readonly oauth: Endpoint;
  /** `POST /v1/rotate`; its `rotateNow` is for other doors. */
  readonly rotate: Endpoint & Pick<RotateEndpoint, 'rotateNow'>;
  /** `POST /oauth2/introspect` */
  readonly introspect: Endpoint;
  /** `/v1/authorize`, and all paths below it; its `answerNow` is for the hot lane. */
  readonly authorize: Endpoint & Pick<AuthorizeEndpoint, 'answerNow'>;
  /** `GET /.well-known/oauth-authorization-server` */
  readonly metadata: Endpoint;
  /**
   * Starts the reads that are due, so that no peer waits for them. Called every second, it keeps the caches warm at one
   * read each 4 minutes, and finds out when the store works again. While peers wait for a token, it is one read each 15
   * seconds (less often with more than 16 such tokens), and those whose time is over are answered. Never blocks, never throws.
   */
  keepWarm(): void;
  /** How many requests wait. */
  waiting(): number;
  /** Refuses the peers that wait and may not have their token any more: the peers of the file, or authorities, were replaced. */
  recheckWaiting(): void;
  /** Answers the requests that wait, and lets none wait from now on: the process stops. */
  stopWaiting(): void;
}

/** The least time between two reads without a caller, in milliseconds: 15 an hour for each secret. */
const WARM_INTERVAL = 240_000;

/** Nest's injection token for {@link Serving}. */
export const Serving = Symbol('Serving');

/** Makes the endpoints of the broker's peers. Reads start on demand, or with `keepWarm`. */
export function createServing(options: ServingOptions): Serving {
  const { store, clock, ttlMs, random, publicUrl } = options;
  const observer = options.observer ?? {};
  const waiting = new WaitingPeers(clock, options.maxWaiting ?? 0, (peer, token) => {
    const current = login.current === undefined ? peer : login.current(peer);
    return current !== undefined && decideAccess(current, { token }) === 'granted';
  });
  const tokens = options.tokens.map(({ name, secretId, skewMs, targets = [], scope, rotator }) => {
    const cache = createTokenCache({
      store,
      secretId,
      clock,
      ttlMs,
      skewMs,
      random,
      scope,
      observer: withRecovery(options.tokenReads?.(name), () => {
        directory.retry();
        const current = cache.status().value;
        if (current !== undefined) waiting.changed(name, current.versionId);
      }),
    });
    return { name, need: { token: name }, targets, scope, cache, rotator } satisfies KeptToken;
  });
  const directory = createPeerDirectory({
    store,
    secretId: options.peersSecretId,
    ...(options.morePeersSecretIds && { moreSecretIds: options.morePeersSecretIds }),
    clock,
    ttlMs,
    random,
    observer: withRecovery(options.peerReads, () => {
      tokens.forEach(({ cache }) => cache.retry());
      waiting.recheck();
    }),
    onMalformed: (malformed) => observer.peersMalformed?.(malformed),
    onNearlyFull: (room) => observer.peersNearlyFull?.(room),
  });
  const throttle = options.throttle ?? new LoginThrottle({ clock });
  const login =
    options.login ??
    new PeerLogin({
      directory,
      throttle,
      clock,
      observer,
      ...(options.filePeers && { filePeers: options.filePeers }),
      ...(options.certificates && { certificates: options.certificates }),
    });
  const { receivers } = options;
  const authorize =
    options.authorizes === true && receivers !== undefined
      ? new AuthorizeEndpoint({ receivers, observer })
      : AUTHORIZE_OFF;
  const token = new TokenEndpoint({ login, tokens, clock, observer, waiting });
  const rotate = new RotateEndpoint({ login, tokens, observer, waiting });
  return {
    tokenCaches: new Map(tokens.map(({ name, cache }) => [name, cache])),
    peerDirectory: directory,
    login,
    token: { ...guarded(token, observer), answerNow: token.answerNow },
    oauth: guarded(new OauthEndpoint({ login, tokens, clock, observer }), observer),
    rotate: {
      ...guarded(rotate, observer),
      rotateNow: (peer, name, request) => rotate.rotateNow(peer, name, request),
    },
    introspect: guarded(new IntrospectEndpoint({ login, receivers, observer }), observer),
    authorize: { ...guarded(authorize, observer), answerNow: authorize.answerNow },
    metadata: guarded(
      new MetadataEndpoint({
        publicUrl,
        tokens,
        offersWait: waiting.isOffered,
        takesCertificates: () => login.takesCertificates?.() === true,
        introspects: receivers !== undefined,
      }),
      observer,
    ),
    keepWarm: () => {
      waiting.sweep();
      const followed = tokens.filter(({ name }) => waiting.has(name));
      const interval = followInterval(followed.length);
      for (const { cache } of tokens) cache.refresh(WARM_INTERVAL);
      for (const { cache } of followed) cache.follow(interval);
      // With another login nobody needs the list; before the first peer is added there is none.
      const isMissing = isStoreError(directory.status().lastError, 'SECRET_NOT_FOUND');
      if (options.login === undefined && !isMissing) directory.refresh(WARM_INTERVAL);
    },
    waiting: () => waiting.count,
    recheckWaiting: () => waiting.recheck(),
    stopWaiting: () => waiting.close(),
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
