import { BrokerError } from './errors.js';

/** Who has to act when a proxy does not let a request through. */
const KINDS = {
  /** It does not allow the destination, wants another login, or is no proxy: the operator. */
  PROXY_REFUSED: 'misconfigured',
  /** It cannot be reached, or cannot reach the destination at the moment: nobody. */
  PROXY_UNAVAILABLE: 'retry',
} as const;

/** What a {@link ProxyError} is made of. */
interface ProxyErrorParts {
  /** Half a sentence that begins with the proxy: `the proxy proxy.example.com:3128 …`. */
  readonly why: string;
  /** What to do, in whole sentences. */
  readonly advice: string;
  readonly retryAfterSeconds?: number | undefined;
  /** Whether a second attempt may help at once, as it does not after a time-out. */
  readonly isBrief?: boolean;
}

/**
 * A proxy did not let a request through: the destination never saw it. The message names the proxy's host and port, never its
 * user and password, nor anything else that it said.
 */
export class ProxyError extends BrokerError {
  declare readonly code: keyof typeof KINDS;
  /** Half a sentence for the middle of a message. */
  readonly why: string;
  readonly advice: string;
  /** By this the AWS SDK knows what to try again. */
  readonly $retryable?: object;

  constructor(
    code: keyof typeof KINDS,
    { why, advice, retryAfterSeconds, isBrief = false }: ProxyErrorParts,
  ) {
    super(
      code,
      KINDS[code],
      `${why.charAt(0).toUpperCase()}${why.slice(1)}. ${advice}`,
      retryAfterSeconds === undefined ? {} : { retryAfterSeconds },
    );
    this.why = why;
    this.advice = advice;
    if (isBrief) this.$retryable = {};
  }
}

/** The proxy's error among an error and its causes. */
export function proxyErrorOf(error: unknown): ProxyError | undefined {
  let current = error;
  for (let depth = 0; depth < 4 && current instanceof Error; depth += 1) {
    if (current instanceof ProxyError) return current;
    current = current.cause;
  }
  return undefined;
}
