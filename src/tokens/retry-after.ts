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
  const date = Date.parse(text);
  return Number.isFinite(date) ? Math.max(0, Math.ceil((date - now) / 1000)) : undefined;
}
