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
