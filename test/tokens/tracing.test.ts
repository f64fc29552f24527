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
