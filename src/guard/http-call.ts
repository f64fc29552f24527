import {
  isInFrame,
  runInFrame,
  type CallContext,
  type CallFrame,
} from '../context/call-context.js';
import { readCorrelation, type Correlation } from '../context/correlation.js';
import type { Declared } from './declarations.js';
import { headerValues } from './header-values.js';
import { callMethod, isRecord } from './shapes.js';

const CALL: unique symbol = Symbol('HttpCall');

/** A call that was let through. */
export interface Admission {
  /** Who let it through: another application in this process may have other issuers. */
  readonly by: object;
  /** To which handler. */
  readonly handler: Declared;
  readonly onClass: Declared;
  readonly callContext: CallContext;
}

/** A request over HTTP: the frame that all of its code runs in. The guard fills it when it admits the request. */
export class HttpCall implements CallFrame {
  admission: Admission | undefined = undefined;
  /** Of the GraphQL operation that it carries: one token for all of its resolvers, also those that no guard stands before. */
  operation: CallContext | undefined = undefined;

  constructor(private readonly request: object) {}

  get callContext(): CallContext | undefined {
    return this.admission === undefined ? this.operation : this.admission.callContext;
  }

  /** False when the code that asks was called by something older than the request, such as an event of its connection. */
  isRunning(): boolean {
    return isInFrame(this);
  }

  get correlation(): Correlation | undefined {
    return correlationOfRequest(this.request);
  }
}

/** The call that a request is; `undefined` where the HTTP server has no frames, see {@link openHttpFrames}. */
export function httpCallOf(request: unknown): HttpCall | undefined {
  const call = isRecord(request) ? request[CALL] : undefined;
  return call instanceof HttpCall ? call : undefined;
}

/**
 * Makes an HTTP server run each request in a frame of its own, from after its body was read.
 *
 * A guard cannot open a frame for the handler that follows it. An interceptor can, for one handler and through an
 * Observable.
 *
 * @param adapter Nest's HTTP adapter, before its routes are added.
 * @returns false for an adapter other than Fastify's and Express's: interceptors have to do it there.
 */
export function openHttpFrames(adapter: unknown): boolean {
  switch (callMethod(adapter, 'getType')) {
    case 'fastify': {
      const fastify = callMethod(adapter, 'getInstance');
      // From the start, so that no request changes its shape later. There already when the module is imported twice.
      if (callMethod(fastify, 'hasRequestDecorator', CALL) === false) {
        callMethod(fastify, 'decorateRequest', CALL, null);
      }
      // Not "onRequest": what follows the reading of a body may run in the context of the connection.
      callMethod(fastify, 'addHook', 'preHandler', openFrame);
      return true;
    }
    case 'express':
      callMethod(adapter, 'use', openFrame);
      return true;
    default:
      return false;
  }
}

/** What a request's headers say of the request that caused it. */
export function correlationOfRequest(request: unknown): Correlation | undefined {
  const headers = isRecord(request) ? request['headers'] : undefined;
  return readCorrelation((name) => headerValues(headers, name));
}

/** A hook of Fastify and a middleware of Express. */
function openFrame(request: { [CALL]?: HttpCall }, _reply: unknown, next: () => void): void {
  const call = new HttpCall(request);
  request[CALL] = call;
  runInFrame(call, next);
}
