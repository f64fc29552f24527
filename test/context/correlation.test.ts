import { describe, expect, test } from '@jest/globals';
import { fc } from '../support/properties.js';
import { readCorrelation } from '../../src/context/call-context.js';

const PARENT = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01';

type Headers = Readonly<Record<string, string | readonly unknown[]>>;

const read = (headers: Headers) =>
  readCorrelation((name) => [headers[name] ?? []].flat() as readonly unknown[]);

describe('what is carried along', () => {
  test.each<[string, Headers, object | undefined]>([
    ['nothing', {}, undefined],
    ['a trace', { traceparent: PARENT }, { traceparent: PARENT }],
    [
      'a trace with its state',
      { traceparent: PARENT, tracestate: 'a=1,b=2' },
      { traceparent: PARENT, tracestate: 'a=1,b=2' },
    ],
    ['a state without a trace', { tracestate: 'a=1' }, undefined],
    ['a request id', { 'x-request-id': 'r-1' }, { requestId: 'r-1' }],
    [
      'a later version with further fields',
      { traceparent: `01${PARENT.slice(2)}-more` },
      { traceparent: `01${PARENT.slice(2)}-more` },
    ],
    ['version 00 with further fields', { traceparent: `${PARENT}-more` }, undefined],
    ['the forbidden version', { traceparent: `ff${PARENT.slice(2)}` }, undefined],
    ['a trace id of zeros', { traceparent: `00-${'0'.repeat(32)}-b7ad6b7169203331-01` }, undefined],
    [
      'a parent id of zeros',
      { traceparent: `00-0af7651916cd43dd8448eb211c80319c-${'0'.repeat(16)}-01` },
      undefined,
    ],
    ['capital letters', { traceparent: PARENT.toUpperCase() }, undefined],
    ['two traces', { traceparent: [PARENT, PARENT] }, undefined],
    ['an empty request id', { 'x-request-id': '' }, undefined],
    ['a request id that is too long', { 'x-request-id': 'r'.repeat(129) }, undefined],
    [
      'a state that is too long',
      { traceparent: PARENT, tracestate: 'a'.repeat(513) },
      { traceparent: PARENT },
    ],
    ['a request id that is no text', { 'x-request-id': [7] }, undefined],
    ['a request id with a space', { 'x-request-id': 'r 1' }, undefined],
  ])('%s', (_, headers, expected) => {
    expect(read(headers)).toEqual(expected);
  });

  test('never splits a header, whatever comes', () => {
    const value = fc.oneof(
      fc.string({ unit: 'binary' }),
      fc
        .constantFrom(PARENT, 'r-1')
        .chain((good) => fc.string({ unit: 'binary' }).map((bad) => good + bad)),
    );
    fc.assert(
      fc.property(value, value, value, (traceparent, tracestate, requestId) => {
        const found = read({ traceparent, tracestate, 'x-request-id': requestId }) ?? {};
        for (const text of Object.values(found)) expect(text).toMatch(/^[\x20-\x7e]+$/);
      }),
    );
  });
});
