import { context, metrics, propagation, SpanKind, SpanStatusCode, trace } from '@opentelemetry/api';
import { AsyncLocalStorageContextManager } from '@opentelemetry/context-async-hooks';
import { W3CTraceContextPropagator } from '@opentelemetry/core';
import {
  AggregationTemporality,
  InMemoryMetricExporter,
  MeterProvider,
  PeriodicExportingMetricReader,
  type HistogramMetricData,
} from '@opentelemetry/sdk-metrics';
import {
  BasicTracerProvider,
  InMemorySpanExporter,
  SimpleSpanProcessor,
  type ReadableSpan,
  type SpanProcessor,
} from '@opentelemetry/sdk-trace-base';

/** A span as a test compares it. */
export interface SeenSpan {
  readonly name: string;
  readonly kind: string;
  readonly traceId: string;
  readonly id: string;
  readonly parent: string | undefined;
  readonly attributes: ReadableSpan['attributes'];
  readonly failed: boolean;
}

/** A duration that was measured, without its value. */
export interface SeenDuration {
  readonly name: string;
  readonly unit: string;
  readonly count: number;
  readonly attributes: Readonly<Record<string, unknown>>;
}

/** The real SDK of OpenTelemetry, with exporters in memory. */
export interface Telemetry {
  /** The spans that have ended, in that order. */
  spans(): SeenSpan[];
  /** Waits for the only span of a name: one of a request ends when its answer has left, which the caller may see first. */
  span(name: string, kind?: SeenSpan['kind']): Promise<SeenSpan>;
  /** Forgets the spans that have ended. */
  forget(): void;
  /** The names of a span's ancestors in this process, the nearest first. */
  ancestors(span: SeenSpan): string[];
  durations(): Promise<SeenDuration[]>;
  /** All that was exported, as text. */
  text(): Promise<string>;
}

/** Registers the SDK, as an application does before it starts. @param processors besides the one that keeps the spans. */
export function startTelemetry(...processors: SpanProcessor[]): Telemetry {
  const kept = new InMemorySpanExporter();
  const measured = new InMemoryMetricExporter(AggregationTemporality.CUMULATIVE);
  const reader = new PeriodicExportingMetricReader({
    exporter: measured,
    exportIntervalMillis: 3_600_000,
  });
  trace.setGlobalTracerProvider(
    new BasicTracerProvider({ spanProcessors: [...processors, new SimpleSpanProcessor(kept)] }),
  );
  metrics.setGlobalMeterProvider(new MeterProvider({ readers: [reader] }));
  context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable());
  propagation.setGlobalPropagator(new W3CTraceContextPropagator());

  const spans = (): SeenSpan[] => kept.getFinishedSpans().map(seen);
  const durations = async (): Promise<SeenDuration[]> => {
    measured.reset();
    await reader.forceFlush();
    return measured.getMetrics().flatMap(({ scopeMetrics }) =>
      scopeMetrics.flatMap((scope) =>
        scope.metrics.flatMap((metric) =>
          (metric as HistogramMetricData).dataPoints.map(({ attributes, value }) => ({
            name: metric.descriptor.name,
            unit: metric.descriptor.unit,
            count: value.count,
            attributes,
          })),
        ),
      ),
    );
  };
  return {
    spans,
    span: async (name, kind) => {
      const those = (): SeenSpan[] =>
        spans().filter((one) => one.name === name && (kind === undefined || one.kind === kind));
      for (const start = performance.now(); those().length === 0;) {
        if (performance.now() - start > 30_000) {
          throw new Error(
            `No span "${name}" in: ${spans()
              .map((one) => one.name)
              .join()}`,
          );
        }
        await new Promise((resolve) => setImmediate(resolve));
      }
      const [found, ...others] = those();
      if (found === undefined || others.length > 0) throw new Error(`More than one "${name}".`);
      return found;
    },
    forget: () => kept.reset(),
    ancestors: (span) => {
      const names: string[] = [];
      let { parent } = span;
      while (parent !== undefined) {
        const above = spans().find(({ id }) => id === parent);
        if (above === undefined) break;
        names.push(above.name);
        ({ parent } = above);
      }
      return names;
    },
    durations,
    text: async () => {
      const plain = kept
        .getFinishedSpans()
        .map(({ name, attributes, events, status }) => ({ name, attributes, events, status }));
      return JSON.stringify([plain, await durations()]);
    },
  };
}

/** Takes the SDK away again. */
export function stopTelemetry(): void {
  trace.disable();
  metrics.disable();
  context.disable();
  propagation.disable();
}

function seen(span: ReadableSpan): SeenSpan {
  const { traceId, spanId } = span.spanContext();
  return {
    name: span.name,
    kind: SpanKind[span.kind],
    traceId,
    id: spanId,
    parent: span.parentSpanContext?.spanId,
    attributes: span.attributes,
    failed: span.status.code === SpanStatusCode.ERROR,
  };
}
