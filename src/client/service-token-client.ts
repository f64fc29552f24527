import { RefreshingCache, type CacheAnswer } from '../tokens/refreshing-cache.js';
import {
  createSuppliedToken,
  readDemand,
  type ServiceTokenSource,
  type SuppliedToken,
  type TokenDemand,
} from '../tokens/token-supply.js';
import { notify } from '../tokens/errors.js';
import { BrokerAsker, type BrokerToken } from './ask-brokers.js';
import { ClientConfigError } from './client-errors.js';
import {
  readClientOptions,
  type ClientSettings,
  type ServiceTokenClientOptions,
} from './client-options.js';
import { ProofReader } from './peer-proof.js';
import { TokenFollower, type FollowedToken } from './token-follower.js';

/** The state of a client, for health checks. Instants in milliseconds since the Unix epoch. */
export interface ServiceTokenClientStatus {
  /** True with a token that lives longer than the skew: `getToken()` returns one, whatever the brokers do. */
  readonly usable: boolean;
  /** The broker that gave the token; `undefined` before the first one. */
  readonly broker: string | undefined;
  /** When the token was requested. */
  readonly readAt: number | undefined;
  readonly expiresAt: number | undefined;
  /** Failed refreshes since the last one that succeeded. */
  readonly consecutiveFailures: number;
  /** Why the last one failed. */
  readonly lastError: unknown;
  /** True while a request waits at the broker for the next token. */
  readonly waiting: boolean;
}

/**
 * The service token from a broker over HTTP. It keeps no timer. While it is used, one request may wait at the broker; neither
 * that nor its connection keeps the process alive.
 */
export interface ServiceTokenClient extends ServiceTokenSource {
  /**
   * The service token, from memory when it is fresh: then no request is made, and the same promise is returned again.
   *
   * @throws {TokenRequestError} when there is no usable token and no broker gives one.
   * @throws {CacheError} `TOKEN_LIFE_TOO_SHORT` when the token does not live as long as `demand.minTtlSeconds` asks for.
   * @throws {ClientConfigError} for an invalid demand.
   */
  getToken(demand?: TokenDemand): Promise<SuppliedToken>;
  /** Starts nothing. */
  status(): ServiceTokenClientStatus;
  /** Ends the request that waits at the broker, for good. The client goes on without it; calling this is optional. */
  close(): void;
}

/**
 * Makes a client of the broker: one for a process is enough, and shares one token among all its calls.
 *
 * It has the broker's own freshness policy. A token is used for five minutes (`ttlSeconds`) and refreshed in the background
 * from four minutes on; however many callers, one request is in flight. When no broker answers, the token is served for
 * as long as it lives, and the refresh is retried after 1, 2, 4 … 30 seconds. `force` asks the broker to read its store, at
 * most once a second; with `patient` it waits for the rest of a second in which an ordinary read was made, unless
 * `deadlineSeconds` is shorter.
 *
 * The brokers are asked in the order of the list: the first whenever it works, and last for a minute after it failed.
 * `Retry-After` is respected. A peer that is refused (400, 401, 403) is not tried at another broker, nor at once: after 1 to 7
 * seconds, and a quarter, or as soon as it has another secret. Without a usable token the next attempt is at most 15
 * seconds away, whatever failed before.
 *
 * Where a broker offers it, one request waits there for the next token while the client is used (`Prefer: wait`, RFC 7240 §4.3):
 * a rotation, also one that withdraws the token, reaches the client at once, at most 15 seconds late where another replica
 * rotated. Whatever goes wrong with that request, the client works as described above.
 *
 * A token's life is `expires_in` (RFC 6749 §5.1), counted by this machine's clock from before the request was sent, and is
 * no longer when that is set back. The JWT is not decoded: its `exp` would be compared with a clock that may be minutes off.
 *
 * @throws {ClientConfigError} when an option is invalid.
 *
 * @example
 * ```ts
 * import { readFile } from 'node:fs/promises';
 * import { createServiceTokenClient } from 'service-token-kit/client';
 *
 * const tokens = createServiceTokenClient({
 *   brokers: ['https://broker-1.internal', 'https://broker-2.internal'],
 *   peer: { id: 'orders', secret: () => readFile('/run/secrets/broker-peer', 'utf8') },
 * });
 * const { accessToken } = await tokens.getToken();
 * ```
 */
export function createServiceTokenClient(options: ServiceTokenClientOptions): ServiceTokenClient {
  return new BrokerClient(readClientOptions(options));
}

interface Held {
  readonly token: SuppliedToken;
  /** Made once for each token: a warm answer costs no allocation. */
  readonly promise: Promise<SuppliedToken>;
  readonly broker: string;
  readonly path: string | undefined;
  /** What was left of its life when its read began, in milliseconds. */
  readonly lifeMs: number;
}

class BrokerClient implements ServiceTokenClient {
  readonly #settings: ClientSettings;
  readonly #asker: BrokerAsker;
  readonly #cache: RefreshingCache<Held>;
  readonly #follower: TokenFollower | undefined;
  #noticedStale = false;

