import type {
  Context,
  Histogram,
  MeterProvider,
  Span,
  SpanKind,
  SpanStatusCode,
  TextMapPropagator,
  Tracer,
  TracerProvider,
} from '@opentelemetry/api';
import { errorCode, notify } from './errors.js';

/** Attributes of a span. Only the project's own words, stable codes and configured names: never a token or a secret. */
export type TraceAttributes = Readonly<Record<string, string | number | boolean | undefined>>;

/** What is traced and measured, and by which names. */
export interface TracedOperation {
  /** The span's name. One of a few: nothing from a request stands in it. */
  readonly span: string;
  /** The name of the histogram of durations, in seconds. */
  readonly metric: string;
  /** Default: internal. */
  readonly kind?: 'server' | 'client';
  /** For the span and the metric: each has only a few different values. */
  readonly attributes?: TraceAttributes;
  /** For the span alone. */
  readonly details?: TraceAttributes;
  /** The headers of the request that it answers: their trace is continued. Default: the running span is the parent. */
  readonly headers?: Readonly<Record<string, string | readonly string[] | undefined>>;
  /** Whether an error is part of the operation's normal course: then the span does not fail. Default: none is. */
  readonly expects?: (error: unknown) => boolean;
}

/** A running operation. */
export interface TracedSpan {
  /** Adds attributes to the span and to the metric. */
  set(attributes: TraceAttributes): void;
  /** Marks the operation as failed. @param code a stable code; it becomes `error.type`. */
  fail(code: string): void;
}

/**
 * What applications register with `@opentelemetry/api`. Its copies share it under this symbol ("Version Compatibility" in
 * its README), for all of 1.x. Read here, so that nothing is loaded where no SDK is registered, and so that the SDK need not be
 * installed where this package can find it.
 */
const REGISTRY = Symbol.for('opentelemetry.js.api.1');

interface Registry {
  readonly trace?: TracerProvider;
  readonly metrics?: MeterProvider;
  readonly propagation?: TextMapPropagator;
  readonly context?: {
    active(): Context;
    with<Result>(context: Context, run: () => Result): Result;
  };
}

/** The keys of a context: the running span (API), and whether spans are left out (SDK). `createContextKey` makes such symbols. */
const SPAN = Symbol.for('OpenTelemetry Context Key SPAN');
const SUPPRESSED = Symbol.for('OpenTelemetry SDK Context Key SUPPRESS_TRACING');

/** Values of the API's enums, which are not loaded. */
const KINDS = { internal: 0, server: 1, client: 2 } as unknown as Readonly<
  Record<'internal' | 'server' | 'client', SpanKind>
>;
const ERROR = 2 as unknown as SpanStatusCode;

/** Bounds in seconds, of the semantic conventions for HTTP. */
const BOUNDS = [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10];

/** The scope of all spans and metrics. */
const SCOPE = 'service-token-broker';

const SILENT: TracedSpan = { set: () => undefined, fail: () => undefined };

function registry(): Registry | undefined {
  return (globalThis as { [REGISTRY]?: Registry })[REGISTRY];
}

/** Whether an OpenTelemetry SDK is registered: a look at one global. */
export function isTraced(): boolean {
  const registered = registry();
  return registered?.trace !== undefined || registered?.metrics !== undefined;
}

/**
 * Runs an operation within a span, and records its duration. Without an OpenTelemetry SDK, `run` is called and nothing else
 * happens. A rejection marks the span with the code of the error (`error.type`), never with its message.
 */
export function traced<Result>(
  operation: TracedOperation,
  run: (span: TracedSpan) => Promise<Result>,
): Promise<Result> {
  const registered = registry();
  return registered === undefined ? run(SILENT) : observe(registered, operation, run);
}

/** Adds attributes to the span that is running, if any. */
export function annotateSpan(attributes: TraceAttributes): void {
  notify(() => activeSpan()?.setAttributes(attributes));
}

/** Whether a span is running and recorded: where no operation of ours runs, the application's own. */
export function hasSpan(): boolean {
  let isRecorded = false;
  notify(() => {
    isRecorded = activeSpan()?.isRecording() === true;
  });
  return isRecorded;
}

/** The headers that pass the running trace on, by the registered propagator; none without one. */
export function traceHeaders(): Readonly<Record<string, string>> {
  const { propagation, context } = registry() ?? {};
  const headers: Record<string, string> = {};
  if (propagation === undefined || context === undefined) return headers;
  notify(() => propagation.inject(context.active(), headers, { set: setHeader }));
  return headers;
}

/** Runs something for which other instrumentation makes no spans and adds no headers: ours are there, or none should be. */
export function withoutSpans<Result>(run: () => Result): Result {
  const { context } = registry() ?? {};
  if (context === undefined) return run();
  let outcome: (() => Result) | undefined;
  const runOnce = (): (() => Result) => (outcome ??= outcomeOf(run));
  notify(() => {
    context.with(context.active().setValue(SUPPRESSED, true), runOnce);
  });
  return runOnce()();
}

/** Runs something: what it returns or throws, to be returned or thrown later. */
function outcomeOf<Result>(run: () => Result): () => Result {
  try {
    const result = run();
    return () => result;
  } catch (error) {
    return () => {
      throw error;
    };
  }
}

