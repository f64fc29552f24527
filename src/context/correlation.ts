/**
 * What ties the calls of one request together, as its headers came. It is carried along and never trusted: whoever
 * calls chooses it.
 */
export interface Correlation {
  /** `traceparent` (W3C Trace Context, level 1, §3.2), in the form that the standard allows. */
  readonly traceparent?: string;
  /** `tracestate` (§3.3); only together with a `traceparent`. */
  readonly tracestate?: string;
  /** `X-Request-Id`: 1 to 128 visible characters of ASCII. */
  readonly requestId?: string;
}

/** Ids of zeros only and version `ff` are forbidden; versions after 00 may have further fields. */
const IDS = '-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}';
const TRACEPARENT = new RegExp(
  `^(?:00${IDS}|(?!00|ff)[0-9a-f]{2}${IDS}(?:-[\\x21-\\x7e]{1,200})?)$`,
);
const TRACESTATE = /^[\x20-\x7e]{1,512}$/;
const REQUEST_ID = /^[\x21-\x7e]{1,128}$/;

/**
 * Reads a correlation from headers. What is malformed, or there twice, is left out: a caller's mistake must not end a
 * call, and nothing that could split a header is carried on.
 *
 * @param valuesOf gives every value of a header, whose name is in lower case.
 * @returns `undefined` when there is nothing to carry along.
 */
export function readCorrelation(
  valuesOf: (name: string) => readonly unknown[],
): Correlation | undefined {
  const traceparent = single(valuesOf('traceparent'), TRACEPARENT);
  const tracestate =
    traceparent === undefined ? undefined : single(valuesOf('tracestate'), TRACESTATE);
  const requestId = single(valuesOf('x-request-id'), REQUEST_ID);
  if (traceparent === undefined && requestId === undefined) return undefined;
  return {
    ...(traceparent !== undefined && { traceparent }),
    ...(tracestate !== undefined && { tracestate }),
    ...(requestId !== undefined && { requestId }),
  };
}

function single([value, ...others]: readonly unknown[], shape: RegExp): string | undefined {
  return others.length === 0 && typeof value === 'string' && shape.test(value) ? value : undefined;
}
