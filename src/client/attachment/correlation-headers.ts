import type { Correlation } from '../../context/correlation.js';

type Header = readonly [name: string, value: string];

/**
 * The headers that carry a correlation on: those that the request does not have already. A `tracestate` belongs to its
 * `traceparent` (W3C Trace Context §3.3), so that it never goes with another one.
 *
 * @param correlation as `readCorrelation` made it: nothing malformed is in it.
 */
export function correlationHeaders(
  { traceparent, tracestate, requestId }: Correlation = {},
  has: (name: string) => boolean,
): readonly Header[] {
  const headers: Header[] = [];
  if (traceparent !== undefined && !has('traceparent') && !has('tracestate')) {
    headers.push(['traceparent', traceparent]);
    if (tracestate !== undefined) headers.push(['tracestate', tracestate]);
  }
  if (requestId !== undefined && !has('x-request-id')) headers.push(['x-request-id', requestId]);
  return headers;
}
