import { Readable } from 'node:stream';
import type { ReadableStream } from 'node:stream/web';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { beforeEach, describe, expect, test } from '@jest/globals';
import { StreamableFile } from '@nestjs/common';
import {
  concatMap,
  defer,
  firstValueFrom,
  from,
  map,
  range,
  take,
  toArray,
  type Observable,
} from 'rxjs';
import { runInCallContext } from '../../src/context/call-context.js';
import {
  ann,
  whose,
  asService,
  seen,
  note,
  pulled,
  pulledAtOnce,
  iterator,
  iterable,
  observed,
  nodeStream,
  foreignStream,
  webStream,
  webBytes,
  Query,
  OwnPromise,
  LazyPromise,
  readAll,
  readFirst,
  readWith,
  type Row,
  objects,
  fromWeb,
  readFile,
  readPromised,
  thenableOf,
} from './support/lazy.js';

const LAZY: readonly Row[] = [
  ['an async generator', pulled, readAll],
  ['an async generator that is left early', pulled, readFirst],
  ['an async iterator', iterator, readAll],
  ['an async iterable', iterable, readAll],
  ['a generator', pulledAtOnce, (one: Iterable<unknown>) => [...one]],
  ['an iterator', () => pulledAtOnce()[Symbol.iterator](), (one: Iterable<unknown>) => [...one]],
  ['an Observable', observed, (one: Observable<string>) => firstValueFrom(one)],
  [
    'an Observable with operators',
    observed,
    (one: Observable<string>) => firstValueFrom(one.pipe(map((item) => [item]))),
  ],
  ['a stream of Node.js', nodeStream, readAll],
  ['a stream of Node.js that is left early', nodeStream, readFirst],
  ['a stream of Node.js, piped', nodeStream, (one: Readable) => readAll(one.pipe(objects()))],
  ['a stream of another copy', foreignStream, (one: Readable) => readAll(one.pipe(objects()))],
  ['a StreamableFile', () => new StreamableFile(nodeStream()), readFile],
  ['a web stream', webStream, readAll],
  ['a web stream that is left early', webStream, readFirst],
  ['a web stream, by a reader', webStream, (one: ReadableStream) => readWith(one.getReader())],
  ['a web stream, cancelled', webStream, (one: ReadableStream) => one.cancel()],
  ['a web stream, in two', webStream, (one: ReadableStream) => Promise.all(one.tee().map(readAll))],
  [
    'a web stream, piped',
    webStream,
    (one: ReadableStream) => readAll(one.pipeThrough(new TransformStream())),
  ],
  ['a web stream, as one of Node.js', webStream, (one: ReadableStream) => readAll(fromWeb(one))],
  ['a web stream, as a response', webBytes, (one: ReadableStream) => new Response(one).text()],
  ['a web stream of bytes', webBytes, readAll],
  [
    'a web stream of bytes, by a reader with a buffer',
    webBytes,
    async (one: ReadableStream<Uint8Array>) => {
      const reader = one.getReader({ mode: 'byob' });
      while (!(await reader.read(new Uint8Array(3))).done);
    },
  ],
  ['one of Node.js, as a web stream', () => Readable.toWeb(nodeStream()), readAll],
];

const THENABLE: readonly Row[] = [
  ['a thenable', () => new Query(), (one: Query) => one],
  ['a thenable that was built on', () => new Query(), (one: Query) => one.where()],
  ['a thenable with catch', () => new Query(), (one: Query) => one.catch(() => 'failed')],
  ['a promise of a class', () => OwnPromise.resolve(pulled()), readPromised],
  ['a promise that starts when it is waited for', () => LazyPromise.of(pulled), readPromised],
  ['a thenable of a lazy result', () => thenableOf(pulled()), readPromised],
  ['a promise of another realm', () => nextTurn(pulled()), readPromised],
];

async function readForAnn(result: unknown, read: Row[2]): Promise<void> {
  await runInCallContext(ann, async () => {
    await read((result instanceof Promise ? await result : result) as never);
    await nextTurn();
    expect(whose()).toBe('ann');
  });
  expect([seen.length > 0, [...new Set(seen)]]).toEqual([true, ['service']]);
}
beforeEach(() => {
  seen.length = 0;
});

describe.each<[string, (value: unknown) => unknown]>([
  ['', (value) => value],
  ['a promise of ', async (value) => value],
  ['a later promise of ', (value) => nextTurn().then(() => value)],
  ['a promise of a promise of ', async (value) => Promise.resolve(value)],
])('in a customer’s request, a method as this service returns %s', (_, wrap) => {
  test.each(LAZY)('%s', async (_name, make, read) => {
    const result = runInCallContext(ann, () => asService(() => wrap(make())));
    await readForAnn(result, read);
  });
});

test.each(THENABLE)('a method as this service returns %s', async (_, make, read) => {
  const result = runInCallContext(ann, () => asService(make));
  await runInCallContext(ann, async () => read(result as never));
  expect([seen.length > 0, [...new Set(seen)]]).toEqual([true, ['service']]);
});

describe('what reads a lazy result stays on its own behalf:', () => {
  const seenBy = async (read: (heard: () => void) => Promise<unknown>): Promise<string[]> => {
    const heard: string[] = [];
    await runInCallContext(ann, () => read(() => void heard.push(whose())));
    expect(new Set(seen)).toEqual(new Set(['service']));
    return heard;
  };

  test.each<[string, (heard: () => void) => Promise<unknown>, number]>([
    [
      'operators and observers of an Observable',
      (heard) =>
        new Promise<void>((resolve) => {
          asService(() => from(pulledAtOnceAsync()))
            .pipe(concatMap(async (item) => [heard(), item]))
            .subscribe({ next: heard, error: heard, complete: () => [heard(), resolve()] });
        }),
      7,
    ],
    [
      'functions and a partial observer given to an Observable',
      async (heard) => {
        asService(observed).subscribe(heard);
        asService(observed).subscribe({ complete: heard });
        await asService(observed).forEach(heard);
        await nextTurn();
      },
      3,
    ],
    [
      'an observer of a failing Observable',
      (heard) =>
        firstValueFrom(
          asService(() => defer(() => Promise.reject(new Error(note())))).pipe(map(() => 'never')),
        ).catch(heard),
      1,
    ],
    [
      'listeners of a stream of Node.js',
      async (heard) => {
        const stream = asService(nodeStream);
        stream.on('data', heard).on('end', heard).on('close', heard);
        await new Promise((resolve) => stream.once('close', resolve));
      },
      5,
    ],
    [
      'listeners of a stream of Node.js that is destroyed',
      async (heard) => {
        const stream = asService(nodeStream);
        stream.on('error', heard).on('close', heard);
        stream.destroy(new Error('enough'));
        await new Promise((resolve) => stream.once('close', resolve));
      },
      2,
    ],
    ['what waits for a thenable', async (heard) => asService(() => new Query()).then(heard), 1],
    ['what waits for a promise', async (heard) => asService(async () => note()).then(heard), 1],
  ])('%s', async (_, read, times) => {
    expect(await seenBy(read)).toEqual(Array(times).fill('ann'));
  });

  async function* pulledAtOnceAsync(): AsyncGenerator<string> {
    yield* pulledAtOnce();
  }

  test('an Observable without an end can be left while it emits', async () => {
    const items = asService(() => range(0, Infinity)).pipe(take(2), toArray());
    expect(await firstValueFrom(items)).toEqual([0, 1]);
  });
});
