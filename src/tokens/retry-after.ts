/** The zone at the end of a date: a name or an offset. */
const ZONE = /(?: [A-Za-z]{1,5}| ?[+-]\d{4})$/;

/**
 * `Retry-After` in seconds from now, rounded up (RFC 9110 §10.2.3: seconds, or an HTTP date); `undefined` when it is
 * absent or neither. A date in the past is 0.
 *
 * @param now milliseconds since the Unix epoch.
 */
export function parseRetryAfter(header: string | null, now: number): number | undefined {
  const text = header?.trim() ?? '';
  if (/^\d{1,10}$/.test(text)) return Number(text);
  if (!/^[A-Z][a-z]{2,8},? .*\d{2}:\d{2}:\d{2}/.test(text)) return undefined;
  // HTTP dates are in UTC, also in the form that names no zone (asctime), which would be taken for the machine's time.
  const date = Date.parse(ZONE.test(text) ? text : `${text} GMT`);
  return Number.isFinite(date) ? Math.max(0, Math.ceil((date - now) / 1000)) : undefined;
}

/**
 * The `Retry-After` of an answer in seconds from now. A date is compared with the `Date` of whoever sent it, where there is
 * one: the clocks of two machines may be minutes apart. One that is past by then is compared with our own time.
 *
 * @param now milliseconds since the Unix epoch.
 */
export function retryAfterOf(headers: Headers, now: number): number | undefined {
  const header = headers.get('retry-after');
  const theirs = Date.parse(headers.get('date') ?? '');
  const seconds = Number.isFinite(theirs) ? parseRetryAfter(header, theirs) : undefined;
  return seconds === undefined || seconds === 0 ? parseRetryAfter(header, now) : seconds;
}

/** RFC 9110 §15.5.9, RFC 8470 §5.2 and RFC 6585 §4, and what a server says of itself: the same request may succeed later. */
export function isTemporaryStatus(status: number): boolean {
  return status === 408 || status === 425 || status === 429 || status >= 500;
}
