import { EventEmitter } from 'node:events';
import type { IncomingMessage } from 'node:http';
import {
  CallLife,
  currentFrame,
  readCorrelation,
  runInFrame,
  type Behalf,
  type CallContext,
  type CallFrame,
  type CallTiming,
  type Correlation,
} from '../context/call-context.js';
import { isObject } from '../tokens/json.js';
import { callMethod, headerValues } from './call-credentials.js';
import type { Declared } from './declarations.js';

const CALL: unique symbol = Symbol('HttpCall');

/** A call that was admitted. */
export interface Admission {
  /** Which application's guard admitted it: another one in this process may have other issuers. */
  readonly by: object;
  /** To which handler. */
  readonly handler: Declared;
  readonly onClass: Declared;
  readonly callContext: CallContext;
  /** Ended by an interceptor; `undefined` for a call that has an {@link HttpCall}. */
  readonly life: CallLife | undefined;
}

/**
 * A request over HTTP: the frame that all of its code runs in. The guard fills it when it judges the request. It ends with
 * the response.
 */
export class HttpCall extends CallLife implements CallFrame {
  admission: Admission | undefined = undefined;
  /** Of the GraphQL operation that it carries: one token for all of its resolvers, also those without a guard. */
  operation: CallContext | undefined = undefined;
  /** The state of a request that the guard has not admitted. */
  judgement: 'unjudged' | 'refused' | 'nobody' = 'unjudged';

  constructor(
    private readonly request: object,
    timing: CallTiming,
  ) {
    super(timing);
  }

  get behalf(): Behalf {
    return this.admission?.callContext ?? this.operation ?? this.judgement;
  }

  /** Runs a function in this call, unless the calling code runs in it already. */
  run(run: () => void): void {
    if (this.isRunning()) run();
    else runInFrame(this, run);
  }

  /** False in code that was called by something older than the request, such as a shared connection. */
  isRunning(): boolean {
    return currentFrame() === this;
  }

  get correlation(): Correlation | undefined {
    return correlationOfRequest(this.request);
  }
}

/** The correlation in a request's headers. */
export function correlationOfRequest(request: unknown): Correlation | undefined {
  const headers = isObject(request) ? request['headers'] : undefined;
  return readCorrelation((name) => headerValues(headers, name));
}

/** The call that a request is; `undefined` where the HTTP server has no frames, see {@link openHttpFrames}. */
export function httpCallOf(request: unknown): HttpCall | undefined {
  if (!isObject(request)) return undefined;
  const { raw } = request;
  const call = (isObject(raw) ? raw : request)[CALL];
  return call instanceof HttpCall ? call : undefined;
}

/**
 * Makes an HTTP server run each request in a frame of its own, from the first hook or middleware to the last event of the
 * request, the response and their connection.
 *
 * A guard cannot open a frame for the handler that follows it. An interceptor can, for one handler and through an
 * Observable.
 *
 * @param adapter Nest's HTTP adapter, before its routes are added.
 * @returns false for an adapter other than Fastify's and Express's: interceptors have to do it there as well, in case its
 *   server is not one of Node.js.
 */
export function openHttpFrames(adapter: unknown, timing: CallTiming): boolean {
  const server = callMethod(adapter, 'getHttpServer');
  if (server instanceof EventEmitter) frameServer(server, timing);
  // Requests may bypass the server that Nest knows: from a second one for the same routes, or from `inject`. If a hook or a
  // middleware has lost the frame, the request is back in it from here on.
  const enter = (request: FramedRequest, response: FramedEmitter, next: () => void): void => {
    callOfRequest(request, response, timing).run(next);
  };
  switch (callMethod(adapter, 'getType')) {
    case 'fastify':
      callMethod(
        callMethod(adapter, 'getInstance'),
        'addHook',
        'preHandler',
        (request: { raw: FramedRequest }, reply: { raw: FramedEmitter }, next: () => void) =>
          enter(request.raw, reply.raw, next),
      );
      return true;
    case 'express':
      callMethod(adapter, 'use', enter);
      return true;
    default:
      return false;
  }
}

const IS_FRAMED: unique symbol = Symbol('isFramed');

type Emit = (this: EventEmitter, event: string | symbol, ...args: unknown[]) => boolean;

interface FramedEmitter extends Omit<EventEmitter, 'emit'> {
  [CALL]?: HttpCall;
  emit: Emit;
}

const plainEmit: Emit = Reflect.get(EventEmitter.prototype, 'emit');

/** Node's parser sets `upgrade`, which its types lack. */
type FramedRequest = IncomingMessage & FramedEmitter & { readonly upgrade?: boolean | null };

/** Requests that become a connection of another protocol, whose messages are judged one by one. */
const UPGRADE: CallFrame = { behalf: 'unjudged', correlation: undefined };

/**
 * Makes a server of Node.js run each request in a frame of its own.
 */
