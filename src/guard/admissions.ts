import type { ExecutionContext } from '@nestjs/common';
import type { CallContext } from '../context/call-context.js';
import { isObject } from '../tokens/json.js';
import { requestOfGraphql, transportOf, type Transport } from './call-credentials.js';
import { httpCallOf, type Admission, type HttpCall } from './http-call.js';

/** The HTTP request that a call is, or a GraphQL operation came with. */
export function callOf(context: ExecutionContext, transport: Transport): HttpCall | undefined {
  if (transport === 'http') return httpCallOf(context.getArgByIndex(0));
  if (transport !== 'graphql') return undefined;
  return httpCallOf(requestOfGraphql(context.getArgByIndex(2)));
}

/**
 * On whose behalf a call was admitted, for guards and interceptors of the application: the call context itself begins with
 * the handler, and over HTTP before. `undefined` for a call that was not admitted, or is public.
 *
 * @example
 * ```ts
 * import type { CanActivate, ExecutionContext } from '@nestjs/common';
 * import { callContextOf, runInCallContext } from 'service-token-kit/guard';
 *
 * class MayShip implements CanActivate {
 *   canActivate(context: ExecutionContext) {
 *     const callContext = callContextOf(context);
 *     if (callContext === undefined) return false;
 *     return runInCallContext(callContext, () => this.stock.has(context.switchToRpc().getData()));
 *   }
 * }
 * ```
 */
export function callContextOf(context: ExecutionContext): CallContext | undefined {
  return admissionOf(context)?.callContext;
}

/** How a call was admitted; `undefined` for one that was not, or did not have to be. */
export function admissionOf(
  context: ExecutionContext,
  transport = transportOf(context),
): Admission | undefined {
  if (transport === undefined) return undefined;
  const call = transport === 'http' ? callOf(context, transport) : undefined;
  return call === undefined ? admissions.get(keyOf(context, transport)) : call.admission;
}

/** Remembers that a call without an {@link HttpCall} of its own was admitted. */
export function addAdmission(
  context: ExecutionContext,
  transport: Transport,
  admission: Admission,
): void {
  admissions.set(keyOf(context, transport), admission);
  if (transport !== 'graphql') return;
  const { callContext } = admission;
  const value: unknown = context.getArgByIndex(2);
  if (isObject(value)) operations.set(value, callContext);
  const call = callOf(context, transport);
  if (call !== undefined) call.operation = callContext;
}

/**
 * Forgets how an earlier handler of the same HTTP request was admitted.
 *
 * @returns it; `undefined` when there is none.
 */
export function forgetAdmission(context: ExecutionContext): Admission | undefined {
  const earlier = admissionOf(context, 'http');
  const call = callOf(context, 'http');
  if (call === undefined) admissions.delete(keyOf(context, 'http'));
  else call.admission = undefined;
  return earlier;
}

/** The call context of resolvers of the same GraphQL operation; `undefined` when none was admitted. */
export function operationOf(context: ExecutionContext): CallContext | undefined {
  const value: unknown = context.getArgByIndex(2);
  return isObject(value) ? operations.get(value) : undefined;
}

/** Calls that have no {@link HttpCall}. */
const admissions = new WeakMap<object, Admission>();

/** Call contexts of GraphQL operations, by what graphql-js calls their context value. */
const operations = new WeakMap<object, CallContext>();

/** What guard and interceptor of one call both get: over HTTP the request, elsewhere Nest's list of arguments. */
function keyOf(context: ExecutionContext, transport: Transport): object {
  const args = context.getArgs();
  const request: unknown = transport === 'http' ? args[0] : undefined;
  return isObject(request) ? request : args;
}
