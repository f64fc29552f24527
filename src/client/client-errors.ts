import { BrokerError, type BrokerErrorOptions, type ErrorKind, oneLine } from '../tokens/errors.js';

/** Options of the client, or an argument, are invalid. The message names each mistake and what is allowed. */
export class ClientConfigError extends BrokerError {
  declare readonly code: 'CLIENT_MISCONFIGURED';
  /** Every mistake, one sentence or two each. */
  readonly mistakes: readonly string[];

  constructor(mistakes: string | readonly string[], options: BrokerErrorOptions = {}) {
    const list = (typeof mistakes === 'string' ? [mistakes] : mistakes).map(oneLine);
    const [only = '', second] = list;
    const message =
      second === undefined
        ? only
        : `The options have ${list.length} mistakes:\n${list.map((line) => `  - ${line}`).join('\n')}`;
    super('CLIENT_MISCONFIGURED', 'misconfigured', message, options);
    this.mistakes = list;
  }
}

/**
 * Reads several options, so that one error names the mistakes of all.
 *
 * @param readers by the name of the value that each returns, or as a list; they throw a {@link ClientConfigError} for a mistake.
 * @throws {ClientConfigError} with the mistakes of all of them.
 */
export function readAll<Values extends object>(readers: {
  readonly [Name in keyof Values]: () => Values[Name];
}): Values {
  const mistakes: string[] = [];
  const values: object = Array.isArray(readers) ? [] : {};
  for (const [name, read] of Object.entries<() => unknown>(readers)) {
    try {
      Reflect.set(values, name, read());
    } catch (error) {
      if (!(error instanceof ClientConfigError)) throw error;
      mistakes.push(...error.mistakes);
    }
  }
  if (mistakes.length > 0) throw new ClientConfigError([...new Set(mistakes)]);
  return values as Values;
}

/** Every way in which a request for the service token fails, with who has to act. */
const KINDS = {
  /** No connection to the broker, or it broke. */
  BROKER_UNREACHABLE: 'retry',
  /** No complete answer in time. */
  BROKER_TIMEOUT: 'retry',
  /** The broker cannot serve a token now: status 5xx, 408 or 425, or an answer that was lost on the way. */
  BROKER_UNAVAILABLE: 'retry',
  /** Too many requests: status 429. */
  BROKER_THROTTLED: 'retry',
  /** The token in the answer has expired, or is about to. */
  BROKER_TOKEN_EXPIRED: 'retry',
  /** No trusted TLS connection. */
  BROKER_TLS_FAILED: 'misconfigured',
  /** Nothing answers token requests at the URL: status 404, 405 or 410. */
  BROKER_NOT_FOUND: 'misconfigured',
  /** The answer is a redirect, which is never followed. */
  BROKER_REDIRECTED: 'misconfigured',
  /** The answer is neither a token response nor an OAuth error, or is too large. */
  BROKER_ANSWER_INVALID: 'misconfigured',
  /** The broker does not know the peer by this secret, workload token or certificate. */
  BROKER_CREDENTIALS_REFUSED: 'misconfigured',
  /** The broker knows the peer, and refuses what it asks for: the peer lacks the role `token`, or no token fits. */
  BROKER_REQUEST_REFUSED: 'misconfigured',
  /** The `fetch` function failed in an unexpected way. */
  BROKER_UNEXPECTED: 'bug',
  /** Several brokers failed, and one of them at least may answer later. */
  BROKERS_UNAVAILABLE: 'retry',
  /** Several brokers failed, and none will answer before something is changed. */
  BROKERS_MISCONFIGURED: 'misconfigured',
  /** The function for the peer's secret failed. */
  PEER_SECRET_UNREADABLE: 'retry',
  /** The function for the peer's secret returned something that is not a secret. */
  PEER_SECRET_INVALID: 'misconfigured',
  /** The function for the workload token failed. */
  WORKLOAD_TOKEN_UNREADABLE: 'retry',
  /** The function for the workload token returned something that is not a JWT, such as an empty or half-written file. */
  WORKLOAD_TOKEN_INVALID: 'retry',
  /** A function for the client certificate, its key or the authorities failed. */
  PEER_CERTIFICATE_UNREADABLE: 'retry',
  /** What is to be the client certificate or its key is damaged, or they do not fit together. */
  PEER_CERTIFICATE_INVALID: 'retry',
} as const satisfies Record<string, ErrorKind>;

/** The stable codes of {@link TokenRequestError}. */
export type TokenRequestErrorCode = keyof typeof KINDS;

/**
 * No broker gave the service token. Messages name brokers, statuses and options; never a secret, a token or the body of an
 * answer.
 */
export class TokenRequestError extends BrokerError {
  declare readonly code: TokenRequestErrorCode;

  constructor(code: TokenRequestErrorCode, message: string, options: BrokerErrorOptions = {}) {
    super(code, KINDS[code], message, options);
  }
}
