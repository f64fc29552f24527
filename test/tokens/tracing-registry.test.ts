import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import { createContextKey } from '@opentelemetry/api';
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

/** Where the API of OpenTelemetry keeps what applications register. */
const KEY = Symbol.for('opentelemetry.js.api.1');
const holder = globalThis as Record<symbol, unknown>;
const SPAN = createContextKey('OpenTelemetry Context Key SPAN');
const SUPPRESSED = createContextKey('OpenTelemetry SDK Context Key SUPPRESS_TRACING');
const OPERATION: TracedOperation = { span: 'one', metric: 'one.duration' };

let warn: jest.SpiedFunction<typeof process.emitWarning>;
beforeEach(() => {
  warn = jest.spyOn(process, 'emitWarning').mockImplementation(() => undefined);
});
/** What the project's own code does wrong with an SDK becomes a warning. */
afterEach(() => {
  const warnings = [...warn.mock.calls];
  warn.mockRestore();
  delete holder[KEY];
  expect(warnings).toEqual([]);
});

/** A part of an SDK that notes what is asked of it. */
function noting() {
  const calls: unknown[][] = [];
  const note =
    <Result>(name: string, result?: Result) =>
    (...args: unknown[]): Result => {
      calls.push([name, ...args]);
      return result as Result;
    };
  const span = {
    setAttributes: note('set'),
    setStatus: note('status'),
    end: note('end'),
    isRecording: () => true,
  };
  const begin = (...args: unknown[]): unknown => {
    calls.push(['start', ...args.slice(0, -1)]);
    return (args.at(-1) as (span: unknown) => unknown)(span);
  };
  const context = (values: Record<symbol, unknown> = {}): object => ({
    name: 'active',
    getValue: (key: symbol) => values[key],
    setValue: (key: symbol, value: unknown) => context({ ...values, [key]: value }),
  });
  return {
    calls,
    trace: {
      getTracer: (...args: unknown[]) => {
        calls.push(['tracer', ...args]);
        return { startActiveSpan: begin };
      },
    },
    metrics: {
      getMeter: (...args: unknown[]) => {
        calls.push(['meter', ...args]);
        return {
          createHistogram: (...options: unknown[]) => {
            calls.push(['histogram', ...options]);
            return { record: note('record') };
          },
        };
      },
    },
    contextOf: (values?: Record<symbol, unknown>) => {
      let active = context(values);
      return {
        active: () => active,
        with: (other: object, run: () => unknown) => {
          const before = active;
          active = other;
          try {
            return run();
          } finally {
            active = before;
          }
        },
      };
    },
    span,
  };
}

test.each([
  ['nothing', undefined, false],
  ['an empty registry', {}, false],
  ['spans alone', { trace: {} }, true],
  ['metrics alone', { metrics: {} }, true],
  ['a context alone', { context: {} }, false],
])('with %s something is traced: %s', (_what, registered, expected) => {
  holder[KEY] = registered;
  expect(isTraced()).toBe(expected);
});

describe('without an SDK', () => {
  test('an operation may say what it likes', async () => {
    await traced(OPERATION, async (span) => {
      span.set({ more: 1 });
      span.fail('CODE');
    });
  });

  test.each<[string, object | undefined]>([
    ['nothing', undefined],
    ['an empty registry', {}],
    ['a propagator without a context', { propagation: {} }],
    ['a context without a propagator', { context: noting().contextOf() }],
  ])('where %s is registered all else does nothing', async (_what, registered) => {
    holder[KEY] = registered;
    annotateSpan({ more: 1 });
    expect(hasSpan()).toBe(false);
    expect(traceHeaders()).toEqual({});
    let runs = 0;
    expect(withoutSpans(() => (runs += 1))).toBe(1);
    await flushTelemetry();
    const headers = { traceparent: 'x' };
    const run = async (): Promise<string> => 'result';
    expect(await traced({ ...OPERATION, headers }, run)).toBe('result');
    await expect(
      traced(OPERATION, (span) => {
        span.set({ more: 1 });
        return Promise.reject(new Error('its own'));
      }),
    ).rejects.toThrow('its own');
  });
});

describe('the span that is running', () => {
  test.each([true, false])('is found where the API keeps it; it is recorded: %s', (isRecording) => {
    const { contextOf, span, calls } = noting();
    holder[KEY] = {
      context: contextOf({ [SPAN]: { ...span, isRecording: () => isRecording } }),
    };
    expect(hasSpan()).toBe(isRecording);
    annotateSpan({ more: 1 });
    expect(calls).toEqual([['set', { more: 1 }]]);
  });

  test('has none of other instrumentation within, as the SDK is told', () => {
    const { contextOf } = noting();
    const context = contextOf();
    holder[KEY] = { context };
    const suppressed = (): unknown =>
      (context.active() as { getValue: (key: symbol) => unknown }).getValue(SUPPRESSED);
    expect(withoutSpans(suppressed)).toBe(true);
    expect(suppressed()).toBeUndefined();
  });
});

