import type { CallHandler, ExecutionContext, NestInterceptor } from '@nestjs/common';
import { Observable } from 'rxjs';
import { currentCorrelation, runInFrame, type CallContext } from '../context/call-context.js';
import { readCorrelation, type Correlation } from '../context/correlation.js';
import { callContextOf, operationOf } from './admissions.js';
import { messageHeaderValues, transportOf } from './credentials.js';
import { requirementOf } from './declarations.js';
import { correlationOfRequest } from './http-call.js';

/**
 * Runs a handler on behalf of whom the guard admitted, and a public one for nobody, where no {@link HttpCall} does. A guard
 * returns before its handler runs, so that it cannot do this itself; what it could set for "everything that follows" would
 * also reach the next message of the connection.
 */
export class CallContextInterceptor implements NestInterceptor {
  intercept(context: ExecutionContext, next: CallHandler): Observable<unknown> {
    const frame = { callContext: onBehalfOf(context), correlation: correlationOf(context) };
    // What a handler returns as an Observable runs when it is subscribed to, not when the handler is called.
    return new Observable((subscriber) =>
      runInFrame(frame, () => next.handle().subscribe(subscriber)),
    );
  }
}

/** A field resolver that no guard stands before does its part of an operation for whom the operation was let through. */
function onBehalfOf(context: ExecutionContext): CallContext | undefined {
  const own = callContextOf(context);
  if (own !== undefined || transportOf(context) !== 'graphql') return own;
  const isPublic = requirementOf(context.getHandler(), context.getClass()).kind === 'public';
  return isPublic ? undefined : operationOf(context);
}

/** A GraphQL operation runs in the frame of its request; a WebSocket has no headers for each of its messages. */
function correlationOf(context: ExecutionContext): Correlation | undefined {
  const transport = transportOf(context);
  if (transport === 'graphql') return currentCorrelation();
  if (transport === 'http') return correlationOfRequest(context.getArgByIndex(0));
  if (transport !== 'rpc') return undefined;
  return readCorrelation((name) => messageHeaderValues(context.getArgByIndex(1), name));
}
