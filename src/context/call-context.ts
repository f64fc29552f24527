import { AsyncLocalStorage } from 'node:async_hooks';
import { inspect, types } from 'node:util';
import type { Clock } from '../tokens/time.js';
import type { Principal } from '../verification/principal.js';

/**
 * On whose behalf a call runs: the principal of a verified token, and that token.
 *
 * The token is not an own property, so that `JSON.stringify`, `console.log`, a spread and `structuredClone` leave it out.
 */
export class CallContext {
  readonly #principal: Principal;
  readonly #token: string;
  readonly #life: { readonly isOver: boolean };

  constructor(principal: Principal, token: string, life: { readonly isOver: boolean } = ENDLESS) {
    this.#principal = principal;
    this.#token = token;
    this.#life = life;
  }

  /** Who the token speaks for. */
  get principal(): Principal {
    return this.#principal;
  }

  /** The token as received, for calls on the principal's behalf. Never log it. */
  get token(): string {
    return this.#token;
  }

  /** Whether the call ended so long ago that nothing may be done on its behalf. */
  get isOver(): boolean {
    return this.#life.isOver;
  }

  /** With `getters`, `inspect` would show the token. */
  [inspect.custom](): object {
    return { principal: this.principal };
  }
}

/**
 * Why it is unknown on whose behalf code runs.
 *
 * - `outside`: of every call, such as at start-up, in a timer or in the callback of a shared connection
 * - `unjudged`: in a request that the guard has not admitted yet
 * - `refused`: in a request that the guard refused
 * - `nobody`: in a public handler
 * - `ended`: in a call that is over
 */
export type UnknownBehalf = 'outside' | 'unjudged' | 'refused' | 'nobody' | 'ended';

/** On whose behalf code runs: a principal's, this service's by an explicit declaration, or unknown. */
export type Behalf = CallContext | 'service' | UnknownBehalf;

/**
 * Ties the calls of one request together, by its headers. Passed on, and never trusted: the caller chooses it.
 */
export interface Correlation {
  /** `traceparent` (W3C Trace Context, level 1, §3.2), in the form that the standard allows. */
  readonly traceparent?: string;
  /** `tracestate` (§3.3); only together with a `traceparent`. */
  readonly tracestate?: string;
  /** `X-Request-Id`: 1 to 128 visible characters of ASCII. */
  readonly requestId?: string;
}

/** What the code of one call knows about it. */
export interface CallFrame {
  readonly behalf: Behalf;
  readonly correlation: Correlation | undefined;
}

/** How long a call context outlives its call. */
export interface CallTiming {
  readonly clock: Clock;
  /** Milliseconds. */
  readonly graceMs: number;
}

/** When the contexts of one call end: some time after the call itself. */
export class CallLife {
  #endedAt: number | undefined = undefined;

  constructor(private readonly timing: CallTiming) {}

  /** Ends the call: its response was sent, or its handler has returned everything. */
  end(): void {
    this.#endedAt ??= this.timing.clock.now();
  }

