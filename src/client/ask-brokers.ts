import { notify } from '../tokens/errors.js';
import { backoff } from '../tokens/time.js';
import { TokenRequestError } from './client-errors.js';
import type { ClientSettings } from './client-options.js';
import type { PeerProof, ProofReader } from './peer-proof.js';
import { requestToken, type GrantedToken } from './token-request.js';

/** How a token is asked for. */
interface TokenAsk {
  /** Asks the brokers to look past their own caches. */
  readonly pastCaches: boolean;
  /**
   * There is no usable token: tries the list again and again, as far as rounds and deadline allow, and avoids no broker for
   * long. Otherwise once.
   */
  readonly isUrgent: boolean;
}

/** A token, and who gave it. */
export interface BrokerToken extends GrantedToken {
  readonly broker: string;
}

/** A refusal that every broker would repeat, as long as the proof is the same. */
interface Refusal extends RememberedFailure {
  readonly proofKey: string;
}

/**
 * Asks the brokers of a list for the service token.
 *
 * A broker that cannot be reached, is slow, fails (5xx, 429), answers nonsense or serves an expired token is followed by
 * the next. One that refuses the peer or its request (400, 401, 403) is not: all brokers of a list know the same peers,
 * so another would say the same, and count one more failed login. That refusal is remembered, and repeated without
 * asking, until its rest is over (see {@link remember}) or the peer has another secret, workload token or certificate.
 */
export class BrokerAsker {
  readonly #settings: ClientSettings;
  readonly #proofs: ProofReader;
  #brokers: readonly ListedBroker[];
  #refusal: Refusal | undefined;
  #lastGood: string | undefined;

  constructor(settings: ClientSettings, proofs: ProofReader) {
    this.#settings = settings;
    this.#proofs = proofs;
    this.#brokers = settings.brokers.map((url) => ({ url }));
  }

  /** @throws {TokenRequestError} */
  async ask({ pastCaches, isUrgent }: TokenAsk): Promise<BrokerToken> {
    const { clock, deadlineMs, random } = this.#settings;
    const deadline = clock.now() + deadlineMs;
    const rounds = isUrgent ? this.#settings.rounds : 1;
    for (let failedRounds = 1; ; failedRounds += 1) {
      const outcome = await this.#round(pastCaches, isUrgent, deadline);
      if (outcome !== undefined && !(outcome instanceof TokenRequestError)) return outcome;
      const now = clock.now();
      const brokers =
        outcome === undefined
          ? this.#brokers
          : [{ url: '', failure: remember(outcome, undefined, now, 0) }];
      const progress = { brokers, failedRounds, isUrgent, rounds, now, deadline, random: random() };
      const pause = pauseBeforeRound(progress);
      if (pause !== undefined) {
        await clock.sleep(pause);
        // A pause ends late where the process was suspended.
        if (clock.now() < deadline) continue;
      }
      throw outcome ?? noToken(brokers, clock.now(), isUrgent);
    }
  }

