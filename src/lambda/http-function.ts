import { failureAnswer } from '../serving/failure-answer.js';
import {
  notFound,
  plainPath,
  headerOf,
  type Endpoint,
  type EndpointAnswer,
  type EndpointRequest,
} from '../serving/http.js';
import { AwaitedReads } from './awaited-reads.js';
import { readHttpFunctionConfig } from './function-config.js';
import { shownError } from './function-error.js';
import type { FunctionLog } from './function-log.js';
import { elapsed, prepareFunction, type FunctionOptions } from './function-start.js';
import {
  callerOf,
  pathOf,
  requireHttpEvent,
  toRequest,
  toResult,
  type HttpResult,
} from './http-event.js';
import { httpObserver } from './http-observer.js';
import { createHttpRoutes, isHttpRoute, type HttpRoute } from './http-routes.js';
import { runInvocation, type FunctionContext } from './invocation.js';
import { startOnce } from './start-once.js';

/** The handler of the HTTP function: payload format 2.0 in and out. */
export type HttpHandler = (event: unknown, context: FunctionContext) => Promise<HttpResult>;

interface Started {
  readonly routes: Readonly<Record<HttpRoute, Endpoint>>;
  readonly reads: AwaitedReads;
  readonly log: FunctionLog;
}

/**
 * Makes the handler of the HTTP function. Configuration, clients and caches are kept from one invocation to the next; a
 * start that fails is answered with 503, and tried again by the next one.
 */
export function createHttpFunction(options: FunctionOptions = {}): HttpHandler {
  const { clock, firstLog, start } = prepareFunction(options, readHttpFunctionConfig);
  const peers = new WeakMap<object, string>();

  const started = startOnce(async (): Promise<Started> => {
    const { core, log } = await start();
    const reads = new AwaitedReads(core.store);
    const observer = httpObserver(log, (request, peerId) => peers.set(request, peerId));
    return { routes: createHttpRoutes({ core, reads, callerOf, observer }), reads, log };
  });

  /** The answer, with the log that is configured; before the start, that is the first one. */
  async function answer(
    request: EndpointRequest,
    path: string,
  ): Promise<{ readonly answered: EndpointAnswer; readonly log: FunctionLog }> {
    let running: Started;
    try {
      running = await started();
    } catch (error) {
      firstLog('error', 'the function cannot start', { err: error });
      const answered = failureAnswer(error, 'The broker cannot start. Its log says why.');
      return { answered, log: firstLog };
    }
    const answered = isHttpRoute(path) ? await running.routes[path].answer(request) : notFound();
    await running.reads.settled();
    return { answered, log: running.log };
  }

  return (event, context) =>
    runInvocation(clock, context, async () => {
      try {
        requireHttpEvent(event);
        const request = toRequest(event);
        const path = plainPath(pathOf(event));
        const { answered, log } = await answer(request, path);
        // Who called is written as it is: AWS has authenticated it, and role names look like secrets to redaction.
        const who = { peer: peers.get(event), caller: callerOf(request) };
        const what = {
          method: /^[A-Z]{1,16}$/.test(request.method) ? request.method : 'OTHER',
          route: isHttpRoute(path) ? path : 'other',
          status: answered.status,
          cache: headerOf(answered, 'X-Cache'),
          remoteAddress: request.remoteAddress,
        };
        log(answered.status >= 500 ? 'warn' : 'info', 'request', elapsed(clock), {
          ...what,
          ...who,
        });
        return toResult(answered, request.method, { 'X-Request-Id': context.awsRequestId });
      } catch (error) {
        firstLog('error', 'the invocation failed', { err: error });
        throw shownError(error);
      }
    });
}