  /** Also true while the clock shows a time before the end: a clock that was set back must not extend a life. */
  get isOver(): boolean {
    if (this.#endedAt === undefined) return false;
    const sinceMs = this.timing.clock.now() - this.#endedAt;
    return sinceMs < 0 || sinceMs >= this.timing.graceMs;
  }
}

const ENDLESS = { isOver: false };

/** One storage for all copies of this package in a process: the client of one must see what the guard of another admitted. */
const STORAGE: unique symbol = Symbol.for('service-token-broker/call-frame/2');
const shared = globalThis as { [STORAGE]?: AsyncLocalStorage<CallFrame | undefined> };
const storage = (shared[STORAGE] ??= new AsyncLocalStorage<CallFrame | undefined>());

/**
 * Runs a function, and everything it starts, in a frame, whose content may change meanwhile; with `undefined` outside of
 * every call.
 */
export function runInFrame<Result>(frame: CallFrame | undefined, run: () => Result): Result {
  return storage.run(frame, run);
}

/** The frame that the calling code runs in; `undefined` outside of every call. */
export function currentFrame(): CallFrame | undefined {
  return storage.getStore();
}

/** On whose behalf the calling code runs. */
export function currentBehalf(): Behalf {
  const behalf = storage.getStore()?.behalf ?? 'outside';
  return typeof behalf === 'object' && behalf.isOver ? 'ended' : behalf;
}

/**
 * The call context of the calling code; `undefined` outside of guarded calls, in public handlers, in {@link runAsService},
 * and after the call has ended.
 */
export function currentCallContext(): CallContext | undefined {
  const behalf = currentBehalf();
  return typeof behalf === 'object' ? behalf : undefined;
}

/** Ties the current call to the one that caused it, for logs and for calls to other services. */
export function currentCorrelation(): Correlation | undefined {
  return storage.getStore()?.correlation;
}

/**
 * Runs a function, and everything it starts, in a call context from {@link currentCallContext}. The caller's context is
 * unchanged when it returns, also while the function's promise is pending.
 *
 * The call context ends with its call: for work that outlives the call, such as a queue's, use {@link runWithPrincipal}.
 *
 * @param callContext with `undefined`, calls to other services are refused.
 *
 * @example
 * ```ts
 * import { currentCallContext, runInCallContext } from 'service-token-kit/guard';
 *
 * const callContext = currentCallContext();
 * emitter.once('drain', () => runInCallContext(callContext, () => ship(order)));
 * ```
 */
export function runInCallContext<Result>(
  callContext: CallContext | undefined,
  run: () => Result,
): Result {
  return runFor(callContext ?? 'nobody', run);
}

/**
 * Runs a function, and everything it starts, on behalf of a principal: for jobs that continue a call that was accepted
 * earlier, for in-process queues, and for tests.
 *
 * The call context ends when the function returns, or when the promise that it returns is settled. Whatever still runs
 * then has no principal, and its calls to other services are refused.
 *
 * @param principal who the token speaks for. Take it from a verifier: nothing is verified here.
 * @param token the principal's token, which calls to other services will carry.
 *
 * @example
 * ```ts
 * import { runWithPrincipal } from 'service-token-kit/guard';
 *
 * const { principal } = await verifier.verify(message.token);
 * await runWithPrincipal(principal, message.token, () => handle(message));
 * ```
 */
export function runWithPrincipal<Result>(
  principal: Principal,
  token: string,
  run: () => Result,
): Result {
  const life = { isOver: false };
  const end = (): void => void (life.isOver = true);
  let pending = false;
  try {
    const result = runFor(new CallContext(principal, token, life), run);
    pending = types.isPromise(result);
    return pending ? ((result as Promise<unknown>).finally(end) as Result) : result;
  } finally {
    if (!pending) end();
  }
}

/**
 * Runs a function, and everything it starts, as this service: calls to other services carry the service token. For jobs,
 * and for work that a customer's request starts and that is not the customer's. {@link RunAsService} does the same for a
 * method, and for its lazy results. Here a generator or a stream that is returned runs where it is read: read it within the
 * function.
 *
 * @example
 * ```ts
 * import { runAsService } from 'service-token-kit/guard';
 *
 * await runAsService(() => this.stock.reorder(article));
 * ```
 */
export function runAsService<Result>(run: () => Result): Result {
  return runFor('service', run);
}

function runFor<Result>(behalf: Behalf, run: () => Result): Result {
  return runInFrame({ behalf, correlation: currentCorrelation() }, run);
}

/** Ids of zeros only and version `ff` are forbidden; versions after 00 may have further fields. */
const IDS = '-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}';
const TRACEPARENT = new RegExp(
  `^(?:00${IDS}|(?!00|ff)[0-9a-f]{2}${IDS}(?:-[\\x21-\\x7e]{1,200})?)$`,
);
const TRACESTATE = /^[\x20-\x7e]{1,512}$/;
const REQUEST_ID = /^[\x21-\x7e]{1,128}$/;

/**
 * Reads a correlation from headers. Malformed and duplicate headers are left out: a caller's mistake must not end a call,
 * and nothing that could split a header is passed on.
 *
 * @param valuesOf returns every value of a header, by its name in lower case.
 * @returns `undefined` when there is nothing to pass on.
 */
export function readCorrelation(
  valuesOf: (name: string) => readonly unknown[],
): Correlation | undefined {
  const traceparent = single(valuesOf('traceparent'), TRACEPARENT);
  const tracestate =
    traceparent === undefined ? undefined : single(valuesOf('tracestate'), TRACESTATE);
  const requestId = single(valuesOf('x-request-id'), REQUEST_ID);
  if (traceparent === undefined && requestId === undefined) return undefined;
  return {
    ...(traceparent !== undefined && { traceparent }),
    ...(tracestate !== undefined && { tracestate }),
    ...(requestId !== undefined && { requestId }),
  };
}

function single([value, ...others]: readonly unknown[], shape: RegExp): string | undefined {
  return others.length === 0 && typeof value === 'string' && shape.test(value) ? value : undefined;
}
