import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { context, propagation, trace } from '@opentelemetry/api';
import type { SpanProcessor } from '@opentelemetry/sdk-trace-base';
import { BrokerError } from '../../src/tokens/errors.js';
import {
  annotateSpan,
  flushTelemetry,
  hasSpan,
  isTraced,
  traced,
  traceHeaders,
  withoutSpans,
  type TracedOperation,
} from '../../src/tokens/tracing.js';
import { startTelemetry, stopTelemetry, type Telemetry } from '../support/telemetry.js';

const OUTER: TracedOperation = { span: 'outer', metric: 'outer.duration' };
const INNER: TracedOperation = {
  span: 'inner',
  metric: 'inner.duration',
  kind: 'client',
  attributes: { of: 'both' },
  details: { of_span: 'alone' },
};
const TRACE_ID = '0af7651916cd43dd8448eb211c80319c';
const PARENT = `00-${TRACE_ID}-b7ad6b7169203331-01`;

describe('without an SDK', () => {
  test('an operation runs, and nothing else happens', async () => {
    expect(isTraced()).toBe(false);
    expect(hasSpan()).toBe(false);
    const own = Promise.resolve('result');
    // The very promise: not one more turn of the event loop.
    expect(traced(INNER, () => own)).toBe(own);
    await traced(INNER, async (span) => {
      span.set({ more: 1 });
      span.fail('CODE');
      annotateSpan({ more: 2 });
      expect(traceHeaders()).toEqual({});
      expect(withoutSpans(() => 7)).toBe(7);
    });
    expect(() =>
      traced(INNER, () => {
        throw new Error('at once');
      }),
    ).toThrow('at once');
  });

  test('and where the API was loaded for its log alone', async () => {
    const key = Symbol.for('opentelemetry.js.api.1');
    const holder = globalThis as Record<symbol, unknown>;
    holder[key] = { version: '1.9.1' };
    try {
      expect(isTraced()).toBe(false);
      expect(await traced(INNER, () => Promise.resolve('result'))).toBe('result');
    } finally {
      delete holder[key];
    }
  });
});

