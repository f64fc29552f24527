import { readBoundedBody } from '../tokens/bounded-body.js';
import { clientSecretBasic } from '../tokens/client-secret-basic.js';
import type { Clock } from '../tokens/clock.js';
import { bareError, connectionFailure } from '../tokens/connection-failure.js';
import { withDeadline } from '../tokens/waiting.js';
import { ClientConfigError, TokenRequestError } from './errors.js';
import { directDispatcher } from './proxies.js';
import {
  failureByStatus,
  invalidAnswer,
  MAX_ANSWER_BYTES,
  readGrant,
  type Grant,
} from './token-answer.js';

/** One token request to one broker. */
export interface Exchange {
  /** The broker's URL without a slash at the end. */
  readonly broker: string;
  readonly peerId: string;
  readonly peerSecret: string;
  /** Asks the broker to look past its own cache. */
  readonly pastCaches: boolean;
  readonly fetch: typeof globalThis.fetch;
  readonly clock: Clock;
  /** Milliseconds for all of it. */
  readonly timeoutMs: number;
  /** Life in milliseconds under which a token is of no use. */
  readonly skewMs: number;
}

/** A token as it was granted. */
export interface GrantedToken {
  readonly accessToken: string;
  /** In milliseconds since the Unix epoch, by our own clock. */
  readonly expiresAt: number;
}

/**
 * Asks one broker once: the client-credentials grant (RFC 6749 §4.4) with `client_secret_basic`. Follows no redirect.
 *
 * When the token expires is counted from before the request was sent, so never later than it does; and by `expires_in`,
 * which is a span, so that it does not matter how far the clocks of the two machines are apart.
 *
 * @throws {TokenRequestError}
 */
export async function requestToken(exchange: Exchange): Promise<GrantedToken> {
  const { broker, clock, timeoutMs, skewMs } = exchange;
  const sentAt = clock.now();
  const { accessToken, lifeSeconds } = await withDeadline(
    clock,
    timeoutMs,
    (signal) => talk(exchange, signal),
    () => tooSlow(broker, timeoutMs),
  );
  if (lifeSeconds * 1_000 <= skewMs) {
    throw new TokenRequestError(
      'BROKER_TOKEN_EXPIRED',
      `The broker ${broker} served a token with ${Math.floor(lifeSeconds)} s left, and over ${skewMs / 1_000} s are ` +
        'needed. Its /health/ready says whether rotation works.',
    );
  }
  return { accessToken, expiresAt: sentAt + lifeSeconds * 1_000 };
}

async function talk(exchange: Exchange, signal: AbortSignal): Promise<Grant> {
  const { broker, clock, fetch } = exchange;
  try {
    const response = await fetch(`${broker}/oauth2/token`, requestInit(exchange, signal));
    const { status, headers } = response;
    const failure = failureByStatus(status, headers, broker, clock.now());
    if (failure !== undefined) {
      // Nobody reads the rest of it; a failure to cancel it changes nothing about the answer.
      response.body?.cancel().catch(() => undefined);
      throw failure;
    }
    const body = await readBoundedBody(response, MAX_ANSWER_BYTES, () =>
      invalidAnswer(broker, status, `it has more than ${MAX_ANSWER_BYTES} bytes`),
    );
    return readGrant(status, body, broker);
  } catch (error) {
    if (error instanceof TokenRequestError || error instanceof ClientConfigError) throw error;
    throw noAnswer(error, broker);
  }
}

function requestInit(exchange: Exchange, signal: AbortSignal): RequestInit {
  const { broker, peerId, peerSecret, pastCaches } = exchange;
  // To this very machine, or to a network in which nobody can listen: not to a proxy.
  const dispatcher = broker.startsWith('http:') ? directDispatcher(undefined) : undefined;
  const init: RequestInit = {
    method: 'POST',
    headers: {
      accept: 'application/json',
      authorization: clientSecretBasic(peerId, peerSecret),
      'content-type': 'application/x-www-form-urlencoded',
      ...(pastCaches && { 'cache-control': 'no-cache' }),
    },
    body: 'grant_type=client_credentials',
    redirect: 'manual',
    signal,
  };
  if (dispatcher !== undefined) init.dispatcher = dispatcher;
  return init;
}

function tooSlow(broker: string, timeoutMs: number): TokenRequestError {
  return new TokenRequestError(
    'BROKER_TIMEOUT',
    `The broker ${broker} gave no complete answer within ${Math.ceil(timeoutMs / 100) / 10} s.`,
  );
}

function noAnswer(error: unknown, broker: string): TokenRequestError {
  const failure = connectionFailure(error);
  if (failure === undefined) {
    const cause = bareError(error);
    return new TokenRequestError(
      'BROKER_UNEXPECTED',
      `Talking to the broker ${broker} failed in an unforeseen way (${cause.message}). If "fetch" is the platform's ` +
        'own, please report it with its stack.',
      { cause },
    );
  }
  if (failure.kind === 'tls') {
    return new TokenRequestError(
      'BROKER_TLS_FAILED',
      `The broker ${broker} offers no trusted TLS connection: ${failure.why}. ${failure.advice}`,
    );
  }
  return new TokenRequestError(
    'BROKER_UNREACHABLE',
    `The broker ${broker} cannot be reached: ${failure.why}.`,
  );
}
