import { Readable } from 'node:stream';
import {
  ReadableStream,
  type ReadableByteStreamController,
  type ReadableStreamDefaultController,
} from 'node:stream/web';
import { types } from 'node:util';
import { isObject } from '../tokens/json.js';
import { currentFrame, runInFrame, type CallFrame } from './call-context.js';

/**
 * Makes a lazy result run in a frame, wherever it is read:
 *
 * - async iterables and iterators, such as async generators; iterators, such as generators
 * - Observables, from when they are subscribed to
 * - streams of Node.js, and those of Nest's `StreamableFile`
 * - web `ReadableStream`s: the result is another stream, of the same kind, that reads this one when it is read
 * - promises of these, and thenables, which may only start when somebody waits for them
 *
 * What reads the result stays in its own frame: a loop, an observer, a listener of `data`.
 *
 * Everything else is returned as it is, and so are: lazy results within an object, a list or another lazy result; functions;
 * the body of a `Response`; web streams that are locked, of a subclass, of a polyfill, or with properties of their own. An
 * Observable's teardown runs where it is unsubscribed from, and what is written to a stream where it is written.
 *
 * @param onEnd is called when an async iterable or a stream has ended, or a promise without one is settled; at once for
 *   everything else.
 */
export function keepFrame<Value>(value: Value, frame: CallFrame, onEnd: () => void): Value {
  return (isObject(value) ? keepObject(value, frame, onEnd) : keepNothing(value, onEnd)) as Value;
}

type Method = (this: unknown, ...args: unknown[]) => unknown;
type Members = Partial<Record<PropertyKey, Method>>;

function keepObject(value: object, frame: CallFrame, onEnd: () => void): unknown {
  if (isNodeStream(value)) return keepNodeStream(value, frame, onEnd);
  if (isPlainPromise(value)) return keepPromise(value, frame, onEnd);
  const has = (name: PropertyKey): boolean => typeof (value as Members)[name] === 'function';
  if (has('getReader')) {
    return isPlainWebStream(value) ? keepWebStream(value, frame, onEnd) : keepNothing(value, onEnd);
  }
  const { stream } = value as { readonly stream?: unknown };
  if (has('getStream') && isObject(stream) && isNodeStream(stream)) {
    keepNodeStream(stream, frame, onEnd);
    return value;
  }
  if (has(Symbol.asyncIterator) || has('then')) {
    return keepMethods(value, frame, onEnd, 'async');
  }
  onEnd();
  if (has(Symbol.iterator) && has('next')) return keepMethods(value, frame, onEnd, 'sync');
  return has('subscribe') ? keepObservable(value as Subscribable, frame) : value;
}

function keepNothing<Value>(value: Value, onEnd: () => void): Value {
  onEnd();
  return value;
}

/** Also one of another copy of Node's streams, such as the package readable-stream. */
function isNodeStream(value: object): value is Readable {
  if (value instanceof Readable) return true;
  const { _read, push, pipe, once } = value as Members;
  return [_read, push, pipe, once].every((member) => typeof member === 'function');
}

/** Listeners run in the frame of whoever reads: a customer's listener must not act for the service. */
function keepNodeStream(stream: Readable, frame: CallFrame, onEnd: () => void): Readable {
  const read = stream._read.bind(stream);
  const push = stream.push.bind(stream);
  // Old copies have none.
  const destroy = (stream as Partial<Readable>)._destroy?.bind(stream);
  let reader = currentFrame();
  stream._read = (size) => {
    reader = currentFrame();
    runInFrame(frame, () => read(size));
  };
  stream.push = (...args) => runInFrame(reader, () => push(...args));
  if (destroy !== undefined) {
    stream._destroy = (error, done) => {
      const caller = currentFrame();
      runInFrame(frame, () => destroy(error, (failure) => runInFrame(caller, () => done(failure))));
    };
  }
  if (stream.closed) onEnd();
  else stream.once('close', onEnd);
  return stream;
}

/** A promise to which nothing was added, and which has started already. */
function isPlainPromise(value: object): value is Promise<unknown> {
  return (
    types.isPromise(value) &&
    // oxlint-disable-next-line typescript/unbound-method -- it is only compared.
    value.then === Promise.prototype.then &&
    isUnchanged(value) &&
    !(Symbol.asyncIterator in value)
  );
}

/** Symbols are left out: Node.js keeps its own state by them. */
function isUnchanged(value: object): boolean {
  return Object.getOwnPropertyNames(value).length === 0;
}

function keepPromise(
  promise: Promise<unknown>,
  frame: CallFrame,
  onEnd: () => void,
): Promise<unknown> {
  return promise.then(
    (value) => keepFrame(value, frame, onEnd),
    (error) => {
      onEnd();
      throw error;
    },
  );
}

/** Readers and pipes of web streams reach their internals: nothing of an existing one can be replaced. */
function isPlainWebStream(value: object): value is ReadableStream<unknown> {
  return (
    Object.getPrototypeOf(value) === ReadableStream.prototype &&
    !(value as ReadableStream).locked &&
    isUnchanged(value)
  );
}

