import { Readable } from 'node:stream';
import { ReadableStream } from 'node:stream/web';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { beforeEach, describe, expect, jest, test } from '@jest/globals';
import { StreamableFile } from '@nestjs/common';
import { runInCallContext } from '../../src/context/call-context.js';
import { keepFrame } from '../../src/context/lazy-results.js';
import {
  ann,
  whose,
  asService,
  seen,
  pulled,
  pulledAtOnce,
  observed,
  nodeStream,
  webStream,
  webBytes,
  Query,
  OwnPromise,
  readAll,
  readFirst,
  type Row,
  readFile,
  readPromised,
  thenableOf,
} from './support/lazy.js';

class OwnStream extends ReadableStream<string> {}

beforeEach(() => {
  seen.length = 0;
});

describe('what is returned', () => {
  const keep = <Value>(value: Value): Value => asService(() => value);

  test.each<[string, unknown]>([
    ['nothing', undefined],
    ['null', null],
    ['a text', 'text'],
    ['a list', [1]],
    ['a map', new Map()],
    ['an object', { body: nodeStream() }],
    ['a function', pulled],
    ['a stream of Node.js', nodeStream()],
    ['a StreamableFile', new StreamableFile(nodeStream())],
    ['a Response', new Response('text')],
    ['a web stream that is locked', lockedStream()],
    ['a web stream with more', Object.assign(webStream(), { length: 3 })],
    ['a web stream of a subclass', new OwnStream()],
  ])('is %s itself', (_, value) => {
    expect(keep(value)).toBe(value);
  });

  function lockedStream(): ReadableStream {
    const stream = webStream();
    stream.getReader();
    return stream;
  }

  test('is a promise that settles as the method’s does', async () => {
    const failure = new Error('failed');
    expect(keep(Promise.resolve(1))).toBeInstanceOf(Promise);
    await expect(keep(Promise.resolve(1))).resolves.toBe(1);
    await expect(keep(Promise.reject(failure))).rejects.toBe(failure);
    await expect(keep(OwnPromise.reject(failure))).rejects.toBe(failure);
    await expect(keep(thenableOf(Promise.reject(failure)))).rejects.toBe(failure);
    expect(await OwnPromise.race([keep(OwnPromise.resolve(2)).finally(() => {})])).toBe(2);
    expect(await keep(OwnPromise.reject(failure)).catch((error: unknown) => error)).toBe(failure);
  });

  test('has what a thenable and a promise of a class have, at once', async () => {
    const promise = keep(OwnPromise.of(1));
    expect(promise).toBeInstanceOf(OwnPromise);
    expect(promise.extra).toBe('extra');
    expect(promise.constructor).toBe(OwnPromise);
    const query = keep(new Query());
    expect(query).toBeInstanceOf(Query);
    expect(query.where().where()).toBe(query);
    expect(query.table).toBe('orders');
    expect(seen).toEqual([]);
    Object.assign(query, {
      model: class Order {
        static readonly table = 'orders';
      },
    });
    const { model } = query as unknown as { model: new () => object };
    expect(model).toHaveProperty('table', 'orders');
    expect(new model()).toBeDefined();
  });

  test('throws what the method throws', () => {
    const failure = new Error('failed');
    const fail = (): never => {
      throw failure;
    };
    expect(() => asService(fail)).toThrow(failure);
  });

  test('is a generator that takes and gives as before', () => {
    function* echo(): Generator<unknown, string, unknown> {
      try {
        const first = yield 'ready';
        yield [first];
      } catch (error) {
        yield error;
      }
      return 'end';
    }
    const first = keep(echo());
    expect([first.next(), first.next('one'), first.return('early')]).toEqual([
      { done: false, value: 'ready' },
      { done: false, value: ['one'] },
      { done: true, value: 'early' },
    ]);
    const second = keep(echo());
    second.next();
    expect(second.throw('failure')).toEqual({ done: false, value: 'failure' });
    expect([...second]).toEqual([]);
    expect([...keep(new Map([[1, 2]]).entries())]).toEqual([[1, 2]]);
  });

  // Node.js 20 has none.
  const testWithHelpers = 'Iterator' in globalThis ? test : test.skip;
  testWithHelpers('has the helpers of iterators', () => {
    const kept = keep(pulledAtOnce()) as Generator<string> & {
      map: (run: (item: string) => string) => Iterable<string>;
    };
    const heard = runInCallContext(ann, () => new Set(kept.map(whose)));
    expect([heard, new Set(seen)]).toEqual([new Set(['ann']), new Set(['service'])]);
  });
});