  /** The token; or why the peer's proof cannot be read at the moment; `undefined` when no broker gave a token. */
  async #round(
    pastCaches: boolean,
    isUrgent: boolean,
    deadline: number,
  ): Promise<BrokerToken | TokenRequestError | undefined> {
    const { clock } = this.#settings;
    for (const { url } of lineUp(this.#brokers, clock.now(), isUrgent)) {
      if (clock.now() >= deadline) return undefined;
      const outcome = await this.#askOne(url, pastCaches, isUrgent, deadline);
      if (outcome !== undefined) return outcome;
    }
    return undefined;
  }

  /** The token; or why the peer's proof cannot be read; `undefined` when the next broker may have one. */
  async #askOne(
    broker: string,
    pastCaches: boolean,
    isUrgent: boolean,
    deadline: number,
  ): Promise<BrokerToken | TokenRequestError | undefined> {
    const { audience, clock, fetch, observer, random, resource, skewMs } = this.#settings;
    const proof = await this.#readProof(deadline);
    if (proof instanceof TokenRequestError) return proof;
    const startedAt = clock.now();
    const refusal = this.#refusalOf(proof);
    if (refusal !== undefined && isResting(refusal, startedAt, isUrgent)) throw refusal.error;
    try {
      const token = await requestToken({
        broker,
        proof,
        audience,
        resource,
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
      notify(() => observer.brokerFailed?.({ broker, error, durationSeconds }));
      if (isRefusal(error)) {
        const last = this.#refusalOf(proof);
        this.#refusal = { ...remember(error, last, now, random()), proofKey: proof.key };
        throw error;
      }
      this.#update(broker, (last) => remember(error, last, now, random()));
      return undefined;
    }
  }

  /** Milliseconds for the next step; at least one, so that it can say why it ended. */
  #timeLeft(deadline: number): number {
    const { clock, timeoutMs } = this.#settings;
    return Math.max(1, Math.min(timeoutMs, deadline - clock.now()));
  }

  /** The proof, or why it cannot be read; that may pass, as a file that is being written does. */
  async #readProof(deadline: number): Promise<PeerProof | TokenRequestError> {
    try {
      return await this.#proofs.read(this.#timeLeft(deadline));
    } catch (error) {
      if (error instanceof TokenRequestError && error.kind === 'retry') return error;
      throw error;
    }
  }

  #refusalOf({ key }: PeerProof): Refusal | undefined {
    return this.#refusal?.proofKey === key ? this.#refusal : undefined;
  }

  #noteSuccess(broker: string): void {
    const last = this.#lastGood;
    this.#lastGood = broker;
    this.#refusal = undefined;
    this.#update(broker, () => undefined);
    if (last === undefined || last === broker) return;
    notify(() => this.#settings.observer.brokerSwitched?.({ from: last, to: broker }));
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

/** A broker of the list, and its last failure, while it has not answered well since. */
export interface ListedBroker {
  /** As configured, without a slash at the end: for messages and events. */
  readonly url: string;
  readonly failure?: RememberedFailure;
}

/** What is remembered of a failure. Instants in milliseconds. */
export interface RememberedFailure {
  readonly error: TokenRequestError;
  readonly at: number;
  /** 1 for the first failure after a success. */
  readonly count: number;
  /** Before this instant it is not tried again, while there is a usable token. */
  readonly restUntil: number;
}

/**
 * The first rest after a failure that a person has to fix; twice as long after each further one, and up to a quarter more.
 * Nobody notifies the client when it is fixed, so that the longest is also how much longer the outage lasts. Milliseconds.
 */
export const FIRST_REST = 1_000;
export const LONGEST_REST = 4_000;

/** The longest rest after a refusal of the peer, in milliseconds: brokers let a peer fail ten times a minute. */
export const LONGEST_REFUSAL_REST = 7_000;

/** The longest `Retry-After` that is respected, in milliseconds: a slip of the other side must not cost a day. */
export const LONGEST_RETRY_AFTER = 300_000;

/** No rest is longer while there is no usable token, in milliseconds, whatever `Retry-After` says: nobody can be served. */
export const LONGEST_URGENT_REST = 10_000;

/**
 * Remembers a failure.
 *
 * A broker that named a time is avoided until then. After a failure that a person has to fix it rests for 1, 2, 4, 4 …
 * seconds, after a refusal of the peer for 1, 2, 4, 7, 7 …, and up to a quarter more. After any other it may be asked again at
 * once: the rounds of one request and the cache limit how often.
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

/**
 * True during the rest after a failure. A failure in the future is from before the clock was set back.
 *
 * @param isUrgent true while there is no usable token.
 */
export function isResting(
  failure: RememberedFailure | undefined,
  now: number,
  isUrgent: boolean,
): boolean {
  return failure !== undefined && failure.at <= now && now < restEnd(failure, isUrgent);
}

function restEnd({ at, restUntil }: RememberedFailure, isUrgent: boolean): number {
  return isUrgent ? Math.min(restUntil, at + LONGEST_URGENT_REST) : restUntil;
}

/** How long a broker that failed is asked after the others, in milliseconds. */
export const DEMOTION = 60_000;

/**
 * Whom to ask: in the order of the list, those that failed within the last minute after the others, without those that
 * rest. So the first broker is used whenever it works, and while it does not, it costs at most one attempt a minute.
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

/** The first pause between two rounds is at most this long, in milliseconds; each further one at most twice that. */
export const FIRST_PAUSE = 500;
export const LONGEST_PAUSE = 5_000;

/** What the pause before a further round depends on. */
interface Progress {
  /** All brokers, after a round in which none gave a token. */
  readonly brokers: readonly ListedBroker[];
  readonly failedRounds: number;
  /** True while there is no usable token. */
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
 * failure is temporary, or when the deadline or a `Retry-After` leave no time.
 *
 * Full jitter: anything from 0 to a limit that doubles, so that clients that failed together do not come back together.
 */
export function pauseBeforeRound(progress: Progress): number | undefined {
  const { brokers, failedRounds, isUrgent, rounds, now, deadline, random } = progress;
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

/** The failure of a whole request: that of the only broker, or the last one of each. There is at least one broker. */
function noToken(
  brokers: readonly ListedBroker[],
  now: number,
  isUrgent: boolean,
): TokenRequestError {
  const errors = brokers.map(({ url, failure }) =>
    failure === undefined ? outOfTime(url) : withTimeLeft(failure, now, isUrgent),
  );
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

/** Who has neither given a token nor failed: the deadline has passed before. */
function outOfTime(broker: string): TokenRequestError {
  return new TokenRequestError(
    'BROKER_TIMEOUT',
    `The broker ${broker} gave no token before the time for the request was over.`,
  );
}

/** The error of a failure, with the time until the next attempt as its `retryAfterSeconds`. */
function withTimeLeft(
  failure: RememberedFailure,
  now: number,
  isUrgent: boolean,
): TokenRequestError {
  const { error } = failure;
  if (error.retryAfterSeconds === undefined) return error;
  const isLeft = isResting(failure, now, isUrgent);
  const left = isLeft ? Math.ceil((restEnd(failure, isUrgent) - now) / 1_000) : 0;
  if (left === error.retryAfterSeconds) return error;
  return new TokenRequestError(error.code, error.message, {
    cause: error,
    retryAfterSeconds: left,
  });
}
