import type { CallHandler, ExecutionContext, NestInterceptor } from '@nestjs/common';
import { Observable } from 'rxjs';
import { currentCorrelation, runInFrame, type Behalf } from '../context/call-context.js';
import { readCorrelation, type Correlation } from '../context/correlation.js';
import { keepFrame } from '../context/keep-frame.js';
import { admissionOf, operationOf } from './admissions.js';
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
    const frame = { behalf: behalfOf(context), correlation: correlationOf(context) };
    const life = admissionOf(context)?.life;
    // What a handler returns as an Observable runs when it is subscribed to, not when the handler is called.
    return new Observable((subscriber) => {
      // The call lasts until the handler is done, and until the last iterable that it returned is.
      let open = 1;
      const end = (): void => {
        open -= 1;
        if (open === 0) life?.end();
      };
      subscriber.add(end);
      return runInFrame(frame, () =>
        next.handle().subscribe({
          next: (value: unknown) => {
            open += 1;
            subscriber.next(keepFrame(value, frame, once(end)));
          },
          error: (error) => subscriber.error(error),
          complete: () => subscriber.complete(),
        }),
      );
    });
  }
}

function once(run: () => void): () => void {
  let done = false;
  return () => {
    if (!done) run();
    done = true;
  };
}

/** A field resolver that no guard stands before does its part of an operation for whom the operation was let through. */
function behalfOf(context: ExecutionContext): Behalf {
  const own = admissionOf(context)?.callContext;
  if (own !== undefined) return own;
  const { kind } = requirementOf(context.getHandler(), context.getClass());
  if (kind === 'public') return 'nobody';
  return (transportOf(context) === 'graphql' ? operationOf(context) : undefined) ?? 'unjudged';
}

/** A GraphQL operation runs in the frame of its request; a WebSocket has no headers for each of its messages. */
function correlationOf(context: ExecutionContext): Correlation | undefined {
  const transport = transportOf(context);
  if (transport === 'graphql') return currentCorrelation();
  if (transport === 'http') return correlationOfRequest(context.getArgByIndex(0));
  if (transport !== 'rpc') return undefined;
  return readCorrelation((name) => messageHeaderValues(context.getArgByIndex(1), name));
}
