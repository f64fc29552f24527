import { readCorrelation, type Correlation } from '../../context/correlation.js';

type Header = readonly [name: string, value: string];

const NONE: readonly Header[] = [];

/**
 * The headers that carry a correlation on: those that the request does not have already. A `tracestate` belongs to its
 * `traceparent` (W3C Trace Context §3.3), so that it never goes with another one.
 *
 * @param correlation is read again, whoever made it: what is malformed is left out.
 */
export function correlationHeaders(
  correlation: Correlation | undefined,
  has: (name: string) => boolean,
): readonly Header[] {
  if (correlation === undefined) return NONE;
  const { traceparent, tracestate, requestId } = correlation;
  const given = new Map([
    ['traceparent', traceparent],
    ['tracestate', tracestate],
    ['x-request-id', requestId],
  ]);
  const sound = readCorrelation((name) => {
    const value = given.get(name);
    return value === undefined ? [] : [value];
  });
  const headers: Header[] = [];
  if (sound?.traceparent !== undefined && !has('traceparent') && !has('tracestate')) {
    headers.push(['traceparent', sound.traceparent]);
    if (sound.tracestate !== undefined) headers.push(['tracestate', sound.tracestate]);
  }
  if (sound?.requestId !== undefined && !has('x-request-id')) {
    headers.push(['x-request-id', sound.requestId]);
  }
  return headers;
}
