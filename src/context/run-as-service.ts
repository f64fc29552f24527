import { Readable } from 'node:stream';
import { isObject } from '../tokens/json.js';
import { runInFrame, type CallFrame, currentCorrelation } from './call-context.js';

/**
 * Runs a method as this service, with its lazy results: for jobs (`@Cron`, `@Interval`), consumers of queues, and handlers of
 * messages without a principal. Calls to other services carry the service token.
 *
 * It may stand above or below other decorators, and keeps their metadata.
 *
 * @throws {TypeError} on anything but a method.
 *
 * @example
 * ```ts
 * import { Injectable } from '@nestjs/common';
 * import { Cron } from '@nestjs/schedule';
 * import { RunAsService } from 'service-token-kit/client/nest';
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
      throw new TypeError(`RunAsService() is for methods, and ${String(key)} is not a method.`);
    }
    descriptor.value = asService(method as Method);
  };
}

type Method = (this: unknown, ...args: unknown[]) => unknown;

function asService(method: Method): Method {
  const wrapped: Method = function (...args) {
    const frame: CallFrame = { behalf: 'service', correlation: currentCorrelation() };
    const result = runInFrame(frame, () => method.apply(this, args));
    return keepFrame(result, frame, () => {});
  };
  for (const name of ['name', 'length'] as const) {
    Object.defineProperty(wrapped, name, { value: method[name], configurable: true });
  }
  // Without the package reflect-metadata there is no metadata.
  if (typeof Reflect.getOwnMetadataKeys === 'function') {
    for (const key of Reflect.getOwnMetadataKeys(method)) {
      Reflect.defineMetadata(key, Reflect.getOwnMetadata(key, method), wrapped);
    }
  }
  return wrapped;
}

type Methods = Partial<Record<PropertyKey, (...args: unknown[]) => unknown>>;

/**
 * Makes lazy results of a handler run in the handler's frame: async generators and other async iterables, Observables,
 * streams of Node.js. Everything else is returned as it is.
 *
 * @param onEnd is called when an iterable or a stream has ended; at once for everything else.
 */
export function keepFrame<Value>(value: Value, frame: CallFrame, onEnd: () => void): Value {
  if (value instanceof Readable) return readInFrame(value, frame, onEnd);
  if (isObject(value)) {
    const { subscribe, getReader, [Symbol.asyncIterator]: iterate } = value as Methods;
    // A web stream runs its source itself, and its readers check its class.
    if (typeof iterate === 'function' && getReader === undefined) {
      return iterateInFrame(value, frame, onEnd);
    }
    if (typeof subscribe === 'function') {
      onEnd();
      // A copy, since others may share the Observable. Everything else is read through the prototype.
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