export function frameServer(emitter: EventEmitter, timing: CallTiming): void {
  const server: Omit<EventEmitter, 'emit'> & { emit: Emit; [IS_FRAMED]?: true } = emitter;
  // The module may be imported twice.
  if (server[IS_FRAMED] === true) return;
  server[IS_FRAMED] = true;
  const { emit } = server;
  server.emit = function (this: EventEmitter, event: string | symbol, ...args: unknown[]): boolean {
    const [request, second] = args;
    let frame: CallFrame;
    switch (event) {
      case 'request':
      case 'checkContinue':
      case 'checkExpectation':
        frame = callOfRequest(request as FramedRequest, second as FramedEmitter, timing);
        break;
      case 'upgrade':
      case 'connect':
        if (second instanceof EventEmitter) keepListenersOfUpgrade(second);
        frame = UPGRADE;
        break;
      default:
        return emit.call(this, event, ...args);
    }
    return runInFrame(frame, () => emit.call(this, event, ...args));
  };
}

/** The call that a request is, opened if it is new. The response's end ends it. */
export function callOfRequest(
  request: IncomingMessage,
  response: FramedEmitter,
  timing: CallTiming,
): HttpCall {
  const framed = request as FramedRequest;
  return framed[CALL] ?? openCall(framed, response, timing);
}

function openCall(request: FramedRequest, response: FramedEmitter, timing: CallTiming): HttpCall {
  const call = new HttpCall(request, timing);
  emitInFrame(request, call, emitOfRequest);
  if (request.httpVersionMajor >= 2) {
    // Its socket is not a socket: all but the events of the stream belong to the whole session.
    const { stream } = request as { stream?: unknown };
    if (stream instanceof EventEmitter) emitInFrame(stream, call, emitOfRequest);
  } else if (request.socket instanceof EventEmitter) {
    keepListenersInFrame(request.socket);
  }
  if (request.upgrade === true) request.socket.once('close', () => call.end());
  else emitInFrame(response, call, emitOfResponse);
  return call;
}

/** Node.js emits a request's events wherever bytes of its connection come in, and a response's in the request before it. */
function emitInFrame(emitter: FramedEmitter, call: HttpCall, emit: Emit): void {
  emitter[CALL] = call;
  const { emit: own } = emitter;
  emitter.emit =
    own === plainEmit
      ? emit
      : // Another library has replaced it.
        function (this: EventEmitter, event, ...args: unknown[]) {
          if (emit === emitOfResponse) endWith(event, call);
          return runInFrame(call, () => own.call(this, event, ...args));
        };
}

const emitOfRequest: Emit = function (this: FramedEmitter, event, ...args) {
  const call = this[CALL];
  if (this.listenerCount(event) === 0 || call === undefined || call.isRunning()) {
    return plainEmit.call(this, event, ...args);
  }
  return runInFrame(call, () => plainEmit.call(this, event, ...args));
};

const emitOfResponse: Emit = function (this: FramedEmitter, event, ...args) {
  endWith(event, this[CALL]);
  return emitOfRequest.call(this, event, ...args);
};

function endWith(event: string | symbol, call: HttpCall | undefined): void {
  if (event === 'finish' || event === 'close') call?.end();
}

type Listener = (this: unknown, ...args: unknown[]) => unknown;
type AddListener = (event: string | symbol, listener: Listener) => EventEmitter;

/** The methods that add a listener, and by which one to add a stand-in. */
const ADDING = {
  on: 'on',
  addListener: 'on',
  once: 'on',
  prependListener: 'prependListener',
  prependOnceListener: 'prependListener',
} as const;
type AddingMethod = keyof typeof ADDING;

/**
 * Makes listeners that a call adds to a connection run in the frame of that call: a connection serves many calls.
 *
 * As with `once` of Node.js, a listener's stand-in has it as its `listener`, by which it is found and removed.
 */
function keepListenersInFrame(socket: EventEmitter & { [IS_FRAMED]?: true }): void {
  if (socket[IS_FRAMED] === true) return;
  socket[IS_FRAMED] = true;
  const names = Object.keys(ADDING) as AddingMethod[];
  const plain = Object.fromEntries(
    names.map((name): [string, AddListener] => [name, socket[name]]),
  ) as Record<AddingMethod, AddListener>;
  for (const name of names) {
    const isOnce = name === 'once' || name === 'prependOnceListener';
    socket[name] = (event: string | symbol, listener: Listener) => {
      const frame = currentFrame();
      if (frame === undefined || typeof listener !== 'function') {
        return plain[name].call(socket, event, listener);
      }
      const inFrame: Listener & { listener?: Listener } = function (this: unknown, ...args) {
        if (isOnce) socket.removeListener(event, inFrame);
        return runInFrame(frame, () => listener.apply(this, args));
      };
      inFrame.listener = listener;
      return plain[ADDING[name]].call(socket, event, inFrame);
    };
  }
}

/** While it parses, the HTTP server of Node.js has methods of its own on a connection, which end by putting the usual ones back. */
function keepListenersOfUpgrade(socket: EventEmitter & { [IS_FRAMED]?: true }): void {
  for (const name of [...Object.keys(ADDING), IS_FRAMED]) Reflect.deleteProperty(socket, name);
  keepListenersInFrame(socket);
}