describe('an operation', () => {
  test.each([
    [undefined, 0],
    ['server', 1],
    ['client', 2],
  ] as const)('of the kind %s starts a span and ends it', async (kind, number) => {
    const { calls, trace } = noting();
    holder[KEY] = { trace };
    const attributes = { of: 'both' };
    const details = { of_span: 'alone' };
    await traced({ ...OPERATION, ...(kind && { kind }), attributes, details }, async (span) => {
      span.set({ more: 1 });
      span.fail('CODE');
    });
    expect(calls).toEqual([
      ['tracer', 'service-token-broker'],
      ['start', 'one', { kind: number, attributes: { ...attributes, ...details } }],
      ['set', { more: 1 }],
      ['set', { 'error.type': 'CODE' }],
      ['status', { code: 2 }],
      ['end'],
    ]);
  });

  test('is measured in seconds, by the bounds for HTTP', async () => {
    jest.useFakeTimers({ now: 1_000_000 });
    try {
      const { calls, metrics } = noting();
      holder[KEY] = { metrics };
      jest.advanceTimersByTime(700);
      await traced({ ...OPERATION, attributes: { of: 'both' } }, async (span) => {
        span.set({ more: 1, of: undefined, never: undefined });
        jest.advanceTimersByTime(1_500);
      });
      const explicitBucketBoundaries = [
        0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10,
      ];
      expect(calls).toStrictEqual([
        ['meter', 'service-token-broker'],
        ['histogram', 'one.duration', { unit: 's', advice: { explicitBucketBoundaries } }],
        ['record', 1.5, { of: 'both', more: 1 }],
      ]);
    } finally {
      jest.useRealTimers();
    }
  });

  test('asks for a tracer and a histogram once, and for others of another SDK', async () => {
    const one = noting();
    const other = noting();
    const run = (registered: object, metric = 'one.duration'): Promise<void> => {
      holder[KEY] = registered;
      return traced({ ...OPERATION, metric }, () => Promise.resolve());
    };
    await run(one);
    await run(one);
    await run(one, 'two.duration');
    await run(other);
    const made = (calls: unknown[][]): unknown[] =>
      calls.filter(([name]) => ['tracer', 'histogram'].includes(name as string)).map(String);
    const tracer = 'tracer,service-token-broker';
    const histogram = (name: string): string => `histogram,${name}.duration,[object Object]`;
    expect(made(one.calls)).toEqual([tracer, histogram('one'), histogram('two')]);
    expect(made(other.calls)).toEqual([tracer, histogram('one')]);
    expect(one.calls.filter(([name]) => name === 'record')).toHaveLength(3);
  });
});

describe('a request', () => {
  const HEADERS = { traceparent: 'one', baggage: ['two', 'three'] };

  test('is continued from its headers, whatever the case of their names', async () => {
    interface Getter {
      keys(headers: object): string[];
      get(headers: object, name: string): unknown;
    }
    const { calls, trace, contextOf } = noting();
    const context = contextOf();
    const parent = { name: 'parent' };
    const read: unknown[] = [];
    const extract = (active: unknown, headers: object, getter: Getter): unknown => {
      read.push(active, getter.keys(headers));
      for (const name of ['TraceParent', 'baggage', 'tracestate']) {
        read.push(getter.get(headers, name));
      }
      return parent;
    };
    holder[KEY] = { trace, context, propagation: { extract } };
    await traced({ ...OPERATION, headers: HEADERS }, () => Promise.resolve());
    expect(read).toEqual([
      context.active(),
      ['traceparent', 'baggage'],
      'one',
      ['two', 'three'],
      undefined,
    ]);
    expect(read[3]).not.toBe(HEADERS.baggage);
    expect(calls[1]).toEqual(['start', 'one', { kind: 0, attributes: {} }, parent]);
  });

  test('begins where the process is, without a propagator', async () => {
    const { calls, trace, contextOf } = noting();
    const context = contextOf();
    holder[KEY] = { trace, context };
    await traced({ ...OPERATION, headers: HEADERS }, () => Promise.resolve());
    await traced(OPERATION, () => Promise.resolve());
    const starts = calls.filter(([name]) => name === 'start');
    expect(starts.map((call) => call.slice(3))).toStrictEqual([[context.active()], []]);
  });

  test.each<[unknown, unknown, boolean]>([
    ['traceparent', 'one', true],
    ["a-z_A0!#$%&'*+.^`|~", ' ~', true],
    ['n'.repeat(64), 'v'.repeat(8_192), true],
    ['n'.repeat(65), 'v', false],
    ['n', 'v'.repeat(8_193), false],
    ['', 'v', false],
    ['n', '', false],
    ['a name', 'v', false],
    ['name:', 'v', false],
    [':name', 'v', false],
    ['é', 'v', false],
    ['n', 'one\r\nx: two', false],
    ['n', '\none', false],
    ['n', 'one\n', false],
    ['n', 'é', false],
    ['n', 7, false],
    [['n'], 'v', false],
    ['n', ['v'], false],
  ])('is sent on with the header %j: %j, if it can be one', (name, value, isSent) => {
    const { contextOf } = noting();
    const inject = (
      _context: unknown,
      headers: object,
      { set }: { set: (headers: object, name: unknown, value: unknown) => void },
    ): void => set(headers, name, value);
    holder[KEY] = { context: contextOf(), propagation: { inject } };
    expect(traceHeaders()).toEqual(isSent ? { [String(name)]: value } : {});
  });
});

describe('what an SDK holds back', () => {
  test.each([
    ['as it is', (provider: object) => provider],
    ['within the wrapper of the API', (provider: object) => ({ getDelegate: () => provider })],
  ])('is exported from a provider %s', async (_what, wrap) => {
    const flushed: string[] = [];
    const provider = (name: string): object => ({
      forceFlush: async () => void flushed.push(name),
    });
    holder[KEY] = { trace: wrap(provider('spans')), metrics: provider('metrics') };
    await flushTelemetry();
    expect(flushed).toEqual(['spans', 'metrics']);
  });

  test('is nothing where providers cannot export', async () => {
    holder[KEY] = { trace: { getDelegate: () => ({}) }, metrics: {} };
    await expect(flushTelemetry()).resolves.toBeUndefined();
  });

  test('is missed loudly', async () => {
    const failure = new Error('no disk');
    holder[KEY] = { trace: { forceFlush: () => Promise.reject(failure) } };
    await expect(flushTelemetry()).rejects.toBe(failure);
  });
});
