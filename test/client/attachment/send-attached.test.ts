import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { Readable } from 'node:stream';
import { afterEach, describe, expect, test } from '@jest/globals';
import { trace } from '@opentelemetry/api';
import axios from 'axios';
import {
  bearerHeader,
  correlationHeaders,
  isRepeatableBody,
} from '../../../src/client/attachment/send-attached.js';
import { readCorrelation, type Correlation } from '../../../src/context/call-context.js';
import { character, fc } from '../../support/properties.js';
import { startTelemetry, stopTelemetry } from '../../support/telemetry.js';

const TRACEPARENT = '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01';

describe('the bearer header', () => {
  test.each(['a.b-c_d', 'abc~+/==', 'x'])('carries %s', (token) => {
    expect(bearerHeader(token)).toBe(`Bearer ${token}`);
  });

  test.each(['', 'a b', 'a\r\nX-Admin: 1', 'a\n', 'a=b', 'ü', 'a,b', undefined, 7, {}])(
    'refuses %j, and does not quote it',
    (token) => {
      let refusal: unknown;
      try {
        bearerHeader(token);
      } catch (error) {
        refusal = error;
      }
      expect(refusal).toMatchObject({ code: 'TOKEN_NOT_SENDABLE', kind: 'misconfigured' });
      expect(String(refusal)).not.toContain('Admin');
    },
  );
});

describe('the headers of a correlation, with an OpenTelemetry SDK', () => {
  const came: Correlation = { traceparent: TRACEPARENT, tracestate: 'a=1', requestId: 'r-1' };
  const headersOf = (isFetch: boolean, own: readonly string[] = []) =>
    Object.fromEntries(
      correlationHeaders(
        came,
        (name) => own.includes(name),
        () => isFetch,
      ),
    );
  const inSpan = (act: (traceparent: string) => void): void =>
    trace.getTracer('application').startActiveSpan('job', (span) => {
      const { traceId, spanId } = span.spanContext();
      act(`00-${traceId}-${spanId}-01`);
      span.end();
    });
  afterEach(stopTelemetry);

  test('go on with the running span; without one, with what came', () => {
    startTelemetry();
    for (const isFetch of [true, false]) {
      inSpan((traceparent) =>
        expect(headersOf(isFetch)).toEqual({ traceparent, 'x-request-id': 'r-1' }),
      );
      expect(headersOf(isFetch)).toMatchObject({ traceparent: TRACEPARENT, tracestate: 'a=1' });
    }
    inSpan(() => expect(headersOf(true, ['traceparent'])).toEqual({ 'x-request-id': 'r-1' }));
  });

  test('leave the trace to an instrumentation of fetch, which would add a second one', () => {
    startTelemetry();
    const instrumentation = (): void => undefined;
    subscribe('undici:request:create', instrumentation);
    try {
      inSpan((traceparent) => {
        expect(headersOf(true)).toEqual({ 'x-request-id': 'r-1' });
        expect(headersOf(false)).toMatchObject({ traceparent });
      });
      expect(headersOf(true)).toEqual({ 'x-request-id': 'r-1' });
    } finally {
      unsubscribe('undici:request:create', instrumentation);
    }
  });
});

describe('the headers of a correlation', () => {
  const headersOf = (correlation: Correlation | undefined, own: readonly string[] = []) =>
    Object.fromEntries(correlationHeaders(correlation, (name) => own.includes(name)));
  const all: Correlation = { traceparent: TRACEPARENT, tracestate: 'a=1', requestId: 'r-1' };

  test.each<[string, Correlation | undefined, readonly string[], object]>([
    ['none', undefined, [], {}],
    ['an empty one', {}, [], {}],
    [
      'a whole one',
      all,
      [],
      { traceparent: TRACEPARENT, tracestate: 'a=1', 'x-request-id': 'r-1' },
    ],
    ['a request id alone', { requestId: 'r-1' }, [], { 'x-request-id': 'r-1' }],
    ['a tracestate alone', { tracestate: 'a=1' }, [], {}],
    ['with a traceparent of the caller', all, ['traceparent'], { 'x-request-id': 'r-1' }],
    ['with a tracestate of the caller', all, ['tracestate'], { 'x-request-id': 'r-1' }],
    [
      'with a request id of the caller',
      all,
      ['x-request-id'],
      { traceparent: TRACEPARENT, tracestate: 'a=1' },
    ],
  ])('%s', (_name, correlation, own, expected) => {
    expect(headersOf(correlation, own)).toEqual(expected);
  });

  test('whatever came, nothing is sent that could be more than one header', () => {
    const text = fc.oneof(fc.string({ unit: character }), fc.constant(TRACEPARENT));
    const any = fc.dictionary(
      fc.constantFrom('traceparent', 'tracestate', 'x-request-id'),
      fc.array(text, { maxLength: 2 }),
    );
    fc.assert(
      fc.property(any, (came) => {
        const correlation = readCorrelation((name) => came[name] ?? []);
        for (const value of Object.values(headersOf(correlation))) {
          expect(value).toMatch(/^[\x20-\x7e]{1,512}$/);
        }
      }),
    );
  });
});

function form(): FormData {
  const data = new FormData();
  data.set('file', new Blob(['content']), 'file.txt');
  return data;
}

describe('a body that can be sent twice', () => {
  test.each<[string, unknown]>([
    ['none', undefined],
    ['null', null],
    ['empty text', ''],
    ['text', 'text'],
    ['bytes', Buffer.from('bytes')],
    ['a view', new Uint8Array(4)],
    ['a buffer', new ArrayBuffer(4)],
    ['a blob', new Blob(['content'])],
    ['form data', form()],
    ['parameters', new URLSearchParams('a=1')],
  ])('%s', (_name, body) => {
    expect(isRepeatableBody(body)).toBe(true);
  });

  test.each<[string, unknown]>([
    ['a stream of Node', Readable.from(['a'])],
    ['a stream of the web', new Blob(['a']).stream()],
    ['form data that is a stream', axios.toFormData({ a: 1 })],
    ['a generator', (async function* bytes() {})()],
    ['an object', {}],
    ['a number', 7],
  ])('not %s', (_name, body) => {
    expect(isRepeatableBody(body)).toBe(false);
  });
});
