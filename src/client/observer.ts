import type { TokenRequestError } from './errors.js';

/**
 * Is told how a client fares, for logs and metrics. Nothing it is told holds a token or a secret; `broker` is a URL as
 * configured, fit for a label. It must not throw; if it does, a process warning says so.
 *
 * @example
 * ```ts
 * import { createServiceTokenClient } from 'service-token-broker/client';
 *
 * const tokens = createServiceTokenClient({
 *   ...options,
 *   observer: {
 *     refreshed: ({ durationMs }) => refreshSeconds.observe(durationMs / 1000),
 *     refreshFailed: ({ error }) => log.warn({ err: error }, 'the service token was not refreshed'),
 *   },
 * });
 * ```
 */
export interface ServiceTokenClientObserver {
  /** A token came. */
  refreshed?(event: TokenRefreshed): void;
  /** No broker gave a token. The one at hand is served on while its life allows. */
  refreshFailed?(event: RefreshFailed): void;
  /** One broker was asked in vain; another may have answered after it. */
  brokerFailed?(event: BrokerFailed): void;
  /** Another broker answered than the time before. */
  brokerSwitched?(event: BrokerSwitched): void;
  /** For the first time since the last refresh, a token was handed out that should have been refreshed and was not. */
  servedStale?(event: ServedStale): void;
}

/** See {@link ServiceTokenClientObserver.refreshed}. */
export interface TokenRefreshed {
  readonly broker: string;
  /** Milliseconds, attempts and pauses in all. */
  readonly durationMs: number;
  /** When the token expires, in milliseconds since the Unix epoch. */
  readonly expiresAt: number;
}

/** See {@link ServiceTokenClientObserver.refreshFailed}. */
export interface RefreshFailed {
  readonly error: unknown;
  /** 1 for the first failure after a success. */
  readonly consecutiveFailures: number;
  /** Until when the token at hand is served, in milliseconds since the Unix epoch; `undefined` when there is none. */
  readonly servedUntil: number | undefined;
}

/** See {@link ServiceTokenClientObserver.brokerFailed}. */
export interface BrokerFailed {
  readonly broker: string;
  readonly error: TokenRequestError;
  readonly durationMs: number;
}

/** See {@link ServiceTokenClientObserver.brokerSwitched}. */
export interface BrokerSwitched {
  readonly from: string;
  readonly to: string;
}

/** See {@link ServiceTokenClientObserver.servedStale}. Instants in milliseconds since the Unix epoch. */
export interface ServedStale {
  /** When the token was asked for. */
  readonly readAt: number;
  /** When it expires. */
  readonly expiresAt: number;
}
