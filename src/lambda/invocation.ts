import { AsyncLocalStorage } from 'node:async_hooks';
import type { TokenProvider } from '../provider/token-provider.js';
import { BrokerError, type BrokerErrorOptions, type ErrorKind } from '../tokens/errors.js';
import { startDeadline, type Clock } from '../tokens/time.js';

/** The part of Lambda's context object that is used. */
export interface FunctionContext {
  /** The id of the invocation. */
  readonly awsRequestId: string;
  /** Milliseconds until Lambda ends the invocation. */
  getRemainingTimeInMillis(): number;
}

/** A running invocation. */
interface Invocation {
  readonly requestId: string;
  /** When it began, in milliseconds since the Unix epoch. */
  readonly startedAt: number;
  /** Aborted while enough time is left to stage a minted token, and to answer. */
  readonly providerSignal: AbortSignal;
}

/** Kept back for the secret store and for the answer, in milliseconds. */
const RESERVE = 5_000;

/** How many of the remaining milliseconds the provider may take: all but five seconds, and at least half. Pure. */
export function providerTime(remaining: number): number {
  return Math.max(0, remaining - Math.min(RESERVE, remaining / 2));
}

const current = new AsyncLocalStorage<Invocation>();

/** The invocation that the caller runs in, if any. */
export function currentInvocation(): Invocation | undefined {
  return current.getStore();
}

/** Runs one invocation. It has to await all that it starts: Lambda freezes the process afterwards. */
export async function runInvocation<R>(
  clock: Clock,
  context: FunctionContext,
  run: () => Promise<R>,
): Promise<R> {
  const limit = providerTime(context.getRemainingTimeInMillis());
  const deadline = startDeadline(clock, limit, () => outOfTime(limit));
  const invocation = {
    requestId: context.awsRequestId,
    startedAt: clock.now(),
    providerSignal: deadline.signal,
  };
  try {
    return await current.run(invocation, run);
  } finally {
    deadline.end();
  }
}

function outOfTime(limit: number): FunctionError {
  return new FunctionError(
    'FUNCTION_OUT_OF_TIME',
    `The provider had not answered after ${Math.round(limit / 100) / 10} s, and the rest of the function's time is needed to answer. ` +
      "Nothing was staged, and a retry starts clean. If it lasts, raise the function's timeout (60 seconds are good), or look at the provider.",
  );
}

/** A provider whose calls end early enough before the invocation does to stage what was minted. */
export function timedProvider(provider: TokenProvider): TokenProvider {
  return {
    mint: (settings, credentials, signal) =>
      provider.mint(settings, credentials, withInvocation(signal)),
    metadata: (settings, signal) => provider.metadata(settings, withInvocation(signal)),
  };
}

function withInvocation(signal: AbortSignal | undefined): AbortSignal | undefined {
  const limit = currentInvocation()?.providerSignal;
  return signal && limit ? AbortSignal.any([signal, limit]) : (signal ?? limit);
}

const KINDS = {
  /** The event is of another kind than the function is for. */
  FUNCTION_EVENT_INVALID: 'rejected',
  /** The event names another secret than the configured token secret. */
  FUNCTION_SECRET_UNEXPECTED: 'misconfigured',
  /** The provider had not answered when the function's time was nearly up. */
  FUNCTION_OUT_OF_TIME: 'retry',
  /** An unexpected error; the log line before says more. */
  FUNCTION_FAILED: 'bug',
} as const satisfies Record<string, ErrorKind>;

/** A function on AWS Lambda could not do its work. Messages name what is wrong, never a value of the event. */
export class FunctionError extends BrokerError {
  declare readonly code: keyof typeof KINDS;

  constructor(code: keyof typeof KINDS, message: string, options: BrokerErrorOptions = {}) {
    super(code, KINDS[code], message, options);
  }
}

/**
 * The error that a function rejects with. Lambda logs it unredacted, so only the broker's own errors pass, whose texts are
 * free of tokens and secrets.
 */
export function shownError(error: unknown): BrokerError {
  return error instanceof BrokerError
    ? error
    : new FunctionError(
        'FUNCTION_FAILED',
        'An unexpected error ended the invocation. The log line before this one says more.',
      );
}
