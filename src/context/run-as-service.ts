import { Readable } from 'node:stream';
import { runInFrame, type CallFrame, currentCorrelation } from './call-context.js';

type Methods = Partial<Record<PropertyKey, (...args: unknown[]) => unknown>>;

/**
 * Makes what a handler returned to be pulled later run in the handler's frame: async generators and other async
 * iterables, Observables, streams of Node.js. Everything else is returned as it is.
 *
 * @param onEnd is called when an iterable or a stream has no more to give; at once for everything else.
 */
export function keepFrame<Value>(value: Value, frame: CallFrame, onEnd: () => void): Value {
  if (value instanceof Readable) return readInFrame(value, frame, onEnd);
  if (typeof value === 'object' && value !== null) {
    const { subscribe, getReader, [Symbol.asyncIterator]: iterate } = value as Methods;
    // A stream of the Web runs its source by itself, and is read by whoever checks that it is one.
    if (typeof iterate === 'function' && getReader === undefined) {
      return iterateInFrame(value, frame, onEnd);
    }
    if (typeof subscribe === 'function') {
      onEnd();
      // A copy, since others may share the Observable. All else is read through the prototype.
      const inFrame = (...args: unknown[]): unknown =>
        runInFrame(frame, () => subscribe.apply(value, args));
      return Object.create(value, { subscribe: { value: inFrame } }) as Value;
    }
  }
  onEnd();
  return value;
}

function readInFrame<Stream extends Readable>(
  stream: Stream,
  frame: CallFrame,
  onEnd: () => void,
): Stream {
  const read = stream._read.bind(stream);
  stream._read = (size) => runInFrame(frame, () => read(size));
  stream.once('close', onEnd);
  return stream;
}

/** An iterable may be an iterator itself, as a generator is: graphql-js asks it for both. */
function iterateInFrame<Iterable extends object>(
  iterable: Iterable,
  frame: CallFrame,
  onEnd: () => void,
): Iterable {
  const inFrame =
    (method: (...args: unknown[]) => unknown) =>
    (...args: unknown[]) =>
      runInFrame(frame, async () => {
        try {
          const step = (await method.apply(iterable, args)) as IteratorResult<unknown>;
          if (step.done === true) onEnd();
          return step;
        } catch (error) {
          onEnd();
          throw error;
        }
      });
  const kept: Iterable = new Proxy(iterable, {
    get(target, name) {
      const member: unknown = Reflect.get(target, name, target);
      if (typeof member !== 'function') return member;
      const method = member as (...args: unknown[]) => unknown;
      if (name === 'next' || name === 'return' || name === 'throw') return inFrame(method);
      if (name !== Symbol.asyncIterator) return method.bind(target);
      return () => {
        const iterator = runInFrame(frame, () => method.call(target)) as object;
        return iterator === target ? kept : iterateInFrame(iterator, frame, onEnd);
      };
    },
  });
  return kept;
}

type Method = (this: unknown, ...args: unknown[]) => unknown;

/**
 * Runs a method as this service itself, also what it returns to be pulled later: for jobs (`@Cron`, `@Interval`), consumers
 * of queues, and handlers of messages that nobody in particular sends. Calls to other services carry the service token.
 *
 * It may stand above or below other decorators. What they have stored about the method is kept.
 *
 * @throws {TypeError} when it stands on anything but a method.
 *
 * @example
 * ```ts
 * import { Injectable } from '@nestjs/common';
 * import { Cron } from '@nestjs/schedule';
 * import { RunAsService } from 'service-token-broker/client/nest';
 *
 * @Injectable()
 * export class Reconciliation {
 *   @Cron('0 3 * * *')
 *   @RunAsService()
 *   async run() {
 *     await this.http.axiosRef.post('https://ledger.internal/reconciliations');
 *   }
 * }
 * ```
 */
export function RunAsService(): MethodDecorator {
  return (_target, key, descriptor: PropertyDescriptor | undefined) => {
    const method: unknown = descriptor?.value;
    if (descriptor === undefined || typeof method !== 'function') {
      throw new TypeError(`RunAsService() stands on methods, and ${String(key)} is none.`);
    }
    descriptor.value = asService(method as Method);
  };
}

function asService(method: Method): Method {
  const wrapped: Method = function (...args) {
    const frame: CallFrame = { behalf: 'service', correlation: currentCorrelation() };
    const result = runInFrame(frame, () => method.apply(this, args));
    return keepFrame(result, frame, () => {});
  };
  for (const name of ['name', 'length'] as const) {
    Object.defineProperty(wrapped, name, { value: method[name], configurable: true });
  }
  // Without the package reflect-metadata no decorator has stored anything.
  if (typeof Reflect.getOwnMetadataKeys === 'function') {
    for (const key of Reflect.getOwnMetadataKeys(method)) {
      Reflect.defineMetadata(key, Reflect.getOwnMetadata(key, method), wrapped);
    }
  }
  return wrapped;
}
