import type { ExecutionContext } from '@nestjs/common';
import type { CallContext } from '../context/call-context.js';
import { transportOf, type Transport } from './credentials.js';
import type { PrincipalRequirement } from './requirement.js';
import { isRecord } from './shapes.js';

/** A call that was let through. */
export interface Admission {
  /** Who let it through: another application in this process may have other issuers. */
  readonly by: object;
  /** What it met. */
  readonly requirement: PrincipalRequirement;
  readonly callContext: CallContext;
}

const admissions = new WeakMap<object, Admission>();

/** Remembers that a call was let through, for as long as the call is. */
export function addAdmission(
  context: ExecutionContext,
  transport: Transport,
  admission: Admission,
): void {
  admissions.set(keyOf(context, transport), admission);
}

/** How a call was let through; `undefined` for one that was not, or did not have to be. */
export function admissionOf(
  context: ExecutionContext,
  transport = transportOf(context),
): Admission | undefined {
  return transport === undefined ? undefined : admissions.get(keyOf(context, transport));
}

/** What guard and interceptor of one call both get: over HTTP the request, elsewhere Nest's list of arguments. */
function keyOf(context: ExecutionContext, transport: Transport): object {
  const args = context.getArgs();
  const request: unknown = transport === 'http' ? args[0] : undefined;
  return isRecord(request) ? request : args;
}
