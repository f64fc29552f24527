import { TokenRequestError } from './client-errors.js';
import { tell } from '../tokens/errors.js';
import { backoff } from '../tokens/time.js';
import { requestToken, type GrantedToken } from './token-request.js';
import { type ClientSettings, readPeerSecret } from './client-options.js';

/** What is remembered of a failure. Instants in milliseconds. */
export interface RememberedFailure {
  readonly error: TokenRequestError;
  readonly at: number;
  /** 1 for the first failure after a success. */
  readonly count: number;
  /** Before this instant the same is not tried again, while there is a token at hand. */
  readonly restUntil: number;
}

/** A broker of the list, and its last failure, while it has not answered well since. */
export interface ListedBroker {
  /** As configured, without a slash at the end: for messages and events. */
  readonly url: string;
  readonly failure?: RememberedFailure;
}

/** How long a broker that failed is asked after the others, in milliseconds. */
export const DEMOTION = 60_000;

/**
 * The first rest after a failure that a person has to fix; twice as long after each further one, and up to a quarter more.
 * Nobody notifies the client when it is fixed, so that the longest is also how much longer the outage lasts. Milliseconds.
 */
export const FIRST_REST = 1_000;
export const LONGEST_REST = 4_000;

/** The longest rest after a refusal of the peer, in milliseconds: brokers let a peer fail ten times a minute. */
export const LONGEST_REFUSAL_REST = 7_000;

/** The longest `Retry-After` that is kept, in milliseconds: a slip of the other side must not cost a day. */
export const LONGEST_RETRY_AFTER = 300_000;

/** No rest is longer while there is no token at hand, in milliseconds, whatever `Retry-After` says: nobody can be served. */
export const LONGEST_URGENT_REST = 10_000;

/** The first pause between two rounds is at most this long, in milliseconds; each further one at most twice that. */
export const FIRST_PAUSE = 500;
export const LONGEST_PAUSE = 5_000;

/**
 * Remembers a failure.
 *
 * A broker that named a time is left alone until then. After a failure that a person has to fix it rests for 1, 2, 4, 4 …
 * seconds, after a refusal of the peer for 1, 2, 4, 7, 7 …, and up to a quarter more. After any other it may be asked again at
 * once: how often, is for the rounds of one request and for the cache to say.
 *
 * @param random from 0 up to, but not including, 1.
 */
export function remember(
  error: TokenRequestError,
  last: RememberedFailure | undefined,
  now: number,
  random: number,
): RememberedFailure {
  const count = (last?.count ?? 0) + 1;
  return { error, at: now, count, restUntil: now + restAfter(error, count, random) };
}

function restAfter(error: TokenRequestError, count: number, random: number): number {
  const { kind, retryAfterSeconds } = error;
  if (retryAfterSeconds !== undefined) {
    return Math.min(retryAfterSeconds * 1_000, LONGEST_RETRY_AFTER);
  }
  if (kind === 'retry') return 0;
  const longest = isRefusal(error) ? LONGEST_REFUSAL_REST : LONGEST_REST;
  return backoff(count, FIRST_REST, longest) * (1 + random / 4);
}

/** A refusal of the peer or its request, which every broker of the list would repeat. */
export function isRefusal({ code }: TokenRequestError): boolean {
  return code === 'BROKER_CREDENTIALS_REFUSED' || code === 'BROKER_REQUEST_REFUSED';
}

/** When a rest ends. @param isUrgent true while there is no token at hand. */
function restEnd({ at, restUntil }: RememberedFailure, isUrgent: boolean): number {
  return isUrgent ? Math.min(restUntil, at + LONGEST_URGENT_REST) : restUntil;
}

/** True while a failure says to leave it. One from the future is left over from before the clock was set back. */
export function isResting(
  failure: RememberedFailure | undefined,
  now: number,
  isUrgent: boolean,
): boolean {
  return failure !== undefined && failure.at <= now && now < restEnd(failure, isUrgent);
}

/**
 * Whom to ask: in the order of the list, those that failed within the last minute after the others, and those that rest not
 * at all. So the first broker is used whenever it works, and while it does not, it costs at most one attempt a minute.
 *
 * Of those that failed the one that was asked longest ago comes first. A request ends at its deadline: several that hang
 * would otherwise keep it from the one behind them, which may work by now.
 */
export function lineUp<Broker extends ListedBroker>(
  brokers: readonly Broker[],
  now: number,
  isUrgent: boolean,
): readonly Broker[] {
  const awake = brokers.filter(({ failure }) => !isResting(failure, now, isUrgent));
  const isDemoted = ({ failure }: Broker): boolean =>
    failure !== undefined && failure.at <= now && now - failure.at < DEMOTION;
  const askedAt = ({ failure }: Broker): number => failure?.at ?? 0;
  return [
    ...awake.filter((broker) => !isDemoted(broker)),
    ...awake.filter(isDemoted).sort((one, other) => askedAt(one) - askedAt(other)),
  ];
}

/** What the pause before a further round depends on. */
interface RoundsInput {
  /** All brokers, after a round in which none gave a token. */
  readonly brokers: readonly ListedBroker[];
  readonly failedRounds: number;
  /** True while there is no token at hand. */
  readonly isUrgent: boolean;
  /** How many rounds there are at all. */
  readonly rounds: number;
  readonly now: number;
  /** When the request has to be over, in milliseconds since the Unix epoch. */
  readonly deadline: number;
  /** From 0 up to, but not including, 1. */
  readonly random: number;
}

/**
 * Milliseconds to wait before the brokers are asked once more, or `undefined` to give up: after the last round, when no
 * failure will pass by itself, or when the deadline or a `Retry-After` leave no time.
 *
 * Full jitter: anything from 0 to a limit that doubles, so that clients that failed together do not come back together.
 */
export function pauseBeforeRound(input: RoundsInput): number | undefined {
  const { brokers, failedRounds, isUrgent, rounds, now, deadline, random } = input;
  const rests = brokers
    .map(({ failure }) => failure)
    .filter((failure) => failure !== undefined)
    .filter(({ error }) => error.kind === 'retry')
    .map((failure) => (isResting(failure, now, isUrgent) ? restEnd(failure, isUrgent) - now : 0));
  if (failedRounds >= rounds || rests.length === 0) return undefined;
  const jitter = random * backoff(failedRounds, FIRST_PAUSE, LONGEST_PAUSE);
  const pause = Math.min(...rests) + jitter;
  return now + pause < deadline ? pause : undefined;
}

/** A token, and who gave it. */
interface BrokerToken extends GrantedToken {
  readonly broker: string;
}

/** How a token is asked for. */
interface TokenRequest {
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
      const durationSeconds = (now - startedAt) / 1_000;
      tell(() => observer.brokerFailed?.({ broker, error, durationSeconds }));
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
