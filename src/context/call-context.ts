import { AsyncLocalStorage } from 'node:async_hooks';
import { inspect } from 'node:util';
import type { Principal } from '../verification/principal.js';
import { requireCallContextOn } from './call-context-off.js';

/**
 * On whose behalf a call runs: who a verified token speaks for, and that token.
 *
 * The token is there to be passed on, and not to be seen: it is no property of its own, so that `JSON.stringify`,
 * `console.log`, a spread and `structuredClone` leave it out.
 */
export class CallContext {
  /** Who the token speaks for. */
  readonly principal: Principal;
  readonly #token: string;

  constructor(principal: Principal, token: string) {
    this.principal = principal;
    this.#token = token;
    Object.freeze(this);
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

const storage = new AsyncLocalStorage<CallContext | undefined>();

/**
 * Runs a function, and everything it starts, on behalf of a principal. The caller's own context is as before when it
 * returns, also while the function's promise is pending.
 *
 * @param context `undefined` runs it on nobody's behalf, such as work that outlives the call that began it.
 *
 * @example
 * ```ts
 * import { CallContext, createTokenVerifier, runInCallContext } from 'service-token-broker/guard';
 *
 * const { principal } = await verifier.verify(token);
 * await runInCallContext(new CallContext(principal, token), () => handleMessage(message));
 * ```
 */
export function runInCallContext<Result>(
  context: CallContext | undefined,
  run: () => Result,
): Result {
  return storage.run(context, run);
}

/**
 * On whose behalf the code that asks is running; `undefined` outside a guarded call and in a public handler.
 *
 * @throws {CallContextOffError} when a guard of this process was told not to keep it, so that nobody can say.
 */
export function currentCallContext(): CallContext | undefined {
  const context = storage.getStore();
  if (context === undefined) requireCallContextOn();
  return context;
}