describe('a web stream', () => {
  test('is asked for as much as is read, and for one chunk ahead', async () => {
    let asked = 0;
    const reader = asService(
      () => new ReadableStream<number>({ pull: (controller) => controller.enqueue((asked += 1)) }),
    ).getReader();
    await nextTurn();
    expect(asked).toBe(1);
    expect([await reader.read(), await reader.read()]).toEqual([
      { done: false, value: 1 },
      { done: false, value: 2 },
    ]);
    await nextTurn();
    expect(asked).toBe(3);
  });

  test('gives several chunks in order, also to readers that do not wait', async () => {
    const reader = asService(webStream).getReader();
    const all = await Promise.all([1, 2, 3, 4, 5].map(() => reader.read()));
    expect(all.map(({ value }) => value)).toEqual(['item', 'item', 'item', undefined, undefined]);
    await reader.closed;
  });

  test('passes a cancellation and its reason on, and what comes of it', async () => {
    const cancel = jest.fn<(reason: unknown) => void>();
    await asService(() => new ReadableStream({ cancel })).cancel('enough');
    expect(cancel.mock.calls).toEqual([['enough']]);
    const failure = new Error('failed');
    const failing = new ReadableStream({ cancel: () => Promise.reject(failure) });
    await expect(asService(() => failing).cancel()).rejects.toBe(failure);
    const waiting = asService(() => new ReadableStream());
    const reader = waiting.getReader();
    const read = reader.read();
    await reader.cancel();
    expect(await read).toEqual({ done: true, value: undefined });
    await nextTurn();
  });

  test('passes errors on, before, while and after it is read', async () => {
    const failure = new Error('failed');
    const failed = new ReadableStream({ start: (controller) => controller.error(failure) });
    await expect(readAll(asService(() => failed))).rejects.toBe(failure);
    let count = 0;
    const failing = asService(
      () =>
        new ReadableStream<number>({
          pull(controller) {
            if (count === 2) throw failure;
            controller.enqueue((count += 1));
          },
        }),
    ).getReader();
    expect(await failing.read()).toEqual({ done: false, value: 1 });
    await expect(failing.read().then(() => failing.read())).rejects.toBe(failure);
    await expect(failing.closed).rejects.toBe(failure);
  });

  test('that is closed is known to be, unread', async () => {
    const closed = new ReadableStream({ start: (controller) => controller.close() });
    const reader = asService(() => closed).getReader();
    await reader.closed;
    expect(await reader.read()).toEqual({ done: true, value: undefined });
    let close = (): void => {};
    const later = new ReadableStream<string>({
      start(controller) {
        controller.enqueue('item');
        close = () => controller.close();
      },
    });
    const other = asService(() => later).getReader();
    expect(await other.read()).toEqual({ done: false, value: 'item' });
    close();
    await other.closed;
    const short = new ReadableStream<string>({
      start(controller) {
        controller.enqueue('item');
        controller.close();
      },
    });
    const last = asService(() => short).getReader();
    expect(await last.read()).toEqual({ done: false, value: 'item' });
    await last.closed;
  });

  test('of bytes gives all of them, into the reader’s buffer', async () => {
    const reader = asService(webBytes).getReader({ mode: 'byob' });
    let received = '';
    for (;;) {
      const { done, value } = await reader.read(new Uint8Array(3));
      received += Buffer.from(value ?? []).toString();
      if (done) break;
    }
    expect(received).toBe('itemitemitem');
    await reader.closed;
  });
});

describe('the end of a lazy result', () => {
  const frame = { behalf: 'service', correlation: undefined } as const;
  const failing = async function* (): AsyncGenerator<string> {
    yield 'item';
    throw new Error('failed');
  };
  const failed = (result: Promise<unknown>): Promise<unknown> => result.catch(() => {});

  test.each<[string, () => unknown]>([
    ['a text', () => 'text'],
    ['an object', () => ({})],
    ['an Observable', observed],
    ['a generator', pulledAtOnce],
    ['a web stream that is locked', () => webStream().pipeThrough(new TransformStream())],
    ['a stream of Node.js that is closed', closedStream],
  ])('%s: at once', async (name, make) => {
    const value = await make();
    if (name.endsWith('locked')) (value as ReadableStream).getReader();
    const onEnd = jest.fn();
    keepFrame(value, frame, onEnd);
    expect(onEnd).toHaveBeenCalledTimes(1);
  });

  async function closedStream(): Promise<unknown> {
    const stream = nodeStream().destroy();
    await new Promise((resolve) => stream.once('close', resolve));
    return stream;
  }

  test.each<Row>([
    ['an async generator', pulled, readAll],
    ['an async generator that is left early', pulled, readFirst],
    [
      'an async generator that fails',
      failing,
      (one: AsyncIterable<unknown>) => failed(readAll(one)),
    ],
    ['a stream of Node.js', nodeStream, readAll],
    ['a stream of Node.js that is destroyed', nodeStream, (one: Readable) => one.destroy()],
    ['a StreamableFile', () => new StreamableFile(nodeStream()), readFile],
    ['a web stream', webStream, readAll],
    ['a web stream that is left early', webStream, readFirst],
    [
      'a web stream that fails',
      () => Readable.toWeb(Readable.from(failing())),
      (one: ReadableStream) => failed(readAll(one)),
    ],
    ['a promise', () => nextTurn(1), (one: Promise<unknown>) => one],
    ['a promise that fails', async () => Promise.reject(new Error('failed')), failed],
    ['a promise of an async generator', async () => pulled(), readPromised],
    ['a promise of a web stream', async () => webStream(), readPromised],
    ['a thenable', () => new Query(), async (one: Query) => one],
    ['a thenable of an async generator', () => thenableOf(pulled()), readPromised],
  ])('%s: when it has been read', async (_, make, read) => {
    const onEnd = jest.fn();
    const kept = keepFrame(make(), frame, onEnd);
    expect(onEnd).not.toHaveBeenCalled();
    await read(kept as never);
    await nextTurn();
    expect(onEnd).toHaveBeenCalled();
  });

  test('is not before a promised iterable has been read', async () => {
    const onEnd = jest.fn();
    const items = await keepFrame(Promise.resolve(pulled()), frame, onEnd);
    await items.next();
    await nextTurn();
    expect(onEnd).not.toHaveBeenCalled();
    await items.return(undefined);
    expect(onEnd).toHaveBeenCalledTimes(1);
  });
});
