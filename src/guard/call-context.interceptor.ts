import type { CallHandler, ExecutionContext, NestInterceptor } from '@nestjs/common';
import { Observable } from 'rxjs';
import { runInCallContext } from '../context/call-context.js';
import { admissionOf } from './admissions.js';

/**
 * Runs the handler on behalf of whom the guard admitted, and a public one for nobody. A guard returns before its handler
 * runs, so that it cannot do this itself; what it could set for "everything that follows" would also reach the next request of
 * the connection.
 */
export class CallContextInterceptor implements NestInterceptor {
  intercept(context: ExecutionContext, next: CallHandler): Observable<unknown> {
    const callContext = admissionOf(context)?.callContext;
    // What a handler returns as an Observable runs when it is subscribed to, not when the handler is called.
    return new Observable((subscriber) =>
      runInCallContext(callContext, () => next.handle().subscribe(subscriber)),
    );
  }
}
