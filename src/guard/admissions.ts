import type { ExecutionContext } from '@nestjs/common';
import { transportOf, type Transport } from './credentials.js';
import { httpCallOf, type Admission, type HttpCall } from './http-call.js';
import { isRecord } from './shapes.js';

/** Calls that have no {@link HttpCall}. */
const admissions = new WeakMap<object, Admission>();

/** Remembers that a call was let through, for as long as the call is. */
export function addAdmission(
  context: ExecutionContext,
  transport: Transport,
  admission: Admission,
): void {
  const call = httpCall(context, transport);
  if (call === undefined) admissions.set(keyOf(context, transport), admission);
  else call.admission = admission;
}

/** How a call was let through; `undefined` for one that was not, or did not have to be. */
export function admissionOf(
  context: ExecutionContext,
  transport = transportOf(context),
): Admission | undefined {
  if (transport === undefined) return undefined;
  const call = httpCall(context, transport);
  return call === undefined ? admissions.get(keyOf(context, transport)) : call.admission;
}

/** A GraphQL operation has many resolvers, each let through by itself: its request is not theirs. */
function httpCall(context: ExecutionContext, transport: Transport): HttpCall | undefined {
  return transport === 'http' ? httpCallOf(context.getArgByIndex(0)) : undefined;
}

/** What guard and interceptor of one call both get: over HTTP the request, elsewhere Nest's list of arguments. */
function keyOf(context: ExecutionContext, transport: Transport): object {
  const args = context.getArgs();
  const request: unknown = transport === 'http' ? args[0] : undefined;
  return isRecord(request) ? request : args;
}
