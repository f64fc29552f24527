import { EventEmitter } from 'node:events';
import { PassThrough, Readable } from 'node:stream';
import { ReadableStream } from 'node:stream/web';
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { StreamableFile } from '@nestjs/common';
import { defer, type Observable } from 'rxjs';
import { CallContext, currentBehalf } from '../../../src/context/call-context.js';
import { RunAsService } from '../../../src/context/run-as-service.js';
import type { Principal } from '../../../src/verification/principal.js';

export const ann = new CallContext(
  { kind: 'customer', subject: 'ann', scopes: [], claims: {} } as unknown as Principal,
  'token of ann',
);

export function whose(): string {
  const behalf = currentBehalf();
  return typeof behalf === 'object' ? behalf.principal.subject : behalf;
}

/** Calls a method that is decorated with `RunAsService()`. */
export function asService<Result>(method: () => Result): Result {
  const descriptor = { value: method };
  const decorate = RunAsService();
  decorate({}, 'method', descriptor);
  return descriptor.value();
}

/** In which frames each sort of lazy result ran. */
export const seen: string[] = [];
export const note = (): string => {
  seen.push(whose());
  return 'item';
};

export async function* pulled(): AsyncGenerator<string> {
  try {
    for (let count = 0; count < 3; count += 1) {
      yield note();
      await nextTurn();
      note();
    }
  } finally {
    note();
  }
}

export function* pulledAtOnce(): Generator<string> {
  try {
    for (let count = 0; count < 3; count += 1) yield note();
  } finally {
    note();
  }
}

/** An async iterator that is no generator, and an iterable that is no iterator. */
export const iterator = (): AsyncIterableIterator<string> => {
  const own = pulled();
  return { next: () => own.next(), [Symbol.asyncIterator]: () => iterator() };
};
export const iterable = (): AsyncIterable<string> => ({ [Symbol.asyncIterator]: pulled });

export const observed = (): Observable<string> => defer(async () => note());

export function nodeStream(): Readable {
  let left = 3;
  return new Readable({
    objectMode: true,
    highWaterMark: 1,
    read() {
      note();
      left -= 1;
      setImmediate(() => this.push(left < 0 ? null : note()));
    },
    destroy(error, done) {
      note();
      done(error);
    },
  });
}

/** A stream of another copy of Node's streams, such as the package readable-stream. */
export function foreignStream(): Readable {
  const stream = nodeStream();
  const foreign = Object.create(stream) as Readable;
  return new Proxy(foreign, {
    getPrototypeOf: () => EventEmitter.prototype,
    get: (_, name) => Reflect.get(stream, name) as unknown,
    set: (_, name, value) => Reflect.set(stream, name, value),
  });
}

export const encode = (text: string): Uint8Array<ArrayBuffer> => new Uint8Array(Buffer.from(text));

export function webStream(): ReadableStream<string> {
  let left = 3;
  return new ReadableStream<string>({
    pull(controller) {
      left -= 1;
      if (left < 0) controller.close();
      else controller.enqueue(note());
    },
    cancel: () => void note(),
  });
}

export function webBytes(): ReadableStream<Uint8Array> {
  let left = 3;
  return new ReadableStream({
    type: 'bytes',
    async pull(controller) {
      note();
      await nextTurn();
      left -= 1;
      if (left >= 0) controller.enqueue(encode('item'));
      else {
        controller.close();
        controller.byobRequest?.respond(0);
      }
    },
    cancel: () => void note(),
  });
}

/** A query of a database, as builders of queries have them: sent when somebody waits for it. */
export class Query {
  readonly #table = 'orders';
  readonly table = this.#table;
  where(): this {
    return this.#table === 'orders' ? this : this;
  }
  // oxlint-disable-next-line unicorn/no-thenable -- it is what is tested.
  readonly then: Promise<string>['then'] = (...handlers) => {
    note();
    return nextTurn()
      .then(note)
      .then(...handlers);
  };
  readonly catch: Promise<string>['catch'] = (failed) => this.then(undefined, failed);
}

export class OwnPromise<Value> extends Promise<Value> {
  readonly extra = 'extra';
  static of<Value>(value: Value): OwnPromise<Value> {
    return new OwnPromise((resolve) => resolve(value));
  }
}

export class LazyPromise<Value> extends Promise<Value> {
  #start = (): Value => {
    throw new Error('never');
  };
  static of<Value>(start: () => Value): LazyPromise<Value> {
    const promise = new LazyPromise<Value>(() => {});
    promise.#start = start;
    return promise;
  }
  // oxlint-disable-next-line unicorn/no-thenable -- it is what is tested.
  override then: Promise<Value>['then'] = (...handlers) => {
    note();
    return nextTurn(this.#start()).then(...handlers);
  };
}

export const readAll = async (source: AsyncIterable<unknown>): Promise<unknown[]> => {
  const items: unknown[] = [];
  for await (const item of source) items.push(item);
  return items;
};
export const readFirst = async (source: AsyncIterable<unknown>): Promise<void> => {
  for await (const _ of source) return;
};
export const readWith = async (reader: { read(): Promise<{ done: boolean }> }): Promise<void> => {
  while (!(await reader.read()).done);
};

export type Row = readonly [string, () => unknown, (result: never) => unknown];

export const objects = (): PassThrough => new PassThrough({ objectMode: true });
export const fromWeb = (stream: ReadableStream): Readable =>
  Readable.fromWeb(stream, { objectMode: true });
export function readFile(file: StreamableFile): Promise<unknown[]> {
  return readAll(file.getStream());
}
export async function readPromised(promise: Promise<AsyncIterable<unknown>>): Promise<unknown[]> {
  return readAll(await promise);
}
export const thenableOf = (value: unknown): PromiseLike<unknown> => ({
  // oxlint-disable-next-line unicorn/no-thenable -- it is what is tested.
  then: (...handlers) => Promise.resolve(value).then(...handlers),
});