describe('with an SDK', () => {
  let telemetry: Telemetry;

  beforeEach(() => {
    telemetry = startTelemetry();
  });
  afterEach(stopTelemetry);

  test('operations are spans, one in the other, and durations', async () => {
    expect(isTraced()).toBe(true);
    const result = await traced(OUTER, async () => {
      await Promise.resolve();
      return traced(INNER, async (span) => {
        expect(hasSpan()).toBe(true);
        span.set({ also: 'both' });
        annotateSpan({ also_span: 'alone' });
        return 'result';
      });
    });
    expect(result).toBe('result');
    expect(hasSpan()).toBe(false);
    const [inner, outer] = telemetry.spans();
    expect(outer).toMatchObject({ name: 'outer', kind: 'INTERNAL', parent: undefined });
    expect(inner).toMatchObject({
      name: 'inner',
      kind: 'CLIENT',
      failed: false,
      traceId: outer?.traceId,
      parent: outer?.id,
      attributes: { of: 'both', of_span: 'alone', also: 'both', also_span: 'alone' },
    });
    expect(await telemetry.durations()).toEqual([
      { name: 'inner.duration', unit: 's', count: 1, attributes: { of: 'both', also: 'both' } },
      { name: 'outer.duration', unit: 's', count: 1, attributes: {} },
    ]);
  });

  test('a failure leaves its code, and not a word of its message', async () => {
    const words = 'token-canary-eyJhbGciOi';
    const failure = new BrokerError('STORE_TIMEOUT', 'retry', words, { cause: new Error(words) });
    await expect(traced(INNER, () => Promise.reject(failure))).rejects.toBe(failure);
    await expect(traced(OUTER, () => Promise.reject(new Error(words)))).rejects.toThrow(words);
    expect(await telemetry.span('inner')).toMatchObject({
      failed: true,
      attributes: { 'error.type': 'STORE_TIMEOUT' },
    });
    expect((await telemetry.span('outer')).attributes).toEqual({ 'error.type': 'UNEXPECTED' });
    expect(await telemetry.text()).not.toContain(words);
    const codes = (await telemetry.durations()).map(({ attributes }) => attributes['error.type']);
    expect(codes).toEqual(['STORE_TIMEOUT', 'UNEXPECTED']);
  });

  test('an error that is expected fails no span', async () => {
    const error = new BrokerError('VERSION_NOT_FOUND', 'retry', 'There is none.');
    const operation = { ...OUTER, expects: (one: unknown) => one === error };
    await expect(traced(operation, () => Promise.reject(error))).rejects.toBe(error);
    expect(await telemetry.span('outer')).toMatchObject({
      failed: false,
      attributes: { 'service_token.outcome': 'VERSION_NOT_FOUND' },
    });
  });

  test.each([
    ['is continued', { traceparent: PARENT }, TRACE_ID],
    ['that is malformed is not', { traceparent: `${PARENT}, ${PARENT}` }, undefined],
    ['is none in a request without', {}, undefined],
  ])('a trace of a request %s', async (_what, headers, traceId) => {
    const run = async (): Promise<unknown> => traceHeaders();
    const sent = await traced({ ...OUTER, kind: 'server', headers }, run);
    const span = await telemetry.span('outer');
    expect(span.parent).toBe(traceId === undefined ? undefined : 'b7ad6b7169203331');
    expect(span.traceId === TRACE_ID).toBe(traceId !== undefined);
    expect(sent).toEqual({ traceparent: `00-${span.traceId}-${span.id}-01` });
  });

  test('other instrumentation makes no spans and adds no headers within ours', async () => {
    await traced(OUTER, async () => {
      withoutSpans(() => {
        trace.getTracer('other').startSpan('of others').end();
        const headers = {};
        propagation.inject(context.active(), headers);
        expect(headers).toEqual({});
      });
      trace.getTracer('other').startSpan('outside').end();
    });
    expect(telemetry.spans().map(({ name }) => name)).toEqual(['outside', 'outer']);
  });

  test('an SDK that is registered anew gets what follows', async () => {
    await traced(OUTER, () => Promise.resolve());
    stopTelemetry();
    await traced(OUTER, () => Promise.resolve());
    const second = startTelemetry();
    await traced(INNER, () => Promise.resolve());
    expect(telemetry.spans().map(({ name }) => name)).toEqual(['outer']);
    expect(second.spans().map(({ name }) => name)).toEqual(['inner']);
    expect((await second.durations()).map(({ name }) => name)).toEqual(['inner.duration']);
  });

  test('what the SDK holds back is exported when a process ends', async () => {
    let flushes = 0;
    stopTelemetry();
    startTelemetry({
      onStart: () => undefined,
      onEnd: () => undefined,
      forceFlush: () => Promise.resolve(void (flushes += 1)),
      shutdown: () => Promise.resolve(),
    });
    await flushTelemetry();
    expect(flushes).toBe(1);
    stopTelemetry();
    await flushTelemetry();
    expect(flushes).toBe(1);
  });

  test('metrics alone are enough', async () => {
    trace.disable();
    context.disable();
    await traced({ ...INNER, headers: { traceparent: PARENT } }, async (span) => {
      span.set({ also: 1 });
    });
    expect(telemetry.spans()).toEqual([]);
    expect(await telemetry.durations()).toMatchObject([{ attributes: { of: 'both', also: 1 } }]);
  });
});

describe('a processor of the application that is broken', () => {
  afterEach(stopTelemetry);

  test.each(['onStart', 'onEnd'] as const)('in %s: the operation runs once', async (method) => {
    const broken = {
      onStart: () => undefined,
      onEnd: () => undefined,
      forceFlush: () => Promise.resolve(),
      shutdown: () => Promise.resolve(),
      [method]: () => {
        throw new Error('broken');
      },
    } as SpanProcessor;
    startTelemetry(broken);
    const warned = new Promise<Error>((resolve) => process.once('warning', resolve));
    let runs = 0;
    expect(await traced(OUTER, () => Promise.resolve((runs += 1)))).toBe(1);
    expect(runs).toBe(1);
    expect(await warned).toMatchObject({ name: 'ObserverWarning', message: 'Error: broken' });
    const failure = new Error('its own');
    await expect(traced(OUTER, () => Promise.reject(failure))).rejects.toBe(failure);
  });
});

