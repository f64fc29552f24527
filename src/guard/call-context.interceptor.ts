import {
  Inject,
  Injectable,
  type CallHandler,
  type ExecutionContext,
  type NestInterceptor,
} from '@nestjs/common';
import { Observable } from 'rxjs';
import { currentCallContext, runInCallContext } from '../context/call-context.js';
import { Gatekeeper } from './gatekeeper.js';

/**
 * Runs the handler on behalf of whom the guard admitted. A guard returns before its handler runs, so that it cannot do
 * this itself; what it could set for "everything that follows" would also reach the next request of the connection.
 */
@Injectable()
export class CallContextInterceptor implements NestInterceptor {
  constructor(@Inject(Gatekeeper) private readonly gatekeeper: Gatekeeper) {}

  intercept(context: ExecutionContext, next: CallHandler): Observable<unknown> {
    const callContext = this.gatekeeper.callContextOf(context);
    if (callContext === undefined || callContext === currentCallContext()) return next.handle();
    // What a handler returns as an Observable runs when it is subscribed to, not when the handler is called.
    return new Observable((subscriber) =>
      runInCallContext(callContext, () => next.handle().subscribe(subscriber)),
    );
  }
}
