import type { CallHandler, ExecutionContext, NestInterceptor } from '@nestjs/common';
import { Observable } from 'rxjs';
import {
  currentCorrelation,
  readCorrelation,
  runInFrame,
  type Behalf,
  type CallFrame,
  type Correlation,
} from '../context/call-context.js';
import { keepFrame } from '../context/lazy-results.js';
import { messageHeaderValues, transportOf } from './call-credentials.js';
import { requirementOf, type Declared } from './declarations.js';
import { admissionOf, callOf, operationOf } from './admissions.js';
import { correlationOfRequest } from './http-call.js';

/**
 * Runs a handler on behalf of whom the guard admitted, and a public one for nobody, where the request has no frame of its
 * own. A guard returns before its handler runs: what it set for "everything that follows" would also reach the next
 * message of the connection.
 */
class CallContextInterceptor implements NestInterceptor {
  intercept(context: ExecutionContext, next: CallHandler): Observable<unknown> {
    const frame = frameOf(context);
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

/** Over HTTP it follows the request, of which a later handler may be judged otherwise. */
function frameOf(context: ExecutionContext): CallFrame {
  const transport = transportOf(context);
  const correlation = correlationOf(context);
  if (transport !== 'http') return { behalf: behalfOf(context), correlation };
  return (
    callOf(context, transport) ?? {
      get behalf() {
        return behalfOf(context);
      },
      correlation,
    }
  );
}

/** A field resolver without a guard of its own acts for whom the operation was admitted for. */
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

/** Where Nest keeps the interceptors of a handler. */
const INTERCEPTORS = '__interceptors__';
const interceptor = new CallContextInterceptor();
/** Field resolvers of an application whose `fieldResolverEnhancers` leave interceptors out. */
const withoutInterceptors = new WeakSet<Declared>();

/**
 * Makes a handler run in a call context, by an interceptor of its own: a hybrid application leaves the application's out for
 * messages. It comes before the handler's others, so that these run in the call context as well.
 */
export function bringCallContext(method: Declared): void {
  const others = interceptorsOn(method);
  if (others.includes(interceptor)) return;
  Reflect.defineMetadata(INTERCEPTORS, [interceptor, ...others], method);
}

/** Notes whether Nest runs the interceptors of a handler at all. */
export function noteInterceptors(method: Declared, areRun: boolean): void {
  if (areRun) withoutInterceptors.delete(method);
  else withoutInterceptors.add(method);
}

/**
 * Whether an interceptor makes a handler run in the call context of whom it was admitted for. A function that replaces the
 * method later has it too, when it carries the metadata over.
 */
export function hasCallContext(method: Declared): boolean {
  return !withoutInterceptors.has(method) && interceptorsOn(method).includes(interceptor);
}

function interceptorsOn(method: Declared): readonly unknown[] {
  const list: unknown = Reflect.getMetadata(INTERCEPTORS, method);
  return Array.isArray(list) ? list : [];
}