function keepWebStream(
  stream: ReadableStream<unknown>,
  frame: CallFrame,
  onEnd: () => void,
): ReadableStream {
  const isOfBytes = takesBuffers(stream);
  const reader = stream.getReader();
  let isReading = false;
  let isClosed = false;
  let isOver = false;
  const close = (controller: AnyController): void => {
    if (isOver) return;
    isOver = true;
    controller.close();
    // A reader that waits with a buffer of its own.
    if ('byobRequest' in controller) controller.byobRequest?.respond(0);
  };
  const source = {
    start(controller: AnyController): void {
      const onClosed = (): void => {
        isClosed = true;
        // Otherwise its last chunk is on the way.
        if (!isReading) close(controller);
      };
      void reader.closed.then(onClosed, (error) => controller.error(error)).finally(onEnd);
    },
    async pull(controller: AnyController): Promise<void> {
      isReading = true;
      const { done, value } = await runInFrame(frame, () => reader.read());
      isReading = false;
      if (!done) controller.enqueue(value as never);
      if (done || isClosed) close(controller);
    },
    cancel(reason: unknown): Promise<void> {
      isOver = true;
      return runInFrame(frame, () => reader.cancel(reason));
    },
  };
  // It keeps no chunks itself: the source is asked exactly when it would have been.
  const unbuffered = { highWaterMark: 0 };
  return isOfBytes
    ? new ReadableStream({ ...source, type: 'bytes' }, unbuffered)
    : new ReadableStream(source, unbuffered);
}

type AnyController = ReadableByteStreamController | ReadableStreamDefaultController;

function takesBuffers(stream: ReadableStream): boolean {
  try {
    stream.getReader({ mode: 'byob' }).releaseLock();
    return true;
  } catch {
    return false;
  }
}

/** An iterable may be an iterator itself, as a generator is: graphql-js asks it for both. */
function keepMethods<Lazy extends object>(
  lazy: Lazy,
  frame: CallFrame,
  onEnd: () => void,
  steps: 'sync' | 'async',
): Lazy {
  const kept: Lazy = new Proxy(lazy, {
    get(target, name) {
      const member: unknown = Reflect.get(target, name, target);
      if (typeof member !== 'function' || name === 'constructor') return member;
      const method: Method = (...args) => Reflect.apply(member, target, args);
      switch (name) {
        case 'next':
        case 'return':
        case 'throw':
          return steps === 'async'
            ? stepInFrame(method, frame, onEnd)
            : (...args: unknown[]) => runInFrame(frame, () => method(...args));
        case 'then':
          return thenInFrame(method, frame, onEnd);
        case 'catch':
        case 'finally': {
          const { then } = kept as Members;
          return typeof then === 'function'
            ? (...args: unknown[]) => (then() as Record<typeof name, Method>)[name](...args)
            : method;
        }
        case Symbol.asyncIterator:
          return () => {
            const iterator = runInFrame(frame, method) as object;
            return iterator === target ? kept : keepMethods(iterator, frame, onEnd, 'async');
          };
        default:
          // It keeps its own properties: a class is a function, too.
          return new Proxy(member, {
            apply(_, self, args) {
              // What all iterators have in common, such as `map` and `Symbol.dispose`, calls `next` and `return`.
              if (isOfEveryIterator(name, member)) return Reflect.apply(member, self, args);
              const result: unknown = Reflect.apply(member, self === kept ? target : self, args);
              return result === target ? kept : result;
            },
          });
      }
    },
    set: (target, name, value) => Reflect.set(target, name, value),
  });
  return kept;
}

const prototypeOf = (value: object): object => Object.getPrototypeOf(value) as object;
const EVERY_ITERATOR: readonly object[] = [
  prototypeOf(prototypeOf([][Symbol.iterator]())),
  prototypeOf(prototypeOf(async function* () {}.prototype as object)),
];

function isOfEveryIterator(name: PropertyKey, member: unknown): boolean {
  return EVERY_ITERATOR.some((prototype) => Reflect.get(prototype, name) === member);
}

function stepInFrame(method: Method, frame: CallFrame, onEnd: () => void): Method {
  return (...args) =>
    runInFrame(frame, async () => {
      try {
        const step = (await method(...args)) as IteratorResult<unknown>;
        if (step.done === true) onEnd();
        return step;
      } catch (error) {
        onEnd();
        throw error;
      }
    });
}

function thenInFrame(then: Method, frame: CallFrame, onEnd: () => void): Method {
  return (done, failed) => {
    const caller = currentFrame();
    return runInFrame(frame, () =>
      then(
        (value: unknown) => {
          const kept = keepFrame(value, frame, onEnd);
          return typeof done === 'function' ? runInFrame(caller, () => done(kept)) : kept;
        },
        (error: unknown) => {
          onEnd();
          if (typeof failed === 'function') return runInFrame(caller, () => failed(error));
          throw error;
        },
      ),
    );
  };
}

interface Subscribable {
  readonly subscribe: Method;
}

/** A copy, since others may share the Observable. Everything else is read through the prototype. */
function keepObservable(value: Subscribable, frame: CallFrame): object {
  const inFrame: Method = (...observers) => {
    const caller = currentFrame();
    const own = observers.map((observer) => keepObserver(observer, caller));
    return runInFrame(frame, () => value.subscribe(...own));
  };
  return Object.create(value, { subscribe: { value: inFrame } }) as object;
}

/** Observers run in the frame of whoever subscribed: a customer's must not act for the service. */
function keepObserver(observer: unknown, frame: CallFrame | undefined): unknown {
  const inFrame =
    (method: Method, self: unknown): Method =>
    (...args) =>
      runInFrame(frame, () => method.apply(self, args));
  if (typeof observer === 'function') return inFrame(observer as Method, undefined);
  if (!isObject(observer)) return observer;
  // A subscriber of RxJS has to be the same: it knows when it is closed, and closes what it reads.
  const kept = typeof observer['add'] === 'function' ? observer : {};
  for (const name of ['next', 'error', 'complete']) {
    const method = observer[name];
    if (typeof method === 'function') {
      Object.assign(kept, { [name]: inFrame(method as Method, observer) });
    }
  }
  return kept;
}