describe('an SDK that is broken through and through', () => {
  const key = Symbol.for('opentelemetry.js.api.1');
  const holder = globalThis as Record<symbol, unknown>;
  const broken = (): never => {
    throw new Error('broken');
  };
  const BROKEN_SPAN = {
    setAttributes: broken,
    setStatus: broken,
    end: broken,
    isRecording: broken,
  };
  type Begin = (span?: unknown) => Promise<unknown>;
  const tracing = (enter: (begin: Begin) => unknown): object => ({
    trace: {
      getTracer: () => ({ startActiveSpan: (...args: unknown[]) => enter(args.at(-1) as Begin) }),
    },
    metrics: { getMeter: broken },
    propagation: { inject: broken, extract: broken },
    context: { active: () => ({ getValue: () => BROKEN_SPAN, setValue: broken }), with: broken },
  });
  const warnings: Error[] = [];
  const collect = (warning: Error): void => void warnings.push(warning);
  const rejections: unknown[] = [];
  const note = (reason: unknown): void => void rejections.push(reason);
  beforeEach(() => {
    process.on('warning', collect);
    process.on('unhandledRejection', note);
  });
  afterEach(async () => {
    await new Promise(setImmediate);
    delete holder[key];
    process.off('warning', collect);
    process.off('unhandledRejection', note);
    expect(rejections.splice(0)).toEqual([]);
    expect(new Set(warnings.splice(0).map(({ name }) => name))).toEqual(
      new Set(['ObserverWarning']),
    );
  });

  test.each<[string, (begin: Begin) => unknown]>([
    ['throws', broken],
    ['makes no span', () => undefined],
    ['gives a span that throws', (begin) => begin(BROKEN_SPAN)],
    ['gives no span', (begin) => begin()],
    ['loses the result', (begin) => void begin(BROKEN_SPAN)],
    ['gives another result', (begin) => begin(BROKEN_SPAN).then(() => 'of the SDK')],
    ['begins twice', (begin) => [begin(BROKEN_SPAN), begin(BROKEN_SPAN)]],
    ['begins, and throws', (begin) => [begin(BROKEN_SPAN), broken()]],
    ['begins later', (begin) => void setImmediate(() => void begin())],
  ])('that %s changes neither a result nor an error', async (_what, enter) => {
    holder[key] = tracing(enter);
    let runs = 0;
    const run = (outcome: () => Promise<unknown>): Promise<unknown> =>
      traced({ ...OUTER, headers: { traceparent: PARENT } }, (span) => {
        runs += 1;
        span.set({ more: 1 });
        annotateSpan({ more: 2 });
        return outcome();
      });
    expect(await run(() => Promise.resolve('result'))).toBe('result');
    const failure = new Error('its own');
    await expect(run(() => Promise.reject(failure))).rejects.toBe(failure);
    await new Promise(setImmediate);
    expect(runs).toBe(2);
  });

  test.each<[string, object]>([
    ['throws', { active: broken, with: broken }],
    ['runs nothing', { active: () => ({ setValue: () => undefined }), with: () => undefined }],
  ])('whose context %s does not keep a request from being sent', (_what, context) => {
    holder[key] = { context };
    let runs = 0;
    expect(withoutSpans(() => (runs += 1))).toBe(1);
    expect(() => withoutSpans(() => broken())).toThrow('broken');
    expect(hasSpan()).toBe(false);
    expect(runs).toBe(1);
  });

  test('a propagator gives no header that no request can have', () => {
    const propagation = {
      inject: (
        _context: unknown,
        carrier: object,
        { set }: { set: (carrier: object, name: unknown, value: unknown) => void },
      ) => {
        for (const value of ['a\r\nx-injected: 1', 'é\u0100', '', 7, 'x'.repeat(9_000)]) {
          set(carrier, 'baggage', value);
        }
        set(carrier, 'a name', 'value');
        set(carrier, 'traceparent', PARENT);
        broken();
      },
    };
    holder[key] = { propagation, context: { active: () => ({}) } };
    expect(traceHeaders()).toEqual({ traceparent: PARENT });
  });
});
