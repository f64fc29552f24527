import { tell } from '../tokens/tell.js';
import {
  isRefusal,
  isResting,
  lineUp,
  pauseBeforeRound,
  remember,
  restEnd,
  type ListedBroker,
  type RememberedFailure,
} from './broker-list.js';
import { TokenRequestError } from './errors.js';
import { requestToken, type GrantedToken } from './exchange.js';
import type { ClientSettings } from './options.js';
import { readPeerSecret } from './peer-secret.js';

/** A token, and who gave it. */
export interface BrokerToken extends GrantedToken {
  readonly broker: string;
}

/** How a token is asked for. */
export interface TokenRequest {
  /** Asks the brokers to look past their own caches. */
  readonly pastCaches: boolean;
  /**
   * There is no token at hand: goes through the list again and again, as far as rounds and deadline allow, and leaves no
   * broker alone for long. Otherwise once.
   */
  readonly isUrgent: boolean;
}

/** A refusal that every broker would repeat, as long as the secret is the same. */
interface Refusal extends RememberedFailure {
  readonly secret: string;
}

/**
 * Asks the brokers of a list for the service token.
 *
 * A broker that cannot be reached, is slow, fails (5xx, 429), answers nonsense or serves an expired token is followed by
 * the next. One that refuses the peer or its request (400, 401, 403) is not: all brokers of a list know the same peers,
 * so another would say the same, and count one more failed login. That refusal is remembered, and repeated without
 * asking, until the rest of `broker-list.ts` is over or the peer has another secret.
 */
export class BrokerAsker {
  readonly #settings: ClientSettings;
  #brokers: readonly ListedBroker[];
  #refusal: Refusal | undefined;
  #lastGood: string | undefined;

  constructor(settings: ClientSettings) {
    this.#settings = settings;
    this.#brokers = settings.brokers.map((url) => ({ url }));
  }

  /** @throws {TokenRequestError} */
  async ask({ pastCaches, isUrgent }: TokenRequest): Promise<BrokerToken> {
    const { clock, deadlineMs, random } = this.#settings;
    const deadline = clock.now() + deadlineMs;
    const rounds = isUrgent ? this.#settings.rounds : 1;
    for (let failedRounds = 1; ; failedRounds += 1) {
      const token = await this.#round(pastCaches, isUrgent, deadline);
      if (token !== undefined) return token;
      const now = clock.now();
      const brokers = this.#brokers;
      const progress = { brokers, failedRounds, isUrgent, rounds, now, deadline, random: random() };
      const pause = pauseBeforeRound(progress);
      if (pause === undefined) throw noToken(brokers, now, isUrgent);
      await clock.sleep(pause);
    }
  }

  async #round(
    pastCaches: boolean,
    isUrgent: boolean,
    deadline: number,
  ): Promise<BrokerToken | undefined> {
    const { clock } = this.#settings;
    for (const { url } of lineUp(this.#brokers, clock.now(), isUrgent)) {
      if (clock.now() >= deadline) return undefined;
      const token = await this.#askOne(url, pastCaches, isUrgent, deadline);
      if (token !== undefined) return token;
    }
    return undefined;
  }

  /** The token; `undefined` when the next broker may have one. */
  async #askOne(
    broker: string,
    pastCaches: boolean,
    isUrgent: boolean,
    deadline: number,
  ): Promise<BrokerToken | undefined> {
    const { clock, fetch, observer, peerId, random, skewMs } = this.#settings;
    const peerSecret = await readPeerSecret(this.#settings, this.#timeLeft(deadline));
    this.#repeatRefusal(peerSecret, isUrgent);
    const startedAt = clock.now();
    try {
      const token = await requestToken({
        broker,
        peerId,
        peerSecret,
        pastCaches,
        fetch,
        clock,
        timeoutMs: this.#timeLeft(deadline),
        skewMs,
      });
      this.#noteSuccess(broker);
      return { ...token, broker };
    } catch (error) {
      if (!(error instanceof TokenRequestError)) throw error;
      const now = clock.now();
      tell(() => observer.brokerFailed?.({ broker, error, durationMs: now - startedAt }));
      if (isRefusal(error)) {
        const last = this.#refusal?.secret === peerSecret ? this.#refusal : undefined;
        this.#refusal = { ...remember(error, last, now, random()), secret: peerSecret };
        throw error;
      }
      this.#update(broker, (last) => remember(error, last, now, random()));
      return undefined;
    }
  }

  /** Milliseconds for what comes next; at least one, so that whatever is begun can say why it ended. */
  #timeLeft(deadline: number): number {
    const { clock, timeoutMs } = this.#settings;
    return Math.max(1, Math.min(timeoutMs, deadline - clock.now()));
  }

  #repeatRefusal(secret: string, isUrgent: boolean): void {
    const refusal = this.#refusal;
    if (refusal?.secret !== secret) return;
    if (isResting(refusal, this.#settings.clock.now(), isUrgent)) throw refusal.error;
  }

  #noteSuccess(broker: string): void {
    const last = this.#lastGood;
    this.#lastGood = broker;
    this.#refusal = undefined;
    this.#update(broker, () => undefined);
    if (last === undefined || last === broker) return;
    tell(() => this.#settings.observer.brokerSwitched?.({ from: last, to: broker }));
  }

  #update(
    url: string,
    failureAfter: (last: RememberedFailure | undefined) => RememberedFailure | undefined,
  ): void {
    this.#brokers = this.#brokers.map((broker) => {
      if (broker.url !== url) return broker;
      const failure = failureAfter(broker.failure);
      return failure === undefined ? { url } : { url, failure };
    });
  }
}

/** The failure of a whole request: that of the only broker, or what all of them said last. */
function noToken(
  brokers: readonly ListedBroker[],
  now: number,
  isUrgent: boolean,
): TokenRequestError {
  const errors = brokers
    .map(({ failure }) => failure)
    .filter((failure) => failure !== undefined)
    .map((failure) => stillTrue(failure, now, isUrgent));
  const [first, second] = errors;
  if (first !== undefined && second === undefined) return first;
  const waits = errors.map(({ retryAfterSeconds }) => retryAfterSeconds);
  const mayPass = errors.some(({ kind }) => kind === 'retry');
  return new TokenRequestError(
    mayPass ? 'BROKERS_UNAVAILABLE' : 'BROKERS_MISCONFIGURED',
    `No broker gave a token. ${errors.map(({ message }) => message).join(' ')}`,
    {
      cause: new AggregateError(errors),
      ...(waits.every((seconds) => seconds !== undefined) && {
        retryAfterSeconds: Math.min(...waits),
      }),
    },
  );
}

/** A remembered failure with the time until the next attempt in place of a later `Retry-After`. */
function stillTrue(failure: RememberedFailure, now: number, isUrgent: boolean): TokenRequestError {
  const { error } = failure;
  if (error.retryAfterSeconds === undefined) return error;
  const left = Math.max(0, Math.ceil((restEnd(failure, isUrgent) - now) / 1_000));
  if (left === error.retryAfterSeconds) return error;
  return new TokenRequestError(error.code, error.message, {
    cause: error,
    retryAfterSeconds: left,
  });
}