/**
 * Has the SDK export what it holds back, as a process ends that exits by itself: a broker. Rejects as the SDK does.
 */
export async function flushTelemetry(): Promise<void> {
  const { trace, metrics } = registry() ?? {};
  // The API wraps the provider that was registered.
  const wrapped = (trace as { getDelegate?: () => unknown } | undefined)?.getDelegate?.();
  await Promise.all([flush(wrapped ?? trace), flush(metrics)]);
}

/** `forceFlush` belongs to SDKs, not to the API. */
async function flush(provider: unknown): Promise<void> {
  await (provider as { forceFlush?: () => Promise<void> } | undefined)?.forceFlush?.();
}

function activeSpan(): Span | undefined {
  return registry()?.context?.active().getValue(SPAN) as Span | undefined;
}

/** Whatever the SDK does, the operation runs once, and its result is its own. */
function observe<Result>(
  registered: Registry,
  operation: TracedOperation,
  run: (span: TracedSpan) => Promise<Result>,
): Promise<Result> {
  const { span: name, kind = 'internal', attributes, details } = operation;
  let running: Promise<Result> | undefined;
  const begin = (span?: Span): Promise<Result> =>
    (running ??= measure(registered, operation, run, span));
  notify(() => {
    const tracer = tracerOf(registered);
    if (tracer === undefined) return;
    const options = { kind: KINDS[kind], attributes: { ...attributes, ...details } };
    const parent = parentOf(registered, operation);
    const returned: unknown =
      parent === undefined
        ? tracer.startActiveSpan(name, options, begin)
        : tracer.startActiveSpan(name, options, parent, begin);
    // An SDK may return another promise than the operation's, whose rejection nobody would handle.
    Promise.resolve(returned).catch(() => undefined);
  });
  return begin();
}

async function measure<Result>(
  registered: Registry,
  { metric, attributes, expects }: TracedOperation,
  run: (span: TracedSpan) => Promise<Result>,
  span: Span | undefined,
): Promise<Result> {
  const startedAt = performance.now();
  const measured: Record<string, string | number | boolean | undefined> = { ...attributes };
  const own: TracedSpan = {
    set: (more) => {
      for (const [key, value] of Object.entries(more)) {
        if (value !== undefined) measured[key] = value;
      }
      notify(() => span?.setAttributes(more));
    },
    fail: (code) => {
      own.set({ 'error.type': code });
      notify(() => span?.setStatus({ code: ERROR }));
    },
  };
  try {
    return await run(own);
  } catch (error) {
    if (expects?.(error) === true) own.set({ 'service_token.outcome': errorCode(error) });
    else own.fail(errorCode(error));
    throw error;
  } finally {
    const seconds = (performance.now() - startedAt) / 1_000;
    // A processor or exporter of the application must not break what it watches.
    notify(() => span?.end());
    notify(() => histogram(registered, metric)?.record(seconds, measured));
  }
}

/** The context that a request's headers bring (W3C Trace Context, or what the application's propagator reads). */
function parentOf(
  { propagation, context }: Registry,
  { headers }: TracedOperation,
): Context | undefined {
  if (headers === undefined || context === undefined) return undefined;
  const active = context.active();
  let parent = active;
  notify(() => {
    parent = propagation?.extract(active, headers, HEADER_GETTER) ?? active;
  });
  return parent;
}

const HEADER_GETTER = {
  keys: (headers: NonNullable<TracedOperation['headers']>) => Object.keys(headers),
  get: (headers: NonNullable<TracedOperation['headers']>, name: string) => {
    const value = headers[name.toLowerCase()];
    return typeof value === 'string' || value === undefined ? value : [...value];
  },
};

/** What no header can be would end the request that it is for. */
const HEADER_NAME = /^[\w!#$%&'*+.^`|~-]{1,64}$/;
const HEADER_VALUE = /^[\x20-\x7e]{1,8192}$/;

function setHeader(headers: Record<string, string>, name: unknown, value: unknown): void {
  if (typeof name !== 'string' || typeof value !== 'string') return;
  if (HEADER_NAME.test(name) && HEADER_VALUE.test(value)) headers[name] = value;
}

let tracers: { readonly of: TracerProvider; readonly tracer: Tracer } | undefined;

/** The tracer of the registered provider: another one, once another provider is registered. */
function tracerOf({ trace }: Registry): Tracer | undefined {
  if (trace === undefined) return undefined;
  if (tracers?.of !== trace) tracers = { of: trace, tracer: trace.getTracer(SCOPE) };
  return tracers.tracer;
}

let meters: { readonly of: MeterProvider; readonly histograms: Map<string, Histogram> } | undefined;

function histogram({ metrics }: Registry, name: string): Histogram | undefined {
  if (metrics === undefined) return undefined;
  if (meters?.of !== metrics) meters = { of: metrics, histograms: new Map() };
  let found = meters.histograms.get(name);
  if (found === undefined) {
    const options = { unit: 's', advice: { explicitBucketBoundaries: BOUNDS } };
    found = metrics.getMeter(SCOPE).createHistogram(name, options);
    meters.histograms.set(name, found);
  }
  return found;
}