  constructor(settings: ClientSettings) {
    const { clock, deadlineMs, random, skewMs, ttlMs } = settings;
    this.#settings = settings;
    const proofs = new ProofReader(settings.peer, settings.clock);
    this.#asker = new BrokerAsker(settings, proofs);
    this.#follower = settings.wait
      ? new TokenFollower({
          settings,
          proofs,
          inUse: () => this.#inUse(),
          // In the place of the cached one, which is not served any more.
          onToken: (token) => this.#cache.put(this.#hold(token, clock.now())),
        })
      : undefined;
    this.#cache = new RefreshingCache({
      read: (forced) => this.#read(forced),
      // A span: it ends no later where the clock is set back.
      expiresAt: ({ token, lifeMs }, readAt) => Math.min(token.expiresAt, readAt + lifeMs),
      clock,
      random,
      ttlMs,
      skewMs,
      // A request ends at its own deadline, with a better error.
      readTimeoutMs: 2 * deadlineMs,
      patienceMs: deadlineMs,
      isSame: (one, other) => one.token.accessToken === other.token.accessToken,
      observer: {
        readSucceeded: (durationMs) => this.#noteSuccess(durationMs),
        readFailed: (error, consecutiveFailures) => this.#noteFailure(error, consecutiveFailures),
      },
    });
  }

  // Not an async function: that would make a promise for each call.
  getToken(demand?: TokenDemand): Promise<SuppliedToken> {
    this.#follower?.use();
    const answer = demand === undefined ? this.#cache.peek() : undefined;
    return answer === undefined ? this.#wait(demand) : this.#take(answer).promise;
  }

  close(): void {
    this.#follower?.close();
  }

  status(): ServiceTokenClientStatus {
    const { value, readAt, expiresAt, consecutiveFailures, lastError } = this.#cache.status();
    return {
      usable: this.#hasUsableToken(),
      broker: value?.broker,
      readAt,
      expiresAt,
      consecutiveFailures,
      lastError,
      waiting: this.#follower?.isWaiting === true,
    };
  }

  #inUse(): FollowedToken | undefined {
    const { value } = this.#cache.status();
    if (value?.path === undefined) return undefined;
    const { broker, path, token } = value;
    return { broker, path, accessToken: token.accessToken };
  }

  async #wait(demand: TokenDemand = {}): Promise<SuppliedToken> {
    const request = readDemand(demand, (mistake) => new ClientConfigError(mistake));
    // Who forces a read has a token that was refused: an older one is of no use.
    const waiting = request.force === true ? { waitMs: this.#settings.deadlineMs } : {};
    return this.#take(await this.#cache.get({ ...request, ...waiting })).token;
  }

  async #read(forced: boolean): Promise<Held> {
    const readAt = this.#settings.clock.now();
    const request = { pastCaches: forced, isUrgent: !this.#hasUsableToken() };
    const token = this.#hold(await this.#asker.ask(request), readAt);
    if (token.broker !== this.#cache.status().value?.broker) this.#follower?.restart();
    return token;
  }

  #take({ state, value, readAt }: CacheAnswer<Held>): Held {
    if (state === 'STALE' && !this.#noticedStale) {
      this.#noticedStale = true;
      const { expiresAt = value.token.expiresAt } = this.#cache.status();
      notify(() => this.#settings.observer.servedStale?.({ readAt, expiresAt }));
    }
    return value;
  }

  #noteSuccess(durationMs: number): void {
    this.#noticedStale = false;
    const { value } = this.#cache.status();
    if (value === undefined) return;
    const { broker, token } = value;
    this.#settings.observer.refreshed?.({
      broker,
      durationSeconds: durationMs / 1_000,
      expiresAt: token.expiresAt,
    });
  }

  #noteFailure(error: unknown, consecutiveFailures: number): void {
    const { expiresAt } = this.#cache.status();
    const servedUntil =
      expiresAt !== undefined && this.#hasUsableToken()
        ? expiresAt - this.#settings.skewMs
        : undefined;
    this.#settings.observer.refreshFailed?.({ error, consecutiveFailures, servedUntil });
  }

  #hasUsableToken(): boolean {
    const { clock, skewMs } = this.#settings;
    const { expiresAt } = this.#cache.status();
    return expiresAt !== undefined && expiresAt - clock.now() > skewMs;
  }

  /** @param readAt when its read began. The request may have been sent later, after others had failed. */
  #hold({ accessToken, expiresAt, lifeMs, broker, path }: BrokerToken, readAt: number): Held {
    const token = createSuppliedToken(accessToken, expiresAt);
    // Within these bounds, whatever was done to the clock meanwhile.
    const before = Math.min(Math.max(expiresAt - lifeMs - readAt, 0), this.#settings.deadlineMs);
    return { token, promise: Promise.resolve(token), broker, path, lifeMs: before + lifeMs };
  }
}
