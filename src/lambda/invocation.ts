import { AsyncLocalStorage } from 'node:async_hooks';
import type { Clock } from '../tokens/clock.js';
import { FunctionError } from './function-error.js';

/** What is used of the context object that Lambda passes to a handler. */
export interface FunctionContext {
  /** The id of the invocation. */
  readonly awsRequestId: string;
  /** Milliseconds until Lambda ends the invocation. */
  getRemainingTimeInMillis(): number;
}

/** The invocation that runs. */
export interface Invocation {
  readonly requestId: string;
  /** When it began, in milliseconds since the Unix epoch. */
  readonly startedAt: number;
  /** Aborted while enough time is left to keep what the provider has minted, and to answer. */
  readonly providerSignal: AbortSignal;
}

/** Kept back for the secret store and for the answer, in milliseconds. */
const RESERVE = 5_000;

/** How long the provider may take, of the milliseconds that are left: all but five seconds, and at least the half. */
export function providerTime(remaining: number): number {
  return Math.max(0, remaining - Math.min(RESERVE, remaining / 2));
}

const current = new AsyncLocalStorage<Invocation>();

/** The invocation that the caller runs in; `undefined` outside of any. */
export function currentInvocation(): Invocation | undefined {
  return current.getStore();
}

/** Runs one invocation. What it starts and does not await must not outlive it: Lambda freezes the process. */
export async function runInvocation<R>(
  clock: Clock,
  context: FunctionContext,
  run: () => Promise<R>,
): Promise<R> {
  const timeUp = new AbortController();
  const ended = new AbortController();
  const limit = providerTime(context.getRemainingTimeInMillis());
  clock.sleep(limit, ended.signal).then(
    () => timeUp.abort(outOfTime(limit)),
    // Rejected only because the invocation ended first.
    () => undefined,
  );
  const invocation = {
    requestId: context.awsRequestId,
    startedAt: clock.now(),
    providerSignal: timeUp.signal,
  };
  try {
    return await current.run(invocation, run);
  } finally {
    ended.abort();
  }
}

function outOfTime(limit: number): FunctionError {
  return new FunctionError(
    'FUNCTION_OUT_OF_TIME',
    `The provider had not answered after ${Math.round(limit / 100) / 10} s, and the rest of the function's time is needed to answer. ` +
      "Nothing was staged, and a retry starts clean. If it lasts, raise the function's timeout (60 seconds are good), or look at the provider.",
  );
}
