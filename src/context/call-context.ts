import { AsyncLocalStorage, AsyncResource } from 'node:async_hooks';
import { inspect } from 'node:util';
import type { Principal } from '../verification/principal.js';
import type { Correlation } from './correlation.js';

/**
 * On whose behalf a call runs: who a verified token speaks for, and that token.
 *
 * The token is there to be passed on, and not to be seen: it is no property of its own, so that `JSON.stringify`,
 * `console.log`, a spread and `structuredClone` leave it out.
 */
export class CallContext {
  readonly #principal: Principal;
  readonly #token: string;

  constructor(principal: Principal, token: string) {
    this.#principal = principal;
    this.#token = token;
  }

  /** Who the token speaks for. */
  get principal(): Principal {
    return this.#principal;
  }

  /** The token as it came, for a call that is made on the principal's behalf. Never log it. */
  get token(): string {
    return this.#token;
  }

  /** `inspect` would call the getter when it is asked to show all. */
  [inspect.custom](): object {
    return { principal: this.principal };
  }
}

/** What the code of one call knows of it. */
export interface CallFrame {
  /** On whose behalf it runs; `undefined` for nobody's. */
  readonly callContext: CallContext | undefined;
  readonly correlation: Correlation | undefined;
}

/**
 * One storage for all copies of this package in a process: with one for each, the client of one copy would not see the
 * customer whom the guard of another admitted, and call as a service.
 */
const STORAGE: unique symbol = Symbol.for('service-token-broker/call-frame/1');
const shared = globalThis as { [STORAGE]?: AsyncLocalStorage<CallFrame> };
const storage = (shared[STORAGE] ??= new AsyncLocalStorage<CallFrame>());

/** Runs a function, and everything it starts, in a frame. What the frame says may change while they run. */
export function runInFrame<Result>(frame: CallFrame, run: () => Result): Result {
  // What is entered ends with the scope of the resource. `storage.run` does the same with more work on Node.js 24: it makes
  // a map of all stores to go in, and another to come out.
  return new AsyncResource('CallFrame').runInAsyncScope(() => {
    storage.enterWith(frame);
    return run();
  });
}

/** Whether the code that asks runs in this very frame. */
export function isInFrame(frame: CallFrame): boolean {
  return storage.getStore() === frame;
}

/**
 * Runs a function, and everything it starts, in a call context that was taken with {@link currentCallContext}. The
 * caller's own context is as before when it returns, also while the function's promise is pending.
 *
 * @param callContext `undefined` runs it on nobody's behalf.
 *
 * @example
 * ```ts
 * import { currentCallContext, runInCallContext } from 'service-token-broker/guard';
 *
 * const callContext = currentCallContext();
 * queue.push(() => runInCallContext(callContext, () => ship(order)));
 * ```
 */
export function runInCallContext<Result>(
  callContext: CallContext | undefined,
  run: () => Result,
): Result {
  return runInFrame({ callContext, correlation: currentCorrelation() }, run);
}

/**
 * Runs a function, and everything it starts, on behalf of a principal: for jobs that go on with a call that was accepted
 * earlier, and for tests.
 *
 * @param principal who the token speaks for. Take it from a verifier: nothing is verified here.
 * @param token the principal's token, which calls to other services will carry.
 *
 * @example
 * ```ts
 * import { runWithPrincipal } from 'service-token-broker/guard';
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
  return runInCallContext(new CallContext(principal, token), run);
}

/**
 * Runs a function, and everything it starts, on nobody's behalf, so that calls to other services go out as this service:
 * for work that a customer's request begins and that is not the customer's.
 *
 * @example
 * ```ts
 * import { runAsService } from 'service-token-broker/guard';
 *
 * await runAsService(() => this.stock.reorder(article));
 * ```
 */
export function runAsService<Result>(run: () => Result): Result {
  return runInCallContext(undefined, run);
}

/** On whose behalf the code that asks is running; `undefined` outside a guarded call and in a public handler. */
export function currentCallContext(): CallContext | undefined {
  return storage.getStore()?.callContext;
}

/** What ties the call that is running to the one that caused it, for logs and for calls to other services. */
export function currentCorrelation(): Correlation | undefined {
  return storage.getStore()?.correlation;
}
